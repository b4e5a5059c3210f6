"""What a workflow has to make: recipe by target by Python, everything or only what a change touches. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from retread import code
from retread.arch import Arch
from retread.recipe import files, plan, platforms
from retread.recipe.lane import Lane
from retread.recipe.model import Recipe
from retread.recipe.series import Patch
from retread.records import Record

EVERYTHING: Final = ("src/retread/smoke/", "pyproject.toml")
"""What every wheel is tried with, and what retread stands on; its own code that is part of the keys comes to it."""
_OWN: Final = "src/retread/"
ALL: Final = "everything was asked for"


class Entry(Record, frozen=True, kw_only=True):
    """One job: a wheel to make."""

    name: str
    """Fit for jobs and artifacts: letters, digits, dots and dashes."""
    recipe: str
    target: str
    lane: Lane
    platform: str
    """For which machines it is: ``x86_64``."""
    python: str
    cuda: str
    architectures: tuple[Arch, ...]
    gpu: tuple[Arch, ...]
    """Capabilities on which its smoke tests have to pass."""
    why: str


class Trial(Record, frozen=True, kw_only=True):
    """One job on a GPU: a wheel's kit on a runner with that capability."""

    name: str
    wheel: str
    """Name of the entry whose kit is run."""
    gpu: Arch
    labels: tuple[str, ...]
    """What the runner has to be labelled with."""


class Trials(Record, frozen=True, kw_only=True):
    """The jobs on GPUs, as a matrix of their own."""

    count: int
    include: tuple[Trial, ...]


class Unproven(Record, frozen=True, kw_only=True):
    """A capability on which a wheel stays unproven, since no runner has it."""

    wheel: str
    gpu: Arch


class Matrix(Record, frozen=True, kw_only=True):
    """All jobs of a run."""

    schema: int
    count: int
    include: tuple[Entry, ...]
    trials: Trials
    unproven: tuple[Unproven, ...]
    left_out: tuple[str, ...] = ()
    """Names of entries that another lane makes than was asked for."""


def matrix(
    known: Sequence[tuple[Recipe, Sequence[Patch]]],
    changed: Sequence[str] | None,
    runners: Mapping[str, Sequence[Arch]],
    lane: Lane | None = None,
    wanted: Sequence[str] = platforms.COMPILED[:1],
) -> Matrix:
    """Return the jobs for every recipe with its series: all, or those that the ``changed`` paths touch.

    ``runners`` are the capabilities of the GPUs that there are, by the platform of their machines; ``wanted`` are the
    platforms that wheels are for; with a ``lane``, its jobs alone.
    """
    every = [
        entry
        for platform in dict.fromkeys(wanted)
        for recipe, patches in known
        for target, made in recipe.targets.items()
        if platform == platforms.COMPILED[0] or made.is_for(platform)
        for entry in _entries(recipe, target, patches, changed, platform)
    ]
    found = [one for one in every if lane in {None, one.lane}]
    asked = [(entry, gpu) for entry in found for gpu in entry.gpu]
    there = [(entry, gpu) for entry, gpu in asked if gpu in runners.get(entry.platform, ())]
    trials = [_trial(entry, gpu) for entry, gpu in there]
    return Matrix(
        schema=1,
        count=len(found),
        include=tuple(found),
        trials=Trials(count=len(trials), include=tuple(trials)),
        unproven=tuple(
            Unproven(wheel=entry.name, gpu=gpu) for entry, gpu in asked if (entry, gpu) not in there
        ),
        left_out=tuple(one.name for one in every if one not in found),
    )


def touched(changed: Sequence[str], recipe: Recipe, target: str) -> list[str]:
    """Return those of the ``changed`` paths that a target's wheels are made of or tried with."""
    made_of = (*files.inputs(recipe, target), *EVERYTHING)
    return [path for path in changed if _is_own(path) or any(_is_in(path, one) for one in made_of)]


def _is_own(path: str) -> bool:
    return path.startswith(_OWN) and code.decides(path.removeprefix(_OWN))


def _is_in(path: str, one: str) -> bool:
    return path.startswith(one) if one.endswith("/") else path == one


def _entries(
    recipe: Recipe, name: str, patches: Sequence[Patch], changed: Sequence[str] | None, platform: str
) -> Iterator[Entry]:
    why = ALL if changed is None else _reason(touched(changed, recipe, name))
    if not why:
        return
    own = platform == platforms.COMPILED[0]
    ending = "" if own else f"-{platform.replace('_', '-')}"
    recipe = recipe if own else recipe.on(platform)
    target = recipe.targets[name]
    chosen = plan.for_others(recipe, name, patches)
    pinned = platforms.PYTHON.get(platform) if chosen.lane is Lane.SOURCE else None
    for python in [pinned] if pinned else chosen.own.pythons():
        yield Entry(
            name=f"{recipe.name}-{name}-py{python}{ending}",
            recipe=recipe.name,
            target=name,
            lane=chosen.lane,
            platform=platform,
            python=python,
            cuda=target.cuda,
            architectures=target.architectures,
            gpu=target.smoke.gpu if target.smoke else (),
            why=why,
        )


def _reason(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0]}{more} changed" if paths else ""


def _trial(entry: Entry, gpu: Arch) -> Trial:
    machine = "" if entry.platform == platforms.COMPILED[0] else f"-{entry.platform}"
    return Trial(
        name=f"{entry.name}-cc{gpu}",
        wheel=entry.name,
        gpu=gpu,
        labels=("self-hosted", "linux", f"cc-{gpu}{machine}"),
    )
