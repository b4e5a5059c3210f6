"""What suites stand on, called in this process: cases, how they end, and what a failure is told as."""

from __future__ import annotations

import io
import json
import sys
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from retread.smoke.runtime import harness
from retread.smoke.runtime.harness import Skip, case
from retread.smoke.runtime.witness import Witness


@pytest.fixture(autouse=True)
def cases(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Have no cases, no torch, and no setting."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(harness, "_cases", found)
    monkeypatch.setitem(sys.modules, "torch", None)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.delenv("RETREAD_SMOKE", raising=False)
    return found


def ended(name: str = "a/b") -> dict[str, Any]:
    found, _ = harness._run(harness._cases[name])
    return found


def add(function: Callable[..., Any], name: str = "a/b", **more: Any) -> None:
    case(name, level="static", **more)(function)


def raising(error: BaseException) -> Callable[..., Any]:
    def function(**_: object) -> None:
        raise error

    return function


# Cases.


@pytest.mark.parametrize("asked", [True, False])
def test_what_a_case_computed_is_told_by_digests_where_runs_are_compared(
    asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([b"one", b"one", (b"two", None), array("f", [1.0]), array("f", [1.0]), array("d", [1.0])])
    monkeypatch.setattr(harness, "setting", lambda: {"record": asked})
    add(lambda: [harness.record("out", one) for one in values] and None)
    found = ended().get("digests", {})
    if not asked:
        assert found == {}
        return
    assert list(found) == ["out", *(f"out#{number}" for number in range(2, 7))]
    one, again, two, single, same, double = found.values()
    assert one == again != two
    assert single == same != double
    assert {len(one) for one in found.values()} == {64}


def test_a_function_can_be_many_cases_and_stays_itself() -> None:
    @case("b", level="jit", size=2)
    @case("a", level="gpu", limit=9, alone=True, libraries=["package/_C.so"], size=1)
    def function(size: int) -> dict[str, int]:
        return {"size": size}

    assert function(5) == {"size": 5}
    assert ended("a")["numbers"] == {"size": 1}
    assert ended("b")["numbers"] == {"size": 2}
    assert harness._cases["a"].listed() == {
        "case": "a", "level": "gpu", "limit": 9, "alone": True, "env": {}, "libraries": ["package/_C.so"],
        "timed": False,
    }  # fmt: skip
    assert harness._cases["b"].listed() == {
        "case": "b", "level": "jit", "limit": 60, "alone": False, "env": {}, "libraries": [],
        "timed": False,
    }  # fmt: skip


def test_variables_need_a_process_of_their_own() -> None:
    add(lambda: None, env={"MODE": "x"})
    listed = harness._cases["a/b"].listed()
    assert (listed["alone"], listed["env"]) == (True, {"MODE": "x"})


def test_two_cases_of_one_name_are_refused() -> None:
    add(lambda: None)
    with pytest.raises(ValueError, match="there are two cases a/b"):
        add(lambda: None)


def test_without_a_setting_there_is_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert harness.setting()["architectures"] == []
    assert harness.setting()["site"] == ""
    (tmp_path / "said.json").write_text('{"architectures": ["10.0"]}')
    monkeypatch.setenv("RETREAD_SMOKE", str(tmp_path / "said.json"))
    assert harness.setting() == {"architectures": ["10.0"]}


# How they end.


def test_nothing_returned_is_a_pass_without_numbers() -> None:
    add(lambda: None)
    found = ended()
    assert found.pop("seconds") >= 0
    assert found == {"outcome": "passed", "numbers": {}, "note": ""}


def test_a_skip_says_why() -> None:
    add(raising(Skip("no f32")))
    assert {**ended(), "seconds": 0} == {"outcome": "skipped", "reason": "no f32", "seconds": 0}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AssertionError(), "AssertionError"),
        (AssertionError("  \n "), "AssertionError"),
        (ValueError("\n first \nsecond"), "ValueError: first "),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_a_failure_s_reason_is_one_line(error: Exception, reason: str) -> None:
    add(raising(error))
    found = ended()
    assert (found["outcome"], found["reason"]) == ("failed", reason)


def test_a_failure_is_cut_to_what_can_be_read() -> None:
    add(raising(ValueError(10_000 * "x" + "end")))
    error = ended()["error"]
    assert len(error["message"]) == 4000
    assert len(error["stack"]) == 6000
    assert error["stack"].endswith("end\n")


def test_the_place_is_the_innermost_line_of_the_wheel_also_when_a_suite_wrapped_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "package").mkdir(parents=True)
    path = tmp_path / "site" / "package" / "ops.py"
    path.write_text("def outer():\n    return inner()\n\ndef inner():\n    return open('/gone/x')\n")
    space: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), space)

    def wrapped() -> None:
        try:
            space["outer"]()
        except OSError as error:
            raise AssertionError("outer failed") from error

    add(space["outer"], "plain")
    add(wrapped, "wrapped")
    add(raising(ValueError("x")), "without")
    (tmp_path / "said.json").write_text(json.dumps({"site": str(tmp_path / "site")}))
    monkeypatch.setenv("RETREAD_SMOKE", str(tmp_path / "said.json"))
    assert ended("plain")["error"]["where"] == "package/ops.py:5 in inner"
    assert ended("wrapped")["error"]["where"] == "package/ops.py:5 in inner"
    assert "FileNotFoundError" in ended("wrapped")["error"]["stack"]
    assert ended("without")["error"]["where"].startswith("test_harness.py:")


