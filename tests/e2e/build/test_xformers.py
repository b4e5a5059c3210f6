"""The default recipe from the user's own index to an installed wheel: what a maintainer does on the first day."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from installer.records import parse_record_file
from installer.sources import WheelFile

import shipped
from shipped import Workspace

pytestmark = [pytest.mark.network, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[3]
LIBRARY = "xformers/_C.so"
PATCHED = "xformers/ops/fmha/cutlass.py"
BASE = "xformers-0.0.35-py39-none-manylinux_2_28_x86_64.whl"


@pytest.fixture(scope="module")
def workspace(large_folder: Path, shared_cubins: Path) -> Workspace:
    return shipped.copy(large_folder, "recipes", "patches")


@pytest.fixture(scope="module")
def wheel(workspace: Workspace) -> Path:
    done = workspace.run("build")
    assert done.returncode == 0, done.stderr
    return workspace.root / done.stdout.splitlines()[-1]


def _steps(text: str) -> list[str]:
    return re.findall(r"^  (\S+ \S+).* ok +\d", text, re.MULTILINE)


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    assert wheel.name == "xformers-0.0.35+cu128.1-py39-none-manylinux_2_28_x86_64.whl"
    with WheelFile.open(wheel) as found:
        found.validate_record()
        metadata = found.read_dist_info("METADATA")
    assert "\nVersion: 0.0.35+cu128.1\n" in metadata
    assert "\nRequires-Dist: torch>=2.10\n" in metadata
    assert "\nRequires-Dist: nvidia-cuda-runtime-cu12>=12.8\n" in metadata


def test_it_installs_and_the_patched_file_has_the_new_cap(wheel: Path, tmp_path: Path) -> None:
    line = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        tmp_path,
    ]
    subprocess.run([*line, wheel], check=True)
    assert "CUDA_MAXIMUM_COMPUTE_CAPABILITY = (12, 0)" in (tmp_path / PATCHED).read_text()
    assert '"0.0.35+cu128.1"' in (tmp_path / "xformers" / "version.py").read_text()
    record = (tmp_path / "xformers-0.0.35+cu128.1.dist-info" / "RECORD").read_text()
    listed = {row[0] for row in parse_record_file(record.splitlines())}
    with zipfile.ZipFile(wheel) as archive:
        assert set(archive.namelist()) <= listed
    assert all((tmp_path / name).is_file() for name in listed if "__pycache__" not in name)


def test_every_module_has_native_code_for_blackwell(workspace: Workspace, wheel: Path) -> None:
    done = workspace.run("inspect", str(wheel), "--json")
    assert done.returncode == 0
    facts = json.loads(done.stdout)
    modules = facts["libraries"][LIBRARY]["modules"]
    assert len(modules) == 11
    for module in modules:
        assert module["sass"] == ["7.5", "8.0", "9.0a", "10.0", "12.0"]
        assert module["ptx"] == ["8.0"]
    toolchain = facts["statement"]["toolchain"]
    assert toolchain["reproduced"] is True, "this ptxas made the official wheel's own code"
    assert "V12.8.93" in toolchain["ptxas"]


def test_the_audit_holds_and_lies_beside_it(workspace: Workspace, wheel: Path) -> None:
    done = workspace.run("audit", str(wheel))
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("holds")
    evidence = json.loads(wheel.with_name(f"{wheel.name}.audit.json").read_text())
    assert evidence["ok"] is True
    assert evidence["size"] == wheel.stat().st_size


def test_the_official_wheel_does_not_keep_the_promise(workspace: Workspace, wheel: Path) -> None:
    (official,) = (workspace.store / "downloads").rglob(BASE)
    done = workspace.run("audit", str(official), "--recipe", "xformers-0.0.35")
    assert done.returncode == 12
    assert f"sass: {LIBRARY}: 8 of 8 modules: module 2 lacks 10.0 12.0" in done.stderr
    assert workspace.run("audit", str(official)).returncode == 0


def test_nothing_is_done_twice_and_a_changed_patch_costs_three_steps(
    workspace: Workspace, wheel: Path
) -> None:
    again = workspace.run("build")
    assert again.stderr.startswith("unchanged: ")
    assert _steps(again.stderr) == []
    (patch,) = (workspace.root / "patches" / "xformers" / "0.0.35").glob("0001-*.patch")
    text = patch.read_text()
    assert text.count("they can return garbage") == 1
    patch.write_text(text.replace("they can return garbage", "they return garbage"))
    try:
        done = workspace.run("build", "--out", "other")
    finally:
        patch.write_text(text)
    assert done.returncode == 0, done.stderr
    assert _steps(done.stderr) == ["apply the", "seal the", "audit the"]
    with zipfile.ZipFile(workspace.root / done.stdout.strip()) as archive:
        assert b"past it they return garbage" in archive.read(PATCHED)


def test_the_patch_applies_where_it_was_made(workspace: Workspace) -> None:
    done = workspace.run("patch", "check", "xformers-0.0.35", "--json")
    assert done.returncode == 0, done.stderr
    assert {one["verdict"] for one in json.loads(done.stdout)["xformers-0.0.35"]} == {"applies"}
