"""Builds that are cut short, in every stage and by every means: nothing is left, and the next run goes on."""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loopback import Index
from retread.doors import fs
from retread.doors.net import download
from retread.wheel import zipwriter
from tinycuda import BUILT, DATA, FILES, OPS, SDIST, WHEEL, Project, diff, names, ops

BUILD = ("build", "tiny-1.0")


# A disk that is full, in every writer; an interrupt, in every stage.


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (download, "_download"), (shutil, "move"), ("retread.source.tree", "_put"),
        ("retread.wheel.contents", "unpack"), (zipwriter, "local_header"), (zipwriter, "deflate_file"),
        (Path, "write_bytes"), (fs, "place"),
    ],
)  # fmt: skip
def test_a_full_disk_is_one_message_and_leaves_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    project.add_toolchain("8.0", "9.0a", "10.0")
    where = importlib.import_module(module) if isinstance(module, str) else module
    with monkeypatch.context() as patch:
        if name == "place":  # the finished wheel stays in the store: only dist/ is full
            patch.setattr(os, "link", _full)
            patch.setattr(shutil, "copyfile", _full)
        else:
            patch.setattr(where, name, _full)
        result = project.build()
    assert result.code == 13, result
    assert re.search(r"retread: store: cannot write \S+: the disk is full\n  next: make room", result.err)
    assert "Traceback" not in result.err
    assert result.out == ""
    assert not list((project.root / "dist").glob("*"))
    assert not list((project.store / "scratch").glob("*"))
    assert project.build().code == 0


STAGES = [
    ("retread.doors.net.download", "fetch"), ("retread.source.tree", "from_sdist"), ("retread.source.patch", "apply"),
    ("retread.lanes.base", "prove"), ("retread.toolkit.ptxas", "install"), ("retread.build.graft", "graft"),
    ("retread.build.seal", "seal"), ("retread.audit.audit", "audit"), ("retread.doors.fs", "place"),
]  # fmt: skip


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("module", "name"), STAGES)
def test_an_interrupt_in_any_stage_leaves_nothing_and_the_next_run_goes_on(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    name: str,
    after: bool,
) -> None:
    project.add_toolchain("8.0", "9.0a", "10.0")
    where = importlib.import_module(module)
    real = getattr(where, name)

    def interrupted(*arguments: object, **options: object) -> object:
        found = real(*arguments, **options) if after else None
        signal.raise_signal(signal.SIGTERM if after else signal.SIGINT)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(where, name, interrupted)
        result = project.build()
    assert result.code == 130, result
    assert result.err.endswith(
        "interrupted; what was finished is kept, the same command goes on from there\n"
    )
    assert "Traceback" not in result.err
    assert result.out == ""
    assert not list((project.store / "scratch").glob("*"))
    if name != "place":
        assert project.leftovers() == []
    assert project.build().code == 0


# Processes of their own.


@pytest.mark.parametrize(
    ("number", "file"), [(signal.SIGINT, SDIST), (signal.SIGTERM, WHEEL), (signal.SIGHUP, WHEEL)]
)
def test_a_signal_during_a_download(
    project: Project, index: Index, number: signal.Signals, file: str
) -> None:
    index.stall = {file: 100}
    process = project.start(*BUILD)
    assert index.stalled.wait(30)
    process.send_signal(number)
    if number is signal.SIGHUP:  # the kernel tells of a terminal that is gone, and then a shell does, too
        process.send_signal(number)
    result = project.finish(process)
    assert result.code == 130
    assert result.out == ""
    assert "retread: interrupted" in result.err
    assert "Traceback" not in result.err
    assert project.leftovers() == []
    index.stall = {}
    index.released.set()
    assert project.build().code == 0


HANGING = """\
#!/bin/sh
[ "$1" = --version ] && echo "release 12.8, V12.8.93" && exit
for out; do :; done
[ "$1" = -arch={hangs} ] || exec cp "{data}/add.${{1#-arch=}}.cubin" "$out"
exec 3>{folder}/alive; echo up >&3; read nothing <{folder}/never
"""


@pytest.mark.parametrize(
    ("number", "hangs"),
    [(signal.SIGINT, "sm_80"), (signal.SIGTERM, "sm_100"), (signal.SIGHUP, "sm_80")],
)  # fmt: skip
def test_a_signal_during_a_graft_ends_ptxas(
    project: Project, tmp_path: Path, number: signal.Signals, hangs: str
) -> None:
    """ptxas holds a pipe open; its end shows that no ptxas is left."""
    os.mkfifo(tmp_path / "alive")
    os.mkfifo(tmp_path / "never")
    script = HANGING.format(hangs=hangs, data=DATA, folder=tmp_path)
    project.add_toolchain("8.0", "9.0a", "10.0", script=script.replace("{", "{{").replace("}", "}}"))
    process = project.start(*BUILD)
    with (tmp_path / "alive").open() as alive:
        assert alive.readline() == "up\n"
        process.send_signal(number)
        result = project.finish(process)
        assert set(alive.read().split()) <= {"up"}
    assert "Traceback" not in result.err
    assert result.code == 130
    assert "retread: interrupted; what was finished is kept" in result.err
    assert project.leftovers() == []
    project.add_toolchain()
    assert project.build().code == 0


