#!/usr/bin/env python3
"""Carry the oldest shipped series through every later release, by retread's own commands, and print the verdicts.

It begins with the recipe of 0.0.29.post3 alone; each release is pinned from the package index, and its commit is proven
by the listing in ``recipes/commits``, so no repository is asked. What a verdict asks for is accepted. A conflict is
solved, in the files in conflict, as the shipped series of that release has it, if it has a patch of that name; else the
patch is left out. The last column compares what came out with the shipped series. ``--repository`` names a clone for a
look at upstream's newest commit.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
RETREAD = [sys.executable, "-m", "retread"]
FIRST = "0.0.29.post3"
LATER = ("0.0.30", "0.0.31.post1", "0.0.32.post2", "0.0.33.post2", "0.0.34", "0.0.35")
WORDS = {"three-way": "three-way", "already upstream": "upstream", "upstream in other words": "other-words",
         "target deleted": "deleted", "target renamed": "renamed", "would be applied twice": "twice"}  # fmt: skip


def main() -> None:
    """Carry the series and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, help="a clone of upstream that has its newest commit")
    parser.add_argument("--commit", default="", help="that commit, 40 digits")
    parser.add_argument(
        "--leave-out",
        default=[],
        action="append",
        help="a patch of a submodule that is the same in the newest release: it is tried on that",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="retread-chain-") as folder:
        place = Path(folder)
        begin(place)
        rows: list[tuple[str, ...]] = []
        for old, new in zip((FIRST, *LATER), LATER, strict=False):
            if old == LATER[1]:
                rows += again(place, LATER[0], new)
            rows += step(place, old, new)
        if options.repository:
            rows += newest(place, FIRST, options.repository, options.commit, options.leave_out)
            rows += newest(place, LATER[-1], options.repository, options.commit, [])
    for row in (("to", "patch", "verdict", "done", "the shipped series"), ("---",) * 5, *rows):
        print(f"| {' | '.join(row)} |")


def begin(place: Path) -> None:
    """Make a workspace with the first recipe, its series, and every proof."""
    shutil.copytree(ROOT / "recipes" / "commits", place / "recipes" / "commits")
    shutil.copyfile(ROOT / "recipes" / f"xformers-{FIRST}.toml", place / "recipes" / f"xformers-{FIRST}.toml")
    shutil.copytree(series(ROOT, FIRST), series(place, FIRST))


def step(place: Path, old: str, new: str) -> Iterator[tuple[str, ...]]:
    """Carry the series to a release and yield a row for each patch."""
    print(f"chain: {old} to {new}", file=sys.stderr, flush=True)
    line = to(old, new)
    _, seen = run(place, *line, "--check")
    shipped = patches(ROOT, new)
    words, by_hand = [], []
    for one in seen["patches"]:
        if one["open"] and one["fate"] in WORDS:
            words += ["--accept", f"{WORDS[one['fate']]}:{one['name']}"]
        elif one["open"] and bare(one["name"]) in shipped:
            by_hand.append(bare(one["name"]))
        elif one["open"]:
            words += ["--skip", one["name"], "--because", f"no patch of that name is shipped for {new}"]
    code, done = run(place, *line, *words, *(["--edit"] if by_hand else []))
    for name in by_hand:
        solve(place, old, new, shipped[name])
        code, done = run(place, *line, *words, "--continue")
    if code:
        raise SystemExit(code)
    made = patches(place, new)
    for one, what in zip(seen["patches"], done["patches"], strict=True):
        name = bare(one["name"])
        yield new, name, verdict(one), outcome(what), compared(made.get(name), shipped.get(name))
    yield from (
        (new, name, "", "", "new there")
        for name in shipped
        if name not in {bare(p["name"]) for p in seen["patches"]}
    )


def again(place: Path, old: str, new: str) -> Iterator[tuple[str, ...]]:
    """Carry an older series to a later release, and yield a row for what was in conflict in the release between."""
    for one in run(place, *to(old, new), "--check")[1]["patches"]:
        fates = [hunk["fate"] for hunk in one["hunks"]]
        if "resolved as before" in fates:
            told = (f"{fate}, {fates.count(fate)} of {len(fates)} hunks" for fate in dict.fromkeys(fates))
            yield f"{new}, from {old}", bare(one["name"]), "; ".join(told), "", ""


