"""What every lane is: where the compiled parts of a wheel come from, and how they are proven."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from retread.doors.machine import Machine
from retread.elf.facts import LibraryFacts
from retread.recipe.model import Recipe, Target
from retread.recipe.plan import Lane, Step
from retread.records import Record
from retread.wheel.statement import CompileStatement, FileStatement
from retread.wheel.wheelfile import Verified


class Wish(NamedTuple):
    """What a user may ask of a compile; none of it changes what the code does."""

    python: str | None = None
    """Version or path of the Python to build for."""
    jobs: int | None = None
    memory: int | None = None
    """Bytes that all compilers together may use."""
    cache: bool = True
    fresh: bool = False
    """Compile everything again, whatever the compile cache holds."""
    image: str | None = None
    """An image of this machine's, in place of the one that the recipe pins."""


class Origin(Protocol):
    """A base wheel: how it is named, had and proven."""

    lane: Lane
    machine: Machine
    recipe: Recipe
    target: Target

    @property
    def wheel_name(self) -> str:
        """What the finished wheel will be called, as far as it is known."""

    @property
    def key(self) -> str:
        """Everything that decides the base wheel's bytes."""

    def wheel(self) -> Path:
        """Return the base wheel's file, made or fetched if need be."""

    def proven(self) -> ProvenBase:
        """Return the base wheel's facts, proven against its tree."""

    def stated(self) -> FileStatement | CompileStatement:
        """Return what the finished wheel says of its base."""

    def platform(self) -> str:
        """Return the platform tag for the finished wheel; empty keeps the base's."""

    def evidence(self) -> bytes:
        """Return the JSON that tells how the base wheel was made; nothing for one that was there."""

    def steps(self) -> Iterator[Step]:
        """Yield what a build does to have the base wheel."""


class ProvenBase(Record, frozen=True, kw_only=True):
    """A base wheel that is proven, and what it holds."""

    verified: Verified
    libraries: dict[str, LibraryFacts]
    proven: int
    """How many of its files are identical to the pinned source's."""
    generated: tuple[str, ...]
    """The others, each allowed by name."""
