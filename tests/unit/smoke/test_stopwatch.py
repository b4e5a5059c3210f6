"""Where seconds go: each to the outermost part that they were spent in."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from retread.smoke.runtime import stopwatch
from retread.smoke.runtime.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time that it is."""
    now = [0.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])
    return now


def test_what_happens_inside_of_a_part_belongs_to_it_and_is_told_once(clock: list[float]) -> None:
    watch = Stopwatch()

    def spend(seconds: float, inside: Any = None) -> float:
        clock[0] += seconds
        return inside(1.0) if inside else seconds

    compiles = watch.timed("compile", spend)
    imports = watch.timed("import", spend)
    assert imports(5.0, compiles) == 1.0
    compiles(2.0)
    with pytest.raises(TypeError):
        compiles("no seconds")
    assert watch.spent() == {"import": 6.0, "compile": 2.0}
    assert watch.spent() == {}


def test_triton_s_compiler_is_counted_under_each_of_its_names(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiles() -> None:
        clock[0] += 3.0

    def imports() -> None:
        for name in ("triton", "triton.compiler", "triton.compiler.compiler"):
            module: Any = ModuleType(name)
            module.compile = compiles
            monkeypatch.setitem(sys.modules, name, module)

    watch = Stopwatch()
    watch.timed("import", imports)()
    for name in ("triton", "triton.compiler"):
        sys.modules[name].compile()  # type: ignore[attr-defined]
    assert watch.spent() == {"import": 0.0, "compile": 6.0}
