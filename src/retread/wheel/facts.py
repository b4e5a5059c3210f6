"""What a wheel says and holds. Pure."""

from __future__ import annotations

from msgspec import field

from retread.elf.facts import CodeFacts, Facts, LibraryFacts
from retread.records import Record, Sha256
from retread.wheel.statement import Statement


class Fault(Record, frozen=True, kw_only=True):
    """What is wrong with a wheel though it can be read: a rule, what breaks it, and how."""

    check: str
    subject: str
    detail: str


class WheelFacts(Record, frozen=True, kw_only=True):
    """What a wheel says and holds, every byte of it checked against RECORD; ``faults`` say where they disagree."""

    file: str
    sha256: Sha256
    size: int
    project: str
    version: str
    tags: tuple[str, ...]
    requires: tuple[str, ...]
    members: int
    libraries: dict[str, LibraryFacts]
    """Its shared objects and programs."""
    statement: Statement | None
    """What retread wrote into it, for a wheel that it made."""
    code: dict[str, CodeFacts] = field(default_factory=dict)
    """Other members that hold GPU code, or may: Windows libraries, archives, objects, cubins, fat binaries, PTX."""
    unread: dict[str, str] = field(default_factory=dict)
    """Members that may hold code and were not looked into, each with the reason."""
    faults: tuple[Fault, ...] = ()

    @property
    def every(self) -> dict[str, Facts]:
        """Every member that was read for code, by name."""
        return {**self.libraries, **self.code}
