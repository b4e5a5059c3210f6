"""The lanes: what each takes of a recipe, what stands in its way, and which module makes its wheels. Pure.

A new lane is a member of ``Lane`` with its row in ``LANES``, and the module that the row names. What takes time to
import is imported where it is needed, since the command line asks for the names alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from retread.recipe.model import Base, Build, Container, Recipe
    from retread.recipe.series import Patch

_OLDEST = 9
"""Minor version of the oldest Python 3 for which a wheel that names none is tried: that of a kit."""
_PYTHONS = ("3.12", "3.13", "3.14", "3.11", "3.10", "3.9")
"""For which Python the source lane compiles, the first that the recipe's range holds."""


class Lane(StrEnum):
    """How a target is made, the cheapest first."""

    OVERLAY = "overlay"
    SOURCE = "source"
    CONTAINER = "container"


class Own(Protocol):
    """What a lane takes of a target, which is there whenever the lane is possible."""

    def pythons(self) -> list[str]:
        """Return for which Pythons a workflow makes the wheels: ``3.12``."""


class Bases(NamedTuple):
    """What the overlay lane takes: official wheels of the pinned commit."""

    base: tuple[Base, ...]

    def pythons(self) -> list[str]:
        """Return the oldest Python that each of them serves."""
        return list(dict.fromkeys(_oldest(one.file) for one in self.base))


class Compile(NamedTuple):
    """What the source lane takes."""

    build: Build

    def pythons(self) -> list[str]:
        """Return one of the range."""
        from retread import pypa

        allowed = pypa.specifiers(self.build.python)
        return [next((one for one in _PYTHONS if allowed.contains(one)), _PYTHONS[0])]


class Contained(NamedTuple):
    """What the container lane takes."""

    build: Build
    container: Container

    def pythons(self) -> list[str]:
        """Return those that the recipe names."""
        return list(self.container.pythons)


class Found(NamedTuple):
    """What a lane takes of a target, or all that stands in its way."""

    own: Own | None
    obstacles: tuple[str, ...] = ()
    reason: str = ""
    """Why it can be taken, where that needs saying."""


class Way(NamedTuple):
    """A row: a lane as far as it is known before anything is made."""

    module: str
    """It offers ``origins(goal, own, wish)``, the base wheels. A name: who chooses a lane needs not what makes it."""
    find: Callable[[Recipe, str, Sequence[Patch]], Found]
    compiles: bool
    """Whether it compiles, so that the toolchain has to be a whole toolkit."""
    in_image: bool = False
    """Whether it compiles inside of an image."""
    unasked: bool = True
    """Whether it is taken when nobody asks for it and the lanes before are not possible."""
    for_others: Lane | None = None
    """The lane that takes its place where it is possible, when wheels are made for other machines than this."""
    hint: str = ""
    """What to do where it is not possible."""


def _overlay(recipe: Recipe, target: str, patches: Sequence[Patch]) -> Found:
    from retread.recipe import native
    from retread.units import counted

    bases = recipe.targets[target].base
    found = [] if bases else [f"targets.{target}.base: no base wheel is pinned"]
    applied = [patch for patch in patches if not patch.only_with]
    found += [fault for patch in applied for fault in native.touched(patch, recipe)]
    if found:
        return Found(None, tuple(found))
    why = (
        f"the series of {counted(len(applied), 'patch')} touches no native input, and a base wheel is pinned"
    )
    empty = "no patch of the series is applied here" if patches else "the series is empty"
    return Found(Bases(bases), reason=why if applied else empty)


def _source(recipe: Recipe, target: str, _: Sequence[Patch]) -> Found:
    build = recipe.targets[target].build
    return Found(Compile(build)) if build else Found(None, (_no_build(target),))


def _container(recipe: Recipe, target: str, _: Sequence[Patch]) -> Found:
    build, container = recipe.targets[target].build, recipe.targets[target].container
    if build and container:
        return Found(Contained(build, container))
    image = f"targets.{target}.container: missing; the recipe does not say in which image"
    return Found(None, (*([] if build else [_no_build(target)]), *([] if container else [image])))


def _no_build(target: str) -> str:
    return f"targets.{target}.build: missing; the recipe does not say how to compile it"


LANES: Final[dict[Lane, Way]] = {
    Lane.OVERLAY: Way(
        "retread.lanes.overlay",
        _overlay,
        compiles=False,
        hint="an overlay takes over compiled code, so a patch on a native input needs the source lane",
    ),
    Lane.SOURCE: Way("retread.lanes.source", _source, compiles=True, for_others=Lane.CONTAINER),
    Lane.CONTAINER: Way("retread.lanes.container", _container, compiles=True, in_image=True, unasked=False),
}
"""Every lane, the cheapest first."""


def _oldest(file: str) -> str:
    """Return the oldest Python 3 that a wheel's tags serve."""
    from retread import pypa

    tags = pypa.wheel_name(file)[3]
    minors = [found[1] for tag in tags if (found := re.fullmatch(r"[a-z]+3(\d+)", tag.interpreter))]
    return f"3.{min(map(int, minors), default=_OLDEST)}"
