"""Keys, and signed envelopes: ed25519 over DSSE, offline, with a policy's keys as the only root of trust.

The envelope is DSSE 1.0.2 (https://github.com/secure-systems-lab/dsse). Its encoding is written out here, over
``cryptography``: securesystemslib's reader takes damaged base64, insists on key ids and tells one signer at most.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec

from retread import strict
from retread.errors import GateError
from retread.records import Record

MAKE: Final = "make a pair with 'retread key new NAME'"
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
SECRET, PUBLIC = ".key", ".pub"
NAMELESS: Final = "a key without id"
_HEADER: Final = bytes.fromhex("302a300506032b6570032100")
"""Before the 32 bytes of a public key in its DER (RFC 8410)."""
_FIELD: Final = 2**255 - 19
_EIGHTH: Final = int("05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826", 16)
_WEAK: Final = frozenset({0, 1, _FIELD - 1, _EIGHTH, _FIELD - _EIGHTH})
"""The y of every point whose order divides 8: under such a key anybody can sign, and a row of zeros is one."""


class Key(NamedTuple):
    """A key pair, or its public half."""

    name: str
    id: str
    """SHA-256 of the public key's DER, in hexadecimal."""
    secret: bytes | None
    """PKCS 8 DER; None where only the public half is known."""
    public: bytes
    """SubjectPublicKeyInfo DER."""

    def __repr__(self) -> str:
        """Return the key without its secret: it may stand in a traceback."""
        return f"Key(name={self.name!r}, id={self.id!r}, secret={'...' if self.secret else None})"


class StrangerError(GateError):
    """What was signed by keys of which none is known."""

    def __init__(self, message: str, *, hint: str = "", keys: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.keys = tuple(keys)
        """The beginning of each one's id."""


class _Signature(Record, frozen=True, kw_only=True):
    keyid: str = ""
    sig: str


class _Envelope(Record, frozen=True, kw_only=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: tuple[_Signature, ...]


def known(name: str, public: bytes) -> Key:
    """Return the public key with this DER; GateError when it is no ed25519 key, or one that proves nothing."""
    if not public.startswith(_HEADER) or len(public) != len(_HEADER) + 32:
        raise GateError(f"key {name} is no ed25519 public key", hint=MAKE)
    if (int.from_bytes(public[len(_HEADER) :], "little") & ~(1 << 255)) % _FIELD in _WEAK:
        raise GateError(f"key {name} proves nothing: anybody can sign for it", hint=MAKE)
    return Key(name, hashlib.sha256(public).hexdigest(), None, public)


def line(key: Key) -> str:
    """Return the public half as a policy file holds it: its DER in base64, which is the PEM's one line."""
    return base64.b64encode(key.public).decode()


def from_line(name: str, text: str) -> Key:
    """Return the public key that ``line`` wrote; GateError for anything else."""
    try:
        public = _bytes(text)
    except ValueError:
        raise GateError(f"key {name} is no base64", hint="take it from 'retread key list'") from None
    return known(name, public)


def sign(payload: bytes, payload_type: str, key: Key) -> bytes:
    """Return the DSSE envelope of ``payload``, JSON, signed with ``key``."""
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    if key.secret is None:
        raise GateError(f"{key.name} is a public key and cannot sign", hint=f"load {key.name}{SECRET}")
    pair: Any = load_der_private_key(key.secret, None)
    signature = _Signature(keyid=key.id, sig=_text(pair.sign(encoded(payload, payload_type))))
    envelope = _Envelope(payload=_text(payload), payload_type=payload_type, signatures=(signature,))
    return msgspec.json.encode(envelope) + b"\n"


def verify(envelope: bytes, keys: Sequence[Key], *, name: str) -> tuple[bytes, str, tuple[str, ...]]:
    """Return payload, payload type and the ids of those ``keys`` that signed.

    StrangerError when none did; GateError when it is malformed, and when a signature that names one of ``keys`` is
    wrong, whoever else signed. Signatures that name other keys are passed over: nobody here could say whether they are
    right.
    """
    payload, said = _opened(envelope, name)
    message = encoded(payload, said.payload_type)
    found: dict[str, None] = {}
    for one in said.signatures:
        asked = [key for key in keys if one.keyid in {"", key.id}]
        signers = [key.id for key in asked if _is_signed(message, one.sig, key, name)]
        if one.keyid and asked and not signers:
            raise GateError(
                f"{name}: the signature of {asked[0].name} is wrong: the file was altered, or signed as another",
                hint="take the file from where it was signed, or have it signed again",
            )
        found.update(dict.fromkeys(signers))
    if not found:
        signers = [one.keyid[:16] or NAMELESS for one in said.signatures]
        hint = f"it is signed by {', '.join(signers)}; known are {_names(keys)}"
        raise StrangerError(f"{name} is signed by no key that is known here", hint=hint, keys=signers)
    return payload, said.payload_type, tuple(found)


def payload(envelope: bytes, *, name: str) -> bytes:
    """Return what an envelope holds, whoever signed it; GateError when it is none."""
    return content(envelope, name=name)[0]


def content(envelope: bytes, *, name: str) -> tuple[bytes, str]:
    """Return what an envelope holds and the type it was signed as, whoever did; GateError when it is none."""
    payload, said = _opened(envelope, name)
    return payload, said.payload_type


def signers(envelope: bytes, *, name: str) -> tuple[str, ...]:
    """Return the ids that an envelope's signatures name, true or not; GateError when it is none."""
    _, said = _opened(envelope, name)
    return tuple(one.keyid or NAMELESS for one in said.signatures)


def encoded(payload: bytes, payload_type: str) -> bytes:
    """Return what is signed: DSSE's pre-authentication encoding, which binds the type to the payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _opened(envelope: bytes, name: str) -> tuple[bytes, _Envelope]:
    try:
        strict.json(envelope)  # of two payloads readers would take one or the other
        said = strict.decoded(envelope, _Envelope)
        payload = _bytes(said.payload)
        for one in said.signatures:
            _bytes(one.sig)
    except ValueError as error:  # msgspec's and base64's errors are ValueErrors
        raise GateError(
            f"{name} is no DSSE envelope: {error}", hint="take the file from where it was signed"
        ) from None
    if not said.signatures:
        raise GateError(f"{name} is not signed at all", hint="sign it with the key of a builder or a tester")
    return payload, said


def _is_signed(message: bytes, signature: str, key: Key, name: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    raw = known(key.name, key.public).public[len(_HEADER) :]
    with suppress(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(raw).verify(_bytes(signature), message)
        return True
    return False


def _names(keys: Sequence[Key]) -> str:
    return ", ".join(f"{key.name} ({key.id[:16]})" for key in keys) or "none"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    """Return what base64 of either alphabet says; ValueError unless it is the only way to write it."""
    standard = text.translate({ord("-"): "+", ord("_"): "/"})
    data = base64.b64decode(standard, validate=True)
    if _text(data) != standard:
        raise ValueError("base64 with stray bits")
    return data
