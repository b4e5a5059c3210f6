"""Commit proofs: a tree listing from which the tree id and the commit id can be recomputed, offline.

Format: line 1 is JSON with ``repository``, ``commit`` and ``commit_object`` (base64 of the raw object); every further
line is ``mode id path``, sorted as git lists a tree. A directory of which no file is needed stands as one ``040000``
line with its tree id. Source: git's object format (Documentation/gitformat-pack, hash-object).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from retread import limits, strict
from retread.errors import SourceError
from retread.records import Record

DIRECTORY = "040000"
LINK = "120000"
SUBMODULE = "160000"
_LINE: Final = re.compile(r"(040000|100644|100664|100755|120000|160000) ([0-9a-f]{40}) ([^\0]+)")
_LAST: Final = 253_402_300_799
"""The last second of the year 9999."""
_COMMIT: Final = re.compile(rb"tree ([0-9a-f]{40})\n(?:.+\n)*?committer .*> ([0-9]{1,12}) [+-][0-9]{4}\n")


class Entry(NamedTuple):
    """One line of the listing: git's mode and object id."""

    mode: str
    id: str


Tree = dict[str, "Entry | Tree"]
"""A directory: name -> file, or directory."""


class _Head(Record, frozen=True, kw_only=True):
    repository: str
    commit: str
    commit_object: str


class Proof(NamedTuple):
    """A commit whose id was recomputed from this very listing."""

    repository: str
    commit: str
    time: int
    """The committer's time, seconds since 1970."""
    entries: dict[str, Entry]

    def submodules(self) -> dict[str, str]:
        """Return path -> commit of every submodule."""
        return {path: entry.id for path, entry in self.entries.items() if entry.mode == SUBMODULE}


def blob_id(data: bytes) -> str:
    """Return git's id of a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def parse(data: bytes, *, name: str) -> Proof:
    """Return the proof in ``data`` after recomputing tree id and commit id; SourceError when they disagree."""
    first, _, listing = data.partition(b"\n")
    try:
        head = strict.decoded(first, _Head)
        commit = base64.b64decode(head.commit_object, validate=True)
        stated, time = _tree_and_time(commit)
        entries = _entries(listing.decode("utf-8"))
        found = tree_id(nested(entries))
    except ValueError as error:
        raise SourceError(f"{name}: not a commit proof: {error}") from None
    commit_id = _object_id(b"commit", commit)
    if commit_id != head.commit:
        raise SourceError(f"{name}: its commit object is {commit_id}, not {head.commit}")
    if found != stated:
        raise SourceError(
            f"{name}: its listing makes tree {found}, the commit {head.commit[:12]} has {stated}"
        )
    return Proof(head.repository, head.commit, time, entries)


def pruned(data: bytes, files: Iterable[str], *, name: str) -> bytes:
    """Return the proof in ``data`` with one line for every directory that holds none of ``files``.

    It still proves the commit. SourceError for what is no proof.
    """
    tree = nested(parse(data, name=name).entries)
    needed = {str(folder) for path in files for folder in PurePosixPath(path).parents}
    listing = "\n".join(_folded(tree, needed)).encode()
    made = data.partition(b"\n")[0] + b"\n" + listing + b"\n"
    parse(made, name=name)
    return made


def _folded(tree: Tree, needed: set[str], at: str = "") -> Iterator[str]:
    for name, child in sorted(tree.items()):
        path = f"{at}{name}"
        if not isinstance(child, dict):
            yield f"{child.mode} {child.id} {path}"
        elif path in needed:
            yield from _folded(child, needed, f"{path}/")
        else:
            yield f"{DIRECTORY} {tree_id(child)} {path}"


def _entries(text: str) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=2):
        match = _LINE.fullmatch(line)
        if not match:
            raise ValueError(f"line {number} is not 'mode id path': {line[:80]!r}")
        mode, identity, path = match.groups()
        if path.count("/") > limits.FOLDERS:
            raise ValueError(f"line {number}: a path of more than {limits.FOLDERS} folders")
        if path in entries:
            raise ValueError(f"{path} is listed twice")
        entries[path] = Entry(mode, identity)
    return entries


def nested(entries: dict[str, Entry]) -> Tree:
    """Return the listing as nested directories; ValueError when a path is a file and a directory."""
    root: Tree = {}
    for path, entry in entries.items():
        *folders, name = path.split("/")
        tree = root
        for folder in folders:
            child = tree.setdefault(folder, {})
            if not isinstance(child, dict):
                raise ValueError(f"{path}: {folder} is a file and a directory")
            tree = child
        if name in tree:
            raise ValueError(f"{path} is a file and a directory")
        tree[name] = entry
    return root


def tree_id(tree: Tree) -> str:
    """Return git's id of a directory."""
    rows: list[tuple[bytes, bytes]] = []
    for name, child in tree.items():
        if isinstance(child, dict):
            mode, identity = DIRECTORY, tree_id(child)
        else:
            mode, identity = child
        slash = b"/" if mode == DIRECTORY else b""
        row = mode.lstrip("0").encode() + b" " + name.encode() + b"\0" + bytes.fromhex(identity)
        rows.append((name.encode() + slash, row))
    return _object_id(b"tree", b"".join(row for _, row in sorted(rows)))


def _object_id(kind: bytes, data: bytes) -> str:
    return hashlib.sha1(kind + b" %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _tree_and_time(commit: bytes) -> tuple[str, int]:
    match = _COMMIT.match(commit)
    if not match:
        raise ValueError("its commit object names no tree and committer")
    return match[1].decode(), dated(match[2].decode())


def dated(seconds: str) -> int:
    """Return a commit's time, in seconds since 1970; ValueError for one that no calendar has.

    git takes any number; bills of materials and builds take a date.
    """
    found = int(seconds)
    if not 0 <= found <= _LAST:
        raise ValueError(f"its time, {found} seconds since 1970, is in no calendar")
    return found
