"""From the worktree to the series and back: begun with ``edit``, written with ``refresh``, taken back with ``undo``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from retread.errors import SeriesError
from retread.queue import order, pieces
from retread.queue.desk import Desk
from retread.queue.pieces import Altered, Folder, State, Touched
from retread.queue.repository import Commit
from retread.queue.worktree import Worktree, digests
from retread.recipe.workspace import Loaded, series_files
from retread.units import counted

_REFRESH = "refresh"


class Opened(NamedTuple):
    """A worktree that is ready, and what was done to have it."""

    place: Path
    said: str


def edit(desk: Desk, *, at: str, into: Path | None, anew: bool) -> Opened:
    """Return the worktree, made or brought to what the series is now; with ``at`` it stops at that patch.

    SeriesError when it holds work that the series does not, and the series changed, unless ``anew`` throws it away.
    """
    loaded = desk.loaded()
    names = order.names(order.read(loaded.files))
    name = order.found(at, names, recipe=desk.recipe.name) if at else ""
    with desk.held() as scratch:
        desk.move(into)
        tree = Worktree(desk, scratch)
        said = _opened(tree, loaded, anew=anew)
        if name:
            tree.start_edit(tree.demand_state(), name)
            said += f"; it stops at {name}: change files, 'git commit --amend --all', then 'git rebase --continue'"
        return Opened(tree.folder, said)


def _opened(tree: Worktree, loaded: Loaded, *, anew: bool) -> str:
    state = tree.state
    if state is None or anew:
        tree.make(loaded)
        return f"the pinned source and {counted(len(loaded.patches), 'patch')} as commits"
    current = state.pin == tree.desk.trees(loaded).source_key and state.series == digests(loaded.files)
    if current:
        return (
            "it is there already" if state.head == tree.head else "it is there already, with work to refresh"
        )
    if state.head == tree.head and tree.quiet:
        tree.make(loaded)
        return "brought to what the series is now"
    _demand_current(tree, loaded)
    if _holds(tree, loaded):
        tree.remember(loaded, state.base, tree.head)
        return "it is there already"
    raise SeriesError(
        f"{tree.folder} holds work that is not in the series, which changed meanwhile",
        hint="put the series back with git and refresh, or throw the work away with --anew",
    )


def _demand_current(tree: Worktree, loaded: Loaded) -> None:
    """Raise SeriesError when the recipe pins another source than the worktree was made of."""
    state = tree.demand_state()
    if state.pin != tree.desk.trees(loaded).source_key:
        raise SeriesError(
            f"{tree.folder} was made of another source than {tree.desk.recipe.name} pins now",
            hint="put the recipe back with git, or throw the work away with 'retread patch edit --anew'",
        )


def refresh(desk: Desk, *, check: bool) -> Altered:
    """Write the series back from the worktree, and return what that changes; with ``check`` nothing is written.

    Without a worktree ``check`` holds the series itself to its rules and to the source. SeriesError for whatever stands
    in the way.
    """
    loaded = desk.loaded()
    with desk.held() as scratch:
        tree = Worktree(desk, scratch)
        if check and tree.state is None:
            return _checked(desk, loaded, scratch)
        state = tree.demand_state()
        _demand_current(tree, loaded)
        tree.demand_quiet()
        commits = tree.commits(state)
        new = _folder(tree, loaded, commits)
        altered = told(desk, _REFRESH, new)
        if check:
            return altered
        if altered.writes:
            _demand_unedited(desk, loaded, state.series)
            desk.put(loaded.files, new.files, action=_REFRESH)
            _rename(tree, commits, new.touched)
        tree.remember(loaded._replace(files=new.files), state.base, tree.head)
        return altered


def _checked(desk: Desk, loaded: Loaded, scratch: Path) -> Altered:
    repository, _, _, stack = desk.stack(loaded, scratch)
    return told(desk, _REFRESH, pieces.folder(repository, loaded.files, stack, where=desk.series, dropped={}))


def _folder(tree: Worktree, loaded: Loaded, commits: list[Commit]) -> Folder:
    found = tree.pieces(commits, tree.demand_state().base, loaded.files)
    origins = {one.name: f"commit {commit.id[:12]}" for one, commit in zip(found, commits, strict=True)}
    return pieces.folder(
        tree.repository, loaded.files, found, where=tree.desk.series, dropped={}, origins=origins
    )


def _demand_unedited(desk: Desk, loaded: Loaded, known: dict[str, str]) -> None:
    now = digests(loaded.files)
    edited = sorted(name for name in now.keys() | known.keys() if now.get(name) != known.get(name))
    if edited:
        raise SeriesError(
            f"{desk.series}: {', '.join(edited)} changed since the worktree was made; nothing was written",
            hint="put them back with git and refresh, or throw the work away with 'retread patch edit --anew'",
        )


def _rename(tree: Worktree, commits: list[Commit], touched: tuple[Touched, ...]) -> None:
    """Let the notes say what the files are called now."""
    for one, patch in zip(commits, touched, strict=False):
        if one.names != (patch.name,):
            tree.repository.note(one.id, patch.name)


def told(desk: Desk, action: str, new: Folder) -> Altered:
    """Return what an action changes as data."""
    return Altered(schema=1, recipe=desk.recipe.name, action=action, patches=new.touched)


def undo(desk: Desk) -> Altered:
    """Put back the series as it was before the last action; what a refresh wrote stays in the worktree."""
    with desk.held() as scratch:
        now = series_files(desk.ledger.folder)
        last = desk.ledger.undo()
        loaded = desk.loaded()
        tree = Worktree(desk, scratch)
        if (state := tree.state) is not None:
            if last.action != _REFRESH and _holds(tree, loaded._replace(files=last.after)):
                tree.make(loaded)
            else:
                tree.remember(loaded, state.base, "")
        return Altered(
            schema=1,
            recipe=desk.recipe.name,
            action=f"undo {last.action}",
            patches=pieces.compared(now, last.before),
        )


def _holds(tree: Worktree, loaded: Loaded) -> bool:
    """Say whether the worktree holds a series and no more: also one whose action was killed before it noted that."""
    state = tree.demand_state()
    if not tree.quiet:
        return False
    try:
        return state.head == tree.head or _folder(tree, loaded, tree.commits(state)).files == dict(
            loaded.files
        )
    except SeriesError:
        return False


def demand_synced(tree: Worktree, loaded: Loaded) -> None:
    """Raise SeriesError when there is a worktree whose work is not in the series: an action would lose it."""
    state = tree.state
    if state is None:
        return
    tree.demand_quiet()
    if state.head != tree.head and _folder(tree, loaded, tree.commits(state)).files != dict(loaded.files):
        name = tree.desk.recipe.name
        raise SeriesError(
            f"{tree.folder} holds work that is not in the series",
            hint=f"write it with 'retread patch refresh {name}', or throw it away with 'patch edit {name} --anew'",
        )


def demand_check(altered: Altered) -> None:
    """Raise SeriesError when a refresh would write something."""
    if altered.writes:
        faults = [f"{one.name}: {one.state}" for one in altered.patches if one.state is not State.SAME]
        raise SeriesError(
            f"{altered.recipe}: the worktree holds what the series does not",
            faults=faults,
            hint=f"write it with 'retread patch refresh {altered.recipe}'",
        )
