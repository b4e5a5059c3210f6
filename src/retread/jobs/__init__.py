"""Every build and trial as a job that any engine may run: what it needs, what it takes, what it gives."""
