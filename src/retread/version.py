"""Versions of patched wheels: ``<upstream>+cu128.<revision>``. Pure.

The revision is an integer segment of its own, so that ``+cu128.10`` sorts after ``+cu128.9`` (PEP 440).
"""

from __future__ import annotations

from packaging.version import Version

__version__ = "0.1.0"
"""retread's own version."""


def patched(upstream: str, cuda: str, revision: int) -> str:
    """Return the version of a wheel patched from ``upstream`` for ``cuda``: ("0.0.35", "12.8", 1) -> 0.0.35+cu128.1."""
    return str(Version(f"{upstream}+cu{cuda.replace('.', '')}.{revision}"))
