"""``retread jobs``, ``run-job``: every build and trial as a job, one of them run anywhere, what became of all."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, add_command, add_common, some, told, words
from retread.recipe.lane import Lane

if TYPE_CHECKING:
    from retread.cli.options import Groups
    from retread.jobs.job import Job, Result
    from retread.recipe.workspace import Loaded

_WHERE_RESULTS = (
    "name the folder that 'run-job --out', --slurm or, as OUT/jobs, 'build --on' left its results in"
)


class JobsOptions(Options):
    """What is typed after ``jobs``."""

    recipe: tuple[str, ...]
    lane: Lane | None
    platform: str | None
    cores: int | None
    jobs: Path | None
    results: Path | None
    collect: Path | None
    slurm: Path | None
    gres: tuple[str, ...] | None
    sbatch: tuple[str, ...] | None


class RunJobOptions(Options):
    """What is typed after ``run-job``."""

    key: str
    jobs: Path
    out: Path
    memory: float | None
    """In GiB."""
    retry: bool


def add(groups: Groups) -> None:
    """Add the commands."""
    command = add_command(groups, "jobs")
    command.add_argument("recipe", nargs="*", help="default: all")
    command.add_argument("--lane", choices=words(Lane), help="only what this lane makes; default: all")
    command.add_argument(
        "--platform",
        metavar="NAME",
        type=told("a platform"),
        help="only for these machines, like aarch64; default: for all",
    )
    command.add_argument(
        "--cores", type=int, metavar="N", help="that a compile gets; default: those of this machine"
    )
    command.add_argument(
        "--jobs",
        type=Path,
        metavar="FILE",
        help="those that 'retread jobs --json' printed; default: make the list",
    )
    command.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="say what became of each there; fails where one is not done",
    )
    command.add_argument(
        "--collect",
        type=Path,
        metavar="DIR",
        help="with --results: put the wheels there, with all evidence of them",
    )
    _add_slurm(command)
    add_common(command, jobs, JobsOptions)

    command = add_command(groups, "run-job")
    command.add_argument("key", help="its key, eight digits of it or more, or its name")
    command.add_argument(
        "--jobs", type=Path, required=True, metavar="FILE", help="what 'retread jobs --json' printed"
    )
    command.add_argument("-o", "--out", type=Path, required=True, help="where a folder for each key is made")
    command.add_argument(
        "--memory", type=some, metavar="GIB", help="that it may take; default: what the job file says"
    )
    command.add_argument(
        "--retry",
        action="store_true",
        help="with twice the memory, and only if it was killed for memory or ended without a word",
    )
    add_common(command, run_job, RunJobOptions)


def _add_slurm(command: argparse.ArgumentParser) -> None:
    """Add what Slurm is told."""
    command.add_argument(
        "--slurm", type=Path, metavar="DIR", help="write array scripts for Slurm there; needs --results"
    )
    command.add_argument(
        "--gres",
        action="append",
        metavar="CAPABILITY=GRES",
        help="Slurm: what has such a GPU, like 9.0=gpu:h100; default: any GPU",
    )
    command.add_argument(
        "--sbatch",
        action="append",
        metavar="OPTION",
        help="Slurm: for every array, like --sbatch=--partition=build",
    )


def jobs(options: JobsOptions) -> int:
    """Print the jobs of all recipes, or of those that are named, or of a file; write scripts for Slurm, or the states.

    PlanError when ``--results`` finds one that is not done.
    """
    from retread.errors import UsageError
    from retread.jobs import job

    if options.cores is not None and options.cores < 1:
        raise UsageError("--cores: a compile needs at least one")
    _demand_whole(options)
    found = _from_file(options, options.jobs) if options.jobs else _listed(options)
    if options.slurm and options.results:
        return _write_slurm(options, options.slurm, found, options.results)
    if options.results:
        return _tell_results(options, options.results, found)
    if options.json:
        session.print_json(job.write(found))
    elif found:
        session.put(table(found))
    else:
        session.machine(options).console.say(_none(options))
    return 0


def _none(options: JobsOptions) -> str:
    """Return what is told where there are no jobs: which options leave none, and what there is."""
    if options.jobs:
        return f"no jobs in {options.jobs}"
    from retread.jobs import listing

    typed = {"--lane": options.lane, "--platform": options.platform}
    told, faults = listing.nothing_left(session.machine(options), _recipes(options), typed)
    return "\n".join([told, *(f"  - {one}" for one in faults)])


def _demand_whole(options: JobsOptions) -> None:
    """Raise UsageError for options that say nothing without another, and for results that lie in no folder."""
    from retread.errors import UsageError

    if (options.gres or options.sbatch) and not options.slurm:
        raise UsageError("--gres and --sbatch are for the scripts of --slurm")
    if options.json and options.slurm:
        raise UsageError("--slurm writes the job file as well, jobs.json in its folder; leave --json out")
    if options.collect and options.slurm:
        raise UsageError("--collect: nothing is done yet when the scripts are written; leave --slurm out")
    if options.collect and not options.results:
        raise UsageError("--collect: say with --results where the jobs left their wheels")
    if options.slurm and not options.results:
        raise UsageError(
            "--slurm: say with --results where the jobs leave what they make, on a disk that all nodes see"
        )
    if options.results and not options.results.is_dir() and (options.results.exists() or not options.slurm):
        there = "is no folder" if options.results.exists() else "is not there"
        raise UsageError(f"--results: {options.results} {there}", hint=_WHERE_RESULTS)


def _from_file(options: JobsOptions, file: Path) -> Sequence[Job]:
    from retread.doors import fs
    from retread.errors import UsageError
    from retread.jobs import job

    if options.recipe or options.lane or options.platform or options.cores:
        raise UsageError(
            "--jobs: the file says which jobs there are; name no recipe, lane, platform or cores"
        )
    return job.parse(fs.read(session.existing(file)), name=file.name)


def _recipes(options: JobsOptions) -> list[Loaded]:
    """Return the recipes that are named, or all."""
    from retread.recipe import workspace

    root = session.root(options)
    return [workspace.load(root, name) for name in dict.fromkeys(options.recipe or session.finished(options))]


def _listed(options: JobsOptions) -> Sequence[Job]:
    from retread.jobs import listing
    from retread.recipe import plan

    machine, loaded = session.machine(options), _recipes(options)
    plan.demand_known(options.platform, [one.recipe for one in loaded])
    asked = listing.Asked(lane=options.lane, platform=options.platform or "", cores=options.cores)
    return listing.jobs_of(
        machine, loaded, asked, skip=lambda error: machine.console.say(f"note: no job: {error}")
    )


def _write_slurm(options: JobsOptions, folder: Path, found: Sequence[Job], results: Path) -> int:
    """Write the scripts and the job file that they read; stdout is the script that submits them."""
    import sys

    from retread.doors import fs
    from retread.errors import UsageError
    from retread.jobs import job, slurm

    if not found:
        raise UsageError(f"--slurm: {_none(options)}")
    fs.demand_folder(results)
    known = slurm.capabilities(found)
    cluster = slurm.Cluster(
        folder=folder.absolute(),
        out=results.absolute(),
        root=session.root(options),
        command=(sys.executable, "-m", "retread"),
        gres=slurm.parse_gres(options.gres or (), known),
    )
    typed = slurm.parse_options(options.sbatch or (), slurm.scripts(found, cluster))
    if unmapped := [one for one in known if one not in cluster.gres]:
        session.machine(options).console.say(
            f"note: no --gres for GPU {', '.join(unmapped)}: any GPU is asked for, and a trial on another one fails"
        )
    fs.write(folder / slurm.JOBS, session.json(job.write(found)))
    for name, text in slurm.scripts(found, cluster._replace(options=typed)).items():
        fs.write(folder / name, text.encode())
        (folder / name).chmod(0o755)
    session.put(folder / slurm.SUBMIT)
    return 0


def _tell_results(options: JobsOptions, out: Path, found: Sequence[Job]) -> int:
    """Print what became of each job; PlanError where one is not done."""
    from retread.doors import fs
    from retread.errors import PlanError, first
    from retread.jobs import collect, run

    if options.collect:
        fs.demand_folder(options.collect)
        machine = session.machine(options)
        wheels = collect.collect(found, out, options.collect, machine)
        machine.console.say(f"wheels with their evidence in {options.collect}: {len(wheels)}")
    left = [run.left(one, out) for one in found]
    if options.json:
        session.print_json([one for one in left if one])
    else:
        session.put(table(found, left))
    undone = [
        f"{one.name}: {_state(result)}"
        for one, result in zip(found, left, strict=True)
        if not result or result.code
    ]
    if undone:
        raise PlanError(
            f"{len(undone)} of {len(found)} jobs are not done in {out}",
            faults=first(undone),
            hint=f"the log of one that failed lies in KEY{run.FAILED}; run them again: what is done is taken",
        )
    return 0


def _state(result: Result | None) -> str:
    if result is None:
        return "not run, or ended without a word"
    why = result.said.splitlines()[0] if result.said else ""
    return f"failed with exit code {result.code}: {why}" if result.code else "done"


def table(found: Sequence[Job], left: Sequence[Result | None] | None = None) -> str:
    """Return jobs, with what they ``left`` where that is asked for, as a table."""
    from retread.text.tables import markdown
    from retread.units import about, size

    rows = [
        ("key", "job", "lane", "cores", "memory", "time", "GPU", "processor", *(["state"] if left else []))
    ]
    for index, one in enumerate(found):
        needs = one.needs
        asked = (
            str(needs.cores),
            size(needs.memory_bytes),
            about(needs.seconds),
            needs.gpu or "none",
            needs.processor,
        )
        state = [_state(left[index]).partition(":")[0]] if left else []
        rows.append((one.key[:12], one.name, one.lane, *asked, *state))
    return markdown(rows)


def run_job(options: RunJobOptions) -> int:
    """Run one job; its exit code is that of the command that it is, and 24 where it was killed for memory."""
    from retread.compile.schedule import GIB
    from retread.doors import fs
    from retread.errors import OutOfMemoryError
    from retread.jobs import confine, job, run

    machine, out = session.machine(options), options.out.absolute()
    found = job.find(job.parse(fs.read(session.existing(options.jobs)), name=options.jobs.name), options.key)
    if options.memory is not None:
        found = job.with_memory(found, max(1, int(options.memory * GIB)))
    elif options.retry:
        found = job.with_memory(found, found.needs.memory_bytes * job.MORE)
    place = run.Place(session.root(options), machine, confine.launcher(lambda _: None))
    result = run.run_job(found, out, place, again=options.retry)
    if options.json:
        session.print_json(result)
    elif not result.code:
        session.put("\n".join(str(out / found.key / one.file) for one in result.wheels))
    if result.code == OutOfMemoryError.exit_code:
        raise OutOfMemoryError(f"{found.name} was {result.said}", hint="give it more: --memory GIB")
    if result.code:
        folder = out / f"{found.key}{run.FAILED}"
        machine.console.fail(
            f"retread: {found.name} failed with exit code {result.code}; its log lies in {folder}"
        )
    return result.code
