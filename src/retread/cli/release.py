"""``retread release``: which wheels a release must have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import matrix, session
from retread.cli.options import add_action, add_command, add_common, told

if TYPE_CHECKING:
    from retread.cli.options import Groups
    from retread.index.release import Planned, Release


class PlanOptions(matrix.Asked):
    """What is typed after ``release plan``."""

    target: str | None
    platform: tuple[str, ...]
    out: Path | None


def add(groups: Groups) -> None:
    """Add the command."""
    actions = add_command(groups, "release").add_subparsers(dest="action", metavar="ACTION", required=True)
    command = add_action(
        actions, "plan", "list the wheels that a release must have; 'publish --release' holds it to that"
    )
    matrix.add_asked(command)
    command.add_argument("--target", type=told("a target"), help="only this target of each recipe")
    command.add_argument(
        "--platform",
        metavar="NAME",
        type=told("a platform"),
        action="append",
        default=[],
        help="only for these machines; default: all",
    )
    command.add_argument("-o", "--out", type=Path, metavar="FILE", help="write the plan there, as JSON")
    add_common(command, plan, PlanOptions)


def plan(options: PlanOptions) -> int:
    """Show the wheels that a release must have, or write them into a file, whose path is shown."""
    from retread.doors import fs
    from retread.errors import PlanError

    found = _release(options)
    if not found.wheels:
        given = {
            "--base": options.base, "--lane": options.lane, "--target": options.target,
            "--platform": options.platform,
        }  # fmt: skip
        hint = " or ".join(name for name, value in given.items() if value)
        raise PlanError(
            "no wheel is to be made of what was asked for: there is nothing to release",
            hint=f"leave {hint} out" if hint else "",
        )
    if options.out:
        fs.write(options.out, session.json(found))
        session.put(options.out)
    elif options.json:
        session.print_json(found)
    else:
        session.put(table(found))
    return 0


def _release(options: PlanOptions) -> Release:
    from retread.index import release
    from retread.recipe import matrix as jobs
    from retread.recipe import plan

    loaded, changed = matrix.asked(options)
    for platform in options.platform:
        plan.demand_known(platform, [one.recipe for one in loaded])
    plan.demand_target(options.target, [one.recipe for one in loaded])
    every = jobs.matrix([(one.recipe, one.patches) for one in loaded], changed, (), options.lane)
    wanted = [
        one
        for one in every.include
        if options.target in {None, one.target} and (not options.platform or one.platform in options.platform)
    ]
    return release.planned(wanted, {one.recipe.name: one for one in loaded})


def table(found: Release) -> str:
    """Return the wheels of a release as a table, with what each has to be proven by and what makes it."""
    from retread.text import tables

    heads = ("wheel", "proven by", "job")
    return tables.plain(tables.columns(heads, [*map(_row, found.wheels)], text=(0, 1, 2)))


def _row(one: Planned) -> tuple[str, str, str]:
    wanted = one.evidence
    by = [str(level) for level in wanted.levels if level != "gpu"] + [f"gpu {gpu}" for gpu in wanted.gpu]
    others = "".join(f" or {other.version}" for other in one.instead)
    return (f"{one.wheel}{others}", ", ".join(by), one.job)
