"""``retread patch``: work on a recipe's series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, Source, add_command, add_common, add_source

if TYPE_CHECKING:
    from retread.cli.options import Groups
    from retread.queue.desk import Desk
    from retread.queue.pieces import Altered


class CheckOptions(Options, frozen=True, kw_only=True):
    """What is typed after ``patch check``."""

    recipe: tuple[str, ...]
    source: Source


class EditOptions(Options, frozen=True, kw_only=True):
    """What is typed after ``patch edit``."""

    recipe: str
    at: str
    into: Path | None
    anew: bool


class RefreshOptions(Options, frozen=True, kw_only=True):
    """What is typed after ``patch refresh``."""

    recipe: str
    check: bool
    undo: bool


def add(groups: Groups) -> None:
    """Add the command and its actions."""
    patch = add_command(groups, "patch", "work on a recipe's patch series")
    actions = patch.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = add_command(actions, "check", "lint the series and try every patch on the pinned source")
    check.add_argument("recipe", nargs="*", help="default: all")
    add_source(check)
    add_common(check, patch_check, CheckOptions)
    edit = add_command(
        actions, "edit", "make a git worktree with one commit for each patch, and print its place"
    )
    edit.add_argument("recipe")
    edit.add_argument(
        "--at", metavar="PATCH", default="", help="stop a rebase at this patch: its number or name"
    )
    edit.add_argument("--into", type=Path, metavar="DIR", help="where it lies; default: in the store")
    edit.add_argument("--anew", action="store_true", help="throw away what is in it and not in the series")
    add_common(edit, patch_edit, EditOptions, json=False)
    refresh = add_command(actions, "refresh", "write the series back from the worktree's commits")
    refresh.add_argument("recipe")
    refresh.add_argument(
        "--check", action="store_true", help="write nothing; fail when there is something to write"
    )
    refresh.add_argument("--undo", action="store_true", help="put back what the last action changed")
    add_common(refresh, patch_refresh, RefreshOptions)


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


def patch_edit(options: EditOptions) -> int:
    """Print the place of the worktree."""
    from retread.queue import refresh

    desk = _desk(options, options.recipe)
    opened = refresh.edit(desk, at=options.at, into=options.into, anew=options.anew)
    desk.machine.console.say(f"{options.recipe}: {opened.said}")
    print(opened.place)
    return 0


def patch_refresh(options: RefreshOptions) -> int:
    """Write the series; with ``--check`` SeriesError when it is not what the worktree holds."""
    from retread.queue import refresh

    desk = _desk(options, options.recipe)
    if options.undo:
        return _told(options, refresh.undo(desk))
    altered = refresh.refresh(desk, check=options.check)
    _told(options, altered)
    if options.check:
        refresh.demand_check(altered)
    return 0


def _desk(options: Options, recipe: str) -> Desk:
    from retread.queue.desk import Desk

    return Desk(session.machine(options), session.root(options), recipe)


def _told(options: Options, altered: Altered) -> int:
    from retread.cli import show

    if options.json:
        session.print_json(altered)
    else:
        print(show.altered(altered))
    return 0
