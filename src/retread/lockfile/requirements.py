"""The lines of a requirements.txt that pins, as pip reads them. Pure.

Source: pip's "Requirements file format", tried against pip 26.3.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
from packaging.utils import canonicalize_name

from retread import limits, pypa
from retread.address import bare
from retread.errors import RecipeError, first
from retread.lockfile.pin import Locked, decoded, digests, file_name, others, spelled

_PINNED = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*+[ \t]*+(\[[^\]\n]*+\])?[ \t]*+===?", re.MULTILINE)
_DIRECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*+\s*+(\[[^\]]*+\])?\s*+@")
_PLACE = re.compile(r"\.|[^\s;/\\]*+[/\\]|[^\s;]+\.(whl|zip|tar\.gz)($|[\s;#])")
_COMMENT = re.compile(r"(^|(?<=\s))#.*")
_WHOLE_COMMENT = re.compile(r"\s*+#")
"""A line that is one; each of these takes a row of spaces in one step."""
_MAIN_INDEX = {"-i", "--index-url"}
_MORE = {"-r", "--requirement"}
_FOLDER = {"-e", "--editable"}
_VALUED = _MAIN_INDEX | _MORE | _FOLDER | {
    "--extra-index-url", "-c", "--constraint", "-f", "--find-links", "--no-binary",
    "--only-binary", "--trusted-host", "--use-feature", "--uploaded-prior-to", "--config-settings",
    "--global-option", "--hash",
}  # fmt: skip
_BARE = {"--no-index", "--pre", "--prefer-binary", "--require-hashes"}


class _Option(NamedTuple):
    name: str
    value: str


class _Line(NamedTuple):
    number: int
    text: str
    """What is asked for, without options."""
    pin: Locked | None
    """None for a folder of the user's own, editable or not."""


class _Fault(NamedTuple):
    number: int
    text: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.text}"


def pins_something(text: str) -> bool:
    """Say whether a text has a line like ``name==version``."""
    return _PINNED.search(text) is not None


def read(text: str) -> tuple[list[Locked], list[str]]:
    """Return what the lines pin, and every fault; folders of the user's own, editable or not, are passed over.

    A line that is not pinned, an option that is not known and a line that asks for another file are faults: they may
    bring in what this file does not say.
    """
    lines, options, faults = _parsed(text)
    source = _only_index(options)
    pins = [one.pin for one in lines if one.pin is not None]
    return [msgspec.structs.replace(one, source=one.source or source) for one in pins], [*map(str, faults)]


def narrowed(text: str, projects: Sequence[str]) -> tuple[str, list[str]]:
    """Return the lines that pin these projects, with their hashes, and those projects that no line pins."""
    wanted, kept, found = {canonicalize_name(one) for one in projects}, [], set()
    for _, line in _logical_lines(text):
        name = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line)
        if name and (project := canonicalize_name(name[0])) in wanted:
            kept.append(line)
            found.add(project)
    return "".join(f"{line}\n" for line in kept), [
        one for one in projects if canonicalize_name(one) not in found
    ]


def _parsed(text: str) -> tuple[list[_Line], list[_Option], list[_Fault]]:
    """Return what the lines ask for, the options that stand alone, and every fault."""
    lines, options, faults = [], list[_Option](), []
    for number, line in _logical_lines(text):
        try:
            if len(line) > limits.LINE:
                raise ValueError(
                    f"{len(line):,} characters with what continues it; {limits.LINE:,} are taken"
                )
            if line.startswith("-"):
                said = _options(line)
                if any(one.name == "--hash" for one in said):
                    raise ValueError(
                        "a hash stands alone: it belongs to a requirement, behind it on its line"
                    )
                options += said
                lines += [_Line(number, one.value, None) for one in said if one.name in _FOLDER]
            else:
                lines.append(_Line(number, *_requirement(line)))
        except ValueError as error:
            faults.append(_Fault(number, str(error).partition("\n")[0]))
    return lines, options, faults


