"""Which kernels of two wheels have the same machine code: what ran of one on a GPU is known of the other, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from retread import arch
from retread.arch import Arch
from retread.records import Record, Sha256
from retread.wheel import contents

Bodies = Mapping[tuple[Arch, str], tuple[Sha256, ...]]


class SameKernels(Record, frozen=True, kw_only=True):
    """The kernels of one architecture in two wheels, by name as the linker knows them."""

    architecture: Arch
    same: tuple[str, ...]
    """With the same machine code, constants and parameters in both."""
    other: tuple[str, ...]
    """In both, with other code."""
    first: tuple[str, ...]
    """In the first alone."""
    second: tuple[str, ...]
    """In the second alone."""


def compare(first: Path, second: Path, scratch: Path) -> tuple[SameKernels, ...]:
    """Return how far the kernels of two wheels agree, by architecture; raises as reading their code does."""
    one, two = (contents.bodies(path, scratch) for path in (first, second))
    found = sorted({architecture for architecture, _ in (*one, *two)}, key=arch.sort_key)
    return tuple(of_architecture(architecture, one, two) for architecture in found)


def of_architecture(architecture: Arch, one: Bodies, two: Bodies) -> SameKernels:
    """Return how far two wheels agree on one architecture."""
    mine, theirs = (
        {name: body for (code, name), body in bodies.items() if code == architecture} for bodies in (one, two)
    )
    both = sorted(mine.keys() & theirs.keys())
    return SameKernels(
        architecture=architecture,
        same=tuple(name for name in both if mine[name] == theirs[name]),
        other=tuple(name for name in both if mine[name] != theirs[name]),
        first=tuple(sorted(mine.keys() - theirs.keys())),
        second=tuple(sorted(theirs.keys() - mine.keys())),
    )
