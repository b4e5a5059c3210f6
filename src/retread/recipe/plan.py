"""Which lane makes a target, and why: the cheapest that gives the same result. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from msgspec.structs import replace

from retread import arch, pypa, version
from retread.arch import Arch
from retread.errors import PlanError, UsageError
from retread.recipe import platforms
from retread.recipe.lane import LANES, Lane, Own
from retread.recipe.model import Recipe, Target
from retread.recipe.series import Patch
from retread.records import Record
from retread.strict import near_miss

if TYPE_CHECKING:
    from pathlib import Path


class State(StrEnum):
    """What a build does for a stage, as people read it."""

    HERE = "in store"
    SHARED = "in the shared store"
    NEEDLESS = "not needed"
    TO_DO = "to do"


class Step(Record, frozen=True, kw_only=True):
    """One stage of a build: whether its result is in the store, and the reason."""

    stage: str
    subject: str
    cached: bool
    reason: str
    shared: bool = False
    """Whether the shared store has it, where the own one has not."""
    state: State = State.TO_DO
    """What is in neither is not needed where the finished wheel is in one of them."""


def settled(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return steps, of which the last is the finished wheel's, each with its state."""
    finished = any(one.cached or one.shared for one in steps[-1:])
    otherwise = State.NEEDLESS if finished else State.TO_DO
    return tuple(
        replace(one, state=State.HERE if one.cached else State.SHARED if one.shared else otherwise)
        for one in steps
    )


def step(stage: str, subject: str, entry: Path | None, reason: str, *, shared: bool = False) -> Step:
    """Return a step whose result is in the store if ``entry`` says where, or in the ``shared`` one."""
    return Step(stage=stage, subject=subject, cached=entry is not None, reason=reason, shared=shared)


class Effort(NamedTuple):
    """What a build takes of a machine, as far as that is known; nothing of what is in the store already."""

    seconds: float | None
    """None when nobody can tell before it was done once."""
    memory: int | None
    """Bytes at its peak."""
    disk: int
    """Bytes, at most."""


class Forecast(Record, frozen=True, kw_only=True):
    """What a build takes, and what this machine has of it."""

    seconds: float | None
    """None when nobody can tell before it was done once here."""
    memory: int | None
    """Bytes at the peak; None when nobody can tell."""
    free_memory: int
    disk: int
    """Bytes that come to the store, at most."""
    free_disk: int
    lacks: tuple[str, ...]
    """What this machine cannot have, each with the reason; a build fails while there is any."""


class Plan(Record, frozen=True, kw_only=True):
    """What a build of one base wheel would do."""

    schema: int
    recipe: str
    target: str
    wheel: str
    lane: Lane
    reason: str
    """Why this lane."""
    torch: str
    """The range that the wheel requires."""
    python: str
    """The Pythons that it is for: ``>=3.9``, ``3.12``."""
    architectures: tuple[Arch, ...]
    """For which every module has machine code."""
    ptx: tuple[Arch, ...]
    """For which every module has PTX, which the driver compiles for newer GPUs."""
    forecast: Forecast
    steps: tuple[Step, ...]


def choose_target(recipe: Recipe, name: str | None) -> str:
    """Return the target's name: the one asked for, or the recipe's first; PlanError suggests the near miss."""
    if name is None:
        return next(iter(recipe.targets))
    if name not in recipe.targets:
        raise PlanError(
            f"{recipe.name} has no target {name!r}{near_miss(name, recipe.targets)}",
            hint=f"its targets are {', '.join(recipe.targets)}",
        )
    return name


def patched_version(recipe: Recipe, target: Target, compiler: str = version.NVCC) -> str:
    """Return the version of the wheels of a target whose device code this compiler made, or took over."""
    return version.patched(recipe.version, target.cuda, target.revision, compiler)


class Chosen(NamedTuple):
    """The lane of a target, why it is that one, and what it takes of the recipe."""

    lane: Lane
    reason: str
    own: Own


def choose_lane(recipe: Recipe, target: str, patches: Sequence[Patch], forced: Lane | None) -> Chosen:
    """Return the cheapest lane that is possible, or the one that is forced.

    PlanError names every patch or field that stands in the way.
    """
    lanes = _tried(forced)
    refused: list[str] = []
    obstacles: list[str] = []
    for lane in lanes:
        found = LANES[lane].find(recipe, target, patches)
        if found.own is not None:
            reason = found.reason or ("it was asked for" if forced else "; ".join(obstacles))
            return Chosen(lane, reason, found.own)
        refused.append(f"the {lane} lane is not {'possible' if LANES[lane].compiles else 'allowed'}")
        obstacles += found.obstacles
    raise PlanError(
        f"{recipe.name} {target}: {', and '.join(refused)}", faults=obstacles, hint=LANES[lanes[0]].hint
    )


