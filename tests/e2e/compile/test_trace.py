"""The trace of a build: every Python file whose code ran, by its absolute path, and no other."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest


@pytest.fixture
def place(tmp_path: Path) -> Path:
    trace = resources.files("retread.compile.inside").joinpath("trace.py").read_bytes()
    (tmp_path / "trace").mkdir()
    (tmp_path / "trace" / "sitecustomize.py").write_bytes(trace)
    (tmp_path / "work" / "pack").mkdir(parents=True)
    for name in ("__init__", "used", "unused"):
        (tmp_path / "work" / "pack" / f"{name}.py").write_text("import os\n")
    return tmp_path


def executed(place: Path, program: str, *arguments: str) -> list[str]:
    """Run a program in the work folder, and return what of that folder was noted."""
    (place / "work" / "main.py").write_text(program)
    environment = {"PYTHONPATH": str(place / "trace"), "RETREAD_EXECUTED": str(place / "executed")}
    command = [sys.executable, *(arguments or ("main.py",))]
    subprocess.run(command, cwd=place / "work", env=environment, check=True, timeout=30)
    noted = (place / "executed").read_text().splitlines()
    assert all(Path(one).is_absolute() for one in noted), noted
    return sorted(os.path.relpath(one, place / "work") for one in noted if one.startswith(f"{place}/work/"))


def test_what_runs_is_noted_once_and_what_is_only_read_is_not(place: Path) -> None:
    program = "import pack.used, os\nopen('pack/unused.py').read()\nimport pack.used\nprint(end='')\n"
    assert executed(place, program) == ["main.py", "pack/__init__.py", "pack/used.py"]


def test_what_comes_from_a_cached_compile_counts_too(place: Path) -> None:
    executed(place, "import pack.used\n")
    assert list((place / "work" / "pack" / "__pycache__").glob("used.*.pyc"))
    (place / "executed").unlink()
    assert executed(place, "import pack.used\n") == ["main.py", "pack/__init__.py", "pack/used.py"]


def test_what_a_build_runs_by_hand_is_noted_by_its_path_then(place: Path) -> None:
    program = (
        "import os\nos.chdir('pack')\n"
        "exec(compile(open('used.py').read(), 'used.py', 'exec'))\n"
        "exec(compile('1', '<string>', 'exec'))\n"
    )
    assert executed(place, program) == ["main.py", "pack/used.py"]


def test_processes_below_note_into_the_same_list(place: Path) -> None:
    program = "import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'pack.used'], check=True)\n"
    assert executed(place, program) == ["main.py", "pack/__init__.py", "pack/used.py"]


def test_without_a_list_nothing_is_noted(place: Path) -> None:
    (place / "work" / "main.py").write_text("import pack\n")
    subprocess.run(
        [sys.executable, "main.py"], cwd=place / "work", env={"PYTHONPATH": str(place / "trace")}, check=True
    )
    assert sorted(path.name for path in place.iterdir()) == ["trace", "work"]