def test_two_builds_at_once_share_the_work(project: Project, index: Index) -> None:
    index.stall = {WHEEL: 100}
    first = project.start(*BUILD, "--json")
    assert index.stalled.wait(30)
    second = project.start(*BUILD, "--json")
    assert second.stderr
    title = second.stderr.readline()
    index.released.set()
    results = [project.finish(first), project.finish(second)]
    assert [one.code for one in results] == [0, 0], results
    assert len({json.loads(one.out)[0]["sha256"] for one in results}) == 1
    said = title + "".join(one.err for one in results)
    for step in (
        "prove the source",
        "apply the series",
        "prove the base",
        "seal the wheel",
        "audit the wheel",
    ):
        assert said.count(f"  {step}") == 1, said
    assert [len(index.asked_for(file)) for file in (SDIST, WHEEL)] == [1, 1]
    assert not list((project.store / "scratch").glob("*"))


def test_builds_that_are_killed_leave_nothing_that_counts(
    project: Project, make_project: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    moments = random.Random(1)
    project.add_toolchain("8.0", "9.0a", "10.0")
    for value in range(8):
        project.series(diff(OPS, FILES[OPS], ops(VALUE_3=40 + value)))
        process = project.start(*BUILD)
        assert process.stderr
        for _ in range(moments.randrange(1, 9 if value < 3 else 4)):
            process.stderr.readline()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        project.finish(process)
    shutil.rmtree(project.root / "dist", ignore_errors=True)
    project.series(diff(OPS, FILES[OPS], ops(VALUE_3=30)))
    result = project.finish(project.start(*BUILD))
    assert result.code == 0, result.err
    pruned = project.run("store", "prune", "--json")
    assert json.loads(pruned.out) == {"removed": [], "freed": 0}
    assert not list((project.store / "scratch").glob("*"))
    assert names(project.root / "dist") == [BUILT, f"{BUILT}.audit.json"]
    monkeypatch.setenv("RETREAD_STORE", str(tmp_path / "clean"))
    clean = make_project("clean")
    clean.add_toolchain("8.0", "9.0a", "10.0")
    assert clean.build().code == 0
    assert clean.built.read_bytes() == project.built.read_bytes()


def test_a_killed_download_goes_on(project: Project, index: Index) -> None:
    data = random.Random(1).randbytes(3 << 20)
    project.publish_wheel(lambda files: files.update({"tinycuda/data.bin": data}))
    project.edit_recipe("generated = [", 'generated = ["tinycuda/data.bin", ')
    index.stall = {WHEEL: (2 << 20) + 100}
    process = project.start(*BUILD)
    assert index.stalled.wait(30)
    (partial,) = project.partials() or [project.store / "partial" / "none"]
    while not partial.exists() or partial.stat().st_size < 2 << 20:
        assert process.poll() is None
        (partial,) = project.partials() or [partial]
    process.kill()
    project.finish(process)
    index.stall = {}
    assert project.build().code == 0
    last = index.asked_for(WHEEL)[-1]
    assert 2 << 20 <= int(last.range.removeprefix("bytes=").removesuffix("-")) <= (2 << 20) + 100
    assert last.status == 206


def test_the_machine_s_settings_do_not_get_into_the_wheel(
    make_project: Callable[[str], Project], tmp_path: Path
) -> None:
    found = set()
    settings = [
        {"LC_ALL": "C", "TZ": "UTC", "PYTHONHASHSEED": "1", "SOURCE_DATE_EPOCH": "1"},
        {"LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "2", "PYTHONUTF8": "0", "USER": "other"},
    ]
    for number, environment in enumerate(settings):
        project = make_project(f"at/{number}")
        store = str(tmp_path / f"store{number}")
        result = project.finish(project.start(*BUILD, **environment, RETREAD_STORE=store))
        assert result.code == 0, result.err
        found.add(project.built.read_bytes())
    assert len(found) == 1


# Disks. A mount lives in a name space of its own and goes with the process that made it.


def _mounted(project: Project, mount: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line after ``mount``, then list what is in the store."""
    program = f'{mount} || exit 99; "$@"; code=$?; find "$RETREAD_STORE" -type f; exit $code'
    line = ["unshare", "--mount", "sh", "-c", program, "sh", sys.executable, "-c"]
    done = subprocess.run(
        [*line, "from retread.cli.main import main; main()", *arguments],
        cwd=project.root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("needs the right to mount")
    return done


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare")
def test_a_disk_of_any_size_is_either_large_enough_or_full(project: Project) -> None:
    project.store.mkdir()
    codes = []
    for size in (8, 32, 64, 96, 128, 160, 192, 4096):
        mount = f'mount -t tmpfs -o size={size}k none "$RETREAD_STORE"'
        done = _mounted(project, mount, *BUILD, "--out", str(project.root / f"out{size}"))
        codes.append(done.returncode)
        if done.returncode:
            assert done.returncode == 13, done.stderr
            assert re.search(
                r"retread: store: cannot write \S+: the disk is full\n  next: make room", done.stderr
            )
            assert "/scratch/" not in done.stdout
            assert not list(project.root.glob(f"out{size}/*"))
    assert codes[0] == 13
    assert codes[-1] == 0
    assert codes == sorted(codes, reverse=True)


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare")
def test_a_read_only_store_still_serves(project: Project) -> None:
    assert project.build().code == 0
    mount = 'mount --bind "$RETREAD_STORE" "$RETREAD_STORE" && mount -o remount,bind,ro "$RETREAD_STORE"'
    done = _mounted(project, mount, *BUILD, "--out", "elsewhere")
    assert done.returncode == 0, done.stderr
    assert "from the store: " in done.stderr
    assert (project.root / "elsewhere" / BUILT).read_bytes() == project.built.read_bytes()
    project.series()
    done = _mounted(project, mount, *BUILD)
    assert done.returncode == 13
    assert "the disk is read-only" in done.stderr
