"""What is made of a recipe: which target, by which lane, compiled by what; each with the reason."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from retread.build.pipeline import Job
from retread.doors.machine import Machine
from retread.errors import PlanError
from retread.lanes.lane import Goal, Origin, Wish
from retread.recipe import plan
from retread.recipe.lane import LANES, Lane, Own
from retread.recipe.model import Target
from retread.recipe.toolchain import Toolchain
from retread.recipe.workspace import Loaded
from retread.source.trees import Trees
from retread.strict import near_miss
from retread.version import NVCC


def jobs(
    loaded: Loaded,
    target: str | None,
    machine: Machine,
    *,
    lane: Lane | None = None,
    use_git: bool = False,
    wish: Wish | None = None,
) -> list[Job]:
    """Return one job for every wheel of the target, each with its lane and why; PlanError when no lane will do.

    When no target is named, the recipe's first that this machine can build is taken, unless the series is in its way.
    A lane that compiles takes the target's toolchain, or its fallback where this machine cannot have that.
    """
    wish = wish or Wish()
    name = plan.choose_target(loaded.recipe, target) if target else _possible_target(loaded, machine, lane)
    chosen = plan.choose_lane(loaded.recipe, name, loaded.patches, lane)
    tools = _tools(loaded, name, chosen.lane, machine, wish)
    trees = Trees(loaded.compiled_by(tools.compiler), machine, use_git=use_git)
    goal = Goal(trees, name, tools.name, tools.compiler or NVCC)
    origins: Callable[[Goal, Own, Wish], list[Origin]] = import_module(LANES[chosen.lane].module).origins
    reason = "; ".join(filter(None, (chosen.reason, tools.reason)))
    return [Job(origin, reason) for origin in origins(goal, chosen.own, wish)]


class _Tools(NamedTuple):
    """A toolchain that was chosen, what compiles in it (nothing: the lane compiles nothing), and why it is that one."""

    name: str
    compiler: str = ""
    reason: str = ""


def _tools(loaded: Loaded, name: str, lane: Lane, machine: Machine, wish: Wish) -> _Tools:
    """Return the toolchain that is asked for, or the first that this machine can have.

    PlanError when the one asked for is none of the target's, or when the lane compiles nothing.
    """
    target = loaded.recipe.targets[name]
    if not LANES[lane].compiles:
        if wish.toolchain:
            raise PlanError(
                f"{loaded.recipe.name} {name}: the {lane} lane compiles nothing, with {wish.toolchain} or another",
                hint="leave --toolchain out, or say --lane source",
            )
        return _Tools(target.toolchain)
    known = [loaded.toolchains[one] for one in target.toolchains]
    if wish.toolchain:
        return _asked(loaded, name, known, wish.toolchain)
    if len(known) == 1:  # what it lacks is told when it is made
        return _Tools(known[0].name, known[0].compiler)
    reasons = list[str]()
    for one in known:
        found = _obstacles(machine, one)
        if not found:
            if not reasons:
                return _Tools(one.name, one.compiler)
            machine.console.say(f"note: {one.name} compiles, since {reasons[0]}")
            return _Tools(one.name, one.compiler, f"{reasons[0].partition(' (')[0]}: {one.compiler} compiles")
        reasons.append(f"this machine cannot have {one.name} ({found[0]})")
    raise PlanError(
        f"{loaded.recipe.name} {name}: this machine can have none of its toolchains",
        faults=reasons,
        hint="'retread toolchain check' says what is missing",
    )


def _asked(loaded: Loaded, name: str, known: list[Toolchain], asked: str) -> _Tools:
    """Return the toolchain of the target's that is asked for by name."""
    for one in known:
        if one.name == asked:
            return _Tools(one.name, one.compiler, f"{asked} was asked for")
    names = [one.name for one in known]
    raise PlanError(
        f"{loaded.recipe.name} {name} is not compiled with {asked!r}{near_miss(asked, names)}",
        hint=f"its toolchains are {', '.join(names)}",
    )


def _possible_target(loaded: Loaded, machine: Machine, lane: Lane | None) -> str:
    """Return the first target that recipe and machine can make, and say why it is not the recipe's first.

    PlanError where the series is what stands in the way: it never moves a build to another target.
    """
    recipe, passed = loaded.recipe, list[tuple[str, str]]()
    for name, target in recipe.targets.items():
        plan.demand_unmoved(recipe, name, loaded.patches, lane)
        try:
            chosen = plan.choose_lane(recipe, name, loaded.patches, lane)
        except PlanError as error:
            said = error.message.removeprefix(f"{recipe.name} {name}: ")
            why = f"{name}: {said}" + "".join(f"; {fault}" for fault in error.faults)
            passed.append((f"the recipe does not make {name} by the {lane} lane", why))
            continue
        found = _missing(loaded, target, machine) if LANES[chosen.lane].compiles else []
        if not found:
            if passed:
                machine.console.say(f"note: building {name}, since {passed[0][0]}")
            return name
        passed.append((f"this machine cannot build {name}: {found[0]}", f"{name}: {found[0]}"))
    raise PlanError(
        f"{recipe.name}: no target can be built here",
        faults=[why for _, why in passed],
        hint="'retread toolchain check' says what is missing; --target and --lane choose",
    )


def _missing(loaded: Loaded, target: Target, machine: Machine) -> list[str]:
    """Return why this machine can have no toolchain of a target; nothing when it can have one."""
    found: list[str] = []
    for name in target.toolchains:
        here = _obstacles(machine, loaded.toolchains[name])
        if not here:
            return []
        found += here
    return found


def _obstacles(machine: Machine, toolchain: Toolchain) -> list[str]:
    """Return why this machine cannot have a toolkit."""
    from retread.toolkit.inquiry import obstacles

    return obstacles(machine, toolchain)
