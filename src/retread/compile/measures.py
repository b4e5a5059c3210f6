"""What each unit of a recipe needed when it was last compiled here, so that the next build can plan by it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from retread import strict
from retread.compile.schedule import Cost
from retread.doors import fs


class Measures:
    """The measures of one recipe and target on this machine; a file that cannot be read counts as none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.known: dict[str, Cost] = {}
        with suppress(OSError, ValueError):
            self.known = strict.decoded(path.read_bytes(), dict[str, Cost])

    def learn(self, costs: Mapping[str, Cost], *, cached: bool) -> None:
        """Keep what the units cost. When some came from a cache, only what is more than was known counts."""
        for name, new in costs.items():
            old = self.known.get(name)
            if not cached:
                self.known[name] = new
            elif old is not None:
                self.known[name] = Cost(
                    seconds=max(old.seconds, new.seconds), memory=max(old.memory, new.memory)
                )
        fs.write(self._path, msgspec.json.encode(self.known, order="deterministic"))
