"""Trying a wheel of another machine under the real qemu, with the real Python of Debian for that machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import pytest

from nativecuda import SETUP
from tinycuda import Project, diff

pytestmark = [
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("aarch64-linux-gnu-g++") and shutil.which("qemu-aarch64-static")),
        reason="there is no cross compiler, or no qemu",
    ),
]
SMOKE = """
[targets.cu130.run-path]
"tinycuda/_C.so" = ["$ORIGIN/../nvidia/cu13/lib"]
[targets.cu130.platforms.aarch64]
architectures = ["9.0", "12.1"]
[targets.cu130.platforms.aarch64.smoke]
gpu = ["9.0"]
"""


def test_a_wheel_of_another_machine_is_tried_under_qemu(
    make_native: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = make_native("project")
    work.write_recipe(
        work.recipe_text.replace('torch = ">=2.11"', 'requires = ["nvidia-cuda-runtime>=13"]') + SMOKE
    )
    work.series(diff("setup.py", SETUP, SETUP.replace('install_requires=["torch>=2.11"],', "")))
    result = work.build("--platform", "aarch64")
    assert result.code == 0, result.err
    wheel = str(work.root / result.wheel)
    own = work.run("smoke", wheel)
    assert own.code == 18, own.err
    assert "is for aarch64, and this machine is x86_64" in own.err
    gpu = work.run("smoke", wheel, "--emulate", "--level", "gpu")
    assert (gpu.code, "there is no GPU under an emulator" in gpu.err) == (2, True)
    tried = work.run("smoke", wheel, "--emulate", "--json", str(work.root / "report.json"))
    assert tried.code == 0, tried.err + tried.out
    assert "CPU only; GPU code assembled, not run" in " ".join(tried.out.split())
    report = json.loads((work.root / "report.json").read_bytes())
    assert {run["level"] for run in report["runs"]} == {"static"}
    around = report["runs"][0]["surroundings"]
    assert around["emulator"].startswith("qemu-aarch64 ")
    assert "aarch64" in around["platform"]
    monkeypatch.setenv("PATH", "/nowhere")
    without = work.run("smoke", wheel, "--emulate")
    assert "there is no qemu-aarch64 on the PATH" in without.err
