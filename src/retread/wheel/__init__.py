"""Wheels as files: read, written, compared, and what they say of themselves."""
