"""``retread matrix``: a workflow's jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, add_command, add_common, told, words
from retread.recipe.lane import Lane

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from retread.cli.options import Groups
    from retread.recipe.matrix import Entry, Matrix, Runner
    from retread.recipe.workspace import Loaded


class Asked(Options):
    """For which wheels is asked: all of these recipes, or what changed."""

    recipe: tuple[str, ...]
    base: str | None
    lane: Lane | None


class MatrixOptions(Asked):
    """What is typed after ``matrix``."""

    gpus: str
    platform: str | None


def add(groups: Groups) -> None:
    """Add the command."""
    command = add_command(groups, "matrix")
    add_asked(command)
    command.add_argument(
        "--gpus",
        metavar="LIST",
        default="",
        help="GPUs of runners, like '9.0 win_amd64:12.0'; default of the platform: --platform, or x86_64",
    )
    command.add_argument(
        "--platform",
        metavar="NAME",
        type=told("a platform"),
        help="only for these machines, like aarch64; default: for all",
    )
    add_common(command, matrix, MatrixOptions)


def add_asked(command: ArgumentParser) -> None:
    """Add for which wheels is asked."""
    command.add_argument("recipe", nargs="*", help="default: all")
    command.add_argument(
        "--base", metavar="REF", help="only what changed since HEAD and this commit parted, uncommitted too"
    )
    command.add_argument("--lane", choices=words(Lane), help="only what this lane makes; default: all")


def matrix(options: MatrixOptions) -> int:
    """Print the jobs for all recipes or for those that are named, or only for what changed since ``--base``."""
    from retread.recipe import matrix, plan

    machine = session.machine(options)
    runners = _runners(options)
    loaded, changed = asked(options)
    plan.demand_known(options.platform, [one.recipe for one in loaded])
    found = matrix.matrix(
        [(one.recipe, one.patches) for one in loaded], changed, runners, options.lane, options.platform or ""
    )
    if options.json:
        session.print_json(found, indented=False)  # a workflow's outputs take no more than a line
    elif found.count or found.left_out:
        session.put(table(found, runners))
    if not found.count and not found.left_out:
        machine.console.say(
            f"nothing of which a wheel is made changed since {options.base}"
            if options.base
            else "no recipes here"
        )
    return 0


def _runners(options: MatrixOptions) -> list[Runner]:
    """Return the GPUs that runners have; UsageError for one in a machine of a platform that nobody knows."""
    from retread.errors import UsageError
    from retread.recipe import platforms
    from retread.recipe.matrix import Runner

    usual = options.platform or platforms.KNOWN[0]
    pairs = [word.rpartition(":") for word in options.gpus.replace(",", " ").split()]
    for platform, _, _ in pairs:
        if platform not in {"", *platforms.KNOWN}:
            raise UsageError(
                f"--gpus: {platform!r} is no platform of a runner{platforms.near_miss(platform)}",
                hint=f"there are {', '.join(platforms.KNOWN)}",
            )
    return [Runner(platform or usual, session.architecture(gpu)) for platform, _, gpu in pairs]


def asked(options: Asked) -> tuple[list[Loaded], list[str] | None]:
    """Return the recipes whose wheels are asked for, and the paths that changed; None where that is not asked."""
    from retread.doors import git
    from retread.recipe import shared, workspace

    root, before = session.root(options), session.readings(options)
    names = options.recipe or session.finished(options, before)
    loaded = [workspace.load(root, name, before) for name in dict.fromkeys(names)]
    if not options.base:
        return loaded, None
    changed = git.changed(root, options.base, session.machine(options).environment)
    return loaded, shared.spread(root, changed)


def table(found: Matrix, runners: Sequence[Runner]) -> str:
    """Return the jobs as a Markdown table, which reads well in a terminal, too, and what stays unproven."""
    from retread.text.tables import markdown

    rows = [
        ("wheel", "platform", "lane", "Python", "CUDA", "GPUs asked for", "why"),
        *(_row(one) for one in found.include),
    ]
    lines = [markdown(rows)]
    if found.unproven:
        there = f"runners have {', '.join(map(str, runners))}" if runners else "there is no GPU runner"
        lines += ["", f"Unproven on a GPU ({there}):", ""]
        lines += [f"- {one.wheel} on {one.gpu}" for one in found.unproven]
    if found.left_out:
        lines += ["", "Left out, since another lane makes them:", ""]
        lines += [f"- {one}" for one in found.left_out]
    return "\n".join(lines)


def _row(entry: Entry) -> tuple[str, ...]:
    gpus = " ".join(entry.gpu) or "none"
    return (
        f"{entry.recipe} {entry.target}",
        entry.platform,
        entry.lane,
        entry.python,
        entry.cuda,
        gpus,
        entry.why,
    )
