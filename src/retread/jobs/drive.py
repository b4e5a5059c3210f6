"""Jobs on an engine, from the first to the last: what starts when, what is tried again, what is given up.

The engine says which machines there are and what became of each job; whatever is decided is decided here, the same for
every engine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from retread import limits
from retread.compile.schedule import GIB, Cost
from retread.doors.console import Step
from retread.doors.machine import Machine
from retread.errors import HostError, OutOfMemoryError, RetreadError, first
from retread.jobs import forecast, placing, run
from retread.jobs.job import Job, Needs, Result
from retread.jobs.placing import Load, Node

_WAIT: Final = 0.5
"""Seconds between two looks at the machines while nothing ends."""
_AHEAD: Final = 2
"""Jobs that an engine is given for each core, running and waiting: enough for it to be never idle, and few enough that
a machine that comes later gets some."""


class Files(NamedTuple):
    """What a job left on another machine: names -> bytes."""

    files: Mapping[str, bytes]


class Lost(NamedTuple):
    """A run of which nothing will come: its machine or its worker is gone."""

    why: str
    memory: bool = False
    """Whether it was killed since the machine had no memory left."""


class News(NamedTuple):
    """What a job that runs said last."""

    node: str
    """Key of its machine."""
    line: str
    silent: float
    """Seconds since."""
    seconds: float
    """Since it began."""


class Engine(Protocol):
    """Whatever runs jobs on machines."""

    title: str

    def nodes(self) -> Sequence[Node]:
        """Return the machines that are there now and can run jobs; HostError when the engine itself is gone."""

    def start(self, job: Job, needs: Needs, nodes: Sequence[Node], before: Mapping[str, Files]) -> int:
        """Give a job to one of the machines, with what the jobs before it left; return the number of this run."""

    def ended(self, seconds: float) -> Iterator[tuple[int, Files | Lost]]:
        """Yield what became of runs, after waiting so many seconds at most for the first."""

    def news(self) -> Mapping[int, News]:
        """Return what the runs said last that began, and have not ended."""

    def drop(self, number: int) -> None:
        """Forget a run, and end it if that can be done."""


@dataclass
class _Run:
    """One job that is to be done: what it is given, and how often it failed for others' fault."""

    job: Job
    needs: Needs
    losses: list[str] = field(default_factory=list)
    more: bool = False
    """Whether it got more memory already."""
    step: Step | None = None


