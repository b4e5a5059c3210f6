"""What is done to a series: patches made, folded, moved, dropped, split, squashed, taken in.

Each is planned on the commits of a repository that is thrown away; the later patches go in again, exactly, or nothing
is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from unidiff.patch import PatchedFile, PatchSet

from retread.errors import SeriesError, UsageError
from retread.queue import header, order, pieces, refresh
from retread.queue.desk import Desk
from retread.queue.incoming import Incoming
from retread.queue.incoming import paths as meant
from retread.queue.pieces import Altered, Piece, replayed
from retread.queue.repository import Failed, Repository
from retread.queue.worktree import Worktree
from retread.recipe.series import ONLY_WITH, only_with
from retread.units import counted

_LEVELS = ("-p1", "-p0", "-p2")
"""How many folders of a diff's paths are not the source's: git's way first, then plain diffs, then quilt's."""


class Bench(NamedTuple):
    """The series as it is: its recipe's name, a repository to plan in, the pieces."""

    recipe: str
    repository: Repository
    base: str
    pieces: list[Piece]

    @property
    def names(self) -> list[str]:
        """The names of the patches, in order."""
        return [one.name for one in self.pieces]

    def at(self, typed: str) -> int:
        """Return the place of a patch that was typed, from 0; UsageError when there is none."""
        return self.names.index(order.found(typed, self.names, recipe=self.recipe))

    def again(self, some: Sequence[Piece], start: int, *, why: str) -> list[Piece]:
        """Return the pieces before ``start`` and then ``some``, put onto them."""
        tree = self.pieces[start - 1].after if start else self.base
        return [*self.pieces[:start], *replayed(self.repository, tree, some, why=why)]


class Place(NamedTuple):
    """Where a patch is put: before one, or after one, as typed; nowhere is the end."""

    before: str
    after: str

    def start(self, bench: Bench) -> int:
        """Return the place from 0 at which it is put."""
        if self.before and self.after:
            raise UsageError("a patch is put before one, or after one: name one of the two")
        if self.before:
            return bench.at(self.before)
        return bench.at(self.after) + 1 if self.after else len(bench.pieces)


class Plan(NamedTuple):
    """A series as it is to be; the patches that are dropped, and why; what the new ones were made of."""

    pieces: list[Piece]
    dropped: Mapping[str, str] = {}
    origins: Mapping[str, str] = {}


def act(desk: Desk, action: str, plan: Callable[[Bench], Plan], *, paths: Iterable[str] = ()) -> Altered:
    """Do something to a series, whole or not at all, and return what that changes.

    ``paths`` are files that it may touch and the series does not. SeriesError when a patch does not go in again, when
    a rule would be broken, and when a worktree holds work that is not in the series.
    """
    loaded = desk.loaded()
    with desk.held() as scratch:
        tree = Worktree(desk, scratch)
        refresh.demand_synced(tree, loaded)
        repository, _, base, stack = desk.stack(loaded, scratch, also=paths)
        bench = Bench(desk.recipe.name, repository, base, stack)
        made = plan(bench)
        new = pieces.folder(
            repository,
            loaded.files,
            made.pieces,
            where=desk.series,
            dropped=made.dropped,
            origins=made.origins,
        )
        altered = refresh.told(desk, action, new)
        if altered.writes:
            desk.put(loaded.files, new.files, action=action)
            if tree.state is not None:
                tree.make(desk.loaded())
        return altered


# Patches that come.


def added(bench: Bench, some: Sequence[tuple[str, Incoming]], place: Place) -> Plan:
    """Put new patches, each with its name, into the series."""
    index = place.start(bench)
    tree = bench.pieces[index - 1].after if index else bench.base
    new: list[Piece] = []
    for name, one in some:
        after = _applied(bench.repository, tree, one)
        new.append(Piece(name, one.head, tree, after, None))
        tree = after
    later = replayed(bench.repository, tree, bench.pieces[index:], why=" after it")
    origins = {name: one.origin for name, one in some}
    return Plan([*bench.pieces[:index], *new, *later], origins=origins)


