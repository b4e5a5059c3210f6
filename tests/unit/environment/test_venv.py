"""Build environments: which indexes uv is told, which Python a lock has to serve first."""

from __future__ import annotations

from pathlib import Path

import pytest

from retread.doors.net.settings import Settings
from retread.environment import venv


def options(*indexes: str, folders: tuple[Path, ...] = ()) -> list[str]:
    return venv.index_options(Settings(indexes, folders, True))


def test_uv_gets_the_user_s_indexes_in_order_and_none_of_its_own() -> None:
    found = options("https://a/simple", "https://b/simple", "https://c/simple", folders=(Path("/wheels"),))
    assert "--no-config" in found
    rest = found[found.index("--default-index") :]
    assert rest == [
        "--default-index", "https://a/simple", "--index", "https://b/simple", "--index", "https://c/simple",
        "--find-links", "/wheels",
    ]  # fmt: skip


def test_without_an_index_uv_asks_none() -> None:
    found = options(folders=(Path("/wheels"),))
    assert "--no-index" in found
    assert "--default-index" not in found
    assert "--no-index" not in options("https://a/simple")


@pytest.mark.parametrize(
    ("python", "oldest"),
    [
        (">=3.10,<3.15", "3.10"), ("==3.12.*", "3.12"), (">=3.11", "3.11"), ("<3.13", "3.9"),
        (">3.10", "3.10"), (">=3.10.4", "3.10"), ("!=3.9.*,>=3.9", "3.10"), ("~=3.11", "3.11"),
    ],
)  # fmt: skip
def test_the_first_python_of_a_range(python: str, oldest: str) -> None:
    assert venv._oldest(python) == oldest
