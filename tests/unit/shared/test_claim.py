"""A claim says of one entry what it is, and counts by who signed it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from retread import limits
from retread.doors.store import Kind
from retread.errors import GateError
from retread.evidence import keyfiles, signing
from retread.records import Sha256
from retread.shared import claim
from retread.shared.claim import Claim, Place

PARCEL = Sha256("ab" * 32)
KEY = "cd" * 32
AT = Place(Kind.CUBINS, KEY, PARCEL)


def made(**changes: object) -> Claim:
    one = Claim(schema=1, kind=Kind.CUBINS, key=KEY, parcel=PARCEL, size=5, retread="1", made=0)
    return msgspec.structs.replace(one, **changes)


def test_a_name_says_which_entry_is_claimed() -> None:
    name = claim.name(*AT)
    assert claim.place(name) == AT
    for other in (
        "entries/cubins/x.json",
        "entries/nothing/ab/" + 64 * "a" + ".json",
        "parcels/" + PARCEL,
        name + "x",
    ):
        assert claim.place(other) is None


def test_what_a_trusted_builder_signed_is_read(tmp_path: Path) -> None:
    key = keyfiles.new(tmp_path, "ci")
    assert claim.read(claim.write(made(), key), AT, [key], name="x") == (made(), "ci")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"key": "ee" * 32}, "claims cubins/" + "ee" * 32 + ", which is another entry"),
        ({"kind": Kind.LIBRARIES}, "which is another entry"),
        ({"parcel": Sha256("00" * 32)}, "which is another entry"),
        ({"schema": 2}, "schema 2; this retread reads 1"),
        ({"size": limits.PARCEL + 1}, "are taken at most"),
        ({"size": -1}, "a parcel of -1 bytes"),
    ],
)
def test_a_claim_of_something_else_is_refused(tmp_path: Path, changes: dict[str, object], told: str) -> None:
    key = keyfiles.new(tmp_path, "ci")
    with pytest.raises(GateError, match=told):
        claim.read(claim.write(made(**changes), key), AT, [key], name="x")


def test_who_is_not_trusted_claims_nothing(tmp_path: Path) -> None:
    mine, theirs = keyfiles.new(tmp_path, "mine"), keyfiles.new(tmp_path, "theirs")
    with pytest.raises(GateError, match="signed by no key that is known here"):
        claim.read(claim.write(made(), theirs), AT, [mine], name="x")
    with pytest.raises(GateError, match="signed by no key that is known here"):
        claim.read(claim.write(made(), theirs), AT, [], name="x")


def test_another_kind_of_statement_is_no_claim(tmp_path: Path) -> None:
    key = keyfiles.new(tmp_path, "ci")
    envelope = signing.sign(msgspec.json.encode(made()), "application/vnd.in-toto+json", key)
    with pytest.raises(GateError, match="what ci signed there is no claim of a store"):
        claim.read(envelope, AT, [key], name="x")


def test_what_its_own_key_proves_needs_no_signature_that_is_known(tmp_path: Path) -> None:
    theirs = keyfiles.new(tmp_path, "theirs")
    at = AT._replace(kind=Kind.DOWNLOADS)
    assert claim.read(claim.write(made(kind=Kind.DOWNLOADS), theirs), at, [], name="x")[1] == ""
