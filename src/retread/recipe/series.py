"""Patch series: the order of patches, what each header promises, and which files it touches. Pure.

unidiff reads the diffs; this module holds the rules of the house. The series file is quilt's: one name a line,
``#`` starts a comment.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from email.parser import HeaderParser
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchedFile, PatchSet

from retread.errors import SeriesError
from retread.records import Record, Sha256
from retread.strict import near_miss


class ChangeKind(StrEnum):
    """What a patch, or a series, does to a file."""

    ADD = "add"
    MODIFY = "modify"
    DELETE = "delete"


class Change(Record, frozen=True, kw_only=True):
    """One file that is touched, by its path in the source."""

    path: str
    kind: ChangeKind


NAME: Final = re.compile(r"[0-9]{4}-[a-z0-9][a-z0-9._-]*\.patch")
FIELDS: Final = ("Subject", "Breaks", "Affects", "Upstream", "Drop-when")
UPSTREAM: Final = re.compile(
    r"(not reported|reported as \S+|fixed in \S+ \([0-9a-f]{7,40}\))(;.*)?", re.DOTALL
)
_SEPARATOR: Final = "\n---\n"
_LINK: Final = re.compile(r"^(?:(?:new|old|deleted)(?: file)? mode|index \S+) 1[26]0000$", re.MULTILINE)
_COPY: Final = re.compile(r"^copy from ", re.MULTILINE)


class Patch(Record, frozen=True, kw_only=True):
    """A patch that passed the lint: its header, its bytes' digest and what it touches."""

    name: str
    sha256: Sha256
    subject: str
    breaks: str
    affects: str
    upstream: str
    drop_when: str
    changes: tuple[Change, ...]
    crlf: bool
    """Whether lines of its hunks end with CR LF."""


def parse_series(files: Mapping[str, bytes], *, where: str) -> tuple[Patch, ...]:
    """Return the patches of a series folder in order, linted; SeriesError lists every fault.

    ``files`` is the folder: name -> bytes, the file ``series`` among them. ``where`` names the folder in messages.
    """
    if "series" not in files:
        raise SeriesError(
            f"{where}: there is no file 'series'", hint="list the patches in it, one name a line"
        )
    faults: list[str] = []
    names = _names(files["series"].decode("utf-8", "replace"), faults)
    present = sorted(name for name in files if name.endswith((".patch", ".diff")))
    faults.extend(
        f"series: {name} is listed, but there is no such file{near_miss(name, present)}"
        for name in names
        if name not in files
    )
    faults.extend(f"{name}: not listed in series" for name in present if name not in names)
    patches = [_lint(name, files[name], faults) for name in names if name in files]
    if faults:
        raise SeriesError(f"{where}: the series breaks {len(faults)} rule(s)", faults=faults)
    return tuple(patch for patch in patches if patch)


def _names(text: str, faults: list[str]) -> list[str]:
    lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
    names: list[str] = []
    for name in filter(None, lines):
        if name in names:
            faults.append(f"series: {name} is listed twice")
        elif not NAME.fullmatch(name):
            faults.append(f"series: {name!r} is not a patch name like 0001-what-it-does.patch")
        else:
            names.append(name)
    return names


def _lint(name: str, data: bytes, faults: list[str]) -> Patch | None:
    """Return the patch, or None after adding what is wrong with it to ``faults``."""
    found: list[str] = []
    head, separator, body = data.decode("utf-8", "surrogateescape").partition(_SEPARATOR)
    header = HeaderParser().parsestr(head.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    found.extend(_header_faults(header.items(), bool(separator)))
    diff = _diff(body, found)
    for file in diff:
        found.extend(_file_faults(file))
    if not found and not diff:
        found.append("touches no file")
    faults.extend(f"{name}: {fault}" for fault in found)
    if found:
        return None
    fields = {field: " ".join(str(header[field]).split()) for field in FIELDS}
    return Patch(
        name=name,
        sha256=Sha256(hashlib.sha256(data).hexdigest()),
        subject=fields["Subject"],
        breaks=fields["Breaks"],
        affects=fields["Affects"],
        upstream=fields["Upstream"],
        drop_when=fields["Drop-when"],
        changes=tuple(change for file in diff for change in _changes(file)),
        crlf=any(line.value.endswith("\r\n") for file in diff for hunk in file for line in hunk),
    )


def _header_faults(items: Sequence[tuple[str, str]], separated: bool) -> Iterator[str]:
    header = dict(items)
    if not separated:
        yield "no line '---' between header and diff"
    if any("\N{REPLACEMENT CHARACTER}" in value for value in header.values()):
        yield "header: not UTF-8"
    for field in FIELDS:
        if [name for name, _ in items].count(field) > 1:
            yield f"header: {field} stands there twice"
        if not header.get(field, "").strip():
            yield f"header: {field} is missing{near_miss(field, header)}"
    upstream = " ".join(header.get("Upstream", "").split())
    if upstream and not UPSTREAM.fullmatch(upstream):
        yield (
            f"header: Upstream says {upstream!r}; write 'not reported', 'reported as <where>' or "
            "'fixed in <version> (<commit>)'"
        )


def _diff(body: str, faults: list[str]) -> PatchSet:
    try:
        return PatchSet(_lines(body))
    except (UnidiffParseError, ValueError) as error:
        faults.append(f"not a unified diff: {error}")
        return PatchSet([])


def _lines(body: str) -> list[str]:
    """Split at line feeds alone, so that a carriage return stays with its line."""
    return [line + "\n" for line in body.split("\n")[:-1]]


def _file_faults(file: PatchedFile) -> Iterator[str]:
    if file.is_binary_file:
        yield f"{file.path}: a binary blob; patches hold text"
    if _LINK.search(_info(file)):
        yield f"{file.path}: makes a symbolic link or a submodule"
    for path, prefix in ((file.source_file, "a/"), (file.target_file, "b/")):
        if path == "/dev/null":
            continue
        plain = path.removeprefix(prefix)
        pure = PurePosixPath(plain)
        if pure.is_absolute() or "\\" in plain or path.startswith('"') or not plain.isprintable():
            yield f"{_printable(path)}: not a plain relative path"
        elif ".." in pure.parts or ".git" in pure.parts:
            yield f"{path}: leaves the source tree"
        elif str(pure) != plain:
            yield f"{path}: write it as {prefix}{pure}"
        elif plain == path:
            yield f"{path}: expected a path that starts with {prefix!r}"


def _info(file: PatchedFile) -> str:
    """Return git's lines about the file: modes, renames, blob ids."""
    return "".join(str(line) for line in file.patch_info or [])


def _printable(path: str) -> str:
    return path if path.isprintable() else ascii(path)


def _changes(file: PatchedFile) -> Iterator[Change]:
    if _COPY.search(_info(file)):
        yield Change(path=file.source_file.removeprefix("a/"), kind=ChangeKind.MODIFY)
        yield Change(path=file.target_file.removeprefix("b/"), kind=ChangeKind.ADD)
    elif file.is_rename:
        yield Change(path=file.source_file.removeprefix("a/"), kind=ChangeKind.DELETE)
        yield Change(path=file.target_file.removeprefix("b/"), kind=ChangeKind.ADD)
    elif file.is_added_file:
        yield Change(path=file.path, kind=ChangeKind.ADD)
    elif file.is_removed_file:
        yield Change(path=file.path, kind=ChangeKind.DELETE)
    else:
        yield Change(path=file.path, kind=ChangeKind.MODIFY)
