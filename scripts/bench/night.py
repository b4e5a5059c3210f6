#!/usr/bin/env python3
"""What a night of 1000 wheels on 100 machines needs, and where it breaks, by simulation.

The jobs are this repository's own, again and again, each as long as it was measured; retread's own driver hands them
out. First some of them run on a real Ray of some nodes, with the clock turned faster, and beside that the simulated
engine runs the same: it has to come to the same time before its word counts for 100 machines, which are simulated by
events. ``--write`` puts page and plot into docs/. Takes three minutes on 2 cores; needs retread[ray].
"""

from __future__ import annotations

import argparse
import gzip
import heapq
import io
import itertools
import json
import os
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from measure import BEFORE, ROOT, say
from retread.arch import Arch
from retread.compile.schedule import GIB
from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.store import Store
from retread.jobs import cluster, listing, onray
from retread.jobs import job as jobs_
from retread.jobs.drive import Driver, Files, Lost, News
from retread.jobs.job import Job, Kind, Needs, Result
from retread.jobs.placing import Node
from retread.recipe import workspace
from retread.text import charts

WHEELS: Final = 1000
MACHINES: Final = 100
CORES, MEMORY = 8, 32 * GIB
GPUS: Final = 10
"""Machines that have one GPU."""
CAPABILITY: Final = Arch("9.0")
PROCESSOR: Final = "x86_64"
"""Of all machines: what is tried on another is left out."""
NIGHT: Final = 8 * 3600.0
DOCS: Final = ROOT / "docs"


class Measured(NamedTuple):
    """How long something took, and the page that says so."""

    seconds: float
    page: str


def table(page: str, row: str, column: int = 1) -> Measured:
    """Return the seconds in the cell of a table in docs/, by the words that its row begins with."""
    lines = (DOCS / page).read_text("utf-8").partition(BEFORE)[0].splitlines()
    cells = [line.split("|") for line in lines if line.startswith(f"| {row}")]
    assert len(cells) == 1, f"{page} has {len(cells)} rows that begin with {row}"
    found = re.match(r" (?:([0-9.]+) min)? ?(?:([0-9.]+) (m?)s)?", cells[0][column + 1])
    minutes, seconds, thousandth = found.groups("") if found else ("", "", "")
    assert minutes or seconds, f"{page}: no time in {cells[0][column + 1]}"
    return Measured(
        60 * float(minutes or 0) + float(seconds or 0) / (1000 if thousandth else 1), f"{page}, {row}"
    )


def trials(evidence: str, *levels: str) -> Measured:
    """Return the seconds that all runs of some levels took in a report."""
    report = json.loads(gzip.decompress((DOCS / "evidence" / f"{evidence}.json.gz").read_bytes()))
    took = [one["seconds"] for one in report["runs"] if one["level"] in levels]
    assert took, f"{evidence} has no run of {levels}"
    return Measured(sum(took), f"evidence/{evidence}, {len(took)} runs")


LENGTHS: Final = {
    "compile": table("guides/container.md", "xformers-0.0.35 cu130, nothing in the cache"),
    "compile, hot": table("guides/container.md", "the same, every unit in the compile cache"),
    "overlay": table("development/benchmarks.md", "first build, empty store"),
    "static/jit": trials("smoke-cpu-xformers-0.0.35-cu128", "static", "jit"),
    "static": trials("smoke-cpu-ctranslate2-4.8.5-cu128", "static"),
    "gpu": trials("gpu-h200-xformers-0.0.35-cu128-one-by-one", "gpu"),
}
"""How long each kind of job was measured to take."""
SIZES: Final = {
    "environment": (3.0e9, "of a lock with torch and CUDA's libraries, packed"),
    "toolkit": (122e6, "packed (src/retread/shared/parcel.py)"),
    "source": (4.3e6, "the sdist"),
    "wheel": (4.4e6, "a finished wheel with its evidence"),
}
"""Bytes that a machine takes from the shared store when it has them not yet."""
CHANGE: Final = table("development/benchmarks-index.md", "one wheel of a known project among 1,000").seconds
"""Seconds of a change of an index."""
STORE: Final = 10e9 / 8
"""Bytes a second that a store gives which hangs on one line of 10 Gbit/s; an assumption."""
SPREAD: Final = 0.5
"""How full Ray packs a node before it takes the emptiest (its ``RAY_scheduler_spread_threshold``)."""
FAST: Final = 100.0
"""How much faster the clock of the run on Ray is."""
TRIED: Final = (50, 5, 4, 2)
"""Wheels of that run, its nodes, their cores, and how many of them have a GPU."""


