"""Patch series: the order of patches, what each header promises, and which files it touches. Pure.

unidiff reads the diffs; this module holds the rules of the house. The series file is quilt's: one name a line,
``#`` starts a comment.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from itertools import pairwise
from operator import length_hint
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from retread import limits
from retread.errors import SeriesError
from retread.recipe import difflines, symptom
from retread.recipe.symptom import Symptom
from retread.records import Record, Sha256
from retread.strict import near_miss
from retread.units import counted
from retread.version import COMPILERS

if TYPE_CHECKING:
    from unidiff.patch import PatchedFile, PatchSet


class ChangeKind(StrEnum):
    """What a patch, or a series, does to a file."""

    ADD = "add"
    MODIFY = "modify"
    DELETE = "delete"


class Change(Record, frozen=True, kw_only=True):
    """One file that is touched, by its path in the source."""

    path: str
    kind: ChangeKind
    mode: str = ""
    """What git calls its mode, 100644 or 100755, when that is another one than before, or than a new file has."""


NAME: Final = re.compile(r"[0-9]{4}-[a-z0-9][a-z0-9._-]*\.patch")
FIELDS: Final = ("Subject", "Breaks", "Affects", "Upstream", "Drop-when")
ONLY_WITH: Final = "Only-with"
"""The field of a patch that is for compiles by one compiler alone."""
UPSTREAM: Final = re.compile(
    r"(not reported|reported as \S+|fixed in \S+ \([0-9a-f]{7,40}\))(;.*)?", re.DOTALL
)
NO_END: Final = "does not end with a newline, so its last line may be cut: add one, or copy the patch anew"
NO_NEWLINE: Final = "\\ No newline at end of file"
_SEPARATOR: Final = "\n---\n"
_WINDOWS: Final = re.compile(rb"\A[^\n]*\r\n|^diff --git [^\n]*\r\n", re.MULTILINE)
"""A line of the patch itself, not of the source, that ends with CR LF."""
_FIELD: Final = re.compile(r"^([A-Za-z][A-Za-z-]*):[ \t]*(.*(?:\n[ \t]+.*)*)", re.MULTILINE)
_MODE: Final = re.compile(r"^(?:old mode (?P<old>\d+)\nnew mode|new file mode) (?P<new>\d+)$", re.MULTILINE)
_LINK: Final = re.compile(r"^(?:(?:new|old|deleted)(?: file)? mode|index \S+) 1[26]0000$", re.MULTILINE)
_MODES: Final = ("100644", "100755")
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
    only_with: str = ""
    """The compiler of device code whose compiles alone have it: ``clang``; empty for every build."""
    unended: bool = False
    """Whether it says of a file that it ends without a newline."""
    new_folders: tuple[str, ...] = ()
    """Files that it adds in folders which the pinned source lacks, as far as that is known."""
    seen_as: tuple[Symptom, ...] = ()
    """By which texts users know the fault."""


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
    listed = set(names)
    present = sorted(name for name in files if name.endswith((".patch", ".diff")))
    faults.extend(
        f"series: {name} is listed, but there is no such file{near_miss(name, present)}"
        for name in names
        if name not in files
    )
    faults.extend(f"{name}: not listed in series" for name in present if name not in listed)
    patches = [_lint(name, files[name], faults) for name in names if name in files]
    faults.extend(_order_faults([patch for patch in patches if patch]))
    faults.extend(_same_faults({name: files[name] for name in names if name in files}))
    if faults:
        raise SeriesError(
            f"{where}: the series breaks {counted(len(faults), 'rule')}",
            faults=faults,
            hint="mend what is named; 'retread patch check' then tries every patch",
        )
    return tuple(patch for patch in patches if patch)


def _names(text: str, faults: list[str]) -> list[str]:
    lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
    names: dict[str, None] = {}
    for name in filter(None, lines):
        if name in names:
            faults.append(f"series: {name} is listed twice")
        elif not NAME.fullmatch(name):
            faults.append(f"series: {name!r} is not a patch name like 0001-what-it-does.patch")
        else:
            names[name] = None
    return list(names)


def _order_faults(patches: Sequence[Patch]) -> Iterator[str]:
    """Yield patches for every build that come after one for a single compiler, without which they may not apply."""
    for before, patch in pairwise(patches):
        if before.only_with and not patch.only_with:
            yield (
                f"{patch.name}: comes after {before.name}, which is applied with {before.only_with} alone: put patches "
                f"with {ONLY_WITH} last"
            )


def _same_faults(patches: Mapping[str, bytes]) -> Iterator[str]:
    """Yield patches whose diff is that of another one before them."""
    seen: dict[bytes, str] = {}
    for name, data in patches.items():
        _, separator, diff = data.partition(_SEPARATOR.encode())
        if separator and diff.strip() and (first := seen.setdefault(diff, name)) != name:
            yield f"{name}: is {first} once more: the same diff; drop one of the two"


def _lint(name: str, data: bytes, faults: list[str]) -> Patch | None:
    """Return the patch, or None after adding what is wrong with it to ``faults``."""
    if coded := encoding_fault(data):
        faults.append(f"{name}: {coded}")
        return None
    found = list(_byte_faults(data))
    plain = data.removeprefix(codecs.BOM_UTF8)
    plain = plain.replace(b"\r\n", b"\n") if _WINDOWS.search(data) else plain
    if not plain.endswith(b"\n"):  # told above; what else is wrong is told with it
        plain += b"\n"
    head, separator, body = plain.decode("utf-8", "surrogateescape").partition(_SEPARATOR)
    items = _fields(head.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    found.extend(_header_faults(items, bool(separator)))
    diff = _diff(body, found, first=head.count("\n") + 3)
    for file in diff:
        found.extend(_file_faults(file))
    if not found and not diff:
        found.append("touches no file")
    faults.extend(f"{name}: {fault}" for fault in found)
    if found:
        return None
    fields = {field: " ".join(value.split()) for field, value in items}
    return Patch(
        name=name,
        sha256=Sha256(hashlib.sha256(data).hexdigest()),
        subject=subject(fields["Subject"]),
        breaks=fields["Breaks"],
        affects=fields["Affects"],
        upstream=fields["Upstream"],
        drop_when=fields["Drop-when"],
        changes=tuple(change for file in diff for change in _changes(file)),
        crlf=any(line.value.endswith("\r\n") for file in diff for hunk in file for line in hunk),
        only_with=fields.get(ONLY_WITH, ""),
        unended=f"\n{NO_NEWLINE}" in body,
        seen_as=symptom.symptoms(items),
    )


def encoding_fault(data: bytes) -> str:
    """Say that a file is no UTF-8 as Windows' PowerShell and Notepad write none; nothing when it may be."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "is UTF-16, as PowerShell writes what is redirected: save it as UTF-8"
    return "holds zero bytes: a binary file, or UTF-16; patches are text in UTF-8" if b"\0" in data else ""


