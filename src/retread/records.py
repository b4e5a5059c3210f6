"""The records that stages pass on, and the evidence they leave: frozen, keyword-only, ready for JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NewType, TypeVar

import msgspec

T = TypeVar("T")
Sha256 = NewType("Sha256", str)
"""64 lower-case hexadecimal digits."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every record: immutable, and strict when it is read from outside."""


def all_but(record: msgspec.Struct, excepted: Mapping[str, str]) -> dict[str, object]:
    """Return the fields of a record for a key: all of them but the ``excepted``, which maps a field to the reason.

    So a field that is added decides, until somebody says why it does not.
    """
    return {name: value for name, value in msgspec.structs.asdict(record).items() if name not in excepted}


def narrowed(value: object, kind: type[T]) -> T:
    """Return a record, or a tuple of records, as one of a kind that has some of its fields."""
    return msgspec.convert(value, kind, from_attributes=True)


def digest(data: bytes) -> Sha256:
    """Return the SHA-256 of bytes."""
    return Sha256(hashlib.sha256(data).hexdigest())
