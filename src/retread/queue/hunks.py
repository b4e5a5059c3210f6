"""Diffs taken apart into hunks that can be tried alone. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from unidiff.patch import Hunk as UnifiedHunk
from unidiff.patch import PatchedFile, PatchSet


class Hunk(NamedTuple):
    """One hunk of a diff, or a file that has none (a rename): where it is, and a diff of it alone."""

    path: str
    """In the source that it is made for; of a new file where it will be."""
    number: int
    """From 1 within its file; 0 when the file has no hunk."""
    first: int
    last: int
    """Lines of the source that it covers."""
    adds: bool
    """Whether the file is new."""
    diff: bytes


def files(diff: bytes) -> PatchSet:
    """Read a diff; a carriage return stays with its line."""
    return PatchSet([line + "\n" for line in diff.decode("utf-8", "surrogateescape").split("\n")[:-1]])


def hunks(diff: bytes) -> list[Hunk]:
    """Return the hunks of a diff of git's, in order."""
    return [hunk for file in files(diff) for hunk in _hunks(file)]


def _hunks(file: PatchedFile) -> Iterator[Hunk]:
    whole = str(file)
    path = file.path if file.is_added_file else file.source_file.removeprefix("a/")
    if not len(file):
        yield Hunk(path, 0, 0, 0, file.is_added_file, whole.encode("utf-8", "surrogateescape"))
    heading = whole[: whole.index("@@ ")] if len(file) else ""
    for number, one in enumerate(file, start=1):
        last = one.source_start + max(one.source_length - 1, 0)
        text = (heading + str(one)).encode("utf-8", "surrogateescape")
        yield Hunk(path, number, one.source_start, last, file.is_added_file, text)


def elsewhere(diff: bytes, moved: dict[str, str]) -> bytes:
    """Return a diff whose files have other paths: ``moved`` maps old to new."""
    text = ""
    for file in files(diff):
        whole = str(file)
        old = file.source_file.removeprefix("a/")
        if old in moved:
            end = whole.index("@@ ") if "@@ " in whole else len(whole)
            new = moved[old]
            top = whole[:end].replace(f"a/{old}", f"a/{new}").replace(f"b/{old}", f"b/{new}")
            whole = top + whole[end:]
        text += whole
    return text.encode("utf-8", "surrogateescape")


def near(diff: bytes, first: int, last: int) -> str:
    """Return those hunks of a file's diff that touch lines ``first`` to ``last`` of the old file."""
    return "".join(map(str, _touching(diff, first, last)))


def after(diff: bytes, first: int, last: int) -> tuple[int, int]:
    """Return the lines of the new file that stand for lines ``first`` to ``last`` of the old one."""
    ends = [(one.target_start, one.target_start + one.target_length) for one in _touching(diff, first, last)]
    moved = sum(
        one.target_length - one.source_length
        for file in files(diff)
        for one in file
        if one.source_start + one.source_length < first
    )
    ends = ends or [(first + moved, last + moved)]
    return max(min(start for start, _ in ends), 1), max(end for _, end in ends)


def _touching(diff: bytes, first: int, last: int) -> list[UnifiedHunk]:
    return [
        hunk
        for file in files(diff)
        for hunk in file
        if hunk.source_start <= last and first <= hunk.source_start + hunk.source_length
    ]