def test_the_kernel_that_was_being_launched_is_named() -> None:
    class JITFunction:
        def __init__(self, fn: Callable[..., Any]) -> None:
            self.fn = fn

        def run(self) -> None:
            raise RuntimeError("launch failed")

    class OpOverload:
        def __str__(self) -> str:
            return "demo::sparsify.default"

        def __call__(self) -> None:
            raise RuntimeError("no kernel image")

    def splitk_kernel() -> None:
        pass

    add(JITFunction(splitk_kernel).run, "triton")
    add(OpOverload(), "operator")
    add(raising(ValueError("x")), "neither")
    assert ended("triton")["error"]["kernel"] == "splitk_kernel"
    assert ended("operator")["error"]["kernel"] == "demo::sparsify.default"
    assert ended("neither")["error"]["kernel"] == ""


# The GPU.


class Cuda:
    """What of torch.cuda the harness asks."""

    def __init__(self, *, used: bool, lost: str = "") -> None:
        self.used, self.lost, self.emptied = used, lost, 0

    def is_initialized(self) -> bool:
        return self.used

    def synchronize(self) -> None:
        if self.lost:
            raise RuntimeError(self.lost)

    def empty_cache(self) -> None:
        self.emptied += 1


def with_torch(monkeypatch: pytest.MonkeyPatch, **cuda: Any) -> Cuda:
    made = Cuda(**cuda)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=made))  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize(
    ("used", "lost", "sound"), [(False, "gone", True), (True, "", True), (True, "gone\nmore", False)]
)
def test_a_failure_asks_the_gpu_whether_it_is_still_there(
    monkeypatch: pytest.MonkeyPatch, used: bool, lost: str, sound: bool
) -> None:
    with_torch(monkeypatch, used=used, lost=lost)
    add(raising(ValueError("x")))
    found, whole = harness._run(harness._cases["a/b"])
    assert whole is sound
    assert found.get("note", "") == ("" if sound else "the GPU's context was lost: RuntimeError: gone")


def test_a_pass_does_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    with_torch(monkeypatch, used=True, lost="gone")
    add(lambda: None)
    assert harness._run(harness._cases["a/b"])[1]


def test_memory_is_freed_before_sizes_shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, seen, freed = with_torch(monkeypatch, used=True), [], list[int]()
    monkeypatch.setattr("gc.collect", lambda: freed.append(cuda.emptied))  # not the whole suite's garbage

    def function(shrink: int) -> dict[str, int]:
        seen.append((shrink, cuda.emptied))
        if shrink < 8:
            raise RuntimeError("CUDA error: out of memory")
        return {"shrink": shrink}

    add(function, shrink=(4, 8))
    found = ended()
    assert seen == [(1, 0), (4, 1), (8, 2)]
    assert freed == [0, 1], "objects go before the cache that holds their memory"
    assert found["note"] == "sizes divided by 8: the GPU's memory did not suffice for more"


