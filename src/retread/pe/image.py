"""The tables of a Windows library or program (PE), read strictly from its bytes; pure.

Every offset that a table gives is checked here, once, so that nobody who uses an ``Image`` can run out of the file.
Source: Microsoft, "PE Format"; where the loader asks for more than that text, ``edit`` does so before it writes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from retread import limits
from retread.errors import PeError
from retread.records import Record

COFF: Final = struct.Struct("<HHIIIHH")
"""machine, sections, time, symbols' offset and number, size of the optional header, characteristics."""
SECTION: Final = struct.Struct("<8sIIIIIIHHI")
"""name, size in memory, address, size in the file, offset, four of objects alone, characteristics."""
_IMPORT: Final = struct.Struct("<IIIII")
_DELAYED: Final = struct.Struct("<IIIIIIII")
_BLOCK: Final = struct.Struct("<II")

MACHINES: Final = {0x8664: "x86_64", 0xAA64: "aarch64", 0x14C: "i686"}
_START_AT: Final = 60
"""Where the old header says where the new one starts."""
SIGNATURE: Final = b"PE\0\0"
_NARROW, _WIDE = 0x10B, 0x20B
"""What the optional header of a file for 32 and for 64 bits begins with."""
_COUNT_AT: Final = {_NARROW: 92, _WIDE: 108}
"""Where in the optional header the number of directories stands; they follow it."""
EXPORTS, IMPORTS, SIGNED, RELOCATIONS, DEBUG, BOUND, DELAYED, CLR = 0, 1, 4, 5, 6, 11, 13, 14
"""Numbers of directories. That of the signature has an offset in the file in the place of an address."""
_DIRECTORIES: Final = 16
ABSOLUTE, DIR64 = 0, 10
"""Kinds of base relocations: padding, and a word of 64 bits."""
_BY_NUMBER: Final = 1 << 63
_USUAL: Final = 256
"""Bytes in which most names end, C++'s too."""


class Directory(NamedTuple):
    """Where a table is."""

    address: int
    size: int


class Section(Record, frozen=True, kw_only=True):
    """A section header. Addresses are counted from the library's first byte in memory."""

    name: str
    address: int
    memory: int
    """Bytes in memory; beyond those of the file there are zeros."""
    offset: int
    size: int
    """Bytes in the file, rounded up to the file's alignment."""
    flags: int

    @property
    def extent(self) -> int:
        """Bytes that it takes in memory; 0 in the header means those of the file."""
        return self.memory or self.size

    @property
    def in_file(self) -> int:
        """Bytes that the file has of what lies in memory."""
        return min(self.size, self.extent)


class Image(Record, frozen=True, kw_only=True):
    """A PE file's bytes and tables."""

    where: str
    data: memoryview
    machine: int
    wide: bool
    """Whether it is for 64 bits."""
    flags: int
    """The characteristics of the file."""
    optional: int
    """Where the optional header starts."""
    table: int
    """Where the section headers start."""
    base: int
    """The address that it is linked for."""
    section_align: int
    file_align: int
    memory: int
    """Bytes of the whole library in memory."""
    headers: int
    """Bytes of all headers in the file, rounded up."""
    rules: int
    """What it asks of the loader: the characteristics of libraries."""
    directories: tuple[Directory, ...]
    sections: tuple[Section, ...]

    def directory(self, number: int) -> Directory:
        """Return one of the directories, an empty one where it has none."""
        return self.directories[number] if number < len(self.directories) else Directory(0, 0)


class Relocation(NamedTuple):
    """A word that the loader adds something to when the library is not where it was linked for."""

    address: int
    kind: int


def machine(head: bytes) -> str:
    """Return the machine of a Windows library or program by its first bytes; nothing for another file."""
    at = int.from_bytes(head[_START_AT : _START_AT + 4], "little")
    if not head.startswith(b"MZ") or head[at : at + 4] != SIGNATURE:
        return ""
    number = int.from_bytes(head[at + 4 : at + 6], "little")
    return MACHINES.get(number, f"machine {number:#x}")


