#!/usr/bin/env python3
"""Measure how every command starts, and print a table; ``--write`` puts it into docs/.

Each command runs as ``--help``, which reads what may be typed and does nothing, and a handful for real, with nothing to
do. How long Python itself takes is measured by turns and taken off. What is imported is told by one more run of each,
by ``python -X importtime``, and counted without what Python's own start imports.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from measure import RETREAD, ROOT, command_line, machine, run, say, table, timed

RECIPE = "xformers-0.0.35"
LARGE = "xformers-0.0.32.post2"
"""A recipe whose wheel is large, for which much is copied and hashed."""
BILL = "from cyclonedx.model.bom import Bom; from cyclonedx.output.json import JsonV1Dot6"
RUNS = 7
HEAVIEST = 5
PYTHON = (sys.executable, "-c", "pass")
ASKED = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": os.devnull, "COMP_TYPE": "9"}
"""How a shell asks what may follow what was typed."""


class Start(NamedTuple):
    """A command as it is measured."""

    name: str
    words: tuple[str | Path, ...]
    env: Mapping[str, str] = {}


class Seen(NamedTuple):
    """What a command imported: how many modules, and the milliseconds of each package."""

    modules: int
    packages: dict[str, float]

    def heaviest(self) -> str:
        """Return the packages that took longest, with their milliseconds."""
        found = sorted(self.packages.items(), key=lambda one: -one[1])[:HEAVIEST]
        return ", ".join(f"{name} {took:.1f}" for name, took in found)


def measure(work: Path) -> str:
    """Return the page as Markdown."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    workspace = work / "workspace"
    for name in ("recipes", "patches"):
        shutil.copytree(ROOT / name, workspace / name)
    real = list(_real(work, env, workspace))
    say("every command")
    rows = {
        title: list(_rows(starts, env, workspace))
        for title, starts in (("For real, with nothing to do", real), ("`--help`", list(_helps())))
    }
    python = statistics.median(run(PYTHON, env, workspace).seconds for _ in range(RUNS))
    told = (
        f"`make bench-starts` on {machine()}. Wall times are medians of {RUNS} runs, of whole processes, as they are "
        f"typed; read them as ratios. Python's own start, with this environment, took {python * 1000:.0f} ms; *own* is "
        "what comes on top of it. Modules are those that Python's own start does not import. The heaviest imports are "
        "told by `-X importtime`, which slows them down: milliseconds of each package, without what it imports of "
        "others."
    )
    head = ["command", "took", "own", "modules", "heaviest imports, ms"]
    parts = ["# Starts", textwrap.fill(told, 118), WORDS]
    parts += [part for title, lines in rows.items() for part in (f"## {title}", table(head, lines))]
    say("an edited patch and its parts")
    parts += ["## One patch edited", EDITED, table(["what", "took"], list(_edited(work, env, workspace)))]
    return "\n\n".join(parts)


WORDS = """\
What a start is made of: Python, the modules that a command needs before it knows what to do, reading what was typed,
and ending. `--help` of the whole needs one sentence of each command, which a table has, so that no command's module is
imported; `COMMAND --help` imports the module of that noun alone. A build that changes nothing reads its recipe, its
series and its toolchains with all their checks, since their content is what the key of the finished wheel is made of;
what opens wheels, asks an index or writes a bill of materials is imported when something has to be made.
`tests/unit/cli/test_commands.py` and `tests/e2e/cli/test_command.py` count the modules, so that none comes back
unnoticed."""


EDITED = """\
The whole, and what of it can be had alone. The digests of the file and of each member are two, and are taken side by
side and close behind the kernel's copy; the bill of materials is made meanwhile. What is left beside these parts is
what Python takes to import all that makes a wheel, git, which tries and applies each patch (two short processes for
each), reading the changed series, the statement, METADATA and RECORD, opening both wheels, and the audit. The new wheel
and the last one trade places: to replace it would wait until the file system has given the new one its blocks."""