def _only_index(options: Sequence[_Option]) -> str:
    """Return the index that everything comes from; nothing when there may be several."""
    main = [option.value for option in options if option.name in _MAIN_INDEX]
    several = any(option.name == "--extra-index-url" for option in options)
    return bare(main[-1]) if main and not several else ""


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of the first line, text) with continued lines joined, without comments and empty lines.

    As with pip, a comment that ends in a backslash does not continue: it would hide the line behind it.
    """
    parts: list[str] = []
    start = 1
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        start = start if parts else number
        comment = _WHOLE_COMMENT.match(line)
        goes_on = line.endswith("\\") and not comment
        parts.append(line[:-1] if goes_on else f" {line}" if comment else line)
        if not goes_on:
            whole = _COMMENT.sub("", "".join(parts)).strip()
            parts = []
            if whole:
                yield start, whole


def _options(line: str) -> list[_Option]:
    """Return the options of a line with their values; ValueError for one that is not known or wants another file."""
    if any(len(word) > limits.WORD for word in line.split()):
        raise ValueError(f"an option of more than {limits.WORD:,} characters")
    words, found = shlex.split(line), []
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name[:2] in _VALUED and name[2:]:  # like -rmore.txt
            name, equals, value = name[:2], "=", f"{name[2:]}{equals}{value}"
        if name in _VALUED and not equals:
            value = words.pop(0) if words else ""
        if name not in _VALUED | _BARE:
            raise ValueError(f"{name} is no option that retread knows")
        if name in _MORE:
            raise ValueError(f"what {value} asks for is not in this file; one file has to hold all of it")
        found.append(_Option(name, value))
    return found


def _requirement(line: str) -> tuple[str, Locked | None]:
    """Return what a line asks for and what it pins; ValueError for one that pins nothing."""
    asked_for, *rest = re.split(r"\s(?=-)", line, maxsplit=1)
    asked_for = asked_for.rstrip()
    stated = [option.value for option in _options(" ".join(rest)) if option.name == "--hash"]
    if not _DIRECT.match(asked_for) and _PLACE.match(asked_for):
        return asked_for, _file_at(asked_for.partition(" ")[0], stated)
    asked = pypa.requirement(asked_for)
    if asked.url:
        return asked_for, _file_at(asked.url, stated, asked.name)
    pins = [one.version for one in asked.specifier if one.operator in {"==", "==="}]
    if len(pins) != 1 or pins[0].endswith(".*"):
        raise ValueError(f"{asked_for} is not pinned with ==")
    project = str(canonicalize_name(asked.name))
    return asked_for, Locked(
        project=project, version=spelled(pins[0]), sha256s=digests(stated), others=others(stated)
    )


def _file_at(address: str, stated: Sequence[str], project: str = "") -> Locked | None:
    """Return the file at an address or a path; None for a folder that nobody named."""
    file, version = file_name(address), ""
    if file.endswith((".whl", ".tar.gz", ".zip")):
        parsed = pypa.wheel_name(file)[:2] if file.endswith(".whl") else pypa.sdist_name(file)
        project, version = project or parsed[0], str(parsed[1])
    if not project:
        return None
    in_address = re.findall(r"[#&](sha256|sha384|sha512)=([^&]*)", address)
    return Locked(
        project=str(canonicalize_name(project)),
        version=version,
        sha256s=digests([*stated, *(f"{name}:{one}" for name, one in in_address)]),
        others=others([*stated, *(f"{name}:{one}" for name, one in in_address)]),
        files=(file,) if version else (),
        source=bare(address),
    )


def check_lock(lock: bytes, requires: Sequence[str], *, name: str) -> dict[str, str]:
    """Return project -> version of a lock that pins every requirement, each by hash, at a version that it allows.

    RecipeError with every fault of one that does not. Of a project that has several versions the first is returned.
    """
    try:
        lines, _, found = _parsed(decoded(lock))
    except ValueError as error:
        raise _no_lock(name, [str(error)]) from None
    loose = [one for one in lines if one.pin is None or not (one.pin.version and one.pin.sha256s)]
    found += [_Fault(one.number, f"{one.text} is not pinned by version and sha256") for one in loose]
    faults = [*map(str, sorted(found))]
    for text in requires:
        wanted = pypa.requirement(text)
        project = str(canonicalize_name(wanted.name))
        versions = [one.pin.version for one in lines if one.pin is not None and one.pin.project == project]
        if not any(pypa.allows(wanted.specifier, version) for version in versions):
            faults.append(f"{text}: the lock has {', '.join(versions) or 'nothing of it'}")
    if faults:
        raise _no_lock(name, faults)
    pins = [one.pin for one in lines if one.pin is not None]
    return {one.project: one.version for one in reversed(pins)}


def _no_lock(name: str, faults: Sequence[str]) -> RecipeError:
    return RecipeError(
        f"recipes/locks/{name}.txt is not a lock of what the recipe requires",
        faults=first(faults),
        hint="make it anew: retread recipe lock",
    )
