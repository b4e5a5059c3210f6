"""The only ways to run, write, download and show; and the store."""
