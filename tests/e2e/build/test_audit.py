"""Audits: a wheel is held to what was promised, and every broken promise is named."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from retread.audit import audit
from retread.audit.report import AuditReport, Check
from retread.errors import AuditError
from retread.records import Sha256
from tinycuda import BUILT, INFO, LIBRARY, METADATA, WHEEL, Project, make_wheel, skip_without, wheel_files


@pytest.fixture
def official(project: Project) -> str:
    """Put the base wheel into the workspace and return its name."""
    (project.root / WHEEL).write_bytes(project.index.files["tinycuda"][WHEEL])
    return WHEEL


def test_a_finished_wheel_holds_what_it_says_of_itself(project: Project) -> None:
    assert project.build().code == 0
    result = project.run("audit", str(project.built))
    assert result.code == 0
    assert result.out.splitlines()[-1] == f"{BUILT}: the promise of cu128 holds"
    evidence = json.loads(Path(f"{project.built}.audit.json").read_text())
    assert evidence["ok"] is True
    assert evidence["sha256"] == project.build("--json").out.split('"sha256": "')[1][:64]


def test_any_wheel_is_held_to_the_general_rules(project: Project, official: str) -> None:
    result = project.run("audit", official)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[-1] == f"{WHEEL}: the rules of any wheel hold"


def test_the_official_wheel_does_not_hold_a_promise_of_more(project: Project, official: str) -> None:
    project.add_toolchain("8.0", "9.0a", "10.0")
    result = project.run("audit", official, "--recipe", "tiny-1.0")
    assert result.code == 12
    assert f"sass: {LIBRARY}: 4 of 4 modules: module 0 lacks 10.0" in result.err
    assert "DOES NOT HOLD" in result.out


def test_a_promise_of_less_is_broken_too(project: Project, official: str) -> None:
    project.edit_recipe('architectures = ["8.0", "9.0a"]', 'architectures = ["8.0"]')
    result = project.run("audit", official, "--recipe", "tiny-1.0")
    assert result.code == 12
    assert "has 9.0a, which is not promised" in result.err
    project.fails(12, "has 9.0a, which is not promised")


def test_a_requirement_that_is_missing_is_named(project: Project, official: str) -> None:
    project.edit_recipe("revision = 1\n", 'revision = 1\nrequires = ["torch>=2.8", "other>=1"]\n')
    result = project.run("audit", official, "--recipe", "tiny-1.0")
    assert result.code == 12
    assert "requires: other>=1" in result.err


def test_an_older_tag_than_the_code_needs_is_named(project: Project) -> None:
    files = wheel_files()
    old = WHEEL.replace("manylinux_2_17", "manylinux_2_1")
    files[f"{INFO}/WHEEL"] = files[f"{INFO}/WHEEL"].replace(b"manylinux_2_17", b"manylinux_2_1")
    (project.root / old).write_bytes(make_wheel(files))
    result = project.run("audit", old)
    assert result.code == 12
    assert "glibc" in result.err
    assert "2.1" in result.err


def test_another_machine_than_the_tag_s_is_named(project: Project) -> None:
    files = wheel_files()
    other = WHEEL.replace("x86_64", "aarch64")
    files[f"{INFO}/WHEEL"] = files[f"{INFO}/WHEEL"].replace(b"x86_64", b"aarch64")
    (project.root / other).write_bytes(make_wheel(files))
    result = project.run("audit", other)
    assert result.code == 12
    assert f"machine: {LIBRARY}: x86_64" in result.err


def test_a_file_that_is_not_there_is_a_usage_error(project: Project) -> None:
    assert project.run("audit", "none.whl").code == 2
    assert "there is no file none.whl" in project.run("inspect", "none.whl").err


def test_a_wheel_under_another_name_is_refused(project: Project) -> None:
    other = WHEEL.replace("1.0", "2.0")
    (project.root / other).write_bytes(make_wheel(wheel_files()))
    result = project.run("audit", other)
    assert result.code == 9
    assert "is not named after tinycuda-2.0" in result.err
    assert METADATA.splitlines()[1] not in result.err


def test_demand_raises_with_every_fault_and_no_other() -> None:
    checks = tuple(
        Check(check=name, subject="s", ok=name == "good", detail="d") for name in ("good", "bad", "worse")
    )
    report = AuditReport(
        schema=1, wheel="w.whl", sha256=Sha256("0" * 64), size=1, target="t", ok=False, checks=checks
    )
    with pytest.raises(AuditError) as caught:
        audit.demand(report)
    assert caught.value.faults == ("bad: s: d", "worse: s: d")


@pytest.fixture
def linked(project: Project, tmp_path: Path) -> Project:
    """Give the base wheel a second library, which needs libcudart.so.12."""
    skip_without("gcc")
    source = tmp_path / "empty.c"
    source.write_text("int nothing;\n")
    gcc = ["gcc", "-shared", "-fPIC", "-nostdlib", source]
    runtime, library = tmp_path / "libcudart.so", tmp_path / "_D.so"
    subprocess.run([*gcc, "-Wl,-soname,libcudart.so.12", "-o", runtime], check=True)
    subprocess.run([*gcc, "-Wl,--no-as-needed", runtime, "-o", library], check=True)
    project.publish_wheel(lambda files: files.update({"tinycuda/_D.so": library.read_bytes()}))
    return project


@pytest.mark.parametrize("requires", ["", 'requires = ["numpy"]', 'requires = ["nvidia-cuda-runtime-cu12"]'])
def test_a_library_that_nobody_provides_is_no_wheel(linked: Project, requires: str) -> None:
    linked.edit_recipe("revision = 1\n", f"revision = 1\n{requires}\n")
    linked.fails(
        12,
        f"audit: {BUILT} does not hold what tiny-1.0 cu128 promises\n"
        "  - providers: tinycuda/_D.so: nothing provides libcudart.so.12 (torch 2.11.0 is for CUDA 13)\n",
    )


@pytest.mark.parametrize(
    ("torch", "more", "told"),
    [
        ("==2.9.1", "", "torch: libcudart.so.12"),
        (
            ">=2.8",
            'requires = ["nvidia-cuda-runtime-cu12>=12.8"]\n[targets.cu128.run-path]\n'
            '"tinycuda/_D.so" = ["$ORIGIN/../nvidia/cuda_runtime/lib"]',
            "nvidia-cuda-runtime-cu12 by run path: libcudart.so.12",
        ),
    ],
    ids=["torch", "package"],
)
def test_who_provides_a_library_is_in_the_evidence(linked: Project, torch: str, more: str, told: str) -> None:
    more = more or f'requires = ["torch{torch}"]'
    linked.edit_recipe('torch = ">=2.8"', f'torch = "{torch}"')
    linked.edit_recipe('generated = ["tinycuda/version.py", "tinycuda/**.so"]\n', 'generated = ["tinycuda/version.py", '
                       f'"tinycuda/**.so"]\n{more}\n')  # fmt: skip
    assert linked.build().code == 0
    checks = json.loads(Path(f"{linked.built}.audit.json").read_text())["checks"]
    found = {one["subject"]: one["detail"] for one in checks if one["check"] == "providers"}
    assert found == {LIBRARY: "the system: libc.so.6", "tinycuda/_D.so": told}
