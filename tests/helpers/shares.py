"""How files of tests are shared out among workers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def shares(sizes: Mapping[Path, int], count: int) -> list[frozenset[Path]]:
    """Return so many shares of files, of about as many bytes each: the largest goes to whoever has least so far."""
    found: list[set[Path]] = [set() for _ in range(count)]
    for path in sorted(sizes, key=lambda path: (sizes[path], path), reverse=True):
        min(found, key=lambda share: sum(map(sizes.__getitem__, share))).add(path)
    return list(map(frozenset, found))
