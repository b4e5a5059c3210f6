"""Shared objects on disk: what one holds, and a copy of it with other fat binaries or another run path.

``image`` reads the tables, ``edit`` decides what must change, ``layout`` writes it; here are the files.
"""

from __future__ import annotations

import itertools
import mmap
import shutil
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock, local
from typing import BinaryIO, Final

from retread import limits
from retread.doors import cores, fs
from retread.elf import device, fatbin, layout
from retread.elf import edit as elfedit
from retread.elf import image as ei
from retread.elf.device import B, Code, Means
from retread.elf.facts import LibraryFacts
from retread.elf.fatbin import FatBinary, Room
from retread.elf.finding import Finder
from retread.elf.image import Image
from retread.errors import ElfError

FATBIN: Final = elfedit.FATBIN
Refused: Final = ElfError
"""What ``binary.files`` asks of each format."""
_VERNEED: Final = struct.Struct("<HHIII")
_VERNAUX: Final = struct.Struct("<IHHII")
_UNPACKING: Final = Lock()
"""Held for a large image: only one is unpacked at a time, or several would take several times the memory."""


class _Mine(local):
    """What each thread has for itself."""

    def __init__(self) -> None:
        self.room = Room()


def read(
    path: Path, *, where: str = "", names: bool = False, lenient: bool = False, bare: int = 0
) -> LibraryFacts:
    """Return what the shared object or program at ``path`` holds and needs; of its code only the names of kernels.

    ``where`` is what messages call it, ``names`` puts the kernels' names into the facts; GPU code is not looked for in
    the first ``bare`` bytes, beside the sections for it. Raises ElfError when it is no
    x86-64 or aarch64 shared object, FatbinError when its fat binaries are corrupt: if ``lenient``, these are named.
    """
    where = where or str(path)
    image = ei.loaded(mapped(path, where=where), where=where)
    _, pairs = ei.dynamic(image)
    strings = _dynamic_strings(image, pairs)
    names_of = ei.Strings(strings, where)
    needed = [names_of.at(value) for tag, value in pairs if tag == ei.DT_NEEDED]
    found, unread = code(image, lenient=lenient, bare=bare)
    surveyed = device.survey(found, names=names)
    return LibraryFacts(
        machine=ei.MACHINES[image.machine],
        needed=tuple(needed),
        run_path=elfedit.run_path(image, pairs, strings),
        versions=tuple(sorted(_versions(image, pairs, strings))),
        undefined=tuple(sorted(_undefined(image, pairs, strings))),
        modules=surveyed.modules,
        relocatable=surveyed.relocatable,
        kernels=surveyed.kernels,
        unread=tuple(unread),
        compilers=tuple(sorted(_compilers(image))),
        made=surveyed.made,
    )


def code(image: Image, *, lenient: bool, bare: int = 0) -> tuple[list[Code], list[str]]:
    """Return the modules of a library, those of section .nv_fatbin first, and what could not be read.

    Raises FatbinError for a section .nv_fatbin that is corrupt, unless ``lenient``.
    """
    regions = [
        (one.offset, one.offset + one.in_file)
        for one in image.sections
        if one.name == elfedit.FATBIN and one.in_file
    ]
    by = means(image.data, bare)
    return device.of_library(image.data, regions, where=image.where, lenient=lenient, means=by)


def means(data: memoryview, bare: int = 0) -> Means:
    """Return how a mapped file is gone through: on all cores, and what was read of it is not kept in memory.

    In the first ``bare`` bytes no code begins.
    """
    whole = data.obj

    def behind() -> None:
        if isinstance(whole, mmap.mmap):
            whole.madvise(mmap.MADV_DONTNEED)

    mine, shared = _Mine(), Room()

    def each(do: Callable[[FatBinary, Room], B], found: Sequence[FatBinary]) -> Sequence[B]:
        def one(binary: FatBinary) -> B:
            if max((entry.size for entry in binary.entries), default=0) > fatbin.LARGE:
                with _UNPACKING:
                    done = do(binary, shared)
            else:
                done = do(binary, mine.room)
            behind()
            return done

        return cores.spread(one, found)

    return Means(each, behind, Finder(), bare)


def mapped(path: Path, *, where: str) -> memoryview:
    """Return the bytes of a file, mapped and not read. Raises ElfError when it cannot be read, or is empty."""
    try:
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except ValueError:
        raise ElfError(f"{where}: is empty") from None
    except OSError as error:
        raise ElfError(f"{where}: cannot be read: {error}") from error


def load(path: Path) -> Image:
    """Return the tables of the shared object at ``path``, its bytes mapped and not read. Raises ElfError."""
    return ei.parse(mapped(path, where=str(path)), where=str(path))


def fat_binaries(path: Path) -> tuple[fatbin.FatBinary, ...]:
    """Return the fat binaries of the shared object at ``path``; their bytes are read when they are used.

    Raises ElfError and FatbinError as ``read`` does.
    """
    return elfedit.fat_binaries(load(path))


