"""Audits: a wheel is held to what was promised, and every broken promise is named."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

import gpucode
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


def _with(project: Project, **changes: bytes) -> str:
    """Put a wheel with other or more files into the workspace and return its name."""
    (project.root / WHEEL).write_bytes(make_wheel(wheel_files() | changes))
    return WHEEL


def test_a_wrong_tag_is_shown_and_judged_and_hides_nothing(project: Project) -> None:
    """Wheels that were renamed after they were built, as cupy's, still say linux_x86_64 in WHEEL."""
    text = wheel_files()[f"{INFO}/WHEEL"].replace(b"manylinux_2_17", b"linux")
    name = _with(project, **{f"{INFO}/WHEEL": text})
    shown = project.run("inspect", name)
    assert shown.code == 0
    assert f"note: wheel: {WHEEL}: WHEEL: Tag is 'py3-none-linux_x86_64'" in shown.out
    assert "native code      8.0 (A100)" in shown.out
    result = project.run("audit", name)
    assert result.code == 12
    assert f"wheel: {WHEEL}: WHEEL: Tag is 'py3-none-linux_x86_64'" in result.err
    assert f"machine    {LIBRARY}" in result.out


def test_what_is_no_shared_object_is_named_and_the_rest_holds(project: Project) -> None:
    name = _with(
        project, **{"tinycuda/libx.so": b"INPUT(libx.so.1)\n", "tinycuda/a.zip": b"PK\3\4" + bytes(30)}
    )
    result = project.run("audit", name)
    assert result.code == 0
    assert (
        "not looked into:\n  tinycuda/libx.so: a linker script\n  tinycuda/a.zip: a zip archive\n"
        in result.out
    )
    assert result.out.splitlines()[-1] == f"{WHEEL}: the rules of any wheel hold for what was read"
    assert json.loads(project.run("audit", name, "--json").out)["unread"] == {
        "tinycuda/libx.so": "a linker script",
        "tinycuda/a.zip": "a zip archive",
    }
    assert "  tinycuda/libx.so: a linker script\n" in project.run("inspect", name).out


def test_a_message_names_wheel_and_member(project: Project) -> None:
    name = _with(project, **{LIBRARY: gpucode.LIBRARY.replace(b"\x7fELF\2\1\1\x33", b"\x7fBAD\2\1\1\x33")})
    result = project.run("audit", name)
    assert result.code == 12
    assert f"GPU code: {LIBRARY}: cannot be read: {WHEEL}: {LIBRARY}: module 0, offset" in result.err
    assert "scratch" not in result.out + result.err


FILES = {
    "x.so": gpucode.LIBRARY, "program": gpucode.section_called(gpucode.LIBRARY, b".my_kernel"),
    "x.cubin": gpucode.ADD90,
    "x.fatbin": gpucode.PLAIN, "x.ptx": gpucode.PTX, "x.o": gpucode.elf(1, 62, gpucode.PLAIN),
    "x.a": gpucode.archive(a=gpucode.PLAIN), "x.pyd": gpucode.windows(gpucode.PLAIN),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_any_file_with_gpu_code_is_shown_and_judged(project: Project, name: str) -> None:
    (project.root / name).write_bytes(FILES[name])
    shown = project.run("inspect", name)
    assert (shown.code, shown.err) == (0, "")
    assert re.search(r"[14] modules?: native", shown.out)
    assert json.loads(project.run("inspect", name, "--json").out)["kernels"][0]["count"] == 1
    result = project.run("audit", name)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[-1] == f"{name}: the rules of any file hold"
    refused = project.run("audit", name, "--recipe", "tiny-1.0")
    assert (refused.code, "is no wheel" in refused.err) == (2, True)


def test_kernels_are_named_when_a_gpu_is(project: Project, official: str) -> None:
    result = project.run("inspect", official, "--gpu", "7.5")
    assert result.out.splitlines()[-3:] == ["", f"{LIBRARY}: 1 kernel without code for 7.5", "  add_one"]
    served = project.run("inspect", official, "--gpu", "8.0")
    assert served.out.splitlines()[-1] == f"{LIBRARY}: 0 kernels without code for 8.0"
    told = json.loads(project.run("inspect", official, "--gpu", "8.0", "--json").out)
    assert told["libraries"][LIBRARY]["kernels"][0]["names"] == ["add_one"]
    assert "did you mean '8.0'" in project.run("inspect", official, "--gpu", "80").err


def test_a_store_that_cannot_be_written_does_no_harm(
    project: Project, official: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RETREAD_STORE", str(tmp_path / "file" / "store"))
    for command in ("inspect", "audit"):
        result = project.run(command, official)
        assert (result.code, result.err) == (0, "")
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith("retread-")] == []
