"""What each unit of a recipe needed when it was last compiled here, so that the next build can plan by it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from retread.compile.schedule import Measure
from retread.doors import fs


class _Unit(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def memory(self) -> int: ...


class Measures:
    """The measures of one recipe and target on this machine; a file that cannot be read counts as none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.known: dict[str, Measure] = {}
        with suppress(OSError, msgspec.DecodeError):
            self.known = msgspec.json.decode(path.read_bytes(), type=dict[str, Measure])

    def learn(self, units: Sequence[_Unit], *, cached: bool) -> None:
        """Keep what the units needed. When some came from a cache, only what is more than was known counts."""
        for unit in units:
            old = self.known.get(unit.name)
            new = Measure(seconds=unit.seconds, memory=unit.memory)
            if cached and old is None:
                continue
            if cached and old is not None:
                new = Measure(seconds=max(old.seconds, new.seconds), memory=max(old.memory, new.memory))
            self.known[unit.name] = new
        fs.write(self._path, msgspec.json.encode(self.known, order="deterministic"))
