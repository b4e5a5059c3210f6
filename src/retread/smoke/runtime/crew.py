"""Who runs which cases, and what first: as many processes at a time as there are cores, none longer than the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from retread.smoke.runtime.runner import Suite

Table = dict[str, Any]
UNKNOWN = 1.0
"""Seconds of a case that was never measured; all are alike then."""
LEAST = 4.0
"""Seconds of cases that are worth a process of their own, which has to import torch first."""


class Job(NamedTuple):
    """Cases of a suite that share a process, with its variables, and about how long they take."""

    suite: Suite
    cases: list[Table]
    ended: Callable[[Table], None]
    seconds: float

    @property
    def timed(self) -> bool:
        """Whether one of them measures times, which others beside it would make longer."""
        return any(one.get("timed") for one in self.cases)

    def run(self) -> None:
        """Run them, in a fresh process what is left when one dies."""
        (variables,) = {tuple(sorted(one["env"].items())) for one in self.cases if one["alone"]} or {()}
        self.suite.batch(self.cases, dict(variables), self.ended)


class Work(NamedTuple):
    """What is to be run of a suite."""

    suite: Suite
    cases: Sequence[Table]
    ended: Callable[[Table], None]
    times: Mapping[str, float] = {}
    """Case -> how many seconds it took when it was last run."""

    def job(self, cases: list[Table]) -> Job:
        """Return some of the cases as a job."""
        return Job(self.suite, cases, self.ended, sum(map(self.cost, cases)))

    def cost(self, one: Table) -> float:
        """Return about how many seconds a case takes."""
        return self.times.get(one["case"], UNKNOWN)


def plan(work: Sequence[Work], workers: int, *, split: bool) -> list[Job]:
    """Return the jobs, the longest first.

    With ``split``, cases that need no process alone are cut into as many equal parts as there are workers, where they
    are worth it; a part that ends with the cases of a suite goes on with those of the next.
    """
    whole = sum(some.cost(one) for some in work for one in some.cases if not one["alone"])
    part = max(whole / workers, LEAST) if split else float("inf")
    jobs, room = [], part
    for some in work:
        shared = [one for one in some.cases if not one["alone"]]
        piece: list[Table] = []
        for one in sorted(shared, key=some.cost, reverse=True) if split else shared:
            if room < some.cost(one) / 2:
                jobs += [some.job(piece)] if piece else []
                piece, room = [], room + part
            piece.append(one)
            room -= some.cost(one)
        jobs += [some.job(piece)] if piece else []
        jobs += [some.job([one]) for one in some.cases if one["alone"]]
    return sorted(jobs, key=lambda job: job.seconds, reverse=True)


def run(jobs: Sequence[Job], workers: int) -> None:
    """Run jobs in their order, ``workers`` at a time, and then the timed ones alone.

    Whatever ends this ends all that runs.
    """
    _run([job for job in jobs if not job.timed], workers)
    _run([job for job in jobs if job.timed], 1)


def _run(jobs: Sequence[Job], workers: int) -> None:
    with ThreadPoolExecutor(workers) as pool:
        try:
            for running in [pool.submit(job.run) for job in jobs]:
                running.result()
        except BaseException:
            for job in jobs:
                job.suite.stop()
            raise
