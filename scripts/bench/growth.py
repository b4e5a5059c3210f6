#!/usr/bin/env python3
"""How the cost of a command grows with what it is given: processor seconds at sizes that grow, and the exponent.

Inputs are made by this script and taken through the code that the commands run, without Python's start. The exponent is
the slope of a line through the logarithms, of the larger half of the sizes, where fixed costs no longer show: 1 grows
as the work does, 2 with its square. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import itertools
import json
import math
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "helpers"), str(ROOT / "scripts" / "bench")]

import msgspec  # noqa: E402
from msgspec import structs  # noqa: E402

import gpucode  # noqa: E402
import index as bench  # noqa: E402
from measure import say  # noqa: E402
from retread.arch import Arch  # noqa: E402
from retread.audit import audit  # noqa: E402
from retread.binary import files  # noqa: E402
from retread.cli import main as cli  # noqa: E402
from retread.doors import durable  # noqa: E402
from retread.doors.store import STAMP, Kind, Store  # noqa: E402
from retread.elf import fatbin, library  # noqa: E402
from retread.errors import RecipeError  # noqa: E402
from retread.index import actions, layout  # noqa: E402
from retread.index.admission import Terms  # noqa: E402
from retread.index.change import Change, later  # noqa: E402
from retread.index.check import check  # noqa: E402
from retread.index.folder import Index  # noqa: E402
from retread.index.listing import Project  # noqa: E402
from retread.recipe import matrix, reading, series, workspace  # noqa: E402
from retread.recipe.proof import blob_id  # noqa: E402
from retread.source import patch  # noqa: E402
from retread.source.records import Manifest, SourceTree  # noqa: E402
from retread.wheel import zipwriter  # noqa: E402
from tinycuda import HEADER, zip_bytes  # noqa: E402

PAGE = ROOT / "docs" / "development" / "growth.md"
PLOT = ROOT / "docs" / "development" / "growth.svg"
_MEMORY = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
"""A file system in memory, if there is one: a disk takes some hundred microseconds of a processor for each new file."""
_QUICK = 0.2
"""Seconds below which once is not enough."""
MEASURED = ROOT / "docs" / "development" / "growth.json"
SAID = """Processor seconds of all threads and programs: read exponents and not seconds. The exponent is the slope of a
line through the logarithms of the larger half of the sizes; 1 grows as the work does. `--only NAME` measures one kind
again, `--top N` leaves out what is larger; sizes that are not in a table were not run, and what is asked for and was
not is named. Grafting is measured without ptxas, whose time is its own. Stores and indexes lie on a file system in
memory, where there is one; of an index's actions all but the first and last ones are copies. What grows as n log n
shows 1.1 at the larger of these sizes."""
PICTURE = "![how cost grows, both axes logarithmic](growth.svg)"
Timed = Iterator[tuple[str, Callable[[], object]]]
"""What is done with an input, and how it is called: yielded once the input is there."""


class Case(NamedTuple):
    """One kind of input, and what is done with it at each size."""

    of: str
    sizes: tuple[int, ...]
    steps: Callable[[int, Path], Timed]
    again: bool = True
    """Whether it may be done several times to the same input; the quickest counts."""
    room: Path | None = None
    """Where the input lies; in the usual folder for temporary files if nowhere is said."""


def modules(count: int, folder: Path) -> Timed:
    """Yield what is done with a file of so many fat binaries."""
    one = gpucode.fat(gpucode.entry(gpucode.PTX, kind=1))
    file = folder / "many.fatbin"
    file.write_bytes(count * one)
    wheel = _wheel(folder, {"many.fatbin": file.read_bytes()})
    yield "inspect", lambda: files.read(file)
    yield "audit", lambda: audit.audit(wheel, folder, promise=None)
    cubins = {Arch("8.0"): gpucode.ADD80}
    yield (
        "graft, without ptxas",
        lambda: [fatbin.graft(each, cubins) for each in fatbin.parse(file.read_bytes(), where="x")],
    )


def megabytes(count: int, folder: Path) -> Timed:
    """Yield what is done with a library of so many megabytes, most of which are no code."""
    file, wheel = folder / "large.so", folder / "many-1.0-py3-none-any.whl"
    block = os.urandom(1 << 20)
    with file.open("wb") as stream:
        stream.write(gpucode.LIBRARY)
        for _ in range(count):
            stream.write(block)
    members: list[zipwriter.Source] = [zipwriter.NewFile(name="large.so", path=file)]
    members += [zipwriter.NewBytes(name=name, content=content) for name, content in _described().items()]
    grafted, more = folder / "grafted.so", gpucode.fat(*[gpucode.entry(gpucode.ADD80)] * 100)
    yield "inspect", lambda: files.read(file)
    yield "graft, without ptxas", lambda: library.edit(file, grafted, fatbins={0: more})
    grafted.unlink()
    yield "seal", lambda: zipwriter.write(wheel, members, date_time=0)
    file.unlink()  # so that no more than two of its size are on the disk
    yield "audit", lambda: audit.audit(wheel, folder, promise=None)


def patches(count: int, folder: Path) -> Timed:
    """Yield what is done with a series of so many patches."""
    names = [f"{number:04}-mend.patch" for number in range(1, count + 1)]
    made = {name: _patch(name) for name in names}
    made["series"] = "".join(f"{name}\n" for name in names).encode()
    yield "series read", lambda: series.parse_series(made, where="series")
    read = series.parse_series(made, where="series")
    paths = [change.path for one in read for change in one.changes]
    for path in paths:
        (folder / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "tree" / path).write_bytes(b"a\n")
    held = Manifest(commit="", time=0, files=dict.fromkeys(paths, blob_id(b"a\n")), unproven=())
    source, rooms = SourceTree(root=folder / "tree", manifest=held), map(str, itertools.count())

    def applied() -> None:
        into = folder / f"patched-{next(rooms)}"
        into.mkdir()
        patch.apply(source, read, made, into, environment=os.environ)

    yield "series applied, with git's time", applied


def recipes(count: int, folder: Path) -> Timed:
    """Yield what is done with a workspace of so many recipes."""
    shutil.copytree(ROOT / "patches" / "spconv-cu126", folder / "patches" / "spconv-cu126")
    (folder / "recipes").mkdir()
    name = "spconv-cu126-2.3.8"
    text = (ROOT / "recipes" / f"{name}.toml").read_text()
    for number in range(count):
        other = f"{name}-{number:04}"
        (folder / "recipes" / f"{other}.toml").write_text(
            text.replace(f'name = "{name}"', f'name = "{other}"')
        )
    every = [workspace.load(folder, one) for one in workspace.recipes(folder)]
    yield "completion", lambda: workspace.recipes(folder)
    yield "recipe list", lambda: [workspace.load(folder, one) for one in workspace.recipes(folder)]
    yield "matrix", lambda: matrix.matrix([(one.recipe, one.patches) for one in every], None, ())
    yield "plan", lambda: _command(folder, "plan", every[-1].recipe.name)


def entries(count: int, folder: Path) -> Timed:
    """Yield what is done with a store of so many entries."""
    store = Store(folder / "store")
    first = store.make(Kind.PATCHED, f"{0:064x}", lambda path: (path / "file").write_bytes(b"x") and None)
    stamp, made = (first / STAMP).read_bytes(), (first / "file").stat().st_mtime_ns
    for number in range(1, count):
        path = first.parents[1] / f"{number % 256:02x}" / f"{number % 256:02x}{number:062x}"
        path.mkdir(parents=True)
        (path / "file").write_bytes(b"x")
        os.utime(path / "file", ns=(made, made))
        (path / STAMP).write_bytes(stamp)
    keys = [one.key for one in store.entries()]
    assert len(keys) == count
    asked = (keys[0], keys[count // 2], keys[-1]) * 10
    yield "look-up", lambda: [store.get(Kind.PATCHED, key) for key in asked]
    yield "store list", store.entries
    yield "prune", lambda: store.prune(unused_days=1000)


def wheels(count: int, folder: Path) -> Timed:
    """Yield what is done with an index of so many wheels, ten of each project."""
    with _unsynced():
        change = Change(Index(folder / "index"), base=bench.BASE, now=bench.NOW)
        with change.index.writing():
            for project in bench._projects(max(1, count // 10), 10):
                change.project(project)
            change.commit("publish", "", ())
    yield from _changes(folder)


def snapshots(count: int, folder: Path) -> Timed:
    """Yield what is done with an index after so many actions, of which all but the first and last ones are copied."""
    index = Index(folder / "index")
    projects: list[Project] = list(bench._projects(2, 2))
    with _unsynced():
        for number in (0, 1, *range(max(2, count - 2), count)):
            if number == count - 2:
                _repeat(index, count - 2)
            with index.writing():
                change = Change(index, base=bench.BASE, now=bench.NOW)
                change.project(projects[number % 2])
                change.commit("publish", str(number), ())
    done = index.last()
    assert done is not None
    assert done.number == count
    yield from _changes(folder)


def _repeat(index: Index, count: int) -> None:
    """Lengthen the history of an index by actions like its last one, whose snapshots are links to that one's files."""
    last = index.last()
    assert last
    shots, names = index.hidden / "snapshots", [last.projects[0], f"{last.projects[0]}.json"]
    names[:1] = [f"{last.projects[0]}/{page}" for page in layout.PAGES]
    with (index.hidden / "history.jsonl").open("ab") as history:
        for number in range(last.number + 1, count + 1):
            last = structs.replace(last, number=number, time=later(bench.NOW, last.time))
            (shots / f"{number}" / last.projects[0]).mkdir(parents=True)
            for name in names:
                os.link(shots / "2" / name, shots / f"{number}" / name)
            history.write(msgspec.json.encode(last) + b"\n")


