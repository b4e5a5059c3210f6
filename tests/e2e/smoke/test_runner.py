"""The runner with real suites in real processes: a case that dies, hangs or lies takes no other with it."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import faketorch
from retread.smoke.runtime import crew, harness, runner
from retread.smoke.runtime.runner import Suite, matching

SHIPPED = Path(__file__).parents[3] / "scripts" / "smoke"
HEAD = "import os, signal, subprocess, sys, time\nimport harness\nfrom harness import Skip, case\n\n"
MAIN = '\nif __name__ == "__main__":\n    harness.main()\n'
LATER = '\n@case("later", level="static")\ndef _():\n    return {"pid": os.getpid()}\n'


@pytest.fixture
def suite(tmp_path: Path) -> Callable[..., Suite]:
    """Return what writes a suite beside the harness; its processes see ``environment`` and nothing of retread."""
    folder, cwd = tmp_path / "suites", tmp_path / "cwd"
    folder.mkdir()
    cwd.mkdir()
    assert harness.__file__
    shutil.copyfile(harness.__file__, folder / "harness.py")

    def make(body: str, **environment: str) -> Suite:
        (folder / "tried.py").write_text(HEAD + body + MAIN)
        return Suite(str(folder / "tried.py"), {"PATH": os.environ["PATH"], **environment}, str(cwd))

    return make


@pytest.fixture
def torch(tmp_path: Path) -> str:
    """Return a PYTHONPATH with a torch."""
    return str(faketorch.put(tmp_path / "torch", faketorch.files(cuda="12.8", gpus=(faketorch.H200,))))


def run(suite: Suite, *, workers: int = 1) -> dict[str, dict[str, Any]]:
    """Run the cases of a suite, each of which has to end once."""
    cases, failed = suite.cases("static")
    assert failed is None
    results: list[dict[str, Any]] = []
    run_all(suite, cases, workers, results.append)
    assert sorted(one["id"] for one in results) == sorted(one["case"] for one in cases)
    return {one["id"]: one for one in results}


def run_all(suite: Suite, cases: list[dict[str, Any]], workers: int, ended: Callable[[Any], None]) -> None:
    """Run cases, each of which is worth a process of its own by its time."""
    times = {one["case"]: crew.LEAST for one in cases}
    work = crew.Work(suite, cases, ended, times)
    crew.run(crew.plan([work], workers, split=workers > 1), workers)


def is_gone(pid: int) -> bool:
    """Say whether a process ended within ten seconds."""
    status, deadline = Path(f"/proc/{pid}/stat"), time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if status.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        threading.Event().wait(0.02)
    return False


# What a case leaves.


ENDS = """
@case("passes", level="static", libraries=["package/_C.so"], size=4)
def _(size):
    print("noise on standard output")
    os.write(1, b'{"event": "end", "case": "passes", "outcome": "failed"}\\n')
    subprocess.run(["echo", "noise of a child"], check=True)
    sys.stderr.buffer.write(b"\\xff\\xfe no text\\n")
    return {"size": size, "error": 0.25, "dtype": "f16", "nan": float("nan"), "inf": -float("inf"),
            "big": 10**400, "none": None, "yes": True, "shape": [1, 2]}

@case("fails", level="static")
def _():
    from package import ops
    ops.outer(3)

@case("skips", level="static")
def _():
    raise Skip("no such GPU")

@case("says nothing", level="static")
def _():
    assert False

@case("no\u2028text", level="static")
def _():
    raise ValueError(os.fsdecode(b"\\xff\\xc3\\xa9"))

@case("other", level="jit")
def _():
    pass
