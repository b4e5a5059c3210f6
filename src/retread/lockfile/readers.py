"""What lock files and environments hold, as one kind of record, whichever tool wrote them. Pure.

A file that is read wrongly would pass an audit that it should fail, so whatever is not understood is refused.

Sources: PyPA specifications "pylock.toml" and "Direct URL data structure"; the files that uv, poetry and pipenv write,
of which tests/data/locks has samples.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, NoReturn

import msgspec
from packaging.pylock import Pylock, PylockValidationError
from packaging.utils import canonicalize_name

from retread import limits, pypa, strict
from retread.address import bare
from retread.errors import UsageError, first
from retread.lockfile import requirements
from retread.lockfile.pin import Locked, decoded, digests, file_name, others, spelled


class Installed(NamedTuple):
    """One distribution of an environment, as importlib.metadata tells it."""

    project: str
    version: str
    direct_url: str | None = None
    """The text of its direct_url.json, if it has one."""


class Kind(StrEnum):
    """The lock files that are read."""

    UV = "uv.lock"
    PYLOCK = "pylock.toml"
    POETRY = "poetry.lock"
    PIPFILE = "Pipfile.lock"
    REQUIREMENTS = "requirements.txt"


_PYLOCK = re.compile(r"pylock\.([^.]+\.)?toml")
_ENTRY = re.compile(r"packages\[(\d+)\]")
_FOLDERS = {"editable", "virtual", "directory"}
"""What lies in a folder is the user's own, not a file of an index."""


def read(data: bytes, *, name: str) -> tuple[Locked, ...]:
    """Return what a lock file holds, in its order, without what lies in folders of the user's own.

    ``name`` is the file's; it and the content say which kind it is. UsageError for a file of no kind that is known, and
    for one that is damaged, does not pin what it asks for, or is of a format newer than retread.
    """
    text = _text(data, name)
    kind = _kind(name.replace("\\", "/").rpartition("/")[2], text)
    if kind is None:
        raise UsageError(f"{name} is no lock file that retread knows", hint=f"it reads {', '.join(Kind)}")
    if kind is Kind.REQUIREMENTS:
        found, faults = requirements.read(text)
        if faults:
            _refuse(name, kind, faults)
        return tuple(found)
    if kind is Kind.PIPFILE:
        return _pipfile(text, name)
    return _READERS[kind](_toml(text, kind, name), text, name)


def from_records(rows: Iterable[Installed]) -> tuple[Locked, ...]:
    """Return what an environment holds, without what is installed from folders of the user's own.

    Only what pip installed from its own address has a digest there; all others have name and version alone.
    """
    return tuple(found for row in rows if (found := _installed(row)) is not None)


class _Origin(msgspec.Struct):
    url: str
    dir_info: dict[str, Any] | None = None
    archive_info: dict[str, Any] | None = None


def _installed(row: Installed) -> Locked | None:
    project = str(canonicalize_name(row.project))
    if row.direct_url is None:
        return Locked(project=project, version=spelled(row.version))
    try:
        origin = strict.decoded(row.direct_url, _Origin)
        if origin.dir_info is not None:
            return None
        archive = origin.archive_info or {}
        hashes = archive.get("hashes") or {}
        old = str(archive.get("hash", "")).replace("=", ":", 1)
        stated = [old, *(f"{name}:{value}" for name, value in hashes.items())]
        sha256s, more = digests(stated), others(stated)
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{project}: its direct_url.json is damaged: {error}") from None
    return Locked(
        project=project,
        version=spelled(row.version),
        sha256s=sha256s,
        others=more,
        files=(file_name(origin.url),) if origin.archive_info is not None else (),
        source=bare(origin.url),
    )


# What kind it is.


def _kind(name: str, text: str) -> Kind | None:
    for kind in (Kind.UV, Kind.POETRY, Kind.PIPFILE):
        if name == kind:
            return kind
    if _PYLOCK.fullmatch(name):
        return Kind.PYLOCK
    return Kind.REQUIREMENTS if name.endswith(".txt") else _kind_by_content(text)


def _kind_by_content(text: str) -> Kind | None:
    try:
        table = strict.table(text)
    except ValueError:
        if requirements.pins_something(text):
            return Kind.REQUIREMENTS
        return Kind.PIPFILE if '"pipfile-spec"' in text else None
    metadata = table.get("metadata")
    if isinstance(metadata, Mapping) and "lock-version" in metadata:
        return Kind.POETRY
    if "lock-version" in table and "packages" in table:
        return Kind.PYLOCK
    return Kind.UV if {"version", "requires-python", "package"} <= set(table) else None


def _text(data: bytes, name: str) -> str:
    try:
        if len(data) > limits.LOCK:
            raise ValueError(f"{len(data):,} bytes; {limits.LOCK:,} are taken")
        return decoded(data)
    except ValueError as error:
        hint = f"retread reads {', '.join(Kind)}, as their tools write them"
        raise UsageError(f"{name}, {error}", hint=hint) from None


# TOML: uv.lock, pylock.toml, poetry.lock.


class _File(msgspec.Struct):
    """A wheel or a source archive, in the words of all three."""

    name: str = ""
    file: str = ""
    filename: str = ""
    path: str = ""
    url: str = ""
    hash: str = ""
    hashes: dict[str, str] = {}

    def named(self) -> str:
        return self.name or self.file or self.filename or file_name(self.path or self.url)

    def stated(self) -> list[str]:
        return [self.hash, *(f"{name}:{value}" for name, value in self.hashes.items())]


