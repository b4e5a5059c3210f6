"""What is made of a recipe: which target, by which lane, compiled by what; each with the reason."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from importlib import import_module
from typing import NamedTuple

import msgspec

from retread.build.pipeline import Job
from retread.doors.machine import Machine
from retread.environment import host
from retread.errors import PlanError
from retread.lanes.lane import Goal, Origin, Wish
from retread.recipe import miscompiles, plan, platforms
from retread.recipe.lane import LANES, Lane, Own
from retread.recipe.model import Target
from retread.recipe.toolchain import Toolchain
from retread.recipe.workspace import Loaded
from retread.source.trees import Trees
from retread.strict import near_miss
from retread.units import enumerated
from retread.version import NVCC


def jobs(
    loaded: Loaded,
    target: str | None,
    machine: Machine,
    *,
    lane: Lane | None = None,
    use_git: bool = False,
    clone: str = "",
    wish: Wish | None = None,
) -> list[Job]:
    """Return one job for every wheel of the target, each with its lane and why; PlanError when no lane will do.

    When no target is named, the recipe's first that this machine can build is taken, unless the series is in its way.
    A lane that compiles takes the target's toolchain, or its fallback where this machine cannot have that.
    """
    wish = wish or Wish()
    plan.demand_known(wish.platform or None, [loaded.recipe])
    if wish.platform and not platforms.is_windows(wish.platform):
        loaded = _on(loaded, target, wish.platform)
    platform = wish.platform or host.here()
    asked = _Asked(loaded, machine, platform)
    name = plan.choose_target(loaded.recipe, target) if target else _possible_target(asked, lane)
    chosen = plan.choose_lane(loaded.recipe, name, loaded.patches, lane)
    compiles = LANES[chosen.lane].compiles
    plan.demand_possible(loaded.recipe, name, chosen.lane, platform)
    tools = _tools(asked, name, chosen.lane, wish)
    trees = Trees(loaded.compiled_by(tools.compiler), machine, use_git=use_git, clone=clone)
    goal = Goal(trees, name, tools.name, tools.compiler or NVCC, platform if compiles else "")
    _demand_right(goal)
    origins: Callable[[Goal, Own, Wish], list[Origin]] = import_module(LANES[chosen.lane].module).origins
    reason = "; ".join(filter(None, (chosen.reason, tools.reason)))
    return [Job(origin, reason) for origin in origins(goal, chosen.own, wish)]


def others(jobs: Sequence[Job], platform: str | None) -> Iterator[Lane]:
    """Yield every lane by which each of the jobs' targets can be made for a platform; None is this machine's.

    Nothing is looked at before somebody asks: a build that changes nothing never does.
    """
    made = [
        plan.possible(job.goal.recipe, job.goal.name, job.goal.trees.loaded.patches, platform or host.here())
        for job in jobs
    ]
    yield from (lane for lane in LANES if made and all(lane in some for some in made))


def demand_used(wish: Wish, lanes: Collection[Lane], ways: Iterable[Lane] = ()) -> None:
    """Raise PlanError for what is asked of a compile where none of the ``lanes`` of the wheels does anything by it.

    The hint names the first of the ``ways`` that does: lanes that the same wheels can be made by, and can be asked for.
    """
    typed = {
        "--jobs": wish.jobs,
        "--memory": wish.memory,
        "--no-cache": not wish.cache,
        "--image": wish.image,
    }
    compiles = any(LANES[one].compiles for one in lanes)
    in_image = any(LANES[one].in_image for one in lanes)
    idle = [
        name for name, said in typed.items() if said and not (in_image if name == "--image" else compiles)
    ]
    if lanes and idle:
        made = enumerated(sorted({f"the {one} lane" for one in lanes}))
        raise PlanError(
            f"{enumerated(idle)} would do nothing: {made} {'takes no image' if compiles else 'compiles nothing'}",
            hint=_left_out(idle, ways, in_image="--image" in idle),
        )


def _left_out(options: Sequence[str], ways: Iterable[Lane], *, in_image: bool = False) -> str:
    """Return how options are used that a lane does nothing by: not at all, or in the first of the lanes that does."""
    uses = (lane for lane in ways if LANES[lane].compiles and (LANES[lane].in_image or not in_image))
    lane = next(uses, None)
    return f"leave {enumerated(options)} out" + (f", or say --lane {lane}" if lane else "")


def _on(loaded: Loaded, target: str | None, platform: str) -> Loaded:
    """Return what is made for a platform of Linux's, as it is there; PlanError when the target is not, or none."""
    recipe = loaded.recipe
    asked = plan.choose_target(recipe, target) if target else ""
    there = [name for name, one in recipe.targets.items() if platform in one.made_for]
    if not there or (asked and asked not in there):
        raise PlanError(
            f"{recipe.name} {asked}".rstrip() + f" is not made for {platform}",
            hint=f"made for it: {', '.join(there)}"
            if there
            else f"say what is another there in targets.NAME.platforms.{platform} (docs/guides/platforms.md)",
        )
    found = recipe.on(platform)
    targets = {name: one for name, one in found.targets.items() if name in there}
    return loaded._replace(recipe=msgspec.structs.replace(found, targets=targets))