def _byte_faults(data: bytes) -> Iterator[str]:
    """Yield what an editor, a mailer or a checkout did to the file: no parser of diffs could say it."""
    if data.startswith(codecs.BOM_UTF8):
        yield "begins with a byte order mark: save it as UTF-8 without one"
    if _WINDOWS.search(data):
        yield (
            "lines of its own end with CR LF, as an editor or git's autocrlf leaves them: save it with LF; "
            "only a diff's lines of a source with CR LF keep it"
        )
    if not data.endswith(b"\n"):
        yield NO_END


def only_with(head: str) -> str:
    """Return the compiler with which alone the patch of this header is applied; empty for any."""
    return dict(_fields(head)).get(ONLY_WITH, "")


def _fields(head: str) -> list[tuple[str, str]]:
    """Return the header's fields, and after them those of the message below, where git format-patch leaves them."""
    from email.parser import HeaderParser

    header = HeaderParser().parsestr(head)
    items = [(name, str(value)) for name, value in header.items()]
    there = {name for name, _ in items}
    return items + [found for found in _FIELD.findall(str(header.get_payload())) if found[0] not in there]


def subject(value: str) -> str:
    """Return the subject without what git format-patch adds: ``[PATCH 1/2]``, and encoded words."""
    if "=?" in value and len(value) <= limits.SUBJECT:
        from email.errors import MessageError
        from email.header import decode_header, make_header

        with suppress(MessageError, LookupError, ValueError):  # it only looks encoded
            value = str(make_header(decode_header(value)))
    return re.sub(r"^\[PATCH[^]]*\]\s*", "", value)


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
    if ONLY_WITH in header and header[ONLY_WITH].strip() not in COMPILERS:
        yield f"header: {ONLY_WITH} says {header[ONLY_WITH].strip()!r}; it is one of {', '.join(COMPILERS)}"
    yield from symptom.faults(items)