def _edited(work: Path, env: Mapping[str, str], workspace: Path) -> Iterator[list[str]]:
    """Yield an edited patch's build beside what it cannot do without; the runs take turns."""
    folder = workspace / "patches" / "xformers" / LARGE.partition("-")[2]
    patch = next(folder.glob("0001-*.patch"))
    original = patch.read_text()
    build = [RETREAD, "build", LARGE, "--out", work / "large"]
    run(build, env, workspace)
    wheel = next((work / "large").glob("*.whl"))

    def edited(number: int) -> float:
        patch.write_text(original.replace("Breaks: ", f"Breaks: (edit {number} of {os.getpid()}) ", 1))
        return run(build, env, workspace).seconds

    def hashed() -> None:
        with wheel.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")

    def twice() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: hashed(), range(2)))

    took: dict[str, list[float]] = collections.defaultdict(list)
    for number in range(RUNS):
        size = f"{wheel.stat().st_size / 1e6:.0f} MB"
        took[f"the whole, {size} wheel"].append(edited(number))
        took["a build of it that changes nothing"].append(run(build, env, workspace).seconds)
        took["copying the wheel"].append(timed(lambda: shutil.copyfile(wheel, work / "copy.whl")))
        took["SHA-256 of it"].append(timed(hashed))
        took["twice, side by side"].append(timed(twice))
        bare = run(PYTHON, env, workspace).seconds
        took["importing what writes the bill of materials"].append(
            run([sys.executable, "-c", BILL], env, workspace).seconds - bare
        )
    for what, seconds in took.items():
        yield [what, f"{statistics.median(seconds) * 1000:.0f} ms"]


def _helps() -> Iterator[Start]:
    """Yield every command as it says what may be typed, the whole first."""
    from retread.cli import main

    yield Start("retread --help", ("--help",))
    yield from _below(main.parser())


def _below(parser: argparse.ArgumentParser) -> Iterator[Start]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield Start(f"{one.prog} --help", (*one.prog.split()[1:], "--help"))
                yield from _below(one)


def _real(work: Path, env: Mapping[str, str], workspace: Path) -> Iterator[Start]:
    """Yield a handful of commands that have nothing to do, once what they look at is there."""
    say(f"a wheel of {RECIPE} and an index of it")
    index, out = work / "index", work / "dist"
    run([RETREAD, "build", RECIPE, "--out", out], env, workspace)
    wheel = next(out.glob("*.whl"))
    run([RETREAD, "publish", wheel, "--index", index, "--allow-unproven", "a benchmark"], env, workspace)
    for words in (
        ("--version",),
        ("recipe", "list"),
        ("matrix",),
        ("plan", RECIPE),
        ("build", RECIPE, "--out", out),
        ("index", "check", index),
        ("store", "list"),
        ("toolchain", "list"),
        ("completion", "bash"),
    ):
        yield Start(" ".join(("retread", *map(str, words))).replace(f"{work}/", ""), words)
    line = "retread build x"
    asked = ASKED | {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    yield Start(f"{line}, and TAB", (), asked)


def _rows(starts: list[Start], env: Mapping[str, str], workspace: Path) -> Iterator[list[str]]:
    """Yield the line of each command; the runs take turns, so that what else the machine does hits all of them."""
    python: list[float] = []
    took: dict[str, list[float]] = {one.name: [] for one in starts}
    for _ in range(RUNS):
        python.append(run(PYTHON, env, workspace).seconds)
        for one in starts:
            took[one.name].append(run([RETREAD, *one.words], env | dict(one.env), workspace).seconds)
    bare = _imported([*PYTHON], env, workspace)
    for one in starts:
        seconds = statistics.median(took[one.name])
        own = max(0.0, seconds - statistics.median(python))
        seen = _seen(_imported([RETREAD, *one.words], env | dict(one.env), workspace), bare)
        yield [
            f"`{one.name}`",
            f"{seconds * 1000:.0f} ms",
            f"{own * 1000:.0f} ms",
            f"{seen.modules}",
            seen.heaviest(),
        ]


def _imported(command: list[str | Path], env: Mapping[str, str], workspace: Path) -> dict[str, float]:
    """Return module -> milliseconds for itself, as Python tells them of a run."""
    words = command[1:] if command[0] == sys.executable else command
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words], env=env, cwd=workspace,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found = {}
    for line in done.stderr.splitlines():
        own, _, rest = line.removeprefix("import time:").partition("|")
        if line.startswith("import time:") and own.strip().isdecimal():
            found[rest.partition("|")[2].strip()] = int(own) / 1000
    return found


def _seen(found: Mapping[str, float], bare: Mapping[str, float]) -> Seen:
    more = {name: took for name, took in found.items() if name not in bare}
    packages: dict[str, float] = collections.defaultdict(float)
    for name, took in more.items():
        packages[name.partition(".")[0]] += took
    return Seen(len(more), dict(packages))


command_line(__doc__, "starts.md", measure)
