"""Where a lane compiles: with whose Python and compiler, in what sandbox, and what may stand of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from retread.audit import manylinux
from retread.compile.cross import Cross
from retread.compile.sandbox import Sandbox, Walled
from retread.doors import fs, walls
from retread.doors.console import NOTE
from retread.doors.machine import Machine
from retread.elf.facts import LibraryFacts
from retread.environment import host
from retread.environment.host import Compiler, Python
from retread.errors import AuditError, CompileError, PlanError, ToolError, first
from retread.recipe.lane import Lane
from retread.recipe.model import Build
from retread.recipe.plan import Step
from retread.wheel import contents


class Place(Protocol):
    """Where a tree is compiled."""

    lane: Lane
    programs: tuple[str, ...]
    """Files of retread's own that decide what comes out of a compile there, and in no other place."""
    room: str
    """What its rooms' names end with."""
    whole: bool
    """Whether the whole series is in the tree that is compiled, or its native changes alone."""

    @property
    def manner(self) -> tuple[object, ...]:
        """What of the place decides what comes out; known without compiling."""

    @property
    def python(self) -> Python:
        """The interpreter that the wheel is built for; PlanError when there is none."""

    @property
    def number(self) -> str:
        """The version of the interpreter, as 3.12; the same error when there is none."""

    @property
    def compiler(self) -> Compiler:
        """The C++ compiler."""

    def lacks(self) -> tuple[str, ...]:
        """Return what this machine cannot have of the place; nothing is started to know it."""

    @property
    def fits(self) -> tuple[object, ...]:
        """What, beside the lock, decides a build environment that works there."""

    @property
    def image(self) -> str:
        """Name and digest of the image that it is in, or nothing."""

    @property
    def system(self) -> str:
        """Name and digest of the machine that it compiles for, where that is another than its own, or nothing."""

    def install(self, lock: Path, into: Path, cache: Path) -> None:
        """Make the build environment of a lock in the folder ``into``; FetchError when a file cannot be had."""

    def cross(self, lock: bytes, name: str) -> Cross | None:
        """Return what is taken of the machine that is compiled for, where that is another than the place's.

        ``lock`` pins what is linked; ``name`` is its name in messages.
        """

    def sandbox(self, room: Path, scratch: Path, cache: Path) -> Sandbox:
        """Return where the build in ``room`` runs, with the folder of its compile cache; ``scratch`` is there for as
        long.
        """

    def check(self, wheel: Path, scratch: Path) -> None:
        """Raise AuditError for a wheel that was compiled and may not stand; ``scratch`` is for what that takes."""

    def platform(self, libraries: Iterable[LibraryFacts]) -> str:
        """Return the platform tag for a wheel with these libraries; empty keeps the one it has."""

    def steps(self) -> tuple[Step, ...]:
        """Return what a build does to have the place; unless all is done, nobody can say what was compiled there."""


def missing(ask: Callable[[], object]) -> Iterator[str]:
    """Yield why something cannot be had here, with what to do, if asking for it is refused."""
    try:
        ask()
    except (CompileError, PlanError, ToolError) as error:
        yield "; ".join(filter(None, (error.message, *error.faults, error.hint)))


def demand_machine(wheel: Path, platform: str, scratch: Path) -> None:
    """Raise AuditError when a wheel that was compiled has a library, or a tag, of another machine."""
    (scratch / "check").mkdir()
    facts = contents.facts(wheel, scratch / "check")
    fs.remove(scratch / "check")
    wanted = platform or host.here()
    others = {name: one.machine for name, one in facts.libraries.items() if one.machine != wanted}
    faults = [f"{name}: is for {machine}" for name, machine in others.items()]
    tags = sorted(tag for tag in facts.tags if not tag.endswith((f"_{wanted}", "-any")))
    faults += [f"the build tags it {', '.join(tags)}"] if tags else []
    if faults:
        raise AuditError(
            f"{wheel.name} was to be for {wanted}, and is not",
            faults=first(faults),
            hint="a build that asks which machine it runs on, or names a compiler of its own, makes this; patch that",
        )


class HostPlace:
    """The machine that retread runs on: its own Python and compiler, behind walls where it has any."""

    lane = Lane.SOURCE
    programs: tuple[str, ...] = ("compile/inside/ahead.py", "compile/inside/enter.sh")
    room = ""
    whole = False
    image = ""

    def __init__(self, machine: Machine, build: Build, python: str | None, platform: str = "") -> None:
        self._machine = machine
        self._build = build
        self._asked = python
        self._platform = platform

    @property
    def manner(self) -> tuple[object, ...]:
        """Its tools, each by the digest that tells it from every other."""
        return self.compiler.digest, self.python.digest

    @functools.cached_property
    def python(self) -> Python:
        """The interpreter asked for, or one of the range that the recipe builds for."""
        return host.python(self._build.python, self._asked, self._machine.environment)

    @property
    def number(self) -> str:
        """The interpreter's version."""
        return self.python.number

    @functools.cached_property
    def compiler(self) -> Compiler:
        """The host's C++ compiler."""
        return host.compiler(self._machine.environment)

    @property
    def system(self) -> str:
        """Nothing: it compiles for itself."""
        return ""

    def lacks(self) -> tuple[str, ...]:
        """Return what is missing of interpreter and compiler."""
        return (*missing(lambda: self.python), *missing(lambda: self.compiler))

    @property
    def fits(self) -> tuple[object, ...]:
        """The interpreter."""
        return (self.python,)

    def install(self, lock: Path, into: Path, cache: Path) -> None:
        """Make an environment of the interpreter's own."""
        from retread.doors.net import settings
        from retread.environment import venv

        environment = self._machine.environment
        using = settings.settings(environment)
        venv.install(lock, self.python.executable, into, cache=cache, settings=using, environment=environment)

    def cross(self, lock: bytes, name: str) -> Cross | None:
        """Return nothing: it compiles for itself."""
        return None

    def sandbox(self, room: Path, scratch: Path, cache: Path) -> Sandbox:
        """Return walls, which need nothing of these folders, and say so when this machine has none."""
        if why := walls.absence(self._machine.environment):
            self._machine.console.say(f"    {NOTE} {why}, so this build {walls.OPEN}")
        return Walled(self.python, self.compiler, self._machine.environment)

    def check(self, wheel: Path, scratch: Path) -> None:
        """Raise AuditError for a wheel that is for another machine than was asked for, by its libraries or its tags."""
        demand_machine(wheel, self._platform, scratch)

    def platform(self, libraries: Iterable[LibraryFacts]) -> str:
        """Return the oldest manylinux that offers every symbol version that the libraries ask for."""
        return manylinux.platform_tag(libraries)

    def steps(self) -> tuple[Step, ...]:
        """Return nothing: the machine is there."""
        return ()