def edit(
    source: Path,
    destination: Path,
    *,
    fatbins: Mapping[int, bytes] | None = None,
    run_path: Sequence[str] | None = None,
) -> None:
    """Write ``destination``: a copy of ``source`` with some fat binaries replaced and another run path.

    ``fatbins`` maps a module's index to its new bytes; ``run_path`` of () removes the run path, None leaves it.
    Everything else stays byte for byte; the same input gives the same output. The file appears whole or not at all.
    Raises ElfError when the library cannot be edited safely, FatbinError when a fat binary is corrupt.
    """
    change = elfedit.plan(load(source), fatbins=fatbins or {}, wanted_path=run_path)
    put(layout.pieces(change), source, destination)


def demand_editable(
    path: Path, *, modules: Collection[int] = (), run_path: Sequence[str] | None = None
) -> None:
    """Raise what ``edit`` would, were there other fat binaries for these modules."""
    image = load(path)
    old = elfedit.fat_binaries(image)
    same = {index: old[index].data for index in modules}
    layout.pieces(elfedit.plan(image, fatbins=same, wanted_path=run_path))


def put(pieces: Iterable[layout.Piece], source: Path, destination: Path) -> None:
    """Write ``destination`` of pieces of ``source``; it appears whole or not at all."""
    with fs.sibling(destination) as partial:
        with source.open("rb") as old, partial.open("wb") as new:
            _write(pieces, old, new)
        shutil.copymode(source, partial)


def _write(pieces: Iterable[layout.Piece], old: BinaryIO, new: BinaryIO) -> None:
    """Write the pieces one after the other, ranges of the old file in blocks."""
    for piece in pieces:
        if not isinstance(piece, range):
            new.write(piece)
            continue
        old.seek(piece.start)
        left = len(piece)
        while left:
            block = old.read(min(left, fs.CHUNK))
            if not block:
                raise ElfError(f"{old.name}: became shorter while it was read")
            new.write(block)
            left -= len(block)


def _dynamic_strings(image: Image, pairs: Sequence[tuple[int, int]]) -> bytes:
    """Return the string table of the dynamic section; empty without one."""
    tags = dict(pairs)
    if ei.DT_STRTAB not in tags:
        return b""
    size = tags.get(ei.DT_STRSZ, 0)
    at = ei.file_offset(image, tags[ei.DT_STRTAB], size)
    return bytes(image.data[at : at + size])


def _undefined(image: Image, pairs: Sequence[tuple[int, int]], strings: bytes) -> set[str]:
    """Return the names of the dynamic symbols that others must define."""
    names: set[str] = set()
    for table, symbols in _symbol_tables(image, dict(pairs), strings):
        for name, info, _, shndx, _, _ in symbols:
            if name and not shndx and info >> 4 != ei.STB_WEAK:
                names.add(table.at(name))
    return names


def _compilers(image: Image) -> set[str]:
    """Return the names that compilers left in it, the first of them where there are very many."""
    names: set[str] = set()
    for section in image.sections:
        if section.name == ".comment":
            text = bytes(ei.contents(image, section)[: limits.COMMENT]).decode("ascii", "replace")
            names.update(one.strip() for one in text.split("\0") if one.strip() and one.isprintable())
    return names


def _symbol_tables(
    image: Image, tags: Mapping[int, int], strings: bytes
) -> Iterator[tuple[ei.Strings, Iterable[tuple[int, ...]]]]:
    """Yield the dynamic symbols with the table of their names; without section headers, as far as DT_STRTAB."""
    if image.sections:
        for section in image.sections:
            if section.type == ei.SHT_DYNSYM:
                names = image.sections[section.link] if section.link < len(image.sections) else section
                yield ei.Strings(ei.contents(image, names), image.where), ei.records(image, section, ei.SYM)
    elif (size := tags.get(ei.DT_STRTAB, 0) - tags.get(ei.DT_SYMTAB, 0)) > 0 and ei.DT_SYMTAB in tags:
        whole = size // ei.SYM.size * ei.SYM.size
        at = ei.file_offset(image, tags[ei.DT_SYMTAB], whole)
        yield ei.Strings(strings, image.where), ei.SYM.iter_unpack(image.data[at : at + whole])


def _versions(image: Image, pairs: Sequence[tuple[int, int]], strings: bytes) -> set[str]:
    """Return the symbol versions that it asks of others. Source: Linux Standard Base, "Symbol Versioning"."""
    tags = dict(pairs)
    if ei.DT_VERNEED not in tags:
        return set()
    at = ei.file_offset(image, tags[ei.DT_VERNEED], 0)
    load = next(one for one in image.loads if one.offset <= at <= one.offset + one.filesz)
    data = image.data[at : load.offset + load.filesz]
    try:
        names = ei.Strings(strings, image.where)
        found = _version_names(data, tags.get(ei.DT_VERNEEDNUM, 0))
        return {names.at(name) for name in itertools.islice(found, len(data) // _VERNAUX.size)}
    except struct.error as error:
        raise ElfError(f"{image.where}: its table of symbol versions is corrupt: {error}") from error


def _version_names(data: memoryview, count: int) -> Iterable[int]:
    """Yield the string offset of every version in a table of ``count`` libraries; steps go forward only."""
    at = 0
    for _ in range(min(count, len(data))):
        _, versions, _, aux, step = _VERNEED.unpack_from(data, at)
        inner = at + aux
        for _ in range(versions):
            _, _, _, name, inner_step = _VERNAUX.unpack_from(data, inner)
            yield name
            if not inner_step:
                break
            inner += inner_step
        if not step:
            break
        at += step
