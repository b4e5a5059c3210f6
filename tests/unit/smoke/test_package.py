"""The suite of every wheel, called in this process: how long a module may take that the recipe names."""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest

from retread.smoke.runtime import harness, patience

AT_WORK = "import signal\nsignal.raise_signal(signal.SIGALRM)  # its time is over\n"
HURRIED = "import signal\nseconds, _ = signal.getitimer(signal.ITIMER_REAL)\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the suite, beside an installed package of which ``demo.bench.*`` may fail to import."""
    for name, text in {
        "bench/speed": AT_WORK,
        "bench/quick": HURRIED,
        "core": HURRIED,
        "stuck": AT_WORK,
        "bench/no_python": "A = 1\ndef f(:\n",
        "bench/asks_no_python": "import demo.bench.no_python\n",
        "bench/no_name": "a = b\n",
        "bench/no_member": "from demo.core import nothing\n",
        "bench/elsewhere": "import json\njson.loads(7)\n",
        "bench/no_package": "import flash_attention_of_nobody\n",
        "bench/no_gpu": "raise RuntimeError('no GPU')\n",
    }.items():
        path = tmp_path / "demo" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    setting = {"site": str(tmp_path), "imports": {"demo.bench.*": "runs a whole benchmark"}}
    monkeypatch.setattr(harness, "setting", lambda: setting | {"site": ""})  # and lists no cases
    monkeypatch.setitem(sys.modules, "harness", harness)
    monkeypatch.setitem(sys.modules, "patience", patience)
    monkeypatch.syspath_prepend(tmp_path)
    spec = importlib.util.spec_from_file_location("package", harness.__file__.replace("harness", "package"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SETTING", setting)
    monkeypatch.setattr(module, "SITE", str(tmp_path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return module


@pytest.mark.parametrize(
    ("files", "foreign"),
    [
        (["demo/core.py"], ""),
        (["another/core.py", "demo_cu126.libs/a.so"], ""),
        (["demo/core.py", "evil.pth"], "evil.pth"),
    ],
)
def test_a_wheel_keeps_to_one_package_which_may_be_called_otherwise(
    package: ModuleType, monkeypatch: pytest.MonkeyPatch, files: list[str], foreign: str
) -> None:
    monkeypatch.setattr(package, "SETTING", package.SETTING | {"scripts": "/bin", "wheel": "demo-1.0-x.whl"})
    monkeypatch.setattr(package, "_record", lambda: [(path, "", "") for path in files])
    if foreign:
        with pytest.raises(AssertionError, match=f"files outside of the package: {foreign}"):
            package.installed()
    else:
        assert package.installed() == {"files": len(files)}


def test_a_module_that_the_recipe_names_is_left_alone_when_its_time_is_over(package: ModuleType) -> None:
    with pytest.raises(harness.Skip) as caught:
        package.imports("demo.bench.speed")
    said = "runs a whole benchmark (TimeoutError: it was still at work after 20 s)"
    assert str(caught.value) == said


def test_only_what_the_recipe_names_has_to_hurry_and_no_alarm_stays(package: ModuleType) -> None:
    before = signal.getsignal(signal.SIGALRM)
    package.imports("demo.bench.quick")
    package.imports("demo.core")
    assert 0 < sys.modules["demo.bench.quick"].seconds <= package.PATIENCE
    assert sys.modules["demo.core"].seconds == 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is before


def test_what_the_recipe_does_not_name_is_not_excused(package: ModuleType) -> None:
    with pytest.raises(AssertionError, match=r"import demo\.stuck: TimeoutError"):
        package.imports("demo.stuck")


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("no_python", "SyntaxError: invalid syntax (no_python.py, line 2)"),
        ("asks_no_python", "SyntaxError: invalid syntax (no_python.py, line 2)"),
        ("no_name", "NameError: name 'b' is not defined"),
        ("no_member", "ImportError: cannot import name 'nothing' from 'demo.core' ("),
    ],
)
def test_a_fault_of_the_wheel_s_own_code_is_never_skipped(
    package: ModuleType, module: str, said: str
) -> None:
    with pytest.raises(AssertionError) as caught:
        package.imports(f"demo.bench.{module}")
    assert str(caught.value).startswith(f"import demo.bench.{module}: {said}")
    assert str(caught.value).endswith(
        "; it is a fault of the wheel's own code, which smoke.imports does not excuse"
    )


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("elsewhere", "TypeError: the JSON object must be"),
        ("no_package", "ModuleNotFoundError: No module named 'flash_attention_of_nobody'"),
        ("no_gpu", "RuntimeError: no GPU"),
    ],
)
def test_what_lacks_around_a_module_is_skipped_with_the_recipe_s_reason(
    package: ModuleType, module: str, said: str
) -> None:
    with pytest.raises(harness.Skip) as caught:
        package.imports(f"demo.bench.{module}")
    assert str(caught.value).startswith(f"runs a whole benchmark ({said}")
