"""What evidence that lies beside a wheel has to be, whatever else the wheel lacks: whole, and about that wheel. Pure.

Who may say what is the gate's to judge, by a policy. What is damaged, or signed falsely, no reason lets in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from retread.errors import GateError
from retread.evidence import signing, statements
from retread.evidence.signing import Key, StrangerError
from retread.evidence.statements import Attested

ASIDE: Final = "take the file away, and put what belongs to this wheel in its place"


def faults(
    known: Sequence[Key], wheel: str, sha256: str, envelopes: Mapping[str, bytes]
) -> Iterator[tuple[str, str]]:
    """Yield the name of each envelope that is none, is signed falsely or is of another wheel, and what is wrong.

    Signatures can be held against the keys that are ``known`` alone. A stranger's envelope is sound, unless it speaks
    for one of them.
    """
    for name, data in sorted(envelopes.items()):
        try:
            _demand(known, wheel, sha256, name, data)
        except GateError as error:
            yield name, told(error)


def of_wheel(payload: bytes, kind: str, wheel: str, sha256: str, *, name: str) -> Attested:
    """Return what was signed of a wheel; GateError when it is no statement, or one of another wheel."""
    if kind != statements.PAYLOAD_TYPE:
        raise GateError(f"{name} was signed as {kind!r}, which is no statement about a wheel", hint=ASIDE)
    said = statements.parse(payload, name=name)
    if said.sha256 != sha256:
        other = f"{said.wheel} with sha256 {said.sha256}, not {sha256}"
        raise GateError(f"{name} is about another wheel: {other}", hint=ASIDE)
    if said.wheel != wheel:
        raise GateError(f"{name} is about {said.wheel}; the same bytes are called {wheel} here", hint=ASIDE)
    return said


def told(error: GateError) -> str:
    """Return an error in one line, with what to do."""
    return "; ".join((error.message, *error.faults)) + (f" (next: {error.hint})" if error.hint else "")


def _demand(known: Sequence[Key], wheel: str, sha256: str, name: str, envelope: bytes) -> None:
    """Raise GateError for an envelope that is not sound."""
    payload, kind = signing.content(envelope, name=name)
    strange = True
    with suppress(StrangerError):
        signing.verify(envelope, known, name=name)
        strange = False
    said = of_wheel(payload, kind, wheel, sha256, name=name)
    if strange and any(key.name == said.by for key in known):
        raise GateError(
            f"{name} speaks for {said.by!r}, and the key of {said.by} did not sign it",
            hint="take the file from where it was signed, or have it signed again",
        )
