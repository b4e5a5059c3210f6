"""Build environments: which indexes uv is told, which Python a lock has to serve first."""

from __future__ import annotations

from pathlib import Path

import pytest

from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.net.settings import Settings
from retread.doors.store import Kind, Store
from retread.environment import venv
from retread.errors import FetchError


def options(*indexes: str, folders: tuple[Path, ...] = ()) -> list[str]:
    return venv.index_options(Settings(indexes, folders, True))


def test_uv_gets_the_user_s_indexes_in_order_and_none_of_its_own() -> None:
    using = Settings(("https://a/simple", "https://b/simple", "https://c/simple"), (Path("/wheels"),), True)
    found = venv.index_options(using)
    assert "--no-config" in found
    assert found[-2:] == ["--find-links", "/wheels"]
    own = {"PATH": "/bin", "UV_INDEX": "https://mine/simple", "UV_INDEX_URL": "x", "PIP_INDEX_URL": "y"}
    assert venv.index_variables(using, own) == {
        "PATH": "/bin", "UV_DEFAULT_INDEX": "https://a/simple", "UV_INDEX": "https://b/simple https://c/simple"
    }  # fmt: skip


def test_without_an_index_uv_asks_none() -> None:
    found = options(folders=(Path("/wheels"),))
    assert "--no-index" in found
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


def test_an_environment_is_made_once_and_leaves_no_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(Store(tmp_path), Console(), {})
    asked: list[Path] = []

    def install(into: Path, cache: Path) -> None:
        asked.append(cache)
        for folder in (into / venv.VENV, cache):
            folder.mkdir(parents=True)

    places = {venv.stored(machine, 64 * "a", "install torch", install) for _ in range(2)}
    (place,) = places
    assert (place.is_dir(), place.name, len(asked)) == (True, "venv", 1)
    assert asked[0].is_relative_to(tmp_path / "uv")
    assert not asked[0].exists()
    assert "install torch" in capsys.readouterr().err


def test_an_environment_that_could_not_be_made_is_not_there_the_next_time(tmp_path: Path) -> None:
    machine = Machine(Store(tmp_path), Console(quiet=True), {})

    def install(into: Path, cache: Path) -> None:
        (into / venv.VENV).mkdir()
        raise FetchError("no such file")

    with pytest.raises(FetchError):
        venv.stored(machine, 64 * "a", "install torch", install)
    assert machine.store.get(Kind.ENVIRONMENTS, 64 * "a") is None
    assert list(tmp_path.glob("scratch/*")) == []
