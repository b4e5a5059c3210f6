"""The records of the pinned source and of what a series makes of it. Pure."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from retread.recipe.series import Change
from retread.records import Record


class UnprovenFile(Record, frozen=True, kw_only=True):
    """A file of the source that no proof covers, and the reason that the recipe gives for it."""

    path: str
    reason: str


class Manifest(Record, frozen=True, kw_only=True):
    """What the pinned tree holds: path -> git's blob id, and which files were allowed by name."""

    commit: str
    time: int
    """The commit's time, seconds since 1970: the build's SOURCE_DATE_EPOCH."""
    files: dict[str, str]
    unproven: tuple[UnprovenFile, ...]


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
