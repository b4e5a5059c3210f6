"""A recipe carried to another release: its series with a verdict for each hunk, its pins, its proofs.

Nothing is written before every patch has its place, and then the recipe last: without it the rest is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec
from packaging.version import InvalidVersion

from retread import pypa
from retread.doors import fs, git
from retread.errors import SeriesError, UsageError
from retread.queue import header, order, pieces
from retread.queue.carry import Carrier, Known, Wish
from retread.queue.desk import Desk
from retread.queue.fate import WORDS, Fate, PatchFate
from retread.queue.repository import Repository
from retread.queue.resolution import Solved
from retread.queue.worktree import Worktree
from retread.recipe import files
from retread.recipe.series import parse_series
from retread.recipe.workspace import Loaded
from retread.records import Record
from retread.source.records import SourceTree
from retread.strict import near_miss
from retread.units import counted
from retread.upstream import rebase, successor, written
from retread.upstream.history import History
from retread.upstream.release import Release, find

_FIXED: Final = re.compile(r"fixed in (\S+) \(")


class Bumped(Record, frozen=True, kw_only=True):
    """What becomes of a recipe on another release."""

    schema: int
    recipe: str
    to: str
    file: str
    sha256: str
    proven: bool
    """Whether a recipe of that release pins it already."""
    patches: tuple[PatchFate, ...]
    range_diff: str
    """What became of each patch, as git range-diff shows it; nothing where every one is as it was, or one is open."""
    adjusted: tuple[str, ...] = ()
    """What the new recipe took over from the new wheels and the new archive, beside its pins."""
    look_at: tuple[str, ...]
    """What a person has to decide, and why: where upstream changed what a person decided about, or what is promised."""
    written: tuple[str, ...]
    commits: tuple[str, ...] = ()
    """Ids of the commits that hold it, where they were asked for."""


class Way(StrEnum):
    """What is done with a bump."""

    ONCE = "once"
    CHECK = "check"
    EDIT = "edit"
    CONTINUE = "continue"


class Request(NamedTuple):
    """What was asked for: the release, the decisions, where its commit is to be found, what to do."""

    to: str
    wish: Wish
    place: str
    tag: str
    way: Way
    command: str
    """What is run after each patch of a rebase."""


class _Work(NamedTuple):
    """A bump that is under way: the recipe, where it is carried, what was asked for, and a folder for it."""

    desk: Desk
    loaded: Loaded
    release: Release
    request: Request
    scratch: Path


class Bump(NamedTuple):
    """What was planned: the data, the files of the series, and what a person made of conflicts."""

    data: Bumped
    folder: dict[str, bytes]
    lessons: Mapping[str, bytes] = MappingProxyType({})


def bump(desk: Desk, request: Request) -> Bumped:
    """Carry a recipe to another release; what becomes of each patch is returned in any case, and whether it is written.

    With no open patch the new recipe, its series and its proofs are written. A release that has a recipe is only
    looked at. ``EDIT`` leaves open patches to a rebase in a worktree, ``CONTINUE`` takes what became of it.
    """
    loaded = desk.loaded()
    release = find(desk, loaded, request.to, request.place, request.wish.skipped)
    with desk.held() as scratch:
        tree = Worktree(desk, scratch)
        request = request._replace(way=_way(tree, request))
        known = desk.resolutions()
        work = _Work(desk, loaded, release, request, scratch)
        plan = _carried(work, known)
        if request.way is Way.CONTINUE:
            rebase.demand_same(tree, loaded, release.tree)
            rebase.advance(tree, known, _left_out(plan.data), looked=True)
            plan = _solved(tree, loaded, plan)
        left = any(one.open for one in plan.data.patches)
        if request.way is Way.EDIT and (left or request.command):
            rebase.begin(tree, loaded, release.tree, plan.data.patches, request.command)
            rebase.advance(tree, known, frozenset(), looked=False)
            desk.machine.console.say(rebase.told(tree))
            return plan.data
        if left:
            return plan.data
        if any(one.fate is not Fate.CLEAN for one in plan.data.patches):
            shown = _compared(work, plan.folder)
            plan = plan._replace(data=msgspec.structs.replace(plan.data, range_diff=shown))
        if request.way is Way.CHECK:
            return plan.data
        found = _written(work, plan)
        if request.way is Way.CONTINUE:
            fs.remove(tree.folder)
        return found


def _written(work: _Work, plan: Bump) -> Bumped:
    """Write what a bump made: resolutions, and of a release that has no recipe yet series, proofs and recipe."""
    desk, release = work.desk, work.release
    made: dict[str, bytes] = {}
    told: dict[str, tuple[str, ...]] = {}
    if not release.only_looked_at:
        asked = work.request
        new = successor.make(
            desk, work.loaded, release, place=asked.place, tag=asked.tag, scratch=work.scratch
        )
        made = {f"{new.series}/{name}": data for name, data in plan.folder.items()} | new.files
        told = {"adjusted": new.adjusted, "look_at": new.look_at}
    written.write(desk, made, plan.lessons)
    return msgspec.structs.replace(plan.data, **told, written=(*plan.lessons, *made))


def committed(desk: Desk, found: Bumped) -> Bumped:
    """Commit what a bump wrote: what retread made, and then what a person made of conflicts, for whoever reviews it.

    In the first commit a patch that was solved by hand is as it was in the old series, so that the second shows what
    the person did. UsageError where git cannot, and what was written stays.
    """
    if not found.written:
        return found
    new = {path: (desk.root / path).read_bytes() for path in found.written}
    solved = {one.name for one in found.patches if one.reason == rebase.BY_HAND}
    by_hand = {
        path for path in new if path.startswith(files.resolutions(desk.recipe)) or Path(path).name in solved
    }
    old = {name: data for name, data in desk.loaded().files.items() if name in solved}
    first = {
        path: old.get(Path(path).name, data) if path in by_hand else data
        for path, data in new.items()
        if path not in by_hand or Path(path).name in old
    }
    title = f"{desk.recipe.name} to {found.to}"
    steps = [
        (first, f"Carry {title}"),
        ({path: new[path] for path in by_hand}, f"Solve what conflicts, {title}"),
    ]
    commits = []
    with desk.held() as scratch:
        for content, message in steps:
            if content:
                environment = desk.machine.environment
                commits.append(
                    git.commit(desk.root, content, message, environment=environment, scratch=scratch)
                )
    return msgspec.structs.replace(found, commits=tuple(commits))


def _way(tree: Worktree, request: Request) -> Way:
    """Return what is done: a patch that is left out while a bump is under way is left out of that one.

    UsageError for a second bump while one is under way, and for going on with none.
    """
    there = tree.state is not None
    if there and request.way is Way.ONCE and request.wish.skipped:
        return Way.CONTINUE
    if there and request.way in {Way.ONCE, Way.EDIT}:
        raise UsageError(
            f"a bump of {tree.desk.recipe.name} to {request.to} is under way in {tree.folder}",
            hint="go on with --continue, leave a patch out with --skip PATCH --because TEXT, throw the worktree away "
            "with --abort; --undo takes back what an earlier one wrote",
        )
    if request.way is Way.CONTINUE and not there:
        raise UsageError(f"no bump to {request.to} is under way", hint="begin one with --edit")
    return request.way


def _left_out(data: Bumped) -> set[str]:
    return {one.name for one in data.patches if not one.kept and not one.open}


def _solved(tree: Worktree, loaded: Loaded, plan: Bump) -> Bump:
    gone = _left_out(plan.data)
    found, fates = rebase.solved(tree, loaded, plan.data.patches, gone)
    dropped = {one.name: one.reason for one in fates if one.name in gone}
    folder = pieces.folder(
        tree.repository, loaded.files, found, where=f"the series for {plan.data.to}", dropped=dropped
    )
    solved = {one.name for one in fates if one.reason == rebase.BY_HAND}
    lessons = rebase.lessons(tree, loaded, found, solved)
    place = files.resolutions(tree.desk.recipe)
    return Bump(
        msgspec.structs.replace(plan.data, patches=tuple(fates)),
        folder.files,
        {f"{place}/{name}": data for name, data in lessons.items()},
    )


def abort(desk: Desk, to: str) -> str:
    """Remove the worktree of a bump and return its place; UsageError when there is none."""
    with desk.held() as scratch:
        tree = Worktree(desk, scratch)
        if tree.state is None:
            raise UsageError(f"no bump to {to} is under way")
        fs.remove(tree.folder)
        written.tidy(desk)
        return str(tree.folder)


def demand_closed(data: Bumped, way: Way) -> None:
    """Raise SeriesError that lists the patches about which somebody has to decide."""
    left = [f"{one.name}: {one.fate}" for one in data.patches if one.open]
    if left:
        raise SeriesError(
            f"{counted(len(left), 'patch')} of {data.recipe} cannot go to {data.to} without an answer; "
            "nothing was written",
            faults=left,
            hint="accept a verdict with --accept three-way:0002, leave a patch out with --skip 0002 --because TEXT, or "
            + (
                "solve it in the worktree, then --continue"
                if way is Way.EDIT
                else "solve it in a worktree with --edit"
            ),
        )


# The series.


def looked(desk: Desk, loaded: Loaded, release: Release, scratch: Path) -> tuple[PatchFate, ...]:
    """Return what a bump to a release says of each patch, when nobody has decided anything; nothing is written."""
    request = Request(release.title, Wish({}, {}), "", "", Way.CHECK, "")
    work = _Work(desk, loaded, release, request, scratch)
    return _carried(work, desk.resolutions()).data.patches


def _carried(work: _Work, resolutions: Solved) -> Bump:
    desk, loaded, release, request, scratch = work
    repository = desk.repository(scratch)
    old = desk.trees(loaded).source
    touched = pieces.paths(loaded.patches)
    renames = _renames(repository, old, release.tree, touched)
    bases = repository.base(old, touched), repository.base(release.tree, {*touched, *renames.values()})
    stack = pieces.stacked(repository, bases[0], loaded.files)
    fixed = {patch.name: _is_fixed(patch.upstream, release) for patch in loaded.patches}
    history = History(
        request.place,
        loaded.recipe.pin.commit,
        release.references(request.tag),
        desk.machine.environment,
    )
    known = Known(lambda: renames, fixed.__getitem__, resolutions, history.lines)
    found = Carrier(repository, bases, known).carry(stack, request.wish)
    kept = [one.piece for one in found if one.piece is not None]
    dropped = {one.fate.name: one.fate.reason for one in found if not one.fate.kept and not one.fate.open}
    where = f"the series for {release.title}"
    folder = pieces.folder(repository, loaded.files, kept, where=where, dropped=dropped).files
    data = Bumped(
        schema=1,
        recipe=desk.recipe.name,
        to=release.title,
        file=release.sdist.file if release.sdist else "",
        sha256=release.sdist.sha256 if release.sdist else "",
        proven=release.only_looked_at,
        patches=tuple(one.fate for one in found),
        range_diff="",
        look_at=(),
        written=(),
    )
    return Bump(data, folder)


def _compared(work: _Work, folder: Mapping[str, bytes]) -> str:
    """Return how the new series differs from the old one, for whoever reviews it."""
    desk, loaded, release, _, scratch = work
    repository = desk.repository(scratch)
    ranges = []
    for tree, series in ((desk.trees(loaded).source, loaded.files), (release.tree, folder)):
        touched = pieces.paths(parse_series(series, where="the series"))
        base = head = repository.commit(repository.base(tree, touched), None, "base", time=0)
        for one in pieces.stacked(repository, repository.tree_of(base), series):
            head = repository.commit(one.after, head, header.message(one.head), time=0)
        if head == base:
            return ""  # git compares no empty ranges, and there is nothing to see
        ranges.append(f"{base}..{head}")
    return repository.ask("range-diff", "--no-color", "--creation-factor=90", *ranges)


def _renames(
    repository: Repository, old: SourceTree, new: SourceTree, touched: Collection[str]
) -> Mapping[str, str]:
    """Return old path -> new one where a file that is touched is gone; that needs both sources whole."""
    gone = {path for path in touched if path in old.manifest.files and path not in new.manifest.files}
    return repository.renamed(repository.base(old), repository.base(new)) if gone else {}


def _is_fixed(upstream: str, release: Release) -> bool:
    """Say whether a header says that upstream fixed the fault by then; a commit counts as newer than any release."""
    found = _FIXED.match(upstream)
    if not found or release.version is None:
        return bool(found)
    with suppress(InvalidVersion):
        return pypa.version(found[1]) <= release.version
    return False


def wish(names: list[str], recipe: str, accept: Mapping[str, Fate], skip: Mapping[str, str]) -> Wish:
    """Return decisions by the patches' names; UsageError for a patch that is not there."""
    return Wish(
        {order.found(one, names, recipe=recipe): fate for one, fate in accept.items()},
        {order.found(one, names, recipe=recipe): reason for one, reason in skip.items()},
    )


def accepted(typed: Iterable[str]) -> dict[str, Fate]:
    """Return which verdict is accepted of which patch, as typed; UsageError for what is no such pair."""
    found = {}
    for one in typed:
        word, _, patch = one.partition(":")
        if word not in WORDS or not patch:
            raise UsageError(
                f"{one!r} accepts nothing{near_miss(word, WORDS)}",
                hint=f"write it like three-way:0002; kinds are {', '.join(WORDS)}; a conflict is for a person to solve",
            )
        found[patch] = WORDS[word]
    return found
