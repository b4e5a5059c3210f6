"""``retread patch``: work on a recipe's series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, Source, Typed, add_action, add_command, add_common, add_source

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from retread.cli.options import Groups
    from retread.queue.actions import Bench, Plan
    from retread.queue.desk import Desk
    from retread.queue.incoming import Incoming
    from retread.queue.pieces import Altered


class CheckOptions(Options):
    """What is typed after ``patch check``."""

    recipe: tuple[str, ...]
    source: Source


class EditOptions(Options):
    """What is typed after ``patch edit``."""

    recipe: str
    at: str
    into: Path | None
    anew: bool


class ActionOptions(Options):
    """What is typed after every action that changes a series."""

    recipe: str
    undo: bool


class RefreshOptions(ActionOptions):
    """What is typed after ``patch refresh``."""

    check: bool


class HeadedOptions(ActionOptions):
    """What is typed of a new patch's header."""

    header: Path | None
    set: tuple[str, ...] | None


class NewOptions(HeadedOptions):
    """What is typed after ``patch new``."""

    name: str | None
    origin: str
    clone: Path | None
    before: str
    after: str


class FoldOptions(ActionOptions):
    """What is typed after ``patch fold``."""

    patch: str | None
    origin: str
    clone: Path | None


class MoveOptions(ActionOptions):
    """What is typed after ``patch move``."""

    patch: str | None
    before: str
    after: str


class DropOptions(ActionOptions):
    """What is typed after ``patch drop``."""

    patch: str | None
    because: str


class SplitOptions(HeadedOptions):
    """What is typed after ``patch split``."""

    patch: str | None
    name: str | None
    path: tuple[str, ...] | None


class SquashOptions(ActionOptions):
    """What is typed after ``patch squash``."""

    patch: tuple[str, ...]


class ImportOptions(HeadedOptions):
    """What is typed after ``patch import``."""

    origin: str | None
    name: str
    sha256: str
    before: str
    after: str


class ExportOptions(Options):
    """What is typed after ``patch export``."""

    recipe: str
    patch: tuple[str, ...]
    mbox: bool
    dep3: bool
    author: str
    output: Path | None


class GraphOptions(Options):
    """What is typed after ``patch graph``."""

    recipe: str


def add(groups: Groups) -> None:
    """Add the command and its actions."""
    patch = add_command(groups, "patch")
    actions = patch.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = add_action(actions, "check", "lint the series and try every patch on the pinned source")
    check.add_argument("recipe", nargs="*", help="default: all")
    add_source(check)
    add_common(check, patch_check, CheckOptions)
    edit = add_action(
        actions, "edit", "make a git worktree with one commit for each patch, and print its place"
    )
    edit.add_argument("recipe")
    edit.add_argument(
        "--at", metavar="PATCH", default="", help="stop a rebase at this patch: its number or name"
    )
    edit.add_argument("--into", type=Path, metavar="DIR", help="where it lies; default: in the store")
    edit.add_argument("--anew", action="store_true", help="throw away what is in it and not in the series")
    add_common(edit, patch_edit, EditOptions, json=False)
    _add_coming(actions)
    _add_moving(actions)
    graph = add_action(actions, "graph", "show which patch needs which, and which native inputs each touches")
    graph.add_argument("recipe")
    add_common(graph, patch_graph, GraphOptions)


