"""What an index shows to installers and to people."""
