"""What must change in a shared object for other fat binaries or another run path; pure.

- New fat binaries go, all together and still as section ``.nv_fatbin``, to a read-only segment above every other.
  The pages of the old ones are cut out of the file; the segment around them becomes two. No code or data moves.
- Program headers and ``.dynstr`` grow where they are: the sections behind them move to the new segment, and only
  such sections whose every reference is known. ``strip`` and ``objcopy`` put these tables there, so must we.
- A segment that ends the library with ``.nv_fatbin`` (ours, from an earlier edit) is written anew, not added to.

``layout`` turns these decisions into the bytes of the new file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from retread.elf import fatbin
from retread.elf import image as ei
from retread.elf.fatbin import FatBinary
from retread.elf.image import Image, Section, Segment
from retread.errors import KEEP_LIBRARY, ElfError
from retread.records import Record

FATBIN: Final = ".nv_fatbin"
_PAGE: Final = 4096
_MOVABLE: Final = frozenset(
    (ei.SHT_NOTE, ei.SHT_HASH, ei.SHT_GNU_HASH, ei.SHT_DYNSYM, ei.SHT_VERDEF, ei.SHT_VERNEED, ei.SHT_VERSYM)
)
_FREE: Final = b"\0XZ"
"""What may lie between sections: zeros, or what patchelf writes over tables that it moved away."""


class Block(Record, frozen=True, kw_only=True):
    """Neighbouring sections that move to the new segment together, and bytes added behind the last."""

    sections: tuple[Section, ...]
    tail: bytes = b""

    @property
    def start(self) -> int:
        """Where they start in the source file."""
        return self.sections[0].offset

    @property
    def end(self) -> int:
        """Where they end in the source file."""
        return self.sections[-1].offset + self.sections[-1].size


class RunPath(Record, frozen=True, kw_only=True):
    """The dynamic section with another run path, and what its string table needs for it."""

    pairs: tuple[tuple[int, int], ...]
    table: Section
    tail: bytes
    """Appended to the string table; empty when it holds the string already."""
    blocks: tuple[Block, ...]
    """What moves so that the tail has room: the sections behind the table, or the table itself."""

    @property
    def in_place(self) -> bool:
        """Whether the string table stays where it is."""
        return all(self.table not in block.sections for block in self.blocks)


class Fatbins(Record, frozen=True, kw_only=True):
    """The fat binaries and the section that holds them, with the new bytes of some."""

    section: Section
    old: tuple[FatBinary, ...]
    new: Mapping[int, bytes | memoryview]


class Change(Record, frozen=True, kw_only=True):
    """Everything that must change."""

    image: Image
    run_path: RunPath | None
    fatbins: Fatbins | None
    blocks: tuple[Block, ...]
    """All that moves."""
    hole: range
    """What is cut out of the source file: whole pages of old fat binaries."""
    own: Segment | None
    """The segment that is written anew from the fat binaries on; without one, a segment is added."""
    align: int
    loaded: int
    """Where the loaded part of the source file ends."""

    @property
    def in_place(self) -> bool:
        """Whether everything stays where it is."""
        return self.fatbins is None and not self.blocks


def fat_binaries(image: Image) -> tuple[FatBinary, ...]:
    """Return the fat binaries of a library, none for one without device code. Raises ElfError, FatbinError."""
    section = ei.named(image, FATBIN)
    if section is None:
        return ()
    if section.type == ei.SHT_NOBITS:
        raise ElfError(f"{image.where}: {FATBIN} has no contents")
    return fatbin.parse(ei.contents(image, section), where=image.where)


def run_path(image: Image, pairs: Sequence[tuple[int, int]], strings: bytes) -> tuple[str, ...]:
    """Return the directories in which the loader looks for what the library needs (DT_RUNPATH wins over DT_RPATH)."""
    for wanted in (ei.DT_RUNPATH, ei.DT_RPATH):
        for tag, value in pairs:
            if tag == wanted:
                text = ei.Strings(strings, image.where).at(value)
                return tuple(text.split(":")) if text else ()
    return ()


def plan(
    image: Image, *, fatbins: Mapping[int, bytes | memoryview], wanted_path: Sequence[str] | None
) -> Change:
    """Return what must change for these fat binaries (by module index) and this run path.

    Raises ElfError when the library cannot be edited safely, FatbinError when a fat binary is corrupt.
    """
    path = _plan_run_path(image, tuple(wanted_path)) if wanted_path is not None else None
    replaced = _plan_fatbins(image, fatbins) if fatbins else None
    align = max(_PAGE, *(load.align for load in image.loads))
    loaded = max(load.offset + load.filesz for load in image.loads)
    own = _own_segment(image, replaced.section, align, loaded) if replaced else None
    hole = _hole(image, replaced.section, align) if replaced and own is None else range(0)
    blocks = path.blocks if path else ()
    if replaced or blocks:
        added = (own is None) + (1 if _inside(image, hole) else 0)
        # Notes first: 'objcopy --only-keep-debug' keeps them and empties the rest of their segment.
        blocks = _room_for_headers(image, added, path) + blocks
    return Change(
        image=image,
        run_path=path,
        fatbins=replaced,
        blocks=blocks,
        hole=hole,
        own=own,
        align=align,
        loaded=loaded,
    )


def _plan_fatbins(image: Image, new: Mapping[int, bytes | memoryview]) -> Fatbins:
    """Check that the fat binaries can be replaced. Raises ElfError, FatbinError."""
    old = fat_binaries(image)
    section = ei.named(image, FATBIN)
    fatbin.demand_replaceable(old, new, image.where)
    assert section is not None
    if not section.allocated:
        raise ElfError(f"{image.where}: {FATBIN} is not part of the running library")
    if ei.named(image, "__nv_relfatbin") is not None:
        raise ElfError(
            f"{image.where}: holds relocatable device code (__nv_relfatbin), which cannot be changed",
            hint=f"{KEEP_LIBRARY}, or compile it: lane 'source'",
        )
    return Fatbins(section=section, old=old, new=new)


def _plan_run_path(image: Image, wanted: tuple[str, ...]) -> RunPath | None:
    """Return what must change for a run path, None when it is there already. Raises ElfError."""
    segment, pairs = ei.dynamic(image)
    if segment is None:
        raise ElfError(f"{image.where}: has no dynamic section")
    table = _string_table(image, pairs)
    strings = bytes(ei.contents(image, table))
    present = [tag for tag, _ in pairs if tag in (ei.DT_RPATH, ei.DT_RUNPATH)]
    if run_path(image, pairs, strings) == wanted and present == [ei.DT_RUNPATH] * bool(wanted):
        return None
    text = ":".join(wanted).encode() + b"\0"
    found = strings.find(b"\0" + text) + 1
    tail = text if wanted and not found else b""
    size = table.size + len(tail)
    kept = [(tag, size if tag == ei.DT_STRSZ else value) for tag, value in pairs]
    kept = [pair for pair in kept if pair[0] not in (ei.DT_RPATH, ei.DT_RUNPATH)]
    if wanted:
        kept.append((ei.DT_RUNPATH, found or table.size))
    if len(kept) >= segment.filesz // ei.DYN.size:
        raise ElfError(
            f"{image.where}: no free entry in the dynamic section for a run path",
            hint="run 'patchelf --set-rpath' on the library once: it can move the dynamic section",
        )
    kept += [(ei.DT_NULL, 0)] * (len(pairs) + 1 - len(kept))
    blocks = _room_for_string(image, table, tail) if tail else ()
    return RunPath(pairs=tuple(kept), table=table, tail=tail, blocks=blocks)


def _string_table(image: Image, pairs: Sequence[tuple[int, int]]) -> Section:
    """Return the section that is the dynamic section's string table."""
    tags = dict(pairs)
    for section in image.sections:
        at = (section.type, section.addr, section.size)
        if section.allocated and at == (ei.SHT_STRTAB, tags.get(ei.DT_STRTAB), tags.get(ei.DT_STRSZ)):
            return section
    raise ElfError(f"{image.where}: no section is the dynamic section's string table")