def _add_coming(actions: Groups) -> None:
    """Add the actions by which patches come in, and go out."""
    refresh = add_action(actions, "refresh", "write the series back from the worktree's commits")
    refresh.add_argument(
        "--check", action="store_true", help="write nothing; fail if there is something to write"
    )
    _finish(refresh, patch_refresh, RefreshOptions)
    new = add_action(actions, "new", "make a patch of a diff or a commit")
    _finish(new, patch_new, NewOptions)
    new.add_argument("name", nargs="?", help="what-it-does; it gets its number")
    _add_origin(new)
    _add_header(new)
    _add_place(new)
    fold = add_action(actions, "fold", "put a diff, or a commit's, into a patch")
    _finish(fold, patch_fold, FoldOptions)
    fold.add_argument("patch", nargs="?", help="its number or name")
    _add_origin(fold)
    take = add_action(actions, "import", "take in patches as upstream and distributions give them")
    _finish(take, patch_import, ImportOptions)
    take.add_argument(
        "origin", metavar="WHAT", nargs="?", help="a file, an mbox, an address; - is standard input"
    )
    take.add_argument("--name", default="", help="what-it-does; default: made of the subject")
    take.add_argument("--sha256", default="", help="the digest of what lies at an address")
    _add_header(take)
    _add_place(take)
    give = add_action(actions, "export", "write patches for upstream or a distribution")
    give.add_argument("recipe")
    give.add_argument("patch", nargs="*", help="numbers or names; default: all")
    form = give.add_mutually_exclusive_group(required=True)
    form.add_argument("--mbox", action="store_true", help="mails, as git format-patch writes them")
    form.add_argument("--dep3", action="store_true", help="files with Debian's headers")
    give.add_argument("--author", metavar="WHO", default="", help="NAME <MAIL>, for patches that say nobody")
    give.add_argument("-o", "--output", type=Path, metavar="PLACE", help="an mbox, or for --dep3 a folder")
    add_common(give, patch_export, ExportOptions, json=False)


def _add_moving(actions: Groups) -> None:
    """Add the actions on patches that are there."""
    move = add_action(actions, "move", "put a patch before or after another one")
    _finish(move, patch_move, MoveOptions)
    move.add_argument("patch", nargs="?", help="its number or name")
    _add_place(move)
    drop = add_action(actions, "drop", "take a patch out of the series")
    _finish(drop, patch_drop, DropOptions)
    drop.add_argument("patch", nargs="?", help="its number or name")
    drop.add_argument("--because", metavar="TEXT", default="", help="why; it stays in the series file")
    split = add_action(actions, "split", "put files or hunks of a patch into a new one behind it")
    _finish(split, patch_split, SplitOptions)
    split.add_argument("patch", nargs="?", help="its number or name")
    split.add_argument("name", nargs="?", help="what-it-does, of the new one")
    split.add_argument(
        "--path", action="append", metavar="FILE[:HUNKS]", help="what is split off, like a.py:2,3"
    )
    _add_header(split)
    squash = add_action(actions, "squash", "make one patch of several")
    _finish(squash, patch_squash, SquashOptions)
    squash.add_argument("patch", nargs="*", help="numbers or names; place and header of the first stay")


def _finish(command: argparse.ArgumentParser, run: Callable[[Typed], int], record: type[Typed]) -> None:
    """Add what every action takes that changes a series."""
    command.add_argument("recipe")
    command.add_argument("--undo", action="store_true", help="put back what the last action changed")
    add_common(command, run, record)


def _add_origin(command: argparse.ArgumentParser) -> None:
    text = "a file with a diff, a commit; - is standard input"
    command.add_argument("--from", dest="origin", metavar="WHAT", default="", help=text)
    command.add_argument(
        "--clone", type=Path, metavar="DIR", help="the commit's clone; default: the worktree"
    )


def _add_header(command: argparse.ArgumentParser) -> None:
    command.add_argument("--header", type=Path, metavar="FILE", help="the header of the new patch")
    command.add_argument(
        "--set", action="append", metavar="'FIELD: TEXT'", help="a field of the header; repeatable"
    )


def _add_place(command: argparse.ArgumentParser) -> None:
    command.add_argument("--before", metavar="PATCH", default="", help="put it before this one")
    command.add_argument("--after", metavar="PATCH", default="", help="put it after this one")


