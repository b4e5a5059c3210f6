"""The container lane's origin: the patched tree, compiled in a manylinux image and tried there."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from retread.audit import manylinux, promise
from retread.compile import container
from retread.compile.container import Engine, Image
from retread.doors import fs
from retread.doors.machine import download
from retread.doors.net import settings
from retread.doors.store import digest
from retread.environment.host import Compiler, Python
from retread.errors import AuditError
from retread.lanes.lane import Wish
from retread.lanes.source import Compiled
from retread.recipe.plan import Lane, Step, step
from retread.recipe.series import Change
from retread.records import all_but
from retread.smoke import kit
from retread.source.trees import Trees
from retread.wheel import contents
from retread.wheel.statement import CompileStatement

if TYPE_CHECKING:
    from retread.compile.sandbox import Sandbox

NOT_OF_CONTAINER: Final = {
    "image": "a name; the image that was found has a digest",
    "pythons": "each has a wheel of its own, whose interpreter has a digest",
    "test_requires": "the lock pins what they ask for, and is held to it",
}
"""Fields of a container's table that change nothing of what is compiled -> why."""


class Contained(Compiled):
    """A wheel that cibuildwheel builds in the image that the recipe pins, or in one of this machine's.

    The whole series is in the tree that is compiled, since the wheel is tried before it leaves the container.
    """

    lane = Lane.CONTAINER
    stand_ins = ("compiler.py", "host.sh", "container.sh")

    def __init__(self, trees: Trees, target: str, version: str, wish: Wish) -> None:
        super().__init__(trees, target, version, wish)
        assert self.target.container is not None
        self.asked = self.target.container
        self.number = wish.python or self.asked.pythons[0]
        self.image_name = wish.image or self.asked.image

    @functools.cached_property
    def engine(self) -> Engine:
        """The container engine of this machine; ToolError without one."""
        return container.engine(self.machine.environment)

    @functools.cached_property
    def image(self) -> Image:
        """The image, fetched if need be, and what it gives; PlanError when it is not fit for this build."""
        if not container.identity(self.engine, self.image_name):
            with self.machine.console.step(f"fetch {self.image_name}"):
                container.pull(self.engine, self.image_name)
        return container.examine(self.engine, self.image_name, self.number)

    @property
    def python(self) -> Python:
        """The image's interpreter."""
        return self.image.python

    @property
    def compiler(self) -> Compiler:
        """The image's C++ compiler."""
        return self.image.compiler

    @property
    def manner(self) -> tuple[object, ...]:
        """The image, what its wheels may need, and the versions of what repairs them."""
        asked = all_but(self.asked, NOT_OF_CONTAINER)
        return self.image.id, asked, container.OUTSIDE, container.versions()

    def compiles(self, change: Change) -> bool:
        """Say yes: the wheel is tried as it is compiled."""
        return True

    @property
    def room_name(self) -> str:
        """The name of the room that it is compiled in."""
        return f"{super().room_name}-container"

    def environment(self) -> Path:
        """Return the folder of the build environment, laid out for the image's Python."""
        return self.installed(
            digest("environment", self.lock, self.python, self.asked.platform), self._lay_out
        )

    def _lay_out(self, lock: Path, into: Path, cache: Path) -> None:
        from retread.environment import venv as environment

        environment.lay_out(
            lock,
            self.python,
            self.asked.platform,
            into,
            cache=cache,
            settings=settings.settings(self.machine.environment),
            environment=self.machine.environment,
        )

    def sandbox(self, room: Path, scratch: Path) -> Sandbox:
        """Return a container that sees the room, and tries the wheel as the recipe says."""
        cache = self.machine.store.root / "sccache"
        cache.mkdir(exist_ok=True)
        return container.Container(self.engine, self.image, (room, cache), self._kit(scratch / "kit.pyz"))

    def _kit(self, path: Path) -> Path | None:
        trial = self.target.smoke
        if trial is None:
            self.machine.console.say(
                f"note: the recipe does not say how {self.name} is tried; its wheel is not"
            )
            return None
        kit.write_blank(
            path,
            promise.promise(self.recipe, self.target, self.recipe.version),
            recipe=self.recipe,
            target=self.name,
            programs=kit.suites(self.recipe, self.trees.loaded.root),
            runtime=tuple(download(self.machine, one.package, one.file, one.sha256) for one in trial.runtime),
        )
        return path

    def check(self, wheel: Path, scratch: Path) -> None:
        """Raise AuditError when the wheel needs a newer machine than the recipe promises."""
        (scratch / "check").mkdir()
        facts, _ = contents.examine(wheel, scratch / "check")
        faults = manylinux.newer(facts, self.asked.platform)
        fs.remove(scratch / "check")
        if faults:
            raise AuditError(
                f"{self.recipe.name} {self.name}: the wheel needs more than {self.asked.platform} offers",
                faults=faults,
                hint=f"compile in an image as old as that; {self.image_name} is newer",
            )

    def platform(self) -> str:
        """Return nothing: auditwheel's tags stay."""
        return ""

    def stated(self) -> CompileStatement:
        """Return with what it was compiled, and in which image."""
        said = super().stated()
        return msgspec.structs.replace(said, image=f"{self.image_name} {self.image.id}")

    def steps(self) -> Iterator[Step]:
        """Yield the image and what a compile does; without the image nobody can say what is there of it."""
        there = container.identity(self.engine, self.image_name)
        yield Step(stage="image", subject=self.image_name, cached=bool(there), reason="pinned by the recipe")
        if there:
            yield from super().steps()
        else:
            yield step("compile", self.lock_name, None, "changes with the image")
            yield step("base", "the compiled wheel", None, "changes with what was compiled")
