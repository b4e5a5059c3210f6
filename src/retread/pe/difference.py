"""What differs between two builds of one Windows library, part by part, and whether it can change what it does.

Fat binaries, and the names that nvcc makes up, are compared as those of shared objects (``elf.difference``). The times
at which it was linked, its debug information, its checksum and its signature describe; whatever else is loaded counts
as code. Where a fat binary lies does not matter, as long as the wrappers point to the same one.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from retread.elf.difference import Finding, Names, Part, modules, sizes, union
from retread.elf.fatbin import FatBinary
from retread.errors import PeError
from retread.pe import edit, library
from retread.pe import image as pe
from retread.pe.image import Image

_EXECUTABLE: Final = 0x2000_0000
_DEBUG_ENTRY: Final = struct.Struct("<IIHHIIII")
"""characteristics, time, two of its version, kind, size, address, offset of the data. Source: "PE Format"."""
_OBEYED_DEBUG: Final = 20
"""The kind of debug information by which the loader acts: further characteristics of the library."""
_TIME_AT: Final = 4
"""Where tables of exports and of resources have the time at which they were made."""
_RESOURCES: Final = 2
_ENTRY_AT, _VERSIONS, _STACK = 16, slice(40, 52), slice(68, 108)
"""Fields of the optional header: where the library starts, for which Windows it is, subsystem and memory."""


class _Part(NamedTuple):
    """A section: what its header says, without its place in the file; its bytes, and those by which it acts.

    These have zeros for what describes, and a number for each pointer to a fat binary, wherever that lies.
    """

    address: int
    memory: int
    flags: int
    data: bytes
    acts: bytes


class _Library(NamedTuple):
    """A library, and its modules by the order of their wrappers: grafts move some of them behind the others."""

    image: Image
    modules: tuple[FatBinary, ...]


def compare(first: Path, second: Path) -> list[Finding]:
    """Return how two Windows libraries that are not the same differ, what runs and what does not.

    Raises PeError or FatbinError for what cannot be read as a Windows library with fat binaries.
    """
    left, right = (_library(library.load(path)) for path in (first, second))
    names = Names()
    found = [*_sections(left, right, names), *_headers(left.image, right.image)]
    found += [
        Finding(Part.CUBIN, detail, runs) for detail, runs in modules(left.modules, right.modules, names)
    ]
    # Everything that is loaded was compared; what is left is where things stand in the file.
    return found or [Finding(Part.SECTION, "places in the file, or times", False)]


def _library(image: Image) -> _Library:
    held = {edit.address(image, one.offset): one for one in edit.fat_binaries(image)}
    wrapped = dict.fromkeys(target for _, _, target in edit.wrappers(image) if target in held)
    ordered = [held[one] for one in dict.fromkeys((*wrapped, *held))]
    return _Library(image, tuple(replace(one, index=at) for at, one in enumerate(ordered)))


def _sections(left: _Library, right: _Library, names: Names) -> Iterator[Finding]:
    """Yield every section that differs; those of fat binaries are compared by what they hold."""
    one, two = _parts(left), _parts(right)
    for name in union(one, two):
        a, b = one.get(name), two.get(name)
        if name.partition(" ")[0] == edit.FATBIN:
            continue
        if a is None or b is None:
            yield Finding(Part.SECTION, f"{name} only in {'first' if a else 'second'}", True)
        elif a != b:
            detail, runs = _how(a, b, names)
            yield Finding(Part.SECTION, f"{name} ({detail})", runs)


def _how(a: _Part, b: _Part, names: Names) -> tuple[str, bool]:
    """Say how two sections of one name differ, and whether that runs."""
    if a._replace(data=b"") == b._replace(data=b""):
        return "times, debug information, or where fat binaries lie", False
    if a[:3] == b[:3] and not a.flags & _EXECUTABLE and names.same(a.acts, b.acts):
        return "names that nvcc made up", False
    if a.acts != b.acts:
        return sizes(len(a.acts), len(b.acts)), True
    return f"moved from {a.address:#x} to {b.address:#x}" if a.address != b.address else "its header", True


def _parts(one: _Library) -> dict[str, _Part]:
    """Return the sections by name; the second of a name is ``name (2)``."""
    image, seen = one.image, Counter[str]()
    found, alike = {}, [*_describes(image), *_pointers(one)]
    for section in image.sections:
        seen[section.name] += 1
        key = section.name + (f" ({seen[section.name]})" if seen[section.name] > 1 else "")
        data = bytes(image.data[section.offset : section.offset + section.in_file])
        acts = _with(data, section.offset, alike)
        found[key] = _Part(section.address, section.memory, section.flags, data, acts)
    return found


def _with(data: bytes, start: int, alike: Sequence[tuple[int, bytes]]) -> bytes:
    """Return a section's bytes with others at some offsets in the file."""
    inside = [(at - start, new) for at, new in alike if start <= at and at + len(new) <= start + len(data)]
    left = bytearray(data) if inside else data
    for at, new in inside:
        left[at : at + len(new)] = new  # type: ignore[index]
    return bytes(left)


