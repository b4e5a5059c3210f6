"""``retread smoke``, ``kit`` and ``evidence`` on a built wheel: what users see, and what lies beside the wheel then."""

from __future__ import annotations

import base64
import getpass
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import pytest

import faketorch
import prober
from loopback import Index
from retread.canonical import digest
from retread.doors import walls
from retread.environment import host
from retread.smoke import reading
from retread.smoke.report import SmokeReport
from tinycuda import (
    BUILT,
    LIBRARY,
    OPS,
    WHEEL,
    Project,
    Result,
    names,
    sha256,
    zip_bytes,
)

SMOKE = """
[smoke]
suites = ["smoke/demo.py"]
commands = ["-m tinycuda.extra.deep"]
[smoke.expect]
words = ["from the recipe"]
answer = ["of the recipe"]

[targets.cu128.smoke]
torch = "2.9.1"
triton = ["3.5.1", "3.6.0"]
gpu = ["10.0"]
[targets.cu128.smoke.expect]
answer = ["of the target"]
"""
SUITE = """
import os, time
import harness
from harness import case

@case("demo/expect", level="static", libraries=["tinycuda/_C.so"])
def _():
    said = harness.setting()["expect"]
    return {name: " ".join(words) for name, words in said.items()}

@case("demo/compiles/sm_100", level="jit")
def _():
    import triton
    return {"triton": triton.__version__}

@case("demo/computes", level="gpu")
def _():
    pass
"""
HANG = """
@case("demo/hang", level="static")
def _():
    import subprocess, sys
    subprocess.run([sys.executable, "-c", "import sys, time; sys.argv; time.sleep(1000)", "{word}"])
"""
MANY = """
for number in range(400):
    @case(f"demo/{number}", level="static")
    def _():
        return {"x": 400 * "x"}
"""
MAIN = '\nif __name__ == "__main__":\n    harness.main()\n'
IDLE = """
import harness

@harness.case("demo/compiles/sm_100", level="jit")
def _():
    raise harness.Skip("this Triton has no block pointers")
"""
DEEP = "tinycuda/extra/deep.py"
REPORT = f"{BUILT}.smoke-static-jit.json"