def _tried(forced: Lane | None) -> list[Lane]:
    return [forced] if forced else [lane for lane, way in LANES.items() if way.unasked]


def offers(recipe: Recipe, target: str, forced: Lane | None) -> Lane | None:
    """Return the cheapest lane, or the one that is forced, by which the recipe makes a target, whatever its series."""
    return next((one for one in _tried(forced) if LANES[one].find(recipe, target, ()).own is not None), None)


def demand_unmoved(recipe: Recipe, target: str, patches: Sequence[Patch], forced: Lane | None) -> None:
    """Raise PlanError when the series closes the lane of a target that nobody named.

    Another target would be another CUDA and torch, another lane a compile of hours: that is the user's to choose, and
    the message says with which switch, and what each would do.
    """
    lane = offers(recipe, target, forced)
    found = LANES[lane].find(recipe, target, patches) if lane else None
    if lane is None or found is None or found.own is not None:
        return
    ways = [way for name in recipe.targets for way in _ways(recipe, name, patches)]
    none = "no target of the recipe can be made with this series: give one a [build] table,"
    said = f"choose: {'; '.join(ways)};" if ways else none
    raise PlanError(
        f"{recipe.name} {target}: the series closes the {lane} lane, and no target is named",
        faults=found.obstacles,
        hint=f"{said} or drop what is named here from series",
    )


def possible(recipe: Recipe, target: str, patches: Sequence[Patch], platform: str) -> list[Lane]:
    """Return every lane that can make a target with this series for a platform, the cheapest first."""
    there = [lane for lane, way in LANES.items() if not way.compiles or platform in platforms.COMPILED]
    return [lane for lane in there if LANES[lane].find(recipe, target, patches).own is not None]


def _ways(recipe: Recipe, name: str, patches: Sequence[Patch]) -> Iterator[str]:
    """Yield each way to make a target with this series: the switches, and what they do."""
    target = recipe.targets[name]
    lanes = possible(recipe, name, patches, platforms.COMPILED[0])
    unasked = next((lane for lane in lanes if LANES[lane].unasked), None)
    for lane in lanes:
        switches = f"--target {name}" if lane is unasked else f"--target {name} --lane {lane}"
        does = "compiles it" if LANES[lane].compiles else "takes over compiled code"
        served = f"CUDA {target.cuda} and torch {target.torch}" if target.torch else f"CUDA {target.cuda}"
        yield f"'{switches}' {does} for {served} ({lane} lane)"


def every_platform(recipes: Iterable[Recipe]) -> tuple[str, ...]:
    """Return the platforms that recipes have wheels for, as they name them."""
    named = (one for recipe in recipes for target in recipe.targets.values() for one in target.made_for)
    return tuple(dict.fromkeys(named))


def demand_known(platform: str | None, recipes: Iterable[Recipe]) -> None:
    """Raise PlanError for a platform that nobody knows: no lane compiles for it, and none of the recipes names it."""
    known = [*platforms.KNOWN, *sorted({*every_platform(recipes)} - {*platforms.KNOWN})]
    if platform is not None and platform not in known:
        raise PlanError(
            f"no recipe is made for {platform!r}{platforms.near_miss(platform, known)}",
            hint=f"there are {', '.join(known)}",
        )


def demand_target(name: str | None, recipes: Iterable[Recipe]) -> None:
    """Raise PlanError for a target that none of the recipes that are asked for has."""
    known = sorted({target for recipe in recipes for target in recipe.targets})
    if name is not None and name not in known:
        raise PlanError(
            f"none of the recipes that are asked for has a target {name!r}{near_miss(name, known)}",
            hint=f"there are {', '.join(known)}",
        )


def demand_possible(recipe: Recipe, target: str, lane: Lane, platform: str) -> None:
    """Raise PlanError for a lane that compiles, where it cannot for that platform."""
    if LANES[lane].compiles and platform not in platforms.COMPILED:
        raise PlanError(
            f"{recipe.name} {target}: the {lane} lane compiles for Linux, not for {platform}",
            hint="a wheel for another platform is made by the overlay lane, of an official one: its series changes no "
            f"native input; or take what is for {platform} out of targets.{target}",
        )


