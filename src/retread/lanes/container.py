"""The container lane: the patched tree, compiled in a manylinux image and tried there."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from retread.audit import manylinux, promise
from retread.compile import container
from retread.compile.container import Engine, Image
from retread.compile.cross import Cross
from retread.compile.sandbox import Sandbox
from retread.doors import fs
from retread.doors.machine import download
from retread.elf.facts import LibraryFacts
from retread.environment import host
from retread.environment.host import Compiler, Python
from retread.errors import AuditError, PlanError
from retread.lanes.lane import Goal, Origin, Wish
from retread.lanes.place import missing
from retread.lanes.source import Compiled, demand_sound
from retread.recipe.lane import Contained, Lane
from retread.recipe.plan import Step, demand_served, demand_version
from retread.records import all_but
from retread.smoke import kit
from retread.wheel import contents

NOT_OF_CONTAINER: Final = {
    "image": "a name, which the finished wheel states; the image that was found has a digest",
    "pythons": "each has a wheel of its own, whose interpreter is in the setting",
    "test_requires": "the lock pins what they ask for, and is held to it",
}
"""Fields of a container's table that change nothing of what is compiled -> why."""


def origins(goal: Goal, own: Contained, wish: Wish) -> list[Origin]:
    """Return a wheel for the Python asked for, or for each that the recipe names."""
    demand_sound(goal)
    if goal.platform not in {"", host.here()}:
        raise PlanError(
            f"{goal.title}: an image for {goal.platform} does not run on {host.here()} machines, and one "
            f"that does has no compiler and no C library of {goal.platform}",
            hint="'--lane source' compiles for it with a cross compiler; or build on such a machine",
        )
    demand_version(goal.title, wish.python)
    demand_served(goal.title, own.build.python, wish.python)
    image = wish.image or own.container.image
    pythons = [wish.python] if wish.python else own.pythons()
    return [Compiled(goal, own.build, ImagePlace(goal, own, image, python), wish) for python in pythons]


class ImagePlace:
    """The image that the recipe pins, or one of this machine's, in which cibuildwheel builds.

    The whole series is in the tree that is compiled, since the wheel is tried before it leaves the container.
    """

    lane = Lane.CONTAINER
    programs: tuple[str, ...] = ("compile/container.py", "compile/inside/container.sh")
    room = "-container"
    whole = True
    system = ""

    def __init__(self, goal: Goal, own: Contained, name: str, number: str) -> None:
        self._goal = goal
        self._machine = goal.machine
        self._asked = own.container
        self._name = name
        self._number = number

    @functools.cached_property
    def _engine(self) -> Engine:
        """The container engine of this machine; ToolError without one."""
        return container.engine(self._machine.environment)

    @functools.cached_property
    def _here(self) -> str:
        """The image's digest, or nothing while it is not here."""
        return container.identity(self._engine, self._name)

    @functools.cached_property
    def _id(self) -> str:
        """The image's digest; it is fetched if need be."""
        if self._here:
            return self._here
        with self._machine.console.step(f"fetch {self._name}"):
            container.pull(self._engine, self._name)
        return container.identity(self._engine, self._name)

    @functools.cached_property
    def _image(self) -> Image:
        """What the image gives, which containers of it are asked; PlanError when it is not fit for this build."""
        return container.examine(self._engine, self._name, self._id, self._number)

    @property
    def manner(self) -> tuple[object, ...]:
        """The image with the interpreter's place in it, what wheels may need, and the versions of what repairs them.

        No container is started for it: an image's digest stands for all that it gives.
        """
        place, asked = container.interpreter(self._number), all_but(self._asked, NOT_OF_CONTAINER)
        return self._id, place, asked, container.OUTSIDE, container.versions()

    @property
    def python(self) -> Python:
        """The image's interpreter."""
        return self._image.python

    @property
    def number(self) -> str:
        """The version that was asked for, which the image has to have."""
        return self._number

    @property
    def compiler(self) -> Compiler:
        """The image's C++ compiler."""
        return self._image.compiler

    def lacks(self) -> tuple[str, ...]:
        """Return why there is no container engine; an image is fetched."""
        return tuple(missing(lambda: self._engine))

    @property
    def image(self) -> str:
        """Its name and digest."""
        return f"{self._name} {self._id}"

    @property
    def fits(self) -> tuple[object, ...]:
        """The image's interpreter, and the newest manylinux that wheels may be for."""
        return self.python, self._asked.platform

    def install(self, lock: Path, into: Path, cache: Path) -> None:
        """Lay the environment out for the image's Python, which is not here."""
        from retread.doors.net import settings
        from retread.environment import venv

        environment = self._machine.environment
        using = settings.settings(environment)
        venv.lay_out(
            lock,
            self.python,
            self._asked.platform,
            into,
            cache=cache,
            settings=using,
            environment=environment,
        )

    def cross(self, lock: bytes, name: str) -> Cross | None:
        """Return nothing: an image compiles for its own machine."""
        return None

    def sandbox(self, room: Path, scratch: Path, cache: Path) -> Sandbox:
        """Return a container that sees the room, and tries the wheel as the recipe says."""
        cache.mkdir(exist_ok=True)
        return container.Container(self._engine, self._image, (room, cache), self._kit(scratch / "kit.pyz"))

    def _kit(self, path: Path) -> Path | None:
        goal, trial = self._goal, self._goal.target.smoke
        if trial is None:
            self._machine.console.say(
                f"note: the recipe does not say how {goal.name} is tried; its wheel is not"
            )
            return None
        parts = kit.Parts(
            recipe=goal.recipe,
            target=goal.name,
            promise=promise.promise(goal.recipe, goal.target, goal.recipe.version),
            programs=kit.suites(goal.recipe, goal.trees.loaded.root),
            runtime=tuple(
                download(self._machine, one.package, one.file, one.sha256) for one in trial.runtime
            ),
        )
        kit.write(path, parts)
        return path

    def check(self, wheel: Path, scratch: Path) -> None:
        """Raise AuditError when the wheel needs a newer machine than the recipe promises."""
        (scratch / "check").mkdir()
        facts = contents.facts(wheel, scratch / "check")
        faults = manylinux.newer(facts, self._asked.platform)
        fs.remove(scratch / "check")
        if faults:
            raise AuditError(
                f"{self._goal.title}: the wheel needs more than {self._asked.platform} offers",
                faults=faults,
                hint=f"compile in an image as old as that; {self._name} is newer",
            )

    def platform(self, libraries: Iterable[LibraryFacts]) -> str:
        """Return nothing: auditwheel's tags stay."""
        return ""

    def steps(self) -> tuple[Step, ...]:
        """Return the image."""
        why = "pinned by the recipe" if self._name == self._asked.image else "changes with --image"
        return (Step(stage="image", subject=self._name, cached=bool(self._here), reason=why),)
