"""Windows libraries on disk: what one holds, and a copy of it with other fat binaries.

``image`` reads the tables, ``edit`` decides what must change and makes the new bytes; here are the files.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from retread.elf import device
from retread.elf.device import Code
from retread.elf.facts import Format, LibraryFacts
from retread.elf.fatbin import FatBinary
from retread.elf.layout import Piece
from retread.elf.library import mapped, means, put
from retread.errors import PeError
from retread.pe import edit as peedit
from retread.pe import image as pe
from retread.pe.image import Image

FATBIN: Final = peedit.FATBIN
Refused: Final = PeError
"""What ``binary.files`` asks of each format."""


def load(path: Path, *, where: str = "") -> Image:
    """Return the tables of the library at ``path``, its bytes mapped and not read. Raises PeError."""
    where = where or str(path)
    return pe.parse(mapped(path, where=where), where=where)


def read(
    path: Path, *, where: str = "", names: bool = False, lenient: bool = False, bare: int = 0
) -> LibraryFacts:
    """Return what the Windows library or program at ``path`` holds and needs, as ``elf.library`` does of its own.

    Raises PeError when its tables are corrupt, FatbinError when its fat binaries are: if ``lenient``, these are named.
    """
    image = load(path, where=where)
    found, unread = code(image, lenient=lenient, bare=bare)
    surveyed = device.survey(found, names=names)
    return LibraryFacts(
        machine=pe.MACHINES[image.machine],
        needed=pe.needed(image),
        run_path=(),
        versions=(),
        undefined=pe.imported(image),
        modules=surveyed.modules,
        relocatable=surveyed.relocatable,
        kernels=surveyed.kernels,
        unread=tuple(unread),
        format=Format.PE,
        made=surveyed.made,
        closed=peedit.closed(image),
    )


def code(image: Image, *, lenient: bool, bare: int = 0) -> tuple[list[Code], list[str]]:
    """Return the modules of a library, those of section .nv_fatb first, and what could not be read."""
    by = means(image.data, bare)
    return device.of_library(image.data, peedit.regions(image), where=image.where, lenient=lenient, means=by)


def fat_binaries(path: Path) -> tuple[FatBinary, ...]:
    """Return the fat binaries of the library at ``path``; their bytes are read when they are used."""
    return peedit.fat_binaries(load(path))


def edit(
    source: Path,
    destination: Path,
    *,
    fatbins: Mapping[int, bytes] | None = None,
    run_path: Sequence[str] | None = None,
) -> None:
    """Write ``destination``: a copy of ``source`` with some fat binaries replaced, by module index.

    The file appears whole or not at all; the same input gives the same output. Raises PeError when the library cannot
    be edited safely, or for a run path, which Windows does not know; FatbinError when a fat binary is corrupt.
    """
    put(_pieces(load(source), fatbins or {}, run_path), source, destination)


def demand_editable(
    path: Path, *, modules: Collection[int] = (), run_path: Sequence[str] | None = None
) -> None:
    """Raise what ``edit`` would, were there other fat binaries for these modules."""
    image = load(path)
    old = peedit.fat_binaries(image)
    _pieces(image, {index: bytes(old[index].data) for index in modules}, run_path)


def _pieces(image: Image, fatbins: Mapping[int, bytes], run_path: Sequence[str] | None) -> Sequence[Piece]:
    if run_path is not None:
        raise PeError(f"{image.where}: is a Windows library, and these have no run path")
    return peedit.pieces(peedit.plan(image, fatbins=fatbins)) if fatbins else (range(len(image.data)),)
