"""Which lane makes a target, and why: the cheapest that gives the same result. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from retread.errors import PlanError
from retread.recipe.lane import Lane as Lane  # noqa: PLC0414 - part of a plan, so it is offered here, too
from retread.recipe.model import Recipe
from retread.recipe.native import native_glob
from retread.recipe.series import Patch
from retread.records import Record
from retread.strict import near_miss

if TYPE_CHECKING:
    from pathlib import Path


class Step(Record, frozen=True, kw_only=True):
    """One stage of a build: whether its result is in the store, and the reason."""

    stage: str
    subject: str
    cached: bool
    reason: str


def step(stage: str, subject: str, entry: Path | None, reason: str) -> Step:
    """Return a step whose result is in the store if ``entry`` says where."""
    return Step(stage=stage, subject=subject, cached=entry is not None, reason=reason)


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
    """Return the cheapest lane that is allowed, or the one that is forced, and the reason.

    PlanError names every patch or field that stands in the way.
    """
    obstacles, build = overlay_obstacles(recipe, target, patches), recipe.targets[target].build
    lacking = _compile_obstacles(recipe, target, forced)
    if forced and lacking:
        raise PlanError(f"{recipe.name} {target}: the {forced} lane is not possible", faults=lacking)
    if obstacles and (forced is Lane.OVERLAY or build is None):
        raise PlanError(
            f"{recipe.name} {target}: the overlay lane is not allowed"
            + ("" if forced or build else f", and there is no targets.{target}.build for the source lane"),
            faults=obstacles,
            hint="an overlay takes over compiled code, so a patch on a native input needs the source lane",
        )
    if forced in {Lane.SOURCE, Lane.CONTAINER}:
        return forced, "it was asked for"
    if obstacles:
        return Lane.SOURCE, "; ".join(obstacles)
    if not patches:
        return Lane.OVERLAY, "the series is empty"
    return (
        Lane.OVERLAY,
        f"none of the {len(patches)} patch(es) touches a native input, and a base wheel is pinned",
    )


def _compile_obstacles(recipe: Recipe, target: str, lane: Lane | None) -> list[str]:
    """Return what a lane that compiles lacks in the recipe."""
    found, wanted = recipe.targets[target], f"targets.{target}"
    lacking = []
    if lane in {Lane.SOURCE, Lane.CONTAINER} and found.build is None:
        lacking.append(f"{wanted}.build: missing; the recipe does not say how to compile it")
    if lane is Lane.CONTAINER and found.container is None:
        lacking.append(f"{wanted}.container: missing; the recipe does not say in which image")
    return lacking


def serves(wheel: str, python: str) -> bool:
    """Say whether a wheel of this file name can be installed by a Python, which is written ``3.12``."""
    major, minor = (int(part) for part in python.split(".")[:2])
    fits = {
        *cpython_tags((major, minor), platforms=["any"]),
        *compatible_tags((major, minor), platforms=["any"]),
    }
    pairs = {(tag.interpreter, tag.abi) for tag in fits}
    return any((tag.interpreter, tag.abi) in pairs for tag in parse_wheel_filename(wheel)[3])


def overlay_obstacles(recipe: Recipe, target: str, patches: Sequence[Patch]) -> list[str]:
    """Return what forbids the overlay lane: each patch on a native input, a missing base wheel."""
    found = [] if recipe.targets[target].base else [f"targets.{target}.base: no base wheel is pinned"]
    for patch in patches:
        for change in patch.changes:
            glob = native_glob(change.path, recipe.native_inputs)
            copied = next((copy for copy in recipe.sdist.copies if change.path.startswith(f"{copy}/")), "")
            if glob:
                found.append(f"{patch.name} touches {change.path}, a native input ({glob})")
            elif copied:
                found.append(
                    f"{patch.name} touches {change.path}, a copy of {recipe.sdist.copies[copied]}: patch that"
                )
    return found
