"""What runs inside a build, by the build's own Python, where retread is not installed: standard library only."""
