"""The kit as a file on a machine that has Python and torch alone: it runs, refuses, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import faketorch
from retread.audit import promise as audit_promise
from retread.errors import EvidenceError, RecipeError
from retread.recipe.reading import parse_recipe
from retread.smoke import kit, reading
from retread.smoke.report import SmokeReport
from retread.smoke.runtime import Refusal, fatbins, fitting, place, program, surroundings
from retread.wheel import contents
from tinycuda import (
    INFO,
    LIBRARY,
    RECIPE,
    SDIST,
    WHEEL,
    make_wheel,
    sha256,
    skip_without,
    wheel_files,
    zip_bytes,
)

PYTHON = getattr(sys, "_base_executable", sys.executable)
"""A Python without retread, also where the tests run in an environment."""
SMOKE = """
[smoke]
suites = ["smoke/demo.py"]
commands = ["-m tinycuda.extra.deep"]
[smoke.expect]
words = ["from the recipe"]

[targets.cu128.smoke]
torch = "2.9.1"
"""
SUITE = """
import json, os, subprocess, sys, time
import harness
from harness import case

@case("demo/setting", level="static")
def _():
    said = harness.setting()
    assert os.path.isfile(os.path.join(said["site"], "tinycuda", "__init__.py"))
    inside = os.path.dirname(said["site"])
    caches = ("HOME", "TMPDIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "CUDA_CACHE_PATH", "XDG_CACHE_HOME")
    strays = [name for name in caches if not os.environ[name].startswith(inside)]
    assert not strays and os.getcwd().startswith(inside), strays
    return {"words": said["expect"]["words"][0], "level": said["level"], "cuda": said["cuda"],
            "architectures": " ".join(said["architectures"])}

@case("demo/compiles", level="jit", architecture="10.0")
@case("demo/computes", level="gpu", libraries=["tinycuda/_C.so", "tinycuda/_gone.so"])
def _(**numbers):
    return numbers

if __name__ == "__main__":
    harness.main()
"""


class Ran(NamedTuple):
    """What a kit left."""

    code: int
    report: SmokeReport | None
    err: str

    def cases(self, level: str) -> dict[str, Any]:
        """Return the cases of a level by their ids."""
        assert self.report is not None, self.err
        (run,) = [one for one in self.report.runs if one.level == level]
        return {one.id: one for one in run.cases}


class Bench:
    """Makes kits and runs them with a fake torch, under a home and a temporary folder that have to stay empty."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("home", "tmp", "cwd", "work/smoke", "torch"):
            (folder / name).mkdir(parents=True)
        self.torch(faketorch.files())
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONPATH": str(folder / "torch"),
        }

    def torch(self, *packages: Mapping[str, bytes]) -> None:
        """Have these packages, and no other."""
        subprocess.run(["rm", "-rf", self.folder / "torch"], check=True)
        faketorch.put(self.folder / "torch", *packages)

    def make(
        self,
        suite: str = SUITE,
        *,
        recipe: str = SMOKE,
        wheel: str = WHEEL,
        out: str = "kit.pyz",
        blank: bool = False,
        **more: str,
    ) -> Path:
        """Write a kit of tinycuda's wheel with one suite; ``more`` are files of the wheel and of the suites.

        With ``blank``, the wheel lies beside the kit and not in it.
        """
        files = wheel_files()
        files |= {name: text.encode() for name, text in more.items() if "/" in name}
        (self.folder / wheel).write_bytes(make_wheel(files))
        (self.folder / "work" / "smoke" / "demo.py").write_text(suite)
        head = RECIPE.format(
            repository="https://example.org/tiny", commit=40 * "1", sdist=SDIST, sdist_sha256=64 * "2",
            inner_repository="https://example.org/lib", inner_commit=40 * "3", wheel=WHEEL, wheel_sha256=64 * "4",
        )  # fmt: skip
        found = parse_recipe((head + recipe).encode(), name="tiny-1.0")
        (self.folder / "read").mkdir(exist_ok=True)
        facts = contents.facts(self.folder / wheel, self.folder / "read")
        promise = audit_promise.promise(found, found.targets["cu128"], facts.version)
        programs = kit.suites(found, self.folder / "work")
        parts = kit.Parts(found, "cu128", promise, programs, runtime=())
        kit.write(self.folder / out, parts, None if blank else (self.folder / wheel, facts))
        return self.folder / out

    def start(self, path: Path, *options: str, before: tuple[str, ...] = (), **environment: str) -> Any:
        """Start a kit."""
        return subprocess.Popen(
            ["env", "--default-signal=HUP", *before, PYTHON, str(path), "--json",
             str(self.folder / "report.json"), *options],
            env={**self.environment, **environment}, cwd=self.folder / "cwd", text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def finish(self, process: Any) -> Ran:
        """Wait for a kit, and check that it left a report or nothing."""
        out, err = process.communicate(timeout=60)
        assert out == ""
        for name in ("home", "tmp", "cwd"):
            assert list((self.folder / name).iterdir()) == []
        assert not list(self.folder.glob("*.partial"))
        place = self.folder / "report.json"
        report = reading.parse(place.read_bytes(), name=place.name) if place.exists() else None
        place.unlink(missing_ok=True)
        return Ran(process.returncode, report, err)

    def run(self, path: Path, *options: str, before: tuple[str, ...] = (), **environment: str) -> Ran:
        """Run a kit."""
        return self.finish(self.start(path, *options, before=before, **environment))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return what makes and runs kits."""
    return Bench(tmp_path)


def gpu(bench: Bench, serves: int = 12080, **torch: Any) -> None:
    """Give a bench a GPU, and a driver for it."""
    skip_without("gcc")
    driver = faketorch.driver(bench.folder / "driver", serves)
    bench.environment["LD_LIBRARY_PATH"] = str(driver)
    bench.torch(
        faketorch.files(**{"cuda": "12.8", "gpus": (faketorch.H200,), **torch}), faketorch.triton("3.5.1")
    )


def files(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, but for what Python notes of the modules that it imported."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path): path.read_bytes() for path in paths}


# It runs.


def test_a_kit_without_a_wheel_tries_the_one_that_it_is_told_as_one_of_its_own(bench: Bench) -> None:
    whole, blank = bench.make(), bench.make(out="blank.pyz", blank=True)
    wheel = bench.folder / WHEEL
    own, told = bench.run(whole), bench.run(blank, "--wheel", str(wheel))
    assert (told.code, own.code) == (0, 0), told.err
    assert own.report is not None
    assert told.report is not None
    for name in ("wheel", "sha256", "project", "version", "target"):
        assert getattr(own.report, name) == getattr(told.report, name)
    assert own.cases("static").keys() == told.cases("static").keys()
    assert own.report.runs[0].untouched == told.report.runs[0].untouched == (LIBRARY,)
    assert (bench.run(blank).code, bench.run(blank).report) == (17, None)
    assert "this kit holds no wheel; name the one to try: --wheel FILE" in bench.run(blank).err
    both = bench.run(whole, "--wheel", str(wheel))
    assert (both.code, both.report) == (17, None)
    assert f"this kit tries {WHEEL} and no other wheel" in both.err
    missing = bench.run(blank, "--wheel", str(bench.folder / "gone.whl"))
    assert (missing.code, missing.report) == (17, None)
    assert "gone.whl is not a wheel that can be tried" in missing.err


def test_the_same_inputs_give_the_same_bytes(bench: Bench) -> None:
    first = bench.make()
    umask = os.umask(0o077)
    try:
        second = bench.make(out="deep/second.pyz")
    finally:
        os.umask(umask)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert {one.date_time for one in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert first.read_bytes() != bench.make(SUITE + "\n", out="third.pyz").read_bytes()
    assert first.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    assert os.access(first, os.X_OK)
    assert sorted(path.name for path in bench.folder.glob("*.pyz*")) == ["kit.pyz", "third.pyz"]


def test_a_kit_runs_where_there_is_neither_retread_nor_a_network_and_writes_its_report_alone(
    bench: Bench,
) -> None:
    lonely = ("unshare", "--user", "--map-root-user", "--net")
    if subprocess.run([*lonely, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs namespaces")
    path = bench.make()
    lacks = "import importlib.util as u; print(u.find_spec('retread'), u.find_spec('installer'))"
    bare = subprocess.run(
        [PYTHON, "-c", lacks], env=bench.environment, capture_output=True, text=True, check=True
    )
    assert bare.stdout == "None None\n"
    before = files(bench.folder)
    ran = bench.run(path, before=lonely)
    assert files(bench.folder) == before
    assert ran.code == 0, ran.err
    report = ran.report
    assert report is not None
    assert report.ok
    assert (report.wheel, report.sha256) == (WHEEL, sha256((bench.folder / WHEEL).read_bytes()))
    assert (report.recipe, report.target, report.project) == ("tiny-1.0", "cu128", "tinycuda")
    assert report.kit == kit.digest(path)
    assert set(ran.cases("static")) == {
        "package/installed", "package/import/tinycuda", "package/import/tinycuda.version",
        "package/import/tinycuda.ops", "package/import/tinycuda.dos", "package/import/tinycuda.extra",
        "package/import/tinycuda.extra.deep", "package/program/tinycuda.extra.deep", "demo/setting",
        "native/loads/tinycuda/_C.so", "native/operators", "package/undisturbed",
    }  # fmt: skip
    assert ran.cases("static")["demo/setting"].numbers == {
        "words": "from the recipe", "level": "static", "cuda": "12.8", "architectures": "8.0 9.0a",
    }  # fmt: skip
    assert {one.level: one.unable for one in report.runs} == {
        "static": "", "jit": "there is no Triton", "gpu": "torch 2.9.1 is a build without CUDA",
    }  # fmt: skip
    assert report.runs[0].untouched == (LIBRARY,)
    assert f"{WHEEL} under Python " in ran.err
    assert "static: package: 8 passed" in ran.err
    assert "jit: not run: there is no Triton" in ran.err


def test_a_report_goes_to_standard_output_too(bench: Bench) -> None:
    done = subprocess.run(
        [PYTHON, bench.make(), "--json", "-", "--level", "static", "--only", "demo/*"],
        env=bench.environment, cwd=bench.folder / "cwd", capture_output=True, check=True,
    )  # fmt: skip
    (run,) = reading.parse(done.stdout, name="stdout").runs
    assert [one.id for one in run.cases] == ["demo/setting"]


def test_only_one_case_and_only_one_level(bench: Bench) -> None:
    path = bench.make()
    ran = bench.run(path, "--level", "static", "--only", "package/import/*.deep")
    assert ran.code == 0
    assert list(ran.cases("static")) == ["package/import/tinycuda.extra.deep"]
    ran = bench.run(path, "--level", "static", "--level", "static", "--only", "nothing/*")
    assert ran.code == 16
    assert ran.report is not None
    assert not ran.report.ok
    assert [one.cases for one in ran.report.runs] == [()]


def test_skipped_cases_alone_are_no_pass(bench: Bench) -> None:
    skips = SUITE.replace("    return numbers", '    raise harness.Skip("no kernel")')
    bench.torch(faketorch.files(), faketorch.triton())
    ran = bench.run(bench.make(skips), "--level", "jit")
    assert ran.code == 16
    assert re.search(r"jit: demo: 1 skipped .*\nnothing ran\n$", ran.err)
    assert ran.report is not None
    assert not ran.report.ok


def test_levels_run_in_their_order(bench: Bench) -> None:
    bench.torch(faketorch.files(), faketorch.triton())
    ran = bench.run(bench.make(), "--level", "jit", "--level", "static", "--only", "demo/*")
    assert ran.report is not None
    assert [one.level for one in ran.report.runs] == ["static", "jit"]
    assert ran.cases("jit")["demo/compiles"].numbers == {"architecture": "10.0"}


def test_packages_of_a_folder_come_before_the_installed_ones(bench: Bench, tmp_path: Path) -> None:
    other = faketorch.put(tmp_path / "other", faketorch.triton("9.9.9"))
    ran = bench.run(bench.make(), "--path", str(other), "--only", "demo/*")
    assert ran.report is not None
    assert ran.report.runs[0].surroundings.triton == "9.9.9"


def test_what_the_wheel_s_programs_and_scripts_do_is_tried(bench: Bench) -> None:
    scripts = {f"{INFO}/entry_points.txt": "[console_scripts]\ntiny = tinycuda.extra.deep:main\n"}
    deep = {"tinycuda/extra/deep.py": "import sys\ndef main():\n    print(sys.argv)\n"}
    ran = bench.run(bench.make(**scripts, **deep), "--level", "static", "--only", "package/*")
    assert ran.code == 0, ran.err
    assert ran.cases("static")["package/program/tiny --help"].outcome == "passed"
    assert ran.cases("static")["package/installed"].outcome == "passed"


def test_a_failure_is_told_at_once_and_in_the_report(bench: Bench) -> None:
    ran = bench.run(
        bench.make(**{"tinycuda/dos.py": "raise SystemExit('dos is over')\n"}), "--level", "static"
    )
    assert ran.code == 16
    assert (
        "  failed: package/import/tinycuda.dos: AssertionError: import tinycuda.dos: SystemExit: dos is over"
        in ran.err
    )
    assert re.search(r"static: package: 7 passed, 1 failed  \d", ran.err)
    case = ran.cases("static")["package/import/tinycuda.dos"]
    assert (case.outcome, case.fault.type, case.fault.where) == (
        "failed",
        "AssertionError",
        "tinycuda/dos.py:1 in <module>",
    )


# On a GPU.


def test_a_gpu_is_used_and_what_failed_there_runs_again_alone(bench: Bench) -> None:
    gpu(bench)
    suite = """
import torch
for number in range(13):
    @case(f"demo/late/{number}", level="gpu", number=number)
    @case(f"demo/twin/{number}", level="gpu", number=number)
    def _(number):
        assert os.environ.get("CUDA_LAUNCH_BLOCKING") != "1", "kernel k"
        raise RuntimeError(f"somewhere {number}")

@case("demo/together", level="gpu")
def _():
    assert "CUDA_LAUNCH_BLOCKING" in os.environ, "only beside others"
"""
    order = [f"demo/{kind}/{number}" for number in range(13) for kind in ("twin", "late")]
    path = bench.make(SUITE.replace("\nif __name__", f"{suite}\nif __name__"))
    ran = bench.run(path, "--level", "gpu")
    assert ran.code == 16
    assert "NVIDIA H200, compute capability 9.0, 139 GiB free" in ran.err
    cases = {name: one for name, one in ran.cases("gpu").items() if name.startswith("demo/")}
    assert list(cases) == ["demo/computes", *order, "demo/together"]
    assert cases["demo/computes"].libraries == (LIBRARY,)
    again = {name: one.again.message for name, one in cases.items() if one.again}
    assert again == {f"demo/twin/{number}": "kernel k" for number in range(12)}  # once for each reason
    assert ran.report is not None
    (run,) = ran.report.runs
    assert run.untouched == ()
    around = run.surroundings
    assert (around.torch_cuda, around.driver_cuda, around.triton) == ("12.8", "12.8", "3.5.1")
    assert [(one.name, one.capability) for one in around.gpus] == [("NVIDIA H200", "9.0")]
    only = bench.run(path, "--level", "gpu", "--only", "demo/together").cases("gpu")
    assert only["demo/together"].note == "it passed when it ran alone with CUDA_LAUNCH_BLOCKING=1"


@pytest.mark.parametrize(
    ("serves", "torch", "words"),
    [
        (12080, {"cuda": None}, "torch 2.9.1 is a build without CUDA"),
        (11080, {}, "the driver serves CUDA 11.8 at most, and the wheel is made for CUDA 12.8"),
        (
            12080,
            {"busy": "CUDA error: out of memory\nmore"},
            "the GPU cannot be used: CUDA error: out of memory",
        ),
        (12080, {"gpus": ()}, "torch sees no GPU that it can use"),
    ],
)
def test_a_machine_that_cannot_run_the_gpu_level_says_why(
    bench: Bench, serves: int, torch: dict[str, Any], words: str
) -> None:
    gpu(bench, serves, **torch)
    ran = bench.run(bench.make(), "--level", "gpu")
    assert (ran.code, ran.report) == (18, None)
    assert ran.err.splitlines()[-1] == f"smoke: the gpu level cannot run here: {words}"


# It refuses.


@pytest.mark.parametrize(
    ("torch", "options", "words"),
    [
        ({}, (), "smoke: there is no torch for {python}; the wheel needs torch>=2.8"),
        (faketorch.files("2.7.1"), (),
         "smoke: torch 2.7.1 is outside of >=2.8, for which {wheel} is made; --any-torch tries it all the same"),
        (faketorch.files(fault="raise OSError('libcudart.so.12: cannot open')"), (),
         "smoke: torch cannot be used here: OSError: libcudart.so.12: cannot open"),
        (faketorch.files(fault="import os; os.write(2, b'\\xffboom\\n'); os._exit(3)"), (),
         "smoke: torch cannot be imported here: \N{REPLACEMENT CHARACTER}boom"),
        (faketorch.files(fault="import os; os._exit(3)"), (), "smoke: torch cannot be imported here: exit code 3"),
        (faketorch.files(fault="import numpyy"), (), "smoke: torch cannot be used here: No module named 'numpyy'"),
        (faketorch.files(), ("--level", "jit"), "smoke: the jit level cannot run here: there is no Triton"),
    ],
    ids=["none", "range", "loader", "dies", "silent", "half", "triton"],
)  # fmt: skip
def test_an_environment_that_cannot_try_the_wheel_is_refused(
    bench: Bench, torch: Mapping[str, bytes], options: tuple[str, ...], words: str
) -> None:
    bench.torch(torch)
    ran = bench.run(bench.make(), *options)
    assert (ran.code, ran.report) == (18, None)
    assert words.format(python=PYTHON, wheel=WHEEL) in ran.err
    assert "Traceback" not in ran.err


def test_a_torch_outside_of_the_range_is_tried_when_that_is_asked_and_the_report_says_so(
    bench: Bench,
) -> None:
    bench.torch(faketorch.files("2.7.1"))
    ran = bench.run(bench.make(), "--any-torch", "--level", "static", "--only", "demo/*")
    assert ran.code == 0
    assert ran.report is not None
    assert (
        ran.report.runs[0].surroundings.outside
        == f"torch 2.7.1 is outside of >=2.8, for which {WHEEL} is made"
    )


def test_what_the_wheel_requires_and_is_not_there_is_named(bench: Bench) -> None:
    needs = wheel_files()[f"{INFO}/METADATA"].decode()
    more = ("einops>=0.8", "nonesuch; extra == 'all'", "nonesuch; python_version < '3'")
    text = "".join(f"Requires-Dist: {one}\n" for one in (*more, "torch"))
    path = bench.make(**{f"{INFO}/METADATA": needs.replace("Requires-Dist: torch", text.strip())})
    ran = bench.run(path)
    assert (ran.code, ran.report) == (18, None)
    assert ran.err == f"smoke: {PYTHON} lacks what the wheel requires: einops>=0.8 (not there)\n"
    bench.torch(faketorch.files(), faketorch.about("einops", "0.7"))
    assert "einops>=0.8 (0.7)" in bench.run(path).err
    bench.torch(faketorch.files(), faketorch.about("einops", "0.8.1"))
    ran = bench.run(path, "--only", "demo/*")
    assert ran.code == 0
    assert ran.report is not None
    assert ran.report.runs[0].surroundings.packages == {"einops": "0.8.1", "torch": "2.9.1"}


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ("cp38-cp38-manylinux_2_17_x86_64", "is for cp38-cp38-manylinux_2_17_x86_64; this is Python 3."),
        ("py3-none-win_amd64", "is for py3-none-win_amd64; this is Python 3."),
    ],
)
def test_a_wheel_for_another_python_or_platform_is_refused(bench: Bench, tags: str, words: str) -> None:
    wheel = f"tinycuda-1.0-{tags}.whl"
    text = wheel_files()[f"{INFO}/WHEEL"].decode().replace("py3-none-manylinux_2_17_x86_64", tags)
    ran = bench.run(bench.make(wheel=wheel, **{f"{INFO}/WHEEL": text}))
    assert (ran.code, ran.report) == (18, None)
    assert f"smoke: {wheel} {words}" in ran.err


def test_a_place_where_no_report_can_be_written_is_refused_before_anything_runs(bench: Bench) -> None:
    ran = bench.run(bench.make(), "--json", str(bench.folder / "nowhere" / "report.json"))
    assert ran.code == 2
    assert "report.json: no file can be written there" in ran.err


# It was changed.


def rewrite(path: Path, change: Callable[[dict[str, bytes]], object]) -> None:
    with zipfile.ZipFile(path) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    change(found)
    path.write_bytes(zip_bytes(found))


def manifest(found: dict[str, bytes], **changes: Any) -> None:
    found["kit.json"] = json.dumps({**json.loads(found["kit.json"]), **changes}).encode()


WITHOUT_POSIX = """
import faulthandler, os, signal
del os.killpg, os.sysconf, os.sched_getaffinity, faulthandler.register
del signal.SIGUSR2, signal.SIGALRM, signal.SIGHUP, signal.setitimer
"""


def test_a_kit_runs_where_python_has_nothing_that_windows_has_not(bench: Bench) -> None:
    """Signals, process groups and alarms are looked for; a case that hangs is killed all the same."""
    hangs = '@case("demo/hangs", level="static", limit=1)\ndef _():\n    time.sleep(99)\n\nif __name__'
    kit = bench.make(SUITE.replace("if __name__", hangs, 1))
    (bench.folder / "torch" / "sitecustomize.py").write_text(WITHOUT_POSIX)
    ran = bench.run(kit, "--level", "static")
    assert ran.code == 16, ran.err
    assert [name for name, one in ran.cases("static").items() if one.outcome == "failed"] == ["demo/hangs"]
    assert "no end within 1 s of processor time" in ran.cases("static")["demo/hangs"].reason


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found.update({"suites/demo.py": found["suites/demo.py"] + b" "}), "suites/demo.py"),
        (lambda found: found.update({f"wheels/{WHEEL}": found[f"wheels/{WHEEL}"][:-1]}), f"wheels/{WHEEL}"),
        (lambda found: found.update({"suites/torch.py": b""}), "suites/torch.py"),
        (lambda found: found.pop("suites/demo.py"), "suites/demo.py"),
        (lambda found: manifest(found, sha256=64 * "0"), "kit.json"),
        (lambda found: manifest(found, torch=">=1"), "kit.json"),
        (lambda found: (found.pop("suites/demo.py"), manifest(found, more=1)), "kit.json, suites/demo.py"),
    ],
    ids=["suite", "wheel", "added", "removed", "other wheel", "range", "two"],
)  # fmt: skip
def test_a_changed_kit_is_refused_with_the_names_of_what_was_changed(
    bench: Bench, change: Callable[[dict[str, bytes]], object], words: str
) -> None:
    path = bench.make()
    rewrite(path, change)
    ran = bench.run(path)
    assert (ran.code, ran.report) == (17, None)
    assert ran.err == f"smoke: {path} was changed after it was made: {words}\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.update({"kit.json": b"{"}),
        lambda found: found.update({"kit.json": b"[]"}),
        lambda found: found.update({"kit.json": b'{"files": {}}'}),
        lambda found: found.pop("kit.json"),
    ],
    ids=["half", "list", "keys", "gone"],
)
def test_a_kit_without_a_manifest_is_refused(
    bench: Bench, change: Callable[[dict[str, bytes]], object]
) -> None:
    path = bench.make()
    rewrite(path, change)
    ran = bench.run(path)
    assert (ran.code, ran.report) == (17, None)
    assert f"smoke: {path} is not a whole kit: " in ran.err


def test_any_flipped_byte_of_a_suite_or_a_wheel_is_found(bench: Bench) -> None:
    path = bench.make()
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        places = {name: archive.getinfo(name) for name in ("suites/demo.py", f"wheels/{WHEEL}", "kit.json")}
    for name, info in places.items():
        start = info.header_offset + 30 + len(name)
        end = start + info.compress_size - 1  # a deflated stream may end in bits that say nothing
        for offset in range(start, end, max(1, info.compress_size // 40)):
            path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x55]) + whole[offset + 1 :])
            with pytest.raises(Refusal) as caught:
                place.Kit(str(path))
            assert caught.value.code == 17


def test_a_truncated_kit_is_refused(bench: Bench) -> None:
    path = bench.make()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Refusal, match="is not a whole kit") as caught:
        place.Kit(str(path))
    assert caught.value.code == 17
    ran = bench.run(path)  # Python itself does not know it any more
    assert ran.code not in {0, 16}
    assert ran.report is None


# It is interrupted.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("level", ["static", "jit"])
def test_an_interrupted_kit_ends_what_it_started_and_leaves_nothing(
    bench: Bench, number: signal.Signals, level: str
) -> None:
    bench.torch(faketorch.files(), faketorch.triton())
    pids = bench.folder / "pids"
    pids.mkdir()
    suite = f"""
for number in range(2):
    @case(f"hang/{{number}}", level="{level}", number=number)
    def _(number):
        open(f"{pids}/{{os.getpid()}}", "w").close()
        open(os.path.join(os.environ["HOME"], "rubbish"), "w").close()
        time.sleep(1000)
"""
    path = bench.make(SUITE.replace("\nif __name__", f"{suite}\nif __name__"))
    process = bench.start(path, "--level", level, "--only", "hang/*")
    deadline = time.monotonic() + 30
    while not list(pids.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    ran = bench.finish(process)
    assert (ran.code, ran.report) == (130, None)
    assert ran.err.splitlines()[-1] == "smoke: interrupted; there is no report"
    assert "Traceback" not in ran.err
    assert [one for one in pids.iterdir() if is_suite(one.name)] == []


@pytest.mark.parametrize("level", ["static", "jit"])
def test_an_interrupted_kit_tells_of_what_had_ended_and_proves_nothing(bench: Bench, level: str) -> None:
    bench.torch(faketorch.files(), faketorch.triton())
    hang = bench.folder / "hangs"
    suite = f"""
@case("demo/hang", level="{level}", alone=True, timed=True)  # after the others
def _():
    open({str(hang)!r}, "w").close()
    time.sleep(1000)
"""
    path = bench.make(SUITE.replace("\nif __name__", f"{suite}\nif __name__"))
    process = bench.start(path)
    deadline = time.monotonic() + 30
    while not hang.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    ran = bench.finish(process)
    assert ran.code == 130
    assert ran.err.splitlines()[-1].endswith(
        "report.json tells of the cases that had ended, and is no evidence"
    )
    assert "Traceback" not in ran.err
    cases = ran.cases(level)
    assert cases["demo/setting" if level == "static" else "demo/compiles"].outcome == "passed"
    assert (cases["demo/hang"].outcome, cases["demo/hang"].reason) == ("skipped", "the test was interrupted")
    assert ran.report is not None
    assert not ran.report.ok
    assert {run.level: run.unable for run in ran.report.runs if not run.cases} == (
        {"jit": "the test was interrupted"} if level == "static" else {}
    ) | {"gpu": "the test was interrupted"}
    with pytest.raises(EvidenceError, match=r"r\.json is the report of a test that was interrupted"):
        reading.demand_whole(ran.report, name="r.json")


def is_suite(pid: str) -> bool:
    try:
        return b"suites/demo.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


# Parts.


def test_a_suite_that_is_not_there_and_one_that_takes_a_name_of_retread_s(bench: Bench) -> None:
    recipe = SMOKE.replace("smoke/demo.py", "smoke/gone.py")
    with pytest.raises(RecipeError, match=r"tiny-1\.0: smoke\.suites\[0\]: there is no smoke/gone\.py"):
        bench.make(recipe=recipe)
    (bench.folder / "work" / "smoke" / "harness.py").write_text("")
    with pytest.raises(
        RecipeError, match=r"a file named harness\.py lies beside its suites; that one is retread's"
    ):
        bench.make()


def test_a_recipe_that_does_not_say_how_has_a_kit_of_what_is_every_wheel_s(bench: Bench) -> None:
    ran = bench.run(bench.make(recipe=""), "--level", "static")
    assert ran.code == 0, ran.err
    assert {case.suite for case in ran.cases("static").values()} == {"package", "native"}


FOUND = {
    "torch": "2.9.1", "torch_cuda": "12.8", "driver_cuda": "13.0", "busy": "", "gpus": [{"name": "NVIDIA H200"}]
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "cuda", "words"),
    [
        ({}, "12.8", ""),
        ({"driver_cuda": "12.4"}, "12.8", ""),
        ({"driver_cuda": "12.8"}, "13.0", "the driver serves CUDA 12.8 at most, and the wheel is made for CUDA 13.0"),
        ({"driver_cuda": "9.2"}, "12.8", "the driver serves CUDA 9.2 at most, and the wheel is made for CUDA 12.8"),
        ({"driver_cuda": ""}, "12.8", "there is no NVIDIA driver"),
        ({"torch_cuda": ""}, "12.8", "torch 2.9.1 is a build without CUDA"),
        ({"gpus": []}, "12.8", "torch sees no GPU that it can use"),
        ({"gpus": [], "busy": "all CUDA-capable devices are busy"}, "12.8",
         "the GPU cannot be used: all CUDA-capable devices are busy"),
    ],
)  # fmt: skip
def test_what_makes_a_machine_unfit_for_the_gpu_level(changes: dict[str, Any], cuda: str, words: str) -> None:
    assert surroundings.unfit_for_gpu({**FOUND, **changes}, cuda, ">=2.8") == words


@pytest.mark.parametrize(
    ("torch", "wanted", "inside"),
    [("2.9.1+cu128", ">=2.8", True), ("2.8.0", "==2.8.*", True), ("2.11.0a0+git1", ">=2.10", True),
     ("2.7.1", ">=2.8", False), ("2.9.0", "==2.8.*", False), ("", ">=2.8", True), ("1.0", "", True)],
)  # fmt: skip
def test_which_torch_is_outside_of_a_range(torch: str, wanted: str, inside: bool) -> None:
    said = surroundings.outside(torch, WHEEL, wanted)
    assert said == ("" if inside else f"torch {torch} is outside of {wanted}, for which {WHEEL} is made")


def asked(bench: Bench, path: Path, *options: str) -> tuple[int, str, str]:
    """Ask a kit whether it fits; return its exit code and what it said."""
    done = subprocess.run(
        [PYTHON, path, "--fit", *options],
        env=bench.environment, cwd=bench.folder / "cwd", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert [list((bench.folder / name).iterdir()) for name in ("home", "tmp", "cwd")] == [[], [], []]
    return done.returncode, done.stdout, done.stderr


def test_a_kit_says_whether_its_wheel_fits_and_tries_nothing(bench: Bench) -> None:
    gpu(bench)
    code, out, err = asked(bench, bench.make())
    assert (code, err) == (0, "")
    assert "NVIDIA H200, compute capability 9.0: native, tuned for it" in out
    assert f"\n{WHEEL} fits\n" in out
    assert "-m pip install --no-deps kit/wheels/*.whl" in out


def test_a_kit_says_every_reason_why_its_wheel_does_not_fit(bench: Bench) -> None:
    bench.torch(faketorch.files(version="2.7.1"))
    code, out, _ = asked(bench, bench.make())
    assert code == 18
    assert f"{WHEEL} does not fit\n  torch 2.7.1 is outside of " in out
    assert "--no-deps" not in out
    bench.torch()
    code, out, _ = asked(bench, bench.folder / "kit.pyz")
    assert (code, "there is no torch for" in out) == (18, True)


@pytest.mark.parametrize(
    ("gpu", "words"),
    [("8.0", "native, tuned for it"), ("8.6", "native"), ("9.0", "native, tuned for it"), ("7.5", "NO CODE"),
     ("12.0", "by JIT from PTX (needs a driver of CUDA 12.8)")],
)  # fmt: skip
def test_how_a_gpu_runs_a_kits_wheel(gpu: str, words: str) -> None:
    wheel = {"architectures": ["8.0", "9.0a"], "ptx": ["8.0"], "cuda": "12.8"}
    assert fitting.served(wheel, gpu) == words


def test_a_kit_that_is_to_try_its_wheel_wants_a_place_for_the_report(bench: Bench) -> None:
    done = subprocess.run(
        [PYTHON, bench.make()], env=bench.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "the following arguments are required: --json" in done.stderr


def test_a_torch_that_never_answers_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "PATIENCE", 0.5)
    bench.torch(faketorch.files(fault="import time; time.sleep(1000)"))
    with pytest.raises(Refusal, match=r"torch cannot be imported here: no answer within 0\.5 s") as caught:
        surroundings.probe(bench.environment, ["torch>=2.8"])
    assert caught.value.code == program.surroundings.UNFIT == 18


# The same PTX by two compilers.


BOTH = """
import os
import harness
from harness import case

PTX = harness.setting()["portable"]
C = ["tinycuda/_C.so"]

@case("both/same", level="gpu", libraries=C)
def _():
    harness.record("out", b"same")

@case("both/noisy", level="gpu", libraries=C)
def _():
    harness.record("out", os.urandom(8))

@case("both/wrong", level="gpu", libraries=C)
def _():
    harness.record("out", b"from PTX" if PTX else b"native")

@case("both/dies", level="gpu", libraries=C)
def _():
    assert not PTX, "no kernel image"

@case("both/python", level="gpu")
def _():
    harness.record("out", os.urandom(8))

if __name__ == "__main__":
    harness.main()
"""


def test_native_code_is_compared_with_the_same_ptx_through_the_driver_s_compiler(bench: Bench) -> None:
    gpu(bench)
    path = bench.make(BOTH)
    plain = bench.run(path, "--level", "gpu")
    assert plain.code == 0, plain.err
    assert plain.cases("gpu").keys() == {
        "native/code/tinycuda/_C.so", "both/same", "both/noisy", "both/wrong", "both/dies", "both/python",
    }  # fmt: skip
    assert plain.cases("gpu")["native/code/tinycuda/_C.so"].numbers["native"] == 4
    theirs = bench.run(path, "--level", "gpu", "--compare-ptx-jit", "--only", "both/wrong")
    assert theirs.code == 0
    said = "other bits from PTX than natively: out; but upstream compiled its machine code for this GPU"
    assert theirs.cases("gpu")["ptx/both/wrong"].note.startswith(said)
    grafted = {"libraries": {LIBRARY: {"before": ["8.0"], "after": ["8.0", "9.0a"]}}}
    bench.make(BOTH, blank=True)
    wheel = {**wheel_files(), f"{INFO}/retread.json": json.dumps(grafted).encode()}
    (bench.folder / WHEEL).write_bytes(make_wheel(wheel))
    ours = ("--wheel", str(bench.folder / WHEEL), "--level", "gpu", "--compare-ptx-jit")
    ran = bench.run(path, *ours)
    assert ran.code == 16
    found = {name: one for name, one in ran.cases("gpu").items() if name not in plain.cases("gpu")}
    assert {name: (one.outcome, one.reason or one.note) for name, one in found.items()} == {
        "native/hidden/tinycuda/_C.so": ("passed", ""),
        "ptx/both/same": ("passed", ""),
        "ptx/both/noisy": ("passed", "not deterministic, so not compared: out"),
        "ptx/both/wrong": ("failed", "other bits from PTX than natively: out"),
        "ptx/both/dies": ("failed", "passed natively, failed from PTX: AssertionError: no kernel image"),
    }
    assert found["native/hidden/tinycuda/_C.so"].numbers["the driver's word"] == (
        "CUDA_ERROR_JIT_COMPILATION_DISABLED"
    )
    assert "ptx: demo: 2 passed, 2 failed" in ran.err
    refused = bench.run(path, "--level", "static", "--compare-ptx-jit")
    assert refused.code == 2
    assert "--compare-ptx-jit compares what the gpu level computes: add --level gpu" in refused.err


def test_machine_code_that_the_driver_does_not_take_fails_the_wheel(bench: Bench) -> None:
    gpu(bench)
    path = bench.folder / "kit.pyz"
    data = bytearray((Path(__file__).parents[2] / "data" / "fatbin" / "libadd.so").read_bytes())
    for image in fatbins.modules(data)[-1].images:
        data[image.offset + 64 : image.offset + 68] = b"oops"
    broken = {**wheel_files(), LIBRARY: bytes(data)}
    bench.make(blank=True)
    (bench.folder / WHEEL).write_bytes(make_wheel(broken))
    ran = bench.run(path, "--wheel", str(bench.folder / WHEEL), "--level", "gpu", "--only", "native/*")
    assert ran.code == 16
    assert ran.cases("gpu")["native/code/tinycuda/_C.so"].reason == (
        "AssertionError: the driver does not take module 3: CUDA_ERROR_INVALID_IMAGE"
    )
