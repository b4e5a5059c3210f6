"""retread as it is installed from its own wheel: what works without a clone."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from shipped import REPOSITORY
from tinycuda import WHEEL, git, make_wheel, wheel_files


@pytest.fixture(scope="module")
def retread(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the command, installed from a wheel beside the packages that this environment has."""
    folder = tmp_path_factory.mktemp("installed")
    git(REPOSITORY, "clone", "--quiet", str(REPOSITORY), str(folder / "clone"))
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), "clone"]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True)
    [site] = (folder / "venv").glob("lib/*/site-packages")
    beside = [one for one in sys.path if one.endswith("site-packages")]
    (site / "beside.pth").write_text("\n".join(beside))
    return folder / "venv" / "bin" / "retread"


def run(command: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "RETREAD_STORE": str(folder / "store")}
    env.pop("PYTHONPATH", None)
    return subprocess.run(
        [command, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--version"], 0, "retread"),
        (["inspect", WHEEL], 0, "native code"),
        (["audit", WHEEL], 0, "the rules of any wheel hold"),
        (["compare", WHEEL, WHEEL], 0, "identical: the same bytes"),
        (["toolchain", "list"], 0, "cuda-12.8  CUDA 12.8"),
        (["explain", "Cannot set attribute 'src' directly"], 0, "breaks:"),
        (["fit", "--python", sys.executable, "--gpu", "10.0"], 22, "torch: is not installed here"),
        (["build"], 2, "there is no folder recipes/"),
        (["graft", WHEEL, "--arch", "8.0", "-o", "out"], 6, "has 8.0 in all of its code already"),
        (["slim", WHEEL, "--keep", "8.0", "-o", "out"], 0, "+slim.1-"),
        (["init", "own"], 0, "own"),
    ],
    ids=lambda one: one[0] if isinstance(one, list) else "",
)
def test_what_needs_no_clone_needs_none(
    retread: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / WHEEL).write_bytes(make_wheel(wheel_files()))
    done = run(retread, tmp_path, *arguments)
    assert done.returncode == code, done
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
