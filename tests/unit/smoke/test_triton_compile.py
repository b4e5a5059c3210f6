"""What a compile of a kernel may fail with by design: of the GPU, or of one release of Triton."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from retread.smoke.runtime import harness

PATH = Path(__file__).parents[3] / "scripts" / "smoke" / "triton_compile.py"


@pytest.fixture
def compiling(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module, with a Triton of which only the version is there."""
    monkeypatch.setitem(sys.modules, "harness", harness)
    spec = importlib.util.spec_from_file_location("triton_compile", PATH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "triton", ModuleType("triton"))
    monkeypatch.setattr(module, "start", SimpleNamespace)
    return module


@pytest.mark.parametrize(
    ("version", "number", "message", "excused"),
    [
        ("3.3.0", 120, "PassManager::run failed", True),
        ("3.3.0", 121, "PassManager::run failed", True),
        ("3.3.0", 100, "PassManager::run failed", False),
        ("3.3.1", 120, "PassManager::run failed", False),
        ("3.3.0", 120, "another error", False),
        ("3.4.0", 80, "type fp8e4nv not supported in this architecture", True),
        ("3.4.0", 90, "type fp8e4nv not supported in this architecture", False),
    ],
)
def test_only_what_is_known_of_a_gpu_or_a_triton_is_excused(
    compiling: ModuleType, version: str, number: int, message: str, excused: bool
) -> None:
    def run(**_: object) -> None:
        raise RuntimeError(message)

    sys.modules["triton"].__version__ = version  # type: ignore[attr-defined]
    with pytest.raises(harness.Skip if excused else compiling.Uncompilable, match=message):
        compiling.build(SimpleNamespace(run=run), number, {})


def test_a_gpu_that_triton_does_not_know_is_not_tried(compiling: ModuleType) -> None:
    with pytest.raises(harness.Skip, match="sm_60: Triton compiles for"):
        compiling.build(None, 60, {})
