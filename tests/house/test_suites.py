"""Every suite of a shipped recipe lists its cases on any machine: what a GPU runner would trip over shows here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from retread.recipe import workspace

ROOT = Path(__file__).parents[2]
SUITES = sorted({
    ROOT / suite
    for name in workspace.recipes(ROOT)
    if (tried := workspace.read_recipe(ROOT, name).smoke)
    for suite in tried.suites
})  # fmt: skip


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.stem)
def test_it_lists_cases_without_gpu_torch_or_wheel(suite: Path, tmp_path: Path) -> None:
    told = {"architectures": ["9.0a"], "ptx": [], "expect": {}, "site": "", "imports": {}, "commands": []}
    (tmp_path / "setting.json").write_text(json.dumps(told))
    runtime = ROOT / "src" / "retread" / "smoke" / "runtime"
    done = subprocess.run(
        [sys.executable, "-S", suite, "list"], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(runtime), "RETREAD_SMOKE": str(tmp_path / "setting.json")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cases = [json.loads(line)["case"] for line in done.stdout.splitlines()]
    assert cases
    assert len(set(cases)) == len(cases)
