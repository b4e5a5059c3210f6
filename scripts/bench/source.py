#!/usr/bin/env python3
"""Measure the source lane on real xFormers, beside the same compile by plain ``python -m build``.

Everything is compiled with the same toolkit, environment, compiler, architectures and number of jobs; the environment's
modules have their bytecode before anything is measured. ``--write`` puts the table into docs/. It takes a quarter of an
hour on 2 cores; ``--only`` measures a part of it, or the compile without a cache, and ``--work`` keeps inputs, objects
and the plain tree in a folder for the next time. RETREAD_BENCH_INPUTS may name a store: its downloads, toolkits and
build environments are taken.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from measure import RETREAD, ROOT, Row, Took, finish, median, offer_writing, render, run, say, timed
from retread.build import choice
from retread.doors import fs
from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.store import Store
from retread.lanes.source import Compiled
from retread.recipe import workspace

PAGE = "benchmarks-source.md"
RECIPE = "xformers-0.0.35"
TARGET = "cu130"
ARCHITECTURES = ("9.0", "10.0")
UNITS = {
    "a long": ("xformers/csrc/sparse24/sparse24_pack.cu", 1),
    "a short": ("xformers/csrc/sparse24/sparse24_apply.cu", 3),
}
"""What is edited, and how often: of 13 the second in length, and one of the middle, beside which all that is not
compiling weighs more."""
TAKEN = ("downloads", "toolkits", "environments")
INPUTS = (*TAKEN, "trees", "toolchains")


class Bench:
    """A workspace, a store with all inputs, and the environment that every run gets."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.store = work / "store"
        self.jobs = str(len(os.sched_getaffinity(0)))
        self.env = {
            key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "SCCACHE_"))
        }
        self.env["RETREAD_STORE"] = str(self.store)
        if given := os.environ.get("RETREAD_BENCH_INPUTS"):
            self.store.mkdir(parents=True, exist_ok=True)
            for name in TAKEN:
                if not (self.store / name).exists():
                    (self.store / name).symlink_to(Path(given).absolute() / name)
        self.root = work / "workspace"
        self.tree = work / "tree"
        """Where the plain build compiles."""
        self.cold = self.plainly = 0.0
        """Seconds of the last cold build, and of the plain one; 0 before one."""
        fs.remove(self.root)
        for name in ("recipes", "patches"):
            shutil.copytree(ROOT / name, self.root / name)
        recipe = self.root / "recipes" / f"{RECIPE}.toml"
        head, table, rest = recipe.read_text().partition(f"[targets.{TARGET}]")
        listed = ", ".join(f'"{one}"' for one in ARCHITECTURES)
        rest = re.sub(
            r"^architectures = .*$", f"architectures = [{listed}]", rest, count=1, flags=re.MULTILINE
        )
        rest = re.sub(r"^ptx = .*$", "ptx = []", rest, count=1, flags=re.MULTILINE)
        recipe.write_text(head + table + rest)
        loaded = workspace.load(self.root, RECIPE)
        machine = Machine(Store(self.store), Console(), self.env)
        (job,) = choice.jobs(loaded, TARGET, machine)
        assert isinstance(job.origin, Compiled)
        self.toolkit, self.environment = job.origin.toolkit.root, job.origin.environment()
        self.source, self.origin = job.goal.trees.source, job.origin
        subprocess.run(
            [self.environment / "bin" / "python", "-c", "import build, torch.utils.cpp_extension"],
            env=self.plain_environment(),
            check=True,
        )

    def forget(self, *, cache: bool) -> None:
        """Remove everything that was made of the inputs, with ``cache`` the compile cache, too."""
        for path in self.store.iterdir():
            if path.name not in INPUTS and (cache or path.name != "sccache"):
                shutil.rmtree(path)

    def build(self, *options: str) -> Took:
        """Build with retread."""
        command = [RETREAD, "build", RECIPE, "--target", TARGET, "--jobs", self.jobs, *options]
        return run([*command, "-o", self.work / "dist"], self.env, self.root)

    def plain_environment(self) -> dict[str, str]:
        """Return what a plain build of the same wheel needs."""
        site = next((self.environment / "lib").glob("python*")) / "site-packages"
        return {
            "PATH": f"{self.environment}/bin:{self.toolkit}/bin:/usr/bin:/bin",
            "HOME": str(self.work),
            "CUDA_HOME": str(self.toolkit),
            "CPATH": f"{site}/nvidia/cu13/include",
            "TORCH_CUDA_ARCH_LIST": ";".join(ARCHITECTURES),
            "BUILD_VERSION": RECIPE.partition("-")[2],
            "MAX_JOBS": self.jobs,
            "CC": self.origin.place.compiler.c,
            "CXX": self.origin.place.compiler.cxx,
        }

    def plain(self) -> Took:
        """Build with ``python -m build``."""
        python = self.environment / "bin" / "python"
        command = [
            python,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            self.work / "plain",
            self.tree,
        ]
        return run(command, self.plain_environment(), self.work)

    def edit(self, unit: str) -> None:
        """Change a unit of the plain build's tree."""
        text = (self.source.root / unit).read_text()
        (self.tree / unit).write_text(f"{text}static const int retread_bench = {time.time_ns() % 10**9};\n")

    def plain_unit(self, unit: str) -> float:
        """Return the seconds of compiling the changed unit, and linking, with what the plain build wrote."""
        build = next((self.tree / "build").glob("temp*"))
        env = self.plain_environment()
        self.edit(unit)
        ninja = timed(
            lambda: subprocess.run(["ninja", "-C", build], env=env, check=True, stdout=subprocess.DEVNULL)
        )
        objects = sorted(build.rglob("*.o"))
        libraries = next((self.environment / "lib").glob("python*")) / "site-packages" / "torch" / "lib"
        link = [env["CXX"], "-shared", *objects, f"-L{libraries}", f"-L{self.toolkit}/lib64"]
        link += [
            "-lc10",
            "-ltorch",
            "-ltorch_cpu",
            "-lcudart",
            "-lc10_cuda",
            "-ltorch_cuda",
            "-o",
            self.work / "_C.so",
        ]
        return ninja + timed(lambda: subprocess.run(link, env=env, check=True))


