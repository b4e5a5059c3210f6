"""Where the device code of a library lies: enough to hand it to the driver, and to hide machine code from it.

It lies beside the suites, too: standard library only, Python 3.9 and newer. ``retread.elf`` knows the whole layout, and
judges a wheel before it comes here.

    fat binary  u32 magic, u16 version, u16 header size, u64 size of all entries; then the entries
    entry       u16 kind, u16 version, u32 header size, u64 padded size, ... 28: u32 sm, ... 40: u64 flags
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    Bytes = bytes | bytearray | memoryview

SECTION = b".nv_fatbin"
PTX, MACHINE = 1, 2
_A, _F = 0x10_0000, 0x20_0000
"""Flags of an architecture that one chip has alone (``sm_90a``), or its family (``sm_100f``)."""
NOBODY = 20
"""The number of an architecture that no driver serves any more: code that bears it is passed over."""
_FILE = struct.Struct("<4s12xHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_NOBITS = 8
_FATBIN = struct.Struct("<IHHQ")
_MAGIC = 0xBA55ED50
_ENTRY = struct.Struct("<HHIQ")
_SM, _FLAGS = 28, 40


class Image(NamedTuple):
    """PTX or machine code of a module, and where its entry begins."""

    kind: int
    sm: int
    flags: int
    offset: int

    def serves(self, capability: tuple[int, int]) -> bool:
        """Say whether a GPU runs it, or, of PTX, whether the driver makes code for the GPU of it."""
        own = divmod(self.sm, 10)
        if self.flags & _A:
            return own == capability
        if self.kind == PTX and not self.flags & _F:
            return own <= capability
        return own[0] == capability[0] and own[1] <= capability[1]


class Module(NamedTuple):
    """A fat binary: one module in every form that it has."""

    offset: int
    size: int
    images: tuple[Image, ...]

    def has(self, kind: int, capability: tuple[int, int]) -> bool:
        """Say whether one of its images is for a GPU."""
        return any(one.kind == kind and one.serves(capability) for one in self.images)


def place(site: str, library: str) -> str:
    """Return where a member of a wheel lies once that is installed into ``site``."""
    return os.path.join(site, re.sub(r"^[^/]+\.data/(plat|pure)lib/", "", library))


def modules(data: Bytes) -> list[Module]:
    """Return the modules of a library, those of section .nv_fatbin; ValueError when they cannot be read."""
    try:
        return [one for start, end in _sections(data) for one in _modules(data, start, end)]
    except struct.error:
        raise ValueError("it ends in the middle of a table or of a fat binary") from None


def hide(data: bytearray, capability: tuple[int, int]) -> int:
    """Let the driver find no machine code in modules that have PTX for a GPU; return in how many it was hidden."""
    found = 0
    for one in modules(data):
        code = [image for image in one.images if image.kind == MACHINE]
        if code and one.has(PTX, capability):
            found += 1
            for image in code:
                struct.pack_into("<I", data, image.offset + _SM, NOBODY)
                struct.pack_into("<Q", data, image.offset + _FLAGS, image.flags & ~(_A | _F))
    return found


def _sections(data: Bytes) -> Iterator[tuple[int, int]]:
    """Yield where each section .nv_fatbin begins and ends; on Windows its name has eight letters."""
    if bytes(data[:2]) == b"MZ":
        yield from _windows(data)
        return
    magic, *fields = _FILE.unpack_from(data)
    if magic != b"\x7fELF":
        return
    table, size, count, names = fields[5], *fields[10:13]
    headers = [_SECTION.unpack_from(data, table + size * index) for index in range(count)]
    if not headers:
        return
    text = bytes(data[headers[names][4] : headers[names][4] + headers[names][5]])
    for header in headers:
        if text[header[0] :].startswith(SECTION + b"\0") and header[1] != _NOBITS:
            yield header[4], header[4] + header[5]


def _windows(data: Bytes) -> Iterator[tuple[int, int]]:
    (start,) = struct.unpack_from("<I", data, 60)
    count, optional = struct.unpack_from("<H12xH", data, start + 6)
    for index in range(count):
        name, memory, _, size, at = struct.unpack_from("<8sIIII", data, start + 24 + optional + 40 * index)
        if name == SECTION[:8]:
            yield at, at + min(memory, size)


def _modules(data: Bytes, at: int, end: int) -> Iterator[Module]:
    while at + _FATBIN.size <= end:
        magic, _, header, size = _FATBIN.unpack_from(data, at)
        if magic == 0:
            at += 8  # padding
            continue
        if magic != _MAGIC or at + header + size > end:
            raise ValueError(f"what lies at {at:#x} is no fat binary")
        whole = header + size
        yield Module(at, whole, tuple(_images(data, at + header, at + whole)))
        at += whole


def _images(data: Bytes, at: int, end: int) -> Iterator[Image]:
    while at < end:
        kind, _, header, padded = _ENTRY.unpack_from(data, at)
        if header < _FLAGS + 8 or at + header + padded > end:
            raise ValueError(f"what lies at {at:#x} is no image of a module")
        (sm,), (flags,) = (
            struct.unpack_from("<I", data, at + _SM),
            struct.unpack_from("<Q", data, at + _FLAGS),
        )
        yield Image(kind, sm, flags, at)
        at += header + padded
