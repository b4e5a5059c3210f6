"""How the benchmarks measure: whole commands, side by side in one run, told as a table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
RETREAD = Path(sys.executable).with_name("retread")


class Row(NamedTuple):
    """One line of the table; times in seconds, memory in MB."""

    what: str
    took: float
    against: str
    bound: float
    memory: float

    def cells(self) -> list[str]:
        """Return the cells as text."""
        verdict = (
            "" if self.bound == float("inf") else "holds" if self.took <= self.bound else "**does not hold**"
        )
        return [
            self.what,
            seconds(self.took),
            self.against,
            seconds(self.bound) if self.bound < float("inf") else "none",
            f"{self.memory:.0f} MB" if self.memory else "",
            verdict,
        ]


def seconds(time: float) -> str:
    """Return a time as the tables show it."""
    return f"{time:.2f} s" if time >= 0.2 else f"{time * 1000:.0f} ms"


class Took(NamedTuple):
    """Median wall time in seconds and greatest resident memory in MB of some runs."""

    seconds: float
    memory: float


BEFORE = """
## Before

What the same command told of an earlier state of retread.

"""
SHIM = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
seconds = time.perf_counter() - started
memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
if done.returncode:
    sys.exit(done.stdout.decode())
print(json.dumps([seconds, memory]))
"""
"""A small process between this one and the command: a child's peak memory starts at its parent's."""


def command_line(doc: str | None, page: str, measure: Callable[[Path], str]) -> None:
    """Be the program of a benchmark: print the table that is measured in an empty folder, and write it if asked to."""
    parser = argparse.ArgumentParser(description=doc)
    offer_writing(parser, page)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="retread-bench-") as folder:
        table = measure(Path(folder))
    finish(page, table, options)


def offer_writing(parser: argparse.ArgumentParser, page: str) -> None:
    """Let the command write its page."""
    parser.add_argument("--write", action="store_true", help=f"write docs/development/{page}")
    parser.add_argument("--keep", action="store_true", help="keep what stands there, as measured before")


def finish(page: str, table: str, options: argparse.Namespace) -> None:
    """Print what was measured, and write the page if asked to; what it keeps of before stays at its end."""
    print(table)
    if options.write:
        path = ROOT / "docs" / "development" / page
        now, _, before = path.read_text().partition(BEFORE) if path.exists() else ("", "", "")
        kept = now.partition("\n\n")[2] if options.keep else before
        path.write_text(f"{table}\n{BEFORE}{kept}" if kept else f"{table}\n")


def run(command: Sequence[str | Path], env: Mapping[str, str], cwd: Path) -> Took:
    """Run one command; its output is shown when it fails."""
    shim = [sys.executable, "-S", "-c", SHIM, *map(str, command)]
    done = subprocess.run(shim, env=env, cwd=cwd, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    return Took(*json.loads(done.stdout))


def median(times: int, once: Callable[[], Took]) -> Took:
    """Run several times."""
    took = [once() for _ in range(times)]
    return Took(statistics.median(one.seconds for one in took), max(one.memory for one in took))


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that ``action`` takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def say(text: str) -> None:
    """Tell what is being measured."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def render(title: str, command: str, remarks: str, rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown page with what was measured where."""
    head = ["what", "took", "against", "bound", "peak memory", "verdict"]
    said = f"`{command}` on {machine()}. Times are of one run on one machine: read them as ratios. {remarks}"
    return "\n\n".join([f"# {title}", said, table(head, [row.cells() for row in rows])])


def machine() -> str:
    """Return where it is measured, in a few words."""
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {platform.machine()}, Python {platform.python_version()}"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *lines))