def patch_check(options: CheckOptions) -> int:
    """Try every patch of the series; SeriesError when one does not go in, or they break a Python file."""
    from retread.cli import show
    from retread.errors import SeriesError
    from retread.recipe import native, workspace
    from retread.source import syntax
    from retread.source.records import Verdict
    from retread.source.trees import Trees

    machine, root = session.machine(options), session.root(options)
    found, bad, touched, broken = {}, [], {}, list[str]()
    for name in options.recipe or session.finished(options):
        loaded = workspace.load(root, name)
        touched[name] = [one for patch in loaded.patches for one in native.touched(patch, loaded.recipe)]
        tried = Trees(loaded, machine, use_git=options.source is Source.GIT).try_series()
        found[name] = tried.applied
        broken += [f"{name}: {one}" for one in tried.broken]
        fine = {Verdict.APPLIES, Verdict.OFFSET}
        bad += [
            f"{name}: {one.name}: {one.verdict} {one.detail}".strip()
            for one in found[name]
            if one.verdict not in fine
        ]
    if options.json:
        session.print_json(found)
    else:
        session.put("\n".join(show.series(name, one, touched[name]) for name, one in found.items()))
    if bad:
        from retread.units import counted

        raise SeriesError(
            f"{counted(len(bad), 'patch')} cannot go in",
            faults=bad,
            hint="make them anew, or drop them from series",
        )
    syntax.demand_whole(broken)
    return 0


def patch_edit(options: EditOptions) -> int:
    """Print the place of the worktree."""
    from retread.queue import refresh

    desk = _desk(options, options.recipe)
    opened = refresh.edit(desk, at=options.at, into=options.into, anew=options.anew)
    desk.machine.console.say(f"{options.recipe}: {opened.said}")
    session.put(opened.place)
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


def patch_new(options: NewOptions) -> int:
    """Make a patch of a diff or a commit."""
    desk = _desk(options, options.recipe)
    return _undone(options, desk) if options.undo else _told(options, _new(options, desk))


def _new(options: NewOptions, desk: Desk) -> Altered:
    from retread.queue import actions, order

    wanted = _typed(options.name, "what is it called? its name is missing")
    one = _headed(options, _one(options, desk))

    def plan(bench: Bench) -> Plan:
        name = order.wanted(wanted, bench.names)
        return actions.added(bench, [(name, one)], actions.Place(options.before, options.after))

    return actions.act(desk, f"new {wanted}", plan, paths=actions.touched_by([one]))


def patch_fold(options: FoldOptions) -> int:
    """Put a diff into a patch."""
    desk = _desk(options, options.recipe)
    return _undone(options, desk) if options.undo else _told(options, _fold(options, desk))


def _fold(options: FoldOptions, desk: Desk) -> Altered:
    from retread.queue import actions

    patch, one = _typed(options.patch), _one(options, desk)
    return actions.act(
        desk,
        f"fold {patch}",
        lambda bench: actions.folded(bench, patch, one),
        paths=actions.touched_by([one]),
    )


def patch_import(options: ImportOptions) -> int:
    """Take in patches."""
    desk = _desk(options, options.recipe)
    return _undone(options, desk) if options.undo else _told(options, _import(options, desk))


def _import(options: ImportOptions, desk: Desk) -> Altered:
    from retread.errors import UsageError
    from retread.queue import actions, getting, order

    origin = _typed(options.origin, "import what? a file, an mbox or an address is missing")
    read = getting.anything(desk.machine, origin, options.sha256)
    for one in read.skipped:
        desk.machine.console.say(f"left out: {one}")
    if options.name and len(read.patches) > 1:
        raise UsageError(f"{origin} holds {len(read.patches)} patches, and --name is one name")
    some = [_headed(options, one) for one in read.patches]

    def plan(bench: Bench) -> Plan:
        names = [order.incoming(options.name, one.head, bench.names) for one in some]
        place = actions.Place(options.before, options.after)
        return actions.added(bench, list(zip(names, some, strict=True)), place)

    return actions.act(desk, "import", plan, paths=actions.touched_by(some))


