"""The signed list of what is revoked, as it lies in an index, and what a lock file is held against."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import NamedTuple

from msgspec import structs
from packaging.utils import canonicalize_name

from retread.doors import fs
from retread.errors import GateError, PublishError, UsageError
from retread.evidence import keyfiles, signing
from retread.evidence.gate import Policy
from retread.index import layout
from retread.index import revocations as revocation
from retread.index.change import Change
from retread.index.folder import Index
from retread.index.listing import Hosted
from retread.index.revocations import Entry, Revocations
from retread.lockfile import readers
from retread.lockfile.pin import Locked
from retread.lockfile.readers import Installed
from retread.records import Sha256
from retread.units import utc
from retread.wheel import metadata

LIST = "revoked.dsse.json"
"""The file of an index, beside its channels, that holds the list in a DSSE envelope."""
PAYLOAD_TYPE = "application/vnd.retread.revocations+json"


class Wanted(NamedTuple):
    """What is to be revoked: a version of a project, all of it, or one file."""

    project: str
    version: str | None
    sha256: str | None
    reason: str
    advice: str


class Known(NamedTuple):
    """What an index says of its files."""

    revocations: Revocations
    verified: bool
    """Whether a builder of the policy signed the list; True where there is none."""
    files: tuple[Hosted, ...]


def revoke(index: Path, wanted: Wanted, key: Path, *, now: int) -> Path:
    """Add an entry to an index's list and sign it; the serial number grows. Return the list's path.

    PublishError for an index that is none, for what is revoked already, and for a list that is gone or older than the
    history knows; GateError for a list that the key's owner did not sign.
    """
    version = metadata.normal_version(wanted.version) if wanted.version else None
    moment = utc(now)
    entry = Entry(
        project=canonicalize_name(wanted.project),
        version=version,
        sha256=Sha256(wanted.sha256) if wanted.sha256 else None,
        file=None,
        reason=wanted.reason,
        advice=wanted.advice,
        since=moment,
    )
    reason = f"{entry.project} {version or ''}".strip() + f": {entry.reason}"
    return _signed_anew(index, key, now, ("revoke", reason), lambda old: revocation.add(old, entry))


def renew(index: Path, key: Path, *, now: int) -> Path:
    """Sign an index's list again, as it is, with the next serial number and today's date. Return its path.

    Where the list is gone an empty one is begun, which the history tells.
    """
    moment, told = utc(now), ("renew", "")
    if not (index / LIST).is_file():
        told = ("renew", "an empty list, for there was none")
    return _signed_anew(index, key, now, told, lambda old: revocation.renewed(old, moment))


def _signed_anew(
    index: Path, key: Path, now: int, told: tuple[str, str], change: Callable[[Revocations], Revocations]
) -> Path:
    """Put a changed list into an index, by an action that remembers its serial number."""
    place, signer = Index(index), keyfiles.secret(key)
    place.demand()
    with place.writing():
        data, serial = _there(place)
        if data:
            old = _known(_signed(data, [signer]), serial)
        elif serial and told[0] == "revoke":
            raise _gone(serial)
        else:
            old = structs.replace(revocation.begin(utc(now)), serial=max(serial, 1))
        new = revocation.newer(old, change(old))
        action = Change(place, base="", now=now)
        action.file(LIST, signing.sign(revocation.write(new), PAYLOAD_TYPE, signer))
        action.commit(*told, (), serial=new.serial)
    return index / LIST


def current(place: Index, policy: Policy | None, now: int | None) -> Revocations | None:
    """Return the list of an index that is held, or None where there never was one and nobody demands one.

    PublishError for a list that is gone, older than the history knows, or older than the policy allows; GateError for
    one that no builder of the policy signed. Without a policy any signature will do, without ``now`` any age.
    """
    data, serial = _there(place)
    days = policy.list_days if policy and now is not None else None
    if not data and serial:
        raise _gone(serial)
    if not data and days is not None:
        hint = "sign one: 'retread index renew DIR --key KEY'"
        raise PublishError(f"there is no {LIST}, and the policy demands one", hint=hint)
    if not data:
        return None
    found = _known(_signed(data, policy.builders) if policy else _unsigned(data), serial)
    if days is not None and now is not None:
        revocation.demand_fresh(found, days, now)
    return found


def _there(place: Index) -> tuple[bytes, int]:
    """Return the list's bytes, nothing where there is none, and the last serial number that the history knows."""
    serial = max((action.serial for action in place.history()), default=0)
    path = place.root / LIST
    return path.read_bytes() if path.is_file() else b"", serial