def _room_for_string(image: Image, table: Section, tail: bytes) -> tuple[Block, ...]:
    """Return what moves so that the string table can grow: what follows it, else the table itself."""
    try:
        return _evict(image, table.offset + table.size, len(tail), ())
    except ElfError:
        return (Block(sections=(table,), tail=tail),)


def _room_for_headers(image: Image, added: int, path: RunPath | None) -> tuple[Block, ...]:
    """Return what moves, beside what moves already, so that program headers can be added."""
    table_end = image.phoff + len(image.segments) * ei.PHDR.size
    if not any(load.offset <= image.phoff and table_end <= load.offset + load.filesz for load in image.loads):
        raise ElfError(f"{image.where}: the program headers are not part of a segment")
    if not added:
        return ()
    moved = tuple(section for block in path.blocks for section in block.sections) if path else ()
    return _evict(image, table_end, added * ei.PHDR.size, moved)


def _evict(image: Image, start: int, room: int, moved: Sequence[Section]) -> tuple[Block, ...]:
    """Return which sections must move so that ``room`` bytes from ``start`` on are free, ``moved`` moving anyway.

    Raises ElfError when something stands there that cannot be moved.
    """
    load = next(one for one in image.loads if one.offset < start <= one.offset + one.filesz)
    end, free = load.offset + load.filesz, start
    runs: list[list[Section]] = [[]]
    for section in _in_file_order(image, start):
        _check_free(image, free, min(section.offset, start + room))
        if section.offset - start >= room and not _inside_note(image, section.offset):
            end = min(end, section.offset)
            break
        free = max(free, section.offset + section.size)
        if section in moved:
            runs.append([])
        elif section.type in _MOVABLE and section.offset >= start:
            runs[-1].append(section)
        else:
            raise ElfError(
                f"{image.where}: no room at {start:#x}: {section.name or 'a section'} cannot be moved"
            )
    if end - start < room:
        raise ElfError(f"{image.where}: no room at {start:#x} for {room} bytes")
    _check_free(image, free, start + room)
    return tuple(Block(sections=tuple(run)) for run in runs if run)