class Taken(NamedTuple):
    """What a job did: when, in the simulation's seconds, where, and what it took from the shared store."""

    job: Job
    node: str
    start: float
    end: float
    bytes: float


def length(job: Job, *, hot: bool = False) -> float:
    """Return the seconds that a job was measured to take."""
    if job.kind is Kind.BUILD:
        return LENGTHS["overlay" if job.lane == "overlay" else "compile, hot" if hot else "compile"].seconds
    return LENGTHS["gpu" if job.needs.gpu else "/".join(job.level)].seconds


def night(wheels: int, *, hot: bool = False) -> list[Job]:
    """Return the jobs of so many wheels: this repository's, as often as it takes, each time another revision."""
    machine = Machine(Store(Path("/nonexistent")), Console(stream=io.StringIO()), dict(os.environ))
    recipes = [workspace.load(ROOT, name) for name in workspace.recipes(ROOT)]
    listed = listing.jobs_of(machine, recipes, listing.Asked(cores=2), skip=lambda _: None)
    own = [one for one in listed if one.needs.processor == PROCESSOR]
    found: list[Job] = []
    for number in itertools.count():
        keys: dict[str, str] = {}
        for one in own:
            if one.kind is Kind.BUILD and sum(job.kind is Kind.BUILD for job in found) == wheels:
                return found
            if not all(key in keys for key in one.after):
                continue
            needs = msgspec.structs.replace(one.needs, seconds=max(1, int(length(one, hot=hot))))
            made = jobs_.sealed(
                msgspec.structs.replace(
                    one, name=f"{one.name}-r{number}", needs=needs, after=tuple(keys[key] for key in one.after),
                    inputs={**one.inputs, "revision": str(number)},
                )
            )  # fmt: skip
            keys[one.key] = made.key
            found.append(made)
    raise AssertionError


def result(job: Job) -> Files:
    """Return what a job leaves that did nothing."""
    made = Result(
        schema=jobs_.SCHEMA, key=job.key, kind=job.kind, name=job.name, code=0, wheels=(), cached=False,
        seconds=0.0, memory_bytes=0, memory_limit_bytes=None, said="",
    )  # fmt: skip
    return Files({"result.json": msgspec.json.encode(made)})


class Simulated:
    """An engine of events: it places as Ray does, and its clock jumps."""

    title = "the simulation"

    def __init__(
        self, nodes: Sequence[Node], overhead: float, *, hot: bool = False, fast: float = 1.0,
        has: Mapping[str, set[str]] | None = None,
    ) -> None:  # fmt: skip
        self._nodes = nodes
        self._overhead = overhead
        self._hot, self._fast = hot, fast
        self._free = {one.key: [one.cores, one.memory, sum(one.gpus.values())] for one in nodes}
        self.has = {one.key: set(has[one.key]) if has else set() for one in nodes}
        self._queue: list[tuple[int, Job, Needs, Sequence[Node]]] = []
        self._events: list[tuple[float, int, Job, Needs, str]] = []
        self._count = 0
        self._next = 0.0
        self.now = 0.0
        self.taken: list[Taken] = []

    def nodes(self) -> Sequence[Node]:
        """Return all nodes: none goes."""
        return self._nodes

    def expect(self) -> bool:
        """Return that all have said what they are."""
        return False

    def start(self, job: Job, needs: Needs, nodes: Sequence[Node], before: Mapping[str, Files]) -> int:
        """Queue a job."""
        self._count += 1
        self._queue.append((self._count, job, needs, nodes))
        return self._count

    def ended(self, seconds: float) -> Iterator[tuple[int, Files | Lost]]:
        """Place what has room, and yield what ends next."""
        self._place()
        if self._events:
            self.now, number, job, needs, node = heapq.heappop(self._events)
            self._change(node, needs, 1)
            yield number, result(job)

    def _place(self) -> None:
        left, full = [], set()
        for number, job, needs, nodes in self._queue:
            size = (needs.cores, needs.memory_bytes, needs.gpu)
            fits = [one for one in nodes if self._fits(one.key, needs)] if size not in full else []
            node = min(fits, key=lambda one: self._preference(one, needs)).key if fits else None
            if node is None:
                full.add(size)
                left.append((number, job, needs, nodes))
                continue
            self._change(node, needs, -1)
            self._next = max(self._next, self.now) + self._overhead  # the head hands out one after the other
            end = self._next + length(job, hot=self._hot) / self._fast
            self.taken.append(Taken(job, node, self._next, end, self._fetch(job, node)))
            heapq.heappush(self._events, (end, number, job, needs, node))
        self._queue = left

    def _preference(self, node: Node, needs: Needs) -> tuple[bool, float]:
        """Return what Ray looks at: no GPU for a job without one; pack a node to its half, then spread."""
        used = 1 - self._free[node.key][0] / node.cores
        return bool(node.gpus) and needs.gpu is None, used if used >= SPREAD else 0.0

    def _fits(self, node: str, needs: Needs) -> bool:
        cores, memory, gpus = self._free[node]
        return cores >= needs.cores and memory >= needs.memory_bytes and gpus >= (needs.gpu is not None)

    def _change(self, node: str, needs: Needs, sign: int) -> None:
        for at, much in enumerate((needs.cores, needs.memory_bytes, int(needs.gpu is not None))):
            self._free[node][at] += sign * much

    def _fetch(self, job: Job, node: str) -> float:
        """Return the bytes that a node takes for a job; what it has it keeps."""
        wanted = {f"wheel {job.key}": SIZES["wheel"][0]}
        if job.kind is Kind.SMOKE or job.lane != "overlay":
            wanted[f"environment {job.kind} {job.recipe} {job.target} {job.python}"] = SIZES["environment"][0]
        if job.kind is Kind.BUILD:
            wanted[f"toolkit {job.toolchain or job.target}"] = SIZES["toolkit"][0]
            wanted[f"source {job.recipe}"] = SIZES["source"][0]
        new = wanted.keys() - self.has[node]
        self.has[node] |= new
        return sum(wanted[name] for name in new)

    def news(self) -> Mapping[int, News]:
        """Return nothing: nobody looks."""
        return {}

    def drop(self, number: int) -> None:
        """Do nothing: nobody is silent."""