def parse(data: bytes | memoryview, *, where: str) -> Image:
    """Return the tables of a Windows library or program. Raises PeError for another file, and for one that is cut."""
    view = memoryview(data).toreadonly().cast("B")
    if len(view) < _START_AT + 4 or bytes(view[:2]) != b"MZ":
        raise PeError(f"{where}: no Windows library")
    start = _number(view, _START_AT, 4, where)
    if bytes(cut(view, start, 4, where, "the header")) != SIGNATURE:
        raise PeError(f"{where}: no Windows library: the header does not begin with PE")
    fields = COFF.unpack(cut(view, start + 4, COFF.size, where, "the header"))
    number, count, *_, size, flags = fields
    optional = start + 4 + COFF.size
    cut(view, optional, size, where, "the optional header")
    magic = _number(view, optional, 2, where)
    if number not in MACHINES or magic not in _COUNT_AT or size < _COUNT_AT[magic] + 4:
        raise PeError(f"{where}: a Windows file of an unknown kind (machine {number:#x}, magic {magic:#x})")
    wide = magic == _WIDE
    image = Image(
        where=where, data=view, machine=number, wide=wide, flags=flags, optional=optional, table=optional + size,
        base=_number(view, optional + 24, 8, where) if wide else _number(view, optional + 28, 4, where),
        section_align=_number(view, optional + 32, 4, where), file_align=_number(view, optional + 36, 4, where),
        memory=_number(view, optional + 56, 4, where), headers=_number(view, optional + 60, 4, where),
        rules=_number(view, optional + 70, 2, where),
        directories=_directories(view, optional + _COUNT_AT[magic], size - _COUNT_AT[magic], where),
        sections=_sections(view, optional + size, count, where),
    )  # fmt: skip
    _check(image)
    return image


def cut(view: memoryview, offset: int, size: int, where: str, what: str) -> memoryview:
    """Return a range of the file. Raises PeError when it leaves the file."""
    if offset > len(view) or size > len(view) - offset:
        raise PeError(f"{where}: {what} leaves the file (offset {offset:#x}, {size} bytes): it is cut short")
    return view[offset : offset + size]


def file_offset(image: Image, address: int, size: int) -> int:
    """Return where the file has the ``size`` bytes of ``address``. Raises PeError when it has none."""
    for one in image.sections:
        if one.address <= address and address + size <= one.address + one.in_file:
            return one.offset + address - one.address
    raise PeError(f"{image.where}: no bytes for address {address:#x}")


def needed(image: Image) -> tuple[str, ...]:
    """Return the libraries that it imports from, those that are loaded late too, as it writes them. Raises PeError."""
    return tuple(dict.fromkeys(name for name, _ in _imports(image)))


def imported(image: Image) -> tuple[str, ...]:
    """Return the names that others must define, sorted; one that is asked for by number is like ``a.dll#3``."""
    left = limits.NAMES * len(image.data)
    words = len(image.data) // 8
    found: set[str] = set()
    for library, thunks in _imports(image):
        for word in _thunks(image, thunks):
            by_number = word & _BY_NUMBER or (not image.wide and word & 1 << 31)
            name = f"{library}#{word & 0xFFFF}" if by_number else _text(image, (word & 0x7FFFFFFF) + 2)
            left, words = left - len(name), words - 1
            if left < 0 or words < 0:
                raise PeError(f"{image.where}: imports more than the file has room for")
            found.add(name)
    return tuple(sorted(found))


def relocations(image: Image) -> Iterator[Relocation]:
    """Yield the base relocations, without their padding. Raises PeError when their table is corrupt."""
    at, size = image.directory(RELOCATIONS)
    if not size:
        return
    table = image.data[file_offset(image, at, size) :][:size]
    start = 0
    while start < size:
        if size - start < _BLOCK.size:
            raise PeError(
                f"{image.where}: the base relocations are corrupt: {size - start} bytes are left over"
            )
        page, block = _BLOCK.unpack_from(table, start)
        if block < _BLOCK.size or block % 2 or block > size - start:
            raise PeError(f"{image.where}: the base relocations are corrupt: a block of {block} bytes")
        for (entry,) in struct.iter_unpack("<H", table[start + _BLOCK.size : start + block]):
            if entry >> 12 != ABSOLUTE:
                yield Relocation(page + (entry & 0xFFF), entry >> 12)
        start += block


