"""The store: what has no stamp does not count, nothing is made twice, and only the dead are swept."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from retread.doors import store as module
from retread.doors.readings import Readings
from retread.doors.store import Kind, Store, default_root, digest
from retread.errors import StoreError, UsageError
from retread.records import Record

KEY = "ab" * 32


class One(Record, frozen=True, kw_only=True):
    """What somebody read."""

    text: str


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def _build(into: Path) -> None:
    (into / "deep").mkdir()
    (into / "deep" / "file").write_bytes(b"content")
    (into / "top").write_bytes(b"content")


def _never(into: Path) -> None:
    pytest.fail(f"made again in {into}")


def test_an_entry_is_made_once(store: Store) -> None:
    first = store.make(Kind.TREES, KEY, _build)
    assert (first / "deep" / "file").read_bytes() == b"content"
    assert store.make(Kind.TREES, KEY, _never) == first
    assert store.get(Kind.TREES, KEY) == first
    assert store.get(Kind.WHEELS, KEY) is None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failed_build_leaves_nothing(store: Store, error: type[BaseException]) -> None:
    def fail(into: Path) -> None:
        _build(into)
        raise error

    with pytest.raises(error):
        store.make(Kind.TREES, KEY, fail)
    assert store.entries() == []
    assert not list((store.root / "scratch").iterdir())
    assert not list((store.root / "trees").rglob("*"))
    store.make(Kind.TREES, KEY, _build)


@pytest.mark.parametrize(
    "damage", ["truncated", "deep", "touched", "removed", "stampless", "bad stamp", "more"]
)
def test_a_damaged_entry_is_made_anew(store: Store, damage: str) -> None:
    path = store.make(Kind.PATCHED, KEY, _build)
    match damage:
        case "truncated":
            os.truncate(path / "top", 3)
        case "deep":
            os.truncate(path / "deep" / "file", 3)
        case "touched":
            (path / "top").write_bytes(b"CONTENT")
            os.utime(path / "top", (1, 1))
        case "removed":
            (path / "deep" / "file").unlink()
        case "stampless":
            (path / "stamp.json").unlink()
        case "bad stamp":
            (path / "stamp.json").write_text('{"format": 1, "files"')
        case "more":
            (path / "deep" / "new").write_bytes(b"")
    assert store.get(Kind.PATCHED, KEY) is None
    assert store.entries() == []
    made = store.make(Kind.PATCHED, KEY, _build)
    assert (made / "deep" / "file").read_bytes() == (made / "top").read_bytes() == b"content"
    assert not (made / "deep" / "new").exists()


def test_a_full_disk_is_a_message_and_leaves_nothing(store: Store) -> None:
    def full(into: Path) -> None:
        _build(into)
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match="the disk is full"):
        store.make(Kind.TREES, KEY, full)
    assert not list((store.root / "scratch").iterdir())


def test_two_makers_of_one_entry_wait_for_each_other(store: Store) -> None:
    inside, go, made = threading.Event(), threading.Event(), []

    def slow(into: Path) -> None:
        inside.set()
        assert go.wait(10)
        made.append(into)
        _build(into)

    first = threading.Thread(target=store.make, args=(Kind.TREES, KEY, slow))
    first.start()
    assert inside.wait(10)
    second = threading.Thread(target=store.make, args=(Kind.TREES, KEY, _never))
    second.start()
    go.set()
    first.join(10)
    second.join(10)
    assert len(made) == 1
    assert store.get(Kind.TREES, KEY)


def test_scratch_of_a_dead_process_is_swept_and_that_of_a_living_one_is_not(store: Store) -> None:
    program = (
        "import os, pathlib, sys; from retread.doors.store import Store\n"
        "with Store(pathlib.Path(sys.argv[1])).scratch() as path:\n"
        "    (path / 'rubbish').write_bytes(bytes(1000)); print(path, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, store.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        theirs = Path(other.stdout.readline().strip())
        with store.scratch() as ours:
            assert store.tidy() == 0
            assert theirs.is_dir()
            assert ours.is_dir()
        other.kill()
        other.wait()
        assert store.tidy() == 1000
        assert not theirs.exists()


def test_sweep_removes_unfinished_entries_but_not_one_that_is_being_made(store: Store) -> None:
    place = store.root / "trees" / KEY[:2] / KEY
    place.mkdir(parents=True)
    (place / "half").write_bytes(bytes(100))
    (store.root / "locks").mkdir()
    with (store.root / "locks" / f"trees-{KEY}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert store.sweep() == 0
        assert place.is_dir()
    assert store.sweep() == 100
    assert not place.exists()
    assert store.sweep() == 0


def test_sweep_spares_an_entry_that_was_finished_while_it_looked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.root / "trees" / KEY[:2] / KEY).mkdir(parents=True)
    real = module._try_lock

    def late(path: Path) -> int | None:
        if path.name == f"trees-{KEY}":
            store.make(Kind.TREES, KEY, _build)
        return real(path)

    monkeypatch.setattr(module, "_try_lock", late)
    assert store.sweep() == 0
    assert store.get(Kind.TREES, KEY)


def test_scratch_is_out_of_reach_until_it_is_locked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tempfile.mkdtemp
    held: list[bool] = []

    def make(**options: str) -> str:
        handle = module._try_lock(store.root / "locks" / "scratch")
        held.append(handle is None)
        return real(**options)

    with store.lock("scratch"):
        pass
    monkeypatch.setattr(tempfile, "mkdtemp", make)
    with store.scratch():
        assert held == [True]


def test_foreign_files_in_the_store_harm_nobody(store: Store) -> None:
    store.make(Kind.TREES, KEY, _build)
    (store.root / "trees" / "ab" / ".nfs0001").mkdir()
    (store.root / "trees" / "README").write_text("mine")
    assert [entry.key for entry in store.entries()] == [KEY]
    assert store.sweep() == 0
    assert (store.root / "trees" / "ab" / ".nfs0001").is_dir()


def test_downloads_that_were_given_up_are_swept_after_a_month(store: Store) -> None:
    store.partial("old").write_bytes(bytes(10))
    store.partial("new").write_bytes(bytes(10))
    os.utime(store.partial("old"), (0, time.time() - 31 * 86400))
    assert store.tidy() == 10
    assert [path.name for path in (store.root / "partial").iterdir()] == ["new"]


def _aged(store: Store, days: dict[str, float]) -> None:
    for key, age in days.items():
        path = store.make(Kind.TREES, key, _build)
        when = time.time() - age * 86400
        os.utime(path / "stamp.json", (when, when))


def test_prune_by_days_spares_what_was_used_since(store: Store) -> None:
    _aged(store, {"aa": 40, "bb": 40, "cc": 1})
    store.make(Kind.TREES, "bb", _never)
    assert [entry.key for entry in store.prune(unused_days=30)] == ["aa"]
    assert sorted(entry.key for entry in store.entries()) == ["bb", "cc"]


def test_prune_by_size_takes_the_longest_unused_first(store: Store) -> None:
    _aged(store, {"aa": 1, "bb": 3, "cc": 2})
    size = store.entries()[0].size
    gone = store.prune(unused_days=30, keep_bytes=2 * size)
    assert [entry.key for entry in gone] == ["bb"]
    assert [entry.key for entry in store.entries()] == ["cc", "aa"]


@pytest.mark.parametrize("way", ["prune", "discard"])
def test_an_entry_whose_removal_was_cut_short_does_not_count(
    store: Store, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    path = store.make(Kind.TREES, KEY, _build)  # whose stamp does not know what lies deeper

    def cut(*_: object, **__: object) -> None:
        (path / "deep" / "file").unlink()
        raise KeyboardInterrupt

    removal = {
        "prune": lambda: store.prune(unused_days=-1),
        "discard": lambda: store.discard(Kind.TREES, KEY),
    }[way]
    monkeypatch.setattr(shutil, "rmtree", cut)
    with pytest.raises(KeyboardInterrupt):
        removal()
    monkeypatch.undo()
    assert store.get(Kind.TREES, KEY) is None
    assert (store.make(Kind.TREES, KEY, _build) / "deep" / "file").exists()


def test_a_read_only_store_still_serves(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = store.make(Kind.TREES, KEY, _build)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert store.make(Kind.TREES, KEY, _never) == made
    with pytest.raises(StoreError, match="the disk is read-only"):
        store.make(Kind.TREES, "cd" * 32, _build)
    with pytest.raises(StoreError, match="the disk is read-only"), store.scratch():
        pass


@pytest.mark.parametrize("key", ["", "../x", "a/b", "a.b"])
def test_a_key_is_letters_and_digits(store: Store, key: str) -> None:
    with pytest.raises(StoreError, match="is not a key"):
        store.get(Kind.TREES, key)


def test_digest_depends_on_every_part_and_on_nothing_else() -> None:
    assert digest("a", {"x": 1, "y": 2}) == digest("a", {"y": 2, "x": 1})
    assert len({digest("a"), digest("b"), digest("a", 1), digest(("a",)), digest("a", None)}) == 5


@pytest.mark.parametrize(
    ("environment", "root"),
    [
        ({"RETREAD_STORE": "/x", "XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/x"),
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/retread"),
        ({"HOME": "/h"}, "/h/.cache/retread"),
    ],
)
def test_the_environment_says_where_the_store_is(environment: dict[str, str], root: str) -> None:
    assert default_root(environment) == Path(root)


def test_a_relative_store_is_taken_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_root({"RETREAD_STORE": "here"}) == tmp_path / "here"


def test_a_tilde_that_no_shell_expanded_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root({"RETREAD_STORE": "~/cache"}) == tmp_path / "cache"
    assert default_root({"RETREAD_STORE": "~"}) == tmp_path
    assert default_root({"RETREAD_STORE": "/a/~/b"}) == Path("/a/~/b")
    with pytest.raises(UsageError, match="RETREAD_STORE: ~nobody-here/x: there is no home of ~nobody-here"):
        default_root({"RETREAD_STORE": "~nobody-here/x"})
    monkeypatch.setenv("HOME", "")
    with pytest.raises(UsageError, match="RETREAD_STORE: ~/cache: HOME is empty"):
        default_root({"RETREAD_STORE": "~/cache"})
    with pytest.raises(UsageError, match="HOME is empty"):
        default_root({"HOME": ""})


def test_no_test_can_reach_the_user_s_own_store() -> None:
    assert default_root(dict(os.environ)).is_relative_to(Path(os.environ["RETREAD_STORE"]))
    without = {name: value for name, value in os.environ.items() if name != "RETREAD_STORE"}
    with pytest.raises(StoreError, match="a file is in the way"):
        Store(default_root(without)).make(Kind.TREES, KEY, _build)


def test_some_kinds_can_be_made_anew(store: Store, tmp_path: Path) -> None:
    kept, old = (store.make(kind, KEY, _build) for kind in (Kind.DOWNLOADS, Kind.WHEELS))
    other = store.anew([Kind.WHEELS, Kind.LIBRARIES], tmp_path / "anew")
    assert other.use(Kind.WHEELS, KEY) is None
    assert other.make(Kind.DOWNLOADS, KEY, _never) == other.get(Kind.DOWNLOADS, KEY) == kept
    new = other.make(Kind.WHEELS, KEY, _build)
    assert new.is_relative_to(tmp_path / "anew")
    assert other.make(Kind.WHEELS, KEY, _never) == other.use(Kind.WHEELS, KEY) == new
    assert store.get(Kind.WHEELS, KEY) == old
    assert {entry.path for entry in store.entries()} == {kept, old}
    again = other.anew([Kind.WHEELS], tmp_path / "again")
    assert again.get(Kind.WHEELS, KEY) is None
    assert again.make(Kind.LIBRARIES, KEY, _build).is_relative_to(tmp_path / "anew")
    assert store.get(Kind.LIBRARIES, KEY) is None


def test_a_workroom_is_kept_between_runs_also_after_a_failure(store: Store) -> None:
    with suppress(ValueError), store.workroom("demo-cu130") as room:
        (room / "object.o").write_text("done")
        raise ValueError
    with store.workroom("demo-cu130") as again:
        assert again == room
        assert (again / "object.o").read_text() == "done"
    with store.workroom("other") as other:
        assert list(other.iterdir()) == []
    assert store.sweep() == 0
    assert (room / "object.o").exists()
    assert store.entries() == []


def test_files_of_finished_entries_are_known_by_their_names(store: Store) -> None:
    store.make(Kind.WHEELS, KEY, _build)
    (store.root / Kind.WHEELS / "cd" / (32 * "cd")).mkdir(parents=True)
    (store.root / Kind.WHEELS / "cd" / (32 * "cd") / "killed").touch()
    assert store.names(Kind.WHEELS) == {"deep", "top"}
    assert store.names(Kind.BASES) == set()


def test_one_process_at_a_time_works_in_a_workroom_and_the_other_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    heard, entered = threading.Event(), threading.Event()

    @contextmanager
    def tell(text: str) -> Iterator[None]:
        told.append(text)
        heard.set()
        yield
        told.append("done")

    first, second = Store(tmp_path / "store"), Store(tmp_path / "store", waiting=tell)

    def other() -> None:
        with second.workroom("demo"):
            entered.set()

    thread = threading.Thread(target=other)
    with first.workroom("demo"):
        thread.start()
        assert heard.wait(10)
        assert not entered.is_set()
    assert entered.wait(10)
    thread.join(10)
    assert told == ["wait for another build that makes work-demo", "done"]


def test_a_full_disk_in_a_workroom_is_a_message(store: Store) -> None:
    with pytest.raises(StoreError, match="the disk is full"), store.workroom("demo"):
        raise OSError(28, "No space left on device")


def test_what_is_void_is_discarded_and_made_anew(store: Store) -> None:
    made = store.make(Kind.COMPILED, KEY, _build)
    store.discard(Kind.COMPILED, KEY)
    assert store.get(Kind.COMPILED, KEY) is None
    assert not made.exists()
    store.discard(Kind.COMPILED, KEY)
    assert store.make(Kind.COMPILED, KEY, _build) == made


def test_a_listing_looks_into_each_folder_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        store.make(Kind.CUBINS, f"{number:04x}", _build)
    listed: list[object] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    found = store.entries()
    assert len(listed) == 2 * len(found) == 40  # the entry, and the folder in it
    monkeypatch.undo()
    assert {one.size for one in found} == {module._size(found[0].path)}


def test_links_and_folders_below_count_as_they_did(store: Store) -> None:
    def build(into: Path) -> None:
        _build(into)
        (into / "none").symlink_to("nowhere")
        (into / "also").symlink_to("deep")

    path = store.make(Kind.WHEELS, KEY, build)
    assert set(module._files(path, Kind.WHEELS)) == {"top", "deep/file", "none"}
    assert set(module._files(path, Kind.TREES)) == {"top", "none"}
    assert store.get(Kind.WHEELS, KEY) == path


def test_what_was_read_is_shown_and_pruned_when_nobody_asked_for_it(store: Store) -> None:
    kept, old = Readings(store.root / module.READ, "a"), time.time() - 10 * 86400
    for name in ("old", "asked"):
        kept.of(One, name, lambda: One(text="x"))
    held = store.beside()
    assert held["read"] == sum(path.stat().st_size for path in (store.root / "read").iterdir()) > 0
    for path in (store.root / "read").iterdir():
        os.utime(path, (old, old))
    kept.of(One, "asked", lambda: pytest.fail("read again"))
    assert store.drop_beside(unused_days=11) == 0
    assert store.drop_beside(unused_days=9) == held["read"] // 2
    assert store.beside() == {"read": held["read"] // 2}


def test_a_large_entry_is_counted_once_and_anew_where_it_decides(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, counted, size = store.make(Kind.TREES, KEY, _build), list[Path](), module._size
    monkeypatch.setattr(module, "_size", lambda one: counted.append(one) or size(one))
    first = store.entries()
    assert store.entries() == first
    assert first[0].size == size(path)
    assert counted == [path]
    (path / "deep" / "more").write_bytes(bytes(100))
    assert store.prune(unused_days=30, keep_bytes=first[0].size) == [
        first[0]._replace(size=first[0].size + 100)
    ]
    store.make(Kind.TREES, KEY, _build)
    (store.root / "sizes.json").write_text("[]")
    assert [one.size for one in store.entries()] == [one.size for one in store.entries(anew=True)]
    store.discard(Kind.TREES, KEY)
    assert store.entries() == []
    assert (store.root / "sizes.json").read_text() == "{}"
