"""What a workflow has to make: recipe by target by Python, everything or only what a change touches. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from packaging.specifiers import SpecifierSet
from packaging.utils import parse_wheel_filename
from packaging.version import Version

from retread.arch import Arch
from retread.recipe import files, plan
from retread.recipe.model import Build, Recipe, Target
from retread.recipe.plan import Lane
from retread.recipe.series import Patch
from retread.records import Record

EVERYTHING: Final = ("src/retread/", "pyproject.toml")
"""retread's own code is part of every key."""
ALL: Final = "everything was asked for"
_OLDEST = 9
"""Minor version of the oldest Python 3 for which a wheel that names none is tried: that of a kit."""
_PYTHONS = ("3.12", "3.13", "3.14", "3.11", "3.10", "3.9")
"""For which Python the source lane compiles, the first that the recipe's range holds."""


class Entry(Record, frozen=True, kw_only=True):
    """One job: a wheel to make."""

    name: str
    """Fit for jobs and artifacts: letters, digits, dots and dashes."""
    recipe: str
    target: str
    lane: Lane
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


def matrix(
    known: Sequence[tuple[Recipe, Sequence[Patch]]], changed: Sequence[str] | None, runners: Sequence[Arch]
) -> Matrix:
    """Return the jobs for every recipe with its series: all, or those that the ``changed`` paths touch.

    ``runners`` are the capabilities of the GPUs that there are.
    """
    found = [
        entry
        for recipe, patches in known
        for target in recipe.targets
        for entry in _entries(recipe, target, patches, changed)
    ]
    wanted = [(entry, gpu) for entry in found for gpu in entry.gpu]
    trials = [_trial(entry, gpu) for entry, gpu in wanted if gpu in runners]
    return Matrix(
        schema=1,
        count=len(found),
        include=tuple(found),
        trials=Trials(count=len(trials), include=tuple(trials)),
        unproven=tuple(Unproven(wheel=entry.name, gpu=gpu) for entry, gpu in wanted if gpu not in runners),
    )


def touched(changed: Sequence[str], recipe: Recipe, target: str) -> list[str]:
    """Return those of the ``changed`` paths that a target's wheels are made of or tried with."""
    made_of = (*files.inputs(recipe, target), *EVERYTHING)
    return [path for path in changed if any(_is_in(path, one) for one in made_of)]


def _is_in(path: str, one: str) -> bool:
    return path.startswith(one) if one.endswith("/") else path == one


def _entries(
    recipe: Recipe, name: str, patches: Sequence[Patch], changed: Sequence[str] | None
) -> Iterator[Entry]:
    why = ALL if changed is None else _reason(touched(changed, recipe, name))
    if not why:
        return
    target = recipe.targets[name]
    lane = _lane(recipe, name, patches)
    for python in _pythons(target, lane):
        yield Entry(
            name=f"{recipe.name}-{name}-py{python}",
            recipe=recipe.name,
            target=name,
            lane=lane,
            python=python,
            cuda=target.cuda,
            architectures=target.architectures,
            gpu=target.smoke.gpu if target.smoke else (),
            why=why,
        )


def _reason(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0]}{more} changed" if paths else ""


def _lane(recipe: Recipe, name: str, patches: Sequence[Patch]) -> Lane:
    """Return the lane of a workflow: a wheel for others is compiled in a container, where the recipe has one."""
    chosen, _ = plan.choose_lane(recipe, name, patches, None)
    contained = recipe.targets[name].container is not None
    return Lane.CONTAINER if chosen is Lane.SOURCE and contained else chosen


def _pythons(target: Target, lane: Lane) -> list[str]:
    match lane:
        case Lane.OVERLAY:
            return list(dict.fromkeys(_oldest(base.file) for base in target.base))
        case Lane.CONTAINER:
            return list(target.container.pythons if target.container else ())
        case Lane.SOURCE:
            return [_compiled_for(target.build)]


def _oldest(file: str) -> str:
    """Return the oldest Python 3 that a wheel's tags serve."""
    tags = parse_wheel_filename(file)[3]
    minors = [found[1] for tag in tags if (found := re.fullmatch(r"[a-z]+3(\d+)", tag.interpreter))]
    return f"3.{min(map(int, minors), default=_OLDEST)}"


def _compiled_for(build: Build | None) -> str:
    allowed = SpecifierSet(build.python if build else "")
    return next((one for one in _PYTHONS if allowed.contains(Version(one))), _PYTHONS[0])


def _trial(entry: Entry, gpu: Arch) -> Trial:
    return Trial(
        name=f"{entry.name}-cc{gpu}",
        wheel=entry.name,
        gpu=gpu,
        labels=("self-hosted", "linux", f"cc-{gpu}"),
    )