def _changes(folder: Path) -> Timed:
    """Yield what is done with an index."""
    root, scratch = folder / "index", folder / "scratch"
    session = actions.Session(root, bench.NOW, lambda _: None, bench.BASE)
    wheel = bench._wheel(folder, "project-0000", f"9.1+{bench.CHANNEL}.1")
    scratch.mkdir()
    yield "publish one", lambda: actions.publish(session, [wheel], Terms(None, "a benchmark"), scratch)
    yield "check", lambda: check(root, scratch)
    yield "history", lambda: actions.history(root)
    yield "rollback", lambda: actions.rollback(session, 0)


@contextlib.contextmanager
def _unsynced() -> Iterator[None]:
    """Wait for no disk: what is made here is measured later, and thrown away."""
    change = durable.change
    durable.change = lambda act, *given: (
        None if act in (os.fsync, durable._sync_disk) else change(act, *given)
    )
    try:
        yield
    finally:
        durable.change = change


def faults(count: int, folder: Path) -> Timed:
    """Yield what is done with a recipe of so many faults."""
    lines = "".join(f'summary{number} = "x"\n' for number in range(count))
    data = (lines + (ROOT / "recipes" / "spconv-cu126-2.3.8.toml").read_text()).encode()
    yield "recipe check", lambda: _refused(data)


