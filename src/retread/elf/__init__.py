"""Shared objects and the GPU code in them, from their bytes."""
