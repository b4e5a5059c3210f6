"""Which ptxas proves a library: the one of the CUDA release that built it, for recipes and for graft in one way.

A recipe pins it by name; a graft without a recipe finds it among the toolchains, and fetches it only then.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from retread import arch, pypa
from retread.arch import Arch
from retread.doors.machine import Machine
from retread.errors import FetchError, UsageError
from retread.recipe import miscompiles
from retread.recipe.toolchain import Toolchain, for_release

if TYPE_CHECKING:
    from retread.build.graft import Assembly, Provers
    from retread.lanes.lane import Goal


def named(machine: Machine, toolchain: Toolchain) -> Provers:
    """Return the prover that a recipe names, made ready when it is needed."""

    def provers(cuda: str) -> Iterator[Assembly]:
        yield _assembly(machine, toolchain)

    return provers


def found(machine: Machine, toolchains: Sequence[Toolchain], grafting: Toolchain) -> Provers:
    """Return the ptxas of the release that built a library; where no toolchain has that, the one that grafts."""

    def provers(cuda: str) -> Iterator[Assembly]:
        fits = for_release(cuda, (grafting, *toolchains), platform.machine()) or grafting
        try:
            one = _assembly(machine, fits)
        except FetchError as error:
            if fits is grafting:
                raise
            said = f"{grafting.name} is tried in the place of {fits.name}"
            machine.console.say(f"note: {error.message}; {said}")
            one = _assembly(machine, grafting)
        yield one

    return provers


def _assembly(machine: Machine, toolchain: Toolchain) -> Assembly:
    from retread.build import cubins

    return cubins.assembly(machine, cubins.assembler(machine, toolchain))


def hint(toolchains: Sequence[Toolchain], target: str, cuda: str, tried: str) -> str:
    """Return what to do where the ptxas that was ``tried``, a toolchain's name, is not the one that built the base."""
    fits = for_release(cuda, toolchains, platform.machine())
    if fits and fits.name == tried:
        return (
            f"it was another build of CUDA {cuda}'s ptxas, or had other options;"
            f" a toolchain in recipes/toolchains/ that targets.{target}.proving names can have that build"
        )
    if fits:
        return f'name the ptxas that built the base wheel: targets.{target}.proving = "{fits.name}"'
    return (
        f"no toolchain has ptxas of CUDA {cuda}; put one into recipes/toolchains/"
        if cuda
        else "name the toolchain of the CUDA release that built the base wheel"
    )


def demand_right(ptxas: str, architectures: Sequence[Arch], goal: Goal | None = None) -> None:
    """Raise PlanError when what a ptxas gives for these architectures is known to be wrong, and no recipe waives it.

    ``ptxas`` is what it says of itself, its build included.
    """
    found = re.search(r"\bV(\d+\.\d+\.\d+)", ptxas)
    if found:
        miscompiles.demand_none(
            miscompiles.KNOWN,
            found[1],
            architectures,
            what=goal.title if goal else ptxas,
            waived=goal.target.waive if goal else None,
            target=goal.name if goal else "",
        )


def _able(toolchains: Sequence[Toolchain], one: Arch) -> str:
    """Return the toolchain of the oldest release whose ptxas knows an architecture and gives right code for it."""
    able = [other for other in toolchains if arch.assembles(other.cuda, one)]
    right = [other for other in able if not any(miscompiles.hits(miscompiles.KNOWN, other.cuda, (one,)))]
    return min(right, key=lambda other: pypa.version(other.cuda)).name if right else ""


def demand_known(
    toolchain: Toolchain, toolchains: Sequence[Toolchain], architectures: Sequence[Arch]
) -> None:
    """Raise UsageError for an architecture that the toolchain's ptxas does not know, with one whose ptxas does."""
    for one in architectures:
        if not arch.assembles(toolchain.cuda, one):
            able = _able(toolchains, one)
            raise UsageError(
                f"ptxas of CUDA {toolchain.cuda} does not know {arch.sm(one)}",
                hint=f"say --toolchain {able}, or leave {one} out" if able else f"leave {one} out",
            )
