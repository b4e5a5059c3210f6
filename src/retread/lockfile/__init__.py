"""Pins of other tools: lock files and requirements."""
