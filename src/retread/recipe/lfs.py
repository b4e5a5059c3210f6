"""Pointers of Git LFS: what a commit holds in the place of a large file, and which file one stands for. Pure.

A pointer is a text of three lines, and nothing in it is free: the file's sha256 and size give its bytes, and these its
blob id. So a file proves itself against a commit of which nothing but that id is known.
Source: the specification of git-lfs.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

from retread.recipe.proof import blob_id

_POINTER: Final = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-.+\n)*oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,15})\n"
)
LARGEST: Final = 1024
"""Bytes of a pointer, as its specification has it."""


class Pointer(NamedTuple):
    """The file that a pointer stands for."""

    sha256: str
    size: int

    def __str__(self) -> str:
        """Return it as people read it."""
        return f"sha256 {self.sha256[:12]}, {self.size:,} bytes"


def parse(data: bytes) -> Pointer | None:
    """Return what a pointer says; None for a file that is none."""
    found = _POINTER.fullmatch(data) if len(data) <= LARGEST else None
    return Pointer(found[1].decode(), int(found[2])) if found else None


def of(data: bytes) -> Pointer:
    """Return the pointer that stands for a file."""
    return Pointer(hashlib.sha256(data).hexdigest(), len(data))


def is_file(data: bytes, blob: str) -> bool:
    """Say whether a file is the one that a commit holds under this blob id, itself or as its pointer."""
    if blob_id(data) == blob:
        return True
    one = of(data)
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{one.sha256}\nsize {one.size}\n"
    return blob_id(text.encode()) == blob
