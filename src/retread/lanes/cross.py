"""Compiling for another machine than this: its compiler, its Python, and its wheels of what is linked."""

from __future__ import annotations

import functools
from pathlib import Path

from retread.compile.cross import Cross
from retread.doors.machine import Machine
from retread.doors.store import digest
from retread.environment import host
from retread.environment.host import Compiler, Python
from retread.errors import PlanError, RecipeError
from retread.lanes.place import HostPlace, missing
from retread.recipe.model import Build
from retread.recipe.system import System
from retread.toolkit import system


class CrossPlace(HostPlace):
    """The machine that retread runs on, with a compiler for another one and what is pinned of that."""

    programs = (*HostPlace.programs, "compile/cross.py", "environment/foreign.py")

    def __init__(self, machine: Machine, build: Build, python: str | None, platform: str) -> None:
        super().__init__(machine, build, python or system.known(platform).python, platform)
        self.room = f"-{platform}"

    @functools.cached_property
    def there(self) -> System:
        """What is pinned of the other machine."""
        return system.known(self._platform)

    @property
    def system(self) -> str:
        """The other machine's name, and the digest of what is pinned of it."""
        return f"{self._platform} {system.digest(self.there)}"

    @property
    def manner(self) -> tuple[object, ...]:
        """The tools of this machine, and what is taken of the other one."""
        return (*super().manner, self._platform, system.digest(self.there), self._build.links)

    @functools.cached_property
    def python(self) -> Python:
        """The interpreter of this machine that builds; PlanError when it is another than what is pinned there."""
        found = host.python(self._build.python, self._asked, self._machine.environment)
        if found.number != self.there.python:
            raise PlanError(
                f"a build for {self._platform} is made with Python {self.there.python}, not {found.number}",
                hint=f"of {self._platform} machines, the Python {self.there.python} is pinned; leave --python out",
            )
        return found

    @functools.cached_property
    def compiler(self) -> Compiler:
        """The compiler of this machine that makes code for the other."""
        return host.compiler(self._machine.environment, self._platform)

    def lacks(self) -> tuple[str, ...]:
        """Return what is missing of interpreter and compiler."""
        return (*missing(lambda: self.there), *super().lacks())

    def cross(self, lock: bytes, name: str) -> Cross:
        """Return the other machine's root, with what the recipe links, as the lock pins it."""
        from retread.doors.net import settings
        from retread.environment import foreign, venv
        from retread.lockfile import requirements

        pinned, lacking = requirements.narrowed(lock.decode(), self._build.links)
        if lacking:
            raise RecipeError(f"build.links: the lock {name} pins no {', '.join(lacking)}")
        machine, there = self._machine, self.there

        def make(into: Path, cache: Path) -> None:
            root = into / venv.VENV
            root.mkdir()
            system.lay_out(machine, there, root)
            if not pinned:
                return
            file = into / f"{name}.txt"
            file.write_text(pinned, "utf-8")
            foreign.install(
                ["--require-hashes", "--no-deps", "--requirements", file],
                root / system.PACKAGES,
                python=there.python,
                platform=f"{there.name}-{there.manylinux}",
                cache=cache,
                settings=settings.settings(machine.environment),
                environment=machine.environment,
            )

        key = digest("cross", system.digest(there), pinned)
        root = venv.stored(machine, key, f"lay out what is linked of {self._platform}", make)
        return Cross(self._platform, root, system.PACKAGES, system.include(there))
