"""Which jobs there are: what ``retread matrix`` lists, planned as ``build`` plans it, each with its trials behind it.

Nothing is downloaded, compiled or started to know them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from retread.build import choice, pipeline
from retread.doors import cores
from retread.doors.machine import Machine, code_digest, essence_digest
from retread.doors.store import digest
from retread.errors import PlanError, first
from retread.jobs import forecast
from retread.jobs.job import Job, Kind, named, sealed
from retread.lanes.lane import Wish
from retread.recipe import files, matrix, platforms, workspace
from retread.recipe.lane import LANES, Lane
from retread.recipe.matrix import Entry
from retread.recipe.trial import Trial
from retread.recipe.workspace import Loaded
from retread.records import Sha256
from retread.smoke import kit
from retread.smoke.level import Level

_PACKAGE: Final = Path(__file__).parents[1]
OWN: Final = "retread's own code"
"""The input that another version of retread changes."""

_NAMED: Final = 3
"""Recipes that a message names; of more it says how many."""


class Asked(NamedTuple):
    """What a user asks of a list of jobs."""

    target: str = ""
    """Only this target; empty: all."""
    lane: Lane | None = None
    """Only what this lane makes."""
    platform: str = ""
    """For which machines the wheels are; empty: for all."""
    cores: int | None = None
    """That a compile gets; without a number, those of this machine."""
    toolchain: str = ""
    """With which it is compiled; empty: the first of the recipe's that this machine can have."""


ALL: Final = Asked()


def jobs_of(
    machine: Machine,
    recipes: Sequence[Loaded],
    asked: Asked = ALL,
    skip: Callable[[PlanError], None] | None = None,
) -> list[Job]:
    """Return the jobs of recipes, each behind those that it takes results of.

    What this machine cannot plan, like a target without a toolchain that can be had, is handed to ``skip``; PlanError
    without one.
    """
    known = {one.recipe.name: one for one in recipes}
    found = matrix.matrix(
        [(one.recipe, one.patches) for one in recipes], None, (), asked.lane, asked.platform
    )
    jobs: list[Job] = []
    for entry in found.include:
        if asked.target not in {"", entry.target}:
            continue
        try:
            jobs += _of_entry(machine, known[entry.recipe], entry, asked)
        except PlanError as error:
            if skip is None:
                raise
            skip(error)
    return jobs


def nothing_left(
    machine: Machine, recipes: Sequence[Loaded], typed: Mapping[str, str | None]
) -> tuple[str, list[str]]:
    """Return what is told when options leave no job of recipes: in a line, and of each what there is in its place.

    ``typed`` has options that are called after a field of jobs, like ``--python``, with what was typed, or None.
    """
    given = {option: value for option, value in typed.items() if value}
    names = ", ".join(one.recipe.name for one in recipes[:_NAMED])
    if len(recipes) > _NAMED:
        names = f"{len(recipes)} recipes"
    if not given:
        return f"{names} has no jobs" if names else "there are no recipes", []
    every = [
        _fields(one, given)
        for one in jobs_of(machine, recipes, skip=lambda _: None)
        if one.kind is Kind.BUILD
    ]
    faults = []
    for option, value in given.items():
        others = given.items() - {(option, value)}
        there = [one[option] for one in every if others <= one.items()] or [one[option] for one in every]
        if value not in there:
            faults.append(f"{option} {value}: there is {', '.join(dict.fromkeys(there)) or 'nothing'}")
    said = " ".join(f"{option} {value}" for option, value in given.items())
    return f"{names}: no build with {said}", faults


def _fields(job: Job, options: Iterable[str]) -> dict[str, str]:
    return {option: str(getattr(job, option.removeprefix("--"))) for option in options}


def demand_current(machine: Machine, root: Path, job: Job) -> None:
    """Raise PlanError for a job of another state than the workspace is in, which names what differs.

    A job file goes on saying what a job was; the recipe may have been changed since.
    """
    loaded = workspace.load(root, job.recipe)
    asked = Asked(lane=job.lane, platform=job.platform, toolchain=job.toolchain)
    now = {one.name: one for one in jobs_of(machine, [loaded], asked, skip=lambda _: None)}
    same = now.get(job.name)
    if same is None:
        raise PlanError(
            f"{job.name}: {job.recipe} makes no such job any more",
            hint="write the job file anew: retread jobs --json",
        )
    if same.key != job.key:
        raise PlanError(
            f"{job.name}: {job.recipe} is not what it was when the job file was written",
            faults=first(list(_differences(job, same))),
            hint="write the job file anew (retread jobs --json), or go back to the state that it is of",
        )


