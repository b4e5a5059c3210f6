"""Evidence that is damaged, signed falsely or of another wheel is no evidence, whoever vouches for the wheel or not."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

import compiles
from retread.evidence import keyfiles, signing, soundness, statements
from retread.evidence.signing import Key
from retread.records import Sha256

WHEEL, DIGEST = "demo-1.2+cu128.1-cp39-abi3-linux_x86_64.whl", 64 * "a"


def pair(name: str) -> Key:
    with tempfile.TemporaryDirectory() as folder:
        return keyfiles.new(Path(folder), name)


CI, LAB, STRANGER = pair("ci"), pair("lab"), pair("stranger")


def proof(key: Key = CI, *, wheel: str = WHEEL, sha256: str = DIGEST, by: str = "", kind: str = "") -> bytes:
    made = statements.provenance(
        wheel, sha256, compiles.STATEMENT, Sha256(64 * "e"), builder=by or key.name, finished=1
    )
    return signing.sign(made, kind or statements.PAYLOAD_TYPE, key)


def changed(field: str) -> bytes:
    """Return an envelope with one character of a field of its signature changed."""
    table = json.loads(proof())
    text = table["signatures"][0][field]
    table["signatures"][0][field] = ("b" if text[0] == "a" else "a") + text[1:]
    return json.dumps(table).encode()


@pytest.mark.parametrize("known", [(CI, LAB), ()], ids=["policy", "no policy"])
@pytest.mark.parametrize("sound", [proof(), proof(STRANGER), proof(LAB)], ids=["ci", "stranger", "role"])
def test_who_may_say_it_is_asked_elsewhere(sound: bytes, known: tuple[Key, ...]) -> None:
    assert list(soundness.faults(known, WHEEL, DIGEST, {"p": sound})) == []


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"garbage", "p is no DSSE envelope"),
        (proof(kind="text/plain"), "p was signed as 'text/plain', which is no statement about a wheel"),
        (signing.sign(b"{}", statements.PAYLOAD_TYPE, CI), "p states neither a build nor a test result"),
        (proof(sha256=64 * "b"), "p is about another wheel"),
        (proof(wheel=WHEEL.replace("1.2", "1.3")), "the same bytes are called"),
        (changed("sig"), "p: the signature of ci is wrong: the file was altered"),
        (changed("keyid"), "p speaks for 'ci', and the key of ci did not sign it"),
        (proof(STRANGER, by="ci"), "p speaks for 'ci', and the key of ci did not sign it"),
    ],
)
def test_what_is_damaged_false_or_of_another_wheel_is_named(data: bytes, told: str) -> None:
    [(name, why)] = soundness.faults((CI, LAB), WHEEL, DIGEST, {"good": proof(), "p": data})
    assert name == "p"
    assert told in why