def _command(folder: Path, *words: str) -> None:
    own = mock.patch.dict(os.environ, RETREAD_STORE=str(folder / "store"))
    with own, contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        assert cli.run(words) == 0


def _refused(data: bytes) -> None:
    try:
        reading.parse_recipe(data, name="spconv-cu126-2.3.8")
    except RecipeError as error:
        str(error)


def _patch(name: str) -> bytes:
    head = HEADER.format(subject=f"Mend {name}")
    path = f"tinycuda/{name}.py"
    return f"{head}\ndiff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-a\n+b\n".encode()


def _wheel(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "many-1.0-py3-none-any.whl"
    path.write_bytes(zip_bytes(members | _described()))
    return path


def _described() -> dict[str, bytes]:
    """Return what makes a wheel of members; RECORD lists none of them."""
    info = "many-1.0.dist-info"
    return {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: many\nVersion: 1.0\n\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }


CASES = {
    "modules": Case("fat binaries in a file", (10, 100, 500, 1000, 2000), modules),
    "bytes": Case("megabytes of a library", (10, 30, 100, 300, 1000, 3000), megabytes),
    "patches": Case("patches in a series", (1, 10, 50, 100, 200, 500), patches),
    "recipes": Case("recipes in a workspace", (1, 10, 50, 100, 200, 500), recipes),
    "store": Case("entries in the store", (10, 100, 1000, 3000, 10_000, 100_000), entries, room=_MEMORY),
    "wheels": Case(
        "wheels in an index", (10, 100, 1000, 3000, 10_000, 100_000), wheels, again=False, room=_MEMORY
    ),
    "snapshots": Case(
        "actions of an index", (10, 100, 1000, 3000, 10_000, 100_000), snapshots, again=False, room=_MEMORY
    ),
    "faults": Case("faults in a recipe", (1, 10, 100, 1000, 10_000, 100_000), faults),
}


def measure(name: str, top: int) -> dict[str, dict[int, float]]:
    """Return what was done -> size -> processor seconds, up to a size."""
    found: dict[str, dict[int, float]] = {}
    for size in (one for one in CASES[name].sizes if one <= top):
        say(f"{name}: {size}")
        with tempfile.TemporaryDirectory(prefix="retread-bench-", dir=CASES[name].room) as folder:
            for what, action in CASES[name].steps(size, Path(folder)):
                took = _took(action)
                if CASES[name].again and took < _QUICK:
                    took = min(took, *(_took(action) for _ in range(4)))
                found.setdefault(what, {})[size] = took
    return found


def _took(action: Callable[[], object]) -> float:
    gc.collect()
    clock = _processor()
    action()
    return _processor() - clock


def _processor() -> float:
    """Return the seconds that processors gave to this process, and to its programs that have ended."""
    told = os.times()
    return time.process_time() + told.children_user + told.children_system


def exponent(took: dict[int, float]) -> float:
    """Return the slope of the line through the logarithms of the larger half of the sizes."""
    pairs = [(math.log(size), math.log(max(seconds, 1e-6))) for size, seconds in sorted(took.items())]
    pairs = pairs[len(pairs) // 2 - (len(pairs) < 4) :] or pairs
    middle, level = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    across = sum((x - middle) ** 2 for x, _ in pairs)
    return sum((x - middle) * (y - level) for x, y in pairs) / across if across else 0.0


def plot(known: dict[str, dict[str, dict[int, float]]]) -> str:
    """Return a drawing of everything that was measured: a panel for each kind of input, both axes logarithmic."""
    wide, high, drawn = 320, 220, list[str]()
    colours = ("#1b6ca8", "#c0392b", "#27864b", "#8e44ad")
    for place, (name, steps) in enumerate(known.items()):
        left, top = place % 3 * wide, place // 3 * high
        points = [(size, max(took, 1e-5)) for each in steps.values() for size, took in each.items()]
        low, far = (math.log10(pick(size for size, _ in points)) for pick in (min, max))
        least, most = (math.log10(pick(took for _, took in points)) for pick in (min, max))
        drawn.append(f'<text x="{left + 10}" y="{top + 16}" font-weight="bold">{CASES[name].of}</text>')
        for line, (what, each) in enumerate(steps.items()):
            spots = " ".join(
                f"{left + 20 + _share(size, low, far) * (wide - 50):.0f},"
                f"{top + high - 20 - _share(max(took, 1e-5), least, most) * (high - 100):.0f}"
                for size, took in sorted(each.items())
            )
            drawn.append(
                f'<polyline points="{spots}" fill="none" stroke="{colours[line % 4]}" stroke-width="2"/>'
            )
            label = f"{what}: {exponent(each):.2f}"
            drawn.append(
                f'<text x="{left + 20}" y="{top + 32 + 14 * line}" fill="{colours[line % 4]}">{label}</text>'
            )
    size = f"{3 * wide} {-(-len(known) // 3) * high}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *drawn, "</svg>"]) + "\n"


def _share(value: float, low: float, high: float) -> float:
    """Return where a value lies between two logarithms: 0 to 1."""
    return (math.log10(value) - low) / max(high - low, 1e-9)


def page(known: dict[str, dict[str, dict[int, float]]]) -> str:
    """Return the page: a table for each kind of input."""
    cores = len(os.sched_getaffinity(0))
    machine = f"{cores} cores, {platform.machine()}, Python {platform.python_version()}"
    lines = ["# How cost grows", "", f"`make bench-growth` on {machine}.\n{SAID}", "", PICTURE]
    for name, steps in known.items():
        sizes = sorted({size for each in steps.values() for size in each})
        lines += ["", f"## {CASES[name].of[0].upper()}{CASES[name].of[1:]} (`{name}`)", ""]
        if left := [f"{one:,}" for one in CASES[name].sizes if one not in sizes]:
            lines += [f"Not run: {' and '.join(left)}.", ""]
        lines.append("| what | " + " | ".join(f"{size:,}" for size in sizes) + " | exponent |")
        lines.append("| --- |" + " ---: |" * (len(sizes) + 1))
        for what, each in steps.items():
            cells = " | ".join(f"{each[size]:.3f}" if size in each else "" for size in sizes)
            lines.append(f"| {what} | {cells} | {exponent(each):.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the page, the drawing, and what both are made of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=CASES, help="may be given again; default: all")
    parser.add_argument("--top", type=int, default=10**9, help="leave out sizes above this")
    options = parser.parse_args()
    gc.set_threshold(cli._OBJECTS)  # as every command does
    said = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    for name in options.only or CASES:
        said[name] = measure(name, options.top)
    known = {
        name: {what: {int(size): took for size, took in each.items()} for what, each in said[name].items()}
        for name in CASES
        if name in said
    }
    MEASURED.write_text(json.dumps(known, indent=1) + "\n")
    PAGE.write_text(page(known))
    PLOT.write_text(plot(known))
    print(page(known))


if __name__ == "__main__":
    main()
