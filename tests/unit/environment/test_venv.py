"""Build environments: what makes a lock one, which indexes uv is told, which Python a lock has to serve first."""

from __future__ import annotations

from pathlib import Path

import pytest

from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.net.settings import Settings
from retread.doors.store import Kind, Store
from retread.environment import venv
from retread.errors import FetchError, RecipeError
from retread.lockfile import requirements

HASH = "sha256:" + 64 * "a"
LOCK = f"""\
# made by uv
build==1.3.0 \\
    --hash={HASH} \\
    --hash={HASH}
setuptools==80.9.0 ; python_full_version >= '3.12' \\
    --hash={HASH}
setuptools==79.0.1 ; python_full_version < '3.12' \\
    --hash={HASH}
Torch==2.11.0 \\
    --hash={HASH}
    # via -r requires.in
"""


def told(lock: str | bytes, *requires: str) -> list[str]:
    data = lock if isinstance(lock, bytes) else lock.encode()
    with pytest.raises(RecipeError) as caught:
        requirements.check_lock(data, requires, name="demo-1.2-cu130")
    assert (
        caught.value.message == "recipes/locks/demo-1.2-cu130.txt is not a lock of what the recipe requires"
    )
    assert caught.value.hint == "make it anew: retread recipe lock"
    return list(caught.value.faults)


@pytest.mark.parametrize(
    "requires", [(), ("build>=1.3", "setuptools>=79,<82", "torch==2.11.0"), ("BUILD", "setuptools==79.0.1")]
)
def test_a_lock_of_what_is_required(requires: tuple[str, ...]) -> None:
    requirements.check_lock(LOCK.encode(), requires, name="demo-1.2-cu130")


def test_a_requirement_that_is_not_locked() -> None:
    assert told(LOCK, "ninja>=1.12", "build") == ["ninja>=1.12: the lock has nothing of it"]


def test_a_requirement_that_is_locked_at_another_version() -> None:
    assert told(LOCK, "torch==2.12.0", "setuptools>=81") == [
        "torch==2.12.0: the lock has 2.11.0",
        "setuptools>=81: the lock has 80.9.0, 79.0.1",
    ]


@pytest.mark.parametrize("line", ["ninja==1.13.0", f"ninja>=1.12 --hash={HASH}", f"ninja --hash={HASH}"])
def test_what_is_not_pinned_by_version_and_hash(line: str) -> None:
    wanted = line.partition(" --")[0]
    assert told(f"{LOCK}{line}\n", "build") == [f"{wanted}: not pinned by version and hash"]


def test_all_faults_are_told_at_once() -> None:
    assert len(told(f"{LOCK}ninja==1.13.0\n", "torch<2", "wheel")) == 3


def test_an_empty_lock_serves_nothing() -> None:
    assert told("", "build") == ["build: the lock has nothing of it"]


@pytest.mark.parametrize(
    ("lock", "fault"),
    [
        (f"<<<<<<< HEAD\n{LOCK}", "<<<<<<< HEAD: not a requirement"),
        (f"{LOCK}not a requirement\n", "not a requirement: not a requirement"),
        (b"torch\xff==2.11.0 --hash=x", "torch\N{REPLACEMENT CHARACTER}==2.11.0: not a requirement"),
    ],
    ids=["conflict", "words", "bytes"],
)
def test_what_is_no_lock_at_all(lock: str | bytes, fault: str) -> None:
    assert told(lock)[0] == fault


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
