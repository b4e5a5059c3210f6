"""Killed before every change to the disk: readers see the old index or the new one, the next action mends the rest."""

from __future__ import annotations

import json
import os
import posixpath
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from powercut import Disk
from retread.doors import durable
from retread.errors import RetreadError
from retread.index import actions, revoke
from tinyindex import Shelf, make_keys

Action = Callable[[Shelf], object]
ACTIONS: dict[str, Action] = {
    "publish": lambda shelf: shelf.publish(*_wheels(shelf), unproven="a test"),
    "yank": lambda shelf: shelf.act(actions.yank, "demo", "1.2+cu128.1", "wrong results"),
    "remove": lambda shelf: shelf.act(actions.remove, "demo", "1.2+cu128.1", "it leaks"),
    "rollback": lambda shelf: shelf.act(actions.rollback, 1),
    "revoke": lambda shelf: revoke.revoke(shelf.root, REVOKED, _key(shelf), now=shelf.now + 60),
    "renew": lambda shelf: revoke.renew(shelf.root, _key(shelf), now=shelf.now + 60),
}
FEWEST = {"revoke": 12, "renew": 12}
"""How many changes to the disk an action makes at least, where it writes one file alone."""
REVOKED = revoke.Wanted("demo", "1.2+cu128.1", None, "wrong results", "take revision 2")


def _key(shelf: Shelf) -> Path:
    """Return the builder's secret key."""
    return shelf.folder / "keys" / "builder.key"