def _differences(job: Job, now: Job) -> Iterator[str]:
    """Yield what goes into a job and is another than it was; where that is retread's own code, nothing else matters."""
    if job.inputs.get(OWN) != now.inputs.get(OWN):
        yield f"{OWN} is another: run the jobs with the retread that listed them"
        return
    for name in {**job.inputs, **now.inputs}:
        before, after = job.inputs.get(name), now.inputs.get(name)
        if before != after:
            yield f"{name} " + ("is new" if before is None else "is gone" if after is None else "was changed")


def _of_entry(machine: Machine, loaded: Loaded, entry: Entry, asked: Asked) -> Iterator[Job]:
    compiles = LANES[entry.lane].compiles
    wish = Wish(
        python=entry.python,
        platform="" if entry.platform == platforms.COMPILED[0] else entry.platform,
        toolchain=(asked.toolchain or None) if compiles else None,
    )
    made = choice.jobs(loaded, entry.target, machine, lane=entry.lane, wish=wish)
    taken = made[0].goal.toolchain if compiles else None
    name = named("build", entry.name)
    build = sealed(
        Job(
            key=Sha256(64 * "0"),
            kind=Kind.BUILD,
            name=name,
            recipe=entry.recipe,
            target=entry.target,
            lane=entry.lane,
            python=entry.python,
            platform=entry.platform,
            toolchain=taken.name if taken else "",
            needs=forecast.of_build(
                machine, name, entry, asked.cores or cores.count(), loaded.times.get(entry.target, {})
            ),
            inputs=_inputs(loaded, entry, made),
        )
    )
    yield build
    if not platforms.is_windows(entry.platform):
        yield from _trials(machine, loaded, entry, build)


def _inputs(loaded: Loaded, entry: Entry, made: Sequence[pipeline.Job]) -> dict[str, str]:
    """Return what a wheel is made of, as far as it is known before: of a compile, the machine's own tools are not."""
    goal, compiles = made[0].goal, LANES[entry.lane].compiles
    recipe, lock = loaded.recipe, loaded.locks.get(entry.target)
    archive = recipe.source.wheel if recipe.source else recipe.sdist.file
    found = {
        OWN: code_digest(),
        "the recipe's fields, its tools and what writes the wheel": digest([one.made_of for one in made]),
        f"the source ({archive or recipe.pin.commit})": goal.trees.source_key,
        "the series": goal.trees.patched_key,
        **{f"{files.series(recipe)}/{one.name}": one.sha256 for one in goal.trees.loaded.patches},
    }
    if compiles:
        found |= {files.lock(recipe.name, entry.target): hashlib.sha256(lock or b"").hexdigest()}
    else:
        found |= {f"the base wheel {one.origin.wheel_name}": one.origin.key for one in made}
    return found


def _trials(machine: Machine, loaded: Loaded, entry: Entry, build: Job) -> Iterator[Job]:
    """Yield a trial without a GPU, and one for each capability on which the recipe asks for one."""
    recipe = loaded.recipe
    trial = recipe.targets[entry.target].on(build.platform).smoke or Trial()
    programs = tuple(sorted(str(one.relative_to(_PACKAGE)) for one in (_PACKAGE / "smoke").rglob("*.py")))
    inputs = {
        OWN: build.inputs[OWN],
        "retread's own trials": essence_digest(programs),
        "how the recipe has it tried": digest(recipe.smoke, trial),
        **{
            f"suite {name}": hashlib.sha256(data).hexdigest()
            for name, data in kit.suites(recipe, loaded.root).items()
        },
    }
    levels = (Level.STATIC, Level.JIT) if trial.triton else (Level.STATIC,)
    for gpu, tried in ((None, levels), *((one, (Level.GPU,)) for one in trial.gpu)):
        name = named("smoke", entry.name, *([f"cc{gpu}"] if gpu else []))
        yield sealed(
            msgspec.structs.replace(
                build,
                kind=Kind.SMOKE,
                name=name,
                level=tried,
                needs=forecast.of_trial(machine, name, gpu, build.platform),
                inputs=inputs,
                after=(build.key,),
            )
        )