"""


def test_a_case_passes_with_numbers_fails_with_its_place_or_is_skipped_with_its_reason(
    suite: Callable[..., Suite], tmp_path: Path
) -> None:
    site = faketorch.put(
        tmp_path / "site",
        {"package/__init__.py": b"", "package/ops.py": b"def outer(x):\n    return int('three' * x)\n"},
    )
    setting = tmp_path / "setting.json"
    setting.write_text(f'{{"site": "{site}"}}')
    found = run(suite(ENDS, PYTHONPATH=str(site), RETREAD_SMOKE=str(setting)))
    assert list(found) == ["passes", "fails", "skips", "says nothing", "no\u2028text"]
    passed = found["passes"]
    assert (passed["suite"], passed["outcome"], passed["libraries"]) == ("tried", "passed", ["package/_C.so"])
    assert passed["numbers"] == {
        "size": 4, "error": 0.25, "dtype": "f16", "nan": "nan", "inf": "-inf",
        "big": 10**400, "none": None, "yes": True, "shape": "[1, 2]",
    }  # fmt: skip
    assert (passed["reason"], passed["note"], passed["fault"], passed["again"]) == ("", "", None, None)
    failed = found["fails"]
    said = "invalid literal for int() with base 10: 'threethreethree'"
    assert (failed["outcome"], failed["reason"]) == ("failed", f"ValueError: {said}")
    fault = failed["fault"]
    assert (fault["type"], fault["message"]) == ("ValueError", said)
    assert fault["where"] == "package/ops.py:2 in outer"
    assert fault["stack"].startswith("Traceback")
    assert "return int('three' * x)" in fault["stack"]
    assert (found["skips"]["outcome"], found["skips"]["reason"]) == ("skipped", "no such GPU")
    assert found["says nothing"]["reason"] == "AssertionError"
    assert found["no\u2028text"]["reason"] == "ValueError: ?é"
    assert found["says nothing"]["fault"]["where"].startswith("tried.py:")


# Processes that die.


@pytest.mark.parametrize(
    ("death", "kind", "message"),
    [
        ("os._exit(7)", "Exit", "the process ended with code 7: last words"),
        ("os._exit(0)", "Exit", "the process ended with code 0: last words"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV", "the process died of it"),
        ("sys.exit(3)", "Exit", "the process ended with code 3: last words"),
        ("harness.json = None", "Exit", "the process ended with code 1: AttributeError: 'NoneType' "),
        (
            "return {'x': object()}",
            "Exit",
            "code 1: TypeError: Object of type object is not JSON serializable",
        ),
    ],
)
def test_a_process_that_dies_fails_the_case_that_ran_and_no_other(
    suite: Callable[..., Suite], death: str, kind: str, message: str
) -> None:
    body = f"""
@case("before", level="static")
def _():
    return {{"pid": os.getpid()}}

@case("dies", level="static")
def _():
    os.write(2, b"\\xff\\n\\nlast words\\n\\n")
    {death}
"""
    found = run(suite(body + LATER))
    assert [one["outcome"] for one in found.values()] == ["passed", "failed", "passed"]
    fault = found["dies"]["fault"]
    assert fault["type"] == kind
    assert message in fault["message"]
    assert found["dies"]["reason"].startswith(f"{kind}: ")
    assert "\N{REPLACEMENT CHARACTER}" in fault["stack"]
    assert found["before"]["numbers"]["pid"] != found["later"]["numbers"]["pid"]


def test_a_process_that_dies_before_any_case_fails_each_of_them_once(suite: Callable[..., Suite]) -> None:
    body = 'if sys.argv[1] == "run":\n    sys.exit("no license")\n'
    body += '\n@case("first", level="static")\ndef _():\n    pass\n' + LATER
    found = run(suite(body))
    assert list(found) == ["first", "later"]
    assert {one["reason"] for one in found.values()} == {"Exit: the process ended with code 1: no license"}


ALIKE = """
for number in range(20):
    @case(f"same/{number}", level="static", alone=number == 19, number=number)
    def _(number):
        raise ImportError("no libcudart.so.12" + (" at last" if number == last else ""))
"""


def test_when_all_fail_alike_the_others_are_not_tried(suite: Callable[..., Suite]) -> None:
    found = run(suite(f"last = 99\n{ALIKE}"))
    ends = [found[f"same/{number}"]["outcome"] for number in range(20)]
    assert ends == 12 * ["failed"] + 7 * ["skipped"] + ["failed"]
    assert found["same/12"]["reason"] == (
        "not tried: the first 12 cases failed alike: ImportError: no libcudart.so.12"
    )
    found = run(suite(f"last = 11\n{ALIKE}"))
    assert {one["outcome"] for one in found.values()} == {"failed"}


def test_a_lost_gpu_is_noted_and_the_next_cases_get_another_process(
    suite: Callable[..., Suite], torch: str
) -> None:
    body = """
import torch

@case("fails", level="static")
def _():
    torch.cuda.initialized = True
    raise ValueError("of the wheel's own")

@case("loses", level="static")
def _():
    torch.cuda.lost = "CUDA error: an illegal memory access was encountered\\nCompile with ..."
    raise RuntimeError("CUDA error: launch failed")
