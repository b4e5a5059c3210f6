"""Which lane makes a target, and why: the cheapest that gives the same result. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from retread.errors import PlanError
from retread.model import Record
from retread.recipe import Recipe, matches
from retread.series import Patch
from retread.strict import near_miss


class Lane(StrEnum):
    """How a target is made, the cheapest first."""

    OVERLAY = "overlay"
    SOURCE = "source"
    CONTAINER = "container"


class Step(Record, frozen=True, kw_only=True):
    """One stage of a build: whether its result is in the store, and the reason."""

    stage: str
    subject: str
    cached: bool
    reason: str


class Plan(Record, frozen=True, kw_only=True):
    """What a build of one base wheel would do."""

    schema: int
    recipe: str
    target: str
    wheel: str
    lane: Lane
    reason: str
    """Why this lane."""
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


def choose_lane(
    recipe: Recipe, target: str, patches: Sequence[Patch], forced: Lane | None
) -> tuple[Lane, str]:
    """Return the lane and the reason; PlanError names every patch or field that stands in the way."""
    obstacles = overlay_obstacles(recipe, target, patches)
    if forced in {Lane.SOURCE, Lane.CONTAINER}:
        raise PlanError(
            f"{recipe.name}: this version of retread cannot build in the {forced} lane yet",
            hint="leave --lane out, or say --lane overlay",
        )
    if obstacles:
        raise PlanError(
            f"{recipe.name} {target}: the overlay lane is not allowed, and this version has no other yet",
            faults=obstacles,
            hint="an overlay takes over compiled code, so a patch on a native input needs the source lane",
        )
    if not patches:
        return Lane.OVERLAY, "the series is empty"
    return (
        Lane.OVERLAY,
        f"none of the {len(patches)} patch(es) touches a native input, and a base wheel is pinned",
    )


def overlay_obstacles(recipe: Recipe, target: str, patches: Sequence[Patch]) -> list[str]:
    """Return what forbids the overlay lane: each patch on a native input, a missing base wheel."""
    found = [] if recipe.targets[target].base else [f"targets.{target}.base: no base wheel is pinned"]
    for patch in patches:
        for change in patch.changes:
            glob = matches(change.path, recipe.native_inputs)
            copied = next((copy for copy in recipe.sdist.copies if change.path.startswith(f"{copy}/")), "")
            if glob:
                found.append(f"{patch.name} touches {change.path}, a native input ({glob})")
            elif copied:
                found.append(
                    f"{patch.name} touches {change.path}, a copy of {recipe.sdist.copies[copied]}: patch that"
                )
    return found
