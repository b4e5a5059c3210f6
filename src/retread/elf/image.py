"""The tables of a 64-bit little-endian ELF file, read strictly from its bytes; pure.

Every offset that a table gives is checked here, once, so that nobody who uses an ``Image`` can run out of the file.
Source: System V ABI, chapters 4 and 5; elf.h of glibc 2.36 for the GNU extensions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from retread import limits
from retread.errors import ElfError
from retread.records import Record

EHDR: Final = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR: Final = struct.Struct("<IIQQQQQQ")
SHDR: Final = struct.Struct("<IIQQQQIIQQ")
DYN: Final = struct.Struct("<QQ")
SYM: Final = struct.Struct("<IBBHQQ")
RELA: Final = struct.Struct("<QQq")

PT_LOAD, PT_DYNAMIC, PT_NOTE, PT_PHDR, PT_GNU_PROPERTY = 1, 2, 4, 6, 0x6474E553
SHT_NULL, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_HASH, SHT_NOTE, SHT_NOBITS, SHT_REL = 0, 2, 3, 4, 5, 7, 8, 9
SHT_DYNSYM, SHT_RELR, SHT_GNU_HASH, SHT_VERDEF, SHT_VERNEED, SHT_VERSYM = (
    11, 19, 0x6FFFFFF6, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF,
)  # fmt: skip
SHF_ALLOC, SHF_EXECINSTR = 2, 4
STB_LOCAL, STB_WEAK = 0, 2
STT_SECTION, STT_FILE = 3, 4
DT_NULL, DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_RPATH, DT_RUNPATH = 0, 1, 4, 5, 6, 10, 15, 29
DT_GNU_HASH, DT_VERSYM, DT_VERDEF, DT_VERNEED, DT_VERNEEDNUM = (
    0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFE, 0x6FFFFFFF,
)  # fmt: skip

_ET_EXEC: Final = 2
_ET_DYN: Final = 3
MACHINES: Final = {62: "x86_64", 183: "aarch64"}
RELATIVE: Final = {62: 8, 183: 1027}
"""The relocation that adds the load address: R_X86_64_RELATIVE, R_AARCH64_RELATIVE."""
_MAX_ALIGN: Final = 1 << 24
_MAX_ADDRESS: Final = 1 << 47


class Segment(Record, frozen=True, kw_only=True):
    """A program header."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


class Section(Record, frozen=True, kw_only=True):
    """A section header, with its index and its name."""

    index: int
    name: str
    name_at: int
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entsize: int

    @property
    def in_file(self) -> int:
        """Bytes that it takes in the file."""
        return 0 if self.type in (SHT_NULL, SHT_NOBITS) else self.size

    @property
    def allocated(self) -> bool:
        """Whether it is part of the running library."""
        return bool(self.flags & SHF_ALLOC)


class Symbol(NamedTuple):
    """An entry of a symbol table."""

    name: str
    binding: int
    type: int
    other: int
    section: int
    """Index of the section that it is in; 0 for one that others define, from 0xff00 on none."""
    value: int
    size: int


class Image(Record, frozen=True, kw_only=True):
    """An ELF file's bytes and tables."""

    where: str
    data: memoryview
    machine: int
    header: tuple[bytes | int, ...]
    """The fields of the ELF header, as ``EHDR`` has them."""
    phoff: int
    shoff: int
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]

    @property
    def flags(self) -> int:
        """The processor's own flags: in a cubin, among other things, the architecture."""
        return int(self.header[7])

    @property
    def loads(self) -> tuple[Segment, ...]:
        """The segments that become memory, by address."""
        return tuple(segment for segment in self.segments if segment.type == PT_LOAD)


def parse(data: bytes | memoryview, *, where: str) -> Image:
    """Return the tables of a shared object. Raises ElfError when it is another kind of file, or corrupt."""
    view, fields = header(data, where)
    _, kind, machine, *_, phnum, _, shnum, _ = fields
    if kind != _ET_DYN or machine not in MACHINES:
        raise ElfError(f"{where}: no x86-64 or aarch64 shared object (type {kind}, machine {machine})")
    if not phnum or not shnum:
        raise ElfError(f"{where}: without section headers or program headers")
    image = _tables(view, fields, where)
    _check(image)
    return image


def loaded(data: bytes | memoryview, *, where: str) -> Image:
    """Return the tables of a shared object or a program as the loader takes it: section headers may be none, or wrong.

    Raises ElfError when it is another kind of file, or when its program headers leave it.
    """
    view, fields = header(data, where)
    kind, machine = fields[1:3]
    if kind not in (_ET_EXEC, _ET_DYN) or machine not in MACHINES:
        raise ElfError(f"{where}: no x86-64 or aarch64 shared object (type {kind}, machine {machine})")
    try:
        image = _tables(view, fields, where)
    except ElfError:
        image = _tables(view, (*fields[:6], 0, *fields[7:12], 0, 0), where)
    if any(section.name == ".dynamic" and section.type == SHT_NOBITS for section in image.sections):
        raise ElfError(f"{where}: holds debug information only")
    for one in image.segments:
        if one.type in (PT_LOAD, PT_DYNAMIC):
            cut(view, one.offset, one.filesz, where, f"a segment of type {one.type:#x}")
    return image


