"""``--on``: builds and trials on the machines of an engine, and what comes back of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from retread.cli import session
from retread.cli.options import Source, told

if TYPE_CHECKING:
    import argparse

    from retread.build.pipeline import Built
    from retread.cli.options import Options
    from retread.doors.machine import Machine
    from retread.errors import UsageError
    from retread.jobs.job import Job, Result
    from retread.recipe.lane import Lane
    from retread.recipe.workspace import Loaded
    from retread.smoke.level import Level
    from retread.smoke.run import Subject


class _Alone(NamedTuple):
    """Options of a command that do not go with --on, with what they are when nobody typed them, and why."""

    usual: Mapping[str, object]
    why: str


ALONE: Final = {
    "build": _Alone(
        {"--source": Source.SDIST, "--repository": "", "--memory": None, "--no-cache": False, "--image": None},
        "each node has its own, and each job the memory that it needs",
    ),
    "smoke": _Alone(
        {
            "--python": None, "--ssh": None, "--emulate": False, "--only": "*", "--any-torch": False,
            "--compare-ptx-jit": False, "--cold": False, "--durations": False, "--attach": None, "--out": Path("dist"),
            "--json": None, "--junit": None, "--html": None,
        },
        "each node tries the wheel as its recipe says, and its report lies beside the wheel",
    ),
}  # fmt: skip
"""Command -> its options that are refused beside --on; all others go with it. The guide on many machines lists them."""
_FIELDS: Final = {"smoke": {"--json": "report"}}
"""Of the fields that are not called as their options."""
_JOBS = "jobs"
"""The folder below --out in which each job leaves its own: what ``run-job --out`` would be given."""


def add_on(command: argparse.ArgumentParser) -> None:
    """Add on what it is done."""
    command.add_argument(
        "--on",
        type=told("an engine"),
        metavar="ENGINE",
        help="do it on a cluster: ray starts one here, ray://HOST:6379 takes one that runs",
    )


class Wanted(NamedTuple):
    """Which wheels are to be made."""

    recipes: Sequence[str]
    every: bool
    """Whether every target is, and what cannot be planned is told and left out."""
    target: str | None
    lane: Lane | None
    platform: str | None
    python: str | None
    cores: int | None
    toolchain: str | None


def build(options: Options, on: str, wanted: Wanted, out: Path) -> list[Built]:
    """Make wheels on an engine's machines and put them under ``out`` with their evidence; return them."""
    from retread.doors import fs
    from retread.recipe import workspace

    loaded = [workspace.load(session.root(options), name) for name in wanted.recipes]
    found, folder = _builds(options, wanted, loaded), out / _JOBS
    fs.demand_folder(folder)
    results = _driven(options, on, found, loaded, folder)
    machine = session.machine(options)
    return [
        wheel for one in found for wheel in _placed(machine, one, results[one.key], folder / one.key, out)
    ]


def _builds(options: Options, wanted: Wanted, loaded: Sequence[Loaded]) -> list[Job]:
    from retread.environment import host
    from retread.jobs import listing
    from retread.jobs.job import Kind
    from retread.recipe import plan

    machine, recipes = session.machine(options), [one.recipe for one in loaded]
    targets = {one.name: "" if wanted.every else plan.choose_target(one, wanted.target) for one in recipes}
    skip = (lambda error: machine.console.say(f"note: not built: {error}")) if wanted.every else None
    usual = listing.Asked(lane=wanted.lane, cores=wanted.cores, toolchain=wanted.toolchain or "")
    every = plan.every_platform(recipes)
    if wanted.every:
        plan.demand_known(wanted.platform, recipes)
    found = [
        one
        for platform in (every if wanted.every and not wanted.platform else [wanted.platform or host.here()])
        for recipe in loaded
        for one in listing.jobs_of(
            machine,
            [recipe],
            usual._replace(platform=platform, target=targets[recipe.recipe.name]),
            skip=skip,
        )
        if one.kind is Kind.BUILD and wanted.python in {None, one.python}
    ]
    if not found:
        raise nothing_left(machine, loaded, wanted)
    return found


def nothing_left(machine: Machine, loaded: Sequence[Loaded], wanted: Wanted) -> UsageError:
    """Return what is raised where nothing can be built of what was asked for."""
    from retread.errors import UsageError
    from retread.jobs import listing

    typed = {
        "--target": wanted.target,
        "--lane": wanted.lane,
        "--platform": wanted.platform,
        "--python": wanted.python,
    }
    told, faults = listing.nothing_left(machine, loaded, typed)
    return UsageError(told, faults=faults, hint="'retread jobs' lists them all")


def demand_none(command: str, options: Options) -> None:
    """Raise UsageError for options of a command that were typed and say nothing to an engine."""
    from retread.errors import UsageError

    alone, fields = ALONE[command], _FIELDS.get(command, {})
    values = {one: getattr(options, fields.get(one, one[2:].replace("-", "_"))) for one in alone.usual}
    if said := [one for one, usual in alone.usual.items() if values[one] != usual]:
        raise UsageError(f"--on does not go with {', '.join(said)}: {alone.why}")


