"""The overlay lane: the compiled parts of a wheel of the pinned commit that upstream built."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Final

from retread.doors.machine import code_digest, download
from retread.doors.store import Kind, digest
from retread.environment import host
from retread.errors import PlanError
from retread.lanes.lane import Goal, Origin, Steps, Wish
from retread.recipe import plan, platforms
from retread.recipe.lane import Bases, Lane
from retread.recipe.model import Base
from retread.recipe.plan import Effort, step
from retread.recipe.series import Change
from retread.recipe.toolchain import part_for
from retread.wheel.statement import FileStatement

if TYPE_CHECKING:
    from retread.lanes.lane import ProvenBase

_EFFORT: Final = Effort(seconds=35, memory=160_000_000, disk=450_000_000)
"""The first build of the default recipe with an empty store, on 2 cores, with the downloads of a fast network
(docs/development/benchmarks.md); on the disk: sdist, tree, base wheel, ptxas, libraries, wheel."""


def origins(goal: Goal, own: Bases, wish: Wish) -> list[Origin]:
    """Return the pinned wheels for the platform and the Python asked for; PlanError when there is none."""
    plan.demand_version(goal.title, wish.python)
    there = [base for base in own.base if _is_for(base, wish.platform)]
    fits = [base for base in there if not wish.python or plan.serves(base.file, wish.python)]
    if not fits:
        lacks = f"serves Python {wish.python}" if there else f"is for {wish.platform or 'Linux'}"
        raise PlanError(
            f"{goal.title}: no base wheel {lacks}",
            hint=f"there are {', '.join(base.file for base in own.base)}",
        )
    return [Official(goal._replace(platform=platforms.of_wheel(base.file)), base) for base in fits]


def _is_for(base: Base, platform: str) -> bool:
    """Say whether a base wheel is for a platform; without one, whether it is for Linux."""
    found = platforms.of_base(base.file)
    return found == platform if platform else not platforms.is_windows(found)


class Official:
    """A wheel of the pinned commit that upstream built."""

    lane = Lane.OVERLAY

    def __init__(self, goal: Goal, base: Base) -> None:
        self.goal = goal
        self.base = base

    @functools.cached_property
    def wheel_name(self) -> str:
        """The base wheel's with the version of the finished one; a build that finds it made does not ask."""
        from retread.wheel import metadata

        return metadata.parse_name(self.base.file).with_version(self.goal.version).file_name

    def compiles(self, change: Change) -> bool:
        """Say that it does not: nothing is compiled."""
        return False

    def known(self) -> bool:
        """Say yes: the wheel is pinned."""
        return True

    @functools.cached_property
    def key(self) -> str:
        """Key of the base wheel's proof: all that the proof is given."""
        recipe, target = self.goal.recipe, self.goal.target
        proved = (self.base, target.generated, self.goal.waived, recipe.version, recipe.source_root)
        return digest("base", code_digest(), self.goal.trees.source_key, *proved)

    def wheel(self) -> Path:
        """Return the base wheel's file."""
        return download(self.goal.machine, self.goal.recipe.project, self.base.file, self.base.sha256)

    def proven(self) -> ProvenBase:
        """Return the base wheel's facts, proven against the pinned source."""
        from retread.lanes.base import proven

        return proven(self, self.goal.trees.source)

    def stated(self) -> FileStatement:
        """Return its name and digest."""
        return FileStatement(file=self.base.file, sha256=self.base.sha256)

    def platform(self) -> str:
        """Return nothing: an official wheel's tags stay."""
        return ""

    def evidence(self) -> bytes:
        """Return nothing: who built it does not say how."""
        return b""

    @property
    def python(self) -> str:
        """The Pythons of its tags."""
        return " ".join(dict.fromkeys(plan.tagged(self.base.file)))

    def lacks(self) -> tuple[str, ...]:
        """Return nothing: it is downloaded, and ptxas of this machine with it."""
        return ()

    def effort(self) -> Effort:
        """Return what the default recipe took."""
        return _EFFORT

    def steps(self) -> Steps:
        """Return the downloads of the wheel and of the assembler, and the proof."""
        store = self.goal.machine.store
        source = self.goal.recipe.source
        told = source is not None and source.sha256 == self.base.sha256  # with the source
        pinned = [] if told else [(self.base.file, self.base.sha256)]
        for tool in filter(None, (self.goal.toolchain, self.goal.proving)):
            part = part_for(tool, host.here())
            pinned.append((part.file, part.sha256))
        fetched = [
            step(
                "fetch",
                file,
                store.get(Kind.DOWNLOADS, sha256),
                f"pinned by sha256 {sha256[:12]}",
                shared=store.is_elsewhere(Kind.DOWNLOADS, sha256),
            )
            for file, sha256 in pinned
        ]
        made, shared = store.get(Kind.BASES, self.key), store.is_elsewhere(Kind.BASES, self.key)
        why = "changes with the base wheel and the source"
        return Steps(tuple(fetched), step("base", self.base.file, made, why, shared=shared), known=True)