def tables(data: bytes | memoryview, *, where: str) -> Image:
    """Return the tables of any 64-bit little-endian ELF file, a cubin for example: in bounds, not more is promised.

    Raises ElfError when it is none, or when a table or a section leaves the file.
    """
    view, fields = header(data, where)
    return _tables(view, fields, where)


def cut(view: memoryview, offset: int, size: int, where: str, what: str) -> memoryview:
    """Return a range of the file. Raises ElfError when it leaves the file."""
    if offset > len(view) or size > len(view) - offset:
        raise ElfError(f"{where}: {what} leave the file (offset {offset:#x}, {size} bytes)")
    return view[offset : offset + size]


def contents(image: Image, section: Section) -> memoryview:
    """Return a section's bytes; none for a section that has only an address."""
    return image.data[section.offset : section.offset + section.in_file]


def named(image: Image, name: str) -> Section | None:
    """Return the section of that name, or None. Raises ElfError when there are several."""
    found = [section for section in image.sections if section.name == name]
    if len(found) > 1:
        raise ElfError(f"{image.where}: {len(found)} sections are called {name}")
    return found[0] if found else None


def records(image: Image, section: Section, layout: struct.Struct) -> Iterator[tuple[int, ...]]:
    """Yield the entries of a table. Raises ElfError when its size is no multiple of theirs."""
    if section.size % layout.size:
        raise ElfError(f"{image.where}: {section.name} has {section.size} bytes, no whole number of entries")
    return layout.iter_unpack(contents(image, section))


class Strings:
    """A string table. Each of its names is read once, and all together are in proportion to it."""

    def __init__(self, table: bytes | memoryview, where: str) -> None:
        self._table, self._where = bytes(table), where
        self._seen: dict[int, str] = {}
        self._left = limits.NAMES * len(self._table) + limits.NAME

    def at(self, offset: int) -> str:
        """Return the string at an offset. Raises ElfError when it leaves the table, or is longer than any name."""
        found = self._seen.get(offset)
        if found is None:
            end = self._table.find(b"\0", offset, offset + limits.NAME)
            if offset >= len(self._table) or end < 0:
                kind = "leaves its string table" if offset + limits.NAME > len(self._table) else "is too long"
                raise ElfError(f"{self._where}: a name {kind}")
            self._left -= end - offset
            if self._left < 0:
                raise ElfError(
                    f"{self._where}: names overlap to more than {limits.NAMES} times their string table"
                )
            found = self._seen[offset] = self._table[offset:end].decode("utf-8", "backslashreplace")
        return found


def symbols(image: Image, section: Section) -> Iterator[Symbol]:
    """Yield the entries of a symbol table, the empty first one too. Raises ElfError when a name is none."""
    if section.link >= len(image.sections):
        raise ElfError(f"{image.where}: section {section.name} refers to a section that is not there")
    names = Strings(contents(image, image.sections[section.link]), image.where)
    for at, info, other, index, value, size in records(image, section, SYM):
        yield Symbol(names.at(at), info >> 4, info & 0xF, other, index, value, size)


