"""A real wheel, tried without a GPU: the fault that started it all is found, and gone after the patch.

That the default recipe passes, test_release_pipeline.py says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import shipped
from shipped import Workspace

pytestmark = [pytest.mark.network, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[3]
OLD = "xformers-0.0.29.post3"
TRITON = "3.3.1"


@pytest.fixture(scope="module")
def workspace(large_folder: Path) -> Workspace:
    return shipped.copy(large_folder, "recipes", "patches", "scripts/smoke")


def outcomes(report: Path, level: str) -> dict[str, dict[str, Any]]:
    """Return the cases of a level by id."""
    runs = json.loads(report.read_bytes())["runs"]
    return {case["id"]: case for run in runs if run["level"] == level for case in run["cases"]}


def test_the_users_fault_is_found_in_the_official_wheel_and_not_in_the_patched_one(
    workspace: Workspace, tmp_path: Path
) -> None:
    """The official 0.0.29.post3 under a newer Triton: the message that users reported, from a machine without a GPU."""
    number = f"cp3{sys.version_info[1]}"
    if sys.version_info[:2] > (3, 12):
        pytest.skip("upstream built this release for Python 3.9 to 3.12")
    done = workspace.run("build", OLD, "--target", "cu124", "--lane", "overlay")
    assert done.returncode == 0, done.stderr
    [patched] = [line for line in done.stdout.splitlines() if f"-{number}-" in line]
    [official] = (workspace.store / "downloads").rglob(f"{OLD}-{number}-*.whl")
    # Under a Triton that the target does not promise, since this is what the user had:
    workspace.change(OLD, 'torch = "==2.6.0"', 'torch = ">=2.6"')
    workspace.change(OLD, 'torch = "2.6.0"\ntriton = ["3.2.0"]', f'torch = "2.13.0"\ntriton = ["{TRITON}"]')
    words = ("--recipe", OLD, "--target", "cu124", "--level", "jit", "--only", "triton/sm_90/*")

    bad = tmp_path / "official.json"
    done = workspace.run("smoke", str(official), *words, "--json", str(bad))
    assert done.returncode == 16, done.stderr
    assert "Cannot set attribute 'src' directly. Use '_unsafe_update_src()'" in done.stderr
    cases = outcomes(bad, "jit")
    assert cases["triton/sm_90/vararg-unroll/n-2"]["fault"]["type"] == "AttributeError"
    assert cases["triton/sm_90/vararg-unroll/n-2"]["fault"]["where"].startswith(
        "xformers/triton/vararg_kernel.py:"
    )
    assert cases["triton/sm_90/rmsnorm/fp16"]["outcome"] == "passed"

    good = tmp_path / "patched.json"
    done = workspace.run("smoke", patched, *words, "--json", str(good))
    assert done.returncode == 0, done.stderr
    cases = outcomes(good, "jit")
    assert cases["triton/sm_90/vararg-unroll/n-2"]["outcome"] == "passed"
    assert cases["triton/sm_90/splitk-forward/fp16"]["outcome"] == "passed"
