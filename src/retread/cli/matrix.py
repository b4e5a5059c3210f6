"""``retread matrix``: a workflow's jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, add_command, add_common, words
from retread.recipe.lane import Lane

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from retread.arch import Arch
    from retread.cli.options import Groups
    from retread.recipe.matrix import Entry, Matrix
    from retread.recipe.workspace import Loaded


class Asked(Options):
    """For which wheels is asked: all of these recipes, or what changed."""

    recipe: tuple[str, ...]
    base: str | None
    lane: Lane | None


class MatrixOptions(Asked):
    """What is typed after ``matrix``."""

    gpus: str
    platform: tuple[str, ...]


def add(groups: Groups) -> None:
    """Add the command."""
    command = add_command(
        groups, "matrix", "show a workflow's jobs: every target for every Python, or only what changed"
    )
    add_asked(command)
    command.add_argument(
        "--gpus",
        metavar="LIST",
        default="",
        help="capabilities that runners have, like '9.0 12.0'; on other machines 'aarch64:9.0'",
    )
    command.add_argument(
        "--platform",
        metavar="NAME",
        action="append",
        default=[],
        help="for which machines, like aarch64; may be given again; default: x86_64",
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
    from retread.index import release
    from retread.recipe import matrix, platforms

    machine = session.machine(options)
    runners = _runners(options.gpus)
    loaded, changed = asked(options)
    for platform in options.platform:
        _demand(platform, release.every_platform(one.recipe for one in loaded), "--platform")
    found = matrix.matrix(
        [(one.recipe, one.patches) for one in loaded],
        changed,
        runners,
        options.lane,
        options.platform or platforms.COMPILED[:1],
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


def asked(options: Asked) -> tuple[list[Loaded], list[str] | None]:
    """Return the recipes whose wheels are asked for, and the paths that changed; None where that is not asked."""
    from retread.doors import git
    from retread.recipe import shared, workspace

    root = session.root(options)
    loaded = [workspace.load(root, name) for name in options.recipe or session.finished(options)]
    if not options.base:
        return loaded, None
    changed = git.changed(root, options.base, session.machine(options).environment)
    return loaded, shared.spread(root, changed)


def _runners(text: str) -> dict[str, list[Arch]]:
    """Return platform -> capabilities of the GPUs in its machines; a word without a platform is of the first."""
    from retread.recipe import platforms

    found: dict[str, list[Arch]] = {}
    for word in text.replace(",", " ").split():
        platform, _, capability = word.rpartition(":")
        _demand(platform, ("", *platforms.COMPILED), "--gpus")
        found.setdefault(platform or platforms.COMPILED[0], []).append(session.architecture(capability))
    return found


def _demand(platform: str, known: Sequence[str], option: str) -> None:
    from retread.errors import UsageError
    from retread.strict import near_miss

    if platform not in known:
        raise UsageError(
            f"{option}: there is no platform {platform!r}{near_miss(platform, known)}",
            hint=f"there is {', '.join(filter(None, known))}",
        )


def table(found: Matrix, runners: Mapping[str, Sequence[Arch]]) -> str:
    """Return the jobs as a Markdown table, which reads well in a terminal, too, and what stays unproven."""
    rows = [
        ("wheel", "lane", "Python", "CUDA", "GPUs asked for", "why"),
        *(_row(one) for one in found.include),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    if found.unproven:
        machines = [f"{' '.join(gpus)} in {platform} machines" for platform, gpus in runners.items()]
        there = f"runners have {', '.join(machines)}" if machines else "there is no GPU runner"
        lines += ["", f"Unproven on a GPU ({there}):", ""]
        lines += [f"- {one.wheel} on {one.gpu}" for one in found.unproven]
    if found.left_out:
        lines += ["", "Left out, since another lane makes them:", ""]
        lines += [f"- {one}" for one in found.left_out]
    return "\n".join(lines)


def _row(entry: Entry) -> tuple[str, ...]:
    gpus = " ".join(entry.gpu) or "none"
    return (
        f"{entry.recipe} {entry.target} {entry.platform}",
        entry.lane,
        entry.python,
        entry.cuda,
        gpus,
        entry.why,
    )
