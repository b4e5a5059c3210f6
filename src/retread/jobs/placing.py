"""Where a job can run, which goes first, and how long all will take. Pure: an engine says what there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from retread.arch import Arch
from retread.compile.schedule import GIB
from retread.errors import HostError, first
from retread.jobs.job import Job, Needs


class Node(NamedTuple):
    """A machine of an engine's, and what it has in all."""

    key: str
    title: str
    """As people know it."""
    cores: int
    memory: int
    """Bytes."""
    processor: str
    gpus: Mapping[Arch, int] = {}
    """Compute capability -> GPUs."""


class Load(NamedTuple):
    """What a job takes of one of the machines: seconds on so many cores."""

    seconds: float
    cores: int


def lacks(needs: Needs, node: Node) -> str:
    """Return what a machine lacks for a job, in words; nothing for one that can run it.

    Cores are never lacking: with fewer, a job takes longer.
    """
    if needs.processor != node.processor:
        return f"a processor {needs.processor}"
    if needs.gpu is not None and not node.gpus.get(needs.gpu):
        return f"a GPU with compute capability {needs.gpu}"
    if needs.memory_bytes > node.memory:
        return f"{needs.memory_bytes / GIB:.1f} GiB of memory"
    return ""


def able(needs: Needs, nodes: Iterable[Node]) -> list[Node]:
    """Return the machines that can run a job."""
    return [one for one in nodes if not lacks(needs, one)]


def obstacle(needs: Needs, nodes: Sequence[Node]) -> str:
    """Return what no machine has that a job needs; nothing where one has it all.

    Of machines that lack different things, the last is told that the nearest of them lacks.
    """
    if not nodes:
        return "what it needs"
    said = [lacks(needs, one) for one in nodes]
    return "" if "" in said else max(said, key=_nearness)


def _nearness(said: str) -> int:
    return ("a processor", "a GPU", "").index(
        next(one for one in ("a processor", "a GPU", "") if one in said)
    )


def fitted(needs: Needs, nodes: Iterable[Node]) -> Needs:
    """Return what a job is to be given, with no more cores than the largest of the machines that can run it has."""
    most = max((one.cores for one in able(needs, nodes)), default=needs.cores)
    return msgspec.structs.replace(needs, cores=max(1, min(needs.cores, most)))


def more_memory(needs: Needs, nodes: Iterable[Node]) -> Needs | None:
    """Return what a job that was killed for memory is given the next time: twice as much, or all that a machine has.

    None when no machine has more than it was given.
    """
    able_else = (msgspec.structs.replace(needs, memory_bytes=1), needs)
    most = max((one.memory for one in able(able_else[0], nodes)), default=0)
    memory = min(2 * needs.memory_bytes, most)
    return msgspec.structs.replace(needs, memory_bytes=memory) if memory > needs.memory_bytes else None


def demand_places(jobs: Iterable[Job], nodes: Sequence[Node], *, where: str) -> None:
    """Raise HostError that names every job for which no machine has what it needs: it would wait for ever."""
    faults = [f"{one.name} needs {lack}" for one in jobs if (lack := obstacle(one.needs, nodes))]
    if faults:
        raise HostError(
            f"{where}: no node can run {len(faults)} of the jobs",
            faults=first(faults),
            hint="add such a node (docs/guides/many-machines.md says how it names its GPUs), or leave these jobs out",
        )


def order(jobs: Sequence[Job], nodes: Sequence[Node]) -> list[Job]:
    """Return jobs as they are to begin, so that neither cores nor GPUs are idle at the beginning or alone at the end.

    Johnson's rule (S. M. Johnson, Optimal two- and three-stage production schedules, 1954), whose two machines are here
    all cores and all GPUs: what the cores are through with sooner than the GPUs with what follows goes first, the
    quickest before the others. After that, what holds others up longest.
    """
    behind: dict[str, int] = {}
    trials: dict[str, float] = {}
    cores = max(1, sum(one.cores for one in nodes))
    for one in reversed(jobs):  # a job stands behind those that it comes after
        whole = one.needs.seconds + behind.get(one.key, 0)
        for before in one.after:
            behind[before] = max(behind.get(before, 0), whole)
            if one.needs.gpu is not None:
                count = max(1, sum(node.gpus.get(one.needs.gpu, 0) for node in nodes))
                trials[before] = trials.get(before, 0.0) + one.needs.seconds / count

    def rank(one: Job) -> tuple[bool, float]:
        takes = one.needs.seconds * one.needs.cores / cores
        if takes < trials.get(one.key, 0.0):
            return False, takes
        return True, -(one.needs.seconds + behind.get(one.key, 0))

    return sorted(jobs, key=rank)


def left(remaining: Iterable[Load], cores: int) -> float:
    """Return the seconds that the rest takes on so many cores: evenly spread, and no less than its longest job."""
    loads = list(remaining)
    even = sum(one.seconds * one.cores for one in loads) / max(1, cores)
    return max(even, max((one.seconds for one in loads), default=0.0))
