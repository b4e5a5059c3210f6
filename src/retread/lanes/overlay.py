"""The overlay lane: the compiled parts of a wheel of the pinned commit that upstream built."""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from retread.doors.machine import code_digest, download
from retread.doors.store import Kind, digest
from retread.lanes.base import proven
from retread.recipe.model import Base, Target
from retread.recipe.plan import Lane, Step, step
from retread.recipe.toolchain import part_for
from retread.source.trees import Trees
from retread.wheel import metadata
from retread.wheel.statement import FileStatement

if TYPE_CHECKING:
    from retread.lanes.lane import ProvenBase


class Official:
    """A wheel of the pinned commit that upstream built."""

    lane = Lane.OVERLAY

    def __init__(self, trees: Trees, target: str, version: str, base: Base) -> None:
        self.trees = trees
        self.machine = trees.machine
        self.recipe = trees.recipe
        self.target: Target = trees.recipe.targets[target]
        self.base = base
        self.wheel_name = metadata.parse_name(base.file).with_version(version).file_name

    @functools.cached_property
    def key(self) -> str:
        """Key of the base wheel's proof: all that the proof is given."""
        return digest(
            "base",
            code_digest(),
            self.trees.source_key,
            self.base,
            self.target.generated,
            self.recipe.version,
        )

    def wheel(self) -> Path:
        """Return the base wheel's file."""
        return download(self.machine, self.recipe.project, self.base.file, self.base.sha256)

    def proven(self) -> ProvenBase:
        """Return the base wheel's facts, proven against the pinned source."""
        return proven(self, self.trees.source())

    def stated(self) -> FileStatement:
        """Return its name and digest."""
        return FileStatement(file=self.base.file, sha256=self.base.sha256)

    def platform(self) -> str:
        """Return nothing: an official wheel's tags stay."""
        return ""

    def evidence(self) -> bytes:
        """Return nothing: who built it does not say how."""
        return b""

    def steps(self) -> Iterator[Step]:
        """Yield the download of the wheel and of the assembler, and the proof."""
        store = self.machine.store
        tool = self.trees.loaded.toolchains.get(self.target.toolchain)
        pinned = [(self.base.file, self.base.sha256)]
        if tool:
            part = part_for(tool, platform.machine())
            pinned.append((part.file, part.sha256))
        for file, sha256 in pinned:
            yield step("fetch", file, store.get(Kind.DOWNLOADS, sha256), f"pinned by sha256 {sha256[:12]}")
        proven = store.get(Kind.BASES, self.key)
        yield step("base", self.base.file, proven, "changes with the base wheel and the source")
