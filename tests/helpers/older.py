"""Records as a retread wrote them that did not know their newest fields yet."""

from __future__ import annotations

import json
from typing import Any

import msgspec


def before(record: msgspec.Struct) -> dict[str, Any]:
    """Return a record as a table without the fields that have a default: those were added later."""
    table = _stripped(record)
    assert isinstance(table, dict)
    return table


def written(record: msgspec.Struct) -> bytes:
    """Return such a record in the form of ``retread.json``."""
    return json.dumps(before(record), indent=2, ensure_ascii=False).encode() + b"\n"


def _stripped(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        fields = [one for one in msgspec.structs.fields(value) if one.required]
        return {one.encode_name: _stripped(getattr(value, one.name)) for one in fields}
    if isinstance(value, dict):
        return {key: _stripped(one) for key, one in value.items()}
    return [_stripped(one) for one in value] if isinstance(value, list | tuple) else value