def _in_file_order(image: Image, start: int) -> list[Section]:
    """Return the sections that reach behind an offset, as they lie in the file."""
    later = (one for one in image.sections if one.type and one.in_file and one.offset + one.size > start)
    return sorted(later, key=lambda one: one.offset)


def _check_free(image: Image, start: int, end: int) -> None:
    """Raise ElfError when bytes that belong to no section look as if somebody used them."""
    if bytes(image.data[start:end]).strip(_FREE):
        raise ElfError(f"{image.where}: unknown bytes at {start:#x} where room is needed")


def _inside_note(image: Image, offset: int) -> bool:
    """Say whether a note segment reaches across an offset: its sections must stay together."""
    notes = (one for one in image.segments if one.type in (ei.PT_NOTE, ei.PT_GNU_PROPERTY))
    return any(one.offset < offset < one.offset + one.filesz for one in notes)


def _own_segment(image: Image, section: Section, align: int, loaded: int) -> Segment | None:
    """Return the segment that ends the library with the fat binaries and can be written anew from them on."""
    last = image.loads[-1]
    if last.flags != 4 or last.filesz != last.memsz or last.align != align:
        return None
    return last if section.offset + section.size == last.offset + last.filesz == loaded else None


def _hole(image: Image, section: Section, align: int) -> range:
    """Return the whole pages that the fat binaries take in the file, and that no table or other section shares."""
    shift = section.offset - section.addr
    start = section.addr + -section.addr % align + shift
    end = (section.addr + section.size) // align * align + shift
    load = next(one for one in image.loads if one.vaddr <= section.addr < one.vaddr + one.memsz)
    ends_in_zeros = load.memsz > load.filesz and end == load.offset + load.filesz
    return range(start, end) if end > start and not ends_in_zeros else range(0)


def _inside(image: Image, hole: range) -> bool:
    """Say whether a segment goes on before and behind the hole: then it becomes two."""
    return any(
        hole and one.offset < hole.start and hole.stop < one.offset + one.filesz for one in image.loads
    )