def _demand_right(goal: Goal) -> None:
    """Raise PlanError for architectures for which the toolchain's release is known to miscompile."""
    if goal.toolchain:
        miscompiles.demand_none(
            miscompiles.KNOWN,
            goal.toolchain.cuda,
            goal.target.architectures,
            what=goal.title,
            waived=goal.target.waive,
            target=goal.name,
        )


class _Asked:
    """What stands in this machine's way to each toolchain of a recipe; servers are asked once for each."""

    def __init__(self, loaded: Loaded, machine: Machine, platform: str) -> None:
        self.loaded = loaded
        self.platform = platform
        self.machine = machine
        self._found: dict[str, list[str]] = {}

    def obstacles(self, name: str) -> list[str]:
        """Return why this machine cannot have a toolchain; nothing when it can."""
        if name not in self._found:
            self._found[name] = _obstacles(self.machine, self.loaded.toolchains[name], self.platform)
        return self._found[name]

    def first(self, target: Target) -> Toolchain | None:
        """Return the first toolchain of a target that this machine can have."""
        name = next((one for one in target.toolchains if not self.obstacles(one)), None)
        return self.loaded.toolchains[name] if name else None


class _Tools(NamedTuple):
    """A toolchain that was chosen, what compiles in it (nothing: the lane compiles nothing), and why it is that one."""

    name: str
    compiler: str = ""
    reason: str = ""


def _tools(asked: _Asked, name: str, lane: Lane, wish: Wish) -> _Tools:
    """Return the toolchain that is asked for, or the first that this machine can have.

    PlanError when the one asked for is none of the target's, or when the lane compiles nothing.
    """
    loaded = asked.loaded
    target = loaded.recipe.targets[name]
    if not LANES[lane].compiles:
        if wish.toolchain:
            raise PlanError(
                f"{loaded.recipe.name} {name}: the {lane} lane compiles nothing, with {wish.toolchain} or another",
                hint=_left_out(
                    ["--toolchain"], plan.possible(loaded.recipe, name, loaded.patches, asked.platform)
                ),
            )
        return _Tools(target.toolchain)
    known = [loaded.toolchains[one] for one in target.toolchains]
    if wish.toolchain:
        return _named(loaded, name, known, wish.toolchain)
    if len(known) == 1:  # what it lacks is told when it is made
        return _Tools(known[0].name, known[0].compiler)
    taken = asked.first(target)
    if taken is None:
        raise PlanError(
            f"{loaded.recipe.name} {name}: this machine can have none of its toolchains",
            faults=[f"this machine cannot have {one.name} ({asked.obstacles(one.name)[0]})" for one in known],
            hint="'retread toolchain check' says what is missing",
        )
    if taken is known[0]:
        return _Tools(taken.name, taken.compiler)
    why = f"this machine cannot have {known[0].name}"
    missing = asked.obstacles(known[0].name)[0]
    asked.machine.console.once(f"note: {taken.name} compiles, since {why} ({missing})")
    return _Tools(taken.name, taken.compiler, f"{why}: {taken.compiler} compiles")


def _named(loaded: Loaded, name: str, known: list[Toolchain], asked: str) -> _Tools:
    """Return the toolchain of the target's that is asked for by name."""
    for one in known:
        if one.name == asked:
            return _Tools(one.name, one.compiler, f"{asked} was asked for")
    names = [one.name for one in known]
    raise PlanError(
        f"{loaded.recipe.name} {name} is not compiled with {asked!r}{near_miss(asked, names)}",
        hint=f"its toolchains are {', '.join(names)}",
    )


def _possible_target(asked: _Asked, lane: Lane | None) -> str:
    """Return the first target that recipe and machine can make, and say why it is not the recipe's first.

    PlanError where the series is what stands in the way: it never moves a build to another target.
    """
    loaded, passed = asked.loaded, list[tuple[str, str]]()
    recipe = loaded.recipe
    for name, target in recipe.targets.items():
        plan.demand_unmoved(recipe, name, loaded.patches, lane)
        try:
            chosen = plan.choose_lane(recipe, name, loaded.patches, lane)
            plan.demand_possible(recipe, name, chosen.lane, asked.platform)
        except PlanError as error:
            said = error.message.removeprefix(f"{recipe.name} {name}: ")
            why = f"{name}: {said}" + "".join(f"; {fault}" for fault in error.faults)
            passed.append((f"the recipe does not make {name} by the {lane} lane", why))
            continue
        compiles = LANES[chosen.lane].compiles
        if not compiles or asked.first(target):
            if passed:
                asked.machine.console.say(f"note: building {name}, since {passed[0][0]}")
            return name
        missing = asked.obstacles(target.toolchain)[0]
        passed.append((f"this machine cannot build {name}: {missing}", f"{name}: {missing}"))
    raise PlanError(
        f"{recipe.name}: no target can be built here",
        faults=[why for _, why in passed],
        hint="'retread toolchain check' says what is missing; --target and --lane choose"
        if asked.platform in platforms.COMPILED
        else f"'retread matrix --platform {asked.platform}' shows what is made for it, of official wheels",
    )


def _obstacles(machine: Machine, toolchain: Toolchain, platform: str) -> list[str]:
    """Return why this machine cannot have a toolkit."""
    from retread.toolkit.inquiry import obstacles

    return obstacles(machine, toolchain, platform)