def _driven(
    options: Options,
    on: str,
    jobs: Sequence[Job],
    loaded: Sequence[Loaded],
    folder: Path,
    *,
    given: Callable[[], None] = lambda: None,
) -> dict[str, Result]:
    """Return the results of jobs, which lie in ``folder`` then, by their keys; ``given`` puts there what they need."""
    from retread.doors import fs
    from retread.jobs import cluster, drive, onray, run

    machine, where = session.machine(options), cluster.address(on)
    done: dict[str, Result] = {
        one.key: result for one in jobs if (result := run.finished(one, folder, machine))
    }
    if len(done) == len(jobs):  # no cluster is needed to say so
        return done
    session.demand_handed(options)

    def ready() -> None:
        with fs.disk_errors(folder):  # hours of work are not begun for what cannot be kept
            folder.mkdir(parents=True, exist_ok=True)
        given()

    with onray.engine(where, session.root(options), [one.recipe for one in loaded], machine) as engine:
        return drive.Driver(engine, machine, folder).drive(jobs, ready=ready)


def _placed(machine: Machine, job: Job, result: Result, folder: Path, out: Path) -> list[Built]:
    """Put what a job left beside the wheels of others, and say what came out."""
    from retread.build.pipeline import Built, replacing
    from retread.cli import outcome
    from retread.doors import fs
    from retread.evidence.names import AUDIT

    found, say = [], machine.console.say
    for wheel in result.wheels:
        new = not (out / wheel.file).exists()
        left = [one for one in fs.listed(folder) if one.name.startswith(wheel.file)]
        changed = [one.name for one in left if fs.place(one, out / one.name)]
        built = Built(
            path=str(out / wheel.file),
            sha256=wheel.sha256,
            size=wheel.size,
            cached=result.cached,
            audit=str(out / f"{wheel.file}{AUDIT}"),
            replaced=wheel.file in changed,
            new=new,
        )
        if built.replaced:
            say(replacing(out / wheel.file, job.target))
        for line in outcome.lines(built):
            say(line)
        found.append(built)
    return found


class Trial(NamedTuple):
    """Which wheel is tried, as which recipe says."""

    wheel: Path
    recipe: str | None
    target: str | None
    levels: Sequence[Level]
    """Empty: all."""


def smoke(options: Options, on: str, trial: Trial) -> list[Path]:
    """Try a wheel on an engine's machines, on each GPU that its recipe names.

    Return the reports, which lie beside the wheel then; those of trials that failed do, too, when the error is raised.
    """
    from retread.doors import fs
    from retread.jobs import run
    from retread.smoke import run as smoking

    wheel = trial.wheel
    machine = session.machine(options)
    with machine.store.scratch() as scratch:
        tried = smoking.subject(session.root(options), wheel, trial.recipe, trial.target, scratch)
    jobs, folder = _trials(options, tried, trial.levels), wheel.parent / _JOBS
    fs.demand_folder(folder)
    for one in jobs:
        run.forget_others(one, tried.facts.sha256, folder)

    def given() -> None:
        for key in {key for one in jobs for key in one.after}:
            run.give(key, wheel, folder)

    reports = [Path(f"{one.key}{end}") for one in jobs for end in ("", run.FAILED)]
    try:
        _driven(options, on, jobs, [tried.loaded], folder, given=given)
    finally:
        kept = [report for one in reports for report in _kept(folder / one, wheel)]
    return kept


def _trials(options: Options, tried: Subject, levels: Sequence[Level]) -> list[Job]:
    """Return the trials of a wheel that are asked for: all, or those of some levels."""
    from retread.errors import HostError
    from retread.jobs import listing
    from retread.jobs.job import Kind

    machine = session.machine(options)
    found = [
        one
        for one in listing.jobs_of(machine, [tried.loaded], skip=lambda _: None)
        if one.kind is Kind.SMOKE
        and one.target == tried.target
        and (not levels or set(levels) & set(one.level))
    ]
    if not found:
        asked = f" with {', '.join(levels)}" if levels else ""
        raise HostError(
            f"{tried.loaded.recipe.name} {tried.target} has no trial for a node{asked}",
            hint=f"name the GPUs that it has to pass on: targets.{tried.target}.smoke.gpu",
        )
    tags = {tag.partition("-")[0] for tag in tried.facts.tags}
    pythons = [one.python for one in found if f"cp{one.python.replace('.', '')}" in tags]
    return [one for one in found if one.python == (pythons or [found[0].python])[0]]


def _kept(folder: Path, wheel: Path) -> list[Path]:
    """Put the reports of a trial beside the wheel."""
    from retread.doors import fs
    from retread.smoke import reading

    found = []
    for one in fs.listed(folder, ".json"):
        if one.name.startswith(f"{wheel.name}{reading.BESIDE}"):
            fs.place(one, wheel.with_name(one.name))
            found.append(wheel.with_name(one.name))
    return found
