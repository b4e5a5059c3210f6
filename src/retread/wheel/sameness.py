"""Which kernels of two wheels have the same machine code: what ran of one on a GPU is known of the other, by name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from retread import arch
from retread.arch import Arch
from retread.elf.facts import Kernels
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


class Shared(NamedTuple):
    """The kernels of a wheel on one GPU, held against those of another wheel."""

    kernels: Mapping[str, Sha256]
    """With the machine code that this GPU takes of the other wheel, too: kernel -> digest of it."""
    others: tuple[str, ...]
    """With other machine code there, or without this kernel."""
    without: int
    """How many have no machine code for this GPU."""


def compare(first: Path, second: Path, scratch: Path) -> tuple[SameKernels, ...]:
    """Return how far the kernels of two wheels agree, by architecture; raises as reading their code does."""
    one, two = (contents.bodies(path, scratch) for path in (first, second))
    found = sorted({architecture for architecture, _ in (*one, *two)}, key=arch.sort_key)
    return tuple(of_architecture(architecture, one, two) for architecture in found)


def shared(mine: Mapping[str, Sha256], theirs: Mapping[str, Sha256], without: int) -> Shared:
    """Return what one wheel shares with another, of each of which ``on`` told the machine code for a GPU."""
    same = {name: code for name, code in mine.items() if theirs.get(name) == code}
    return Shared(same, tuple(name for name in mine if name not in same), without)


def without(device: Arch, groups: Iterable[Kernels]) -> int:
    """Return how many kernels, of which each group tells for what they are to be had, have no code that a GPU runs."""
    return sum(one.count for one in groups if not any(arch.runs(code, device) for code in one.sass))


def on(device: Arch, bodies: Bodies) -> dict[str, Sha256]:
    """Return kernel -> digest of the machine code that a GPU takes of it: that for the newest architecture it runs.

    Those that have none for it are not there.
    """
    ordered = sorted(bodies, key=lambda one: arch.sort_key(one[0]))
    best = {name: code for code, name in ordered if arch.runs(code, device)}
    return {name: _digest(code, bodies[code, name]) for name, code in sorted(best.items())}


def _digest(code: Arch, digests: tuple[Sha256, ...]) -> Sha256:
    return Sha256(hashlib.sha256("\n".join((code, *digests)).encode()).hexdigest())


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