def _gone(serial: int) -> PublishError:
    return PublishError(
        f"{LIST} is gone: the history knows one with serial number {serial}",
        hint="put it back from a copy; 'retread index renew DIR --key KEY' begins an empty one",
    )


def _known(found: Revocations, serial: int) -> Revocations:
    if found.serial < serial:
        raise PublishError(
            f"{LIST} has serial number {found.serial} of {found.issued}, and the history knows number {serial}",
            hint="someone put an old list back: find out who, and put the last one back from a copy",
        )
    return found


def of_folder(index: Path, policy: Policy | None, now: int | None = None) -> Known:
    """Return what an index on disk says: its list, held against the policy's builders, and every file that it lists.

    ``now``, in seconds since 1970, is what the policy's age of a list is held against.
    """
    place = Index(index)
    with place.reading():
        files = tuple(
            one
            for channel in place.channels()
            for name in place.names(channel)
            if (project := place.project(channel, name))
            for one in project.files
        )
        found = current(place, policy, now)
    verified = policy is not None or found is None
    return Known(found or revocation.begin("1970-01-01T00:00:00Z"), verified, files)


def hashed(index: Path) -> Callable[[Hosted, str], str]:
    """Return what gives the digest of a file of the index by an algorithm, each read once."""

    @functools.cache
    def digest(file: str, sha256: str, algorithm: str) -> str:
        path = index / layout.place(file, sha256)
        try:
            with path.open("rb") as stream:
                return hashlib.file_digest(stream, algorithm).hexdigest()
        except OSError as error:
            raise PublishError(
                f"{path} cannot be read: {error.strerror}", hint="see 'retread index check'"
            ) from None

    return lambda one, algorithm: digest(one.file, one.sha256, algorithm)


def locked(path: Path) -> tuple[Locked, ...]:
    """Return what a lock file pins, or what the environment in a folder holds."""
    if path.is_dir():
        return readers.from_records(_installed(path))
    if not path.is_file():
        raise UsageError(f"there is no {path}")
    return readers.read(fs.read(path), name=path.name)


def _installed(folder: Path) -> list[Installed]:
    """Return the distributions of an environment: a venv, or a folder of packages."""
    places = [folder, *folder.glob("lib/python3*/site-packages"), *folder.glob("Lib/site-packages")]
    found = distributions(path=[os.fspath(place) for place in places])
    rows = sorted(map(_row, found), key=lambda row: (row.project, row.version))
    if not rows:
        raise UsageError(
            f"nothing is installed in {folder}", hint="name a virtual environment or a site-packages folder"
        )
    return rows


def _row(one: Distribution) -> Installed:
    said: dict[str, str] = {}
    with suppress(
        FileNotFoundError
    ):  # the back port, where it was loaded, raises for what Python leaves empty
        said = {field: one.metadata[field] for field in ("Name", "Version") if field in one.metadata}
    if len(said) < 2:
        raise UsageError(
            f"something in {one.locate_file('')} does not say what it is: its METADATA is missing or damaged",
            hint="'pip check' tells which it is; install it again",
        )
    return Installed(said["Name"], said["Version"], one.read_text("direct_url.json"))


def _signed(envelope: bytes, keys: tuple[signing.Key, ...] | list[signing.Key]) -> Revocations:
    payload, kind, _ = signing.verify(envelope, keys, name=LIST)
    if kind != PAYLOAD_TYPE:
        raise GateError(f"{LIST} holds {kind}, not a list of what is revoked")
    return revocation.parse(payload, name=LIST)


def _unsigned(envelope: bytes) -> Revocations:
    return revocation.parse(signing.payload(envelope, name=LIST), name=LIST)