@pytest.fixture
def tried(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Return a project with suites whose wheel is built, and a torch and a Triton for this Python."""
    (project.root / "smoke").mkdir()
    (project.root / "smoke" / "demo.py").write_text(SUITE + MAIN)
    project.write_recipe(project.recipe_text + SMOKE)
    (tmp_path / "tmp").mkdir()
    faketorch.put(tmp_path / "torch", faketorch.files(), faketorch.triton())
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "torch"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    assert project.build().code == 0
    return project


def smoke(project: Project, *options: str) -> Result:
    """Try the wheel with this Python, and check that nothing is left of it."""
    result = project.run("smoke", f"dist/{BUILT}", "--python", sys.executable, *options)
    check_clean(project)
    return result


def check_clean(project: Project) -> None:
    assert list((project.root.parents[1] / "tmp").iterdir()) == []
    assert list((project.store / "scratch").glob("*")) == []
    assert list(project.root.rglob(".*")) == []


def beside(project: Project) -> list[str]:
    """Return what lies beside the wheel, of smoke tests."""
    return [name for name in names(project.root / "dist") if ".smoke-" in name]


def read(path: Path) -> SmokeReport:
    return reading.parse(path.read_bytes(), name=path.name)


def outcomes(report: SmokeReport, level: str = "static") -> dict[str, str]:
    return {case.id: case.outcome for run in report.runs if run.level == level for case in run.cases}


# The good way.


def test_a_wheel_is_tried_and_its_report_lies_beside_it_and_in_every_form(tried: Project) -> None:
    result = smoke(tried, "--json", "out/r.json", "--junit", "out/r.xml", "--html", "out/r.html")
    assert result.code == 0, result.err
    assert beside(tried) == [REPORT]
    report = read(tried.root / "dist" / REPORT)
    assert (tried.root / "out" / "r.json").read_bytes() == (tried.root / "dist" / REPORT).read_bytes()
    assert report.sha256 == sha256(tried.built.read_bytes())
    assert report.ok
    static = outcomes(report)
    assert {name for name, outcome in static.items() if outcome != "passed"} == {
        "native/operators"
    }  # it has none
    assert {name.split("/")[0] for name in static} == {"audit", "package", "native", "demo"}
    assert f"audit/promise/{LIBRARY}" in static or any(name.startswith("audit/") for name in static)
    assert list(outcomes(report, "jit")) == ["demo/compiles/sm_100"]
    (unable,) = [run.unable for run in report.runs if run.level == "gpu"]
    assert unable == "torch 2.9.1 is a build without CUDA"
    (expect,) = [case.numbers for case in report.runs[0].cases if case.id == "demo/expect"]
    assert expect == {"words": "from the recipe", "answer": "of the target"}
    suites = ET.parse(tried.root / "out" / "r.xml").getroot()
    assert int(suites.get("tests", "0")) >= len(static) + 1
    page = (tried.root / "out" / "r.html").read_text("utf-8")
    assert "demo/expect" in page
    assert BUILT in page
    assert f"{BUILT}: smoke tests passed ({len(static)} passed, 1 skipped)" in result.out
    assert f"evidence: dist/{REPORT}\n" in result.err
    assert re.search(r"    static: demo: 1 passed  \d", result.err)
    ends = re.compile(r"(\d+) (passed|skipped)")
    told = ends.findall("\n".join(re.findall(r"^    (?:static|jit): .*$", result.err, re.MULTILINE)))
    steps = ends.findall("\n".join(re.findall(r"^  (?:try|audit) .*$", result.err, re.MULTILINE)))
    audited = sum(name.startswith("audit/") for name in static)
    assert sum(int(count) for count, _ in steps) == len(static) + 1, "the steps say what the report counts"
    assert sum(int(count) for count, _ in told) == len(static) + 1 - audited, (
        "and the lines what their step does"
    )
    schema = json.loads(tried.run("recipe", "schema", "smoke").out)
    jsonschema.validate(json.loads((tried.root / "out" / "r.json").read_bytes()), schema)


def test_only_some_cases_are_no_evidence(tried: Project) -> None:
    result = smoke(tried, "--only", "demo/*", "--level", "static", "--json", "r.json")
    assert result.code == 0
    assert list(outcomes(read(tried.root / "r.json"))) == ["demo/expect"]
    assert beside(tried) == []
    result = smoke(tried, "--only", "nothing", "--level", "static")
    assert result.code == 16
    assert result.err.endswith(
        f"retread: smoke: {BUILT}: nothing ran\n  - static: no case\n  next: name other cases, or take away --only\n"
    )


def test_a_report_longer_than_a_pipe_comes_whole(tried: Project) -> None:
    (tried.root / "smoke" / "demo.py").write_text(SUITE + MANY + MAIN)
    result = smoke(tried, "--level", "static", "--only", "demo/*", "--json", "r.json")
    assert result.code == 0
    assert (tried.root / "r.json").stat().st_size > 200_000


# What a test finds.


def test_a_case_that_fails_is_listed_and_its_report_is_kept(tried: Project) -> None:
    bad = '\n@case("demo/wrong", level="static")\ndef _():\n    assert 1 + 1 == 3, "the sum is wrong"\n'
    (tried.root / "smoke" / "demo.py").write_text(SUITE + bad + MAIN)
    result = smoke(tried, "--level", "static")
    assert result.code == 16
    report = read(tried.root / "dist" / f"{BUILT}.smoke-static.json")
    count = len(outcomes(report))
    assert result.err.endswith(
        f"retread: smoke: {BUILT}: 1 of {count} cases failed\n"
        "  - demo/wrong: AssertionError: the sum is wrong\n"
        "  next: the report has each one's stack; --only ID runs one of them alone\n"
    )
    assert "FAILED demo/wrong" in result.out
    assert not report.ok


def test_skipped_cases_alone_are_nothing_that_ran_wherever_one_looks(tried: Project) -> None:
    assert smoke(tried, "--level", "jit").code == 0
    (tried.root / "smoke" / "demo.py").write_text(IDLE + MAIN)
    result = smoke(tried, "--level", "jit", "--junit", "r.xml", "--html", "r.html")
    assert result.code == 16
    assert "    nothing ran\n" in result.err
    assert re.search(
        r"^  try jit in the named environment: 1 skipped +failed +[\d.]+ s$", result.err, re.MULTILINE
    )
    assert result.err.endswith(
        f"evidence: dist/{BUILT}.smoke-none.json\nretread: smoke: {BUILT}: nothing ran\n"
        "  - jit (Triton 3.5.1): 1 skipped: this Triton has no block pointers\n"
        "  next: a machine that has what is lacking can try it: --ssh HOST, or 'retread kit'\n"
    )
    assert result.out.startswith(f"{BUILT}: NOT PROVEN (nothing ran)\n")
    assert result.out.endswith("nothing ran: nothing is known of any library\n")
    assert '<p class="verdict warn">NOT PROVEN (nothing ran)</p>' in (tried.root / "r.html").read_text()
    assert '<property name="result" value="nothing ran" />' in (tried.root / "r.xml").read_text()
    assert beside(tried) == [f"{BUILT}.smoke-jit.json", f"{BUILT}.smoke-none.json"]  # what passed stays
    assert not read(tried.root / "dist" / f"{BUILT}.smoke-none.json").ok
    shown = tried.run("evidence", f"dist/{BUILT}")
    assert shown.code == 0
    assert re.findall(r"^ +jit +(passed|nothing ran) ", shown.out, re.MULTILINE) == ["passed", "nothing ran"]
    mixed = smoke(tried)
    assert mixed.code == 0
    assert f"evidence: dist/{BUILT}.smoke-static.json\n" in mixed.err
    assert re.search(
        r"^ +static +passed .*\n +jit +nothing ran ", tried.run("evidence", f"dist/{BUILT}").out, re.MULTILINE
    )


def test_a_suite_that_cannot_start_fails_the_test(tried: Project) -> None:
    (tried.root / "smoke" / "demo.py").write_text("import beside\n" + SUITE + MAIN)
    result = smoke(tried, "--level", "static", "--only", "demo/*")
    assert result.code == 16
    assert (
        "  - list: Exit: the process ended with code 1: ModuleNotFoundError: No module named 'beside'"
        in result.err
    )
    (tried.root / "smoke" / "beside.py").write_text("")
    assert smoke(tried, "--level", "static", "--only", "demo/*").code == 0


BROKEN: dict[str, tuple[dict[str, str], str]] = {
    "import": (
        {"tinycuda/dos.py": "import numpyy\n"},
        "package/import/tinycuda.dos: AssertionError: import tinycuda.dos: "
        "ModuleNotFoundError: No module named 'numpyy'",
    ),
    "foreign": (
        {"tests/__init__.py": ""},
        "package/installed: AssertionError: files outside of the package: tests/__init__.py",
    ),
    "program": (
        {DEEP: "import sys\nif __name__ == '__main__':\n    sys.stderr.write('no kernels\\n'); sys.exit(3)\n"},
        "package/program/tinycuda.extra.deep: AssertionError: -m tinycuda.extra.deep ended with 3: no kernels",
    ),
    "everywhere": (
        {DEEP: "import os, tempfile\nopen(os.path.expanduser('~/.tiny'), 'w').close()\n"
               "tempfile.mkstemp(prefix='tiny-')\nos.mkdir('log'); open('log/x', 'w').close()\n"},
        "package/undisturbed: written outside of the package: cwd/log/x, home/.tiny, tmp/tiny-",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_the_package_is_found_without_a_gpu(tried: Project, name: str) -> None:
    files, words = BROKEN[name]
    rebuild(tried, files)
    result = smoke(tried, "--level", "static")
    assert result.code == 16, result
    assert f"  - {words}" in result.err


def rebuild(project: Project, files: dict[str, str]) -> None:
    """Put files into the built wheel, with a right RECORD, as if it had been built so."""
    with zipfile.ZipFile(project.built) as archive:
        found = {one: archive.read(one) for one in archive.namelist()}
    info = next(one.partition("/")[0] for one in found if one.endswith(".dist-info/METADATA"))
    rows = [line for line in found[f"{info}/RECORD"].decode().splitlines() if line.split(",")[0] not in files]
    for one, text in files.items():
        hashed = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.insert(0, f"{one},sha256={hashed},{len(text.encode())}")
        found[one] = text.encode()
    found[f"{info}/RECORD"] = "\n".join([*rows, ""]).encode()
    project.built.unlink()
    project.built.write_bytes(zip_bytes(found))


def test_a_module_that_may_fail_without_a_gpu_is_skipped_and_a_program_s_main_is_not_imported(
    tried: Project,
) -> None:
    tried.edit_recipe("[smoke.expect]\n", '[smoke.imports]\n"tinycuda.d*" = "needs a GPU"\n[smoke.expect]\n')
    rebuild(
        tried,
        {
            "tinycuda/dos.py": "raise RuntimeError('no GPU')\n",
            "tinycuda/__main__.py": "raise SystemExit(2)\n",
        },
    )
    result = smoke(tried, "--only", "package/*", "--level", "static", "--json", "r.json")
    assert result.code == 0, result.err
    report = read(tried.root / "r.json")
    (case,) = [case for case in report.runs[0].cases if case.outcome == "skipped"]
    assert (case.id, case.reason) == ("package/import/tinycuda.dos", "needs a GPU (RuntimeError: no GPU)")
    assert "package/import/tinycuda.__main__" not in outcomes(report)


def test_a_module_that_comes_from_elsewhere_is_found(tried: Project) -> None:
    code = (
        "import sys, types\nmodule = types.ModuleType('tinycuda.dos')\nmodule.__file__ = '/usr/lib/dos.py'\n"
    )
    rebuild(tried, {"tinycuda/dos.py": f"{code}sys.modules['tinycuda.dos'] = module\n"})
    result = smoke(tried, "--only", "package/import/*", "--level", "static")
    assert result.code == 16
    assert (
        "package/import/tinycuda.dos: AssertionError: tinycuda.dos comes from /usr/lib/dos.py" in result.err
    )


def test_a_wheel_that_breaks_its_promise_fails_the_audit_in_the_report(tried: Project) -> None:
    tried.edit_recipe('architectures = ["8.0", "9.0a"]', 'architectures = ["8.0", "9.0a", "10.0"]')
    result = smoke(tried, "--level", "static", "--recipe", "tiny-1.0", "--target", "cu128")
    assert result.code == 16
    assert re.search(rf"  - audit/\w+/{LIBRARY}: ", result.err)


# What a user got wrong.


def test_requests_that_make_no_sense(tried: Project) -> None:
    wheel = f"dist/{BUILT}"
    for arguments, words in (
        (("smoke",), "name a wheel, or a report with --attach"),
        (("smoke", "dist/none.whl"), "there is no file dist/none.whl"),
        (
            ("smoke", wheel, "--attach", "r.json"),
            "--attach takes a report; the wheel is the one that it names",
        ),
        (("kit", "none.whl"), "there is no file none.whl"),
        (("evidence", "none.whl"), "there is no file none.whl"),
    ):
        result = tried.run(*arguments)
        assert (result.code, result.out) == (2, "")
        assert f"retread: usage: {words}" in result.err


def test_a_recipe_that_does_not_say_how_is_tried_with_what_is_every_wheel_s(tried: Project) -> None:
    tried.write_recipe(tried.recipe_text.partition("\n[smoke]")[0].partition("\n[targets.cu128.smoke]")[0])
    result = smoke(tried, "--level", "static", "--json", "report.json")
    assert result.code == 0, result
    suites = {case.suite for run in read(tried.root / "report.json").runs for case in run.cases}
    assert suites == {"audit", "package", "native"}


def test_a_suite_that_is_missing_and_one_with_a_taken_name(tried: Project) -> None:
    (tried.root / "smoke" / "harness.py").write_text("")
    result = smoke(tried)
    assert result.code == 3
    assert "a file named harness.py lies beside its suites; that one is retread's" in result.err
    (tried.root / "smoke" / "demo.py").unlink()
    result = smoke(tried)
    assert result.code == 3
    assert "retread: recipe: recipe tiny-1.0: smoke.suites[0]: there is no smoke/demo.py" in result.err


def test_a_wheel_that_does_not_say_which_recipe_made_it(tried: Project) -> None:
    (tried.root / WHEEL).write_bytes(tried.index.files["tinycuda"][WHEEL])
    result = tried.run("smoke", WHEEL, "--python", sys.executable)
    assert result.code == 2
    assert f"{WHEEL} does not say which recipe made it\n  next: name one: --recipe, --target" in result.err
    result = tried.run("smoke", WHEEL, "--python", sys.executable, "--recipe", "tiny-1.0", "--only", "demo/*")
    assert result.code == 0, result.err


def test_an_environment_that_cannot_try_the_wheel(tried: Project, tmp_path: Path) -> None:
    result = smoke(tried, "--level", "gpu")
    assert result.code == 18
    assert "retread: host: the gpu level cannot run here: torch 2.9.1 is a build without CUDA\n" in result.err
    faketorch.put(tmp_path / "torch", faketorch.files("2.7.0"))
    result = smoke(tried)
    assert result.code == 18
    assert f"torch 2.7.0 is outside of >=2.8, for which {BUILT} is made; --any-torch" in result.err
    assert beside(tried) == []
    assert smoke(tried, "--any-torch", "--level", "static").code == 0
    (run,) = read(tried.root / "dist" / f"{BUILT}.smoke-static.json").runs
    assert run.surroundings.outside.startswith("torch 2.7.0 is outside of >=2.8")


def test_a_python_that_is_none(tried: Project, tmp_path: Path) -> None:
    result = tried.run("smoke", f"dist/{BUILT}", "--python", str(tmp_path / "nothing"))
    assert result.code == 14
    assert "nothing could not be started: No such file or directory" in result.err
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'license expired' >&2\nexit 5\n")
    broken.chmod(0o755)
    result = tried.run("smoke", f"dist/{BUILT}", "--python", str(broken))
    assert result.code == 18
    assert f"{broken} could not run the kit: exit code 5\n  - license expired" in result.err
    check_clean(tried)


def test_what_a_wheel_runs_reaches_nothing_of_the_machine(
    tried: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text(prober.SECRET)
    monkeypatch.setenv("GITHUB_TOKEN", prober.SECRET)
    left = f"left-by-{tmp_path.name}"
    with socket.create_server(("127.0.0.1", 0)) as server:
        told = {
            "key": str(tmp_path / "key"), "store": str(tried.store), "project": str(tried.root),
            "packages": "/usr/lib", "host": "127.0.0.1", "port": server.getsockname()[1], "marker": "smoke",
            "left": left,
        }  # fmt: skip
        (tried.root / "smoke" / "demo.py").write_text(
            f"{SUITE}\nPROBE = {prober.program(told)!r}\n"
            + """
@case("demo/probe", level="static")
def _():
    import subprocess, sys
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    return {"said": done.stdout.replace("\\n", " ")}
"""
            + MAIN
        )
        result = smoke(tried, "--only", "demo/probe", "--level", "static", "--json", "r.json")
    assert result.code == 0, result.err
    (run,) = read(tried.root / "r.json").runs
    (case,) = run.cases
    prober.assert_held(prober.found(str(case.numbers["said"])), tried.store, tried.root)
    wait_for(lambda: not prober.running(left))


def test_an_interrupt_ends_the_kit_and_leaves_nothing(tried: Project, tmp_path: Path) -> None:
    word = f"hangs-in-{tmp_path.name}"
    hang = HANG.format(word=word)
    (tried.root / "smoke" / "demo.py").write_text(SUITE + hang + MAIN)
    process = tried.start("smoke", f"dist/{BUILT}", "--python", sys.executable, "--only", "demo/hang")
    wait_for(lambda: bool(prober.running(word)))
    process.send_signal(signal.SIGINT)
    result = tried.finish(process)
    assert result.code == 130
    assert "retread: interrupted" in result.err
    assert "Traceback" not in result.err
    check_clean(tried)
    assert beside(tried) == []
    wait_for(lambda: not prober.running(word))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


# Environments that retread makes.


@pytest.fixture
def served(tried: Project, index: Index, monkeypatch: pytest.MonkeyPatch) -> Index:
    """Return the index, with torch and Triton."""
    monkeypatch.delenv("PYTHONPATH")
    index.files["torch"] = dict([faketorch.wheel(faketorch.files())])
    index.files["triton"] = dict(map(faketorch.wheel, map(faketorch.triton, ("3.5.1", "3.6.0"))))
    return index


def test_every_level_without_a_gpu_runs_in_environments_made_of_the_index(
    tried: Project, served: Index
) -> None:
    if host.has_gpu():
        pytest.skip("needs a machine without a GPU")
    result = tried.run("smoke", f"dist/{BUILT}")
    assert result.code == 0, result.err
    report = read(tried.root / "dist" / REPORT)
    found = [(run.level, run.surroundings.torch, run.surroundings.triton, run.unable) for run in report.runs]
    assert found == [
        ("static", "2.9.1", "3.5.1", ""),
        ("jit", "2.9.1", "3.5.1", ""),
        ("jit", "2.9.1", "3.6.0", ""),
        ("gpu", "2.9.1", "3.5.1" if found[3][2] == "3.5.1" else "3.6.0", "there is no NVIDIA driver here"),
    ]
    assert "install torch==2.9.1" in result.err
    assert "    note: gpu: not run: there is no NVIDIA driver here\n" in result.err
    check_clean(tried)
    served.log.clear()
    again = tried.run("smoke", f"dist/{BUILT}", "--level", "jit")
    assert again.code == 0
    assert served.log == []
    assert "install" not in again.err


COUNTED = """
import harness

for name in ("dos", "extra.deep"):
    @harness.case(f"demo/{name}/sm_100", level="jit", fresh=True, module=name)
    def _(module):
        import importlib
        importlib.import_module(f"tinycuda.{module}")

@harness.case("demo/asks/sm_100", level="jit")
def _():
    return {"answer": harness.ask("import tinycuda.dos; raise SystemExit(7)")}
"""


def taken(project: Project, *options: str) -> dict[str, list[str]]:
    """Try the wheel on the jit level, and return which cases were taken from the store, for each Triton."""
    result = project.run("smoke", f"dist/{BUILT}", "--level", "jit", "--json", "r.json", *options)
    assert result.code == 0, result.err
    check_clean(project)
    report = read(project.root / "r.json")
    return {run.surroundings.triton: [one.id[5:-7] for one in run.cases if one.taken] for run in report.runs}


@pytest.mark.skipif(bool(walls.absence({})), reason="results are kept of what ran behind walls")
def test_only_what_an_edit_touches_is_tried_again(
    tried: Project, served: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tried.root / "smoke" / "demo.py").write_text(COUNTED + MAIN)
    every, none = ["dos", "extra.deep", "asks"], list[str]()
    assert taken(tried) == {"3.5.1": none, "3.6.0": none}
    assert taken(tried) == {"3.5.1": every, "3.6.0": every}
    assert taken(tried, "--cold") == {"3.5.1": none, "3.6.0": none}

    rebuild(
        tried, {"tinycuda/dos.py": "A = 2\n"}
    )  # a kernel's file, which a case reads and another asks about
    result = tried.run("smoke", f"dist/{BUILT}", "--level", "jit")
    assert "    jit: demo: 3 passed; 1 of 3 taken from the store  " in result.err
    assert re.search(
        r"^  1 of 3 taken from the store, made on \S+, 1 of other wheels$", result.out, re.MULTILINE
    )
    (tried.root / "dist" / f"{BUILT}.audit.json").unlink()  # of the wheel before
    refused = tried.run("statement", f"dist/{BUILT}", "--tester", "lab", "--out", "said")
    assert refused.code == 17
    assert f"{BUILT}: 1 of 3 results of the jit (Triton 3.5.1) run are of other wheels\n" in refused.err
    assert f"  next: try every case of this one: retread smoke {BUILT} --cold\n" in refused.err
    assert taken(tried) == {"3.5.1": every, "3.6.0": every}
    rebuild(tried, {DEEP: "DEEP = False\n"})
    assert taken(tried)["3.6.0"] == ["dos", "asks"]
    rebuild(tried, {"tinycuda/ops.py": "# what no case reads\n"})
    assert taken(tried)["3.6.0"] == every

    monkeypatch.setenv("TRITON_F32_DEFAULT", "ieee")
    assert taken(tried) == {"3.5.1": none, "3.6.0": none}
    monkeypatch.delenv("TRITON_F32_DEFAULT")
    (triton,) = (tried.store / "environments").glob("*/*/venv/lib/*/site-packages/triton-3.6.0.dist-info")
    (triton.parent / "triton" / "ptxas").write_text("another assembler")
    assert taken(tried) == {"3.5.1": every, "3.6.0": none}
    (tried.root / "smoke" / "demo.py").write_text(COUNTED + MAIN + "# edited\n")
    assert taken(tried) == {"3.5.1": none, "3.6.0": none}


def test_the_gpu_level_alone_sends_to_the_kit(tried: Project, served: Index) -> None:
    if host.has_gpu():
        pytest.skip("needs a machine without a GPU")
    result = tried.run("smoke", f"dist/{BUILT}", "--level", "gpu")
    assert result.code == 18
    assert result.err.endswith(
        "retread: host: the gpu level cannot run here: there is no NVIDIA driver\n"
        "  next: 'retread kit' packs the test for another machine; --ssh HOST runs it there\n"
    )
    check_clean(tried)


def test_a_torch_that_no_index_has(tried: Project, served: Index) -> None:
    del served.files["torch"]
    result = tried.run("smoke", f"dist/{BUILT}", "--level", "static")
    assert result.code == 7
    assert "retread: fetch: torch==2.9.1 could not be installed" in result.err
    assert "name an environment that has it (--python)" in result.err
    check_clean(tried)


def test_the_jit_level_needs_a_triton_in_the_recipe(tried: Project, served: Index) -> None:
    tried.edit_recipe('triton = ["3.5.1", "3.6.0"]\n', "")
    result = tried.run("smoke", f"dist/{BUILT}", "--level", "jit")
    assert result.code == 2
    assert (
        "recipe tiny-1.0 names no Triton under which cu128 is tried\n  next: add triton to targets"
        in result.err
    )
    result = tried.run("smoke", f"dist/{BUILT}")
    assert result.code == 0
    assert beside(tried) == [f"{BUILT}.smoke-static.json"]


# A kit for another machine, and its report.


def pack(project: Project, *options: str) -> Path:
    """Pack a kit of the wheel."""
    result = project.run("kit", f"dist/{BUILT}", *options)
    assert result.code == 0, result.err
    check_clean(project)
    return project.root / result.wheel


def elsewhere(project: Project, kit: Path, report: Path) -> None:
    """Run a kit as another machine would."""
    done = subprocess.run(
        [sys.executable, kit, "--json", report, "--level", "static"],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    check_clean(project)


def test_a_kit_s_report_is_attached_and_is_evidence_with_the_audit(tried: Project, tmp_path: Path) -> None:
    runtime = faketorch.about("fakertc", "1.0")
    name, content = faketorch.wheel({"fakertc/__init__.py": b"", **runtime})
    tried.index.files["fakertc"] = {name: content}
    tried.write_recipe(
        f'{tried.recipe_text}\n[[targets.cu128.smoke.runtime]]\npackage = "fakertc"\n'
        f'file = "{name}"\nsha256 = "{sha256(content)}"\n'
    )
    kit = pack(tried)
    assert kit == tried.root / f"{BUILT.removesuffix('.whl')}.kit.pyz"
    with zipfile.ZipFile(kit) as archive:
        assert archive.read(f"wheels/{name}") == content
    assert json.loads(tried.run("kit", f"dist/{BUILT}", "-o", "x/k.pyz", "--json").out) == {
        "kit": "x/k.pyz", "wheel": BUILT, "sha256": sha256(tried.built.read_bytes()),
    }  # fmt: skip
    assert (tried.root / "x" / "k.pyz").read_bytes() == kit.read_bytes()
    elsewhere(tried, kit, tmp_path / "from-there.json")
    none = tried.run("evidence", f"dist/{BUILT}")
    assert none.code == 0
    assert none.out.endswith("\nno smoke reports\n")
    result = tried.run("smoke", "--attach", str(tmp_path / "from-there.json"), "--html", "r.html")
    assert result.code == 0, result.err
    assert f"attached: dist/{BUILT}.smoke-static.json\n" in result.err
    assert f"{BUILT}: smoke tests passed" in result.out
    assert (tried.root / "r.html").is_file()
    assert beside(tried) == [f"{BUILT}.smoke-static.json"]
    shown = tried.run("evidence", f"dist/{BUILT}")
    assert shown.code == 0
    assert "the promise of tiny-1.0 cu128 holds" in shown.out
    assert re.search(r"static +passed +- +2\.9\.1 +3\.5\.1 ", shown.out)
    found = json.loads(tried.run("evidence", f"dist/{BUILT}", "--json").out)
    jsonschema.validate(found, json.loads(tried.run("recipe", "schema", "evidence").out))
    assert (found["wheel"], found["sha256"]) == (BUILT, sha256(tried.built.read_bytes()))
    assert found["audit"]["ok"]
    assert [one["ok"] for one in found["reports"]] == [True]


def test_evidence_without_an_audit_says_so(tried: Project) -> None:
    (tried.root / "dist" / f"{BUILT}.audit.json").unlink()
    assert tried.run("evidence", f"dist/{BUILT}").out == "no audit\n\nno smoke reports\n"
    assert json.loads(tried.run("evidence", f"dist/{BUILT}", "--json").out)["audit"] is None


@pytest.fixture
def report(tried: Project, tmp_path: Path) -> Path:
    """Return a kit's report of the built wheel."""
    elsewhere(tried, pack(tried), tmp_path / "r.json")
    return tmp_path / "r.json"


def test_a_report_that_is_not_what_it_says_is_refused(tried: Project, report: Path) -> None:
    good = report.read_text()
    table = json.loads(good)
    stranger = {**table, "sha256": 64 * "0"}
    newer = {**table, "schema": 2, "signature": "?"}
    short = {name: value for name, value in table.items() if name != "runs"}
    seconds = str(table["runs"][0]["cases"][1]["seconds"])
    for text, words in (
        (good.replace(f'"seconds": {seconds}', '"seconds": 0.0001', 1), "r.json was edited or damaged"),
        (good.replace('"outcome": "passed"', '"outcome": "skipped"', 1), "r.json was edited or damaged"),
        (good[: len(good) // 2], "r.json is not a smoke report: Unterminated string"),
        ("[]", "r.json is not a smoke report"),
        ("", "r.json is not a smoke report: Expecting value"),
        (json.dumps(newer), "r.json has schema 2; this retread reads up to 1\n  next: read it with a newer retread"),
        (json.dumps(short), "r.json is not a smoke report of schema 1\n  - runs: missing"),
        (json.dumps({**stranger, "digest": digest(stranger)}), f"r.json is a report of another {BUILT}\n"
         f"  - the wheel that was tried has sha256 {64 * '0'}\n"
         f"  - dist/{BUILT} has {sha256(tried.built.read_bytes())}"),
    ):  # fmt: skip
        assert text != good
        report.write_text(text)
        result = tried.run("smoke", "--attach", str(report))
        assert (result.code, result.out) == (17, ""), words
        assert f"retread: evidence: {words}" in result.err
    assert beside(tried) == []


def test_a_report_from_before_is_judged_by_its_cases_and_not_by_what_it_says_of_them(
    tried: Project, report: Path
) -> None:
    table = json.loads(report.read_text())
    for case in table["runs"][0]["cases"]:
        case.update(outcome="skipped", reason="no f32")
    table["ok"] = True  # as a kit from before says of skipped cases alone
    report.write_text(json.dumps({**table, "digest": digest(table)}))
    result = tried.run("smoke", "--attach", str(report))
    assert result.code == 0, result.err
    assert result.out.startswith(f"{BUILT}: NOT PROVEN (nothing ran)\n")
    assert re.search(r"^ +static +nothing ran ", tried.run("evidence", f"dist/{BUILT}").out, re.MULTILINE)


def test_a_report_from_before_a_field_of_today_is_evidence_as_it_is(tried: Project, report: Path) -> None:
    table = json.loads(report.read_text())
    del table["only"]
    report.write_text(json.dumps({**table, "digest": digest(table)}))
    result = tried.run("smoke", "--attach", str(report), "--json", "r.json")
    assert result.code == 0, result.err
    kept = tried.root / "dist" / f"{BUILT}.smoke-static.json"
    assert kept.read_bytes() == (tried.root / "r.json").read_bytes() == report.read_bytes()
    assert re.search(r"^ +static +passed ", tried.run("evidence", f"dist/{BUILT}").out, re.MULTILINE)


def test_a_report_whose_wheel_is_not_there(tried: Project, report: Path) -> None:
    result = tried.run("smoke", "--attach", str(report), "--out", "elsewhere")
    assert result.code == 2
    assert (
        f"there is no elsewhere/{BUILT}, of which r.json is a report\n  next: name its folder: --out"
        in result.err
    )
    (tried.root / "elsewhere").mkdir()
    shutil.copyfile(tried.built, tried.root / "elsewhere" / BUILT)
    assert tried.run("smoke", "--attach", str(report), "--out", "elsewhere").code == 0
    assert f"{BUILT}.smoke-static.json" in names(tried.root / "elsewhere")


def test_evidence_of_another_wheel_is_refused(tried: Project, report: Path) -> None:
    assert tried.run("smoke", "--attach", str(report)).code == 0
    audit = tried.root / "dist" / f"{BUILT}.audit.json"
    rebuild(tried, {OPS: "VALUE_1 = 1\n"})
    result = tried.run("evidence", f"dist/{BUILT}")
    assert result.code == 17
    assert f"dist/{BUILT}.audit.json is the audit of another wheel" in result.err
    audit.unlink()
    result = tried.run("evidence", f"dist/{BUILT}")
    assert result.code == 17
    assert f"{BUILT}.smoke-static.json is a report of another {BUILT}" in result.err
    audit.write_bytes(b'{"schema": 1, \xff')
    result = tried.run("evidence", f"dist/{BUILT}")
    assert result.code == 17
    assert f"dist/{BUILT}.audit.json is not an audit's report: " in result.err


# By ssh.


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the name of a host that is this machine, behind a real sshd of this test's own."""
    sshd = "/usr/sbin/sshd"
    if not Path(sshd).exists() or not shutil.which("ssh-keygen"):
        pytest.skip("needs sshd (openssh-server) and ssh-keygen")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # the folder in which it separates privileges
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copyfile(folder / "user.pub", folder / "authorized")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd.conf").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile {folder}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        f"SetEnv PYTHONPATH={os.environ['PYTHONPATH']} TMPDIR={tmp_path}/tmp\n"
        "Subsystem sftp internal-sftp\n"
    )
    (folder / "config").write_text(
        f"Host there\nHostName 127.0.0.1\nPort {port}\nUser {getpass.getuser()}\nIdentityFile {folder}/user\n"
        f"IdentitiesOnly yes\nStrictHostKeyChecking no\nUserKnownHostsFile {folder}/known\nLogLevel ERROR\n"
    )
    programs = tmp_path / "programs"  # ssh takes its home from the system's list of users, not from HOME
    programs.mkdir()
    for name in ("ssh", "scp"):
        (programs / name).write_text(f'#!/bin/sh\nexec {shutil.which(name)} -F {folder}/config "$@"\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    log = (folder / "log").open("w")
    server = subprocess.Popen(
        [sshd, "-D", "-e", "-f", folder / "sshd.conf"], stderr=log, stdin=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: server.poll() is not None or answers(port))
        assert server.poll() is None, (folder / "log").read_text()
        yield "there"
    finally:
        server.terminate()
        server.wait()
        log.close()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_wheel_is_tried_on_another_machine(tried: Project, there: str) -> None:
    result = tried.run(
        "smoke", f"dist/{BUILT}", "--ssh", there, "--python", sys.executable, "--level", "static"
    )  # fmt: skip
    assert result.code == 0, result.err
    report = read(tried.root / "dist" / f"{BUILT}.smoke-static.json")
    assert outcomes(report)["demo/expect"] == "passed"
    assert any(name.startswith("audit/") for name in outcomes(report))
    assert re.search(r"    static: demo: 1 passed", result.err)
    check_clean(tried)
    result = tried.run("smoke", f"dist/{BUILT}", "--ssh", there, "--python", sys.executable, "--level", "gpu")
    assert result.code == 18
    assert "retread: host: the gpu level cannot run here: torch 2.9.1 is a build without CUDA" in result.err
    check_clean(tried)


def test_a_machine_that_cannot_be_reached_or_has_no_such_python(tried: Project, there: str) -> None:
    result = tried.run("smoke", f"dist/{BUILT}", "--ssh", "localhost.invalid")
    assert result.code == 14
    assert "retread: tool: ssh failed with exit code 255" in result.err
    result = tried.run("smoke", f"dist/{BUILT}", "--ssh=-oProxyCommand=false")
    assert result.code == 14
    assert "'-oProxyCommand=false' is an option, not a host" in result.err
    result = tried.run("smoke", f"dist/{BUILT}", "--ssh", there, "--python", "python9.9")
    assert result.code == 18
    assert "there could not run the kit: exit code 127" in result.err
    check_clean(tried)


def test_an_interrupt_ends_what_runs_on_another_machine(tried: Project, there: str, tmp_path: Path) -> None:
    word = f"hangs-in-{tmp_path.name}"
    hang = HANG.format(word=word)
    (tried.root / "smoke" / "demo.py").write_text(SUITE + hang + MAIN)
    process = tried.start(
        "smoke", f"dist/{BUILT}", "--ssh", there, "--python", sys.executable, "--only", "demo/hang"
    )
    wait_for(lambda: bool(prober.running(word)))
    process.send_signal(signal.SIGINT)
    result = tried.finish(process)
    assert result.code == 130
    assert "Traceback" not in result.err
    wait_for(lambda: not prober.running(word) and not list((tmp_path / "tmp").iterdir()))
    check_clean(tried)
