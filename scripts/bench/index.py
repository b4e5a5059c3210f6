#!/usr/bin/env python3
"""Measure an index of 10,000 wheels: making every page, and publishing one wheel among few and among many projects.

The wheels are records; only the one that is published is a real wheel, of which copying and hashing are measured apart.
Nothing is asserted: the tables say what was found on this machine.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from retread.index import actions
from retread.index.admission import Terms
from retread.index.change import Change
from retread.index.folder import Index
from retread.index.listing import Hosted, Project
from retread.index.pages import every, human, simple
from retread.records import Sha256
from retread.smoke.tally import Tried
from retread.wheel.statement import PatchStatement

CHANNEL = "cu128"
NOW = 1_763_805_600
BASE = "https://wheels.example"
WHEELS = 10_000
RUNS = 7


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("pages", "fill"), help="what a child process measures")
    parser.add_argument("--projects", type=int, default=1000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.part == "pages":
        print(json.dumps(_pages(options.projects)))
    elif options.part == "fill":
        print(json.dumps(_fill(options.folder, options.projects)))
    else:
        with tempfile.TemporaryDirectory(prefix="retread-bench-") as folder:
            _tables(Path(folder))


def _tables(folder: Path) -> None:
    print(
        f"| every page of {WHEELS:,} wheels | installers | people: projects | people: channel | peak memory |"
    )
    print("| --- | --- | --- | --- | --- |")
    for projects in (200, 1000, 2000):
        simple, people, channel, memory = _child("pages", projects, folder)
        print(
            f"| {projects} projects | {simple:.2f} s | {people:.2f} s | {channel:.2f} s | {memory:.0f} MB |"
        )
    print()
    print("| one publish among | index made in | new revision | of it copy and hash | CPU | a new project |")
    print("| --- | --- | --- | --- | --- | --- |")
    made = {projects: _child("fill", projects, folder / f"{projects}") for projects in (10, 100, 1000)}
    for projects, took in _publishes(folder, tuple(made)).items():
        known, alone, cpu, new = (f"{one * 1000:.0f} ms" for one in took)
        filled = "{:.1f} s, {:.0f} MB".format(*made[projects])
        print(f"| {projects} projects | {filled} | {known} | {alone} | {cpu} | {new} |")


def _child(part: str, projects: int, folder: Path) -> list[float]:
    command = [sys.executable, __file__, "--part", part, "--projects", str(projects), "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return list(json.loads(done.stdout))


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _pages(projects: int) -> tuple[float, float, float, float]:
    """Return the seconds for the pages of installers, for the others, and the peak memory in MB."""
    made = list(_projects(projects, WHEELS // projects))
    clock = time.perf_counter()
    for project in made:
        simple.simple_html(project)
        simple.simple_json(project)
    names = [project.name for project in made]
    every.root(CHANNEL, names)
    installers, clock = time.perf_counter() - clock, time.perf_counter()
    for project in made:
        human.project_page(project, base=BASE)
    people, clock = time.perf_counter() - clock, time.perf_counter()
    every.channel(CHANNEL, made, base=BASE)
    return installers, people, time.perf_counter() - clock, _memory()


def _fill(root: Path, projects: int) -> tuple[float, float]:
    """Make an index of records; return the seconds that took, and the peak memory in MB."""
    clock = time.perf_counter()
    index = Index(root)
    with index.writing():
        change = Change(index, base=BASE, now=NOW)
        for project in _projects(projects, 10):
            change.project(project)
        change.commit("publish", "", ())
    return time.perf_counter() - clock, _memory()


def _publishes(folder: Path, sizes: tuple[int, ...]) -> dict[int, list[float]]:
    """Return the median seconds of a publish to a known project, of reading and copying alone, of the publish's CPU,
    and of a publish to a new project; the indexes take turns, so that what else the machine does hits all of them.
    """
    took: dict[int, list[tuple[float, ...]]] = {size: [] for size in sizes}
    for number in range(RUNS):
        for size in sizes:
            root = folder / f"{size}"
            wheel = _wheel(folder / "dist", "project-0000", f"9.{number}+{CHANNEL}.1")
            other = _wheel(folder / "dist", f"new-{number}", f"1.0+{CHANNEL}.1")
            os.sync()  # what is still being written would slow down the first ones
            alone, cpu = _copied(wheel, root), time.process_time()
            known = _published(root, wheel)
            cpu = time.process_time() - cpu
            took[size].append((known, alone, cpu, _published(root, other)))
    return {size: [statistics.median(one) for one in zip(*took[size], strict=True)] for size in sizes}


def _published(root: Path, wheel: Path) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        clock = time.perf_counter()
        session = actions.Session(root, NOW, lambda _: None, BASE)
        actions.publish(session, [wheel], Terms(None, "a benchmark"), Path(scratch))
        return time.perf_counter() - clock


def _copied(wheel: Path, root: Path) -> float:
    clock = time.perf_counter()
    data = wheel.read_bytes()
    hashlib.sha256(data).hexdigest()
    (root.parent / "copy").write_bytes(data)
    return time.perf_counter() - clock


def _projects(count: int, files: int) -> Iterator[Project]:
    for number in range(count):
        name = f"project-{number:04}"
        yield Project(channel=CHANNEL, name=name, files=tuple(_hosted(name, one) for one in range(files)))


def _hosted(project: str, number: int) -> Hosted:
    file = f"{project.replace('-', '_')}-1.{number}+{CHANNEL}.1-cp39-abi3-manylinux_2_28_x86_64.whl"
    digest = Sha256(hashlib.sha256(file.encode()).hexdigest())
    return Hosted(
        file=file, sha256=digest, size=117_000_000, project=project, version=f"1.{number}+{CHANNEL}.1",
        uploaded="2025-11-22T10:00:00.000000Z", requires_python=">=3.9", metadata_sha256=digest, yanked=None,
        unproven="", sidecars=tuple(f"{file}.{one}.dsse.json" for one in ("provenance", "test-jit", "test-static")),
        cuda="12.8", torch=">=2.10", triton=("3.5.1", "3.6.0"), lane="overlay", commit=40 * "c",
        libraries={f"{project}/_C.so": ("8.0", "9.0a", "10.0"), f"{project}/_C_flash.so": ("8.0", "9.0a")},
        patches=tuple(_patch(name) for name in ("0001-cap", "0002-rope", "0003-sparse")),
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
