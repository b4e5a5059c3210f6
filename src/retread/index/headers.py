"""What readers are told of each file of an index: its type, and how long they may keep it. Pure.

The small server and the objects of a bucket say it; a test holds the configurations of docs/serving to it.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final, NamedTuple

from retread.index.layout import FILES, HIDDEN, SIMPLE

JSON: Final = "application/vnd.pypi.simple.v1+json"
"""The type of an installer's page (PEP 691); pip, uv and poetry take no ``application/json`` for one."""
HTML: Final = "application/vnd.pypi.simple.v1+html"
"""The other type of an installer's page, for those who ask for it by name."""
CHECKED: Final = "max-age=0, must-revalidate"
"""Of what may change: a yank has to be seen at once."""
FOR_EVER: Final = "max-age=31536000, immutable"
"""Of what has its digest in its address. Not ``public``: what a password is asked for is in no shared cache."""
NEVER: Final = "no-store"
"""Of what no reader asks for."""

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".metadata": "text/plain; charset=utf-8",
}


class Told(NamedTuple):
    """What is told of a file."""

    kind: str
    """Its Content-Type."""
    keep: str
    """Its Cache-Control."""


def told(name: str) -> Told:
    """Return what is told of the file that lies at ``name`` in an index."""
    suffix = PurePosixPath(name).suffix
    kind = _TYPES.get(suffix, "application/octet-stream")
    if name.startswith(f"{HIDDEN}/"):
        return Told(kind, NEVER)
    if name.startswith(
        f"{FILES}/"
    ):  # evidence may change when a wheel is published again, the two others never
        return Told(kind, FOR_EVER if suffix in {".whl", ".metadata"} else CHECKED)
    return Told(JSON if suffix == ".json" and f"/{SIMPLE}/" in name else kind, CHECKED)


def attributes(name: str) -> dict[str, str]:
    """Return what is told of a file as an object of a bucket has it."""
    found = told(name)
    return {"Content-Type": found.kind, "Cache-Control": found.keep}