def edit_unit(bench: Bench, unit: str, number: int) -> None:
    """Give the series a patch that changes one unit."""
    text = (bench.source.root / unit).read_text().splitlines()
    context = "".join(f" {line}\n" for line in text[-3:])
    hunk = (
        f"@@ -{len(text) - 2},3 +{len(text) - 2},4 @@\n{context}+static const int retread_bench = {number};\n"
    )
    header = "Subject: Measure\nBreaks: nothing\nAffects: none\nUpstream: not reported\nDrop-when: later\n\nNo.\n---\n"
    folder = bench.root / "patches" / "xformers" / RECIPE.partition("-")[2]
    name = f"0099-measure-{Path(unit).stem.replace('_', '-')}.patch"
    (folder / name).write_text(f"{header}diff --git a/{unit} b/{unit}\n--- a/{unit}\n+++ b/{unit}\n{hunk}")
    series = (folder / "series").read_text().replace(f"{name}\n", "")
    (folder / "series").write_text(f"{name}\n{series}")  # patches for one compiler alone come last


def cold_row(bench: Bench, cache: str, *options: str) -> Row:
    """Compile everything, beside the plain build."""
    if not bench.plainly:
        say("plain python -m build")
        fs.remove(bench.tree)
        shutil.copytree(bench.source.root, bench.tree)
        bench.plainly = bench.plain().seconds
    say(f"retread, cache {cache}")
    bench.forget(cache=True)
    took = bench.build(*options)
    bench.cold = took.seconds
    return Row(f"cold, cache {cache}", took.seconds, f"plain `python -m build`: {bench.plainly:.1f} s, so "
               f"{took.seconds / bench.plainly:.2f} x; x 1", bench.plainly, took.memory)  # fmt: skip


