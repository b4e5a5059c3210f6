"""The kernels of one image of a fat binary, by name: of machine code from its symbols, of PTX from its text. Pure.

A kernel is what a program can launch: a symbol of a cubin that is marked as an entry, an ``.entry`` of PTX. A module
without one (nvcc's link step adds such a stub to every library) runs nothing, whatever else it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from retread import limits
from retread.elf import fatbin, release
from retread.elf import image as ei
from retread.elf.fatbin import Entry, Kind, Room
from retread.elf.release import Told
from retread.errors import ElfError, FatbinError

ENTRY: Final = 0x10
"""STO_CUDA_ENTRY, in a symbol's ``st_other``. Source: cuda-gdb's headers; so in every cubin of ptxas 11 to 13 seen."""
_MARKED: Final = re.compile(b"[%s]" % b"".join(b"\\x%02x" % byte for byte in range(256) if byte & ENTRY))
_STT_FUNC: Final = 2
_ET_REL: Final = 1
_SHN_XINDEX: Final = 0xFFFF
_TEXT: Final = ".text."
_INFO: Final = ".nv.info."
_PTX_ENTRY: Final = re.compile(rb"\.entry\s+([A-Za-z0-9_$%]+)")
_PTX_BEFORE: Final = frozenset(b" \t\r\n;}")
_PTX_LONG_COMMENT: Final = re.compile(rb"/\*")
"""By an expression, as ``_PTX_ENTRY``: texts are large, and ``bytes.find`` of several bytes takes twice as long."""
_PTX_COMMENT: Final = re.compile(rb"/\*.*?(?:\*/|\Z)|//[^\n]*", re.DOTALL)
_COMPILE_ONLY: Final = "--compile-only"
"""The option that nvcc records with the PTX of ``-rdc=true``."""


class Looked(NamedTuple):
    """An image's kernels, whether it is relocatable (nothing runs it before it is linked), and who made it."""

    kernels: frozenset[str] | None
    relocatable: bool
    made: Told = Told()


def of_entry(entry: Entry, room: Room | None = None) -> Looked:
    """Return what an image of a fat binary is, unpacked into ``room`` if it has to be.

    One of another kind than machine code or PTX has no kernels. Raises FatbinError when it cannot be unpacked or read.
    """
    if entry.kind not in (Kind.PTX, Kind.ELF):
        return Looked(frozenset(), False)
    found = fatbin.unpacked(entry, room or Room())
    if entry.kind is Kind.PTX:
        text = found.obj if isinstance(found.obj, bytearray) and fatbin.is_packed(entry) else bytes(found)
        found_in = of_ptx(text, len(found))
        return Looked(found_in, _COMPILE_ONLY in entry.options.split(), release.of_ptx(entry.isa))
    try:
        return of_cubin(found, where=entry.where)
    except ElfError as error:
        raise FatbinError(str(error)) from error


def of_cubin(data: bytes | memoryview, *, where: str) -> Looked:
    """Return what machine code is. Raises ElfError when its symbols cannot be read.

    Large modules have tens of thousands of sections, so that only what is needed of them is read.
    """
    view, sections, names = _sections(data, where)
    notes = (_cut(view, one, where) for one in sections.of_type(ei.SHT_NOTE))
    return Looked(_named(view, sections, names, where), is_relocatable(data), release.of_cubin(view, notes))


def _named(view: memoryview, sections: _Headers, names: int, where: str) -> frozenset[str]:
    """Return the kernels of machine code.

    Without a symbol table (``strip`` takes it) they are the code sections that have a ``.nv.info`` of their own.
    """
    symbols = next(sections.of_type(ei.SHT_SYMTAB), None)
    if symbols is None:
        return frozenset() if not sections else _by_section(view, sections, sections[names], where)
    if symbols[6] >= len(sections):
        raise ElfError(f"{where}: the symbol table refers to a section that is not there")
    strings = ei.Strings(_content(view, sections[symbols[6]], where), where)
    return frozenset(strings.at(at) for at in _marked(view, symbols, where))


def extent(data: memoryview, *, where: str) -> int:
    """Return how many bytes a cubin takes at the start of ``data``. Raises ElfError when it is none, or not whole."""
    view, sections, _ = _sections(data, where)
    _, header = ei.header(data, where)
    ends = [header[6] + len(sections) * ei.SHDR.size, header[5] + header[10] * ei.PHDR.size]
    ends += [one[4] + one[5] for one in sections if one[1] != ei.SHT_NOBITS]
    return len(ei.cut(view, 0, max(ei.EHDR.size, *ends), where, "sections"))


