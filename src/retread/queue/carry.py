"""A series carried to another source, with a verdict for each patch and each hunk.

Only what goes in as it is, perhaps at other lines, passes by itself; nothing is fuzzy, and a three-way merge is said to
be one. What was merged, or moved, is tried in reverse too: a change that is there already can often go in twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from retread.queue import hunks as cut
from retread.queue import sides
from retread.queue.fate import GONE, PASSES, Fate, HunkFate, PatchFate, together
from retread.queue.hunks import Hunk
from retread.queue.pieces import Piece
from retread.queue.repository import Attempt, Repository
from retread.queue.resolution import Solved

_SHOWN: Final = 60
"""Lines of upstream's own diff that are shown for a hunk in conflict: more is read in the files."""


class Wish(NamedTuple):
    """What the maintainer decided: verdicts accepted by patch, and patches left out with the reason."""

    accepted: Mapping[str, Fate]
    skipped: Mapping[str, str]


class Carried(NamedTuple):
    """A patch on the new source."""

    fate: PatchFate
    piece: Piece | None


Judged = tuple[list[HunkFate], str]
"""The verdict of each hunk, and the tree that they make; nothing where none is made."""


class Known(NamedTuple):
    """What is known besides the two sources."""

    renames: Callable[[], Mapping[str, str]]
    """Old path -> new one; asked for only when a file is gone."""
    fixed: Callable[[str], bool]
    """Whether upstream fixed by its release what a patch mends."""
    resolutions: Solved = MappingProxyType({})
    """What a person made of conflicts before."""
    history: Callable[[str, int, int], Sequence[str]] = lambda *_: ()
    """The commits that changed lines of a file of the new source, where a clone can tell them."""


