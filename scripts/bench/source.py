#!/usr/bin/env python3
"""Measure the source lane on real xFormers, beside the same compile by plain ``python -m build``.

Everything is compiled with the same toolkit, environment, compiler, architectures and number of jobs. ``--write`` puts
the table into docs/. Takes less than an hour on 2 cores.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from measure import RETREAD, ROOT, Row, Took, command_line, median, render, run, say, timed
from retread.build import choice
from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.store import Store
from retread.lanes.source import Compiled
from retread.recipe import workspace

RECIPE = "xformers-0.0.35"
TARGET = "cu130"
ARCHITECTURES = ("9.0", "10.0")
UNIT = "xformers/csrc/sparse24/sparse24_pack.cu"
INPUTS = ("downloads", "trees", "toolkits", "toolchains", "environments")


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
        self.root = work / "workspace"
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

    def plain(self, tree: Path) -> Took:
        """Build with ``python -m build`` in ``tree``."""
        python = self.environment / "bin" / "python"
        command = [python, "-m", "build", "--wheel", "--no-isolation", "--outdir", self.work / "plain", tree]
        return run(command, self.plain_environment(), self.work)

    def plain_unit(self, tree: Path) -> float:
        """Return the seconds of compiling the changed unit, and linking, with what the plain build wrote."""
        build = next((tree / "build").glob("temp*"))
        env = self.plain_environment()
        (tree / UNIT).write_text((tree / UNIT).read_text() + "static const int retread_bench = 0;\n")
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


def edit_unit(bench: Bench, number: int) -> None:
    """Give the series a patch that changes one unit."""
    text = (bench.source.root / UNIT).read_text().splitlines()
    context = "".join(f" {line}\n" for line in text[-3:])
    hunk = (
        f"@@ -{len(text) - 2},3 +{len(text) - 2},4 @@\n{context}+static const int retread_bench = {number};\n"
    )
    header = "Subject: Measure\nBreaks: nothing\nAffects: none\nUpstream: not reported\nDrop-when: later\n\nNo.\n---\n"
    folder = bench.root / "patches" / "xformers" / RECIPE.partition("-")[2]
    patch = f"{header}diff --git a/{UNIT} b/{UNIT}\n--- a/{UNIT}\n+++ b/{UNIT}\n{hunk}"
    (folder / "0099-measure.patch").write_text(patch)
    series = (folder / "series").read_text().replace("0099-measure.patch\n", "")
    (folder / "series").write_text(f"{series}0099-measure.patch\n")


def measure(work: Path) -> list[Row]:
    """Return the rows of the table."""
    say("fetching the toolkit, the build environment and the source")
    bench = Bench(work)
    tree = work / "tree"
    shutil.copytree(bench.source.root, tree)
    say("plain python -m build")
    plain = bench.plain(tree)
    say("retread, cache off")
    without = bench.build("--no-cache")
    bench.forget(cache=True)
    say("retread, cache on and empty")
    cold = bench.build()
    patch = next((bench.root / "patches" / "xformers" / RECIPE.partition("-")[2]).glob("0001-*.patch"))
    text, edits = patch.read_text(), iter(range(100))

    def edited() -> Took:
        patch.write_text(text.replace("Breaks: ", f"Breaks: (edit {next(edits)}) ", 1))
        return bench.build()

    say("a Python-only patch changed")
    overlay = median(5, edited)
    say("one unit changed")
    alone = bench.plain_unit(tree)
    edit_unit(bench, 1)
    unit = bench.build()
    bench.forget(cache=False)
    say("hot cache, no store")
    hot = bench.build()
    ratio = cold.seconds / plain.seconds
    return [
        Row("cold, cache off", without.seconds, f"plain `python -m build`: {plain.seconds:.0f} s; x 1.05",
            plain.seconds * 1.05, without.memory),
        Row(f"cold, cache on and empty (x {ratio:.2f} of plain)", cold.seconds, "no bound; what the cache costs",
            float("inf"), cold.memory),
        Row("a Python-only patch changed", overlay.seconds, "1.5 s", 1.5, overlay.memory),
        Row("one `.cu` file changed", unit.seconds, f"compiling that file and linking: {alone:.1f} s; x 1.2",
            alone * 1.2, unit.memory),
        Row("all again, hot cache, no store", hot.seconds, f"cold: {cold.seconds:.0f} s; x 0.1",
            cold.seconds * 0.1, hot.memory),
    ]  # fmt: skip


def table(work: Path) -> str:
    """Return the table as Markdown."""
    what = (
        f"{RECIPE} for CUDA 13.0 and {', '.join(ARCHITECTURES)}, toolkit and build environment in the store."
    )
    remarks = f"{what} Memory is that of the largest single process that retread itself waits for."
    return render("Measures of the source lane", "make bench-source", remarks, measure(work))


command_line(__doc__, "benchmarks-source.md", table)
