"""Keys and envelopes: what is signed cannot be altered, and a key file says what is wrong with it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from retread.errors import GateError, UsageError
from retread.evidence import keyfiles, signing
from retread.evidence.signing import Key

TYPE = "application/vnd.in-toto+json"
PAYLOAD = b'{"what": "a statement, \xc3\xa9"}'


def make(name: str) -> Key:
    """Return a key pair that no file holds."""
    pair = ed25519.Ed25519PrivateKey.generate()
    public = pair.public_key().public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    secret = pair.private_bytes(form.Encoding.DER, form.PrivateFormat.PKCS8, form.NoEncryption())
    return signing.known(name, public)._replace(secret=secret)


ANNA, BERT, CARLA = map(make, ("anna", "bert", "carla"))
ENVELOPE = signing.sign(PAYLOAD, TYPE, ANNA)


def altered(change: Callable[[dict[str, Any]], object], envelope: bytes = ENVELOPE) -> bytes:
    table = json.loads(envelope)
    change(table)
    return json.dumps(table).encode()


def both(*envelopes: bytes) -> bytes:
    """Return one envelope with the signatures of several of the same payload."""
    tables = [json.loads(one) for one in envelopes]
    return json.dumps({**tables[0], "signatures": [one["signatures"][0] for one in tables]}).encode()


def test_what_was_signed_is_read_back_with_its_signer() -> None:
    assert signing.verify(ENVELOPE, [BERT, ANNA], name="e") == (PAYLOAD, TYPE, (ANNA.id,))


def test_the_encoding_is_that_of_the_specification() -> None:
    assert signing.encoded(b"hello world", "http://example.com/HelloWorld") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def flipped(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def is_refused(envelope: bytes, keys: Sequence[Key]) -> bool:
    try:
        signing.verify(envelope, keys, name="e")
    except GateError:
        return True
    return False


def test_every_single_flipped_bit_is_refused() -> None:
    assert not is_refused(ENVELOPE, [ANNA, BERT])
    bits = range(8 * len(ENVELOPE))
    assert [bit for bit in bits if not is_refused(flipped(ENVELOPE, bit), [ANNA, BERT])] == []


@settings(max_examples=33, deadline=None)
@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_flipped_bit_is_refused_in_any_envelope(payload: bytes, data: st.DataObject) -> None:
    envelope = signing.sign(payload, TYPE, ANNA)
    bit = data.draw(st.integers(0, 8 * len(envelope) - 1))
    assert is_refused(flipped(envelope, bit), [ANNA, BERT])


@settings(max_examples=66, deadline=None)
@given(st.binary(max_size=200))
def test_rubbish_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(GateError, match="no DSSE envelope"):
        signing.verify(data, [ANNA], name="e")


@settings(max_examples=33, deadline=None)
@given(st.binary(max_size=300), st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_payload_and_type_come_back(payload: bytes, kind: str) -> None:
    assert signing.verify(signing.sign(payload, kind, BERT), [BERT], name="e") == (payload, kind, (BERT.id,))


def test_every_key_that_signed_is_told() -> None:
    envelope = both(ENVELOPE, signing.sign(PAYLOAD, TYPE, BERT))
    assert signing.verify(envelope, [BERT, CARLA, ANNA], name="e")[2] == (ANNA.id, BERT.id)
    assert signing.verify(envelope, [BERT], name="e")[2] == (BERT.id,)
    assert signing.verify(both(ENVELOPE, ENVELOPE), [ANNA], name="e")[2] == (ANNA.id,)


def test_one_wrong_signature_spoils_the_right_one_beside_it() -> None:
    other = signing.sign(b"something else", TYPE, BERT)
    with pytest.raises(GateError, match="the signature of bert is wrong"):
        signing.verify(both(ENVELOPE, other), [ANNA, BERT], name="e")
    assert signing.verify(both(ENVELOPE, other), [ANNA], name="e")[2] == (ANNA.id,)


def test_the_payload_type_is_signed_too() -> None:
    confused = altered(lambda table: table.update(payloadType="application/vnd.other+json"))
    with pytest.raises(GateError, match="the signature of anna is wrong"):
        signing.verify(confused, [ANNA], name="e")


def test_a_signature_without_key_id_is_tried_with_every_key() -> None:
    bare = altered(lambda table: table["signatures"][0].pop("keyid"))
    assert signing.verify(bare, [BERT, ANNA], name="e")[2] == (ANNA.id,)
    with pytest.raises(GateError, match="signed by no key that is known") as caught:
        signing.verify(bare, [BERT], name="e")
    assert "a key without id; known are bert" in caught.value.hint


def test_a_key_id_cannot_borrow_the_name_of_another_key() -> None:
    borrowed = altered(lambda table: table["signatures"][0].update(keyid=BERT.id))
    with pytest.raises(GateError, match="the signature of bert is wrong"):
        signing.verify(borrowed, [ANNA, BERT], name="e")


def test_an_unknown_signer_is_told_with_those_that_are_known() -> None:
    with pytest.raises(GateError, match="e is signed by no key that is known here") as caught:
        signing.verify(ENVELOPE, [BERT], name="e")
    assert caught.value.hint == f"it is signed by {ANNA.id[:16]}; known are bert ({BERT.id[:16]})"
    with pytest.raises(GateError) as caught:
        signing.verify(ENVELOPE, [], name="e")
    assert caught.value.hint.endswith("known are none")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda table: table.update(signatures=[]), "not signed at all"),
        (lambda table: table.update(payload=table["payload"] + "!"), "no DSSE envelope"),
        (
            lambda table: table["signatures"][0].update(sig=table["signatures"][0]["sig"].rstrip("=")),
            "no DSSE envelope",
        ),
        (lambda table: table.update(payload="TR=="), "stray bits"),
        (lambda table: table["signatures"][0].update(sig="é"), "no DSSE envelope"),
        (lambda table: table["signatures"][0].update(sig=""), "the signature of anna is wrong"),
        (lambda table: table["signatures"][0].update(cert="x"), "unknown field `cert`"),
        (lambda table: table.update(payloadType="\ud800"), "no DSSE envelope"),
        (lambda table: table.pop("payload"), "missing required field `payload`"),
        (lambda table: table.update(signatures={"sig": "x"}), "no DSSE envelope"),
    ],
)
def test_a_malformed_envelope_is_refused(change: Callable[[dict[str, Any]], object], told: str) -> None:
    with pytest.raises(GateError, match=told):
        signing.verify(altered(change), [ANNA], name="e")


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"[" * 100_000, b"\xff", ENVELOPE + b"{}", ENVELOPE[:-20]]
)
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(GateError, match="no DSSE envelope"):
        signing.verify(data, [ANNA], name="e")


def test_url_safe_base64_is_read_too() -> None:
    payload = bytes(range(256))
    safe = base64.urlsafe_b64encode(payload).decode()
    assert "-" in safe
    envelope = altered(lambda table: table.update(payload=safe), signing.sign(payload, TYPE, ANNA))
    assert signing.verify(envelope, [ANNA], name="e")[0] == payload


def test_a_new_pair_lies_in_its_folder_and_signs(tmp_path: Path) -> None:
    key = keyfiles.new(tmp_path / "keys", "ci-builder")
    secret, public = tmp_path / "keys" / "ci-builder.key", tmp_path / "keys" / "ci-builder.pub"
    assert [file.name for file in sorted((tmp_path / "keys").iterdir())] == [
        "ci-builder.key",
        "ci-builder.pub",
    ]
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_text().startswith("-----BEGIN PRIVATE KEY-----\n")
    assert public.read_text().splitlines()[1] == signing.line(key)
    assert keyfiles.load(secret) == key
    assert keyfiles.load(public) == key._replace(secret=None)
    assert keyfiles.every(tmp_path / "keys") == (key,)
    secret.unlink()
    assert keyfiles.every(tmp_path / "keys") == (key._replace(secret=None),)
    assert signing.verify(signing.sign(b"x", "t", key), [keyfiles.load(public)], name="e") == (
        b"x",
        "t",
        (key.id,),
    )


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    keyfiles.new(tmp_path, "k")
    before = (tmp_path / "k.key").read_bytes()
    with pytest.raises(UsageError, match=r"k\.key is there already"):
        keyfiles.new(tmp_path, "k")
    (tmp_path / "k.key").rename(tmp_path / "away.key")
    with pytest.raises(UsageError, match=r"k\.pub is there already"):
        keyfiles.new(tmp_path, "k")
    assert (tmp_path / "away.key").read_bytes() == before


@pytest.mark.parametrize("name", ["", "../k", "A", "-k", "a b", "k\n", "a" * 65, ".k"])
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no name of a key"):
        keyfiles.new(tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_a_secret_shows_in_no_traceback() -> None:
    for shown in (repr(ANNA), str(ANNA), f"{ANNA}", repr((ANNA,))):
        assert ANNA.secret is not None
        assert repr(ANNA.secret) not in shown
        assert "secret=..." in shown
    assert repr(ANNA._replace(secret=None)).endswith("secret=None)")


def test_a_public_key_cannot_sign() -> None:
    with pytest.raises(GateError, match=r"anna is a public key and cannot sign\n  next: load anna\.key"):
        signing.sign(b"x", "t", ANNA._replace(secret=None))


def pem(pair: Any, password: bytes | None = None) -> bytes:
    lock = form.BestAvailableEncryption(password) if password else form.NoEncryption()
    data: bytes = pair.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock)
    return data


FOREIGN = rsa.generate_private_key(public_exponent=65537, key_size=1024)
OWN = ed25519.Ed25519PrivateKey.generate()


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("k.key", b"", "is no private key in PEM"),
        pytest.param("k.key", pem(OWN)[:-40], "is no private key in PEM", id="cut off"),
        ("k.key", pem(OWN, b"secret"), "is locked with a password"),
        ("k.key", pem(FOREIGN), "no ed25519 one"),
        ("k.pub", pem(OWN), "is no public key in PEM"),
        (
            "k.pub",
            FOREIGN.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo),
            "no ed25519 public key",
        ),
        ("k.pem", pem(OWN), "ends with neither"),
        ("K.key", pem(OWN), "'K' is no name of a key"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_key_says_why(name: str, data: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    (tmp_path / name).chmod(0o600)
    with pytest.raises(GateError, match=told) as caught:
        keyfiles.load(tmp_path / name)
    assert caught.value.hint


def test_a_file_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="No such file") as caught:
        keyfiles.load(tmp_path / "k.key")
    assert "retread key new" in caught.value.hint


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_secret_that_others_may_read_is_refused(mode: int, tmp_path: Path) -> None:
    keyfiles.new(tmp_path, "k")
    (tmp_path / "k.key").chmod(mode)
    with pytest.raises(GateError, match="others may read") as caught:
        keyfiles.load(tmp_path / "k.key")
    assert caught.value.hint.startswith("run 'chmod 600 ")


def test_halves_of_two_pairs_are_refused(tmp_path: Path) -> None:
    keyfiles.new(tmp_path, "a")
    keyfiles.new(tmp_path, "b")
    (tmp_path / "a.pub").replace(tmp_path / "b.pub")
    with pytest.raises(GateError, match=r"b\.key and b\.pub beside it are not one pair"):
        keyfiles.load(tmp_path / "b.key")


def test_a_policys_line_is_a_key_or_says_why() -> None:
    assert signing.from_line("anna", signing.line(ANNA)) == ANNA._replace(secret=None)
    for text, told in (
        ("?", "no base64"),
        ("AAAA", "no ed25519 public key"),
        (signing.line(ANNA)[:-4], "no ed25519"),
    ):
        with pytest.raises(GateError, match=told):
            signing.from_line("x", text)


def test_a_row_of_zeros_is_refused_since_anybody_can_sign_for_it() -> None:
    zeros = ed25519.Ed25519PublicKey.from_public_bytes(bytes(32))
    forged = []
    for number in range(100):
        try:
            zeros.verify(bytes([1, *bytes(31)]) + bytes(32), b"message %d" % number)
        except InvalidSignature:
            continue
        forged.append(number)
    assert forged  # by nobody's key
    with pytest.raises(GateError, match="key x proves nothing"):
        signing.from_line("x", base64.b64encode(ANNA.public[:12] + bytes(32)).decode())


def test_a_point_of_small_order_is_refused_in_every_spelling() -> None:
    field = 2**255 - 19
    for y in sorted(signing._WEAK):
        for spelled in (one for one in (y, y + field) if one < 1 << 255):
            for sign in (0, 1 << 255):
                with pytest.raises(GateError, match="proves nothing"):
                    signing.known("x", ANNA.public[:12] + (spelled | sign).to_bytes(32, "little"))


def test_keys_differ_and_their_ids_are_digests() -> None:
    assert len({key.id for key in (ANNA, BERT, CARLA)}) == 3
    assert all(re.fullmatch("[0-9a-f]{64}", key.id) for key in (ANNA, BERT, CARLA))


@pytest.mark.parametrize("key", ["payload", "payloadType", "signatures"])
def test_an_envelope_that_says_something_twice_is_refused(key: str) -> None:
    """Readers take the first or the last of two values, and would judge two statements."""
    value = json.dumps(json.loads(ENVELOPE)[key]).encode()
    doubled = ENVELOPE.replace(b"{", b'{"%b":%b,' % (key.encode(), value), 1)
    with pytest.raises(GateError, match=f"'{key}' is there twice"):
        signing.verify(doubled, [ANNA], name="e")
    with pytest.raises(GateError, match=f"'{key}' is there twice"):
        signing.payload(doubled, name="e")
