"""What a workflow has to make: recipe by target by Python, everything or only what a change touches. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

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


_LABELS: Final = {
    "x86_64": ("linux", "x64"),
    "aarch64": ("linux", "arm64"),
    "win_amd64": ("windows", "x64"),
}
"""Platform -> how GitHub labels such a machine by itself."""


class Runner(NamedTuple):
    """A GPU that a workflow has, by its capability, in a machine of a platform."""

    platform: str
    gpu: Arch

    def __str__(self) -> str:
        return self.gpu if self.platform == platforms.COMPILED[0] else f"{self.platform}:{self.gpu}"


class Entry(Record, frozen=True, kw_only=True):
    """One job: a wheel to make."""

    name: str
    """Fit for jobs and artifacts: letters, digits, dots and dashes."""
    recipe: str
    target: str
    platform: str
    """The machines that it is for: ``x86_64`` and ``aarch64`` of Linux, ``win_amd64``."""
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
    platform: str
    """That of the entry, and of the runner."""
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
    runners: Collection[Runner],
    lane: Lane | None = None,
    platform: str = "",
) -> Matrix:
    """Return the jobs for every recipe with its series: all, or those that the ``changed`` paths touch.

    ``runners`` are the GPUs that there are; with a ``lane`` or a ``platform``, its jobs alone.
    """
    every = [
        entry
        for recipe, patches in known
        for target, made in recipe.targets.items()
        for one in made.made_for
        if platform in {"", one}
        for entry in _entries(recipe, target, patches, changed, one)
    ]
    found = [one for one in every if lane in {None, one.lane}]
    wanted = [(entry, gpu) for entry in found for gpu in entry.gpu]
    trials = [_trial(entry, gpu) for entry, gpu in wanted if Runner(entry.platform, gpu) in runners]
    return Matrix(
        schema=1,
        count=len(found),
        include=tuple(found),
        trials=Trials(count=len(trials), include=tuple(trials)),
        unproven=tuple(
            Unproven(wheel=entry.name, gpu=gpu)
            for entry, gpu in wanted
            if Runner(entry.platform, gpu) not in runners
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
    recipe = recipe.on(platform)
    target = recipe.targets[name]
    chosen = plan.for_others(recipe, name, patches, platform)
    pinned = platforms.PYTHON.get(platform) if chosen.lane is Lane.SOURCE else None
    for python in [pinned] if pinned else chosen.own.pythons():
        yield Entry(
            name=f"{recipe.name}-{name}-py{python}{ending}",
            recipe=recipe.name,
            target=name,
            platform=platform,
            lane=chosen.lane,
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
    return Trial(
        name=f"{entry.name}-cc{gpu}",
        wheel=entry.name,
        platform=entry.platform,
        gpu=gpu,
        labels=("self-hosted", *_LABELS.get(entry.platform, (entry.platform,)), f"cc-{gpu}"),
    )
