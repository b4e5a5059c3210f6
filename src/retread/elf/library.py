"""Shared objects on disk: what one holds, and a copy of it with other fat binaries or another run path.

``image`` reads the tables, ``edit`` decides what must change, ``layout`` writes it; here are the files.
"""

from __future__ import annotations

import mmap
import shutil
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from retread.doors import fs
from retread.elf import edit as elfedit
from retread.elf import fatbin, layout
from retread.elf import image as ei
from retread.elf import kernels as elfkernels
from retread.elf.facts import LibraryFacts
from retread.elf.image import Image
from retread.elf.kernels import Kernel
from retread.errors import ElfError

_VERNEED: Final = struct.Struct("<HHIII")
_VERNAUX: Final = struct.Struct("<IHHII")
_COMMENT: Final = 4096
"""Bytes of compilers' names that are read: each is about 40 long, and a linker leaves each once."""


def read(path: Path) -> LibraryFacts:
    """Return what the shared object at ``path`` holds and needs; only its tables are read, not its code.

    Raises ElfError when it is no x86-64 or aarch64 shared object, FatbinError when its fat binaries are corrupt.
    """
    image = load(path)
    _, pairs = ei.dynamic(image)
    strings = _dynamic_strings(image, pairs)
    needed = [ei.string(strings, value, image) for tag, value in pairs if tag == ei.DT_NEEDED]
    return LibraryFacts(
        machine=ei.MACHINES[image.machine],
        needed=tuple(needed),
        run_path=elfedit.run_path(image, pairs, strings),
        versions=tuple(sorted(_versions(image))),
        undefined=tuple(sorted(_undefined(image))),
        modules=fatbin.inventory(elfedit.fat_binaries(image)),
        compilers=tuple(sorted(_compilers(image))),
    )


def load(path: Path) -> Image:
    """Return the tables of the shared object at ``path``, its bytes mapped and not read. Raises ElfError."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise ElfError(f"{path}: cannot be read: {error}") from error
    return ei.parse(memoryview(mapped), where=str(path))


def fat_binaries(path: Path) -> tuple[fatbin.FatBinary, ...]:
    """Return the fat binaries of the shared object at ``path``; their bytes are read when they are used.

    Raises ElfError and FatbinError as ``read`` does.
    """
    return elfedit.fat_binaries(load(path))


def kernels(path: Path) -> tuple[Kernel, ...]:
    """Return what every kernel of the shared object at ``path`` takes, module by module; all its machine code is read.

    Raises ElfError and FatbinError as ``read`` does, and for a cubin that is corrupt.
    """
    return tuple(elfkernels.of_library(fat_binaries(path)))


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
    pieces = layout.pieces(change)
    partial = destination.with_name(f".{destination.name}.partial")
    try:
        with source.open("rb") as old, partial.open("wb") as new:
            _write(pieces, old, new)
        shutil.copymode(source, partial)
        partial.replace(destination)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _write(pieces: Iterable[layout.Piece], old: BinaryIO, new: BinaryIO) -> None:
    """Write the pieces one after the other, ranges of the old file in blocks."""
    for piece in pieces:
        if isinstance(piece, bytes):
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


def _undefined(image: Image) -> set[str]:
    """Return the names of the dynamic symbols that others must define."""
    names: set[str] = set()
    for section in image.sections:
        if section.type == ei.SHT_DYNSYM:
            table = bytes(ei.contents(image, image.sections[section.link]))
            for name, info, _, shndx, _, _ in ei.records(image, section, ei.SYM):
                if name and not shndx and info >> 4 != ei.STB_WEAK:
                    names.add(ei.string(table, name, image))
    return names


def _compilers(image: Image) -> set[str]:
    """Return the names that compilers left in it, the first of them where there are very many."""
    names: set[str] = set()
    for section in image.sections:
        if section.name == ".comment":
            text = bytes(ei.contents(image, section)[:_COMMENT]).decode("ascii", "replace")
            names.update(one.strip() for one in text.split("\0") if one.strip() and one.isprintable())
    return names


def _versions(image: Image) -> set[str]:
    """Return the symbol versions that it asks of others. Source: Linux Standard Base, "Symbol Versioning"."""
    names: set[str] = set()
    for section in image.sections:
        if section.type != ei.SHT_VERNEED:
            continue
        data = ei.contents(image, section)
        table = bytes(ei.contents(image, image.sections[section.link]))
        try:
            names.update(ei.string(table, at, image) for at in _version_names(data, section.info))
        except struct.error as error:
            raise ElfError(f"{image.where}: {section.name} is corrupt: {error}") from error
    return names


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
