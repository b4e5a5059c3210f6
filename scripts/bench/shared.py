#!/usr/bin/env python3
"""Measure what a shared store saves: one machine makes a wheel from nothing, a second takes it.

Both are folders of this machine with a store and a home of their own; the second reaches no package index. ``--write``
puts the table into docs/. Takes some minutes on 2 cores. RETREAD_BENCH_INPUTS may name a store: its downloads and build
environments are the first machine's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from base64 import b64encode
from pathlib import Path
from typing import NamedTuple

from measure import ROOT, Row, Took, command_line, median, render, run, say
from retread.build import choice
from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.store import Store
from retread.evidence import keyfiles
from retread.lanes.source import Compiled
from retread.recipe import workspace

RECIPE = "xformers-0.0.35"
BOUND = 0.02
"""Of the cold build: a tenth of what a hot compile cache leaves of it."""
KEPT = ("downloads", "environments", "uv")


class Case(NamedTuple):
    """What is made: by which lane, from what."""

    target: str
    what: str
    compiled: bool


CASES = (
    Case("cu128", f"{RECIPE} cu128, overlay lane", compiled=False),
    Case("cu130", f"{RECIPE} cu130, source lane", compiled=True),
)


class Bench:
    """A workspace, a shared store, and a key that whoever reads it trusts."""

    def __init__(self, work: Path) -> None:
        self.work, self.root = work, work / "workspace"
        for name in ("recipes", "patches", "scripts"):
            shutil.copytree(ROOT / name, self.root / name)
        (work / "shared").mkdir()
        keys = {role: keyfiles.new(work, name) for role, name in (("builder", "ci"), ("tester", "lab"))}
        (work / "policy.toml").write_text(
            "".join(
                f'[[{role}]]\nname = "{key.name}"\nkey = "{b64encode(key.public).decode()}"\n'
                for role, key in keys.items()
            )
        )

    def machine(self, name: str, **more: str) -> dict[str, str]:
        """Return the environment of a machine."""
        own = ("RETREAD_", "SCCACHE_")
        env = {key: value for key, value in os.environ.items() if not key.startswith(own)}
        home = self.work / name
        home.mkdir(exist_ok=True)
        return env | {"HOME": str(home), "RETREAD_STORE": str(home / "store")} | more

    def first(self) -> dict[str, str]:
        """Return that of the one that makes everything and gives it to others."""
        shared = {"RETREAD_SHARED": f"file://{self.work}/shared", "RETREAD_SHARED_KEY": f"{self.work}/ci.key"}
        return self.machine("first", **shared)

    def second(self, number: int) -> dict[str, str]:
        """Return that of one that has nothing, reaches no index and has no key."""
        shared = {"RETREAD_SHARED": f"file://{self.work}/shared"}
        policy = {"RETREAD_SHARED_POLICY": f"{self.work}/policy.toml"}
        return self.machine(f"second-{number}", PIP_INDEX_URL="http://127.0.0.1:9/", **shared, **policy)

    def prepare(self) -> None:
        """Get what no machine can make: the downloads, and the build environment, which is made of them alone."""
        store = Path(self.first()["RETREAD_STORE"])
        store.mkdir(parents=True)
        if given := os.environ.get("RETREAD_BENCH_INPUTS"):
            for name in KEPT:
                (store / name).symlink_to(Path(given).absolute() / name)
        loaded = workspace.load(self.root, RECIPE)
        (job,) = choice.jobs(loaded, "cu130", Machine(Store(store), Console(), self.first()))
        assert isinstance(job.origin, Compiled)
        job.origin.environment()
        for path in store.iterdir():
            if path.name not in KEPT:
                shutil.rmtree(path)

    def build(self, case: Case, env: dict[str, str]) -> tuple[Took, str]:
        """Build, and return what that took and the wheel's digest."""
        out = Path(env["HOME"]) / case.target
        lane = "source" if case.compiled else "overlay"
        command = [sys.executable, "-m", "retread", "build", RECIPE, "--target", case.target, "--lane", lane]
        took = run([*command, "-o", out], env, self.root)
        (wheel,) = out.glob("*.whl")
        return took, hashlib.sha256(wheel.read_bytes()).hexdigest()


def measure(work: Path) -> list[Row]:
    """Return the rows of the table."""
    bench, rows, machines = Bench(work), [], iter(range(100))
    say("fetching what is downloaded, and the build environment")
    bench.prepare()
    for case in CASES:
        say(f"{case.what}: cold")
        cold, made = bench.build(case, bench.first())

        def taken(case: Case = case, made: str = made) -> Took:
            env = bench.second(next(machines))
            took, found = bench.build(case, env)
            assert found == made, "another wheel"
            shutil.rmtree(env["HOME"])
            return took

        say(f"{case.what}: taken")
        again = median(3, taken)
        ratio = f"x {again.seconds / cold.seconds:.4f} of the cold one"
        rows += [
            Row(f"{case.what}: made by the first machine, and given", cold.seconds, "", float("inf"), cold.memory),
            Row(f"the same wheel on a second, empty machine: {ratio}", again.seconds, f"cold; x {BOUND}",
                cold.seconds * BOUND if case.compiled else float("inf"), again.memory),
        ]  # fmt: skip
    return rows


def table(work: Path) -> str:
    """Return the table as Markdown."""
    rows = measure(work)
    given = sum(path.stat().st_size for path in (work / "shared" / "parcels").iterdir())
    remarks = (
        "The first machine has the downloads and the build environment, and no more: the toolkit and the sources it"
        " lays out itself. A second one is the median of three, each with an empty store and a home of its own, without"
        " a package index and without a key; its wheel is the first one's, byte for byte. The shared store is a"
        f" folder on the same disk and holds {given / 1e6:,.0f} MB in the end; a bucket adds its network."
        " Memory is that of the largest single process that retread itself waits for."
    )
    return render("Measures of the shared store", "make bench-shared", remarks, rows)


command_line(__doc__, "benchmarks-shared.md", table)
