#!/usr/bin/env python3
"""Measure how long the pages of a large index take, beside dumb-pypi on the same wheels in one run.

Both are whole programs that read their list from disk. Ours (render.py) makes the pages for installers and no others:
it writes HTML and JSON and waits until the disk has them; dumb-pypi writes what it writes and waits for nothing.
Prints a Markdown table; nothing is asserted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import venv
from datetime import datetime
from pathlib import Path

import msgspec

from measure import Took, run, say
from retread.arch import Arch
from retread.index.listing import Hosted, Project
from retread.records import Sha256
from retread.smoke.tally import Tried
from retread.wheel.statement import PatchStatement

CHANNEL = "cu128"
INSTALLERS, OTHER = "retread: HTML and JSON, synced", "dumb-pypi"
BARE = "--no-per-release-json"
RENDER = Path(__file__).with_name("render.py")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--projects", type=int, default=200)
    parser.add_argument("--wheels", type=int, default=50, help="of each project")
    parser.add_argument("--times", type=int, default=3, help="runs, in turns; the median counts")
    parser.add_argument(
        "--dumb-pypi", type=Path, help="the program; installed into a throwaway folder if not given"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="retread-bench-") as folder:
        work = Path(folder)
        took = measure(work, options.projects, options.wheels, options.times, options.dumb_pypi)
        print(table(took, options.projects * options.wheels, options.projects))


def install(folder: Path) -> Path:
    """Install dumb-pypi and return its program."""
    say("installing dumb-pypi")
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "pip", "install", "--quiet", "dumb-pypi"], check=True)
    return folder / "bin" / "dumb-pypi"


def sample(name: str, wheels: int) -> Project:
    """Return a project with wheels as rich as real ones."""
    return Project(channel=CHANNEL, name=name, files=tuple(wheel(name, index) for index in range(wheels)))


def wheel(name: str, index: int) -> Hosted:
    """Return one wheel of a project; every tenth is yanked."""
    version = f"0.{index // 5}+cu128.{index % 5 + 1}"
    file = f"{name.replace('-', '_')}-{version}-cp39-abi3-manylinux_2_28_x86_64.whl"
    digest = Sha256(hashlib.sha256(file.encode()).hexdigest())
    patch = PatchStatement(
        name="0001-cap.patch", sha256=digest, subject="Run the op on Blackwell", breaks="it raises",
        affects="all GPUs of cc 10.0 and later", upstream="not reported", drop_when="the release accepts cc 10.0",
    )  # fmt: skip
    return Hosted(
        file=file, sha256=digest, size=117_000_000 + index, project=name, version=version,
        uploaded="2026-11-22T10:00:00.000000Z", requires_python=">=3.9", metadata_sha256=digest,
        yanked="wrong kernel" if index % 10 == 9 else None, unproven="",
        sidecars=(f"{file}.provenance.dsse.json", f"{file}.test-static.dsse.json"), cuda="12.8", torch=">=2.10",
        triton=("3.6.0",), lane="overlay", commit=digest[:40],
        libraries={"_C.so": (Arch("8.0"), Arch("9.0a"), Arch("10.0"))}, patches=(patch,),
        tried=(Tried(level="static", where="", torch="2.13.0", passed=412, failed=0, skipped=3),),
    )  # fmt: skip


def line(one: Hosted) -> str:
    """Return a wheel as dumb-pypi reads it."""
    return json.dumps(
        {
            "filename": one.file,
            "hash": f"sha256={one.sha256}",
            "requires_python": one.requires_python,
            "core_metadata": f"sha256={one.metadata_sha256}",
            "upload_timestamp": int(datetime.fromisoformat(one.uploaded).timestamp()),
            "yanked_reason": one.yanked,
        }
    )


def measure(
    work: Path, projects: int, wheels: int, times: int, other: Path | None = None
) -> dict[str, list[Took]]:
    """Run all commands in turns and return what each took."""
    other = other or install(work / "venv")
    state, listed = work / "state", work / "list.json"
    state.mkdir()
    made = [sample(f"project-{index}", wheels) for index in range(projects)]
    for project in made:
        (state / f"{project.name}.json").write_bytes(msgspec.json.encode(project))
    listed.write_text("".join(f"{line(one)}\n" for project in made for one in project.files))
    theirs = [other, "--package-list-json", listed, "--packages-url", "../../files"]
    commands = {
        INSTALLERS: [sys.executable, RENDER, CHANNEL, state],
        OTHER: [*theirs, "--output-dir"],
        f"{OTHER} {BARE}": [*theirs, BARE, "--output-dir"],
    }
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    took: dict[str, list[Took]] = {name: [] for name in commands}
    for turn in range(times):
        for index, (name, command) in enumerate(commands.items()):
            say(f"{name}, run {turn + 1}")
            took[name].append(run([*command, work / f"out-{turn}-{index}"], env, work))
    return took


def table(took: dict[str, list[Took]], wheels: int, projects: int) -> str:
    """Return the times, and how many times longer each takes than the first."""
    medians = {name: statistics.median(one.seconds for one in runs) for name, runs in took.items()}
    ours = next(iter(medians.values()))
    lines = [
        f"| {name} | {medians[name]:.2f} s | x {medians[name] / ours:.1f} | {max(one.memory for one in runs):.0f} MB |"
        for name, runs in took.items()
    ]
    machine = (
        f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, Python {platform.python_version()}"
    )
    said = f"{wheels} wheels of {projects} projects on {machine}; medians of whole commands, in turns."
    return "\n".join([said, "", "| what | took | ratio | peak memory |", "| --- | --- | --- | --- |", *lines])


if __name__ == "__main__":
    main()