def to(old: str, new: str) -> list[str]:
    """Return the command that carries the series to a release, whose commit the shipped recipe names."""
    commit = tomllib.loads((ROOT / "recipes" / f"xformers-{new}.toml").read_text())["pin"]["commit"]
    return ["recipe", "bump", f"xformers-{old}", "--to", new, "--tag", commit, "--json"]


def newest(
    place: Path, old: str, repository: Path, commit: str, left: list[str]
) -> Iterator[tuple[str, ...]]:
    """Look at a commit that is no release."""
    words = [word for name in left for word in ("--skip", name, "--because", "cannot be tried here")]
    line = ["recipe", "bump", f"xformers-{old}", "--to", commit, "--repository", str(repository), "--json"]
    _, seen = run(place, *line, *words)
    near = run(place, *to(old, LATER[-1]), "--check")[1]["patches"] if left else []
    there = {one["name"]: one for one in near}
    for one in seen["patches"]:
        told = there[one["name"]] if one["name"] in left else one
        yield f"{commit[:8]}, from {old}", bare(one["name"]), verdict(told), "", ""


def run(place: Path, *words: str) -> tuple[int, Any]:
    """Run retread in the workspace; its data is returned, and what it says is shown when there is none."""
    done = subprocess.run([*RETREAD, *words], cwd=place, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise SystemExit(done.stderr)
    return done.returncode, json.loads(done.stdout)


def solve(place: Path, old: str, new: str, patch: Path) -> None:
    """Solve the conflict at which the rebase stops as a patch has it."""
    store = Path(os.environ.get("RETREAD_STORE", Path.home() / ".cache" / "retread"))
    (tree,) = (
        found for found in (store / "worktrees").glob(f"xformers-{old}-to-{new}-*")
        if found.is_dir() and json.loads((found / ".git" / "retread.json").read_text())["root"] == str(place.resolve())
    )  # fmt: skip
    said = ["diff", "--name-only", "--diff-filter=U", "-z"]
    found = subprocess.run(["git", *said], cwd=tree, check=True, capture_output=True, text=True).stdout
    paths = found.split("\0")[:-1]
    only = [f"--include={path}" for path in paths]
    for words in (("checkout", "--quiet", "HEAD", "--", *paths), ("apply", "--index", *only, str(patch))):
        subprocess.run(["git", *words], cwd=tree, check=True)


def verdict(one: Any) -> str:
    """Return a patch's verdict, and of how many hunks it is when they differ."""
    same = [hunk for hunk in one["hunks"] if hunk["fate"] == one["fate"]]
    part = f", {len(same)} of {len(one['hunks'])} hunks" if len(same) < len(one["hunks"]) else ""
    moved = {hunk["detail"] for hunk in one["hunks"] if hunk["fate"] in ("offset", "target renamed")}
    return " ".join([one["fate"], *sorted(moved)]) + part


def outcome(one: Any) -> str:
    """Return what became of a patch."""
    return one["reason"] if one["reason"] == "by hand" else "kept" if one["kept"] else "left out"


def compared(made: Path | None, shipped: Path | None) -> str:
    """Return how what came out stands to what is shipped."""
    if not shipped:
        return "none" if not made else "not there"
    return "not left out" if not made else "the same" if change(made) == change(shipped) else "another text"


def change(patch: Path) -> list[str]:
    """Return what a patch adds and removes, by file."""
    body = patch.read_text().partition("\n---\n")[2]
    return [line for line in body.splitlines() if re.match(r"[-+]", line)]


def patches(root: Path, version: str) -> dict[str, Path]:
    """Return name without number -> patch."""
    return {bare(path.name): path for path in sorted(series(root, version).glob("*.patch"))}


def series(root: Path, version: str) -> Path:
    """Return the folder of a series."""
    return root / "patches" / "xformers" / version


def bare(name: str) -> str:
    """Return a patch's name without number and suffix."""
    return name[5:].removesuffix(".patch")


main()