"""
    body += LATER.replace("return {", 'return {"lost": torch.cuda.lost, ')
    found = run(suite(body, PYTHONPATH=torch))
    lost = "the GPU's context was lost: RuntimeError: CUDA error: an illegal memory access was encountered"
    assert [one["note"] for one in found.values()] == ["", lost, ""]
    assert [one["outcome"] for one in found.values()] == ["failed", "failed", "passed"]
    assert found["later"]["numbers"]["lost"] == ""


# Processes that do not end.

HANGS = """
def dig_for_ever(pids):
    child = subprocess.Popen(["sleep", "1000"])
    with open(pids, "w") as stream:
        stream.write(str(child.pid))
    while True:
        time.sleep(1)

@case("hangs", level="static", limit=2, pids=os.environ["PIDS"])
def _(pids):
    dig_for_ever(pids)
"""


def test_a_hang_ends_at_its_limit_with_its_stack_and_its_children(
    suite: Callable[..., Suite], tmp_path: Path
) -> None:
    began = time.monotonic()
    found = run(suite(HANGS + LATER, PIDS=str(tmp_path / "pid")))
    assert time.monotonic() - began < 10
    hung = found["hangs"]
    assert hung["reason"] == "Timeout: no end within 2 s of processor time"
    assert 2 <= hung["seconds"] < 4
    assert "in dig_for_ever" in hung["fault"]["stack"]
    assert is_gone(int((tmp_path / "pid").read_text()))
    assert found["later"]["outcome"] == "passed"


def test_a_case_that_computes_for_ever_ends_at_its_limit(suite: Callable[..., Suite]) -> None:
    body = '\n@case("computes", level="static", limit=1)\ndef counts_for_ever():\n    while True:\n        pass\n'
    found = run(suite(body + LATER))
    assert found["computes"]["reason"] == "Timeout: no end within 1 s of processor time"
    assert "in counts_for_ever" in found["computes"]["fault"]["stack"]
    assert found["later"]["outcome"] == "passed"


def test_a_suite_that_knows_nothing_of_stacks_ends_at_its_limit_too(suite: Callable[..., Suite]) -> None:
    body = '\n@case("deaf", level="static", limit=1)\ndef _():\n    signal.signal(signal.SIGUSR2, signal.SIG_DFL)\n'
    found = run(suite(body + "    time.sleep(1000)\n" + LATER))
    assert found["deaf"]["reason"] == "Timeout: no end within 1 s of processor time"
    assert found["later"]["outcome"] == "passed"


@pytest.mark.parametrize(
    "hold",
    [
        "import threading; threading.Thread(target=time.sleep, args=(1000,)).start()",
        "os.fork() or time.sleep(1000)",
    ],
    ids=["thread", "fork"],
)
def test_what_does_not_end_after_its_last_case_is_killed_and_fails_nothing(
    suite: Callable[..., Suite], monkeypatch: pytest.MonkeyPatch, hold: str
) -> None:
    monkeypatch.setattr(runner, "_GRACE", 0.5)
    body = f'\n@case("holds", level="static")\ndef _():\n    {hold}\n    return {{"pid": os.getpid()}}\n'
    began = time.monotonic()
    found = run(suite(body))
    assert time.monotonic() - began < 10
    assert found["holds"]["outcome"] == "passed"
    assert is_gone(found["holds"]["numbers"]["pid"])


def test_a_process_that_never_begins_is_given_up(
    suite: Callable[..., Suite], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = suite('if sys.argv[1] == "run":\n    time.sleep(1000)\n' + LATER)
    cases, _ = tried.cases("static")
    monkeypatch.setattr(runner, "START", 0.5)
    results: list[dict[str, Any]] = []
    run_all(tried, cases, 1, results.append)
    assert [one["reason"] for one in results] == ["Timeout: no end within 0 s of processor time"]


@pytest.mark.parametrize("workers", [1, 3])
def test_an_interrupt_ends_the_processes_of_every_worker(
    suite: Callable[..., Suite], tmp_path: Path, workers: int
) -> None:
    body = f"""
for number in range(4):
    @case(f"hangs/{{number}}", level="static", number=number)
    def _(number):
        with open(f"{tmp_path}/{{number}}.pid.new", "w") as stream:
            stream.write(str(os.getpid()))
        os.rename(f"{tmp_path}/{{number}}.pid.new", f"{tmp_path}/{{number}}.pid")
        time.sleep(1000)
