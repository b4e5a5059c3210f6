"""What a wheel sees while it is tried: its Python, GPUs, and variables by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from retread.doors import proc, walls
from retread.environment import host
from retread.errors import ToolError
from retread.smoke import enclosure
from retread.variables import SANDBOX

needs_walls = pytest.mark.skipif(bool(walls.absence({})), reason="needs bubblewrap, and namespaces")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home with a key, and packages that its user installed."""
    packages = tmp_path / "home" / ".local" / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "mine.py").write_text("")
    (tmp_path / "home" / "key").write_text("secret")
    return tmp_path / "home"


@needs_walls
def test_a_kit_runs_with_what_its_python_can_import_and_no_more(home: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "other.py").write_text("")
    kit = tmp_path / "kit.py"
    kit.write_text(
        "import mine, other, os, tempfile\n"
        f"print(os.environ.get('TOKEN'), os.environ['OMP_NUM_THREADS'], os.path.exists({str(home / 'key')!r}),"
        " os.path.expanduser('~'), tempfile.mkstemp()[1].startswith('/tmp'))"
    )
    given = {
        "PATH": os.environ["PATH"], "HOME": str(home), "TOKEN": "secret", "OMP_NUM_THREADS": "2",
        "PYTHONPATH": str(tmp_path / "more"),
    }  # fmt: skip
    python = (
        Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info[1]}"
    )  # an environment has no user's packages
    before, variables = enclosure.around(kit, python, [], given, print)
    done = proc.run([*before, python, kit], env=variables, check=False)
    assert done.stdout == "None 2 False /tmp True\n", done.stderr


@needs_walls
@pytest.mark.parametrize("gpu", [True, False])
def test_devices_are_seen_where_there_are_gpus(
    gpu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "has_gpu", lambda: gpu)
    before, _ = enclosure.around(
        tmp_path / "kit.pyz", sys.executable, [], {"PATH": os.environ["PATH"]}, print
    )
    assert (list(before)[before.index("/dev") - 1] == "--dev-bind") is gpu


DRIVER = """
#include <unistd.h>
int cuInit(unsigned flags) { return access("%s", F_OK); }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
"""


@needs_walls
@pytest.mark.parametrize("policy", ["", "demand"])
@pytest.mark.parametrize("sealed", [True, False], ids=["the walls keep the GPU out", "the GPU is there"])
def test_walls_that_keep_the_gpus_out_are_none(
    sealed: bool,
    policy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A driver may want more of the machine than is shown; the test on the GPU is what counts then."""
    wants = tmp_path / "wants"
    wants.write_text("")
    (tmp_path / "lib").mkdir()
    source = tmp_path / "driver.c"
    source.write_text(DRIVER % (wants if sealed else "/usr"))
    subprocess.run(["gcc", "-shared", "-o", tmp_path / "lib" / "libcuda.so.1", source], check=True)
    monkeypatch.setattr(host, "has_gpu", lambda: True)
    given = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(tmp_path / "lib"), SANDBOX: policy}
    if sealed and policy:
        with pytest.raises(ToolError, match="no GPU can be used behind walls here"):
            enclosure.around(tmp_path / "kit.pyz", sys.executable, [], given, print)
        return
    before, variables = enclosure.around(tmp_path / "kit.pyz", sys.executable, [], given, print)
    assert (variables == given) is sealed
    assert bool(before) is not sealed
    assert ("note: no GPU can be used behind walls here, so" in capsys.readouterr().out) is sealed


def test_without_walls_a_kit_runs_as_it_is(tmp_path: Path) -> None:
    given = {SANDBOX: "off", "TOKEN": "mine"}
    assert enclosure.around(tmp_path / "kit.pyz", "python3", [], given, print) == ((), given)


@needs_walls
def test_a_python_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="could not be started: No such file"):
        enclosure.around(tmp_path / "kit.pyz", tmp_path / "nothing", [], {"PATH": "/usr/bin"}, print)
