"""The three sides of each file of a patch that is carried: the source's, what it was made for, what it makes.

A file may be missing on each side, and may be called otherwise on two of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from retread.queue import resolution
from retread.queue.pieces import Piece
from retread.queue.repository import Repository
from retread.queue.resolution import Key, Solved

Blob = tuple[str, str] | None
"""Mode and id of a file; None where there is none."""


class Sides(NamedTuple):
    """One file."""

    path: str
    """Where what becomes of it lies."""
    leaves: str
    """Where the source has it, when the patch renames it; else empty."""
    ours: Blob
    base: Blob
    theirs: Blob

    @property
    def key(self) -> Key:
        """The ids of the whole files."""
        return Key(*(side[1] if side else "" for side in (self.ours, self.base, self.theirs)))

    @property
    def whole(self) -> bool:
        """Whether all three are there, so that git merges their texts."""
        return bool(self.ours and self.base and self.theirs)

    @property
    def mode(self) -> str:
        """The mode of what becomes of it: the patch's, where that changes it."""
        kept = self.ours if self.base and self.theirs and self.base[0] == self.theirs[0] else None
        found = kept or self.theirs or self.ours
        return found[0] if found else "100644"


class Outcome(NamedTuple):
    """What becomes of a file; no text where it goes."""

    text: bytes | None
    asked: bool
    """Whether there was a conflict that a person solved."""


def sides(repository: Repository, tree: str, piece: Piece, renames: Mapping[str, str]) -> Iterator[Sides]:
    """Yield the files of a patch on a tree, in which those of ``renames`` have another name."""
    renamed = repository.renamed(piece.before, piece.after)
    for path in repository.changed(piece.before, piece.after):
        if path in renamed.values():
            continue
        here = renames.get(path, path) if repository.blob(tree, path) is None else path
        aim = renamed.get(path)
        yield Sides(
            path=aim or here,
            leaves=here if aim else "",
            ours=repository.blob(tree, here),
            base=repository.blob(piece.before, path),
            theirs=repository.blob(piece.after, aim or path),
        )


def solved(repository: Repository, one: Sides, known: Solved) -> Outcome | None:
    """Return what becomes of a file: merged, solved as before, or what only one side changed; None for what is open."""
    if one.whole:
        merged = repository.merged(*one.key)
        text = resolution.applied(merged, known)
        return None if text is None else Outcome(text, bool(merged.conflicts))
    if (only := _only(one.key)) is not None:
        return Outcome(repository.bytes_of(only) if only else None, asked=False)
    return Outcome(known[one.key], asked=True) if one.key in known else None


def learned(repository: Repository, one: Sides, final: Blob) -> Solved:
    """Return what was made of the conflicts of a file, as it became in the end."""
    if one.whole:
        merged = repository.merged(*one.key)
        return resolution.learned(merged, repository.bytes_of(final[1])) if merged.conflicts and final else {}
    if _only(one.key) is not None:
        return {}
    return {one.key: repository.bytes_of(final[1]) if final else None}


def _only(key: Key) -> str | None:
    """Return the id of what becomes of a file that one side alone changed, or both alike; None for a conflict."""
    if key.ours in {key.base, key.theirs}:
        return key.theirs
    return key.ours if key.theirs == key.base else None
