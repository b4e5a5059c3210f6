"""Making a wheel again from what it says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retread.build import choice
from retread.build.pipeline import build
from retread.doors.machine import Machine
from retread.doors.store import Kind
from retread.errors import PlanError, UsageError
from retread.lanes.lane import Wish
from retread.recipe import platforms, workspace
from retread.recipe.lane import Lane
from retread.wheel import contents, statement

if TYPE_CHECKING:
    from retread.wheel.comparison import Comparison


_RESULTS = (Kind.PATCHED, Kind.BASES, Kind.CUBINS, Kind.LIBRARIES, Kind.COMPILED, Kind.WHEELS)
"""Kinds that are made of inputs; a wheel is reproduced without them."""


_INPUTS = (Kind.TREES, Kind.TOOLCHAINS, Kind.TOOLKITS, Kind.ENVIRONMENTS)
"""Kinds that are laid out of pinned downloads."""


def reproduce(root: Path, wheel: Path, machine: Machine, scratch: Path, *, wish: Wish) -> Comparison:
    """Make ``wheel`` again in the empty folder ``scratch`` and compare the two.

    Inputs come from the store; whatever is made of them is made anew, and the compile cache is not asked. Of a cold
    wish, all but downloads is made anew, which their digests pin.
    """
    from retread.wheel import comparison

    facts = contents.facts(wheel, scratch)
    said = facts.statement
    if said is None:
        raise UsageError(f"{wheel.name} holds no {statement.STATEMENT}; retread did not make it")
    by, base = "slim" if said.slim else "graft", said.base.file if said.base else "that wheel"
    named = statement.recipe(said, f"'retread {by}' makes it again, of {base} and by the same options")
    if said.lane not in set(Lane):
        raise PlanError(
            f"{wheel.name} comes from a lane {said.lane!r}, which this retread does not have",
            hint=f"it has {', '.join(Lane)}; use the retread that made it: {said.tool}",
        )
    choice.demand_used(wish, [Lane(said.lane)])
    loaded = workspace.load(root, named)
    if said.compiled and wish.python is None:
        wish = wish._replace(python=said.compiled.python)
    if said.compiled and said.compiled.toolchain:
        wish = wish._replace(toolchain=said.compiled.toolchain)
    if said.compiled and said.compiled.image and wish.image is None:
        wish = wish._replace(image=said.compiled.image.partition(" ")[0])
    of = platforms.of_wheel(said.base.file if said.base else wheel.name)
    if said.base or of in platforms.COMPILED:
        wish = wish._replace(platform=of)
    folder = scratch / "again"
    folder.mkdir()
    again = machine._replace(store=machine.store.anew((*_RESULTS, *(_INPUTS if wish.cold else ())), folder))
    made = choice.jobs(loaded, said.target, again, lane=Lane(said.lane), wish=wish._replace(fresh=True))
    fits = [job for job in made if said.base is None or job.origin.stated() == said.base]
    if not fits:
        raise PlanError(f"{said.recipe} {said.target} makes no {wheel.name} any more")
    built = build(fits[0], folder / "dist")
    (scratch / "compare").mkdir()
    with machine.console.step("compare"):
        return comparison.compare(wheel, Path(built.path), scratch / "compare")