def patch_move(options: MoveOptions) -> int:
    """Put a patch to another place."""
    from retread.queue import actions

    desk = _desk(options, options.recipe)
    if options.undo:
        return _undone(options, desk)
    patch, place = _typed(options.patch), actions.Place(options.before, options.after)
    return _told(
        options, actions.act(desk, f"move {patch}", lambda bench: actions.moved(bench, patch, place))
    )


def patch_drop(options: DropOptions) -> int:
    """Take a patch out."""
    from retread.queue import actions

    desk = _desk(options, options.recipe)
    if options.undo:
        return _undone(options, desk)
    patch = _typed(options.patch)
    return _told(
        options,
        actions.act(desk, f"drop {patch}", lambda bench: actions.dropped(bench, patch, options.because)),
    )


def patch_split(options: SplitOptions) -> int:
    """Make two patches of one."""
    desk = _desk(options, options.recipe)
    return _undone(options, desk) if options.undo else _told(options, _split(options, desk))


def _split(options: SplitOptions, desk: Desk) -> Altered:
    from retread.queue import actions, order
    from retread.queue.incoming import Incoming

    patch = _typed(options.patch)
    wanted = _typed(options.name, "what is the new one called? its name is missing")
    head = _headed(options, Incoming(b"", b"", "")).head

    def plan(bench: Bench) -> Plan:
        name = order.wanted(wanted, bench.names)
        return actions.split(bench, patch, name, head, options.path or ())

    return actions.act(desk, f"split {patch}", plan)


def patch_squash(options: SquashOptions) -> int:
    """Make one patch of several."""
    from retread.queue import actions

    desk = _desk(options, options.recipe)
    if options.undo:
        return _undone(options, desk)
    action = f"squash {' '.join(options.patch)}"
    return _told(options, actions.act(desk, action, lambda bench: actions.squashed(bench, options.patch)))


def patch_export(options: ExportOptions) -> int:
    """Write patches for others: to standard output, or to a place that is named."""
    from retread.queue import outgoing

    desk = _desk(options, options.recipe)
    form = outgoing.Form.DEP3 if options.dep3 else outgoing.Form.MBOX
    found = outgoing.export(desk, options.patch, form, options.author)
    if options.output is None:
        session.print_bytes(b"".join(data for _, data in found))
    else:
        outgoing.save(found, form, options.output)
    return 0


def patch_graph(options: GraphOptions) -> int:
    """Show which patch needs which."""
    from retread.cli import show
    from retread.queue import graph

    found = graph.graph(_desk(options, options.recipe))
    if options.json:
        session.print_json(found)
    else:
        session.put(show.graph(found))
    return 0


def _desk(options: Options, recipe: str) -> Desk:
    from retread.queue.desk import Desk

    return Desk(session.machine(options), session.root(options), recipe)


def _typed(word: str | None, lacks: str = "which patch? its number or name is missing") -> str:
    from retread.errors import UsageError

    if not word:
        raise UsageError(lacks)
    return word


def _one(options: NewOptions | FoldOptions, desk: Desk) -> Incoming:
    """Return the one patch that ``--from`` names."""
    from retread.queue import getting

    return getting.one(desk, _typed(options.origin, "made of what? --from is missing"), options.clone)


def _headed(options: HeadedOptions, one: Incoming) -> Incoming:
    from retread.doors import fs
    from retread.queue import actions

    text = fs.read(session.existing(options.header)) if options.header else None
    return actions.headed(one, text, options.set or ())


def _undone(options: Options, desk: Desk) -> int:
    from retread.queue import refresh

    return _told(options, refresh.undo(desk))


def _told(options: Options, altered: Altered) -> int:
    from retread.cli import show

    if options.json:
        session.print_json(altered)
    else:
        session.put(show.altered(altered))
    return 0
