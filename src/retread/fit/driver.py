"""What a driver can run: which CUDA it is of, which releases it serves, which PTX it compiles. Pure.

Sources: NVIDIA's CUDA release notes (drivers of each toolkit), its guide to minor version compatibility, and the
release table of the PTX ISA.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from retread.arch import FIRST_CUDA, Arch

Cuda = tuple[int, int]
"""A CUDA release: (12, 8)."""

_BRANCHES: Final[tuple[tuple[int, Cuda], ...]] = (
    (450, (11, 0)), (455, (11, 1)), (460, (11, 2)), (465, (11, 3)), (470, (11, 4)), (495, (11, 5)), (510, (11, 6)),
    (515, (11, 7)), (520, (11, 8)), (525, (12, 0)), (530, (12, 1)), (535, (12, 2)), (545, (12, 3)), (550, (12, 4)),
    (555, (12, 5)), (560, (12, 6)), (565, (12, 7)), (570, (12, 8)), (575, (12, 9)), (580, (13, 0)), (590, (13, 1)),
    (595, (13, 2)),
)  # fmt: skip
"""The first driver of each CUDA release, on Linux."""
_OF_WINDOWS: Final[tuple[tuple[int, Cuda], ...]] = (
    (451, (11, 0)), (456, (11, 1)), (460, (11, 2)), (465, (11, 3)), (471, (11, 4)), (496, (11, 5)), (511, (11, 6)),
    (516, (11, 7)), (520, (11, 8)), (528, (12, 0)), (531, (12, 1)), (536, (12, 2)), (545, (12, 3)), (551, (12, 4)),
    (555, (12, 5)), (560, (12, 6)), (565, (12, 7)), (570, (12, 8)), (576, (12, 9)), (580, (13, 0)), (590, (13, 1)),
    (595, (13, 2)),
)  # fmt: skip
"""The same of Windows, whose drivers have numbers of their own, from the table of drivers in CUDA's release notes; of
12.0 it names 527.41, but for all of 12.x asks for 528.33. From 13.0 on it names none: those are Linux's branches."""
_VERSION: Final = re.compile(r"(\d{3,4})(\.\d+){0,2}")


def parse(text: str) -> str:
    """Return a driver's version; ValueError for what is none."""
    if not _VERSION.fullmatch(text):
        raise ValueError(f"{text!r} is not a driver's version like 570.124.06")
    return text


class Driver(NamedTuple):
    """A driver of Linux or of Windows, or none that is known."""

    version: str
    """Empty when nobody knows it."""
    windows: bool = False

    @property
    def cuda(self) -> Cuda:
        """The CUDA release that it is of; (0, 0) for one older than all that are known, and for none."""
        branch = int(self.version.partition(".")[0] or 0)
        return max((found for first, found in self._branches if first <= branch), default=(0, 0))

    def first(self, release: Cuda) -> str:
        """Return the first driver branch of a CUDA release, in words."""
        for branch, found in self._branches:
            if found >= release:
                return f"{branch}"
        return f"one for CUDA {shown(release)}"

    def serves(self, release: Cuda) -> bool:
        """Say whether programs made with a CUDA release start: every driver of its major release, and newer ones, do.

        Their machine code runs; their PTX needs a driver that knows its language.
        """
        return self.cuda[0] >= release[0]

    def knows(self, gpu: Arch) -> bool:
        """Say whether it is new enough for a GPU, as far as CUDA's releases say when that became known."""
        return gpu not in FIRST_CUDA or self.cuda >= FIRST_CUDA[gpu]

    @property
    def _branches(self) -> tuple[tuple[int, Cuda], ...]:
        return _OF_WINDOWS if self.windows else _BRANCHES


def of_ptx(isa: Cuda) -> Cuda:
    """Return the CUDA release whose drivers first compile a version of the PTX language: (12, 8) for 8.7."""
    major, minor = isa
    if major == 8:
        return (12, minor if minor < 6 else minor + 1)
    return (major + 4, minor)


def shown(release: Cuda) -> str:
    """Return a release as people write it."""
    return f"{release[0]}.{release[1]}"
