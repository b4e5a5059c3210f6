"""The bytes of a shared object after an edit: where everything goes, and every table that must say so; pure.

The new file is the old one with ranges written over, one range cut out, and new content put in behind the loaded
part. Addresses of what stays never change.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from retread.elf import image as ei
from retread.elf.edit import Block, Change, Fatbins
from retread.elf.fatbin import WRAPPER, WRAPPER_MAGIC
from retread.elf.image import Section, Segment
from retread.errors import KEEP_LIBRARY, ElfError
from retread.records import Record

Piece = bytes | memoryview | range
"""New bytes, or a range of the source file."""

_WRAPPERS: Final = ".nvFatBinSegment"
_ADDRESS_TAGS: Final = frozenset(
    (ei.DT_HASH, ei.DT_STRTAB, ei.DT_SYMTAB, ei.DT_GNU_HASH, ei.DT_VERSYM, ei.DT_VERDEF, ei.DT_VERNEED)
)


class Layout(Record, frozen=True, kw_only=True):
    """Where everything goes."""

    moved: dict[int, Section]
    """By index: the sections that move, as they will be. The fat binaries' section may be among them."""
    starts: dict[int, tuple[int, int, int]]
    """By a fat binary's old address: its old size, its new address, its new size."""
    vaddr: int
    offset: int
    """Where the added content starts."""
    size: int
    cut: range
    """What of the source the added content stands for: empty, or the rest of our own segment."""
    tail: int
    """Where the new file goes on with what follows the loaded part."""