def _diff(body: str, faults: list[str], *, first: int) -> PatchSet:
    """Return the diff whose line ``first`` of the file is its first one, after adding what is wrong with its hunks."""
    from unidiff.errors import UnidiffParseError
    from unidiff.patch import PatchSet

    lines = body.split("\n")[:-1]  # at line feeds alone, so that a carriage return stays with its line
    told = list(difflines.faults(lines, first=first))
    faults.extend(told)
    rest = iter([line + "\n" for line in lines])
    try:
        return PatchSet(rest)
    except (UnidiffParseError, ValueError) as error:
        if not told:
            at = first + len(lines) - length_hint(rest) - 1
            faults.append(f"not a unified diff: line {at}: {' '.join(str(error).split())}")
        return PatchSet([])


def _file_faults(file: PatchedFile) -> Iterator[str]:
    if file.is_binary_file:
        yield f"{file.path}: a binary blob; patches hold text"
    if _LINK.search(_info(file)):
        yield f"{file.path}: makes a symbolic link or a submodule"
    elif (mode := _MODE.search(_info(file))) and mode["new"] not in _MODES:
        yield f"{file.path}: has mode {mode['new']}; git keeps {' and '.join(_MODES)} alone"
    for path, prefix in ((file.source_file, "a/"), (file.target_file, "b/")):
        if path == "/dev/null":
            continue
        plain = path.removeprefix(prefix)
        pure = PurePosixPath(plain)
        if path.startswith('"'):
            yield f"{path}: git quoted this name; make the patch with 'git -c core.quotePath=false'"
        elif pure.is_absolute() or "\\" in plain or not plain.isprintable():
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


def _mode(file: PatchedFile) -> str:
    """Return the mode that a file gets, when that is another one."""
    found = _MODE.search(_info(file))
    return found["new"] if found and (found["old"] or found["new"] != _MODES[0]) else ""


def _changes(file: PatchedFile) -> Iterator[Change]:
    mode = _mode(file)
    if _COPY.search(_info(file)):
        yield Change(path=file.source_file.removeprefix("a/"), kind=ChangeKind.MODIFY)
        yield Change(path=file.target_file.removeprefix("b/"), kind=ChangeKind.ADD, mode=mode)
    elif file.is_rename:
        yield Change(path=file.source_file.removeprefix("a/"), kind=ChangeKind.DELETE)
        yield Change(path=file.target_file.removeprefix("b/"), kind=ChangeKind.ADD, mode=mode)
    elif file.is_added_file:
        yield Change(path=file.path, kind=ChangeKind.ADD, mode=mode)
    elif file.is_removed_file:
        yield Change(path=file.path, kind=ChangeKind.DELETE)
    else:
        yield Change(path=file.path, kind=ChangeKind.MODIFY, mode=mode)
