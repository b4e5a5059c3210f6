"""A patch that two versions share is one file; what changes it in one series leaves it to the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchwork import MESSAGE, Work, autosquash, commit, write
from retread.doors import durable
from retread.queue import ledger
from retread.recipe import shared
from tinycuda import OPS, Project, diff, ops

FIRST, SECOND = "0001-change.patch", "0002-change.patch"
LINK = "../shared/change.patch"


@pytest.fixture
def work(project: Project) -> Work:
    """Return a series whose first patch is a link to one that version 1.1 has, too."""
    made = Work(project)
    common, other = made.folder.parent / "shared" / "change.patch", made.folder.parent / "1.1"
    common.parent.mkdir()
    other.mkdir()
    (made.folder / FIRST).rename(common)
    for folder in (made.folder, other):
        (folder / FIRST).symlink_to(LINK)
    return made


def links(folder: Path) -> dict[str, str]:
    return {path.name: str(path.readlink()) for path in folder.iterdir() if path.is_symlink()}


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_patch_that_changes_is_a_file_of_its_version_again_until_that_is_undone(
    work: Work, exchanges: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not exchanges:
        monkeypatch.setattr(durable, "exchange", lambda *_: False)
    before, common = work.state(), (work.folder.parent / "shared" / "change.patch").read_bytes()
    (tmp_path / "more.diff").write_text(diff(OPS, ops(VALUE_3=30), ops(VALUE_3=30, VALUE_9=90)))
    folded = work.run("fold", "1", "--from", str(tmp_path / "more.diff"))
    assert folded.code == 0, folded.err
    assert f"note: {FIRST} was shared with 1.1: shared/change.patch stays as it is for them" in folded.err
    assert links(work.folder) == {}
    assert work.state()[FIRST] != common
    assert (work.folder.parent / "shared" / "change.patch").read_bytes() == common
    assert links(work.folder.parent / "1.1") == {FIRST: LINK}
    work.done("fold", "--undo")
    assert (work.state(), links(work.folder)) == (before, {FIRST: LINK})


def test_it_stays_one_file_through_refresh_and_under_another_number(work: Work) -> None:
    place = work.edit()
    write(place, "tinycuda/new.py", "NEW = 2\n")
    commit(place, MESSAGE.format(subject="Another"))
    work.done("refresh")
    assert links(work.folder) == {FIRST: LINK}
    work.done("move", "1", "--after", "2")
    assert links(work.folder) == {SECOND: LINK}
    assert work.project.run("patch", "check").code == 0
    write(place := work.edit(), OPS, ops(VALUE_3=31, VALUE_30=3))
    commit(place, "fixup! Change 0001-change.patch")
    autosquash(place, "HEAD~5")
    refreshed = work.run("refresh")
    assert refreshed.code == 0, refreshed.err
    assert f"{SECOND} was shared with 1.1" in refreshed.err
    assert links(work.folder) == {}


def test_a_series_that_is_written_elsewhere_shares_what_has_the_same_bytes(work: Work) -> None:
    data, folder = work.state()[FIRST], work.folder.parent / "2.0"
    folder.mkdir()
    targets = shared.targets(folder)
    ledger.put(folder / "0007-change.patch", data, targets)
    ledger.put(folder / "0008-other.patch", b"other", targets)
    assert links(folder) == {"0007-change.patch": LINK}
    assert (folder / "0008-other.patch").read_bytes() == b"other"


def test_a_change_of_the_shared_file_is_one_of_each_series_that_has_it(work: Work) -> None:
    found = shared.spread(work.project.root, ["README.md", "patches/tinycuda/shared/change.patch"])
    assert found == [
        "README.md", "patches/tinycuda/shared/change.patch",
        f"patches/tinycuda/1.0/{FIRST}", f"patches/tinycuda/1.1/{FIRST}",
    ]  # fmt: skip


def test_a_link_that_leads_elsewhere_is_refused(work: Work) -> None:
    (work.folder / FIRST).unlink()
    (work.folder / FIRST).symlink_to("../../../recipes/tiny-1.0.toml")
    result = work.run("check")
    assert result.code == 5
    assert f"{FIRST}: is a link to ../../../recipes/tiny-1.0.toml" in result.err
    assert "a link leads to ../shared/NAME.patch" in result.err
