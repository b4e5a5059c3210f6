"""What every lane gives: where the compiled parts of a wheel come from, and how they are proven.

A lane's module offers ``origins(goal, own, wish)``, the base wheels of a target's wheels; ``recipe.lane`` names it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

from retread.doors.machine import Machine
from retread.elf.facts import LibraryFacts
from retread.recipe.lane import Lane
from retread.recipe.model import Recipe, Target
from retread.recipe.plan import Effort, Step, patched_version
from retread.recipe.series import Change
from retread.recipe.toolchain import Toolchain
from retread.recipe.waiver import READ
from retread.records import Record
from retread.source.trees import Trees
from retread.version import NVCC
from retread.wheel.facts import WheelFacts
from retread.wheel.members import Verified
from retread.wheel.statement import CompileStatement, FileStatement


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
    cold: bool = False
    """Compile with an empty compile cache that is gone afterwards, and none on another machine."""
    image: str | None = None
    """An image of this machine's, in place of the one that the recipe pins."""
    platform: str = ""
    """The platform to make a wheel for; empty: Linux."""
    toolchain: str | None = None
    """The toolchain to compile with, of those that the target names; without one, the first that can be had."""


class Goal(NamedTuple):
    """A target of a recipe that is to be made: what everybody who helps has to know of it."""

    trees: Trees
    name: str
    """The target's."""
    taken: str = ""
    """The name of the toolchain that was chosen; empty for the one that the target names first."""
    compiler: str = NVCC
    """Which compiles device code, where the lane compiles."""
    platform: str = ""
    """The one that the wheel is for, where the lane knows it: what the recipe says for it alone counts then."""

    @property
    def title(self) -> str:
        """What it is called in messages: recipe and target."""
        return f"{self.recipe.name} {self.name}"

    @property
    def machine(self) -> Machine:
        """The machine that it is made on."""
        return self.trees.machine

    @property
    def recipe(self) -> Recipe:
        """The target's recipe."""
        return self.trees.recipe

    @property
    def target(self) -> Target:
        """What the recipe says of it."""
        target = self.recipe.targets[self.name]
        return target.on(self.platform) if self.platform else target

    @property
    def toolchain(self) -> Toolchain | None:
        """The toolchain that was chosen of those that the target names."""
        return self.trees.loaded.toolchains.get(self.taken or self.target.toolchain)

    @property
    def proving(self) -> Toolchain | None:
        """The toolchain whose ptxas built the base wheels, where the target names one."""
        return self.trees.loaded.toolchains.get(self.target.proving)

    @property
    def waived(self) -> tuple[str, ...]:
        """The rules that its base wheels may break when they are read."""
        return tuple(sorted(set(self.target.waive) & set(READ)))

    @property
    def version(self) -> str:
        """The version of its wheels."""
        return patched_version(self.recipe, self.target, self.compiler)


class Steps(NamedTuple):
    """What a build does to have a base wheel; the last is its proof, which says whether it has been read before."""

    before: tuple[Step, ...]
    base: Step
    known: bool
    """Whether the key of the finished wheel can be told by what is here."""


class Origin(Protocol):
    """A base wheel: how it is named, had and proven."""

    lane: Lane
    goal: Goal

    @property
    def wheel_name(self) -> str:
        """What the finished wheel will be called, as far as it is known."""

    def compiles(self, change: Change) -> bool:
        """Say whether a change of the series went into the base wheel's compile, where there was one."""

    def known(self) -> bool:
        """Say whether the key can be told without making the base wheel first."""

    @property
    def key(self) -> str:
        """Everything that decides the base wheel's bytes and what is stated of it; it is made if need be."""

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

    @property
    def python(self) -> str:
        """The Pythons that the finished wheel is for, as people write them."""

    def lacks(self) -> tuple[str, ...]:
        """Return what this machine cannot have of what the base wheel takes; nothing is downloaded to know it."""

    def effort(self) -> Effort:
        """Return what it takes to have the base wheel and to finish it."""

    def steps(self) -> Steps:
        """Return what a build does to have the base wheel."""


class ProvenBase(Record, frozen=True, kw_only=True):
    """A base wheel that is proven, and what it holds."""

    verified: Verified
    facts: WheelFacts
    """What it says and holds."""
    proven: int
    """How many of its files are identical to the pinned source's."""
    generated: tuple[str, ...]
    """The others, each allowed by name."""
    crlf: bool = False
    """Whether texts among them have the line ends of a checkout on Windows."""

    @property
    def libraries(self) -> dict[str, LibraryFacts]:
        """Its shared objects and programs."""
        return self.facts.libraries