class Carrier:
    """The new source, onto which patches are put one after the other."""

    def __init__(self, repository: Repository, bases: tuple[str, str], known: Known) -> None:
        """``bases`` are the trees of the old and the new source."""
        self._repository = repository
        self._old, self._new = bases
        self._known = known
        self._tree = self._rest = self._new

    def carry(self, some: Sequence[Piece], wish: Wish) -> list[Carried]:
        """Return what becomes of each patch; one that is not taken is passed over."""
        return [self._one(piece, wish) for piece in some]

    def _one(self, piece: Piece, wish: Wish) -> Carried:
        diff = self._repository.diff(piece.before, piece.after)
        found, tree = self._judge(piece, diff)
        fate = together([one.fate for one in found])
        skipped, accepted = wish.skipped.get(piece.name), wish.accepted.get(piece.name) is fate
        reason = skipped or (f"{fate}, accepted" if accepted and fate not in PASSES else "")
        kept = skipped is None and bool(tree) and (fate in PASSES or accepted)
        gone = skipped is not None or (accepted and fate in GONE)
        made = PatchFate(
            name=piece.name,
            fate=fate,
            kept=kept,
            open=not kept and not gone,
            reason=reason,
            hunks=tuple(found),
        )
        if not kept:
            return Carried(made, None)
        before, self._tree = self._tree, tree
        same = piece.diff if fate is Fate.CLEAN else None
        return Carried(made, piece._replace(before=before, after=tree, diff=same))

    def _judge(self, piece: Piece, diff: bytes) -> Judged:
        """Return the verdict of each hunk, and the tree that they make if they are taken."""
        some = cut.hunks(diff)
        return self._exact(some, diff) or self._gone(piece, some, diff) or self._merge(piece, some, diff)

    def _exact(self, pieces: Sequence[Hunk], diff: bytes) -> Judged | None:
        """Return the verdicts of a patch that goes in exactly, or whose reverse does."""
        whole = self._repository.attempt(self._tree, diff)
        if whole.tree and whole.tree != self._tree:
            return self._moved(pieces, whole), whole.tree
        # A mode that the file has already goes in again: git sees nothing wrong with that.
        if whole.tree or self._repository.attempt(self._tree, diff, "--reverse").tree:
            return [_fate(one, Fate.UPSTREAM) for one in pieces], ""
        return None

    def _gone(self, piece: Piece, pieces: Sequence[Hunk], diff: bytes) -> Judged | None:
        """Return the verdicts of a patch of which files are gone, and the tree with it aimed at where they went."""
        gone = {one.path for one in pieces if not one.adds and not self._has(one.path)}
        if not gone:
            return None
        renames = self._known.renames()
        moved = {path: renames[path] for path in gone if path in renames}
        aimed = self._repository.attempt(self._tree, cut.elsewhere(diff, moved)).tree if moved else ""
        again = as_before(self._repository, self._tree, piece, self._known.resolutions, renames)
        if again.asked and again.tree and not aimed:
            return list(self._as_before(pieces)), again.tree
        return list(self._homeless(pieces, gone, moved)), aimed

    def _merge(self, piece: Piece, pieces: Sequence[Hunk], diff: bytes) -> Judged:
        """Return the verdicts of a patch that is merged, by git or as a person did before, or in conflict."""
        merged = self._repository.attempt(self._tree, diff, "--3way")
        if merged.tree:
            return self._merged(pieces, merged), merged.tree
        again = as_before(self._repository, self._tree, piece, self._known.resolutions)
        if again.tree == self._tree:
            return [_fate(one, Fate.UPSTREAM, Fate.RESOLVED) for one in pieces], ""
        if again.tree and again.asked:
            return list(self._as_before(pieces)), again.tree
        if again.tree:  # a file that the patch renames, and that upstream changed: only its content is merged
            return [_fate(one, Fate.THREE_WAY) for one in pieces], again.tree
        if self._known.fixed(piece.name):
            return [_fate(one, Fate.OTHERWISE, "its header says so") for one in pieces], ""
        return list(self._apart(pieces)), ""

    def _as_before(self, pieces: Sequence[Hunk]) -> Iterator[HunkFate]:
        """Yield the verdicts of a patch in conflict that was solved before; what only a merge takes is told as such."""
        self._rest = self._tree
        for one in pieces:
            merges = bool(self._repository.attempt(self._tree, one.diff, "--3way").tree)
            yield self._alone(one) or _fate(one, Fate.THREE_WAY if merges else Fate.RESOLVED)

    def _moved(self, pieces: Sequence[Hunk], whole: Attempt) -> list[HunkFate]:
        """Return the verdicts of a patch that goes in; git numbers hunks within a file and tells those that moved."""
        if not whole.offsets:
            return [_fate(one, Fate.CLEAN) for one in pieces]
        self._rest = self._tree
        return [self._alone(one) or _fate(one, Fate.CLEAN) for one in pieces]

    def _alone(self, one: Hunk) -> HunkFate | None:
        """Return the verdict of a hunk that is put in behind the earlier ones; None when it does not go in."""
        made = self._repository.attempt(self._rest, one.diff)
        if not made.tree:
            return None
        self._rest = made.tree
        lines = next((lines for _, lines in made.offsets), 0)
        if lines and self._there(one):
            return _fate(one, Fate.TWICE)
        return _fate(one, Fate.OFFSET, f"{lines:+}") if lines else _fate(one, Fate.CLEAN)

    def _merged(self, pieces: Sequence[Hunk], merged: Attempt) -> list[HunkFate]:
        if merged.tree == self._tree:
            return [_fate(one, Fate.UPSTREAM) for one in pieces]
        self._rest = self._tree
        return [
            _fate(one, Fate.TWICE) if self._there(one) else self._alone(one) or _fate(one, Fate.THREE_WAY)
            for one in pieces
        ]

    def _apart(self, pieces: Sequence[Hunk]) -> Iterator[HunkFate]:
        """Yield the verdict of each hunk of a patch in conflict."""
        self._rest = self._tree
        for one in pieces:
            found = self._alone(one)
            if found is None and self._there(one):
                found = _fate(one, Fate.UPSTREAM)
            yield found or self._conflict(one)

    def _conflict(self, one: Hunk) -> HunkFate:
        detail = self._repository.attempt(self._rest, one.diff).detail
        theirs = self._repository.diff(self._old, self._new, one.path)
        shown = cut.near(theirs, one.first, one.last).splitlines(keepends=True)[:_SHOWN]
        commits = self._known.history(one.path, *cut.after(theirs, one.first, one.last))
        return _fate(one, Fate.CONFLICT, detail, "".join([*(f"{line}\n" for line in commits), *shown]))

    def _homeless(
        self, pieces: Sequence[Hunk], gone: set[str], moved: Mapping[str, str]
    ) -> Iterator[HunkFate]:
        self._rest = self._tree
        for one in pieces:
            if one.path in moved:
                yield _fate(one, Fate.RENAMED, moved[one.path])
            elif one.path in gone:
                yield _fate(one, Fate.DELETED)
            else:
                yield self._alone(one) or self._conflict(one)

    def _there(self, one: Hunk) -> bool:
        return bool(self._repository.attempt(self._tree, one.diff, "--reverse").tree)

    def _has(self, path: str) -> bool:
        return bool(self._repository.ask("ls-tree", "--name-only", self._tree, "--", path).strip())


class Again(NamedTuple):
    """A patch with its conflicts solved as before."""

    tree: str
    """Empty when one is not known."""
    asked: bool
    """Whether there was any conflict."""


def as_before(
    repository: Repository,
    tree: str,
    piece: Piece,
    known: Solved,
    renames: Mapping[str, str] = MappingProxyType({}),
) -> Again:
    """Return the tree of a patch whose every conflict was solved before.

    ``renames`` are files that have another name in the tree.
    """
    files: dict[str, tuple[str, bytes] | None] = {}
    asked = False
    for one in sides.sides(repository, tree, piece, renames):
        found = sides.solved(repository, one, known)
        if found is None or (one.leaves and repository.blob(tree, one.path)):
            return Again("", asked=True)
        asked |= found.asked
        files |= {one.leaves: None} if one.leaves else {}
        files[one.path] = None if found.text is None else (one.mode, found.text)
    return Again(repository.with_files(tree, files), asked)


def _fate(one: Hunk, fate: Fate, detail: str = "", upstream: str = "") -> HunkFate:
    return HunkFate(
        path=one.path, hunk=one.number, line=one.first, fate=fate, detail=detail, upstream=upstream
    )