class Patches:
    """Bytes to be written over ranges of the source; the later one wins where two overlap."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._writes: list[tuple[int, bytes]] = []

    def write(self, at: int, new: bytes) -> None:
        """Write ``new`` over the source at an offset."""
        self._writes.append((at, new))

    def extend(self, other: Patches) -> None:
        """Add what ``other`` writes; it wins."""
        self._writes += other._writes

    def pieces(self, start: int, end: int) -> Iterator[Piece]:
        """Yield the range of the source with the writes in it applied."""
        at = start
        for first, last, numbers in self._groups(start, end):
            merged = bytearray(self._data[first:last])
            for number in sorted(numbers):
                where, new = self._writes[number]
                low, high = max(where, first), min(where + len(new), last)
                merged[low - first : high - first] = new[low - where : high - where]
            yield from (piece for piece in (range(at, first), bytes(merged)) if len(piece))
            at = last
        if at < end:
            yield range(at, end)

    def _groups(self, start: int, end: int) -> list[tuple[int, int, list[int]]]:
        """Return the writes that touch a range, those that overlap in one group."""
        groups: list[tuple[int, int, list[int]]] = []
        touching = [n for n, (at, new) in enumerate(self._writes) if at < end and at + len(new) > start]
        for number in sorted(touching, key=lambda n: self._writes[n][0]):
            at, new = self._writes[number]
            first, last = max(at, start), min(at + len(new), end)
            if groups and first < groups[-1][1]:
                before, until, members = groups.pop()
                members.append(number)
                groups.append((before, max(until, last), members))
            else:
                groups.append((first, last, [number]))
        return groups


def pieces(change: Change) -> tuple[Piece, ...]:
    """Return the new file, piece by piece. Raises ElfError when something refers to what moves in an unknown way."""
    image = change.image
    content, tables = Patches(image.data), Patches(image.data)
    if change.in_place:
        _write_dynamic(content, change, {})
        _write_sections(content, change, {}, None)
        _write_string(content, change)
        return tuple(content.pieces(0, len(image.data)))
    layout = _lay_out(change)
    _write_dynamic(content, change, layout.moved)
    _write_symbols(content, change, layout)
    _write_relocations(content, change, layout)
    added = list(_added(content, change, layout))
    _clear(tables, change)
    _write_string(tables, change)
    _write_sections(tables, change, layout.moved, layout)
    _write_headers(tables, change, layout)
    content.extend(tables)
    stay_end = layout.cut.start
    parts: list[Piece] = []
    for start, end in (
        ((0, change.hole.start), (change.hole.stop, stay_end)) if change.hole else ((0, stay_end),)
    ):
        parts += content.pieces(start, end)
    parts.append(bytes(layout.offset - (stay_end - len(change.hole))))
    parts += added
    parts.append(bytes(layout.tail - layout.offset - layout.size))
    parts += content.pieces(layout.cut.stop, len(image.data))
    return tuple(part for part in parts if len(part))


# Where everything goes


def up(value: int, align: int) -> int:
    """Return the next multiple of ``align``."""
    return value + -value % align


def _lay_out(change: Change) -> Layout:
    """Place what moves: first the blocks, then the fat binaries, which so can grow again."""
    vaddr, offset, cut = _origin(change)
    moved: dict[int, Section] = {}
    starts: dict[int, tuple[int, int, int]] = {}
    at = 0
    for block in change.blocks:
        at += _gap(block, vaddr + at)
        for section in block.sections:
            step = at + section.offset - block.start
            moved[section.index] = replace(section, addr=vaddr + step, offset=offset + step)
        at += block.end - block.start + len(block.tail)
    if change.fatbins:
        section, align = change.fatbins.section, _fatbin_align(change.fatbins)
        first = at = up(vaddr + at, align) - vaddr
        for one in change.fatbins.old:
            at = up(vaddr + at, align) - vaddr
            size = len(change.fatbins.new.get(one.index, one.data))
            starts[section.addr + one.offset] = (one.size, vaddr + at, size)
            at += size
        moved[section.index] = replace(section, addr=vaddr + first, offset=offset + first, size=at - first)
    behind = (one.align for one in change.image.sections if one.offset >= cut.stop)
    step = max(64, *behind, 0)
    tail = cut.stop + up(offset + at - cut.stop, step)
    return Layout(moved=moved, starts=starts, vaddr=vaddr, offset=offset, size=at, cut=cut, tail=tail)


def _origin(change: Change) -> tuple[int, int, range]:
    """Return address and file offset of the added content, and what of the source it stands for."""
    if change.own is not None and change.fatbins is not None:
        section = change.fatbins.section
        return section.addr, section.offset, range(section.offset, change.loaded)
    top = max(load.vaddr + load.memsz for load in change.image.loads)
    offset = up(change.loaded - len(change.hole), change.align)
    return up(top, change.align), offset, range(change.loaded, change.loaded)


def _gap(block: Block, address: int) -> int:
    """Return the padding before a block so that its sections stay aligned, each and to each other."""
    align = max(8, *(section.align for section in block.sections))
    return (block.sections[0].addr - address) % align


def _fatbin_align(fatbins: Fatbins) -> int:
    """Return the alignment of every fat binary: what the section asked for, 8 at least."""
    return max(8, fatbins.section.align)


def _added(content: Patches, change: Change, layout: Layout) -> Iterator[Piece]:
    """Yield the added content; ``content`` holds what changes in the sections that move."""
    at = 0
    for block in change.blocks:
        gap = _gap(block, layout.vaddr + at)
        yield bytes(gap)
        yield from content.pieces(block.start, block.end)
        yield block.tail
        at += gap + block.end - block.start + len(block.tail)
    if change.fatbins is None:
        return
    base = change.fatbins.section
    for one in change.fatbins.old:
        _, address, size = layout.starts[base.addr + one.offset]
        yield bytes(address - layout.vaddr - at)
        new = change.fatbins.new.get(one.index)
        start = base.offset + one.offset
        yield range(start, start + one.size) if new is None else new
        at = address - layout.vaddr + size


def _offset(change: Change, layout: Layout | None, offset: int, size: int) -> int:
    """Return where a range of the source lies in the new file. Raises ElfError when it is not kept whole."""
    if layout is None:
        return offset
    hole, cut = change.hole, layout.cut
    if offset >= cut.stop:
        return offset - cut.stop + layout.tail
    end = offset + size
    if end > cut.start or (hole and offset < hole.stop and end > hole.start):
        raise ElfError(
            f"{change.image.where}: bytes at {offset:#x} reach into the fat binaries or beyond a segment"
        )
    return offset - (len(hole) if hole and offset >= hole.stop else 0)


def _end_offset(change: Change, layout: Layout | None, offset: int) -> int:
    """Return the same for something without bytes, which stays behind what it stood behind."""
    if layout and offset == change.loaded == layout.cut.start:
        return _offset(change, layout, offset - 1, 1) + 1
    return _offset(change, layout, offset, 0)


# What refers to what moves


def _clear(tables: Patches, change: Change) -> None:
    """Write zeros over what moved away and is not cut out."""
    for block in change.blocks:
        tables.write(block.start, bytes(block.end - block.start))
    if change.fatbins and change.own is None:
        section = change.fatbins.section
        end = section.offset + section.size
        first, last = (change.hole.start, change.hole.stop) if change.hole else (end, end)
        tables.write(section.offset, bytes(first - section.offset))
        tables.write(last, bytes(end - last))


def _write_string(tables: Patches, change: Change) -> None:
    """Write the run path behind the string table, where room was made."""
    path = change.run_path
    if path and path.tail and path.in_place:
        tables.write(path.table.offset + path.table.size, path.tail)


def _write_dynamic(content: Patches, change: Change, moved: dict[int, Section]) -> None:
    """Write the dynamic section: the run path, and the addresses of tables that moved."""
    segment, pairs = ei.dynamic(change.image)
    if segment is None:
        return
    by_address = {
        change.image.sections[index].addr: new.addr
        for index, new in moved.items()
        if change.image.sections[index].size
    }
    new = [
        (tag, by_address.get(value, value) if tag in _ADDRESS_TAGS else value)
        for tag, value in (change.run_path.pairs if change.run_path else pairs)
    ]
    content.write(segment.offset, b"".join(ei.DYN.pack(*pair) for pair in new))


def _write_symbols(content: Patches, change: Change, layout: Layout) -> None:
    """Write the symbols whose section moves."""
    fatbins, olds = change.fatbins.section.index if change.fatbins else -1, sorted(layout.starts)
    for table in change.image.sections:
        if table.type not in (ei.SHT_SYMTAB, ei.SHT_DYNSYM):
            continue
        for number, (_, _, _, index, old, size) in enumerate(ei.records(change.image, table, ei.SYM)):
            new = layout.moved.get(index)
            if new is None:
                continue
            if index == fatbins:
                value, long = _fatbin_symbol(change, layout, olds, old, size)
            else:
                value, long = old + new.addr - change.image.sections[index].addr, size
            content.write(
                table.offset + number * ei.SYM.size + 8, struct.pack("<QQ", value % (1 << 64), long)
            )


def _fatbin_symbol(
    change: Change, layout: Layout, olds: Sequence[int], value: int, size: int
) -> tuple[int, int]:
    """Return value and size of a symbol that lies in the fat binaries; ``olds`` is where these were, sorted."""
    assert change.fatbins is not None
    section = change.fatbins.section
    new = layout.moved[section.index]
    if value == section.addr:
        first = layout.starts.get(value)
        return new.addr, first[2] if first and size == first[0] else size
    before = bisect_right(olds, value)
    if not before:
        return new.addr, size
    start = olds[before - 1]
    old_size, address, new_size = layout.starts[start]
    if value - start < old_size:
        return address + value - start, new_size if (value, size) == (start, old_size) else size
    return address + new_size, size


def _write_relocations(content: Patches, change: Change, layout: Layout) -> None:
    """Write the relocations whose target moves, and check that every wrapper is among them."""
    image = change.image
    old = [(image.sections[index], new) for index, new in layout.moved.items()]
    lowest = min((section.addr for section, _ in old), default=0)
    highest = max((section.addr + section.size for section, _ in old), default=0)
    places: dict[int, int] = {}
    for address, value, at in ei.relative(image):
        if not lowest <= value < highest:
            continue
        target = _target(change, layout, address, value)
        if target is None:
            continue
        places[address] = value
        content.write(at, struct.pack("<Q", target))
        word = ei.file_offset(image, address, 8)
        if image.data[word : word + 8] == struct.pack("<Q", value):
            content.write(word, struct.pack("<Q", target))
    if change.fatbins:
        _check_wrappers(change, places)


def _target(change: Change, layout: Layout, address: int, value: int) -> int | None:
    """Return where the target of a relocation moves, None when it stays. Raises ElfError when that is unknown."""
    for index, new in layout.moved.items():
        section = change.image.sections[index]
        if not section.addr <= value < section.addr + section.size:
            continue
        if change.fatbins is None or index != change.fatbins.section.index:
            return new.addr + value - section.addr
        if value not in layout.starts:
            raise ElfError(
                f"{change.image.where}: the word at {address:#x} points into a fat binary, not to its start"
            )
        return layout.starts[value][1]
    return None


def _check_wrappers(change: Change, places: dict[int, int]) -> None:
    """Raise ElfError unless every wrapper is of a known version and its pointer was found among the relocations.

    nvcc's device link, which is a step of every link by nvcc, makes wrappers of version 2: what they point to moves as
    any other, but may have no other content. Without relocatable code that is a fat binary without kernels.
    """
    image = change.image
    section = ei.named(image, _WRAPPERS)
    if section is None:
        raise ElfError(f"{image.where}: has fat binaries but no section {_WRAPPERS} that points to them")
    for number, (magic, version, _, _) in enumerate(ei.records(image, section, WRAPPER)):
        name, pointer = f"{image.where}: wrapper {number}", section.addr + number * WRAPPER.size + 8
        if magic != WRAPPER_MAGIC:
            raise ElfError(f"{name} has magic {magic:#x}")
        if version not in (1, 2) or (version == 2 and places.get(pointer) in _replaced(change)):
            raise ElfError(
                f"{name} is of version {version} (relocatable device code), which cannot be changed",
                hint=f"{KEEP_LIBRARY}, or compile it: lane 'source'",
            )
        if pointer not in places:
            raise ElfError(f"{name}: no relocation makes it point to a fat binary")


def _replaced(change: Change) -> set[int]:
    """Return where the fat binaries are, in the source, that get other bytes."""
    fatbins = change.fatbins
    return (
        {fatbins.section.addr + one.offset for one in fatbins.old if one.index in fatbins.new}
        if fatbins
        else set()
    )


# The tables of the file


def _write_sections(
    tables: Patches, change: Change, moved: dict[int, Section], layout: Layout | None
) -> None:
    """Write the section headers."""
    image, path = change.image, change.run_path
    for section in image.sections:
        new = moved.get(section.index, section)
        if new is section and section.type:
            offset = _place_section(change, layout, section)
            new = replace(section, offset=offset)
        if path and section.index == path.table.index:
            new = replace(new, size=new.size + len(path.tail))
        if new != section:
            header = ei.SHDR.pack(
                new.name_at, new.type, new.flags, new.addr, new.offset,
                new.size, new.link, new.info, new.align, new.entsize,
            )  # fmt: skip
            tables.write(image.shoff + section.index * ei.SHDR.size, header)


def _place_section(change: Change, layout: Layout | None, section: Section) -> int:
    """Return the new file offset of a section that stays."""
    if section.in_file:
        return _offset(change, layout, section.offset, section.in_file)
    return _end_offset(change, layout, section.offset)


def _write_headers(tables: Patches, change: Change, layout: Layout) -> None:
    """Write the ELF header and the program headers."""
    image = change.image
    segments: list[Segment] = []
    for segment in image.segments:
        segments += _place_segment(change, layout, segment)
    if change.own is None:
        last = max(number for number, one in enumerate(segments) if one.type == ei.PT_LOAD)
        added = Segment(
            type=ei.PT_LOAD, flags=4, offset=layout.offset, vaddr=layout.vaddr, paddr=layout.vaddr,
            filesz=layout.size, memsz=layout.size, align=change.align,
        )  # fmt: skip
        segments.insert(last + 1, added)
    size = len(segments) * ei.PHDR.size
    segments = [replace(one, filesz=size, memsz=size) if one.type == ei.PT_PHDR else one for one in segments]
    tables.write(image.phoff, b"".join(_packed(one) for one in segments))
    header = list(image.header)
    header[6] = _offset(change, layout, image.shoff, len(image.sections) * ei.SHDR.size)
    header[10] = len(segments)
    tables.write(0, ei.EHDR.pack(*header))


def _packed(one: Segment) -> bytes:
    """Return a program header; addresses wrap, as those of the source may say anything where nothing is loaded."""
    vaddr, paddr = one.vaddr % (1 << 64), one.paddr % (1 << 64)
    return ei.PHDR.pack(one.type, one.flags, one.offset, vaddr, paddr, one.filesz, one.memsz, one.align)


def _place_segment(change: Change, layout: Layout, segment: Segment) -> list[Segment]:
    """Return a segment as it will be; two for the one that has the hole."""
    start, end = segment.offset, segment.offset + segment.filesz
    if segment.type == ei.PT_LOAD:
        return _place_load(change, layout, segment)
    for block in change.blocks:
        if segment.filesz and start < block.end and end > block.start:
            if start < block.start or end > block.end or segment.type not in (ei.PT_NOTE, ei.PT_GNU_PROPERTY):
                raise ElfError(
                    f"{change.image.where}: a segment of type {segment.type:#x} covers what must move"
                )
            first = layout.moved[block.sections[0].index]
            step = first.addr - block.sections[0].addr
            return [
                replace(
                    segment,
                    offset=first.offset + start - block.start,
                    vaddr=segment.vaddr + step,
                    paddr=segment.paddr + step,
                )
            ]
    fatbins = change.fatbins.section if change.fatbins else None
    if fatbins and segment.filesz and start < fatbins.offset + fatbins.size and end > fatbins.offset:
        raise ElfError(f"{change.image.where}: a segment of type {segment.type:#x} covers the fat binaries")
    if not segment.filesz:
        return [replace(segment, offset=_end_offset(change, layout, start))]
    return [replace(segment, offset=_offset(change, layout, start, segment.filesz))]


def _place_load(change: Change, layout: Layout, load: Segment) -> list[Segment]:
    """Return a loaded segment as it will be; two for the one that has the hole."""
    hole = change.hole
    end = load.offset + load.filesz
    if load is change.own:
        size = layout.offset - load.offset + layout.size
        return [replace(load, filesz=size, memsz=size)]
    if not load.filesz:
        return [replace(load, offset=_end_offset(change, layout, load.offset))]
    if not (hole and load.offset <= hole.start and hole.stop <= end):
        return [replace(load, offset=_offset(change, layout, load.offset, load.filesz))]
    before, skipped = hole.start - load.offset, hole.stop - load.offset
    parts: list[Segment] = []
    if before:
        offset = _offset(change, layout, load.offset, before)
        parts.append(replace(load, offset=offset, filesz=before, memsz=before))
    if end > hole.stop:
        parts.append(
            replace(
                load,
                offset=_offset(change, layout, hole.stop, end - hole.stop),
                vaddr=load.vaddr + skipped,
                paddr=load.paddr + skipped,
                filesz=load.filesz - skipped,
                memsz=load.memsz - skipped,
            )
        )
    return parts
