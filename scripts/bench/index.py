#!/usr/bin/env python3
"""Measure an index of 10,000 wheels: making every page, and publishing one wheel among few and among many projects.

The wheels are records; only the one that is published is a real wheel. What a publish cannot do without is measured
apart: copying and hashing the wheel, and waiting for the disk as often as the publish does, for as many bytes.
``--write`` puts the table into docs/; nothing is asserted.
"""

from __future__ import annotations

import argparse
import base64
import functools
import gc
import hashlib
import json
import os
import resource
import stat
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import structs

import pages
from measure import RETREAD, Row, command_line, median, render, run, say
from retread.cli import main as main_program
from retread.doors import cores, durable
from retread.index import actions
from retread.index.admission import Terms
from retread.index.change import Change
from retread.index.folder import Index
from retread.index.listing import Hosted, Project
from retread.index.pages import human
from retread.records import Sha256
from retread.smoke.tally import Tried
from retread.wheel.statement import PatchStatement

CHANNEL = "cu128"
NOW = 1_763_805_600
BASE = "https://wheels.example"
WHEELS = 10_000
SIZES = (10, 100, 1000)
"""Projects of the indexes that are published into, each with ten wheels."""
RUNS = 7


class Publish(NamedTuple):
    """One publish: seconds of the whole, of what it cannot do without, of a processor; how often it waited."""

    took: float
    alone: float
    processor: float
    waits: float


def main() -> None:
    """Measure a part, where a child process is asked for it, or all."""
    if "--part" not in sys.argv:
        command_line(__doc__, "benchmarks-index.md", table)
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("alike", "differ", "fill"), help="what a child process measures")
    parser.add_argument("--projects", type=int)
    parser.add_argument("--wheels", type=int, help="of each project")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    projects = _projects(options.projects, options.wheels, differ=options.part == "differ")
    measured = _fill(options.folder, projects) if options.part == "fill" else _pages(options.folder, projects)
    print(json.dumps(measured))


def table(work: Path) -> str:
    """Return the table as Markdown."""
    remarks = (
        "A publish waits for the disk as `doors.durable` and `index.folder` say; what it is held against copies and "
        "hashes the wheel of 10 MB, makes as many files of the same sizes and waits as often, and does nothing else. "
        "The channel's page for people grows with the channel; above 500 wheels a publish leaves it as it is. "
        "Wheels of a project share patches and libraries, and all share their tests: what wheels share is made once. "
        "Where they are said to differ, each has a commit and tests of its own, so that no card of one is another's."
    )
    rows = [*_publish_rows(work), *_page_rows(work)]
    return render("Measures of the index", "make bench-index", remarks, rows)


def _publish_rows(work: Path) -> Iterator[Row]:
    for size in SIZES:
        say(f"filling an index of {size} projects")
        seconds, memory = _child("fill", size, 10, work / f"{size}")
    yield Row(f"{WHEELS:,} wheels of {SIZES[-1]:,} projects put into an index by one action", seconds, "no bound",
              float("inf"), memory)  # fmt: skip
    for (size, new), runs in _publishes(work).items():
        took, alone, processor, waits = map(statistics.median, zip(*runs, strict=True))
        what = "the first wheel of a project" if new else "one wheel of a known project"
        said = f"{what} among {size:,} ({waits:.0f} syncs, {processor * 1000:.0f} ms of a processor)"
        against = f"copy, hash and these syncs alone: {alone * 1000:.0f} ms, so {took / alone:.1f} x; x 3"
        yield Row(said, took, against, alone * 3, 0)


