#!/usr/bin/env python3
"""Measure what retread promises, side by side in one run, and print a table; ``--write`` puts it into docs/.

Every figure is the wall time of a whole command, the median of a few runs, beside what it is compared with on the same
machine in the same minute. Nothing is asserted: the last column says whether the bound holds here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import RETREAD, ROOT, Row, Took, command_line, median, render, run, say, timed

RECIPE = "xformers-0.0.32.post2"
LIBRARY = "xformers/_C.so"
ARCHITECTURES = ("10.0", "12.0")


def measure(work: Path) -> str:
    """Return the table as Markdown."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    env["RETREAD_STORE"] = str(work / "store")
    workspace = work / "workspace"
    for name in ("recipes", "patches"):
        shutil.copytree(ROOT / name, workspace / name)
    say("filling a store (downloads, first build)")
    first = run([RETREAD, "build", RECIPE], env, workspace)
    wheel = next((workspace / "dist").glob("*.whl"))
    rows = [
        *graft_rows(work, env, workspace),
        *edit_rows(work, env, workspace, wheel),
        *idle_rows(env, workspace),
    ]
    rows.append(
        Row("first build, empty store, downloads included", first.seconds, "a minute", 60.0, first.memory)
    )
    page = render("Measures", "make bench", "The bound on memory is 500 MB for every line.", rows)
    return f"{page}\n\n{REMARKS}"


REMARKS = """\
What a graft does beside ptxas is shown by the one that finds every cubin in the store: Python starts, the old library
is read, PTX is unpacked and hashed, the new library is written and read again. Most of that keeps one core waiting, and
none of it grows with the time that ptxas takes: it is a larger part of a graft of few cubins.

An edited patch is held against a copy to a new file, since the wheel is one: the last stays in the store. A copy over
an old file has its memory already, which can take longer to find than the copy takes, but gives up the old blocks
first: its time is told, too. What a build does that changes nothing comes first, so that an edit takes that and the
copy at least. The rest is git, and the imports of what opens, patches, seals and audits a wheel: one interpreter makes
them one after the other. The digests, of the file and of each member, are taken beside them and beside the copy."""


def graft_rows(work: Path, env: Mapping[str, str], workspace: Path) -> list[Row]:
    """Graft a library with 18 modules, against bare ptxas on the same PTX and cores."""
    from retread.build import graft
    from retread.elf import fatbin
    from retread.elf.library import fat_binaries
    from retread.wheel.contents import unpack
    from retread.wheel.wheelfile import Wheel

    store = Path(env["RETREAD_STORE"])
    ptxas = next(store.glob("toolchains/*/*/ptxas"))
    library = work / "library.so"
    with Wheel(next(store.glob("downloads/*/*/xformers-*.whl"))) as opened:
        unpack(opened, opened.archive.by_name[LIBRARY], library)
    jobs = graft.plan_jobs(fat_binaries(library), tuple(map(fatbin.Arch, ARCHITECTURES)), (8, 7))
    for number, job in enumerate(jobs):
        (work / f"{number}.ptx").write_bytes(fatbin.ptx(job.entry))

    def one(number: int) -> None:
        sm = f"sm_{jobs[number].target.replace('.', '')}"
        command = [ptxas, f"-arch={sm}", "-O2", work / f"{number}.ptx", "-o", work / f"{number}.cubin"]
        subprocess.run(command, check=True)

    def bare() -> None:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(one, range(len(jobs))))

    def grafting() -> Took:
        arches = [part for arch in ARCHITECTURES for part in ("--arch", arch)]
        return run([RETREAD, "graft", library, *arches, "-o", work / "grafted.so"], env, workspace)

    say("graft against bare ptxas")
    alone: list[float] = []
    with_graft: list[Took] = []
    beside: list[Took] = []
    for _ in range(5):
        for made in (*work.glob("*.cubin"), work / "grafted.so"):
            made.unlink(missing_ok=True)  # to write over a file takes longer
        alone.append(timed(bare))
        shutil.rmtree(store / "cubins", ignore_errors=True)
        with_graft.append(grafting())
        (work / "grafted.so").unlink()
        beside.append(grafting())
    bare_time, took, rest = statistics.median(alone), _middle(with_graft), _middle(beside)
    against = f"bare ptxas, {len(jobs)} cubins: {bare_time:.2f} s; x 1.03"
    part = f"a part of the graft: {rest.seconds / took.seconds:.1%}"
    return [
        Row("graft `_C.so` for 10.0 and 12.0", took.seconds, against, bare_time * 1.03, took.memory),
        Row("the same with every cubin in the store", rest.seconds, part, float("inf"), rest.memory),
    ]