class Driver:
    """Works through jobs and keeps what they leave below ``out``, a folder for each key as ``run-job`` leaves it."""

    def __init__(self, engine: Engine, machine: Machine, out: Path) -> None:
        self._engine = engine
        self._machine = machine
        self._out = out
        self._waiting: list[_Run] = []
        self._running: dict[int, _Run] = {}
        self._done: dict[str, Result] = {}
        self._failed: dict[str, tuple[str, int]] = {}
        """Name of a job -> why it failed, and its exit code."""
        self._unfit: set[str] = set()
        """Keys of machines that were given up."""
        self._nodes: Sequence[Node] = ()
        self._titles: dict[str, str] = {}
        self._asked: set[str] = set()
        """Keys of all jobs that are to be done."""
        self._looked = -_WAIT

    def drive(self, jobs: Sequence[Job]) -> dict[str, Result]:
        """Return the results of all jobs, by their keys.

        What is done below ``out`` already is taken. HostError when a job can run nowhere, or the engine is gone; the
        error of the first job that failed, with all that failed, when the others are done.
        """
        self._asked = {one.key for one in jobs}
        for one in jobs:
            if found := run.finished(one, self._out, self._machine):
                self._done[one.key] = found
        todo = [one for one in jobs if one.key not in self._done]
        if todo:
            self._nodes = self._engine.nodes()
            placing.demand_places(todo, self._nodes, where=self._engine.title)
            self._waiting = [_Run(one, one.needs) for one in placing.order(todo)]
            self._work(len(todo))
        self._demand_all(jobs)
        return self._done

    def _work(self, total: int) -> None:
        title = f"{_counted(total, 'job')} on {_counted(len(self._nodes), 'node')}"
        with self._machine.console.step(title) as step:
            while self._waiting or self._running:
                self._start_ready()
                for number, outcome in self._engine.ended(_WAIT):
                    self._take(number, outcome)
                self._look(step, total)
            step.mark = "failed" if self._failed else "ok"

    def _start_ready(self) -> None:
        """Give the engine those jobs that can begin, the longest first."""
        room = _AHEAD * max(1, sum(one.cores for one in self._nodes)) - len(self._running)
        for one in tuple(self._waiting):
            if room <= 0:
                break
            if dead := [self._failed[key][0] for key in one.job.after if key in self._failed]:
                self._waiting.remove(one)
                self._fail(one, f"not begun: the job before it failed ({dead[0]})", 1)
            elif (
                not (self._asked & set(one.job.after)) - self._done.keys()
            ):  # others' results lie there already
                self._waiting.remove(one)
                room -= self._start(one)

    def _start(self, one: _Run) -> bool:
        nodes = self._fit()
        if lack := placing.obstacle(one.needs, nodes):
            told = "; ".join((f"no node is left that has {lack}", *one.losses))
            self._fail(one, told, HostError.exit_code)
            return False
        needs = placing.fitted(one.needs, nodes)
        before: dict[str, Files] = {key: Files(run.files_of(key, self._out)) for key in one.job.after}
        number = self._engine.start(one.job, needs, placing.able(needs, nodes), before)
        self._running[number] = one
        return True

    def _fit(self) -> list[Node]:
        return [one for one in self._nodes if one.key not in self._unfit]

    def _take(self, number: int, outcome: Files | Lost) -> None:
        """Keep what a run left; one that was lost, or wanted more memory, begins again."""
        one = self._running.pop(number)
        if isinstance(outcome, Lost):
            self._lost(one, outcome)
            return
        result = run.take(one.job, outcome.files, self._out, self._machine)
        if not result.code:
            self._done[one.job.key] = result
            cost = Cost(seconds=result.seconds, memory=result.memory_bytes)
            forecast.learn(self._machine, one.job.name, cost, cached=result.cached)
            self._tell(one, "ok")
        elif result.code == OutOfMemoryError.exit_code:
            self._killed(one, result.said)
        else:
            self._fail(one, result.said, result.code)

    def _lost(self, one: _Run, outcome: Lost) -> None:
        one.losses.append(outcome.why)
        if outcome.memory:
            self._killed(one, outcome.why)
        elif len(one.losses) >= limits.LOSSES:
            self._fail(one, f"lost {len(one.losses)} times: {outcome.why}", HostError.exit_code)
        else:
            self._again(one, outcome.why)

    def _killed(self, one: _Run, why: str) -> None:
        """Try a job again with more memory, once."""
        needs = placing.more_memory(one.needs, self._fit())
        if one.more or needs is None:
            self._fail(one, why, OutOfMemoryError.exit_code)
            return
        one.needs, one.more = needs, True
        self._again(one, f"{why}; it gets {needs.memory_bytes / GIB:.1f} GiB")

    def _again(self, one: _Run, why: str) -> None:
        self._machine.console.say(f"  {one.job.name} begins again: {why}")
        one.step = None
        self._waiting.insert(0, one)

    def _fail(self, one: _Run, why: str, code: int) -> None:
        self._failed[one.job.key] = (f"{one.job.name}: {why}", code)
        self._tell(one, "failed")

    def _tell(self, one: _Run, mark: str) -> None:
        console = self._machine.console
        console.say((one.step or Step(console, one.job.name)).line(mark))

    def _look(self, step: Step, total: int) -> None:
        """Show how far all is, give up what is silent, and see which machines there are: twice a second."""
        now = time.monotonic()
        if now - self._looked < _WAIT:
            return
        self._looked = now
        self._nodes = self._engine.nodes()
        self._titles |= {one.key: one.title for one in self._nodes}
        titles = self._titles
        news = self._engine.news()
        told = ""
        for number, said in news.items():
            if number not in self._running:
                continue
            one = self._running[number]
            if one.step is None:
                one.step = Step(self._machine.console, one.job.name)
                one.step.detail = titles.get(said.node, "")
            told = told or f"{one.job.name}: {said.line.strip()}".rstrip(": ")
            if said.silent > limits.SILENT:
                self._give_up(number, said, titles.get(said.node, said.node[:12]))
        done = total - len(self._waiting) - len(self._running)
        step.units(f"{len(news)} running", done, total, self._left(news), told, of="jobs")

    def _give_up(self, number: int, said: News, title: str) -> None:
        self._engine.drop(number)
        self._unfit.add(said.node)
        self._lost(self._running.pop(number), Lost(f"{title} said nothing for {said.silent:.0f} s"))

    def _left(self, news: Mapping[int, News]) -> float:
        """Return the seconds that remain, by what each job was said to take."""
        spent = {number: said.seconds for number, said in news.items()}
        running = [
            Load(max(0.0, one.needs.seconds - spent.get(number, 0.0)), one.needs.cores)
            for number, one in self._running.items()
        ]
        waiting = [Load(one.needs.seconds, one.needs.cores) for one in self._waiting]
        return placing.left([*running, *waiting], sum(one.cores for one in self._fit()))

    def _demand_all(self, jobs: Sequence[Job]) -> None:
        """Raise the error of the first job that failed, with what became of the others that did."""
        failed = [self._failed[one.key] for one in jobs if one.key in self._failed]
        if not failed:
            return
        code = failed[0][1]
        kind = next((one for one in RetreadError.__subclasses__() if one.exit_code == code), RetreadError)
        raise kind(
            f"{len(failed)} of {_counted(len(jobs), 'job')} failed on {self._engine.title}",
            faults=first([why for why, _ in failed]),
            hint=f"their logs lie in {self._out}; what is done is kept, the same command goes on from there",
        )


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
