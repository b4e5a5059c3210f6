"""``retread patch``: work on a recipe's series."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, Source, add_command, add_common, add_source

if TYPE_CHECKING:
    from retread.cli.options import Groups


class CheckOptions(Options):
    """What is typed after ``patch check``."""

    recipe: tuple[str, ...]
    source: Source


def add(groups: Groups) -> None:
    """Add the command and its actions."""
    patch = add_command(groups, "patch", "work on a recipe's patch series")
    actions = patch.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = add_command(actions, "check", "lint the series and try every patch on the pinned source")
    check.add_argument("recipe", nargs="*", help="default: all")
    add_source(check)
    add_common(check, patch_check, CheckOptions)


def patch_check(options: CheckOptions) -> int:
    """Try every patch of the series; SeriesError when one does not go in."""
    from retread.cli import show
    from retread.errors import SeriesError
    from retread.recipe import workspace
    from retread.source.records import Verdict
    from retread.source.trees import Trees

    machine, root = session.machine(options), session.root(options)
    found, bad = {}, []
    for name in options.recipe or workspace.recipes(root):
        loaded = workspace.load(root, name)
        found[name] = Trees(loaded, machine, use_git=options.source is Source.GIT).try_series()
        fine = {Verdict.APPLIES, Verdict.OFFSET}
        bad += [
            f"{name}: {one.name}: {one.verdict} {one.detail}".strip()
            for one in found[name]
            if one.verdict not in fine
        ]
    if options.json:
        session.print_json(found)
    else:
        print("\n".join(show.series(name, applied) for name, applied in found.items()))
    if bad:
        raise SeriesError(
            f"{len(bad)} patch(es) do not go in", faults=bad, hint="make them anew, or drop them from series"
        )
    return 0
