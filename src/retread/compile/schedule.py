"""Which compiles may run together: never more than the machine's memory and cores hold, the longest first. Pure.

One budget for the machine. What a unit needs is known from earlier builds; a unit that was never seen is taken to need
a safe amount.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from retread.records import Record

GIB: Final = 1 << 30
_UNSEEN: Final = {"nvcc": 4 * GIB}
"""What a unit that was never seen is taken to need: half as much again as the largest process of a cold build of the
default recipe, 2.5 GB (measured with nvcc 13.0). Not measured for other projects."""
_UNSEEN_HOST: Final = GIB * 3 // 2
"""The same for a host compiler. Not measured."""
_SLACK: Final = 1.15
"""A unit may need this much more than in the build before: the memory of a build is sampled twice a second, so a peak
between two samples is missed, and a patch makes a unit larger. How much of either there is was not measured."""


class Cost(Record, frozen=True, kw_only=True):
    """What a unit needed when it was compiled: wall seconds, and bytes of memory at its peak."""

    seconds: float
    memory: int


class Unit(Record, frozen=True, kw_only=True):
    """One compile: its name in the source, and the program that compiles it."""

    name: str
    tool: str
    size: int
    """Bytes of the source file: the larger, the longer, as long as nothing better is known."""


class Budget(NamedTuple):
    """What a build may use: compiles at a time, and bytes of memory."""

    jobs: int
    memory: int


def needed(unit: Unit, measures: Mapping[str, Cost]) -> int:
    """Return how many bytes of memory to set aside for a unit."""
    known = measures.get(unit.name)
    if known is not None and known.memory:
        return int(known.memory * _SLACK)
    return _UNSEEN.get(unit.tool, _UNSEEN_HOST)


def order(units: Iterable[Unit], measures: Mapping[str, Cost]) -> list[Unit]:
    """Return the units, the longest first: those never seen before the rest, by size."""

    def rank(unit: Unit) -> tuple[float, int]:
        known = measures.get(unit.name)
        return (known.seconds if known else float("inf"), unit.size)

    return sorted(units, key=rank, reverse=True)


def admit(
    waiting: Iterable[Unit], reserved: Sequence[int], budget: Budget, measures: Mapping[str, Cost]
) -> list[Unit]:
    """Return the waiting units that may start now; ``reserved`` holds the bytes set aside for each running one.

    A unit that does not fit lets smaller ones pass, so that no core idles while memory is free. When nothing runs,
    the first starts even if it alone is over the budget: waiting would not help it.
    """
    running, free = len(reserved), budget.memory - sum(reserved)
    chosen: list[Unit] = []
    for unit in order(waiting, measures):
        if running >= budget.jobs:
            break
        size = needed(unit, measures)
        if size <= free or not running:
            chosen.append(unit)
            running += 1
            free -= size
    return chosen


def left(names: Iterable[str], done: float, total: float, measures: Mapping[str, Cost]) -> float | None:
    """Return the seconds that remain at this build's pace, by the last build's times; None when they are unknown.

    ``names`` are the units that remain, ``done`` the seconds that the finished ones took in the last build, ``total``
    the seconds of wall time they took in this one.
    """
    remaining = [measures.get(name) for name in names]
    if not remaining or any(one is None for one in remaining) or done <= 0:
        return None
    return sum(one.seconds for one in remaining if one) * total / done