def folded(bench: Bench, typed: str, one: Incoming) -> Plan:
    """Put a diff into a patch, whose header stays."""
    index = bench.at(typed)
    into = bench.pieces[index]
    after = _applied(bench.repository, into.after, one)
    changed = into._replace(after=after, diff=None)
    later = replayed(bench.repository, after, bench.pieces[index + 1 :], why=" after it")
    return Plan([*bench.pieces[:index], changed, *later])


def _applied(repository: Repository, tree: str, one: Incoming) -> str:
    """Return the tree that a diff makes, whatever its paths begin with; SeriesError when it makes none."""
    details: list[str] = []
    for level in _LEVELS:
        made = repository.apply_bytes(tree, one.diff, level)
        if not isinstance(made, Failed):
            if made == tree:
                raise SeriesError(f"{one.origin}: changes nothing here")
            return made
        details.append(made.detail)
    told = next((one for one in details if not one.startswith("unable to find filename")), details[0])
    raise SeriesError(
        f"{one.origin} does not go in ({told})",
        hint="nothing was changed; make it anew in the worktree of 'retread patch edit'",
    )


# Patches that are there.


def moved(bench: Bench, typed: str, place: Place) -> Plan:
    """Put a patch to another place; what the series makes stays the same."""
    index = bench.at(typed)
    if not (place.before or place.after):
        raise UsageError("where to? name --before or --after a patch")
    target = place.start(bench)
    one = bench.pieces[index]
    rest = [*bench.pieces[:index], *bench.pieces[index + 1 :]]
    target -= target > index
    start = min(index, target)
    ordered = [*rest[:target], one, *rest[target:]]
    made = bench.again(ordered[start:], start, why=" in that order")
    _demand_same(bench, made)
    return Plan(made)


def dropped(bench: Bench, typed: str, because: str) -> Plan:
    """Take a patch out; the reason stands in the series file."""
    if not because.strip():
        raise UsageError("why? a patch is dropped with --because TEXT, which stays in the series file")
    index = bench.at(typed)
    name = bench.names[index]
    rest = bench.pieces[index + 1 :]
    return Plan(bench.again(rest, index, why=f" without {name}"), dropped={name: because})


def squashed(bench: Bench, typed: Sequence[str]) -> Plan:
    """Make one patch of several, at the place and with the header of the first that is named."""
    indexes = list(dict.fromkeys(bench.at(one) for one in typed))
    if len(indexes) < 2:
        raise UsageError("squash what? name two patches or more, the one whose header stays first")
    lead, others = indexes[0], sorted(indexes[1:])
    group = [bench.pieces[index] for index in sorted(indexes)]
    _demand_together(group)
    rest = [one for index, one in enumerate(bench.pieces) if index not in indexes]
    start = sum(index < lead for index in range(len(bench.pieces)) if index not in indexes)
    first = min(indexes[0], others[0], start)
    ordered = [*rest[:start], *group, *rest[start:]]
    made = bench.again(ordered[first:], first, why=" in that order")
    _demand_same(bench, made)
    inside = made[start : start + len(group)]
    one = bench.pieces[lead]._replace(before=inside[0].before, after=inside[-1].after, diff=None)
    if one.before == one.after:
        raise SeriesError(
            f"{', '.join(piece.name for piece in group)} change nothing together",
            hint="drop them with 'retread patch drop'",
        )
    return Plan([*made[:start], one, *made[start + len(group) :]])


