"""A Windows library with other fat binaries: what must change, and the bytes of the new file; pure.

- New fat binaries go to a section of their own behind all others, which is called as the old one is. Nothing moves, in
  memory or in the file: debug information, symbols and all addresses stay true.
- The pointers to them, of CUDA's wrappers above all, have base relocations; these stay where they are, and the words
  that they are for get new addresses.
- Where a fat binary was there are zeros, so that nothing takes the old one for code, and a zip has nothing to pack.
- Of the headers change the number of sections, three sizes, and the checksum, which drivers alone need to be right.

What is not known to be safe is refused: a signature, other pointers into a fat binary, a header without room.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from retread.elf import fatbin
from retread.elf.fatbin import WRAPPER, WRAPPER_MAGIC, FatBinary
from retread.elf.layout import Patches, Piece, up
from retread.errors import KEEP_LIBRARY, PeError
from retread.pe import image as pe
from retread.pe.image import Image, Section
from retread.records import Record

FATBIN: Final = ".nv_fatb"
"""What is left of ``.nv_fatbin`` in the eight letters of a section's name."""
WRAPPERS: Final = ".nvFatBi"
_ALIGN: Final = 16
"""What fat binaries are aligned to; nvcc asks for 8."""
_READ_ONLY: Final = 0x4000_0040
"""Initialised data that is read."""
_MACHINE: Final = 0x8664
_STRIPPED: Final = 0x0001
"""Of the file: it has no base relocations."""
_INTEGRITY: Final = 0x0080
"""Of the library: the loader takes it with a right signature alone."""
_PAGE: Final = 4096
_SECTOR: Final = 512
_MEMORY: Final = 1 << 31
"""Bytes of a library in memory: the loader takes less."""
_INITIALISED_AT, _MEMORY_AT, _CHECKSUM_AT = 8, 56, 64
"""Fields of the optional header."""
_HINT: Final = f"{KEEP_LIBRARY}, or compile it where its compiler runs"


class Change(Record, frozen=True, kw_only=True):
    """The fat binaries that get other bytes, and where these go."""

    image: Image
    old: tuple[FatBinary, ...]
    new: Mapping[int, bytes]
    address: int
    """Where the new section starts in memory,"""
    offset: int
    """and in the file."""


class _Place(NamedTuple):
    """Where a fat binary is, and where the new one will be: addresses from the library's start."""

    start: int
    end: int
    new: int


def fat_binaries(image: Image) -> tuple[FatBinary, ...]:
    """Return the fat binaries of a library, none for one without device code; ``offset`` is that in the file.

    Raises FatbinError when they are corrupt.
    """
    found: list[FatBinary] = []
    for one in image.sections:
        if one.name == FATBIN:
            data = image.data[one.offset : one.offset + one.in_file]
            held = fatbin.parse(data, where=image.where, first=len(found))
            found += [replace(each, offset=one.offset + each.offset) for each in held]
    return tuple(found)


def regions(image: Image) -> list[tuple[int, int]]:
    """Return (start, end) in the file of the sections for fat binaries."""
    return [
        (one.offset, one.offset + one.in_file) for one in image.sections if one.name == FATBIN and one.in_file
    ]


def plan(image: Image, *, fatbins: Mapping[int, bytes]) -> Change:
    """Return what must change for these fat binaries, by module index.

    Raises PeError when the library cannot be edited safely, FatbinError when a fat binary is corrupt.
    """
    demand_editable(image)
    old = fat_binaries(image)
    fatbin.demand_replaceable(old, fatbins, image.where)
    change = Change(
        image=image, old=old, new=dict(fatbins), address=image.memory, offset=up(len(image.data), image.file_align)
    )  # fmt: skip
    if image.memory + sum(map(len, fatbins.values())) + _ALIGN * len(fatbins) >= _MEMORY:
        raise PeError(f"{image.where}: would take 2 GiB of memory with the new code, which no loader takes")
    return change


