"""Envelopes of ours and of another implementation of DSSE: each reads the other's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as form

from retread.evidence import keyfiles, signing

TYPE = "application/vnd.in-toto+json"
PAYLOAD = b'{"what": "a statement, \xc3\xa9"}'


def test_another_implementation_reads_our_envelopes_and_we_read_its_own(tmp_path: Path) -> None:
    dsse = pytest.importorskip("securesystemslib.dsse", exc_type=ImportError)
    signer = pytest.importorskip("securesystemslib.signer", exc_type=ImportError)
    key = keyfiles.new(tmp_path, "anna")
    public = signer.SSlibKey.from_crypto(form.load_der_public_key(key.public), keyid=key.id)
    theirs = dsse.Envelope.from_dict(json.loads(signing.sign(PAYLOAD, TYPE, key)))
    assert theirs.payload == PAYLOAD
    assert list(theirs.verify([public], 1)) == [key.id]

    envelope = dsse.Envelope(PAYLOAD, TYPE, {})
    envelope.sign(signer.CryptoSigner(form.load_der_private_key(key.secret, None), public))
    written = json.dumps(envelope.to_dict()).encode()
    assert signing.verify(written, [key], name="e") == (PAYLOAD, TYPE, (key.id,))
