"""A series as pieces: what each patch makes of the tree before it, and the files that the pieces make.

A piece keeps the diff of its file as long as that still makes the same tree; only then is one written anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from retread.errors import SeriesError
from retread.queue import header, order
from retread.queue.order import Named
from retread.queue.repository import Failed, Repository
from retread.recipe import series
from retread.recipe.series import Patch
from retread.records import Record
from retread.units import counted


class Piece(NamedTuple):
    """One patch: the file that it is, or its wished name with number 0000; header, trees, and the diff that is kept."""

    name: str
    head: bytes
    before: str
    after: str
    diff: bytes | None


class State(StrEnum):
    """What an action does to a patch of the series."""

    SAME = "as it was"
    RENAMED = "renamed"
    HEADER = "header"
    CONTENT = "content"
    NEW = "new"
    DROPPED = "dropped"


class Touched(Record, frozen=True, kw_only=True):
    """One patch, what it was called before, and what an action does to it."""

    name: str
    was: str
    state: State


class Altered(Record, frozen=True, kw_only=True):
    """What an action does to a series."""

    schema: int
    recipe: str
    action: str
    patches: tuple[Touched, ...]

    @property
    def writes(self) -> bool:
        """Whether anything is another."""
        return any(one.state is not State.SAME for one in self.patches)


class Folder(NamedTuple):
    """A series folder as it is to be, and what that changes."""

    files: dict[str, bytes]
    touched: tuple[Touched, ...]


def stacked(repository: Repository, base: str, files: Mapping[str, bytes]) -> list[Piece]:
    """Return the series of a folder on a tree; SeriesError names the first patch that does not go in."""
    names = order.names(order.read(files))
    return replayed(repository, base, [piece(name, files[name]) for name in names], why="")


def piece(name: str, data: bytes) -> Piece:
    """Return a patch file as a piece that stands nowhere yet."""
    head, diff = header.split(data)
    return Piece(name, head, "", "", diff)


def replayed(repository: Repository, tree: str, pieces: Iterable[Piece], *, why: str) -> list[Piece]:
    """Return pieces put onto a tree, one after the other, exactly; SeriesError names the first that does not go in."""
    done: list[Piece] = []
    for one in pieces:
        diff = repository.diff(one.before, one.after) if one.diff is None else one.diff
        made = repository.apply_bytes(tree, diff)
        if isinstance(made, Failed):
            raise SeriesError(
                f"{_called(one.name)} does not go in{why} ({made.detail})",
                hint="nothing was changed; 'retread patch graph' shows which patch needs which, and in the worktree "
                "of 'retread patch edit' a conflict can be solved",
            )
        done.append(one._replace(before=tree, after=made))
        tree = made
    return done


def _called(name: str) -> str:
    return f"the new {name[5:]}" if name.startswith("0000-") else name


def folder(
    repository: Repository,
    old: Mapping[str, bytes],
    pieces: Sequence[Piece],
    *,
    where: str,
    dropped: Mapping[str, str],
    origins: Mapping[str, str] | None = None,
) -> Folder:
    """Return the series folder that the pieces make of ``old``; what is no patch stays.

    SeriesError when a file would break a rule of the series, with all that is wrong; nothing is written here.
    ``dropped`` are patches that go and why, ``origins`` says of a new name what it was made of.
    """
    text = order.read(old)
    before = order.names(text)
    order.demand_distinct(one.name for one in pieces)
    named = order.numbered([one.name for one in pieces], before)
    files = {name: data for name, data in old.items() if name not in before}
    for one, two in zip(pieces, named, strict=True):
        diff = repository.diff(one.before, one.after) if one.diff is None else one.diff
        files[two.name] = header.joined(one.head, diff)
    gone = [name for name in before if name not in {one.was for one in named}]
    files[order.SERIES] = order.written(order.relisted(text, named, dropped))
    made_of = {two.name: (origins or {}).get(one.name, "") for one, two in zip(pieces, named, strict=True)}
    _demand_sound(files, where, made_of)
    _demand_exact(repository, pieces)
    touched = [_touched(one, old, files) for one in named]
    touched += [Touched(name=name, was=name, state=State.DROPPED) for name in gone]
    return Folder(files, tuple(touched))


def _demand_sound(files: Mapping[str, bytes], where: str, made_of: Mapping[str, str]) -> None:
    """Hold the new folder to the rules of a series."""
    try:
        series.parse_series(files, where=where)
    except SeriesError as error:
        faults = [_with_origin(fault, made_of) for fault in error.faults]
        raise SeriesError(
            f"{where}: the new series would break {counted(len(faults), 'rule')}",
            faults=faults,
            hint=f"nothing was written{_way_out(faults, made_of)}",
        ) from None


def _way_out(faults: Iterable[str], made_of: Mapping[str, str]) -> str:
    """Return what mends such faults, where the patches come from: commits, or what was typed."""
    commits = any(origin.startswith("commit ") for origin in made_of.values())
    if any("header:" in fault for fault in faults):
        what = "the commit's message, with 'git rebase -i' and 'reword'" if commits else "--set 'Field: text'"
        return f"; say what is missing {'in' if commits else 'with'} {what}"
    if any("comes after" in fault for fault in faults):
        return (
            f"; {'another order is made with git rebase -i' if commits else '--before says where it belongs'}"
        )
    return ""


def _demand_exact(repository: Repository, pieces: Iterable[Piece]) -> None:
    """Hold each diff that was made to the tree that it stands for."""
    for one in pieces:
        if (
            one.diff is None
            and repository.apply_bytes(one.before, repository.diff(one.before, one.after)) != one.after
        ):
            raise SeriesError(f"{_called(one.name)}: its diff does not make what the commit holds")


def _with_origin(fault: str, made_of: Mapping[str, str]) -> str:
    name, colon, rest = fault.partition(": ")
    origin = made_of.get(name, "")
    return f"{name} ({origin}){colon}{rest}" if origin else fault


def _touched(named: Named, old: Mapping[str, bytes], new: Mapping[str, bytes]) -> Touched:
    return Touched(name=named.name, was=named.was, state=_state(named, old, new))


def _state(named: Named, old: Mapping[str, bytes], new: Mapping[str, bytes]) -> State:
    if not named.was:
        return State.NEW
    if old[named.was] == new[named.name]:
        return State.SAME if named.was == named.name else State.RENAMED
    return (
        State.HEADER if header.split(old[named.was])[1] == header.split(new[named.name])[1] else State.CONTENT
    )


def compared(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> tuple[Touched, ...]:
    """Return what makes one series folder of another, by the names of the patches."""
    before = order.names(order.read(old)) if order.SERIES in old else []
    after = order.names(order.read(new))
    by_bytes = {old[name]: name for name in before if name in old and name not in after}
    named = [
        Named(name if name in before and name in old else by_bytes.get(new[name], ""), name) for name in after
    ]
    known = {*after, *(one.was for one in named)}
    gone = [Touched(name=name, was=name, state=State.DROPPED) for name in before if name not in known]
    return (*(_touched(one, old, new) for one in named), *gone)


def paths(patches: Iterable[Patch]) -> set[str]:
    """Return every path that patches touch."""
    return {change.path for patch in patches for change in patch.changes}
