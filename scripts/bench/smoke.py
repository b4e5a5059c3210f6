#!/usr/bin/env python3
"""Measure what an edit costs until its wheel is proven, and print a table; ``--write`` puts it into docs/.

One line of a Python patch is edited, the wheel is built and tried on the levels static and jit; beside that the same
without an edit, and with every case tried anew. How many cases were tried is told by the reports.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from measure import RETREAD, ROOT, Row, Took, command_line, render, run, say

RECIPE, TARGET = "xformers-0.0.35", "cu128"
LEVELS = ("--level", "static", "--level", "jit")
EDITS = {
    "no kernel": ("0001-cutlass-cap-12.0.patch", "+    # What PyTorch's kernels cover in all versions"),
    "what chooses the split-K kernels": (
        "0003-splitk-not-on-triton-3.9.patch",
        "+    # Triton 3.9 removed them",
    ),
}
"""What an edited line is about -> its patch, and how the line begins."""


def measure(work: Path) -> str:
    """Return the table as Markdown."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    workspace = work / "workspace"
    for name in ("recipes", "patches", "scripts/smoke"):
        shutil.copytree(ROOT / name, workspace / name)
    built(env, workspace)
    proven(
        env, workspace, "--only", "none/*", "--level", "jit", check=False
    )  # the environments are there now
    cold, count = proven(env, workspace, *LEVELS, "--cold")
    rows = [row(f"every case tried, `--cold`: {count}", cold, cold)]
    again, count = proven(env, workspace, *LEVELS)
    rows.append(row(f"nothing changed: {count}", again, cold))
    for about, (patch, line) in EDITS.items():
        say(f"a line edited: {about}")
        edit(workspace / "patches" / "xformers" / "0.0.35" / patch, line)
        made = built(env, workspace)
        tried, count = proven(env, workspace, *LEVELS)
        took = Took(made.seconds + tried.seconds, max(made.memory, tried.memory))
        rows.append(
            row(f"one line of a patch edited ({about}), `build` and `smoke`: {count}", took, cold, 15.0)
        )
    return render(
        "Measures of an edit that is proven",
        "make bench-smoke",
        "Everything that is downloaded is there.",
        rows,
    )


def row(what: str, took: Took, cold: Took, bound: float = float("inf")) -> Row:
    """Return a line of the table, with its part of the time that everything takes."""
    return Row(what, took.seconds, f"{took.seconds / cold.seconds:.2f} of cold", bound, took.memory)


def built(env: Mapping[str, str], workspace: Path) -> Took:
    """Build the wheel."""
    return run([RETREAD, "build", RECIPE, "--target", TARGET], env, workspace)


def proven(env: Mapping[str, str], workspace: Path, *options: str, check: bool = True) -> tuple[Took, str]:
    """Try the wheel; return also how many of its cases were tried."""
    say(f"smoke {' '.join(options)}")
    (wheel,) = (workspace / "dist").glob("*.whl")
    command: list[str | Path] = [RETREAD, "smoke", wheel, *options, "--json", "report.json"]
    took = run(command if check else ["sh", "-c", '"$@" || test $? = 16', "sh", *command], env, workspace)
    cases = [
        case for one in json.loads((workspace / "report.json").read_bytes())["runs"] for case in one["cases"]
    ]
    return took, f"{sum(not case.get('taken') for case in cases)} of {len(cases)} cases tried"


def edit(patch: Path, line: str) -> None:
    """Change a line that a patch adds."""
    text = patch.read_text("utf-8")
    assert text.count(line) == 1, f"{patch.name} has no line that begins with {line}"
    patch.write_text(text.replace(line, f"{line} (edited)"), "utf-8")


command_line(__doc__, "benchmarks-smoke.md", measure)