@pytest.mark.parametrize(
    ("kind", "shrinks"), [("OutOfMemoryError", True), ("OutOfResources", True), ("ResourceError", False)]
)
def test_which_errors_are_a_lack_of_memory(kind: str, shrinks: bool) -> None:
    add(raising(type(kind, (Exception,), {})("x")), shrink=(2,))
    tried: list[int] = []

    def function(shrink: int) -> None:
        tried.append(shrink)
        raising(type(kind, (Exception,), {})("x"))()

    add(function, "count", shrink=(2,))
    assert ended("count")["outcome"] == "failed"
    assert tried == ([1, 2] if shrinks else [1])


# The lines.


def lines(monkeypatch: pytest.MonkeyPatch, *arguments: str, stdin: str = "") -> list[dict[str, Any]]:
    """Return the lines that a suite prints."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["suite.py", *arguments])
    monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
    monkeypatch.setattr(harness, "_own_stdout", lambda: out)
    try:
        harness.main()
    except SystemExit as end:
        return [*map(json.loads, out.getvalue().splitlines()), {"code": end.code}]
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("arguments", [(), ("list",)])
def test_list_prints_every_case_in_its_order(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    add(lambda: None, "b")
    add(lambda: None, "a")
    assert [line["case"] for line in lines(monkeypatch, *arguments)] == ["b", "a"]


def test_run_runs_what_it_is_asked_in_that_order(monkeypatch: pytest.MonkeyPatch) -> None:
    add(lambda: {"x": 1}, "a")
    add(raising(Skip("no")), "b")
    add(raising(AssertionError("never asked")), "c")
    found = lines(monkeypatch, "run", stdin="b\n\n a \n")
    assert [(line["event"], line["case"]) for line in found] == [
        ("begin", "b"), ("end", "b"), ("begin", "a"), ("end", "a")
    ]  # fmt: skip
    assert (found[1]["outcome"], found[3]["numbers"]) == ("skipped", {"x": 1})


def test_a_lost_gpu_ends_the_process_after_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with_torch(monkeypatch, used=True, lost="gone")
    add(raising(ValueError("x")), "a")
    add(lambda: None, "b")
    found = lines(monkeypatch, "run", stdin="a\nb\n")
    assert [line.get("event") for line in found] == ["begin", "end", None]
    assert found[-1] == {"code": 3}


# What a case depends on.


def test_a_fresh_case_imports_the_wheel_s_modules_anew_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as they are Python's; a module that calls anything its own (torch.classes) is asked nothing."""

    class Anything(ModuleType):
        def __getattr__(self, name: str) -> object:
            return object()

    (tmp_path / "wheel_of_ours.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "anything", Anything("anything"))
    setting = {"site": str(tmp_path), "record": False}
    monkeypatch.setattr(harness, "setting", lambda: setting)
    heard = Witness()
    monkeypatch.setattr(harness, "_watching", heard)
    seen = []

    def imports() -> None:
        import wheel_of_ours  # type: ignore[import-not-found]

        seen.append((wheel_of_ours, json))

    for name in ("a", "b"):
        add(imports, name, fresh=True)
        ended(name)
    del sys.modules["wheel_of_ours"]
    assert seen[0][0] is not seen[1][0]
    assert seen[0][1] is seen[1][1]
    assert heard.told()["forgot"] == f"{tmp_path}/"


def test_what_another_process_is_asked_counts_for_each_case_that_asks_and_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "_answers", {})
    heard = Witness()
    monkeypatch.setattr(harness, "_watching", heard)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "asked.py").write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import asked; raise SystemExit(7)"
    for _ in range(2):
        assert harness.ask(code) == 7
        asked = heard.told()["asked"]
        assert str(tmp_path / "asked.py") in asked["files"]
        assert (asked["programs"], asked["blind"]) == ([], "")
    assert "asked" not in heard.told()
    assert harness.ask("raise ValueError") == 1
    monkeypatch.setattr(harness, "_watching", None)
    assert harness.ask(code) == 7
