#!/usr/bin/env python3
"""Measure jobs on a Ray cluster: wheels on two nodes against one, and what Ray and retread add to a job.

The nodes are Ray's own (``ray.cluster_utils.Cluster``), one core each, all on this machine. ``--write`` puts the table
into docs/.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from measure import ROOT, Row, command_line, render, say, timed

JOBS = 10_000
RECIPES = os.environ.get("RECIPES", "").split()
"""Whose first targets are built; every target of every recipe when none is named."""
REMARKS = """\
Nodes are simulated on one machine, one core each. Two against one shows that jobs which do not share anything but the
machine are spread, and what that costs; it does not show networks, other disks, or how a head fares with a hundred
nodes. Each node begins with the downloads and nothing else in its store; wheels are compared by their bytes.
The driver knows of the first run how long each job takes, as any does that ran before, and begins with the longest.
No-op jobs are whole jobs but for the work: placed by Ray, result returned, checked, and kept on the disk."""
NODE_MEMORY = 5 << 29


@contextmanager
def cluster(work: Path, nodes: int) -> Iterator[Any]:
    """Yield a cluster with so many nodes of one core, each with a store that has the downloads of this user's."""
    from ray.cluster_utils import Cluster

    made: Any = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 400 << 20},
    )
    try:
        for number in range(nodes):
            store = work / f"store-{nodes}-{number}"
            with_downloads(store)
            variables = {"RETREAD_STORE": str(store)}
            made.add_node(num_cpus=1, memory=NODE_MEMORY, object_store_memory=400 << 20, env_vars=variables)
        yield made
    finally:
        made.shutdown()


def with_downloads(store: Path) -> None:
    """Put this user's downloads into a new store."""
    from retread.doors.store import default_root

    own = default_root(dict(os.environ)) / "downloads"
    shutil.copytree(own, store / "downloads", copy_function=link)


def link(source: str, target: str) -> None:
    """Link a file, or copy it to another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


class Made(NamedTuple):
    """What a run of all made: the seconds of the whole and of its longest job, and each wheel's digest."""

    seconds: float
    longest: float
    digests: dict[str, str]


def build(work: Path, nodes: int) -> Made:
    """Build every overlay recipe; the driver is the same each time, and knows of the last how long each took."""
    out, driver = work / f"dist-{nodes}", work / "driver"
    if not driver.exists():
        with_downloads(driver)
    env = {**os.environ, "RETREAD_STORE": str(driver)}
    with cluster(work, nodes) as made:
        where = f"ray://{made.address}"
        what = [*(RECIPES or ["--all"]), "--lane", "overlay"]
        command = [sys.executable, "-m", "retread", "build", *what, "--on", where, "-o", out]
        began = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, env=env, check=False, text=True, stderr=subprocess.PIPE)
        seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr)
    digests = {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in sorted(out.glob("*.whl"))}
    results = [json.loads(one.read_bytes()) for one in out.glob("jobs/*/result.json")]
    return Made(seconds, max(one["seconds"] for one in results), digests)


def wheel_rows(work: Path) -> list[Row]:
    """Build every overlay recipe on one node, and on two."""
    made = {}
    for nodes in (1, 2):
        say(f"all overlay recipes on {nodes} nodes")
        made[nodes] = build(work, nodes)
    one, two = made[1], made[2]
    same = "the same bytes" if one.digests == two.digests else "**other bytes**"
    what = f"{len(two.digests)} overlay wheels"
    limit = max(one.seconds / 2, two.longest)
    against = f"one node: {one.seconds:.0f} s; x 0.6"
    beside = f"the longest job, or half of one node: {limit:.0f} s; x 1.2"
    return [
        Row(f"{what}, one node", one.seconds, f"its longest job: {one.longest:.0f} s", float("inf"), 0),
        Row(f"{what}, two nodes; {same}", two.seconds, against, 0.6 * one.seconds, 0),
        Row("the same", two.seconds, beside, 1.2 * limit, 0),
    ]


def noop(job: Any, order: Any, workspace: bytes, board: Any) -> tuple[Mapping[str, bytes], str]:
    """Do nothing, and say that it is done."""
    import msgspec

    from retread.jobs.job import Result

    result = Result(
        schema=1, key=job.key, kind=job.kind, name=job.name, code=0, wheels=(), cached=False, seconds=0.0,
        memory_bytes=0, memory_limit_bytes=None, said="",
    )  # fmt: skip
    return {"result.json": msgspec.json.encode(result)}, ""


def idle_rows(work: Path) -> list[Row]:
    """Run jobs that do nothing, and as many of Ray's own tasks."""
    import ray

    from retread.doors.console import Console
    from retread.doors.machine import Machine
    from retread.doors.store import Store
    from retread.jobs import drive, onray
    from retread.jobs.cluster import address
    from retread.jobs.job import Job, Kind, Needs, sealed

    say(f"{JOBS} jobs that do nothing")
    needs = Needs(
        cores=1, memory_bytes=1 << 20, seconds=1, disk_bytes=0, gpu=None, processor=os.uname().machine
    )
    jobs = [
        sealed(
            Job(
                key="0" * 64, kind=Kind.BUILD, name=f"noop-{number}", recipe="none", target="none", lane="overlay",
                python="3.12", platform="x86_64", needs=needs, inputs={"number": str(number)},
            )
        )
        for number in range(JOBS)
    ]  # fmt: skip
    machine = Machine(Store(work / "store"), Console(stream=io.StringIO(), quiet=True), os.environ)
    with cluster(work / "idle", 2) as made:
        ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
        task = ray.remote(num_cpus=1, max_retries=0)(lambda number: number)
        ray.get([task.remote(number) for number in range(20)])
        bare = timed(lambda: ray.get([task.remote(number) for number in range(JOBS)]))
        engine = onray.OnRay(address(f"ray://{made.address}"), b"", machine, noop)
        driver = drive.Driver(engine, machine, work / "out")
        took = timed(lambda: driver.drive(jobs))
        again = timed(lambda: drive.Driver(engine, machine, work / "out").drive(jobs))
        engine.close()
        ray.shutdown()
    per = f"Ray's own tasks: {bare:.1f} s"
    return [
        Row(f"{JOBS:,} no-op jobs on two nodes", took, per, float("inf"), 0),
        Row("of that, one job", took / JOBS, f"of Ray's: {bare / JOBS * 1000:.1f} ms", 0.05, 0),
        Row(f"{JOBS:,} jobs that are done already", again, "no cluster needed", float("inf"), 0),
    ]


def measure(work: Path) -> str:
    """Return the table as Markdown."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.update(RAY_worker_niceness="0")  # else whatever runs beside it wins; the guide says so
    rows = idle_rows(work)
    for one in rows:
        say(" | ".join(one.cells()))
    rows += wheel_rows(work)
    return render("Measures on many machines", "make bench-many", REMARKS.replace("\n", " "), rows)


if __name__ == "__main__":
    command_line(__doc__, "benchmarks-many.md", measure)
