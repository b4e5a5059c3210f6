"""What a wheel says and holds. Pure."""

from __future__ import annotations

from msgspec import field

from retread.elf.facts import CodeFacts, Facts, Format, LibraryFacts
from retread.records import Record, Sha256
from retread.wheel.statement import Statement


def is_called_library(name: str) -> bool:
    """Say whether a member is called as libraries are: ``x.so``, ``x.so.1``, ``x.pyd``, ``x.dll``."""
    file = name.rpartition("/")[2]
    return ".so." in file or file.lower().endswith((".so", ".pyd", ".dll"))


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
    """Its libraries and programs, of Linux and of Windows."""
    statement: Statement | None
    """What retread wrote into it, for a wheel that it made."""
    code: dict[str, CodeFacts] = field(default_factory=dict)
    """Other members that hold GPU code, or may: archives, objects, cubins, fat binaries, PTX."""
    unread: dict[str, str] = field(default_factory=dict)
    """Members that may hold code and were not looked into, each with the reason."""
    faults: tuple[Fault, ...] = ()

    @property
    def windows(self) -> bool:
        """Whether its tags are of Windows."""
        return any(tag.rpartition("-")[2].startswith("win") for tag in self.tags)

    def loads(self, facts: LibraryFacts) -> bool:
        """Say whether a library's format is that of the wheel's system; one of another is data that lies in it."""
        return facts.format is Format.ELF or self.windows

    @property
    def every(self) -> dict[str, Facts]:
        """Every member that was read for code, by name."""
        return {**self.libraries, **self.code}
