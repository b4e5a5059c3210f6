"""Which release of CUDA made GPU code: what its compiler left there. Pure.

Machine code says it itself: up to ABI 7 (CUDA 11 and 12, below sm_100) the version field of its ELF header is the
release, 126 for 12.6; since then ptxas leaves its name and build in a note. PTX states the version of its language,
which nvcc writes as the newest that it knows. Sources: machine code of each ptxas from 11.7 to 13.5, and the release
table of NVIDIA's PTX ISA.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from retread import arch
from retread.arch import Arch
from retread.elf.facts import Made

_TOOLS: Final = re.compile(
    rb"Cuda compilation tools, release [0-9]{1,2}\.[0-9]{1,2}, V([0-9]{1,2}(?:\.[0-9]{1,4}){2})"
)
_OF_ISA: Final = {
    (7, 0): "11.0", (7, 1): "11.1", (7, 2): "11.2", (7, 3): "11.3", (7, 4): "11.4", (7, 5): "11.5", (7, 6): "11.6",
    (7, 7): "11.7", (7, 8): "11.8", (8, 0): "12.0", (8, 1): "12.1", (8, 2): "12.2", (8, 3): "12.3", (8, 4): "12.4",
    (8, 6): "12.7", (8, 7): "12.8", (8, 8): "12.9", (9, 0): "13.0", (9, 1): "13.1", (9, 2): "13.2",
    (9, 3): "13.3", (9, 4): "13.4", (9, 5): "13.5",
}  # fmt: skip
"""PTX ISA -> the one release that wrote it; 8.5 is that of 12.5 and of 12.6."""
_LAST_ABI: Final = 7
"""The last whose version field is the release."""
_RELEASES: Final = range(100, 200)
NAMED: Final = "its machine code names ptxas"
HEADER: Final = "the ELF header of its machine code"
LANGUAGE: Final = "the version of its PTX"


class Told(NamedTuple):
    """A release, and what tells it; nothing where nothing does."""

    cuda: str = ""
    """``12.6``, or with the build where that is told: ``12.8.93``."""
    by: str = ""


def of_cubin(data: bytes | memoryview, notes: Iterable[memoryview]) -> Told:
    """Return what machine code says; ``notes`` are the contents of its sections of that kind."""
    for note in notes:
        if found := _TOOLS.search(note):
            return Told(found[1].decode(), NAMED)
    version = int.from_bytes(data[20:24], "little")
    if data[8] <= _LAST_ABI and version in _RELEASES:
        return Told(f"{version // 10}.{version % 10}", HEADER)
    return Told()


def of_ptx(isa: tuple[int, int]) -> Told:
    """Return what the version of PTX's language says."""
    found = _OF_ISA.get(isa, "")
    return Told(found, LANGUAGE) if found else Told()


def grouped(found: Iterable[tuple[Told, Arch, bool]]) -> tuple[Made, ...]:
    """Return what was made by which release, of (what tells it, architecture, whether it is PTX) of each image.

    The release of most images is the first. Those of which nothing tells it are not there.
    """
    images: dict[Told, list[tuple[Arch, bool]]] = {}
    for told, built_for, text in found:
        if told.cuda:
            images.setdefault(told, []).append((built_for, text))
    made = (
        Made(
            cuda=told.cuda,
            by=told.by,
            images=len(each),
            sass=_archs(each, text=False),
            ptx=_archs(each, text=True),
        )
        for told, each in images.items()
    )
    return tuple(sorted(made, key=lambda one: (-one.images, one.by, one.cuda)))


def _archs(images: Iterable[tuple[Arch, bool]], *, text: bool) -> tuple[Arch, ...]:
    return tuple(sorted({one for one, is_text in images if is_text is text}, key=arch.sort_key))


def short(cuda: str) -> str:
    """Return the release alone: 12.8 of 12.8.93."""
    return ".".join(cuda.split(".")[:2])


def assemblers(made: Iterable[Made]) -> Iterator[str]:
    """Yield the releases whose ptxas made machine code, that of most of it first."""
    yield from dict.fromkeys(short(one.cuda) for one in made if one.sass)


def builder(made: Iterable[Made]) -> str:
    """Return the release that built a file: that of most machine code, or else of most PTX; nothing if none tells."""
    every = list(made)
    return next(assemblers(every), "") or next((short(one.cuda) for one in every), "")