def for_others(recipe: Recipe, target: str, patches: Sequence[Patch], platform: str) -> Chosen:
    """Return the lane of a wheel for a ``platform``, the one that the ``recipe`` speaks of, whoever will make it.

    PlanError as from ``choose_lane``, and where that lane cannot be for the platform.
    """
    chosen = choose_lane(recipe, target, patches, None)
    demand_possible(recipe, target, chosen.lane, platform)
    lane = LANES[chosen.lane].for_others
    found = LANES[lane].find(recipe, target, patches) if lane else None
    return Chosen(lane, chosen.reason, found.own) if lane and found and found.own is not None else chosen


class Served(Protocol):
    """What a target and a plan say of for whom a wheel is."""

    @property
    def torch(self) -> str:
        """The range that the wheel requires."""

    @property
    def architectures(self) -> tuple[Arch, ...]:
        """For which it has machine code."""

    @property
    def ptx(self) -> tuple[Arch, ...]:
        """For which it has PTX."""


def purpose(served: Served, python: str) -> tuple[str, str]:
    """Return for whom a wheel is, in two lines: torch, if it requires one, and Python; GPUs."""
    ptx = f"; newer ones from PTX {' '.join(served.ptx)}" if served.ptx else ""
    torch = f"torch {served.torch}, " if served.torch else ""
    return f"for {torch}Python {python}", f"for GPUs {' '.join(served.architectures)}{ptx}"


def pythons(target: Target) -> list[str]:
    """Return the Pythons of a target: those of its base wheels, or the range for which it can be compiled."""
    if not target.base and target.build:
        return [target.build.python]
    return list(dict.fromkeys(python for base in target.base for python in tagged(base.file)))


def tagged(wheel: str) -> Iterator[str]:
    """Yield the Pythons that a wheel's tags name: ``3.12``, or ``>=3.9`` where its ABI goes on."""
    for tag in sorted(pypa.wheel_name(wheel)[3], key=str):
        number = re.fullmatch(r"(?:cp|py)3(\d*)", tag.interpreter)
        exact = tag.abi not in {"abi3", "none"}
        minor = f".{number[1]}" if number and number[1] else ""
        yield (f"3{minor}" if exact else f">=3{minor}") if number else tag.interpreter


def fits(target: Target, *, torch: str = "", gpu: Arch | None = None, python: str = "") -> bool:
    """Say whether a target's wheels can be beside this torch, have machine code for this GPU and serve this Python."""
    if torch and not pypa.specifiers(target.torch).contains(torch, prereleases=True):
        return False
    if gpu and not any(arch.runs(code, gpu) for code in target.architectures):
        return False
    if not python:
        return True
    if not target.base and target.build:
        return pypa.specifiers(target.build.python).contains(python)
    return any(serves(base.file, python) for base in target.base)


def is_python(text: str) -> bool:
    """Say whether a text is a version of Python, with its two numbers or three: ``3.12``."""
    return bool(re.fullmatch(r"[1-9]\.\d{1,2}(\.\d{1,2})?", text, re.ASCII))


def demand_python(typed: str, *, path: bool = True) -> None:
    """Raise UsageError for what is no version of Python; where ``path``, a program may be meant, too."""
    program = path and ("/" in typed or typed.startswith("python"))
    if not (is_python(typed) or program):
        also = ", nor the path of a Python" if path else ""
        raise UsageError(f"--python: {typed!r} is not a version like '3.12'{also}")


def demand_version(title: str, python: str | None) -> None:
    """Raise PlanError for the path of a Python, where none of this machine's makes the wheel."""
    if python and not is_python(python):
        raise PlanError(
            f"{title}: the Python of a base wheel or an image is asked for by its version, not as {python}",
            hint="write it like 3.12; '--lane source' builds with a Python of this machine",
        )


def demand_served(title: str, wanted: str, python: str | None) -> None:
    """Raise PlanError for a version of Python that is not in the range of what is compiled; a path is asked later."""
    if python and is_python(python) and not pypa.specifiers(wanted).contains(python):
        raise PlanError(f"{title}: the recipe builds for Python {wanted}, and {python} is none of these")


def serves(wheel: str, python: str) -> bool:
    """Say whether a wheel of this file name can be installed by a Python, which is written ``3.12``."""
    from packaging.tags import compatible_tags, cpython_tags

    major, minor = (int(part) for part in python.split(".")[:2])
    fits = {
        *cpython_tags((major, minor), platforms=["any"]),
        *compatible_tags((major, minor), platforms=["any"]),
    }
    pairs = {(tag.interpreter, tag.abi) for tag in fits}
    return any((tag.interpreter, tag.abi) in pairs for tag in pypa.wheel_name(wheel)[3])
