"""Tests that are shared out among workers are all run, each once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from house import ROOT
from shares import shares


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_file_is_in_one_share(count: int) -> None:
    sizes = {Path(f"test_{number}.py"): 10 * number for number in range(1, 6)}
    found = shares(sizes, count)
    assert len(found) == count
    assert sorted(path for share in found for path in share) == sorted(sizes)


def test_shares_are_about_as_large() -> None:
    sizes = {Path(f"{size}.py"): size for size in (8, 7, 6, 5, 4)}
    assert [sum(map(sizes.__getitem__, share)) for share in shares(sizes, 2)] == [17, 13]


def test_workers_that_share_run_each_test_once() -> None:
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-n", "2", "--dist", "each"]
    done = subprocess.run([*line, "tests/unit/text"], cwd=ROOT, capture_output=True, text=True, check=False)
    alone = subprocess.run(
        [*line[:5], "-q", "tests/unit/text"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    count = alone.stdout.splitlines()[-1].partition(" in ")[0]
    assert count.endswith(" passed")
    assert done.stdout.splitlines()[-1].partition(" in ")[0] == count
