"""The list of what must not be used any more, and what of it a lock file or an environment holds. Pure.

A yank is advice: an installer takes a yanked wheel when a lock asks for it, and says nothing. The list is for what has
to go. It is signed by whoever publishes it; who may sign is not decided here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Generic, Protocol, TypeVar

import msgspec
from packaging.utils import InvalidWheelFilename, canonicalize_name, is_normalized_name
from packaging.version import InvalidVersion, Version

from retread import pypa, strict, units
from retread.errors import PublishError, RevokedError
from retread.fields import Digest, Positive, Text
from retread.lockfile.pin import Locked
from retread.records import Record, Sha256

SCHEMA = 1


def _is_moment(text: str) -> bool:
    with suppress(ValueError):  # the 32nd, for one
        return bool(datetime.fromisoformat(text))
    return False


Moment = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z$(?!\n)",
        description="a time in UTC, like 2026-11-22T10:00:00Z",
        extra={"holds": _is_moment},
    ),
]


class Entry(Record, frozen=True, kw_only=True):
    """One file that is revoked, or every file of a version, or of a project."""

    project: Text
    """Normalised."""
    version: str | None
    """Normalised; None for every version."""
    sha256: Digest | None
    """Of the one file that is meant; None for every file of the version."""
    file: str | None
    """The name of that file, for people."""
    reason: Text
    advice: Text
    """What to use instead."""
    since: Moment


class Revocations(Record, frozen=True, kw_only=True):
    """The list. Its serial number grows with every change, so that an old list cannot stand in for a new one."""

    schema: int
    serial: Positive
    issued: Moment
    entries: tuple[Entry, ...]


class Ours(Protocol):
    """What the index says of a file of its own; ``listing.Hosted`` is one, ``Listed`` another."""

    @property
    def project(self) -> str:
        """Normalised."""

    @property
    def version(self) -> str:
        """With its local part."""

    @property
    def sha256(self) -> Sha256:
        """Of the file."""

    @property
    def yanked(self) -> str | None:
        """The reason for which it was yanked; None while it is not."""


class Listed(Record, frozen=True, kw_only=True):
    """A file of the index, as any of its pages tells it."""

    project: str
    version: str
    sha256: Sha256
    yanked: str | None
    """The reason for which it was yanked; None while it is not."""


class Kind(StrEnum):
    """What may be wrong with something that is locked."""

    REVOKED = "revoked"
    YANKED = "yanked"
    UNKNOWN_BYTES = "unknown-bytes"
    """It has the name and version of a file of ours, and other bytes."""


class Finding(Record, frozen=True, kw_only=True):
    """Something locked that should not, or must not, be used."""

    kind: Kind
    project: str
    version: str
    """As it is locked; empty when the lock does not say it."""
    sha256s: tuple[Sha256, ...]
    """Those that are meant; empty when the lock names none, so that name and version decided."""
    source: str
    """Where the lock has it from, if it says so."""
    why: str
    advice: str


# The list.


def begin(issued: str) -> Revocations:
    """Return a list that revokes nothing yet."""
    return Revocations(schema=SCHEMA, serial=1, issued=issued, entries=())


def parse(payload: bytes, *, name: str) -> Revocations:
    """Return the list in ``payload``; PublishError for one that is damaged, or is newer than retread."""
    try:
        table = strict.document(payload, SCHEMA)
    except strict.NewerError as error:
        raise PublishError(f"{name} has {error}", hint="read it with a newer retread") from None
    except ValueError as error:
        raise PublishError(f"{name} is not a revocation list: {error}") from None
    found, faults = strict.read(Revocations, table)
    entries = found.entries if found else ()
    faults += [f"entries[{index}].{fault}" for index, one in enumerate(entries) for fault in _faults(one)]
    faults = faults or [f"{_of(one)} is revoked twice" for one in _doubles(map(_normalised, entries))]
    if found is None or faults:
        raise PublishError(f"{name} is not a revocation list of schema {SCHEMA}", faults=faults)
    return _canonical(found)


def add(revocations: Revocations, entry: Entry) -> Revocations:
    """Return the list with one more entry and the next serial number, issued when the entry was made (its ``since``).

    PublishError when the entry contradicts itself, or the list has one for the same file, version or project.
    """
    table = msgspec.to_builtins(entry)
    found, faults = strict.read(Entry, table)
    faults += _faults(entry) if found else []
    if faults:
        raise PublishError(f"{entry.project} cannot be revoked like this", faults=faults)
    entry = _normalised(entry)
    for old in revocations.entries:
        if _identity(old) == _identity(entry):
            raise PublishError(f"{_of(old)} is revoked already, since {old.since}: {old.reason}")
    return _canonical(
        msgspec.structs.replace(
            revocations,
            serial=revocations.serial + 1,
            issued=entry.since,
            entries=(*revocations.entries, entry),
        )
    )


def renewed(revocations: Revocations, issued: str) -> Revocations:
    """Return the same list with the next serial number, issued now."""
    return msgspec.structs.replace(revocations, serial=revocations.serial + 1, issued=issued)


def demand_fresh(revocations: Revocations, days: int, now: int) -> None:
    """Raise PublishError for a list that was issued more than ``days`` before ``now``, in seconds since 1970."""
    age = now - datetime.fromisoformat(revocations.issued).timestamp()
    if age < -units.DAY:
        raise PublishError(
            f"the revocation list was issued at {revocations.issued}, after today",
            hint="set this machine's clock; if it is right, the signer's was not: 'retread index renew DIR --key KEY'",
        )
    if age > days * units.DAY:
        raise PublishError(
            f"the revocation list was issued at {revocations.issued}, {int(age // units.DAY)} days ago; "
            f"the policy allows {days}",
            hint="sign it again: 'retread index renew DIR --key KEY'",
        )


def write(revocations: Revocations) -> bytes:
    """Return the list as a file holds it: the same bytes for the same list, however it came about."""
    return msgspec.json.format(msgspec.json.encode(_canonical(revocations))) + b"\n"


def newer(old: Revocations | None, new: Revocations) -> Revocations:
    """Return ``new``; PublishError when it is older than ``old``, the list seen last, or another one of its number."""
    if old is None or new.serial > old.serial or write(old) == write(new):
        return new
    what = (
        "older than the list seen last"
        if new.serial < old.serial
        else "not the list of this number seen last"
    )
    raise PublishError(
        f"the revocation list, serial number {new.serial} of {new.issued}, is {what}, "
        f"serial number {old.serial} of {old.issued}",
        hint="someone, or a cache, serves an old or a forged list: find out who before you trust the index",
    )


def _canonical(revocations: Revocations) -> Revocations:
    entries = sorted(map(_normalised, revocations.entries), key=lambda one: [*map(str, _identity(one))])
    return msgspec.structs.replace(revocations, entries=tuple(entries))


def _normalised(entry: Entry) -> Entry:
    version = None if entry.version is None else str(pypa.version(entry.version))
    return msgspec.structs.replace(entry, project=str(canonicalize_name(entry.project)), version=version)


def _identity(entry: Entry) -> tuple[str, str | None, str | None]:
    return entry.project, entry.version, entry.sha256


def _doubles(entries: Iterable[Entry]) -> list[Entry]:
    times = Counter(map(_identity, entries := tuple(entries)))
    return [one for one in entries if times[_identity(one)] > 1]


def _of(entry: Entry) -> str:
    digest = f" (sha256 {entry.sha256})" if entry.sha256 else ""
    return f"{_shown(entry.project, entry.version)}{digest}"


def _faults(entry: Entry) -> list[str]:
    """Return what is wrong with an entry whose fields are right one by one."""
    project = canonicalize_name(entry.project)
    if not is_normalized_name(project):
        return [f"project: {entry.project!r} is not a name"]
    try:
        version = None if entry.version is None else pypa.version(entry.version)
    except InvalidVersion:
        return [f"version: {entry.version!r} is not a version"]
    if entry.sha256 is None:
        return [] if entry.file is None else ["file: names a file, but sha256 does not say which bytes"]
    if version is None:
        return ["version: a file that is revoked by sha256 has one"]
    return [] if entry.file is None else _faults_of_name(entry.file, project, version)


def _faults_of_name(file: str, project: str, version: Version) -> list[str]:
    try:
        named = pypa.wheel_name(file)[:2]
    except InvalidWheelFilename:
        return [f"file: {file!r} is not the name of a wheel"]
    return [] if named == (project, version) else [f"file: {file} is not of {_shown(project, str(version))}"]


# The check.


class _Item(Protocol):
    @property
    def project(self) -> str: ...
    @property
    def version(self) -> str | None: ...
    @property
    def sha256(self) -> Sha256 | None: ...


T = TypeVar("T", bound=_Item)
_Name = tuple[str, Version | str | None]


class _Index(Generic[T]):
    """Files, found by digest, or by name and version as PEP 440 compares versions: the local part counts."""

    def __init__(self, items: Iterable[T]) -> None:
        self._by_digest: defaultdict[str, list[T]] = defaultdict(list)
        self._by_name: defaultdict[_Name, list[T]] = defaultdict(list)
        for item in items:
            self._by_name[_name(item.project, item.version)].append(item)
            if item.sha256 is not None:
                self._by_digest[item.sha256].append(item)

    def named(self, one: Locked) -> list[T]:
        """Return what has the project and the version of ``one``."""
        return [
            *self._by_name.get(_name(one.project, one.version), ()),
            *self._by_name.get((one.project, None), ()),
        ]

    def matching(self, one: Locked) -> list[tuple[T, tuple[Sha256, ...]]]:
        """Return (item, digests that are meant): what has a digest of ``one``, otherwise what has its name.

        Where both state digests, names do not count: another file of the same version is another file. A file without
        a digest may be any file of its name, whatever digests other files of the lock have, as its source archive.
        """
        hits = [(item, (digest,)) for digest in one.sha256s for item in self._by_digest.get(digest, ())]
        loose = bool(one.bare) or not (one.sha256s or one.others)
        if hits and not loose:
            return [*hits]
        known = {id(item) for item, _ in hits}
        named = [item for item in self.named(one) if id(item) not in known]
        by_name = [(item, () if loose else one.sha256s) for item in named if item.sha256 is None or loose]
        return [*hits, *by_name]


def compared(
    locked: Sequence[Locked], ours: Iterable[T], hashed: Callable[[T, str], str]
) -> tuple[tuple[Locked, ...], tuple[str, ...]]:
    """Return what is locked with the SHA-256 of files that its other digests mean, and what could not be compared.

    ``hashed`` gives the digest of a file of the index by an algorithm. Told as not compared is what the index has by
    name and version, and of which the lock states no digest that proves a file.
    """
    known, found, unchecked = _Index(ours), [], []
    for one in locked:
        named, meant, strange = known.named(one), dict.fromkeys(one.sha256s), dict.fromkeys(one.others)
        for stated in one.others:
            algorithm, _, digits = stated.partition(":")
            same = [item.sha256 for item in named if item.sha256 and hashed(item, algorithm) == digits]
            if same:
                meant.update(dict.fromkeys(same))
                del strange[stated]
        found.append(msgspec.structs.replace(one, sha256s=tuple(meant), others=tuple(strange)))
        if named and (one.bare or not (one.sha256s or one.others)):
            files = f" ({', '.join(filter(None, one.bare))})" if any(one.bare) else ""
            unchecked.append(f"{_shown(one.project, one.version)}{files}: the lock states no digest of it")
    return tuple(found), tuple(unchecked)


def check(locked: Sequence[Locked], revocations: Revocations, ours: Iterable[Ours]) -> tuple[Finding, ...]:
    """Return what is wrong with what is locked, in its order, after it was ``compared``.

    ``ours`` are files of the index, as many as are known, yanked or not: the yanked ones are told, and those of the
    same name and version show whether the bytes that are locked are ours. What is revoked is not told as yanked, too.
    """
    listed = tuple(ours)
    revoked, known = _Index(revocations.entries), _Index(listed)
    yanked = _Index(one for one in listed if one.yanked is not None)
    bad = {entry.sha256 for entry in revocations.entries}
    found: list[Finding] = []
    for one in locked:
        told = _told(one, Kind.REVOKED, revoked.matching(one), lambda entry: (entry.reason, entry.advice))
        told = told or _told(one, Kind.YANKED, yanked.matching(one), _advice)
        found += [*told, *_strangers(one, known.named(one), bad)]
    return tuple(found)


def _told(
    one: Locked,
    kind: Kind,
    matches: Iterable[tuple[T, tuple[Sha256, ...]]],
    words: Callable[[T], tuple[str, str]],
) -> list[Finding]:
    """Return one finding for all files that are told in the same words."""
    grouped: dict[tuple[str, str], dict[Sha256, None]] = {}
    for item, digests in matches:
        grouped.setdefault(words(item), {}).update(dict.fromkeys(digests))
    return [_finding(one, kind, tuple(digests), *said) for said, digests in grouped.items()]


def _advice(listed: Ours) -> tuple[str, str]:
    return listed.yanked or "no reason was given", "lock again: a range passes a yanked version over"


def _strangers(one: Locked, named: Sequence[Ours], bad: set[Sha256 | None]) -> list[Finding]:
    known = {listed.sha256 for listed in named} | bad
    strange = tuple(digest for digest in one.sha256s if digest not in known)
    if not named or not (strange or one.others):
        return []
    why = "the index has a file of this name and version, with other bytes"
    why += f" than {', '.join(one.others)}" if one.others else ""
    advice = (
        "do not install it; find out where it comes from, and lock again with the index as the only source"
    )
    return [_finding(one, Kind.UNKNOWN_BYTES, strange, why, advice)]


def _finding(one: Locked, kind: Kind, digests: tuple[Sha256, ...], why: str, advice: str) -> Finding:
    return Finding(
        kind=kind, project=one.project, version=one.version, sha256s=digests, source=one.source,
        why=why, advice=advice,
    )  # fmt: skip


def _name(project: str, version: str | None) -> _Name:
    if version is None:
        return project, None
    try:
        return project, pypa.version(version)
    except InvalidVersion:
        return project, version


# The verdict.


def demand(findings: Sequence[Finding], *, strict: bool = False, unchecked: Sequence[str] = ()) -> None:
    """Raise RevokedError with every finding when one of them is an error.

    A yank, and what is ``unchecked``, is one only when ``strict``.
    """
    errors = [one for one in findings if strict or one.kind is not Kind.YANKED]
    if strict and unchecked:
        raise RevokedError(
            f"{len(unchecked)} of what is locked could not be compared with the index",
            faults=[*map(tell, findings), *unchecked],
            hint="lock with sha256 digests: uv lock, or uv pip compile --generate-hashes",
        )
    if errors:
        raise RevokedError(
            f"{len(errors)} of what is locked must not be used",
            faults=[tell(one) for one in findings],
            hint="replace each as it says, and lock again",
        )


def tell(finding: Finding) -> str:
    """Return a finding as one line for people."""
    by = (
        ", ".join(f"sha256 {digest}" for digest in finding.sha256s)
        or "by name and version, no sha256 is stated"
    )
    source = f", from {finding.source}" if finding.source else ""
    what = _shown(finding.project, finding.version)
    return f"{finding.kind}: {what} ({by}{source}): {finding.why}; {finding.advice}"


def _shown(project: str, version: str | None) -> str:
    return f"every version of {project}" if version is None else f"{project} {version}".strip()
