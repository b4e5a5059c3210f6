"""The signed list of what is revoked, as it lies in an index, and what a lock file is held against."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import NamedTuple

from packaging.utils import canonicalize_name

from retread.doors import durable
from retread.errors import GateError, PublishError, UsageError
from retread.evidence import keyfiles, signing
from retread.evidence.gate import Policy
from retread.index import layout
from retread.index import revocations as revocation
from retread.index.folder import Index
from retread.index.listing import Hosted
from retread.index.revocations import Entry, Revocations
from retread.lockfile import readers
from retread.lockfile.pin import Locked
from retread.lockfile.readers import Installed
from retread.records import Sha256
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

    PublishError for an index that is none, or for what is revoked already; GateError for a list that the key's owner
    did not sign.
    """
    place, signer = Index(index), keyfiles.load(key)
    if not place.exists:
        raise PublishError(f"there is no index in {index}", hint="publish into it first")
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    version = metadata.normal_version(wanted.version) if wanted.version else None
    entry = Entry(
        project=canonicalize_name(wanted.project),
        version=version,
        sha256=Sha256(wanted.sha256) if wanted.sha256 else None,
        file=None,
        reason=wanted.reason,
        advice=wanted.advice,
        since=moment,
    )
    path = index / LIST
    with place.writing():
        old = _signed(path.read_bytes(), [signer]) if path.is_file() else revocation.begin(moment)
        new = revocation.newer(old, revocation.add(old, entry))
        with durable.disk_errors(path):
            durable.replace(path, signing.sign(revocation.write(new), PAYLOAD_TYPE, signer))
    return path


def of_folder(index: Path, policy: Policy | None) -> Known:
    """Return what an index on disk says: its list, held against the policy's builders, and every file that it lists."""
    place = Index(index)
    if not place.exists:
        raise PublishError(
            f"there is no index in {index}", hint="name the folder that 'retread publish' wrote"
        )
    path, verified = index / LIST, True
    with place.reading():
        found = [
            one
            for channel in place.channels()
            for name in place.names(channel)
            if (project := place.project(channel, name))
            for one in project.files
        ]
    if not path.is_file():
        revocations = revocation.begin("1970-01-01T00:00:00Z")
    elif policy is None:
        revocations, verified = _unsigned(path.read_bytes()), False
    else:
        revocations = _signed(path.read_bytes(), policy.builders)
    return Known(revocations, verified, tuple(found))


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
    return readers.read(path.read_bytes(), name=path.name)


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
    said = one.metadata
    if "Name" not in said or "Version" not in said:
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
    import base64

    try:
        payload = base64.b64decode(json.loads(envelope)["payload"])
    except (ValueError, KeyError, TypeError) as error:
        raise GateError(f"{LIST} is no DSSE envelope: {error}") from None
    return revocation.parse(payload, name=LIST)