def pieces(change: Change) -> tuple[Piece, ...]:
    """Return the new file, piece by piece. Raises PeError when something refers to what moves in an unknown way."""
    image = change.image
    places, added = _places(change), _added(change)
    patches = Patches(image.data)
    for start, target in _pointers(image, places):
        patches.write(start, struct.pack("<Q", target))
    for index in change.new:
        one = change.old[index]
        patches.write(one.offset, bytes(one.size))
    section = up(len(added), image.file_align)
    _write_headers(patches, change, len(added), section)
    gap = bytes(change.offset - len(image.data))
    found = [*patches.pieces(0, len(image.data)), gap, added, bytes(section - len(added))]
    total = checksum(image.data, [one for one in found if len(one)], image.optional + _CHECKSUM_AT)
    patches.write(image.optional + _CHECKSUM_AT, struct.pack("<I", total))
    found = [*patches.pieces(0, len(image.data)), *found[-3:]]
    return tuple(one for one in found if len(one))


def checksum(source: memoryview, parts: Iterable[Piece], at: int) -> int:
    """Return the checksum of a file made of pieces of ``source``, whose field for it lies ``at`` an offset.

    It is the sum of all 16-bit words, carries added at the end, and of the file's size; the field counts as zero. As
    2**16 leaves 1 when it is divided by 2**16 - 1, a block is one number.
    """
    total, offset = 0, 0
    for block in _blocks(source, parts):
        data = block
        if offset <= at < offset + len(block):
            inside = at - offset
            data = block[:inside] + bytes(min(4, len(block) - inside)) + block[inside + 4 :]
        elif at < offset < at + 4:
            data = bytes(min(at + 4 - offset, len(block))) + block[at + 4 - offset :]
        total += (int.from_bytes(data, "little") << 8 * (offset % 2)) % 0xFFFF
        offset += len(block)
    return (total % 0xFFFF or (0xFFFF if total else 0)) + offset


def _blocks(source: memoryview, parts: Iterable[Piece]) -> Iterator[bytes]:
    step = 1 << 16
    for one in parts:
        data = source[one.start : one.stop] if isinstance(one, range) else memoryview(one)
        for start in range(0, len(data), step):
            yield bytes(data[start : start + step])


def closed(image: Image) -> str:
    """Return why nothing can be changed in a library: ``is signed ...``; empty where something can."""
    try:
        demand_editable(image)
    except PeError as error:
        return error.message.removeprefix(f"{image.where}: ")
    return ""


def demand_editable(image: Image) -> None:
    """Raise PeError for a library that cannot be edited safely, whatever is to be changed in it."""
    where = image.where
    if image.machine != _MACHINE or not image.wide:
        kind = pe.MACHINES[image.machine]
        raise PeError(f"{where}: is for {kind}; only libraries of 64-bit Windows on x86-64 can be edited")
    if image.directory(pe.SIGNED).size or image.rules & _INTEGRITY:
        raise PeError(
            f"{where}: is signed (Authenticode), and no signature outlives a change",
            hint=f"{_HINT}; a signature can only be made anew by whose it is",
        )
    if image.directory(pe.CLR).size:
        raise PeError(f"{where}: holds .NET code", hint=_HINT)
    aligns = (image.section_align, image.file_align)
    if any(one & (one - 1) or not one for one in aligns) or aligns[0] < _PAGE or aligns[1] < _SECTOR:
        raise PeError(f"{where}: its sections are aligned to {aligns[0]} and {aligns[1]}, which is not usual")
    _check_order(image)
    _demand_room(image)


def _check_order(image: Image) -> None:
    """Raise PeError unless sections follow each other in memory without a gap, as the loader demands."""
    at = up(image.headers, image.section_align)
    for one in image.sections:
        if one.address != at:
            raise PeError(
                f"{image.where}: section {one.name} is at {one.address:#x}, not at {at:#x} behind the one before"
            )
        at += up(one.extent, image.section_align)
    if image.memory != at:
        raise PeError(
            f"{image.where}: says that it takes {image.memory} bytes of memory, its sections take {at}"
        )


def _demand_room(image: Image) -> None:
    """Raise PeError when the headers have no room for another section."""
    start = image.table + len(image.sections) * pe.SECTION.size
    end = start + pe.SECTION.size
    used = min((one.offset for one in image.sections if one.size), default=image.headers)
    bound = image.directory(pe.BOUND)
    taken = bound.size and bound.address < end
    if end > min(image.headers, used) or taken or any(image.data[start:end]):
        raise PeError(
            f"{image.where}: its headers have no room for another section (at {start:#x})",
            hint=f"{_HINT}; whoever links it can give it larger headers",
        )


