"""What stands in a shared store, and who says so: a signed claim names an entry and the parcel that holds it.

    entries/<kind>/<key>/<sha256 of the parcel>.json    a DSSE envelope of a claim
    parcels/<sha256>                                     the entry's files, packed

Two machines that make one entry at once leave two claims, each with its own parcel, and each is whole. So an entry that
is not believed hides no other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from retread import limits, strict
from retread.doors.store import Kind
from retread.errors import GateError
from retread.evidence import signing
from retread.evidence.signing import Key
from retread.records import Record, Sha256

ENTRIES: Final = "entries"
PARCELS: Final = "parcels"
TYPE: Final = "application/vnd.retread.store+json"
SCHEMA: Final = 1
SELF_EVIDENT: Final = frozenset({Kind.DOWNLOADS})
"""Kinds whose key is the SHA-256 of what they hold, so that it does not matter who brought it."""
_NAME: Final = re.compile(rf"{ENTRIES}/([a-z]+)/([0-9a-z]+)/([0-9a-f]{{64}})\.json")


class Claim(Record, frozen=True, kw_only=True):
    """That these bytes are an entry of the store."""

    schema: int
    kind: Kind
    key: str
    parcel: Sha256
    size: int
    """Bytes of the parcel."""
    retread: str
    """The version that made it."""
    made: int
    """When, in seconds since 1970 by the clock of whoever made it; nothing is decided by it."""


class Place(NamedTuple):
    """What the name of an object says of the claim in it."""

    kind: Kind
    key: str
    parcel: Sha256


def folder(kind: Kind, key: str) -> str:
    """Return where the claims of an entry lie."""
    return f"{ENTRIES}/{kind}/{key}"


def name(kind: Kind, key: str, parcel: Sha256) -> str:
    """Return where a claim lies."""
    return f"{folder(kind, key)}/{parcel}.json"


def parcel_name(parcel: Sha256) -> str:
    """Return where a parcel lies."""
    return f"{PARCELS}/{parcel}"


def place(name: str) -> Place | None:
    """Return what the name of an object says; None for the name of no claim."""
    found = _NAME.fullmatch(name)
    if not found or found[1] not in {*Kind}:
        return None
    return Place(Kind(found[1]), found[2], Sha256(found[3]))


def write(claim: Claim, key: Key) -> bytes:
    """Return the envelope of a claim, signed with ``key``."""
    return signing.sign(msgspec.json.encode(claim, order="deterministic"), TYPE, key)


def read(envelope: bytes, at: Place, trusted: Sequence[Key], *, name: str) -> tuple[Claim, str]:
    """Return the claim in an envelope that lies at a place, and the name of the key that signed it.

    Where what is claimed is self-evident, nobody needs to have signed it. GateError when it is signed by nobody who is
    trusted, is no claim, or is one of another entry.
    """
    signer = ""
    if at.kind in SELF_EVIDENT:
        payload = signing.payload(envelope, name=name)
    else:
        payload, kind, ids = signing.verify(envelope, trusted, name=name)
        signer = next(key.name for key in trusted if key.id == ids[0])
        if kind != TYPE:
            raise GateError(f"{name}: what {signer} signed there is no claim of a store, but {kind!r}")
    try:
        claim = strict.decoded(payload, Claim)
    except ValueError as error:
        raise GateError(f"{name} is no claim: {error}") from None
    if claim.schema != SCHEMA:
        raise GateError(f"{name}: schema {claim.schema}; this retread reads {SCHEMA}")
    if Place(claim.kind, claim.key, claim.parcel) != at:
        raise GateError(f"{name} claims {claim.kind}/{claim.key}, which is another entry")
    if not 0 <= claim.size <= limits.PARCEL:
        raise GateError(f"{name}: a parcel of {claim.size:,} bytes; {limits.PARCEL:,} are taken at most")
    return claim, signer
