"""Jobs on an engine, from the first to the last: what starts when, what is tried again, what is given up.

The engine says which machines there are and what became of each job; whatever is decided is decided here, the same for
every engine.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from retread import limits
from retread.arch import Arch
from retread.compile.schedule import GIB, Cost
from retread.doors.console import Step
from retread.doors.machine import Machine
from retread.errors import HostError, OutOfMemoryError, RetreadError, first
from retread.jobs import forecast, placing, run
from retread.jobs.job import Job, Needs, Result
from retread.jobs.placing import Load, Node
from retread.units import counted

_WAIT: Final = 0.5
"""Seconds between two looks at the machines while nothing ends."""
_AHEAD: Final = 2
"""How many times the cores that there are the jobs that an engine is given may ask for, running and waiting: enough for
them to be never idle, and few enough that a machine that comes later gets some."""


class Files(NamedTuple):
    """What a job left on another machine: names -> bytes; and the key of that, where it is known."""

    files: Mapping[str, bytes]
    node: str = ""


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

    def expect(self) -> bool:
        """Wait a moment for a machine that did not say yet what it has; False where there is none."""

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
    rank: int
    """Whose turn it is: the least first."""
    missing: set[str]
    """Keys of the jobs before it that are not done."""
    losses: list[str] = field(default_factory=list)
    cores: int = 0
    """What it was given."""
    more: bool = False
    """Whether it got more memory already."""
    step: Step | None = None


class Driver:
    """Works through jobs and keeps what they leave below ``out``, a folder for each key as ``run-job`` leaves it."""

    def __init__(self, engine: Engine, machine: Machine, out: Path) -> None:
        self._engine = engine
        self._machine = machine
        self._out = out
        self._waiting: dict[str, _Run] = {}
        """Jobs that are not begun, by their keys."""
        self._ready: dict[Arch | None, list[tuple[int, str]]] = {}
        """Of those the ones that can begin, as heaps of rank and key, for each capability that they need."""
        self._behind: dict[str, list[_Run]] = {}
        """Key of a job -> those that come after it."""
        self._trials = Counter[Arch]()
        """Capability -> jobs that need it and have not ended."""
        self._beside = 0
        """Cores that such a job asks for at most."""
        self._running: dict[int, _Run] = {}
        self._done: dict[str, Result] = {}
        self._failed: dict[str, tuple[str, int]] = {}
        """Name of a job -> why it failed, and its exit code."""
        self._unfit: set[str] = set()
        """Keys of machines that were given up."""
        self._nodes: Sequence[Node] = ()
        self._titles: dict[str, str] = {}
        self._looked = -_WAIT

    def drive(self, jobs: Sequence[Job], *, ready: Callable[[], None] = lambda: None) -> dict[str, Result]:
        """Return the results of all jobs, by their keys.

        What is done below ``out`` already is taken; ``ready`` is called before the first begins. HostError when a job
        can run nowhere, or the engine is gone; the error of the first job that failed, with all that failed, when the
        others are done.
        """
        for one in jobs:
            if found := run.finished(one, self._out, self._machine):
                self._done[one.key] = found
        todo = [one for one in jobs if one.key not in self._done]
        if todo:
            self._gather(todo)
            ready()
            self._queue(placing.order(todo, self._nodes))
            self._work(len(todo))
        self._demand_all(jobs)
        return self._done

    def _gather(self, jobs: Sequence[Job]) -> None:
        """See which machines there are, and wait a little for those that do not say it at once.

        HostError when all have said it and a job has none: it would wait for ever.
        """
        end = time.monotonic() + limits.START
        while True:
            self._meet()
            more = self._engine.expect()
            try:
                placing.demand_places(jobs, self._nodes, where=self._engine.title)
            except HostError:
                if not more:
                    raise
            else:
                if not more or time.monotonic() > end:
                    return

    def _queue(self, jobs: Sequence[Job]) -> None:
        """Wait with jobs, in this order, for those before them; what is not asked for lies there already."""
        asked = {one.key for one in jobs}
        trials = [one.needs for one in jobs if one.needs.gpu]
        self._trials = Counter(one.gpu for one in trials if one.gpu)
        self._beside = max((one.cores for one in trials), default=0)
        for rank, job in enumerate(jobs):
            one = _Run(job, job.needs, rank, {key for key in job.after if key in asked})
            for key in one.missing:
                self._behind.setdefault(key, []).append(one)
            self._wait(one)

    def _wait(self, one: _Run) -> None:
        self._waiting[one.job.key] = one
        if not one.missing:
            heapq.heappush(self._ready.setdefault(one.needs.gpu, []), (one.rank, one.job.key))

    def _work(self, total: int) -> None:
        title = f"{counted(total, 'job')} on {counted(len(self._nodes), 'node')}"
        with self._machine.console.step(title) as step:
            while self._waiting or self._running:
                self._start_ready()
                for number, outcome in self._engine.ended(_WAIT):
                    self._take(number, outcome)
                self._look(step, total)
            step.mark = "failed" if self._failed else "ok"

    def _start_ready(self) -> None:
        """Give the engine those jobs that can begin, as far as it has room for them; each kind of GPU has its own."""
        room = self._room()
        for gpu, ready in sorted(self._ready.items(), key=lambda item: item[0] is None):
            while ready and room[gpu] > 0:
                one = self._waiting.pop(heapq.heappop(ready)[1])
                room[gpu] -= self._start(one)

    def _room(self) -> dict[Arch | None, int]:
        """Return for how many cores the engine can be given jobs, for each capability that they need.

        While there are jobs for a GPU, their cores are kept free, half of all at most: engines fill machines without
        one first, so these are beside the GPUs.
        """
        nodes = self._fit()
        cores = max(1, sum(one.cores for one in nodes))
        beside = {
            gpu: max(1, sum(min(one.cores, one.gpus.get(gpu, 0) * self._beside) for one in nodes))
            for gpu in +self._trials
        }
        kept = min(sum(beside.values()), cores // 2)
        room: dict[Arch | None, int] = {gpu: _AHEAD * count for gpu, count in beside.items()}
        room[None] = cores - kept if kept else _AHEAD * cores
        for one in self._running.values():
            room[one.needs.gpu] -= one.cores
        return room

    def _start(self, one: _Run) -> int:
        """Give a job to the engine; return for how many cores."""
        nodes = self._fit()
        if lack := placing.obstacle(one.needs, nodes):
            told = "; ".join((f"no node is left that has {lack}", *one.losses))
            self._fail(one, told, HostError.exit_code)
            return 0
        needs = placing.fitted(one.needs, nodes)
        before: dict[str, Files] = {key: Files(run.files_of(key, self._out)) for key in one.job.after}
        number = self._engine.start(one.job, needs, placing.able(needs, nodes), before)
        self._running[number] = one
        one.cores = needs.cores
        return one.cores

    def _fit(self) -> list[Node]:
        return [one for one in self._nodes if one.key not in self._unfit]

    def _meet(self) -> None:
        """See which machines there are; the names of those that go are kept."""
        self._nodes = self._engine.nodes()
        self._titles |= {one.key: one.title for one in self._nodes}

    def _show(self, one: _Run, node: str) -> None:
        """Have what is told of a job name its machine, which has this key."""
        if one.step is None:
            one.step = Step(self._machine.console, one.job.name)
            one.step.detail = self._titles.get(node, "")

    def _take(self, number: int, outcome: Files | Lost) -> None:
        """Keep what a run left; one that was lost, or wanted more memory, begins again."""
        one = self._running.pop(number)
        if isinstance(outcome, Lost):
            self._lost(one, outcome)
            return
        self._show(one, outcome.node)  # it may have been quicker than its news
        result = run.take(one.job, outcome.files, self._out, self._machine)
        if not result.code:
            self._done[one.job.key] = result
            self._ended(one)
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
        one.rank = -1
        self._wait(one)

    def _fail(self, one: _Run, why: str, code: int) -> None:
        self._failed[one.job.key] = said = (f"{one.job.name}: {why}", code)
        self._tell(one, "failed")
        for other in self._ended(one):
            if self._waiting.pop(other.job.key, None):
                self._fail(other, f"not begun: the job before it failed ({said[0]})", 1)

    def _ended(self, one: _Run) -> list[_Run]:
        """Let begin what waited for this job alone; return all that come after it."""
        if one.needs.gpu:
            self._trials[one.needs.gpu] -= 1
        behind = self._behind.pop(one.job.key, [])
        for other in behind if one.job.key in self._done else ():
            other.missing.remove(one.job.key)
            self._wait(other)
        return behind

    def _tell(self, one: _Run, mark: str) -> None:
        console = self._machine.console
        console.say((one.step or Step(console, one.job.name)).line(mark))

    def _look(self, step: Step, total: int) -> None:
        """See which machines there are, give up what is silent or on none of them, and show how far all is."""
        now = time.monotonic()
        if now - self._looked < _WAIT:
            return
        self._looked = now
        self._meet()
        news, here = self._engine.news(), {one.key for one in self._nodes}
        told = ""
        for number, said in news.items():
            if number not in self._running:
                continue
            one = self._running[number]
            self._show(one, said.node)
            told = told or f"{one.job.name}: {said.line.strip()}".rstrip(": ")
            if (
                said.node not in here
            ):  # a machine that hangs may let its jobs go on, and nobody tells of their end
                self._give_up(number, said, "its node is gone")
            elif said.silent > limits.SILENT:
                title = self._titles.get(said.node, said.node[:12])
                self._give_up(number, said, f"{title} said nothing for {said.silent:.0f} s")
        done = total - len(self._waiting) - len(self._running)
        step.units(f"{len(news)} running", done, total, self._left(news), told, of="jobs")

    def _give_up(self, number: int, said: News, why: str) -> None:
        self._engine.drop(number)
        self._unfit.add(said.node)
        self._lost(self._running.pop(number), Lost(why))

    def _left(self, news: Mapping[int, News]) -> float:
        """Return the seconds that remain, by what each job was said to take."""
        spent = {number: said.seconds for number, said in news.items()}
        running = [
            Load(max(0.0, one.needs.seconds - spent.get(number, 0.0)), one.needs.cores)
            for number, one in self._running.items()
        ]
        waiting = [Load(one.needs.seconds, one.needs.cores) for one in self._waiting.values()]
        return placing.left([*running, *waiting], sum(one.cores for one in self._fit()))

    def _demand_all(self, jobs: Sequence[Job]) -> None:
        """Raise the error of the first job that failed, with what became of the others that did."""
        failed = [self._failed[one.key] for one in jobs if one.key in self._failed]
        if not failed:
            return
        code = failed[0][1]
        kind = next((one for one in RetreadError.__subclasses__() if one.exit_code == code), RetreadError)
        raise kind(
            f"{len(failed)} of {counted(len(jobs), 'job')} failed on {self._engine.title}",
            faults=first([why for why, _ in failed]),
            hint=f"their logs lie in {self._out}; what is done is kept, the same command goes on from there",
        )
