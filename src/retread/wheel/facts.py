"""What a wheel says and holds. Pure."""

from __future__ import annotations

from retread.elf.facts import LibraryFacts
from retread.records import Record, Sha256
from retread.wheel.statement import Statement


class WheelFacts(Record, frozen=True, kw_only=True):
    """What a wheel says and holds, every byte of it checked against RECORD."""

    file: str
    sha256: Sha256
    size: int
    project: str
    version: str
    tags: tuple[str, ...]
    requires: tuple[str, ...]
    members: int
    libraries: dict[str, LibraryFacts]
    statement: Statement | None
    """What retread wrote into it, for a wheel that it made."""
