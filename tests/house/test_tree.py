"""The repository stays small: no large file is committed, and evidence is packed in one way."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path

import pytest

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
LIMIT = 300_000
REPORTS = sorted((ROOT / "docs" / "evidence").glob("*.json.gz"))


def committed() -> list[Path]:
    """Return the files that git knows and that are still there; skip where this is no clone."""
    if not (ROOT / ".git").exists():
        pytest.skip("no clone, so nobody knows what is committed")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def large(paths: list[Path]) -> list[str]:
    return [f"{path.name}: {size} bytes" for path in paths if (size := path.stat().st_size) > LIMIT]


def test_no_committed_file_is_large() -> None:
    paths = committed()
    assert ROOT / "README.md" in paths
    assert large(paths) == [], f"more than {LIMIT} bytes: pack it (docs/evidence/README.md), or leave it out"


def test_a_large_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(bytes(LIMIT))
    (tmp_path / "large").write_bytes(bytes(LIMIT + 1))
    assert large(sorted(tmp_path.iterdir())) == [f"large: {LIMIT + 1} bytes"]


def test_there_are_packed_reports() -> None:
    assert REPORTS


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.name)
def test_a_report_is_packed_without_name_or_time_and_holds_json(path: Path) -> None:
    data = path.read_bytes()
    assert data[:8] == b"\x1f\x8b\x08\0\0\0\0\0", "pack it with gzip -n9"
    assert isinstance(json.loads(gzip.decompress(data)), dict)


def test_reports_of_smoke_tests_are_packed() -> None:
    assert sorted((ROOT / "docs" / "evidence").glob("smoke-*.json")) == [], "pack them with gzip -n9"
