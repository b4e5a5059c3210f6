"""The container lane on a small real CUDA project: a real podman, a real image, the real cibuildwheel and nvcc."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cacheservers
import containers
import faketorch
from containers import IMAGE, PYTHON
from loopback import Index
from nativecuda import ADD, FILES, SETUP
from retread.doors.store import Kind
from tinycuda import Project, Result, diff

pytestmark = [
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="an image of Debian's packages is made as root"),
]
OPS = FILES["tinycuda/ops.py"]
CONTAINER = f"""
[targets.cu130.container]
image = "example.org/manylinux_2_36@sha256:{"0" * 64}"
platform = "manylinux_2_36"
pythons = ["{PYTHON}"]
test-requires = ["torch==2.11.0"]

[targets.cu130.smoke]
torch = "2.11.0"

[smoke]
suites = ["scripts/suite.py"]
"""
SUITE = """\
import harness


@harness.case("suite/speed", level="static")
def speed():
    from tinycuda import ops

    assert ops.SPEED == 2, f"SPEED is {ops.SPEED}"


if __name__ == "__main__":
    harness.main()
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the variables of a podman that has the image."""
    kept = os.environ.get(containers.KEPT)
    variables = containers.prepare(Path(kept) if kept else tmp_path_factory.mktemp("containers"))
    if why := containers.obstacle(variables):
        pytest.skip(why)
    yield variables
    if not kept:
        containers.close(variables)


@pytest.fixture
def work(
    make_native: Callable[[str], Project],
    index: Index,
    engine: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Project]:
    """Return a project whose lock holds a stand-in for torch, which the smoke tests ask for."""
    for name, value in engine.items():
        monkeypatch.setenv(name, value)
    project = make_native("project")
    name, wheel = faketorch.wheel(faketorch.files("2.11.0"))
    index.files["torch"] = {name: wheel}
    project.write_recipe(project.recipe_text + CONTAINER)
    (project.root / "scripts").mkdir()
    (project.root / "scripts" / "suite.py").write_text(SUITE, "utf-8")
    project.series(
        diff("csrc/add.cu", ADD, ADD.replace("+ BIAS", "+ 2 * BIAS")),
        diff("tinycuda/ops.py", OPS, "SPEED = 2\n"),
    )
    assert project.run("recipe", "lock", "tiny-1.0").code == 0
    yield project
    left = containers.podman(engine, "ps", "--all", "--quiet")
    assert (left.returncode, left.stdout) == (0, "")


def build(project: Project, *arguments: str) -> Result:
    return project.build("--lane", "container", "--image", IMAGE, *arguments)


def member(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(next(one for one in archive.namelist() if one.endswith(name)))


def refused(project: Project, code: int, *words: str, arguments: tuple[str, ...] = ()) -> Result:
    """Build, and check the exit code, the message, and that nothing half-made is left."""
    before = (sorted(project.entries(Kind.COMPILED)), project.leftovers())
    result = build(project, *arguments)
    assert result.code == code, result.err
    for word in words:
        assert word in result.err, (word, result.err)
    assert result.out == ""
    assert (sorted(project.entries(Kind.COMPILED)), project.leftovers()) == before
    return result


def test_a_wheel_is_compiled_repaired_tried_and_audited(work: Project) -> None:
    result = build(work)
    assert result.code == 0, result.err
    wheel = work.root / result.wheel
    assert wheel.name.startswith("tinycuda-1.0+cu130.1-py3-none-manylinux_2_")
    facts = json.loads(work.run("inspect", str(wheel), "--json").out)
    modules = facts["libraries"]["tinycuda/_C.so"]["modules"]
    assert [one["sass"] for one in modules] == [["9.0", "10.0"]] * 2
    assert member(wheel, "ops.py") == b"SPEED = 2\n"
    said: dict[str, Any] = json.loads(member(wheel, "retread.json"))
    assert (said["lane"], said["compiled"]["python"].rpartition(".")[0]) == ("container", PYTHON)
    assert said["compiled"]["image"].startswith(f"{IMAGE} ")
    found = json.loads(wheel.with_name(f"{wheel.name}.compile.json").read_bytes())
    assert {one["name"] for one in found["units"]} == {"csrc/add.cu", "csrc/scale.cu", "csrc/host.cpp"}
    assert all(one["memory"] > 0 for one in found["units"] if one["tool"] == "nvcc")
    assert (found["network"], found["fixed"], found["outside"]) == (False, True, {})
    assert found["cache"]["misses"] > 0
    assert "static: suite: 1 passed" in room_log(work)
    assert work.run("audit", str(wheel)).code == 0
    again = work.run("reproduce", str(wheel), "--json")
    assert (again.code, json.loads(again.out)["tier"]) == (0, "identical"), again.err


def test_a_python_patch_compiles_nothing_again(work: Project) -> None:
    assert build(work).code == 0
    (work.root / "scripts" / "suite.py").write_text(SUITE.replace("== 2", "== 3"), "utf-8")
    work.series(diff("tinycuda/ops.py", OPS, "SPEED = 3\n"))
    assert build(work).code == 0  # its native code is another one
    work.series(
        diff("csrc/add.cu", ADD, ADD.replace("+ BIAS", "+ 2 * BIAS")),
        diff("tinycuda/ops.py", OPS, "SPEED = 3\n"),
        diff("README.md", FILES["README.md"], "# patched\n"),
    )
    result = build(work)
    assert result.code == 0, result.err
    wheel = work.root / result.wheel
    found = json.loads(wheel.with_name(f"{wheel.name}.compile.json").read_bytes())
    assert found["cache"]["misses"] == 0, found["cache"]


@pytest.mark.skipif(cacheservers.REDIS is None, reason="redis-server is not installed")
def test_what_another_machine_compiled_reaches_a_container(
    work: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cacheservers.redis(tmp_path) as redis:
        monkeypatch.setenv("RETREAD_SCCACHE", redis.address)
        found = []
        for _ in range(2):
            cacheservers.forget(work)
            result = build(work)
            assert result.code == 0, result.err
            wheel = work.root / result.wheel
            beside = wheel.with_name(f"{wheel.name}.compile.json").read_bytes()
            found.append((wheel.read_bytes(), json.loads(beside)))
            assert cacheservers.PASSWORD.encode() not in beside + room_log(work).encode()
    (one, first), (other, second) = found
    assert one == other
    assert (first["cache"]["hits"], second["cache"]["misses"]) == (0, 0)
    assert first["cache"]["given"] >= second["cache"]["taken"] >= 3
    assert (second["cache"]["where"], second["network"]) == (redis.shown, False)


def test_with_nothing_to_do_no_container_starts(
    work: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert build(work).code == 0
    podman, heard = tmp_path / "bin" / "podman", tmp_path / "heard"
    podman.parent.mkdir()
    podman.write_text(f'#!/bin/sh\necho "$1" >>{heard}\nexec {containers.PODMAN} "$@"\n')
    podman.chmod(0o755)
    monkeypatch.setenv("PATH", f"{podman.parent}:{os.environ['PATH']}")
    assert build(work).err.startswith("unchanged: ")
    assert heard.read_text().split() == ["ps", "image"]


def test_the_plan_knows_the_image(work: Project) -> None:
    done = work.run("plan", "tiny-1.0", "--lane", "container", "--image", IMAGE, "--json")
    steps = {step["stage"]: step for step in json.loads(done.out)[0]["steps"]}
    assert (steps["image"]["subject"], steps["image"]["cached"]) == (IMAGE, True)
    done = work.run("plan", "tiny-1.0", "--lane", "container", "--json")
    assert "example.org/manylinux_2_36@sha256:" in done.out, done.err


def test_a_wheel_that_fails_its_tests_is_not_kept(work: Project) -> None:
    work.series(diff("csrc/add.cu", ADD, ADD.replace("+ BIAS", "+ 2 * BIAS")))
    refused(
        work, 16, "failed the static level", "suite/speed: AssertionError: SPEED is 1", "docs/guides/smoke.md"
    )


def test_no_container_engine(work: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for program in ("git", "sh", "env"):
        (tmp_path / "bin" / program).symlink_to(str(shutil.which(program)))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    refused(
        work,
        14,
        "there is no container engine",
        "podman is not on the PATH",
        "docker is not on the PATH",
        "install podman, or start docker",
    )


def test_an_engine_that_does_not_answer(
    work: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").write_text("#!/bin/sh\necho no daemon here >&2; exit 1\n")
    (tmp_path / "bin" / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("CIBW_CONTAINER_ENGINE", "docker; create_args: --gpus all")
    refused(work, 14, "there is no container engine", "docker: no daemon here")


def test_an_image_without_the_python(work: Project) -> None:
    other = "3.13" if PYTHON != "3.13" else "3.12"
    tag = f"cp{other.replace('.', '')}"
    refused(
        work,
        6,
        f"no Python {other} (/opt/python/{tag}-{tag}); it has cp",
        "--image",
        arguments=("--python", other),
    )


def test_an_image_that_cannot_be_had(work: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    before = work.leftovers()
    result = work.build("--lane", "container")
    assert result.code == 7, result.err
    assert "the image example.org/manylinux_2_36@sha256:000" in result.err
    assert "cannot be had" in result.err
    assert "docs/guides/container.md makes one" in result.err
    assert work.leftovers() == before


def test_a_build_that_wants_the_network(work: Project) -> None:
    call = 'import urllib.request\nurllib.request.urlopen("http://example.org/", timeout=5)\n'
    work.series(diff("setup.py", SETUP, call + SETUP))
    refused(work, 15, "the build failed", "a build has no network: lock what it wants", "build.log")


def test_a_compile_error_names_the_unit(work: Project) -> None:
    work.series(diff("csrc/add.cu", ADD, ADD.replace("+ BIAS", "+ UNKNOWN")))
    refused(work, 15, "csrc/add.cu does not compile", 'identifier "UNKNOWN" is undefined')


def test_a_wheel_that_needs_a_newer_glibc_than_promised(work: Project) -> None:
    work.edit_recipe('platform = "manylinux_2_36"', 'platform = "manylinux_2_17"')
    refused(
        work,
        12,
        "the wheel needs more than manylinux_2_17 offers",
        "auditwheel found py3-none-manylinux_2_",
        "tinycuda/_C.so asks for ",
        f"{IMAGE} is newer",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_build_that_dies_leaves_no_container_and_goes_on(
    work: Project,
    engine: dict[str, str],
    number: signal.Signals,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    tmp_path = tmp_path_factory.mktemp("tmp")
    marker = f"// {number.name}\n"
    work.series(
        *(diff(f"csrc/{one}", FILES[f"csrc/{one}"], FILES[f"csrc/{one}"] + marker) for one in ("add.cu", "scale.cu")),
        diff("tinycuda/ops.py", OPS, "SPEED = 2\n"),
    )  # fmt: skip
    process = work.start(
        "build", "tiny-1.0", "--lane", "container", "--image", IMAGE, "--jobs", "1", TMPDIR=str(tmp_path)
    )
    units = work.store / "work" / f"tiny-1.0-cu130-{PYTHON}-container" / "units.jsonl"
    before = units.read_bytes() if units.exists() else b""
    try:
        _wait(lambda: units.exists() and units.read_bytes() != before, process)
    finally:
        process.send_signal(number)
        process.communicate(timeout=60)
    if number is signal.SIGTERM:
        assert (process.returncode, containers.podman(engine, "ps", "-aq").stdout) == (130, "")
        assert list(tmp_path.iterdir()) == []
    result = build(work, "--jobs", "1")
    assert result.code == 0, result.err
    found = json.loads((work.root / f"{result.wheel}.compile.json").read_bytes())
    assert found["cache"]["hits"] > 0


def _wait(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.05)


def room_log(project: Project) -> str:
    """Return what the last build in a container said."""
    return (project.store / "work" / f"tiny-1.0-cu130-{PYTHON}-container" / "build.log").read_text()