def cold_rows(bench: Bench) -> Iterator[Row]:
    """Compile everything plainly, and with an empty cache."""
    yield cold_row(bench, "on and empty")


def uncached_rows(bench: Bench) -> Iterator[Row]:
    """Compile everything without a cache."""
    yield cold_row(bench, "off", "--no-cache")


def python_rows(bench: Bench) -> Iterator[Row]:
    """Edit a patch of which nothing is compiled."""
    say("a Python-only patch changed")
    patch = next((bench.root / "patches" / "xformers" / RECIPE.partition("-")[2]).glob("0001-*.patch"))
    text, edits = patch.read_text(), iter(range(100))

    def edited() -> Took:
        patch.write_text(text.replace("Breaks: ", f"Breaks: (edit {next(edits)}) ", 1))
        return bench.build()

    bench.build()
    overlay = median(5, edited)
    patch.write_text(text)
    yield Row("a Python-only patch changed", overlay.seconds, "1.5 s", 1.5, overlay.memory)


def unit_rows(bench: Bench) -> Iterator[Row]:
    """Edit one unit, beside compiling and linking it alone, and a plain build, in turns; the medians count."""
    bench.build()
    for which, (unit, times) in UNITS.items():
        alone, plain, took = [], [], []
        for number in range(times):
            say(f"{which} unit changed, run {number + 1}")
            alone.append(bench.plain_unit(unit))
            bench.edit(unit)
            plain.append(bench.plain().seconds)
            edit_unit(bench, unit, time.time_ns() % 10**9)
            took.append(bench.build())
        limit, again = statistics.median(alone), statistics.median(plain)
        own, memory = statistics.median(one.seconds for one in took), max(one.memory for one in took)
        yield Row(f"one `.cu` file changed, {which} one", own, f"compiling that file and linking: {limit:.1f} s, so "
                  f"{own / limit:.2f} x; x 1.1", limit * 1.1, memory)  # fmt: skip
        yield Row("the same", own, f"plain `python -m build` in the tree of before: {again:.1f} s, so "
                  f"{own / again:.2f} x; x 1", again, memory)  # fmt: skip


def hot_rows(bench: Bench) -> Iterator[Row]:
    """Compile everything again with what the cache has."""
    say("hot cache, no store")
    bench.forget(cache=False)
    hot = bench.build()
    against = f"cold: {bench.cold:.0f} s; x 0.1" if bench.cold else "no bound without a cold build"
    bound = bench.cold * 0.1 if bench.cold else float("inf")
    yield Row("all again, hot cache, no store", hot.seconds, against, bound, hot.memory)


PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "cold": cold_rows,
    "python": python_rows,
    "unit": unit_rows,
    "hot": hot_rows,
    "uncached": uncached_rows,
}


def main() -> None:
    """Measure what was asked for, print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    offer_writing(parser, PAGE)
    parser.add_argument("--only", action="append", choices=PARTS, help="a part of it; may be repeated")
    parser.add_argument("--work", type=Path, help="a folder that is kept")
    options = parser.parse_args()
    with ExitStack() as stack:
        kept = options.work and options.work.resolve()
        work = kept or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="retread-bench-")))
        say("fetching the toolkit, the build environment and the source")
        bench = Bench(work)
        rows = [row for part in options.only or list(PARTS)[:4] for row in PARTS[part](bench)]
    what = (
        f"{RECIPE} for CUDA 13.0 and {', '.join(ARCHITECTURES)}, toolkit and build environment in the store."
    )
    remarks = f"{what} Memory is that of the largest single process that retread itself waits for."
    told = render("Measures of the source lane", "make bench-source", remarks, rows)
    finish(PAGE, told, options)


main()
