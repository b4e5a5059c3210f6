"""A small library for Windows, made by a real linker (``tests/data/fatbin``), and where its tables stand."""

from __future__ import annotations

import struct
from typing import Final

import gpucode

DLL: Final = gpucode.WINDOWS
OPTIONAL: Final = struct.unpack_from("<I", DLL, 60)[0] + 24
TABLE: Final = OPTIONAL + struct.unpack_from("<H", DLL, OPTIONAL - 4)[0]


def header(name: bytes) -> int:
    """Return where the header of a section stands."""
    return DLL.index(name.ljust(8, b"\0"), TABLE)


def offset(name: bytes) -> int:
    """Return where a section starts in the file."""
    found: int = struct.unpack_from("<I", DLL, header(name) + 20)[0]
    return found


def patched(*edits: tuple[int, str, int]) -> bytes:
    """Return the library with numbers written over: (offset, format, value)."""
    data = bytearray(DLL)
    for at, layout, value in edits:
        struct.pack_into(layout, data, at, value)
    return bytes(data)