"""
    tried = suite(body)
    cases, _ = tried.cases("static")
    results: list[dict[str, Any]] = []

    def interrupt() -> None:
        while len(list(tmp_path.glob("*.pid"))) < workers:
            threading.Event().wait(0.02)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_all(tried, cases, workers, results.append)
    thread.join()
    pids = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
    assert len(pids) == workers
    assert all(map(is_gone, pids))
    assert results == []


# Suites that can, and those that cannot, say what they are.


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("xformers_*.py")), ids=lambda path: path.stem)
def test_every_shipped_suite_says_its_cases_without_torch_and_without_a_wheel(
    path: Path, tmp_path: Path
) -> None:
    assert harness.__file__
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(harness.__file__).parent)}
    for level in ("jit", "gpu"):
        _, failed = Suite(str(path), environment, str(tmp_path)).cases(level)
        assert failed is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import numpyy\n", "the process ended with code 1: ModuleNotFoundError: No module named 'numpyy'"),
        ("os.abort()\n", "the process died of it"),
        ("print('hello')\nsys.exit()\n", "what it printed is not a list of cases: hello"),
        ("print('[1]')\nsys.exit()\n", "what it printed is not a list of cases: [1]"),
        ("print('{\"case\": 5}', flush=True)\n" + LATER, "what it printed is not a list of cases: {\"case\": 5}"),
        ("os.write(2, b'\\xff')\nsys.exit(9)\n", "code 9: \N{REPLACEMENT CHARACTER}"),
        (LATER + LATER, "ValueError: there are two cases later"),
    ],
    ids=["import", "abort", "text", "list", "half", "bytes", "twice"],
)  # fmt: skip
def test_a_suite_that_cannot_list_is_one_failed_case(
    suite: Callable[..., Suite], body: str, message: str
) -> None:
    cases, failed = suite(body).cases("static")
    assert cases == []
    assert failed is not None
    assert (failed["id"], failed["suite"], failed["outcome"]) == ("list", "tried", "failed")
    assert message in failed["fault"]["message"]


@pytest.mark.parametrize("before", ["", "import subprocess; subprocess.Popen(['sleep', '1000']); "])
def test_a_suite_that_takes_too_long_to_list_is_one_failed_case(
    suite: Callable[..., Suite], monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """What it started ends with it: it would hold the pipe, and be waited for."""
    monkeypatch.setattr(runner, "START", 0.5)
    cases, failed = suite(f"{before}time.sleep(1000)").cases("static")
    assert cases == []
    assert failed is not None
    assert failed["reason"] == "SIGKILL: the process died of it"
    assert failed["fault"]["stack"] == "no list within 0 s of processor time"


def test_noise_among_the_cases_is_passed_over(suite: Callable[..., Suite]) -> None:
    found = run(suite("print('Welcome!\\n5\\nnull\\n{}', flush=True)\n" + LATER))
    assert found["later"]["outcome"] == "passed"


BY_HAND = """
import json
if sys.argv[1] == "list":
    for name in ("a", "b"):
        print(json.dumps({"case": name, "level": "static", "limit": 9, "alone": False, "env": {}, "libraries": []}))
    print(json.dumps({"case": "x", "level": "gpu", "limit": 9, "alone": False, "env": {}, "libraries": []}))
    sys.exit()
names = sys.stdin.read().split()
for line in (5, None, [], {}, {"event": "begin"}, {"event": "begin", "case": "stranger"},
             {"event": "end", "case": "b", "outcome": "passed", "seconds": 1}):
    print(json.dumps(line))
for name in names:
    print(json.dumps({"event": "begin", "case": name}))
    print(json.dumps({"event": "end", "case": "stranger", "outcome": "passed"}))
    print(json.dumps({"event": "end", "case": name, "outcome": "splendid"}))
    print("{half a li")
    print(json.dumps({"event": "end", "case": name, "outcome": "passed", "seconds": 1}))
sys.exit()
"""


def test_a_suite_without_the_harness_needs_only_the_lines_and_no_other_line_counts(
    suite: Callable[..., Suite],
) -> None:
    found = run(suite(BY_HAND))
    assert list(found) == ["a", "b"]
    for one in found.values():
        assert (one["outcome"], one["seconds"], one["numbers"], one["fault"]) == ("passed", 1.0, {}, None)
        assert isinstance(one["seconds"], float)  # a report that is read and written again stays the same


# Which process a case gets.


def test_several_workers_run_every_case_once_and_those_alone_get_their_own(
    suite: Callable[..., Suite],
) -> None:
    body = """
