"""The records of the pinned source and of what a series makes of it. Pure."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec

from retread.recipe.model import Recipe
from retread.recipe.series import Change
from retread.records import Record, Sha256


class UnprovenFile(Record, frozen=True, kw_only=True):
    """A file of the source that no proof covers, and the reason that the recipe gives for it."""

    path: str
    reason: str


class Manifest(Record, frozen=True, kw_only=True):
    """What the pinned tree holds: path -> git's blob id, and which files were allowed by name."""

    commit: str
    """Empty for a tree of which no commit is known."""
    time: int
    """The commit's time, seconds since 1970: the build's SOURCE_DATE_EPOCH."""
    files: dict[str, str]
    unproven: tuple[UnprovenFile, ...]
    packed: Sha256 = Sha256("")
    """Of the archive that the tree of a repository was packed into, beside it; empty for another tree."""

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return self.commit[:8] or "the source"


def packed_name(recipe: Recipe) -> str:
    """Return what the archive is called that a recipe's commit is packed into."""
    return f"{recipe.project}-{recipe.version}-{recipe.pin.commit[:12]}.tar"


class SourceTree(Record, frozen=True, kw_only=True):
    """The pinned source on disk, read-only by agreement."""

    root: Path
    manifest: Manifest


class Verdict(StrEnum):
    """What became of a patch."""

    APPLIES = "applies"
    OFFSET = "applies at other lines"
    UPSTREAM = "already in the source"
    GONE = "target deleted"
    CONFLICT = "does not apply"


class Applied(Record, frozen=True, kw_only=True):
    """A patch of the series and what became of it."""

    name: str
    verdict: Verdict
    detail: str = ""


class PatchedTree(Record, frozen=True, kw_only=True):
    """The difference that the series makes: ``root`` holds the files that are added or modified."""

    root: Path
    changes: tuple[Change, ...]
    applied: tuple[Applied, ...]

    def within(self, recipe: Recipe) -> PatchedTree:
        """Return the difference as the wheel sees it: below the source's root, with the paths of the wheel."""
        placed = [(change, recipe.in_wheel(change.path)) for change in self.changes]
        changes = tuple(msgspec.structs.replace(change, path=path) for change, path in placed if path)
        return PatchedTree(root=self.root / recipe.source_root, changes=changes, applied=self.applied)