def machines(count: int, gpus: int, cores: int = CORES) -> list[Node]:
    """Return machines, those with a GPU last: what needs none goes elsewhere first."""
    with_gpu = {CAPABILITY: 1}
    return [
        Node(f"n{one}", f"n{one}", cores, MEMORY, PROCESSOR, with_gpu if one >= count - gpus else {})
        for one in range(count)
    ]


def simulate(jobs: Sequence[Job], engine: Simulated) -> tuple[list[Taken], float]:
    """Run jobs on an engine by retread's own driver; return what they did, and the seconds that deciding took."""
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Store(Path(folder, "store")), Console(stream=io.StringIO()), {})
        Driver(engine, machine, Path(folder, "out")).drive(jobs)
    return engine.taken, time.process_time() - began


def nothing(job: Job, order: Any, workspace: bytes, board: Any) -> tuple[dict[str, bytes], str]:
    """Be a job on a node of Ray's that does nothing."""
    return dict(result(job).files), ""


def waiting(job: Job, order: Any, workspace: bytes, board: Any) -> tuple[dict[str, bytes], str]:
    """Be one that only takes its time."""
    time.sleep(length(job) / FAST)
    return dict(result(job).files), ""


def on_ray(jobs: Sequence[Job], *, instant: bool = False) -> float:
    """Return the seconds that jobs take on a real Ray of some nodes."""
    import ray
    from ray.cluster_utils import Cluster

    _, count, cores, gpus = TRIED
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # the path of a socket is short
    (folder / "ray").mkdir()  # where Ray notes the cluster's address, and makes no folder for it
    os.environ |= {"RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}
    made = Cluster()
    try:
        made.add_node(num_cpus=0)
        for one in range(count):
            more = {"num_gpus": 1, "resources": {f"cc{CAPABILITY}": 1}} if one >= count - gpus else {}
            made.add_node(num_cpus=cores, memory=MEMORY, **more)
        ray.init(address=made.address, logging_level="ERROR", log_to_driver=False, namespace="retread")
        with tempfile.TemporaryDirectory() as folder:
            machine = Machine(Store(Path(folder, "store")), Console(stream=io.StringIO()), dict(os.environ))
            work = nothing if instant else waiting
            engine = onray.OnRay(cluster.Address(made.address), b"", machine, work)
            engine.nodes()
            began = time.perf_counter()
            Driver(engine, machine, Path(folder, "out")).drive(jobs)
            took = time.perf_counter() - began
            engine.close()
            return took
    finally:
        ray.shutdown()
        made.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


class Case(NamedTuple):
    """A night."""

    what: str
    machines: int = MACHINES
    gpus: int = GPUS
    hot: bool = False
    again: bool = False
    """Whether the machines have from the night before what is not new."""


class Night(NamedTuple):
    """What it came to."""

    case: Case
    seconds: float
    gpu_hours: float
    core_hours: float
    bytes: float
    peak: float
    """Bytes a second from the store, in its worst five minutes."""
    changes: int
    """Of the index, in its worst minute."""
    deciding: float
    """Seconds of one processor that the driver took."""
    jobs: int


CASES: Final = (
    Case("nothing is there"),
    Case("the machines have the environments of the night before", again=True),
    Case("that, and every unit in the compile cache", again=True, hot=True),
    Case("20 GPUs", gpus=20, again=True),
    Case("5 GPUs", gpus=5, again=True),
    Case("25 machines", machines=25, again=True),
)


def nights(overhead: float) -> Iterator[Night]:
    """Yield what each case comes to."""
    jobs = {hot: night(WHEELS, hot=hot) for hot in (False, True)}
    for case in CASES:
        say(case.what)
        nodes = machines(case.machines, case.gpus)
        has = None
        if case.again:
            before = Simulated(nodes, overhead)
            simulate(jobs[False], before)
            has = {
                key: {one for one in found if not one.startswith("wheel ")}
                for key, found in before.has.items()
            }
        taken, deciding = simulate(jobs[case.hot], Simulated(nodes, overhead, hot=case.hot, has=has))
        yield told(case, taken, deciding)


def told(case: Case, taken: Sequence[Taken], deciding: float) -> Night:
    """Return what jobs that ran come to."""
    proven: dict[str, float] = {}
    for one in taken:
        for key in one.job.after:  # a wheel is listed when its last trial is done
            proven[key] = max(proven.get(key, 0.0), one.end)
    per_minute = Counter(int(end // 60) for end in proven.values())
    per_five = Counter[int]()
    for one in taken:
        per_five[int(one.start // 300)] += int(one.bytes)
    spent = [(one.end - one.start, one.job) for one in taken]
    return Night(
        case=case,
        seconds=max(one.end for one in taken),
        gpu_hours=sum(seconds for seconds, job in spent if job.needs.gpu) / 3600,
        core_hours=sum(seconds * job.needs.cores for seconds, job in spent) / 3600,
        bytes=sum(one.bytes for one in taken),
        peak=max(per_five.values()) / 300,
        changes=max(per_minute.values()),
        deciding=deciding,
        jobs=len(taken),
    )


def demands(one: Night) -> Iterator[tuple[str, float, str]]:
    """Yield what is asked of each part, against what it has: above 1 it breaks."""
    yield "the night of 8 hours", one.seconds / NIGHT, f"{one.seconds / 3600:.1f} h"
    yield "GPUs", one.gpu_hours / (one.case.gpus * NIGHT / 3600), f"{one.gpu_hours:.0f} GPU hours"
    cores = one.case.machines * CORES * NIGHT / 3600
    yield "cores", one.core_hours / cores, f"{one.core_hours:.0f} core hours"
    yield "the store's line of 10 Gbit/s", one.peak / STORE, f"{one.peak / 1e9:.2f} GB/s"
    yield "the index", one.changes * CHANGE / 60, f"{one.changes} changes in a minute"
    yield "the driver", one.deciding / one.seconds, f"{one.deciding:.0f} s of deciding"


def plot(found: Sequence[Night]) -> str:
    """Return the demands as a chart that stands alone."""
    points = [
        charts.Dot(row, one.case.what, value, f"{one.case.what}: {text}")
        for one in found
        for row, value, text in demands(one)
    ]
    svg = charts.dots(points, name="night", title="What a night asks of each part, against what that has")
    colours = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a")
    style = "text{font:12px sans-serif;fill:#333}line{stroke:#ccc}" + "".join(
        f".kind-{at}{{fill:{colour}}}" for at, colour in enumerate(colours)
    )
    head, end, rest = svg.partition(">")
    head = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"')
    return f"{head}{end}<style>{style}</style>{rest}\n"


def rows(*lines: Sequence[str]) -> str:
    """Return lines as a Markdown table."""
    head, *rest = lines
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rest))


INTRODUCTION: Final = """\
`make bench-night`. {wheels} wheels on {machines} machines of {cores} cores and {memory} GiB, of which {gpus} have a
GPU, by simulation: the jobs are those of this repository's own recipes, again and again, each as long as it was
measured, and handed out by the driver that `--on ray` uses. Trials of wheels for another processor are left out.
Nobody ran such a night."""
BREAKS: Final = """\
- **GPUs first.** {gpu_hours:.0f} GPU hours need {least:.0f} of them in a night of 8 hours, if all are of capability
  {capability}, as the recipes ask. With fewer the night grows in proportion; more machines do not help.
- **The store's line, where machines are new.** {bytes:.1f} TB are {each:.0f} GB a machine, nearly all of it
  environments with torch: the engine does not know who has which. At its peak {peak:.1f} GB/s are asked of a line of
  10 Gbit/s, an assumption, which gives {line:.2f}. The night after takes {after:.2f} TB. So keep the machines' stores
  from night to night, or give the environments more than one line.
- **Not the index.** A change takes {change:.0f} ms on a disk, hence {able:.0f} a minute one after the other, and
  {asked} are asked for in the worst one. In a bucket a change waits for each of its requests: that was not measured.
  Whoever lists all wheels in one action makes one change.
- **Not the driver.** Handing out {jobs:,} jobs took it {deciding:.0f} s of one processor."""
BELIEF: Final = """\
The jobs of {wheels} wheels ran on a real Ray (`ray.cluster_utils.Cluster`) of {nodes} nodes of {cores} cores, {gpus}
of them with a GPU by name, all on this one machine, each sleeping a hundredth of its time: {real:.0f} s. The simulation
gives {expected:.0f} s for the same, with {overhead:.0f} ms for each job, which is what Ray took for jobs that do
nothing. So it shows in which order jobs go and what handing them out costs. It shows no network, no disk that several
jobs share, no node that fails, and no Ray on 100 real machines."""


def page(found: Sequence[Night], real: float, expected: float, overhead: float) -> str:
    """Return the page."""
    wheels, nodes, cores, gpus = TRIED
    introduction = INTRODUCTION.format(
        wheels=WHEELS, machines=MACHINES, cores=CORES, memory=MEMORY // GIB, gpus=GPUS
    )
    belief = BELIEF.format(
        wheels=wheels, nodes=nodes, cores=cores, gpus=gpus, real=real, expected=expected,
        overhead=overhead * 1000,
    )  # fmt: skip
    lengths = rows(
        ("job", "seconds", "measured"), *((name, f"{much:g}", page) for name, (much, page) in LENGTHS.items())
    )
    sizes = rows(
        ("taken from the shared store", "MB", "what"),
        *((name, f"{much / 1e6:,.0f}", why) for name, (much, why) in SIZES.items()),
    )
    title = "What a night asks of each part, against what that has"
    parts = (
        *("# A night of 1000 wheels", introduction, lengths, sizes),
        *("## What it comes to", results(found), f"![{title}; above 1 it breaks](night.svg)"),
        *("## Where it breaks", breaks(found), "## How far this can be believed", belief),
    )
    return "\n\n".join(parts) + "\n"


def results(found: Sequence[Night]) -> str:
    """Return what each night comes to, as a table."""
    head = (
        "night",
        "machines",
        "GPUs",
        "done in",
        "GPU hours",
        "core hours",
        "from the store",
        "at its peak",
    )
    return rows(
        (*head, "index changes in a minute"),
        *(
            (one.case.what, f"{one.case.machines}", f"{one.case.gpus}", f"{one.seconds / 3600:.1f} h",
             f"{one.gpu_hours:.0f}", f"{one.core_hours:.0f}", f"{one.bytes / 1e12:.2f} TB",
             f"{one.peak / 1e9:.2f} GB/s", f"{one.changes}")
            for one in found
        ),
    )  # fmt: skip


def breaks(found: Sequence[Night]) -> str:
    """Return what gives way first."""
    first, after = found[:2]
    return BREAKS.format(
        gpu_hours=first.gpu_hours, least=-(-first.gpu_hours * 3600 // NIGHT), capability=CAPABILITY,
            bytes=first.bytes / 1e12, each=first.bytes / MACHINES / 1e9, peak=first.peak / 1e9, line=STORE / 1e9,
            after=after.bytes / 1e12, change=CHANGE * 1000, able=60 / CHANGE, jobs=first.jobs,
            asked=max(one.changes for one in found), deciding=first.deciding,
    )  # fmt: skip


def main() -> None:
    """Print the page, or write it with its plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/development/night.md and night.svg")
    options = parser.parse_args()
    wheels, count, cores, gpus = TRIED
    jobs = night(wheels)
    say("real Ray, jobs that do nothing")
    idle = 200
    overhead = on_ray(jobs[:idle], instant=True) / idle
    say("real Ray, a hundred times faster")
    real = on_ray(jobs)
    tried = Simulated(machines(count, gpus, cores), overhead, fast=FAST)
    simulate(jobs, tried)
    found = list(nights(overhead))
    made = page(found, real, max(one.end for one in tried.taken), overhead)
    print(made)
    if options.write:
        folder = ROOT / "docs" / "development"
        (folder / "night.md").write_text(made, "utf-8")
        (folder / "night.svg").write_text(plot(found), "utf-8")


if __name__ == "__main__":
    main()