for number in range(9):
    @case(f"shared/{number}", level="static")
    def _():
        return {"pid": os.getpid(), "env": os.environ.get("MODE", "")}

@case("alone", level="static", alone=True)
@case("with env", level="static", env={"MODE": "fast"})
def _():
    return {"pid": os.getpid(), "env": os.environ.get("MODE", "")}
"""
    found = run(suite(body), workers=3)
    pids = {name: one["numbers"]["pid"] for name, one in found.items()}
    shared = {pid for name, pid in pids.items() if name.startswith("shared/")}
    assert len(shared) == 3
    assert len({*shared, pids["alone"], pids["with env"]}) == 5
    assert {name for name, one in found.items() if one["numbers"]["env"] == "fast"} == {"with env"}


def test_neither_many_cases_nor_much_output_fill_a_pipe(suite: Callable[..., Suite]) -> None:
    body = f"""
for number in range(1500):
    @case(f"{100 * "x"}/{{number}}", level="static")
    def _():
        return {{"text": {100 * "y"!r}}}
"""
    assert {one["outcome"] for one in run(suite(body)).values()} == {"passed"}


def test_a_fault_of_the_runner_in_a_worker_is_heard(suite: Callable[..., Suite]) -> None:
    tried = suite(LATER + LATER.replace("later", "latest"))
    cases, _ = tried.cases("static")

    def ended(one: dict[str, Any]) -> None:
        raise OSError(f"no room for {one['id']}")

    with pytest.raises(OSError, match="no room for late"):
        run_all(tried, cases, 2, ended)


def test_patterns_choose_by_the_whole_id() -> None:
    cases = [{"case": "attention/f16"}, {"case": "attention/F32"}, {"case": "my/attention/f16"}]
    assert matching(cases, "attention/*") == cases[:2]
    assert matching(cases, "*f16") == [cases[0], cases[2]]
    assert matching(cases, "attention") == []


# Memory that does not suffice, and what a second run says.


def test_sizes_shrink_while_memory_does_not_suffice(suite: Callable[..., Suite], torch: str) -> None:
    body = """
import torch

@case("fits", level="static", shrink=(2, 4), room=4)
@case("is still too large", level="static", shrink=(2, 4), room=8)
@case("by its words", level="static", shrink=(2,), room=2, error=RuntimeError)
@case("another error", level="static", shrink=(2,), room=2, error=ValueError)
def _(room, shrink, error=torch.OutOfMemoryError):
    if shrink < room:
        raise error("CUDA out of memory" if error is not ValueError else "wrong")
    return {"shrink": shrink}

@case("has no sizes", level="static")
def _():
    raise torch.OutOfMemoryError("CUDA out of memory")
"""
    found = run(suite(body, PYTHONPATH=torch))
    note = "sizes divided by 4: the GPU's memory did not suffice for more"
    assert (found["fits"]["numbers"], found["fits"]["note"]) == ({"shrink": 4}, note)
    assert found["is still too large"]["reason"] == "OutOfMemoryError: CUDA out of memory"
    assert found["by its words"]["numbers"] == {"shrink": 2}
    assert found["another error"]["reason"] == "ValueError: wrong"
    assert found["has no sizes"]["reason"] == "OutOfMemoryError: CUDA out of memory"


def test_a_failed_case_runs_again_alone_and_says_what_that_found(suite: Callable[..., Suite]) -> None:
    body = """
@case("late", level="static", env={"MODE": "x"})
def _():
    where = "in kernel k" if os.environ.get("CUDA_LAUNCH_BLOCKING") == "1" else "somewhere"
    raise RuntimeError(f"{where} {os.environ['MODE']}")

@case("together", level="static")
def _():
    assert "CUDA_LAUNCH_BLOCKING" in os.environ, "only beside others"
"""
    tried = suite(body)
    listed = {one["case"]: one for one in tried.cases("static")[0]}
    found = run(tried)
    for name, one in found.items():
        tried.again(listed[name], one)
    assert found["late"]["reason"] == "RuntimeError: somewhere x"
    assert found["late"]["again"]["message"] == "in kernel k x"
    assert found["late"]["note"] == ""
    assert found["together"]["outcome"] == "failed"
    assert found["together"]["again"] is None
    assert found["together"]["note"] == "it passed when it ran alone with CUDA_LAUNCH_BLOCKING=1"
