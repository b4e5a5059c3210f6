"""One way to write JSON, so that a digest of it can be checked by whoever reads it. Standard library only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def digest(table: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a table without its own ``digest``, written with sorted keys and no spaces."""
    rest = {name: value for name, value in table.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