def dynamic(image: Image) -> tuple[Segment | None, tuple[tuple[int, int], ...]]:
    """Return the dynamic segment and its (tag, value) pairs up to the first DT_NULL; (None, ()) without one."""
    segment = next((one for one in image.segments if one.type == PT_DYNAMIC), None)
    if segment is None:
        return None, ()
    pairs: list[tuple[int, int]] = []
    for tag, value in DYN.iter_unpack(image.data[segment.offset :][: segment.filesz // DYN.size * DYN.size]):
        if tag == DT_NULL:
            return segment, tuple(pairs)
        pairs.append((tag, value))
    raise ElfError(f"{image.where}: the dynamic section has no end")


def file_offset(image: Image, address: int, size: int) -> int:
    """Return where the file has the ``size`` bytes of ``address``. Raises ElfError when it has none."""
    for load in image.loads:
        if load.vaddr <= address and address + size <= load.vaddr + load.filesz:
            return load.offset + address - load.vaddr
    raise ElfError(f"{image.where}: no bytes for address {address:#x}")


def relative(image: Image) -> Iterator[tuple[int, int, int]]:
    """Yield (address, value, file offset of the value) of every relocation that adds the load address.

    For RELA the value is the addend; for RELR it lies at the address itself. Raises ElfError.
    """
    for number, one in enumerate(_relative(image)):
        if number > len(image.data) // 8:
            raise ElfError(f"{image.where}: has more relocations than words that they could change")
        yield one


def _relative(image: Image) -> Iterator[tuple[int, int, int]]:
    wanted = RELATIVE[image.machine]
    for section in image.sections:
        if not section.allocated:
            continue
        if section.type == SHT_RELA:
            for number, (address, info, addend) in enumerate(records(image, section, RELA)):
                if info == wanted:
                    yield address, addend, section.offset + number * RELA.size + 16
        elif section.type == SHT_RELR:
            for address in _relr(image, section):
                at = file_offset(image, address, 8)
                yield address, int.from_bytes(image.data[at : at + 8], "little"), at
        elif section.type == SHT_REL and section.size:
            raise ElfError(f"{image.where}: {section.name} holds REL relocations")


def _relr(image: Image, section: Section) -> Iterator[int]:
    """Yield the addresses of a packed table: an address, then bitmaps for the 63 words after it.

    Source: the gABI proposal "Proposal for a new section type SHT_RELR".
    """
    base = 0
    for (word,) in records(image, section, struct.Struct("<Q")):
        if not word & 1:
            yield word
            base = word + 8
            continue
        yield from (base + 8 * bit for bit in range(63) if word >> (bit + 1) & 1)
        base += 63 * 8


def header(data: bytes | memoryview, where: str) -> tuple[memoryview, tuple[Any, ...]]:
    """Return a file's bytes and the fields of its ELF header. Raises ElfError when it is no ELF file of our kind."""
    view = memoryview(data).toreadonly().cast("B")
    if len(view) < EHDR.size or bytes(view[:4]) != b"\x7fELF":
        raise ElfError(f"{where}: no ELF file")
    if bytes(view[4:6]) != b"\x02\x01":
        raise ElfError(f"{where}: not a 64-bit little-endian ELF file")
    return view, EHDR.unpack_from(view)


def _tables(view: memoryview, header: tuple[Any, ...], where: str) -> Image:
    """Return the tables that an ELF header gives."""
    _, _, machine, _, _, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, names = header
    if (
        (phnum and phentsize != PHDR.size)
        or (shnum and (shentsize != SHDR.size or names >= shnum))
        or phnum > limits.SEGMENTS
    ):
        raise ElfError(f"{where}: section headers or program headers of another format, or too many")
    segments = tuple(
        Segment(
            type=fields[0], flags=fields[1], offset=fields[2], vaddr=fields[3],
            paddr=fields[4], filesz=fields[5], memsz=fields[6], align=fields[7],
        )
        for fields in PHDR.iter_unpack(cut(view, phoff, phnum * PHDR.size, where, "program headers"))
    )  # fmt: skip
    return Image(
        where=where, data=view, machine=machine, header=header, phoff=phoff, shoff=shoff,
        segments=segments, sections=_sections(view, shoff, shnum, names, where) if shnum else (),
    )  # fmt: skip


def _sections(view: memoryview, shoff: int, shnum: int, names: int, where: str) -> tuple[Section, ...]:
    """Return the section headers with their names."""
    raw = list(SHDR.iter_unpack(cut(view, shoff, shnum * SHDR.size, where, "section headers")))
    names_of = Strings(cut(view, raw[names][4], raw[names][5], where, "section names"), where)
    for kind in (SHT_SYMTAB, SHT_DYNSYM):
        if sum(fields[1] == kind for fields in raw) > 1:
            raise ElfError(f"{where}: several symbol tables of one kind, which no linker makes")
    found: list[Section] = []
    for index, fields in enumerate(raw):
        name = names_of.at(fields[0])
        section = Section(
            index=index, name=name, name_at=fields[0], type=fields[1], flags=fields[2], addr=fields[3],
            offset=fields[4], size=fields[5], link=fields[6], info=fields[7], align=fields[8], entsize=fields[9],
        )  # fmt: skip
        if section.type:
            cut(view, section.offset, section.in_file, where, f"section {index} ({name})")
        found.append(section)
    return tuple(found)


def _check(image: Image) -> None:
    """Raise ElfError when segments or sections contradict each other."""
    where, last = image.where, 0
    for one in image.segments:
        cut(image.data, one.offset, one.filesz, where, f"a segment of type {one.type:#x}")
    for load in image.loads:
        _check_alignment(load.align, where)
        if load.filesz > load.memsz or load.vaddr < last or load.vaddr + load.memsz > _MAX_ADDRESS:
            raise ElfError(f"{where}: the segment at {load.vaddr:#x} overlaps another or has no sense")
        if (load.offset - load.vaddr) % max(load.align, 1):
            raise ElfError(f"{where}: the segment at {load.vaddr:#x} is not aligned as it says")
        last = load.vaddr + load.memsz
    if not image.loads:
        raise ElfError(f"{where}: has no segment to load")
    if any(section.name == ".dynamic" and section.type == SHT_NOBITS for section in image.sections):
        raise ElfError(f"{where}: holds debug information only")
    for section in image.sections:
        _check_alignment(section.align, where)
        if section.link >= len(image.sections):
            raise ElfError(f"{where}: section {section.name} refers to a section that is not there")
        if (
            section.allocated
            and section.in_file
            and file_offset(image, section.addr, section.size) != section.offset
        ):
            raise ElfError(f"{where}: section {section.name} is not where its segment is")


def _check_alignment(align: int, where: str) -> None:
    if align & (align - 1) or align > _MAX_ALIGN:
        raise ElfError(f"{where}: alignment of {align} makes no sense")
