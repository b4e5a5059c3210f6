"""What lies where in an index: paths from its folder, which are the names of a bucket's objects as well. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from retread import version as versions
from retread.errors import PublishError

FILES: Final = "files"
"""The folder below which every wheel lies, as ``files/<2 digits>/<sha256>/<name>``, with its evidence beside it."""
METADATA: Final = ".metadata"
"""What the name of a wheel's METADATA beside it ends with (PEP 658)."""
HIDDEN: Final = ".retread"
SIMPLE: Final = "simple"
PAGES: Final = ("index.html", "index.json", "page.html")
"""A project's pages."""
CHANNEL: Final = re.compile(versions.CHANNEL)


def channel_of(version: str) -> str:
    """Return the channel of a version; nothing for one that belongs to none, like ``1.2``."""
    try:
        return versions.release(version).channel
    except PublishError:
        return ""


def place(file: str, sha256: str) -> str:
    """Return where a file lies: its name under its digest."""
    return f"{FILES}/{sha256[:2]}/{sha256}/{file}"


def state(channel: str, name: str) -> str:
    """Return where the index says what a channel lists of a project: a link into a snapshot."""
    return f"{HIDDEN}/state/{channel}/{name}.json"


def ledger(channel: str, name: str) -> str:
    """Return where the index notes which revisions a channel ever published of a project."""
    return f"{HIDDEN}/revisions/{channel}/{name}.json"


def snapshot(number: int, channel: str, name: str) -> str:
    """Return where the pages lie that action ``number`` made of a project; beside them, with .json, their model."""
    return f"{HIDDEN}/snapshots/{number}/{channel}/{name}"


def pages(channel: str, name: str) -> str:
    """Return where readers find a project: a link to a snapshot's pages."""
    return f"{channel}/{SIMPLE}/{name}"


def binding(file: str) -> str:
    """Return where the index notes what a file name is bound to."""
    return f"{HIDDEN}/names/{hashlib.sha256(file.encode()).hexdigest()[:2]}/{file}"