def _number(view: memoryview, at: int, size: int, where: str) -> int:
    return int.from_bytes(cut(view, at, size, where, "the header"), "little")


def _directories(view: memoryview, at: int, room: int, where: str) -> tuple[Directory, ...]:
    count = _number(view, at, 4, where)
    if count > _DIRECTORIES or 4 + 8 * count > room:
        raise PeError(f"{where}: says that it has {count} directories")
    table = cut(view, at + 4, 8 * count, where, "the table of directories")
    return tuple(Directory(*pair) for pair in struct.iter_unpack("<II", table))


def _sections(view: memoryview, at: int, count: int, where: str) -> tuple[Section, ...]:
    if count > limits.PE_SECTIONS:
        raise PeError(f"{where}: has {count} sections; {limits.PE_SECTIONS} are taken")
    table = cut(view, at, count * SECTION.size, where, "the table of sections")
    found = []
    for name, memory, address, size, offset, _, _, _, _, flags in SECTION.iter_unpack(table):
        text = name.rstrip(b"\0").decode("ascii", "backslashreplace")
        cut(view, offset if size else 0, size, where, f"section {text}")
        found.append(
            Section(name=text, address=address, memory=memory, offset=offset, size=size, flags=flags)
        )
    return tuple(found)


def _check(image: Image) -> None:
    """Raise PeError when sections overlap, in memory or in the file."""
    memory = sorted((one.address, one.address + one.extent, one.name) for one in image.sections)
    file = sorted((one.offset, one.offset + one.size, one.name) for one in image.sections if one.size)
    for ranges, place in ((memory, "in memory"), (file, "in the file")):
        for (_, end, name), (start, _, other) in pairwise(ranges):
            if start < end:
                raise PeError(f"{image.where}: sections {name} and {other} overlap {place}")


def _imports(image: Image) -> Iterator[tuple[str, int]]:
    """Yield each library that is imported from, and where its names are listed."""
    for at in _entries(image, IMPORTS, _IMPORT):
        names, _, _, name, bound = _IMPORT.unpack_from(image.data, at)
        if not name:
            break
        yield _text(image, name), names or bound
    for at in _entries(image, DELAYED, _DELAYED):
        flags, name, _, _, names, *_ = _DELAYED.unpack_from(image.data, at)
        if not name:
            break
        if not flags & 1:
            raise PeError(f"{image.where}: delayed imports of the kind that Visual C++ 6 made")
        yield _text(image, name), names


def _entries(image: Image, number: int, layout: struct.Struct) -> Iterator[int]:
    """Yield where the entries of a directory's table lie in the file; it says nothing of how many there are."""
    address, size = image.directory(number)
    if not address or not size:
        return
    for index in range(limits.PE_IMPORTS):
        yield file_offset(image, address + index * layout.size, layout.size)
    raise PeError(f"{image.where}: imports from more than {limits.PE_IMPORTS} libraries")


def _thunks(image: Image, address: int) -> Iterator[int]:
    """Yield the words of a list up to its end."""
    width = 8 if image.wide else 4
    while address:
        at = file_offset(image, address, width)
        word = int.from_bytes(image.data[at : at + width], "little")
        if not word:
            return
        yield word
        address += width


def _text(image: Image, address: int) -> str:
    """Return the string at an address. Raises PeError when it has no end, or is longer than any name."""
    for one in image.sections:
        if one.address <= address < one.address + one.in_file:
            start, end = one.offset + address - one.address, one.offset + one.in_file
            for size in (_USUAL, limits.NAME):
                text, zero, _ = bytes(image.data[start : min(end, start + size)]).partition(b"\0")
                if zero:
                    return text.decode("utf-8", "backslashreplace")
    raise PeError(f"{image.where}: a name at address {address:#x} has no end, or leaves the file")
