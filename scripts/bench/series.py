#!/usr/bin/env python3
"""Measure the work on a series, and print a table; ``--write`` puts it into docs/.

The same patches go onto the same tree by retread's apply and by ``git am``, by turns. Then a patch is edited in the
worktree as a maintainer does it: two commands until its wheel is there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from measure import RETREAD, ROOT, Row, Took, command_line, median, render, run, say, timed

RECIPES = ("xformers-0.0.29.post3", "xformers-0.0.32.post2")
EDITED = "xformers/ops/fmha/flash3.py"
AUTHOR = "Jo Doe <jo@example.org>"
WHO = {f"GIT_{role}_{key}": "retread" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
QUIET = {**WHO, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def measure(work: Path) -> str:
    """Return the table as Markdown."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "GIT_"))} | QUIET
    workspace = work / "workspace"
    for name in ("recipes", "patches"):
        shutil.copytree(ROOT / name, workspace / name)
    rows = [row for recipe in RECIPES for row in apply_rows(work / recipe, env, workspace, recipe)]
    rows += edit_rows(work, env, workspace, RECIPES[-1])
    return render("Measures of a series", "make bench", "Everything that is downloaded is there.", rows)


def apply_rows(work: Path, env: Mapping[str, str], workspace: Path, recipe: str) -> list[Row]:
    """Put a series onto its source, against ``git am`` in a clone of the same tree."""
    from retread.doors.console import Console
    from retread.doors.machine import Machine
    from retread.doors.store import Store, default_root
    from retread.recipe.workspace import load
    from retread.source import patch
    from retread.source.trees import Trees

    say(f"the series of {recipe} against git am")
    loaded = load(workspace, recipe)
    source = Trees(loaded, Machine(Store(default_root(env)), Console(quiet=True), env)).source
    work.mkdir()
    run([RETREAD, "patch", "edit", recipe, "--into", work / "tree", "--quiet"], env, workspace)
    run(
        [RETREAD, "patch", "export", recipe, "--mbox", "--author", AUTHOR, "-o", work / "mbox"],
        env,
        workspace,
    )
    base = _git(work / "tree", env, "rev-list", "--max-parents=0", "HEAD").strip()
    numbers = iter(range(1000))

    def applied() -> Took:
        into = work / f"applied-{next(numbers)}"
        into.mkdir()
        return Took(
            timed(lambda: patch.apply(source, loaded.patches, loaded.files, into, environment=env)), 0.0
        )

    def mailed() -> Took:
        _git(work / "tree", env, "reset", "--quiet", "--hard", base)
        return Took(timed(lambda: _git(work / "tree", env, "am", "--quiet", str(work / "mbox"))), 0.0)

    def whole() -> Took:
        return run([RETREAD, "patch", "check", recipe], env, workspace)

    pairs = [(applied(), mailed(), whole()) for _ in range(7)]
    ours, theirs, command = (median(7, iter(column).__next__) for column in zip(*pairs, strict=True))
    against = f"`git am`: {theirs.seconds:.3f} s"
    what = f"{len(loaded.patches)} patches onto {len(source.manifest.files)} files"
    check = "the same by `retread patch check`, Python's start and the recipe included"
    return [
        Row(what, ours.seconds, against, theirs.seconds, 0.0),
        Row(check, command.seconds, against, float("inf"), command.memory),
    ]


def edit_rows(work: Path, env: Mapping[str, str], workspace: Path, recipe: str) -> list[Row]:
    """Edit a patch in the worktree, write the series back and build the wheel."""
    say(f"a patch of {recipe} edited, refreshed, rebuilt")
    tree = work / recipe / "tree"
    run([RETREAD, "patch", "edit", recipe, "--anew", "--quiet"], env, workspace)
    run([RETREAD, "build", recipe], env, workspace)
    numbers = iter(range(1000))

    def edited() -> Took:
        with (tree / EDITED).open("a") as stream:
            stream.write(f"# edit {next(numbers)}\n")
        _git(tree, env, "commit", "--quiet", "--all", "--amend", "--no-edit")
        steps = [
            run([RETREAD, *words, recipe], env, workspace) for words in (("patch", "refresh"), ("build",))
        ]
        return Took(sum(one.seconds for one in steps), max(one.memory for one in steps))

    took = median(5, edited)
    return [Row("one patch edited, `patch refresh`, `build`", took.seconds, "5 s", 5.0, took.memory)]


def _git(folder: Path, env: Mapping[str, str], *words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=folder, env=env, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


command_line(__doc__, "benchmarks-series.md", measure)
