"""The source lane on a small real CUDA project: the pinned CUDA 13.0, the real nvcc, the real compile cache."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import prober
from nativecuda import ADD, FILES, SETUP
from retread.doors.store import Kind, Store
from standins import until
from tinycuda import Project, Result, diff, names

pytestmark = [pytest.mark.network, pytest.mark.slow]
SCALE = FILES["csrc/scale.cu"]


@pytest.fixture
def work(make_native: Callable[[str], Project]) -> Project:
    return make_native("project")


def good(project: Project, *arguments: str) -> tuple[Path, Result]:
    result = project.build(*arguments)
    assert result.code == 0, result.err
    return project.root / result.wheel, result


def evidence(wheel: Path) -> dict[str, Any]:
    return dict(json.loads(wheel.with_name(f"{wheel.name}.compile.json").read_bytes()))


def member(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        found = next(one for one in archive.namelist() if one.endswith(name))
        return archive.read(found)


def compiled(project: Project) -> list[str]:
    return sorted(project.entries(Kind.COMPILED))


def refused(project: Project, code: int, *words: str, arguments: tuple[str, ...] = ()) -> Result:
    """Build, and check the exit code, the message, and that nothing half-made is left."""
    before = (compiled(project), project.leftovers())
    result = project.build(*arguments)
    assert result.code == code, result.err
    for word in words:
        assert word in result.err, (word, result.err)
    assert result.out == ""
    assert (compiled(project), project.leftovers()) == before
    return result


def test_a_wheel_with_native_code_patched_and_audited(work: Project) -> None:
    work.series(
        diff("csrc/add.cu", ADD, ADD.replace("+ BIAS", "+ 2 * BIAS")),
        diff("tinycuda/ops.py", FILES["tinycuda/ops.py"], "SPEED = 2\n"),
    )
    wheel, _ = good(work)
    assert wheel.name.startswith("tinycuda-1.0+cu130.1-py3-none-manylinux_2_")
    assert member(wheel, "ops.py") == b"SPEED = 2\n"
    facts = json.loads(work.run("inspect", str(wheel), "--json").out)
    assert facts["libraries"]["tinycuda/_C.so"]["modules"] == [
        {"index": number, "sass": ["9.0", "10.0"], "ptx": [], "kernels": 1} for number in (0, 1)
    ]
    said = json.loads(member(wheel, "retread.json"))
    assert said["lane"] == "source"
    assert said["base"] is None
    assert said["compiled"]["toolkit"].startswith("nvcc 13.0")
    assert [one["name"] for one in said["series"]] == ["0001-change.patch", "0002-change.patch"]
    found = evidence(wheel)
    assert {one["name"] for one in found["units"]} == {"csrc/add.cu", "csrc/scale.cu", "csrc/host.cpp"}
    assert all(one["memory"] > 0 for one in found["units"] if one["tool"] == "nvcc")
    assert found["native_digest"] == said["compiled"]["native_digest"]
    assert any(path.endswith("stdc-predef.h") for path in found["outside"])
    assert work.run("audit", str(wheel)).code == 0
    assert names(work.root / "dist") == sorted(
        [wheel.name, f"{wheel.name}.audit.json", f"{wheel.name}.compile.json"]
    )


def test_of_its_environment_a_build_leaves_the_bytecode_of_what_it_imported_and_no_more(
    work: Project,
) -> None:
    good(work)
    kept = {
        one.name.partition(".")[0] for one in (work.store / Kind.ENVIRONMENTS).rglob("setuptools/**/*.pyc")
    }
    assert "bdist_wheel" in kept
    assert "bdist_rpm" not in kept, "it is there, and no wheel takes it"


def test_a_python_patch_takes_over_what_was_compiled(work: Project) -> None:
    first, _ = good(work)
    library, count = member(first, "_C.so"), len(compiled(work))
    work.series(diff("tinycuda/ops.py", FILES["tinycuda/ops.py"], "SPEED = 3\n"))
    second, result = good(work)
    assert "compile" not in result.err
    assert (member(second, "ops.py"), member(second, "_C.so")) == (b"SPEED = 3\n", library)
    assert len(compiled(work)) == count
    plan = json.loads(work.run("plan", "tiny-1.0", "--json").out)
    assert {step["stage"]: step["cached"] for step in plan[0]["steps"]}["compile"]


def test_only_units_that_were_compiled_now_are_listed(work: Project) -> None:
    asks = "if out.is_file() and out.stat().st_mtime > os.stat(source).st_mtime:\n            return out\n"
    lazy = diff("setup.py", SETUP, SETUP.replace("if source.endswith", f"{asks}        if source.endswith"))
    work.series(lazy)
    good(work)
    work.series(lazy, diff("csrc/add.cu", ADD, ADD.replace("+ BIAS", "+ 3 * BIAS")))
    wheel, result = good(work)
    assert {one["name"] for one in evidence(wheel)["units"]} > {"csrc/add.cu"}
    listed = [line for line in result.err.splitlines() if line.startswith("    csrc/")]
    assert [line.split()[0] for line in listed] == ["csrc/add.cu:"], result.err
    assert " 1 unit, " in result.err


def test_another_architecture_compiles_that_one_only(work: Project) -> None:
    good(work)
    work.edit_recipe('architectures = ["9.0", "10.0"]', 'architectures = ["9.0", "10.0", "12.0"]')
    wheel, _ = good(work)
    found = evidence(wheel)
    assert found["cache"]["hits"] >= 4, found[
        "cache"
    ]  # PTX and machine code of two kernels for two architectures
    assert json.loads(work.run("inspect", str(wheel), "--json").out)["libraries"]["tinycuda/_C.so"][
        "modules"
    ][0]["sass"] == ["9.0", "10.0", "12.0"]


def test_the_same_inputs_compile_to_the_same_bytes(
    work: Project, make_native: Callable[[str], Project],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared_store: Path,
) -> None:  # fmt: skip
    first = good(work)[0].read_bytes()
    other = tmp_path / "another" / "store"
    for kind in (Kind.TOOLKITS, Kind.DOWNLOADS):
        shutil.copytree(shared_store / kind, other / kind, symlinks=True, copy_function=os.link)
    monkeypatch.setenv("RETREAD_STORE", str(other))
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "5.0")
    monkeypatch.setenv("CFLAGS", "-O0 -DNO")
    monkeypatch.setenv("NVCC_APPEND_FLAGS", "-G")
    again = make_native("again")
    wheel, result = good(again, "--jobs", "1")
    assert wheel.read_bytes() == first
    assert "compile" in result.err


def test_a_build_reaches_nothing_of_the_machine(
    work: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither the build's own code nor what stands beside it for it: the compile cache's server holds keys."""
    (tmp_path / "key").write_text(prober.SECRET)
    for name in ("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, prober.SECRET)
    left = f"left-by-{tmp_path.name}"
    with socket.create_server(("127.0.0.1", 0)) as server:
        told = {
            "key": str(tmp_path / "key"), "store": str(work.store), "project": str(work.root),
            "packages": "/usr/lib", "host": "127.0.0.1", "port": server.getsockname()[1],
            "marker": str(shutil.which("sccache", path=Path(sys.executable).parent)), "left": left,
        }  # fmt: skip
        probe = prober.program(told) + "raise SystemExit('probed')\n"
        work.series(diff("setup.py", SETUP, probe + SETUP))
        result = refused(work, 15, "build.log")
    log = Path(result.err.rpartition("the whole log is ")[2].strip())
    prober.assert_held(prober.found(log.read_text()), work.store, work.root)
    until(lambda: not prober.running(left))
    assert prober.SECRET not in log.read_text() + log.with_name("cache.log").read_text()


def test_a_build_has_no_network_and_says_so(work: Project) -> None:
    call = 'import urllib.request\nurllib.request.urlopen("http://example.org/", timeout=5)\n'
    work.series(diff("setup.py", SETUP, call + SETUP))
    refused(work, 15, "the build failed", "a build has no network: lock what it wants", "build.log")


def test_a_compile_error_names_unit_command_and_first_error(work: Project) -> None:
    work.series(diff("csrc/add.cu", ADD, ADD.replace("+ BIAS", "+ UNKNOWN + ALSO")))
    result = refused(
        work, 15, "csrc/add.cu does not compile", 'identifier "UNKNOWN" is undefined', "command: ", "nvcc"
    )
    log = Path(result.err.rpartition("the whole log is ")[2].strip())
    assert "UNKNOWN" in log.read_text()


def test_no_compiler(work: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for program in ("git", "sh", "env"):
        (tmp_path / "bin" / program).symlink_to(str(shutil.which(program)))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    refused(work, 15, "there is no C++ compiler: gcc is not on the PATH", "apt-get install g++")


def test_a_compiler_that_nvcc_refuses(work: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "g++-99"
    script.write_text('#!/bin/sh\nexec g++ -U__GNUC__ -D__GNUC__=99 "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    refused(work, 15, "unsupported GNU version", "install an older g++")


def test_an_architecture_that_the_toolkit_does_not_know(work: Project) -> None:
    work.edit_recipe('architectures = ["9.0", "10.0"]', 'architectures = ["7.0", "9.0"]')
    refused(work, 15, "Unsupported gpu architecture 'compute_70'", "what its target's CUDA knows")


def test_a_toolkit_that_cannot_be_had(work: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("RETREAD_CUDA_MIRROR", str(tmp_path / "empty"))
    cu128 = (
        work.recipe_text.partition("[targets.cu130]")[2].replace("cu130", "cu128").replace('"13.0"', '"12.8"')
    )
    first, _, rest = work.recipe_text.partition("[targets.cu130]")
    work.write_recipe(
        f"{first}[targets.cu128]{cu128.replace('cuda-13.0', 'cuda-12.8')}\n[targets.cu130]{rest}"
    )
    shutil.copy(*(work.root / "recipes" / "locks" / f"tiny-1.0-{one}.txt" for one in ("cu130", "cu128")))
    refused(
        work, 6, "this machine cannot have CUDA 12.8", "do one of three", "RETREAD_CUDA_MIRROR",
        arguments=("--target", "cu128"),
    )  # fmt: skip
    wheel, result = good(work)
    assert wheel.name.startswith("tinycuda-1.0+cu130.1")
    assert "note: building cu130, since this machine cannot build cu128: nvcc: " in result.err


def test_globs_that_leave_out_what_is_compiled_in(work: Project) -> None:
    good(work)
    work.edit_recipe('"include/**", "tinycuda/flags.py", "tinycuda/__init__.py"', '"include/**.h"')
    table = FILES["include/table.txt"]
    work.series(diff("include/table.txt", table, table.replace("4.0f", "5.0f")))
    refused(
        work,
        3,
        "native-inputs leaves out 3 files",
        "include/table.txt",
        "tinycuda/flags.py",
        "tinycuda/__init__.py",
    )


def test_what_the_wheel_could_not_be_is_told_before_anything_is_compiled(work: Project) -> None:
    work.edit_recipe('TINY_VERSION = "{version}"', 'TINY_VERSION = "{version}"\nBUILD_VERSION = "9.9"')
    work.edit_recipe('generated = ["tinycuda/**.so"]', 'generated = ["tinycuda/version.py"]')
    told = ("recipe: tiny-1.0 cu130: nothing is compiled", "BUILD_VERSION: '9.9' is not the recipe's version, 1.0",
            "targets.cu130.generated: no glob names a library")  # fmt: skip
    result = refused(work, 3, *told)
    assert "ok" not in result.err
    assert all(one in work.run("plan", "tiny-1.0").err for one in told)


def test_an_edit_that_does_not_fit_the_source_is_told_before_the_compile(work: Project) -> None:
    edit = '[[targets.cu130.edit]]\nfile = "tinycuda/ops.py"\nfind = "NONE"\nreplace = ""\n\n[targets.cu130.build]\n'
    work.edit_recipe("[targets.cu130.build]\n", edit)
    result = refused(work, 3, "targets.cu130.edit[0]: 'NONE' stands 0 times in tinycuda/ops.py, not once")
    assert "compile tiny-1.0" not in result.err


def test_a_lock_that_is_missing_or_old(work: Project) -> None:
    lock = work.root / "recipes" / "locks" / "tiny-1.0-cu130.txt"
    text = lock.read_text()
    lock.unlink()
    refused(work, 3, "there is no recipes/locks/tiny-1.0-cu130.txt", "retread recipe lock tiny-1.0")
    lock.write_text(text)
    work.edit_recipe('requires = ["build>=1.3", ', 'requires = ["build>=99", "ninja", ')
    refused(work, 3, "build>=99: the lock has 1.", "ninja: the lock has nothing of it", "retread recipe lock")
    lock.write_text(f"{text}-r more.txt\nninja==1.13.0\n")
    last = text.count("\n") + 2
    refused(
        work,
        3,
        f"line {last - 1}: what more.txt asks for is not in this file",
        f"line {last}: ninja==1.13.0 is not pinned by version and sha256",
    )


def test_a_lock_is_made(work: Project) -> None:
    lock = work.root / "recipes" / "locks" / "tiny-1.0-cu130.txt"
    lock.unlink()
    result = work.run("recipe", "lock", "tiny-1.0")
    assert (result.code, result.out) == (0, f"{lock}\n"), result.err
    text = lock.read_text()
    assert text.count("--hash=sha256:") >= 4
    assert "://" not in text
    work.edit_recipe('"setuptools>=80"]', '"no-such-project-anywhere"]')
    result = work.run("recipe", "lock", "tiny-1.0")
    assert result.code == 14
    assert "no-such-project-anywhere" in result.err
    assert lock.read_text() == text


def test_out_of_memory(work: Project) -> None:
    """The compiler really runs out: it may have 160 MB, and counts a million numbers at compile time."""
    call = "        subprocess.check_call(command)\n"
    limited = (
        "        import resource\n"
        "        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (160 << 20, 160 << 20))\n"
        '        subprocess.check_call(command, preexec_fn=limit if source.endswith(".cpp") else None)\n'
    )
    huge = (
        "struct A { int v[1 << 20]; constexpr A() : v() {\n"
        "  for (int i = 0; i < 1024; ++i) for (int j = 0; j < 1024; ++j) v[i * 1024 + j] = i ^ j; } };\n"
        'constexpr A a;\nextern "C" int version() { return a.v[7]; }\n'
    )
    work.series(
        diff("setup.py", SETUP, SETUP.replace(call, limited, 1)),
        diff("csrc/host.cpp", FILES["csrc/host.cpp"], huge),
    )
    refused(work, 15, "csrc/host.cpp ran out of memory", "--jobs 1", "--memory", arguments=("--no-cache",))


def test_a_full_disk(work: Project, shared_store: Path) -> None:
    """The room is a file system of 100 kB: the tree fits, the objects do not."""
    good(work)
    work.series(diff("csrc/add.cu", ADD, ADD.replace("+ BIAS", "* BIAS")))
    (shared_store / "work").mkdir(parents=True, exist_ok=True)
    script = 'mount -t tmpfs -o size=100k tmpfs "$RETREAD_STORE/work" && exec "$@"'
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    program = [
        sys.executable,
        "-c",
        "from retread.cli.main import main; main()",
        "build",
        "tiny-1.0",
        "--no-cache",
    ]
    done = subprocess.run(
        ["unshare", *user, "--mount", "--propagation", "private", "sh", "-c", script, "sh", *program],
        cwd=work.root, env=os.environ, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 13, done.stderr
    assert "the disk is full" in done.stderr
    assert "RETREAD_STORE" in done.stderr
    assert list((shared_store / "scratch").glob("*")) == []


def processes(word: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if word in line:
            found.append(line)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_compile_that_is_cut_short_ends_and_goes_on_from_its_objects(
    work: Project, shared_store: Path, tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.series(
        diff("csrc/add.cu", ADD, ADD.replace("x[threadIdx.x] +=", f"x[threadIdx.x] += {number} +")),
        diff("csrc/scale.cu", SCALE, SCALE.replace("*= table", f"*= {number} + table")),
    )
    temporary = tmp_path / "t"
    temporary.mkdir()
    units = shared_store / "work" / f"tiny-1.0-cu130-3.{sys.version_info[1]}" / "units.jsonl"
    process = work.start("build", "tiny-1.0", "--no-cache", "--jobs", "1", TMPDIR=str(temporary))
    before = units.stat().st_mtime_ns if units.exists() else 0
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if units.exists() and units.stat().st_mtime_ns > before:
            break
        time.sleep(0.02)
    process.send_signal(number)
    result = work.finish(process)
    if number is signal.SIGKILL:
        until(lambda: not processes(str(shared_store)))  # they are killed, too
    else:
        assert result.code == 130, result
        assert "interrupted" in result.err
        assert processes(str(shared_store)) == []
        assert list((shared_store / "scratch").glob("*")) == []
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    good(work, "--no-cache")
    assert list(temporary.glob("retread-*")) == []


def test_a_wheel_is_reproduced_without_anything_that_was_compiled(work: Project) -> None:
    wheel, _ = good(work)
    result = work.run("reproduce", str(wheel))
    assert result.code == 0, result.err
    assert result.out.startswith("identical")
    assert "compile tiny-1.0" in result.err
    work.series(diff("csrc/add.cu", ADD, ADD.replace("+ BIAS", "- BIAS")))
    result = work.run("reproduce", str(wheel), "--json")
    assert result.code == 12
    assert json.loads(result.out)["tier"] == "different"
    assert "add_kernel" in result.err
    assert "series" in result.err


def test_without_the_cache_the_same_code_comes_out_again(work: Project) -> None:
    """nvcc names what it makes up after its process, so that only names of local symbols may differ."""
    wheel, _ = good(work, "--no-cache")
    result = work.run("reproduce", str(wheel), "--no-cache")
    assert result.code == 0, result.out
    assert result.out.split(":")[0] in {"identical", "same code"}


def test_what_is_told_has_a_schema(work: Project) -> None:
    wheel, _ = good(work)
    schema = json.loads(work.run("recipe", "schema", "compile").out)
    jsonschema.validate(evidence(wheel), schema)
    assert Store(work.store).entries()
