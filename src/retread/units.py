"""Quantities as people read them. Pure."""

from __future__ import annotations


def size(count: int) -> str:
    """Write a number of bytes for people: 3.3 MB."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