def _pointers(one: _Library) -> Iterator[tuple[int, bytes]]:
    """Yield (offset in the file, number of the module) of each word that points to a fat binary."""
    image = one.image
    there = {edit.address(image, module.offset): module.index for module in one.modules}
    for word in pe.relocations(image):
        if word.kind == pe.DIR64:
            at = pe.file_offset(image, word.address, 8)
            target = int.from_bytes(image.data[at : at + 8], "little") - image.base
            if target in there:
                yield at, struct.pack("<Q", there[target])


def _describes(image: Image) -> Iterator[tuple[int, bytes]]:
    """Yield (offset in the file, zeros) for the times at which it was made, and for its debug information."""
    for number in (pe.EXPORTS, _RESOURCES):
        address, size = image.directory(number)
        if size >= _TIME_AT + 4:
            yield pe.file_offset(image, address + _TIME_AT, 4), bytes(4)
    address, size = image.directory(pe.DEBUG)
    if not size:
        return
    at = pe.file_offset(image, address, size)
    for start in range(at, at + size - _DEBUG_ENTRY.size + 1, _DEBUG_ENTRY.size):
        _, _, _, _, kind, length, _, offset = _DEBUG_ENTRY.unpack_from(image.data, start)
        yield start + 4, bytes(4)
        if kind != _OBEYED_DEBUG:
            yield start + 16, bytes(12)  # how long it is, and where
            yield offset, bytes(len(pe.cut(image.data, offset, length, image.where, "debug information")))


def _headers(left: Image, right: Image) -> Iterator[Finding]:
    """Yield how the headers and what lies behind the sections differ."""
    one, two = _said(left), _said(right)
    keys = [key for key in one if one[key] != two[key]]
    if keys:
        yield Finding(Part.SECTION, f"header: {', '.join(keys)}", True)
    if _stub(left) != _stub(right):
        yield Finding(Part.SECTION, "header: what is for DOS, or tells of the linker", False)
    for what, runs in (("the signature", False), ("bytes behind the sections", True)):
        if _behind(left)[what] != _behind(right)[what]:
            yield Finding(Part.SECTION, what, runs)


def _said(image: Image) -> Mapping[str, object]:
    """Return what the loader takes of the headers, by words for it; sizes follow from the sections."""
    head = bytes(image.data[image.optional : image.table])
    apart = (pe.SIGNED, pe.DEBUG)
    return {
        "machine": (image.machine, image.wide),
        "characteristics": (image.flags, image.rules),
        "base address": image.base,
        "where it starts": head[_ENTRY_AT : _ENTRY_AT + 4],
        "alignment": (image.section_align, image.file_align),
        "for which Windows": head[_VERSIONS],
        "subsystem and memory": head[_STACK],
        "directories": [one for at, one in enumerate(image.directories) if at not in apart],
    }


def _stub(image: Image) -> bytes:
    return bytes(image.data[: image.optional - pe.COFF.size - len(pe.SIGNATURE)])


def _behind(image: Image) -> Mapping[str, bytes]:
    """Return what lies behind the last section in the file: the signature, and anything else."""
    end = max((one.offset + one.size for one in image.sections if one.size), default=image.headers)
    at, size = image.directory(pe.SIGNED)
    if at and at < end:
        raise PeError(f"{image.where}: its signature lies among the sections")
    signature = bytes(image.data[at : at + size]) if at else b""
    rest = bytes(image.data[end:at] if at else image.data[end:]) + (
        bytes(image.data[at + size :]) if at else b""
    )
    return {"the signature": signature, "bytes behind the sections": rest.rstrip(b"\0")}
