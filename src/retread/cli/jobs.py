"""``retread jobs``, ``run-job``: every build and trial as a job, and one of them run anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, add_command, add_common, amount, words
from retread.recipe.lane import Lane

if TYPE_CHECKING:
    from retread.cli.options import Groups
    from retread.jobs.job import Job


class JobsOptions(Options):
    """What is typed after ``jobs``."""

    recipe: tuple[str, ...]
    lane: Lane | None
    platform: str
    cores: int | None


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
    command = add_command(
        groups, "jobs", "show every build and trial as a job that any engine may run, with what it needs"
    )
    command.add_argument("recipe", nargs="*", help="default: all")
    command.add_argument("--lane", choices=words(Lane), help="only what this lane makes; default: all")
    command.add_argument(
        "--platform",
        metavar="NAME",
        default="x86_64",
        help="for which machines the wheels are, like aarch64; default: x86_64",
    )
    command.add_argument(
        "--cores", type=int, metavar="N", help="that a compile gets; default: those of this machine"
    )
    add_common(command, jobs, JobsOptions)

    command = add_command(
        groups,
        "run-job",
        "run one job of a job file, and leave its result whole below --out; stdout is its wheels",
    )
    command.add_argument("key", help="its key, eight digits of it or more, or its name")
    command.add_argument(
        "--jobs", type=Path, required=True, metavar="FILE", help="what 'retread jobs --json' printed"
    )
    command.add_argument("-o", "--out", type=Path, required=True, help="where a folder for each key is made")
    command.add_argument(
        "--memory", type=amount, metavar="GIB", help="that it may take; default: what the job file says"
    )
    command.add_argument(
        "--retry",
        action="store_true",
        help="only if its last run was killed for memory or ended without a word; what else failed stays as it is",
    )
    add_common(command, run_job, RunJobOptions)


def jobs(options: JobsOptions) -> int:
    """Print the jobs of all recipes, or of those that are named."""
    from retread.errors import UsageError
    from retread.jobs import job, listing
    from retread.recipe import workspace

    if options.cores is not None and options.cores < 1:
        raise UsageError("--cores: a compile needs at least one")
    root, machine = session.root(options), session.machine(options)
    loaded = [workspace.load(root, name) for name in options.recipe or session.finished(options)]
    asked = listing.Asked(lane=options.lane, platform=options.platform, cores=options.cores)
    found = listing.jobs_of(
        machine, loaded, asked, skip=lambda error: machine.console.say(f"note: no job: {error}")
    )
    if options.json:
        session.print_json(job.write(found))
    elif found:
        session.put(table(found))
    else:
        machine.console.say("no jobs here")
    return 0


def table(found: Sequence[Job]) -> str:
    """Return jobs as a Markdown table, which reads well in a terminal, too."""
    from retread.units import about, size

    rows = [
        ("key", "job", "lane", "cores", "memory", "time", "GPU", "processor"),
        *(
            (
                one.key[:12],
                one.name,
                one.lane,
                str(one.needs.cores),
                size(one.needs.memory_bytes),
                about(one.needs.seconds),
                one.needs.gpu or "none",
                one.needs.processor,
            )
            for one in found
        ),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


def run_job(options: RunJobOptions) -> int:
    """Run one job; its exit code is that of the command that it is, and 24 where it was killed for memory."""
    import msgspec

    from retread.compile.schedule import GIB
    from retread.doors import fs
    from retread.errors import OutOfMemoryError
    from retread.jobs import job, run

    machine, out = session.machine(options), options.out.absolute()
    found = job.find(job.parse(fs.read(session.existing(options.jobs)), name=options.jobs.name), options.key)
    if options.memory is not None:
        needs = msgspec.structs.replace(found.needs, memory_bytes=max(1, int(options.memory * GIB)))
        found = msgspec.structs.replace(found, needs=needs)
    result = run.run_job(found, out, run.Place(session.root(options), machine), again=options.retry)
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
