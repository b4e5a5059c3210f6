"""What the members of a wheel hold, as records fit for a cache, and what deflates them. No file is opened here. Pure.

Who only looks up what was made imports this, and not what reads and writes wheels.
"""

from __future__ import annotations

import zlib
from typing import Final

from retread.records import Record, Sha256

LEVEL: Final = 6
DEFLATE: Final = f"zlib {zlib.ZLIB_RUNTIME_VERSION} level {LEVEL}"


class Member(Record, frozen=True, kw_only=True):
    """What one member holds, wherever it lies: proof by content, fit for a cache. Sizes in bytes."""

    name: str
    method: int
    """0 stored, 8 deflated."""
    crc: int
    size: int
    compressed_size: int
    sha256: Sha256
    """Of the content."""
    raw_sha256: Sha256
    """Of the compressed bytes; with ``method`` it determines the content."""
    executable: bool


class Deflated(Record, frozen=True, kw_only=True):
    """A file of raw deflate data, and what it inflates to. Sizes in bytes."""

    crc: int
    size: int
    compressed_size: int
    sha256: Sha256
    """Of the content."""
    raw_sha256: Sha256
    """Of the deflate data."""


class Verified(Record, frozen=True, kw_only=True):
    """A wheel whose every byte was checked: what it is, and what it holds. Fit for a cache."""

    file_name: str
    sha256: Sha256
    size: int
    dist_info: str
    """``demo-1.2.dist-info``."""
    members: tuple[Member, ...]
    """In the order of the archive, RECORD included, folders left out."""

    def digest_of(self, name: str) -> Sha256:
        """Return the SHA-256 of what a member holds, which must be there."""
        return next(one.sha256 for one in self.members if one.name == name)
