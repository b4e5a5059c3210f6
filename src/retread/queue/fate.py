"""The verdicts on a patch, and on each of its hunks, when a series is carried to another source. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from retread.records import Record


class Fate(StrEnum):
    """What becomes of a hunk, or of a patch, on another source; a patch has the last of its hunks'."""

    CLEAN = "clean"
    OFFSET = "offset"
    RESOLVED = "resolved as before"
    THREE_WAY = "three-way"
    UPSTREAM = "already upstream"
    OTHERWISE = "upstream in other words"
    RENAMED = "target renamed"
    DELETED = "target deleted"
    TWICE = "would be applied twice"
    CONFLICT = "conflict"


PASSES: Final = frozenset({Fate.CLEAN, Fate.OFFSET, Fate.RESOLVED})
GONE: Final = frozenset({Fate.UPSTREAM, Fate.OTHERWISE, Fate.DELETED})
"""What is dropped when it is accepted: there is nothing to patch."""
WORDS: Final = {
    "three-way": Fate.THREE_WAY,
    "upstream": Fate.UPSTREAM,
    "other-words": Fate.OTHERWISE,
    "renamed": Fate.RENAMED,
    "deleted": Fate.DELETED,
    "twice": Fate.TWICE,
}
"""How a verdict is accepted on the command line; a conflict cannot be."""


class HunkFate(Record, frozen=True, kw_only=True):
    """What becomes of one hunk."""

    path: str
    hunk: int
    line: int
    fate: Fate
    detail: str
    upstream: str
    """Of a conflict: what changed in these lines between the two sources."""


class PatchFate(Record, frozen=True, kw_only=True):
    """What becomes of one patch, and whether it stands in the new series."""

    name: str
    fate: Fate
    kept: bool
    open: bool
    """Whether somebody has to decide."""
    reason: str
    """Why it is left out, or who accepted it."""
    hunks: tuple[HunkFate, ...]


def together(fates: Sequence[Fate]) -> Fate:
    """Return a patch's verdict: the worst of its hunks'; one of which only a part is needless is in conflict."""
    worst = max(fates, key=list(Fate).index)
    return Fate.CONFLICT if worst in GONE and len(set(fates)) > 1 else worst