def is_relocatable(data: bytes | memoryview) -> bool:
    """Say whether machine code has to be linked before it runs (``-rdc=true``)."""
    return int.from_bytes(data[16:18], "little") == _ET_REL


def of_ptx(text: bytes | bytearray, size: int | None = None) -> frozenset[str]:
    """Return the kernels of a PTX text, of its first ``size`` bytes if given; comments do not count."""
    end = len(text) if size is None else size
    if text.find(b"*", 0, end) >= 0 and _PTX_LONG_COMMENT.search(
        text, 0, end
    ):  # hardly a text has that letter
        text = _PTX_COMMENT.sub(b" ", memoryview(text)[:end])
        end = len(text)
    found = _PTX_ENTRY.finditer(text, 0, end)
    return frozenset(one[1].decode("ascii") for one in found if _is_code(text, one.start()))


def _is_code(text: bytes | bytearray, at: int) -> bool:
    """Say whether a directive of PTX is one: no part of another word, and behind no ``//`` on its line."""
    first = max(0, at - limits.PTX_LINE)
    before = text[max(first, text.rfind(b"\n", first, at) + 1) : at]
    return b"//" not in before and (not before or before[-1] in _PTX_BEFORE)


class _Headers:
    """Section headers, unpacked when they are asked for."""

    def __init__(self, table: bytes = b"") -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table) // ei.SHDR.size

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return ei.SHDR.iter_unpack(self._table)

    def __getitem__(self, index: int) -> tuple[int, ...]:
        return ei.SHDR.unpack_from(self._table, index * ei.SHDR.size)

    def of_type(self, kind: int) -> Iterator[tuple[int, ...]]:
        """Yield those of a type below 256, by the first byte of each one's type."""
        kinds = self._table[4 :: ei.SHDR.size]
        at = kinds.find(kind)
        while at >= 0:
            if self[at][1] == kind:
                yield self[at]
            at = kinds.find(kind, at + 1)


def _sections(data: bytes | memoryview, where: str) -> tuple[memoryview, _Headers, int]:
    """Return a cubin's bytes, its section headers, and which of them holds their names.

    From 65,280 sections on their number stands in the first of them. Source: System V ABI, chapter 4.
    """
    view, header = ei.header(data, where)
    shoff, size, count, names = header[6], header[11], header[12], header[13]
    if not shoff:
        return view, _Headers(), 0
    first = ei.SHDR.unpack(ei.cut(view, shoff, ei.SHDR.size, where, "section headers"))
    count, names = count or first[5], first[6] if names == _SHN_XINDEX else names
    if size != ei.SHDR.size or names >= count:
        raise ElfError(f"{where}: section headers of another format")
    return view, _Headers(bytes(ei.cut(view, shoff, count * size, where, "section headers"))), names


def _marked(view: memoryview, table: tuple[int, ...], where: str) -> Iterator[int]:
    """Yield where the names of the defined entry points of a symbol table stand.

    A library can have millions of symbols, labels nearly all, so that one byte of each is looked at first.
    """
    whole = table[5] // ei.SYM.size * ei.SYM.size
    symbols = bytes(ei.cut(view, table[4], whole, where, "symbols"))
    for match in _MARKED.finditer(symbols[5 :: ei.SYM.size]):
        name, info, _, section, _, _ = ei.SYM.unpack_from(symbols, match.start() * ei.SYM.size)
        if info & 0xF == _STT_FUNC and section:
            yield name


def _by_section(view: memoryview, sections: _Headers, table: tuple[int, ...], where: str) -> frozenset[str]:
    strings = ei.Strings(_content(view, table, where), where)
    names = {strings.at(one[0]) for one in sections}
    code = {name.removeprefix(_TEXT) for name in names if name.startswith(_TEXT)}
    return frozenset(name for name in code if _INFO + name in names)


def _content(view: memoryview, section: tuple[int, ...], where: str) -> bytes:
    return bytes(ei.cut(view, section[4], section[5], where, "a string table"))


def _cut(view: memoryview, section: tuple[int, ...], where: str) -> memoryview:
    return ei.cut(view, section[4], section[5], where, "a note")