class _Package(msgspec.Struct):
    name: str
    version: str = ""
    source: dict[str, Any] = {}
    index: str = ""
    wheels: tuple[_File, ...] = ()
    files: tuple[_File, ...] = ()
    sdist: _File | None = None
    archive: _File | None = None
    directory: dict[str, Any] | None = None
    vcs: dict[str, Any] | None = None


def _toml(text: str, kind: Kind, name: str) -> dict[str, Any]:
    try:
        return strict.table(text)
    except ValueError as error:
        _refuse(name, kind, [str(error)])


def _uv(table: dict[str, Any], text: str, name: str) -> tuple[Locked, ...]:
    if table.get("version") != 1:
        _refuse(name, Kind.UV, [f"version: expected 1, got {table.get('version')!r}"])
    return _packages(table, "package", Kind.UV, text, name)


def _pylock(table: dict[str, Any], text: str, name: str) -> tuple[Locked, ...]:
    if not str(table.get("lock-version")).startswith("1."):
        _refuse(name, Kind.PYLOCK, [f"lock-version: expected 1.0, got {table.get('lock-version')!r}"])
    found = _packages(table, "packages", Kind.PYLOCK, text, name)
    try:
        Pylock.from_dict(table)
    except PylockValidationError as error:
        entry = _ENTRY.match(error.context or "")
        lines = _lines(text, "[[packages]]")[int(entry[1]) :][:1] if entry else []
        _refuse(name, Kind.PYLOCK, [f"{''.join(lines)}{error}"])
    return found


def _poetry(table: dict[str, Any], text: str, name: str) -> tuple[Locked, ...]:
    metadata = table.get("metadata")
    stated = metadata.get("lock-version") if isinstance(metadata, Mapping) else None
    if not str(stated).startswith("2."):
        _refuse(name, Kind.POETRY, [f"metadata.lock-version: expected 2, got {stated!r}"])
    return _packages(table, "package", Kind.POETRY, text, name)


_READERS: Mapping[Kind, Callable[[dict[str, Any], str, str], tuple[Locked, ...]]] = {
    Kind.UV: _uv,
    Kind.PYLOCK: _pylock,
    Kind.POETRY: _poetry,
}


def _packages(table: dict[str, Any], key: str, kind: Kind, text: str, name: str) -> tuple[Locked, ...]:
    faults, found = [], []
    rows = table.get(key, [])
    if not isinstance(rows, list):
        _refuse(name, kind, [f"{key}: expected an array of tables"])
    lines = _lines(text, f"[[{key}]]")
    for index, row in enumerate(rows):
        try:
            found.append(_locked(msgspec.convert(row, _Package)))
        except ValueError as error:
            where = f"{key}[{index}] ({row.get('name')})" if isinstance(row, Mapping) else f"{key}[{index}]"
            faults.append(f"{''.join(lines[index : index + 1])}{where}: {_first_line(error)}")
    if faults:
        _refuse(name, kind, faults)
    return tuple(one for one in found if one is not None)


def _locked(package: _Package) -> Locked | None:
    if package.directory is not None or _FOLDERS & {*package.source, str(package.source.get("type"))}:
        return None
    direct = package.archive or package.vcs or any(package.source.get(key) for key in ("git", "url", "path"))
    if not package.version and not direct:
        raise ValueError("version: missing")
    files = [*package.wheels, *package.files, *filter(None, (package.sdist, package.archive))]
    stated = [one for file in files for one in file.stated()]
    return Locked(
        project=str(canonicalize_name(package.name, validate=True)),
        version=str(pypa.version(package.version)) if package.version else "",
        sha256s=digests(stated),
        others=others(stated),
        bare=tuple(file.named() for file in files if not (digests(file.stated()) or others(file.stated()))),
        files=tuple(filter(None, (file.named() for file in files))),
        source=bare(_address(package)),
    )


def _address(package: _Package) -> str:
    of_archive = package.archive.url or package.archive.path if package.archive else ""
    said = [package.source.get(key) for key in ("registry", "url", "git", "path")]
    said += [package.index, of_archive, (package.vcs or {}).get("url")]
    return next((address for address in said if isinstance(address, str) and address), "")


def _lines(text: str, header: str) -> list[str]:
    """Return ``line 12: `` of every table with this header; none of these for a file that is laid out otherwise."""
    return [
        f"line {number}: " for number, line in enumerate(text.split("\n"), start=1) if line.strip() == header
    ]


# JSON: Pipfile.lock.


def _pipfile(text: str, name: str) -> tuple[Locked, ...]:
    try:
        table = strict.json(text)
        sources = {one["name"]: one["url"] for one in table.pop("_meta")["sources"]}
        rows = [_as_package(name, row, sources) for group in table.values() for name, row in group.items()]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        _refuse(name, Kind.PIPFILE, [f"{type(error).__name__}: {error}"])
    return _packages({"package": rows}, "package", Kind.PIPFILE, text, name)


def _as_package(project: str, row: Mapping[str, Any], sources: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": project,
        "version": row.get("version", "").removeprefix("=="),
        "files": [{"hash": one} for one in row.get("hashes", [])],
        "index": sources.get(row.get("index", ""), ""),
        "source": {
            "git": row.get("git"),
            "url": row.get("file"),
            "type": "directory" if "path" in row else "",
        },
    }


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _refuse(name: str, kind: Kind, faults: Sequence[str]) -> NoReturn:
    hint = (
        f"lock it with hashes: uv pip compile --generate-hashes; retread reads {', '.join(Kind)}"
        if kind is Kind.REQUIREMENTS
        else "make it anew with the tool that wrote it"
    )
    raise UsageError(f"{name} cannot be read as {kind}", faults=first(faults), hint=hint)
