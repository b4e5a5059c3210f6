"""What each unit of a recipe needed when it was compiled, here or where its maintainer did, to plan the next by."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import msgspec

from retread import strict
from retread.compile.schedule import Cost
from retread.doors import fs
from retread.errors import UsageError


def to_ship(record: bytes, name: str) -> bytes:
    """Return the file for beside a recipe, of the record ``name`` that a build left; UsageError for one that is none.

    What comes from a cache takes no time, so a record is refused of which more than a twentieth does.
    """
    from retread.compile.stage import CompileFacts

    try:
        facts = strict.decoded(record, CompileFacts)
    except ValueError as error:
        raise UsageError(f"{name} is no record of a compile: {error}") from None
    if facts.cache and facts.cache.hits * 20 > facts.cache.hits + facts.cache.misses:
        raise UsageError(
            f"{name}: {facts.cache.hits} of its steps came from the compile cache, so it does not tell what they take",
            hint="build once with --no-cache, and name the record of that",
        )
    took = {one.name: round(one.seconds, 1) for one in sorted(facts.units, key=lambda one: one.name)}
    return msgspec.json.format(msgspec.json.encode(took)) + b"\n"


class Measures:
    """The measures of one recipe and target on this machine; a file that cannot be read counts as none.

    ``elsewhere`` has the seconds of another machine: they order the units that were never compiled here.
    """

    def __init__(self, path: Path, elsewhere: Mapping[str, float] = MappingProxyType({})) -> None:
        self._path = path
        self._elsewhere = elsewhere
        self.own: dict[str, Cost] = {}
        """Of this machine alone."""
        with suppress(OSError, ValueError):
            self.own = strict.decoded(path.read_bytes(), dict[str, Cost])

    @property
    def known(self) -> dict[str, Cost]:
        """All that is known; of what was compiled elsewhere no memory, for which too little would be a failure."""
        return {name: Cost(seconds=one, memory=0) for name, one in self._elsewhere.items()} | self.own

    def learn(self, costs: Mapping[str, Cost], *, cached: bool) -> None:
        """Keep what the units cost. When some came from a cache, only what is more than was known counts."""
        for name, new in costs.items():
            old = self.own.get(name)
            if not cached:
                self.own[name] = new
            elif old is not None:
                self.own[name] = Cost(
                    seconds=max(old.seconds, new.seconds), memory=max(old.memory, new.memory)
                )
        fs.write(self._path, msgspec.json.encode(self.own, order="deterministic"))
