"""A wheel for Windows made on Linux: patched, grafted, sealed, proven; and what is refused with nothing left."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import gpucode
from pefiles import OPTIONAL, patched
from retread.binary import files
from retread.source import ends
from tinycuda import BUILT, DATA, OPS, WHEEL, Project, ops
from winbase import MEMBER, add_base

MADE = BUILT.replace("manylinux_2_17_x86_64", "win_amd64")
ON = ("--target", "cu128", "--platform", "win_amd64")


def test_a_wheel_for_windows_is_made_beside_that_for_linux(project: Project, tmp_path: Path) -> None:
    project.add_toolchain("8.0", "9.0a", "10.0")
    assert project.build().code == 0
    before = project.built.read_bytes()
    add_base(project)
    assert [one for one in project.run("plan", "tiny-1.0", *ON).out.splitlines() if MADE in one]
    result = project.build(*ON)
    assert result.code == 0, result.err
    assert result.wheel.name == MADE
    assert "note: No GPU under Windows has run it." in result.err
    wheel = project.root / "dist" / MADE
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(OPS) == ends.windows(ops(VALUE_3=30).encode())
        assert archive.read("tinycuda/dos.py") == b"A = 1\r\nB = 2\r\nC = 3\r\n"
        assert b"Tag: py3-none-win_amd64" in archive.read("tinycuda-1.0+cu128.1.dist-info/WHEEL")
        said = json.loads(archive.read("tinycuda-1.0+cu128.1.dist-info/retread.json"))
        (tmp_path / "new.pyd").write_bytes(archive.read(MEMBER))
    assert (said["promise"]["requires"], said["promise"]["run_path"]) == ([], {})
    assert said["libraries"] == {
        MEMBER: {"modules": 3, "before": ["8.0", "9.0a"], "after": ["8.0", "9.0a", "10.0"], "ptx": ["8.0"]}
    }
    found = files.library(tmp_path / "new.pyd").read(tmp_path / "new.pyd")
    assert [one.sass for one in found.modules] == [("8.0", "9.0a", "10.0")] * 3
    assert "Windows, x86_64, tags win_amd64" in project.run("audit", str(wheel)).out
    assert project.run("reproduce", str(wheel)).out.startswith("identical")
    assert project.build().code == 0
    assert project.built.read_bytes() == before


def test_all_makes_it_too_pip_installs_it_for_windows_and_nothing_of_it_is_run_here(
    project: Project, tmp_path: Path
) -> None:
    add_base(project)
    assert project.run("build", "--all", "--platform", "win_amd64").out == f"dist/{MADE}\n"
    assert project.run("build", "--all").out == f"dist/{BUILT}\ndist/{MADE}\n"
    result = project.run("build", "--all", "--platform", "win_arm64")
    assert (result.code, result.out) == (6, "")
    assert "no recipe is made for 'win_arm64' (did you mean 'win_amd64'?)" in result.err
    smoke = project.run("smoke", f"dist/{MADE}")
    assert smoke.code == 18
    assert f"{MADE} is for Windows, and nothing of it runs on this machine" in smoke.err
    assert "'retread kit' packs its tests for a machine with Windows" in smoke.err
    line = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--platform",
        "win_amd64",
    ]
    wheel = project.root / "dist" / MADE
    subprocess.run([*line, "--only-binary=:all:", "--target", tmp_path / "site", wheel], check=True)
    assert (tmp_path / "site" / MEMBER).read_bytes() == gpucode.WINDOWS


SIGNED = patched((OPTIONAL + 112 + 32, "<I", 0x5C00), (OPTIONAL + 112 + 36, "<I", 8))
CASES = {
    "signed": ({"library": SIGNED}, True, 23, "retread: pe: tinycuda/_C.pyd: is signed (Authenticode)"),
    "arm64": ({"library": patched((OPTIONAL - 20, "<H", 0xAA64))}, True, 23, "is for aarch64; only libraries of"),
    "cut": ({"library": gpucode.WINDOWS[:-1]}, True, 23, "section .reloc leaves the file"),
    "machine": (
        {"library": patched((OPTIONAL - 20, "<H", 0xAA64))}, False, 12,
        "machine: tinycuda/_C.pyd: Windows, aarch64, tags win_amd64",
    ),
    "linux": (
        {"tinycuda__x.pyd": (DATA / "libadd.so").read_bytes()}, False, 12,
        "machine: tinycuda/x.pyd: x86_64, tags win_amd64",
    ),
    "line ends": ({"tinycuda__ops.py": b"VALUE_1 = 1\r\nVALUE_2 = 2\n"}, False, 8, f"{OPS}: differs from the pinned"),
}  # fmt: skip


@pytest.mark.parametrize(("base", "grafted", "code", "told"), CASES.values(), ids=CASES.keys())
def test_what_is_wrong_with_a_base_for_windows_is_told(
    project: Project, base: dict[str, bytes], grafted: bool, code: int, told: str
) -> None:
    if grafted:
        project.add_toolchain("8.0", "9.0a", "10.0")
    add_base(project, **base)  # type: ignore[arg-type]
    result = project.build(*ON)
    assert (result.code, result.out) == (code, "")
    assert told in result.err
    assert project.leftovers() == []


def test_a_signed_library_is_refused_in_the_plan_and_no_assembler_starts(project: Project) -> None:
    project.add_toolchain("8.0", "9.0a", "10.0")
    add_base(project, library=SIGNED)
    result = project.build(*ON)
    assert (result.code, result.out) == (23, "")
    assert "graft" not in result.err.replace("retread", "")
    planned = project.run("plan", "tiny-1.0", *ON)
    assert (planned.code, planned.out) == (23, "")
    assert "tinycuda/_C.pyd: is signed (Authenticode), and no signature outlives a change" in planned.err
    assert "next: let the recipe exempt the library ('exempt')" in planned.err


def test_a_platform_without_a_base_wheel_is_refused(project: Project) -> None:
    result = project.build("--target", "cu128", "--platform", "win_amd64")
    assert (result.code, result.out) == (6, "")
    assert "tiny-1.0 cu128: no base wheel is for win_amd64" in result.err
    assert WHEEL in result.err