def _places(change: Change) -> list[_Place]:
    """Return where the fat binaries that move are and will be, in the order of the old addresses."""
    found, at = [], change.address
    for index in sorted(change.new):
        one = change.old[index]
        start = address(change.image, one.offset)
        found.append(_Place(start, start + one.size, at))
        at += up(len(change.new[index]), _ALIGN)
    return sorted(found)


def address(image: Image, offset: int) -> int:
    """Return the address, from the library's start, of what lies in a section at an offset in the file."""
    section = next(one for one in image.sections if one.offset <= offset < one.offset + one.size)
    return section.address + offset - section.offset


def _added(change: Change) -> bytes:
    """Return the new section's bytes."""
    new = (change.new[index] for index in sorted(change.new))
    return b"".join(one + bytes(-len(one) % _ALIGN) for one in new)


def _pointers(image: Image, places: Sequence[_Place]) -> Iterator[tuple[int, int]]:
    """Yield (offset in the file, new value) of every word that points to a fat binary that moves.

    PeError unless there is a base relocation for each, and a wrapper among them for each fat binary.
    """
    starts = [one.start for one in places]
    relocated: dict[int, int] = {}
    for one in pe.relocations(image) if not image.flags & _STRIPPED else ():
        if one.kind != pe.DIR64:
            continue
        at = pe.file_offset(image, one.address, 8)
        value = int.from_bytes(image.data[at : at + 8], "little") - image.base
        before = bisect_right(starts, value)
        if not before or value >= places[before - 1].end:
            continue
        if value != places[before - 1].start:
            raise PeError(
                f"{image.where}: the word at {one.address:#x} points into a fat binary, not to its start"
            )
        relocated[one.address] = value
        yield at, image.base + places[before - 1].new
    _check_wrappers(image, starts, relocated)


def _check_wrappers(image: Image, starts: Sequence[int], relocated: Mapping[int, int]) -> None:
    """Raise PeError unless every wrapper of what moves is of version 1 and relocated, and each fat binary has one."""
    wrapped = set()
    for address, version, target in wrappers(image):
        if target not in starts:
            continue
        name = f"{image.where}: the wrapper at {address:#x}"
        if version != 1:
            raise PeError(
                f"{name} is of version {version} (relocatable device code), which cannot be changed",
                hint=_HINT,
            )
        if relocated.get(address + 8) != target:
            raise PeError(f"{name} has no base relocation, so that its pointer cannot be moved", hint=_HINT)
        wrapped.add(target)
    lacking = [one for one in starts if one not in wrapped]
    if lacking:
        raise PeError(
            f"{image.where}: no wrapper in section {WRAPPERS} points to the fat binary at {lacking[0]:#x}",
            hint=_HINT,
        )


def wrappers(image: Image) -> Iterator[tuple[int, int, int]]:
    """Yield (address, version, address of the fat binary) of every wrapper. PeError for what is none."""
    for section in image.sections:
        if section.name == WRAPPERS:
            yield from _wrappers(image, section)


def _wrappers(image: Image, section: Section) -> Iterator[tuple[int, int, int]]:
    data = image.data[section.offset : section.offset + section.in_file]
    at = 0
    while at < len(data):
        if not any(data[at : at + 8]):
            at += 8  # linkers may fill up between two objects
            continue
        if len(data) - at < WRAPPER.size or WRAPPER.unpack_from(data, at)[0] != WRAPPER_MAGIC:
            raise PeError(f"{image.where}: section {WRAPPERS} holds something else than wrappers, at {at:#x}")
        _, version, pointer, _ = WRAPPER.unpack_from(data, at)
        yield section.address + at, version, pointer - image.base
        at += WRAPPER.size


def _write_headers(patches: Patches, change: Change, memory: int, size: int) -> None:
    """Write the new section's header, the number of sections, and the sizes."""
    image = change.image
    header = pe.SECTION.pack(
        FATBIN.encode(), memory, change.address, size, change.offset, 0, 0, 0, 0, _READ_ONLY
    )
    patches.write(image.table + len(image.sections) * pe.SECTION.size, header)
    patches.write(image.optional - pe.COFF.size + 2, struct.pack("<H", len(image.sections) + 1))
    at = image.optional + _INITIALISED_AT
    old = int.from_bytes(image.data[at : at + 4], "little")
    patches.write(at, struct.pack("<I", (old + size) & 0xFFFF_FFFF))
    whole = change.address + up(memory, image.section_align)
    patches.write(image.optional + _MEMORY_AT, struct.pack("<I", whole))