def _page_rows(work: Path) -> Iterator[Row]:
    took = pages.measure(work, 200, WHEELS // 200, 3)
    ours, other = (
        statistics.median(one.seconds for one in took[name]) for name in (pages.INSTALLERS, pages.OTHER)
    )
    peak = max(one.memory for one in took[pages.INSTALLERS])
    of = f"of {WHEELS:,} wheels, 200 projects"
    against = f"0.5 s (dumb-pypi, which waits for no disk: {other:.1f} s, so 1 / {other / ours:.0f})"
    what = f"pages for installers {of}: read, made, on the disk, by a program that makes no others"
    yield Row(what, ours, against, 0.5, peak)
    yield _people_row(work / "people", of, differ=False)
    yield _people_row(work / "differ", of, differ=True)
    yield _refresh_row(work, of)


def _people_row(work: Path, of: str, *, differ: bool) -> Row:
    runs = []
    for number in range(3):
        say(f"pages for people{' of wheels that differ' * differ}, run {number + 1}")
        runs.append(_child("differ" if differ else "alike", 200, WHEELS // 200, work / f"{number}"))
    made, processor, written, files, size, memory = map(statistics.median, zip(*runs, strict=True))
    what = f"pages for people {of}{' that differ' * differ}: made ({processor:.2f} s of a processor)"
    limit = (
        f"writing these {files:,.0f} files of {size / 1e6:.0f} MB and waiting for the disk: {written:.2f} s"
    )
    if differ:
        return Row(what, made, f"no bound ({limit})", float("inf"), memory)
    return Row(what, made, f"0.5 s ({limit})", 0.5, memory)


def _refresh_row(work: Path, of: str) -> Row:
    """Measure the command that makes every page anew, as a user starts it."""
    say("filling an index to refresh")
    root = work / "refresh"
    _child("fill", 200, WHEELS // 200, root)
    took = median(3, lambda: run([RETREAD, "index", "refresh", root], os.environ, work))
    return Row(f"`retread index refresh` {of}", took.seconds, "no bound", float("inf"), took.memory)


def _child(part: str, projects: int, wheels: int, folder: Path) -> list[float]:
    options = {"--part": part, "--projects": projects, "--wheels": wheels, "--folder": folder}
    words = (str(word) for option in options.items() for word in option)
    done = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE)
    return list(json.loads(done.stdout))


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _pages(room: Path, projects: Iterator[Project]) -> tuple[float, float, float, int, int, float]:
    """Make the pages for people; return the seconds that took, those of a processor, and those of writing them.

    Then how many files they are, their bytes, and the peak memory in MB.
    """
    gc.set_threshold(main_program._OBJECTS)  # as the command does
    cores.keep_memory()  # as the actions do
    projected = list(projects)
    makes = {
        room / one.name / "page.html": functools.partial(human.project_page, one, base=BASE)
        for one in projected
    }
    makes[room / "index.html"] = functools.partial(human.channel_page, CHANNEL, projected, base=BASE)
    took = processor = written = 0.0
    size = 0
    for path, make in makes.items():
        began, clock = time.process_time(), time.perf_counter()
        page = make()
        took, processor, clock = (
            took + time.perf_counter() - clock, processor + time.process_time() - began, time.perf_counter()
        )  # fmt: skip
        durable.put(path, page)
        written, size = written + time.perf_counter() - clock, size + len(page)
    clock = time.perf_counter()
    durable.sync(*makes, *{path.parent for path in makes})
    return took, processor, written + time.perf_counter() - clock, len(makes), size, _memory()


def _fill(root: Path, projects: Iterator[Project]) -> tuple[float, float]:
    """Make an index of records; return the seconds that took, and the peak memory in MB."""
    clock = time.perf_counter()
    index = Index(root)
    with index.writing():
        change = Change(index, base=BASE, now=NOW)
        for project in projects:
            change.project(project)
        change.commit("publish", "", ())
    return time.perf_counter() - clock, _memory()


def _publishes(folder: Path) -> dict[tuple[int, bool], list[Publish]]:
    """Return size of the index, and whether the project was new -> what each publish took.

    The indexes take turns, so that what else the machine does hits all of them.
    """
    took: dict[tuple[int, bool], list[Publish]] = {(size, new): [] for new in (False, True) for size in SIZES}
    for number in range(RUNS):
        say(f"publishing, round {number + 1}")
        for (size, new), runs in took.items():
            project = f"new-{number}" if new else "project-0000"
            wheel = _wheel(folder / "dist", project, f"9.{number}+{CHANNEL}.1")
            os.sync()  # what is still being written would slow down the first ones
            runs.append(_published(folder / f"{size}", wheel))
    return took


class Waits:
    """Notes how often something waits for the disk, together and one after the other, and for how many bytes."""

    def __init__(self) -> None:
        self.groups: list[list[int | None]] = [[]]
        """Sizes of files, None for folders."""
        self._change = durable.change

    def __call__(self, act: Callable[..., Any], *arguments: Any) -> Any:
        """Pass a change on."""
        if act is os.fsync:
            found = os.fstat(arguments[0])
            self.groups[-1].append(None if stat.S_ISDIR(found.st_mode) else found.st_size)
        elif self.groups[-1]:
            self.groups.append([])
        return self._change(act, *arguments)


def _published(root: Path, wheel: Path) -> Publish:
    """Publish a wheel, then do what that cannot do without."""
    waits = Waits()
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        durable.change = waits
        processor, clock = time.process_time(), time.perf_counter()
        session = actions.Session(root, NOW, lambda _: None, BASE)
        actions.publish(session, [wheel], Terms(None, "a benchmark"), Path(scratch))
        took, processor = time.perf_counter() - clock, time.process_time() - processor
        durable.change = waits._change
        os.sync()
        alone = _alone(wheel, Path(scratch), waits.groups)
    return Publish(took, alone, processor, sum(map(len, waits.groups)))


def _alone(wheel: Path, room: Path, groups: list[list[int | None]]) -> float:
    """Return the seconds of copying and hashing a wheel, and of waiting for the disk as often and for as much."""
    size = wheel.stat().st_size
    clock = time.perf_counter()
    data = wheel.read_bytes()
    hashlib.sha256(data).hexdigest()
    for number, group in enumerate(groups):
        paths = [room / f"{number}-{index}" for index in range(len(group))]
        for path, length in zip(paths, group, strict=True):
            if length is None:
                path.mkdir()
                (path / "entry").touch()
            else:
                path.write_bytes(data if length == size else data[:length])
        if paths:
            durable.sync(*paths)
    return time.perf_counter() - clock


def _projects(count: int, files: int, *, differ: bool = False) -> Iterator[Project]:
    for number in range(count):
        name = f"project-{number:04}"
        made = [_hosted(name, one) for one in range(files)]
        yield Project(channel=CHANNEL, name=name, files=tuple(map(_differing, made) if differ else made))


def _differing(one: Hosted) -> Hosted:
    """Return a wheel with a commit and numbers of tests that no other has."""
    number = int(one.sha256[:12], 16)
    tried = tuple(structs.replace(run, passed=number + place) for place, run in enumerate(one.tried))
    return structs.replace(one, commit=one.sha256[:40], tried=tried)


def _hosted(project: str, number: int) -> Hosted:
    file = f"{project.replace('-', '_')}-1.{number}+{CHANNEL}.1-cp39-abi3-manylinux_2_28_x86_64.whl"
    digest = Sha256(hashlib.sha256(file.encode()).hexdigest())
    return Hosted(
        file=file, sha256=digest, size=117_000_000, project=project, version=f"1.{number}+{CHANNEL}.1",
        uploaded="2025-11-22T10:00:00.000000Z", requires_python=">=3.9", metadata_sha256=digest, yanked=None,
        unproven="", sidecars=tuple(f"{file}.{one}.dsse.json" for one in ("provenance", "test-jit", "test-static")),
        cuda="12.8", torch=">=2.10", triton=("3.5.1", "3.6.0"), lane="overlay", commit=40 * "c",
        libraries={f"{project}/_C.so": ("8.0", "9.0a", "10.0"), f"{project}/_C_flash.so": ("8.0", "9.0a")},
        patches=tuple(_patch(f"{name}-{project}") for name in ("0001-cap", "0002-rope", "0003-sparse")),
        tried=(_tried("static", ""), _tried("jit", "Triton 3.6.0"), _tried("gpu", "NVIDIA H200, 9.0")),
    )  # fmt: skip


def _patch(name: str) -> PatchStatement:
    return PatchStatement(
        name=f"{name}.patch", sha256=Sha256(hashlib.sha256(name.encode()).hexdigest()), subject=f"Mend {name}",
        breaks="import on new GPUs", affects="everyone", upstream="not reported", drop_when="never",
    )  # fmt: skip


def _tried(level: str, where: str) -> Tried:
    return Tried(level=level, where=where, torch="2.10.0", passed=120, failed=0, skipped=3)


def _wheel(folder: Path, project: str, version: str) -> Path:
    """Write a wheel of 10 MB that cannot be compressed."""
    stem = f"{project.replace('-', '_')}-{version}"
    files = {
        f"{project.replace('-', '_')}/data.bin": hashlib.shake_128(stem.encode()).digest(10_000_000),
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n\n".encode(),
        f"{stem}.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{name},sha256={_urlsafe(data)},{len(data)}\n" for name, data in files.items()]
    files[f"{stem}.dist-info/RECORD"] = "".join([*rows, f"{stem}.dist-info/RECORD,,\n"]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def _urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


if __name__ == "__main__":
    main()