def _demand_together(group: Sequence[Piece]) -> None:
    """Raise SeriesError for patches that no build applies together: of their conditions one header can state one."""
    when = {one.name: only_with(one.head.decode("utf-8", "replace")) for one in group}
    if len(set(when.values())) > 1:
        raise SeriesError(
            "one patch cannot be made of these: they are applied with different compilers",
            faults=[f"{name}: with {compiler or 'any compiler'}" for name, compiler in when.items()],
            hint=f"nothing was changed; give them the same {ONLY_WITH} first, or leave them apart",
        )


def split(bench: Bench, typed: str, name: str, head: bytes, wanted: Sequence[str]) -> Plan:
    """Make two patches of one: files, or hunks of a file (``PATH:2,3``), go into a new one behind it."""
    index = bench.at(typed)
    one = bench.pieces[index]
    files = PatchSet(_lines(bench.repository.diff(one.before, one.after)))
    chosen = _chosen(files, one.name, wanted)
    middle = bench.repository.apply_bytes(one.after, chosen, "--reverse")
    if isinstance(middle, Failed):
        raise SeriesError(f"{one.name}: what is left does not stand alone ({middle.detail})")
    if middle == one.before:
        raise UsageError(f"that is all of {one.name}: nothing would be left in it")
    two = Piece(name, head, middle, one.after, None)
    kept = one._replace(after=middle, diff=None)
    origins = {name: f"split from {one.name}"}
    return Plan([*bench.pieces[:index], kept, two, *bench.pieces[index + 1 :]], origins=origins)


def _lines(diff: bytes) -> list[str]:
    return [line + "\n" for line in diff.decode("utf-8", "surrogateescape").split("\n")[:-1]]


def _chosen(files: PatchSet, patch: str, wanted: Sequence[str]) -> bytes:
    """Return the diff of what was typed; UsageError lists what there is."""
    there = {file.path: file for file in files}
    known = [f"{path} (hunks 1 to {len(file)})" for path, file in there.items()]
    if not wanted:
        raise UsageError("split off what? name --path FILE, or FILE:HUNK,HUNK", faults=known)
    text = ""
    for one in wanted:
        path, colon, numbers = one.rpartition(":") if one not in there else (one, "", "")
        if path not in there or not all(number.isdigit() for number in numbers.split(",") if colon):
            raise UsageError(f"{patch} has no {one}", faults=known, hint="name a FILE, or FILE:HUNK,HUNK")
        text += _part(there[path], [int(number) for number in numbers.split(",") if colon], one)
    return text.encode("utf-8", "surrogateescape")


def _part(file: PatchedFile, numbers: Sequence[int], typed: str) -> str:
    whole = str(file)
    if not numbers:
        return whole
    if not all(0 < number <= len(file) for number in numbers):
        raise UsageError(f"{typed}: the file has {counted(len(file), 'hunk')}")
    if len(set(numbers)) < len(file) and (file.is_added_file or file.is_removed_file or file.is_rename):
        raise UsageError(f"{typed}: a file that comes, goes or is renamed is split off whole")
    heading = whole[: whole.index("@@ ")]
    return heading + "".join(str(file[number - 1]) for number in sorted(set(numbers)))


def _demand_same(bench: Bench, made: Sequence[Piece]) -> None:
    """Raise SeriesError when another order makes another source."""
    if bench.pieces and made[-1].after != bench.pieces[-1].after:
        raise SeriesError(
            "in that order the series makes another source",
            hint="nothing was changed; use 'retread patch edit'",
        )


# What was typed.


def headed(one: Incoming, text: bytes | None, said: Sequence[str]) -> Incoming:
    """Return an incoming patch with another header, and with fields that were typed; UsageError for a bad one."""
    head = header.split(text)[0] if text is not None else one.head
    try:
        return one._replace(head=header.with_fields(head, said) if said else head)
    except ValueError as error:
        raise UsageError(
            str(error), hint="write it like --set 'Breaks: what a user sees without it'"
        ) from None


def touched_by(some: Iterable[Incoming]) -> set[str]:
    """Return every file that incoming patches may mean."""
    return {path for one in some for path in meant(one.diff)}