def _wheels(shelf: Shelf) -> list[Path]:
    """Return a new revision, and the first wheel of a new project and of a new channel."""
    found = [("demo", "1.2+cu128.2"), ("third", "1.0+cu130.1")]
    return [next((shelf.folder / "dist").glob(f"{name}-{version}-*.whl")) for name, version in found]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Return an index with two actions behind it, and wheels that are not published yet."""
    made = Shelf(tmp_path, make_keys(tmp_path / "keys"))
    made.publish(made.wheel())
    made.publish(made.wheel("other", prove_it=False), unproven="a test")
    made.wheel("demo", "1.2+cu128.2", patches=("b",))
    made.wheel("third", "1.0+cu130.1", prove_it=False)
    made.wheel("last", "1.0+cu128.1", prove_it=False)
    return made


class _Killer:
    """Stands at the door: counts changes, and kills its process before one of them, or halfway through a write."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.seen = 0

    def __call__(self, act: Callable[..., Any], *arguments: Any) -> Any:
        self.seen += 1
        if self.seen == self.at:
            if act is os.write:
                os.write(arguments[0], arguments[1][: len(arguments[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return _hastily(act, *arguments)


def _hastily(act: Callable[..., Any], *arguments: Any) -> Any:
    """Do not wait for the disk: what a killed process wrote is there in any case."""
    return None if act is os.fsync else act(*arguments)


def _killed(act: Callable[[], object], at: int) -> bool:
    """Run ``act`` in a child that is killed at its change number ``at``; say whether it came to that."""
    child = os.fork()
    if not child:
        try:
            durable.change = _Killer(at)
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed before it was killed"
    return os.WIFSIGNALED(status)


def _seen(root: Path) -> dict[str, str]:
    """Return each project as readers see it: what its pages say; every file that they name is there."""
    found = {}
    for pages in sorted(root.glob("*/simple/*/")):
        where = str(pages.relative_to(root))
        made = {name: (pages / name).read_text() for name in ("index.html", "index.json", "page.html")}
        for entry in json.loads(made["index.json"])["files"]:
            for url in (entry["url"], f"{entry['url']}.metadata"):
                assert (root / posixpath.normpath(posixpath.join(where, unquote(url)))).is_file(), (
                    where,
                    url,
                )
            assert entry["filename"] in made["index.html"]
        found[where] = "".join(made.values())
    for channel in root.glob("*/simple/index.json"):
        named = {one["name"] for one in json.loads(channel.read_text())["projects"]}
        assert all(f"{channel.parent.relative_to(root)}/{name}" in found for name in named)
    if (root / revoke.LIST).exists():
        found[revoke.LIST] = (root / revoke.LIST).read_text()
    return found


def _decided(root: Path) -> bool:
    return (root / ".retread" / "journal.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("action", ACTIONS)
def test_a_kill_at_any_change_leaves_an_index_that_stands_and_mends_itself(
    shelf: Shelf, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "change", _hastily)
    act, kept, now = ACTIONS[action], shelf.folder / "kept", shelf.now
    shutil.copytree(shelf.root, kept, symlinks=True)
    old = _seen(shelf.root)
    act(shelf)
    new, after = _seen(shelf.root), shelf.tree()
    assert old != new
    at, decided = 1, set()
    while True:
        shutil.rmtree(shelf.root)
        shutil.copytree(kept, shelf.root, symlinks=True)
        shelf.now = now
        if not _killed(lambda: act(shelf), at):
            break
        seen, journal = _seen(shelf.root), _decided(shelf.root)
        decided.add(journal)
        for where, text in seen.items():
            assert text in {old.get(where), new.get(where)}, (at, where)
        assert set(old) <= set(seen) <= set(new)
        if not journal:
            assert seen in (old, new), at
        _mended(shelf, at, "done" if journal or seen == new else "undone", new, old)
        at += 1
    assert decided == {False, True}
    assert shelf.tree() == after
    assert at > FEWEST.get(action, 40)


def _mended(shelf: Shelf, at: int, state: str, new: dict[str, str], old: dict[str, str]) -> None:
    """Publish one more wheel: what was decided is finished, what was not is gone, and the index is sound."""
    last = next((shelf.folder / "dist").glob("last-*.whl"))
    shelf.publish(last, unproven="a test")
    found = shelf.check()
    assert found.faults == (), at
    assert found.actions == (4 if state == "done" else 3), (at, state)
    seen, wanted = _seen(shelf.root), new if state == "done" else old
    assert "cu128/simple/last" in seen
    assert {where: seen[where] for where in wanted} == wanted, at
    hidden = {path.name for path in (shelf.root / ".retread").iterdir()}
    assert hidden == {"history.jsonl", "lock", "names", "revisions", "snapshots", "state"}, at
    assert not [path for path in shelf.tree() if path.endswith(".new")], at


@pytest.mark.parametrize("action", ["publish", "remove"])
def test_a_power_cut_at_any_moment_leaves_an_index_that_stands_and_mends_itself(
    shelf: Shelf, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes what was not waited for: bytes of new files, and names of files in folders."""
    act, now, old = ACTIONS[action], shelf.now, _seen(shelf.root)
    disk = Disk(shelf.root)
    with monkeypatch.context() as patch:
        patch.setattr(durable, "change", disk)
        act(shelf)
    new, known, decided = _seen(shelf.root), [], set()
    monkeypatch.setattr(durable, "change", _hastily)
    for at, moment in enumerate(disk.moments):
        for seed in {0, at if at % 12 == 0 else 0}:
            if not seed and moment[:2] in known:
                continue
            known += [] if seed else [moment[:2]]
            moment.write(shelf.root, seed)
            shelf.now, seen, journal = now, _seen(shelf.root), _decided(shelf.root)
            assert all(text in {old.get(where), new.get(where)} for where, text in seen.items()), (at, seed)
            assert set(old) <= set(seen) <= set(new)
            done = journal or _acted(shelf) == 3
            decided.add(done)
            _mended(shelf, at, "done" if done else "undone", new, old)
    assert decided == {False, True}


def _acted(shelf: Shelf) -> int:
    return len(list(actions.history(shelf.root)))


def test_a_publish_waits_for_the_disk_as_often_as_it_has_to(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(shelf.root)
    monkeypatch.setattr(durable, "change", disk)
    published = shelf.publish(_wheels(shelf)[0], unproven="a test").listed[0]
    made, *waits = (sorted(group) for group in disk.waits if group)
    files = 9 + len(
        published.sidecars
    )  # wheel, METADATA, binding, ledger, model, three pages, the channel's page
    assert [one for one in made if not re.fullmatch(r"\.retread/next/\d+", one)] == [
        ".retread",
        ".retread/next",
    ]
    assert len(made) == files + 2
    assert [list(map(_short, group)) for group in waits] == [
        [".retread/journal.json.new"],
        [".retread"],
        [
            ".retread/names", ".retread/snapshots", ".retread/snapshots/3", ".retread/snapshots/3/cu128", "files",
            "files/xx",
        ],
        [
            ".retread/names/xx", ".retread/revisions/cu128", ".retread/snapshots/3/cu128",
            ".retread/snapshots/3/cu128/demo", "files/xx/SHA",
        ],
        [".retread/state/cu128", "cu128/simple"],
        ["cu128"],
        [".retread/history.jsonl"],
    ]  # fmt: skip


def _short(path: str) -> str:
    return re.sub(r"(?<=files/|names/)[0-9a-f]{2}", "xx", re.sub("[0-9a-f]{64}", "SHA", path))


def test_a_disk_that_fills_up_after_the_decision_is_told_and_finished_later(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, renames = durable.change, []

    def full(act: Callable[..., Any], *arguments: Any) -> Any:
        if act is os.rename and _decided(shelf.root):
            renames.append(arguments)
            if len(renames) == 4:
                raise OSError(28, "No space left on device", str(arguments[1]))
        return change(act, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "change", full)
        with pytest.raises(RetreadError, match="is decided: the next change finishes it"):
            ACTIONS["publish"](shelf)
    assert any("was interrupted" in fault for fault in shelf.check().faults)
    shelf.act(actions.yank, "demo", "1.2+cu128.1", "wrong results")
    assert shelf.said[-1] == "finishing action 3, which was interrupted"
    assert shelf.check().faults == ()
    assert [one.action for one in actions.history(shelf.root)] == ["publish", "publish", "publish", "yank"]