def _middle(took: Sequence[Took]) -> Took:
    return Took(statistics.median(one.seconds for one in took), max(one.memory for one in took))


def edit_rows(work: Path, env: Mapping[str, str], workspace: Path, wheel: Path) -> list[Row]:
    """Edit a patch and build again, against copying and hashing the wheel, and against unpack, patch, pack."""
    folder = workspace / "patches" / "xformers" / RECIPE.partition("-")[2]
    patch = next(folder.glob("0001-*.patch"))
    original = patch.read_text()
    edits = iter(range(1000))

    def edited() -> Took:
        patch.write_text(original.replace("Breaks: ", f"Breaks: (edit {next(edits)}) ", 1))
        return run([RETREAD, "build", RECIPE], env, workspace)

    def copied(name: str) -> None:
        shutil.copyfile(wheel, work / name)
        with (work / name).open("rb") as stream:
            hashlib.file_digest(stream, "sha256")

    say("an edited patch against copy + SHA-256, and against wheel unpack + pack")
    copied("copy.whl")
    copies, over, takes, idle = [], [], [], []
    for number in range(5):
        copies.append(timed(lambda name=f"copy-{number}.whl": copied(name)))
        takes.append(edited())
        idle.append(run([RETREAD, "build", RECIPE], env, workspace).seconds)
        over.append(timed(lambda: copied("copy.whl")))
    patch.write_text(original)
    repack = timed(lambda: repacked(work, wheel, patch))
    copy, took = statistics.median(copies), _middle(takes)
    size = wheel.stat().st_size / 1e6
    return [
        Row(
            f"one patch edited, {size:.0f} MB wheel",
            took.seconds,
            f"copy to a new file + SHA-256: {copy:.2f} s ({statistics.median(over):.2f} s over an old one); x 2",
            copy * 2,
            took.memory,
        ),
        Row(
            "the same",
            took.seconds,
            f"a build that changes nothing, then that copy: {statistics.median(idle) + copy:.2f} s",
            float("inf"),
            took.memory,
        ),
        Row(
            "the same",
            took.seconds,
            f"`wheel unpack`, patch, `wheel pack`: {repack:.1f} s; / 25",
            repack / 25,
            took.memory,
        ),
    ]


def repacked(work: Path, wheel: Path, patch: Path) -> None:
    """Unpack a wheel, take a patch out of it, and pack it again."""
    tool = [sys.executable, "-m", "wheel"]
    subprocess.run([*tool, "unpack", wheel, "-d", work / "unpacked"], check=True, stdout=subprocess.DEVNULL)
    tree = next((work / "unpacked").iterdir())
    subprocess.run(["git", "apply", "--reverse", patch], cwd=tree, check=True)
    (work / "packed").mkdir(exist_ok=True)
    subprocess.run([*tool, "pack", tree, "-d", work / "packed"], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(work / "unpacked")


def idle_rows(env: Mapping[str, str], workspace: Path) -> list[Row]:
    """Answer when nothing changed."""
    say("nothing changed")
    run([RETREAD, "build", RECIPE], env, workspace)
    unchanged = median(5, lambda: run([RETREAD, "build", RECIPE], env, workspace))
    usage = median(5, lambda: run([RETREAD, "--help"], env, workspace))
    python = median(5, lambda: run([sys.executable, "-c", "pass"], env, workspace))
    against = f"Python's own start: {python.seconds:.2f} s"
    return [
        Row("`retread build`, nothing changed", unchanged.seconds, against, 0.1, unchanged.memory),
        Row("`retread --help`", usage.seconds, against, 0.05, usage.memory),
    ]


command_line(__doc__, "benchmarks.md", measure)
