"""The folder of an index: a change happens whole or not at all, and what an earlier one left is finished or removed."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from retread.doors import durable
from retread.errors import PublishError, StoreError
from retread.index import layout
from retread.index.change import later
from retread.index.folder import Action, Index, Touched
from retread.index.revisions import EMPTY, Ledger
from retread.records import Sha256
from tinycuda import names, sha256


def action(number: int, **changes: Any) -> Action:
    fields = {
        "number": number, "time": f"2025-11-22T10:00:{number:02}.000000Z", "action": "publish", "reason": "",
        "base": "", "files": (), "projects": (), "channels": (),
    }  # fmt: skip
    return Action(**{**fields, **changes})


def commit(
    index: Index, number: int, made: dict[str, bytes], gone: tuple[str, ...] = (), **changes: Any
) -> None:
    with index.writing():
        for name, data in made.items():
            durable.put(index.staged(name), data)
        index.commit(action(number, **changes), gone)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "index")


def test_a_change_moves_in_whole_and_is_noted(index: Index) -> None:
    commit(index, 1, {"files/ab/abc/x.whl": b"x", "cu128/simple/index.html": b"one"})
    assert (index.root / "files/ab/abc/x.whl").read_bytes() == b"x"
    assert names(index.root) == [".retread", "cu128", "files"]
    assert names(index.hidden) == ["history.jsonl", "lock"]
    commit(index, 2, {"cu128/simple/index.html": b"two"}, ("files/ab/abc",))
    assert (index.root / "cu128/simple/index.html").read_bytes() == b"two"
    assert names(index.root / "files/ab") == []
    assert [one.number for one in index.history()] == [1, 2]


@pytest.mark.parametrize("fields", [{"number": -5}, {"number": 0}, {"time": "today"}, {"time": ""}])
def test_a_history_of_no_number_or_time_is_damaged(index: Index, fields: dict[str, Any]) -> None:
    commit(index, 1, {"index.html": b"one"})
    (index.hidden / "history.jsonl").write_bytes(
        msgspec.json.encode(action(**{"number": 1, **fields})) + b"\n"
    )
    for read in (index.last, lambda: list(index.history())):
        with pytest.raises(PublishError, match=r"history\.jsonl is damaged: action -?\d of '"):
            read()


@pytest.mark.parametrize("name", ["history.jsonl", "lock", "journal.json"])
def test_a_pipe_in_the_place_of_what_is_read_is_told(index: Index, name: str) -> None:
    commit(index, 1, {"index.html": b"one"})
    (index.hidden / name).unlink(missing_ok=True)
    os.mkfifo(index.hidden / name)
    for held in (index.writing, index.reading):
        with pytest.raises(PublishError, match=rf"\.retread/{name} is no plain file"), held():
            pytest.fail("it was read")


def test_a_change_that_fails_leaves_nothing(index: Index) -> None:
    commit(index, 1, {"index.html": b"one"})

    def interrupted() -> None:
        with index.writing():
            durable.put(index.staged("index.html"), b"two")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (index.root / "index.html").read_bytes() == b"one"
    assert names(index.hidden) == ["history.jsonl", "lock"]


def test_wheels_move_before_links_and_links_before_lists(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []
    move = durable.move

    def watch(source: Path, path: Path) -> None:
        moved.append(str(path.relative_to(index.root)))
        move(source, path)

    with index.writing():
        for name in (
            "cu128/simple/index.html",
            "files/ab/abc/x.whl",
            ".retread/names/ab/x.whl",
            "index.html",
        ):
            durable.put(index.staged(name), b"x")
        durable.point(index.staged("cu128/simple/demo"), "../../.retread/snapshots/1/cu128/demo")
        monkeypatch.setattr(durable, "move", watch)
        index.commit(action(1))
    moved.remove(".retread/journal.json")
    assert moved == [
        ".retread/names/ab/x.whl", "files/ab/abc/x.whl", "cu128/simple/demo", "cu128/simple/index.html", "index.html",
    ]  # fmt: skip


def test_the_last_action_is_read_from_the_end(index: Index) -> None:
    assert index.last() is None
    many = tuple(Touched(file=f"x{number}.whl", sha256=Sha256(64 * "a")) for number in range(3000))
    for number in (1, 2, 3):
        commit(index, number, {}, files=many)
        assert index.last() == action(number, files=many)
    history = index.hidden / "history.jsonl"
    assert history.stat().st_size > 3 * 65536
    whole = history.read_bytes()
    for torn in (b"{", whole[:100_000].rstrip(b"\n").replace(b"\n", b"")):
        history.write_bytes(whole + torn)
        assert index.last() == action(3, files=many)
        assert len(list(index.history())) == 3


def test_a_line_that_was_not_finished_is_written_again(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(index, 1, {})
    change = durable.change

    def torn(act: Any, *arguments: Any) -> Any:
        if act is os.write and index.journal.exists():
            os.write(arguments[0], arguments[1][:20])
            raise OSError(errno.EIO, "broken")
        return change(act, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "change", torn)
        with pytest.raises(StoreError, match="action 2 is decided"):
            commit(index, 2, {"index.html": b"two"})
    assert not (index.hidden / "history.jsonl").read_bytes().endswith(b"\n")
    with index.writing():
        pass
    assert [one.number for one in index.history()] == [1, 2]
    assert names(index.hidden) == ["history.jsonl", "lock"]


def test_an_action_that_another_retread_decided_is_finished_and_noted_once(index: Index) -> None:
    commit(index, 1, {"index.html": b"one"})
    for _ in range(2):  # killed before the history was written, and after
        decided = msgspec.to_builtins(action(2))
        journal = {"gone": [], "action": dict(reversed(decided.items()))}
        index.journal.write_bytes(msgspec.json.format(msgspec.json.encode(journal)))
        with index.writing():
            assert not index.journal.exists()
        assert [one.number for one in index.history()] == [1, 2]


def test_what_another_retread_laid_down_as_a_tree_is_moved_to_its_place(index: Index) -> None:
    commit(index, 1, {"index.html": b"one"})
    (index.next / "cu128/simple").mkdir(parents=True)
    (index.next / "cu128/simple/demo").symlink_to("../../.retread/snapshots/2/cu128/demo")
    (index.next / "index.html").write_bytes(b"two")
    index.journal.write_bytes(msgspec.json.encode({"gone": [], "action": action(2)}))
    with index.writing():
        pass
    assert (index.root / "index.html").read_bytes() == b"two"
    assert (index.root / "cu128/simple/demo").is_symlink()
    assert names(index.hidden) == ["history.jsonl", "lock"]


def test_what_is_removed_need_not_be_in_a_part_of_an_index(index: Index) -> None:
    commit(index, 1, {"index.html": b"one"}, ("files/ab/abc",))
    assert names(index.root) == [".retread", "index.html"]


def test_a_journal_that_comes_back_is_known_for_an_old_one(index: Index) -> None:
    """A power cut may bring it back, since nobody waits until the disk knows that it is gone."""
    commit(index, 1, {"index.html": b"one"})
    stale = {"gone": ["cu128"], "action": action(1), "moves": {"index.html": "0"}}
    index.journal.write_bytes(msgspec.json.encode(stale))
    index.next.mkdir()
    (index.next / "0").write_bytes(b"half of the next action")
    (index.root / "cu128").mkdir()
    said: list[str] = []
    with Index(index.root, said.append).writing():
        pass
    assert ((index.root / "index.html").read_bytes(), said) == (b"one", [])
    assert names(index.hidden) == ["history.jsonl", "lock"]
    assert names(index.root) == [".retread", "cu128", "index.html"]


def test_what_a_killed_change_left_is_removed(index: Index) -> None:
    commit(index, 1, {})
    (index.next / "files").mkdir(parents=True)
    (index.next / "files" / "x.whl").write_bytes(b"half")
    (index.hidden / "journal.json.new").write_bytes(b'{"action"')
    with index.writing():
        assert names(index.hidden) == ["history.jsonl", "lock"]


def test_damage_is_named_and_not_overwritten(index: Index) -> None:
    commit(index, 1, {})
    index.journal.write_bytes(b"{}")
    with pytest.raises(PublishError, match=r"journal.json is damaged"), index.writing():
        pass
    index.journal.unlink()
    (index.hidden / "history.jsonl").write_bytes(b"no JSON\n")
    with pytest.raises(PublishError, match=r"history.jsonl is damaged"):
        index.last()


def test_a_first_change_overwrites_nobody_s_files(index: Index) -> None:
    index.root.mkdir()
    (index.root / "index.html").write_bytes(b"my site")
    with pytest.raises(PublishError, match=r"index.html is in the way: a file that retread did not make"):
        commit(index, 1, {"index.html": b"one"})
    assert (index.root / "index.html").read_bytes() == b"my site"


def test_a_folder_that_is_a_file_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "index").write_bytes(b"")
    with pytest.raises(StoreError, match="a file is in the way"), Index(tmp_path / "index").writing():
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_folder_of_somebody_else_is_one_message(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        try:
            os.chdir(tmp_path)
            os.setuid(65534)
            with Index(tmp_path / "index").writing():
                pass
        except StoreError as error:
            os._exit(0 if "no permission" in str(error) else 2)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_records_and_bindings_are_read_back(index: Index) -> None:
    ledger = Ledger(latest="2025", versions={"1+cu128.1": None})
    assert index.ledger("cu128", "demo") == EMPTY
    assert index.bound("x.whl") == ""
    assert index.project("cu128", "demo") is None
    with index.writing():
        durable.put(index.staged(layout.binding("x.whl")), b"abc")
        durable.put(
            index.staged(layout.ledger("cu128", "demo")), b'{"latest":"2025","versions":{"1+cu128.1":null}}'
        )
        index.commit(action(1))
    assert index.ledger("cu128", "demo") == ledger
    assert index.bound("x.whl") == "abc"


def test_a_wheel_is_linked_or_copied_and_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "x.whl"
    source.write_bytes(b"wheel")
    assert durable.take(source, tmp_path / "a" / "x.whl") == sha256(b"wheel")
    assert (tmp_path / "a" / "x.whl").samefile(source)
    change = durable.change

    def elsewhere(act: Any, *arguments: Any) -> Any:
        if act is os.link:
            raise OSError(errno.EXDEV, "another disk")
        return change(act, *arguments)

    monkeypatch.setattr(durable, "change", elsewhere)
    copied = durable.take(source, tmp_path / "b" / "x.whl")
    assert copied == sha256(b"wheel")
    assert not (tmp_path / "b" / "x.whl").samefile(source)
    assert (tmp_path / "b" / "x.whl").stat().st_mode & 0o777 == 0o444


def test_time_never_goes_back() -> None:
    assert later(1_763_805_600, "") == "2025-11-22T10:00:00.000000Z"
    assert later(1_763_805_600, "2025-11-22T10:00:00.000000Z") == "2025-11-22T10:00:00.000001Z"
    assert later(1_763_805_600, "2031-01-01T00:00:00.999999Z") == "2031-01-01T00:00:01.000000Z"
    assert later(1_763_805_600, "2020-01-01T00:00:00.000000Z") == "2025-11-22T10:00:00.000000Z"


def test_what_cannot_be_looked_at_is_not_called_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot use \S+: the name is too long"):
        _ = Index(tmp_path / (300 * "a")).exists
