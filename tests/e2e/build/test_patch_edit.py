"""A series as commits: edited with git, written back; what stands in the way is told, and nothing is half written."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from patchwork import FULL, MESSAGE, RECIPE, Work, autosquash, commit, killed, write
from retread.doors import durable
from retread.doors.store import Store
from tinycuda import FILES, OPS, Project, diff, git, ops

ALL = ["0001-change.patch", "0002-change.patch", "0003-change.patch"]


@pytest.fixture
def work(project: Project) -> Work:
    return Work(project)


def _log(place: Path) -> list[str]:
    return git(place, "log", "--reverse", "--format=%s").splitlines()


def test_the_worktree_is_the_pinned_source_with_a_commit_for_each_patch(work: Work) -> None:
    place = work.edit()
    assert place.is_relative_to(work.project.store)
    assert not place.is_relative_to(work.project.root)
    pinned = work.project.upstream.commit
    assert _log(place) == [pinned, *(f"Change {name}" for name in ALL)]
    assert git(place, "show", "HEAD~3:tinycuda/ops.py") == FILES[OPS]
    assert git(place, "show", "HEAD~3:tinycuda/dos.py") == FILES["tinycuda/dos.py"]
    assert "PKG-INFO" in git(place, "ls-tree", "--name-only", "HEAD~3")
    header = (work.folder / ALL[0]).read_text().partition("\n---\n")[0]
    body = git(place, "log", "-1", "--format=%b", "HEAD~2").strip()
    assert body == header.partition("\n")[2]
    assert git(place, "status", "--porcelain") == ""
    assert (place / OPS).read_text() == ops(VALUE_3=30, VALUE_30=3)


def test_the_same_series_makes_the_same_commits(work: Work, tmp_path: Path) -> None:
    one = git(work.edit(), "rev-parse", "HEAD")
    work.done("edit", "--anew")
    assert git(work.edit(), "rev-parse", "HEAD") == one


def test_a_fixup_writes_its_patch_alone_and_keeps_the_header(work: Work) -> None:
    place, before = work.edit(), work.state()
    write(place, OPS, ops(VALUE_3=31, VALUE_30=3))
    git(place, "commit", "--quiet", "--all", "--fixup", "HEAD~2")
    autosquash(place)
    out = work.done("refresh")
    assert re.findall(r"^  (\S+) +(.+?)$", out, re.MULTILINE) == [
        (ALL[0], "content"), (ALL[1], "as it was"), (ALL[2], "as it was"),
    ]  # fmt: skip
    after = work.state()
    assert [name for name in after if after[name] != before[name]] == [ALL[0]]
    head, _, body = after[ALL[0]].partition(b"\n---\n")
    assert head == before[ALL[0]].partition(b"\n---\n")[0]
    assert re.search(rb"^index [0-9a-f]{40}\.\.[0-9a-f]{40} 100644$", body, re.MULTILINE)
    assert b"2.39" not in body
    assert work.source()[OPS] == ops(VALUE_3=31, VALUE_30=3)
    assert work.project.run("patch", "check").code == 0
    assert "as it was" in work.done("refresh")
    assert work.state() == after


def test_a_patch_that_moved_is_not_written(work: Work) -> None:
    """Lines put in above it make other offsets, and no other patch."""
    place, before = work.edit(), work.state()
    write(place, OPS, "ADDED = 0\nADDED = 1\n" + ops(VALUE_3=30, VALUE_30=3))
    git(place, "commit", "--quiet", "--all", "--fixup", "HEAD~2")
    autosquash(place)
    work.done("refresh")
    assert work.state()[ALL[1]] == before[ALL[1]]
    assert work.source()[OPS].startswith("ADDED = 0\nADDED = 1\n")


def test_a_patch_whose_context_changed_is_written(project: Project) -> None:
    work = Work(project)
    project.series(
        diff(OPS, FILES[OPS], ops(VALUE_3=30)), diff(OPS, ops(VALUE_3=30), ops(VALUE_3=30, VALUE_5=50))
    )
    place = work.edit()
    git(place, "reset", "--quiet", "--hard", "HEAD~1")
    write(place, OPS, ops(VALUE_3=33))
    git(place, "commit", "--quiet", "--all", "--amend", "--no-edit")
    write(place, OPS, ops(VALUE_3=33, VALUE_5=50))
    commit(place, "Change 0002-change.patch\n\n" + MESSAGE.partition("\n\n")[2])
    work.done("refresh")
    assert work.source()[OPS] == ops(VALUE_3=33, VALUE_5=50)


def test_a_reworded_header_is_written_and_the_others_stay(work: Work) -> None:
    place, before = work.edit(), work.state()
    message = git(place, "log", "-1", "--format=%B").replace("Affects: everyone", "Affects: nobody\n at all")
    git(place, "commit", "--quiet", "--amend", "--message", message)
    out = work.done("refresh")
    assert f"{ALL[2]}  header" in out
    assert work.state()[ALL[2]] == before[ALL[2]].replace(b"Affects: everyone", b"Affects: nobody\n at all")


def test_a_rename_of_the_subject_keeps_the_name(work: Work) -> None:
    place = work.edit()
    message = git(place, "log", "-1", "--format=%B").replace("Change 0003-change.patch", "Say it better")
    git(place, "commit", "--quiet", "--amend", "--message", message)
    work.done("refresh")
    assert work.listed() == ALL
    assert b"Subject: Say it better\n" in work.state()[ALL[2]]


def test_a_new_commit_becomes_a_patch_with_a_number(work: Work) -> None:
    place, before = work.edit(), work.state()
    write(place, "tinycuda/späß mit raum.py", "A = 1")
    commit(place, MESSAGE.format(subject="Add a file: with a space, no newline!"))
    out = work.done("refresh", "--json")
    name = "0004-add-a-file-with-a-space-no-newline.patch"
    assert json.loads(out)["patches"][-1] == {"name": name, "was": "", "state": "new"}
    assert work.listed() == [*ALL, name]
    assert {one: data for one, data in work.state().items() if one in ALL} == {
        one: before[one] for one in ALL
    }
    assert b"\\ No newline at end of file" in work.state()[name]
    assert work.project.run("patch", "check").code == 0
    assert work.source()["tinycuda/späß mit raum.py"] == "A = 1"


@pytest.mark.parametrize(
    ("message", "lacks"),
    [("Do something", ["Breaks", "Affects", "Upstream", "Drop-when"]),
     (MESSAGE.replace("Upstream: not reported\n", "").format(subject="Do"), ["Upstream"])],
)  # fmt: skip
def test_a_commit_without_fields_is_asked_for_each_by_name(
    work: Work, message: str, lacks: list[str]
) -> None:
    place = work.edit()
    write(place, "tinycuda/x.py", "X = 1\n")
    made = commit(place, message)
    told = work.refused(5, "refresh", said=(f"commit {made[:12]}", "nothing was written"))
    assert re.findall(r"header: (\S+) is missing", told) == lacks
    assert "say what is missing in the commit's message, with 'git rebase -i' and 'reword'" in told
    assert "--set" not in told


def test_reordered_and_dropped_commits_are_numbered_anew(work: Work) -> None:
    place = work.edit()
    write(place.parent, "editor.sh", "sed -i -e 1d -e '2{h;d};3{p;x}' \"$1\"\n")
    editor = f"sh {place.parent / 'editor.sh'}"
    git(place, "-c", f"sequence.editor={editor}", "rebase", "--quiet", "--interactive", "HEAD~3")
    assert _log(place)[1:] == ["Change 0003-change.patch", "Change 0002-change.patch"]
    out = work.done("refresh")
    assert "was 0003-change.patch" in out
    assert f"{ALL[0]}" in out
    assert work.listed() == ["0001-change.patch", "0002-change.patch"]
    assert work.source()[OPS] == ops(VALUE_30=3)


def test_a_rename_a_mode_a_new_and_a_deleted_file_go_both_ways(work: Work) -> None:
    place = work.edit()
    (place / "tinycuda/__init__.py").chmod(0o755)
    write(place, "tinycuda/Größe und Maß.py", "NEW = 1")
    git(place, "mv", "tinycuda/extra/deep.py", "tinycuda/extra/moved.py")
    (place / "tinycuda/new.py").unlink()
    write(place, "tinycuda/dos.py", "A = 1\r\nB = 9\r\nC = 3\r\n")
    commit(place, MESSAGE.format(subject="Rename"))
    work.done("refresh")
    text = work.state()["0004-rename.patch"]
    assert b"rename from tinycuda/extra/deep.py\nrename to tinycuda/extra/moved.py\n" in text
    assert b"deleted file mode 100644" in text
    assert (
        b"diff --git a/tinycuda/__init__.py b/tinycuda/__init__.py\nold mode 100644\nnew mode 100755\n"
        in text
    )
    assert "b/tinycuda/Größe und Maß.py".encode() in text
    assert b"+B = 9\r\n" in text
    assert work.project.run("patch", "check").code == 0
    found = work.source()
    assert "tinycuda/extra/moved.py" in found
    assert "tinycuda/extra/deep.py" not in found
    assert found["tinycuda/dos.py"] == "A = 1\r\nB = 9\r\nC = 3\r\n"
    assert found["tinycuda/Größe und Maß.py"] == "NEW = 1"
    assert "as it was" in work.done("refresh", "--check")
    mail = work.done("export", "4", "--mbox", "--author", "Jo Doe <jo@example.org>")
    work.done("drop", "4", "--because", "it comes back")
    box = place.with_name("box")
    box.write_text(mail)
    work.done("import", str(box), "--name", "rename")
    assert work.state()["0004-rename.patch"].partition(b"\n---\n")[2] == text.partition(b"\n---\n")[2]
    split = ("4", "the-mode", "--path", "tinycuda/__init__.py", "--set", "Subject: Mode", *FULL)
    work.done("split", *split)
    assert work.project.run("patch", "check").code == 0
    plan = work.project.run("plan", RECIPE)
    assert plan.code == 6, plan
    assert "gives tinycuda/__init__.py mode 100755: only a build can say" in plan.err


def _dirty(place: Path) -> None:
    write(place, OPS, "X = 1\n")


def _unknown(place: Path) -> None:
    write(place, "tinycuda/forgotten.py", "X = 1\n")


def _rebasing(place: Path) -> None:
    git(place, "-c", "sequence.editor=sed -i 1s/pick/edit/", "rebase", "--quiet", "--interactive", "HEAD~2")


def _conflict(place: Path) -> None:
    git(place, "checkout", "--quiet", "-b", "other", "HEAD~3")
    write(place, OPS, ops(VALUE_3=99))
    commit(place, "Other")
    git(place, "checkout", "--quiet", "series")
    with pytest.raises(subprocess.CalledProcessError):
        git(place, "cherry-pick", "other")


def _merge(place: Path) -> None:
    git(place, "checkout", "--quiet", "-b", "other", "HEAD~3")
    write(place, "tinycuda/side.py", "X = 1\n")
    commit(place, MESSAGE.format(subject="Side"))
    git(place, "checkout", "--quiet", "series")
    git(place, "merge", "--quiet", "--no-ff", "--message", MESSAGE.format(subject="Merge"), "other")


def _empty(place: Path) -> None:
    git(place, "commit", "--quiet", "--allow-empty", "--message", MESSAGE.format(subject="Nothing"))


def _fixup(place: Path) -> None:
    write(place, OPS, ops(VALUE_3=31, VALUE_30=3))
    git(place, "commit", "--quiet", "--all", "--fixup", "HEAD~2")


def _dashes(place: Path) -> None:
    write(place, "tinycuda/x.py", "X = 1\n")
    commit(place, MESSAGE.format(subject="Dashes") + "\nabove\n---\nbelow\n")


def _elsewhere(place: Path) -> None:
    git(place, "checkout", "--quiet", "--orphan", "lonely")
    commit(place, "Alone")


def _looking_back(place: Path) -> None:
    git(place, "checkout", "--quiet", "HEAD~1")


def _binary(place: Path) -> None:
    (place / "tinycuda/blob.bin").write_bytes(b"\0\1\2")
    commit(place, MESSAGE.format(subject="Blob"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_dirty, ["1 file not committed", f"{OPS}: changed", "git stash"]),
        (_unknown, ["tinycuda/forgotten.py: git does not know it"]),
        (_rebasing, ["a rebase is under way", "git rebase --continue' or 'git rebase --abort'"]),
        (_conflict, ["a cherry-pick is under way"]),
        (_merge, ["1 commit cannot go into a series", "Merge", "a merge; a series is one line of commits"]),
        (_empty, ["Nothing", "changes nothing"]),
        (_fixup, ["waits for 'git rebase --autosquash'"]),
        (_dashes, ["holds a line '---'"]),
        (_looking_back, ["no branch is checked out", "git switch series"]),
        (_elsewhere, ["do not stand on the pinned source"]),
        (_binary, ["0004-blob.patch (commit ", "tinycuda/blob.bin: a binary blob; patches hold text"]),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_what_cannot_be_a_series_is_told_and_nothing_is_written(
    work: Work, spoil: object, words: list[str]
) -> None:
    place = work.edit()
    assert callable(spoil)
    spoil(place)
    work.refused(5, "refresh", said=tuple(words))
    work.refused(5, "move", "3", "--before", "1", said=(words[0] if spoil is not _binary else "0004",))


def test_a_patch_edited_meanwhile_is_not_overwritten(work: Work) -> None:
    place = work.edit()
    (work.folder / ALL[1]).write_bytes(work.state()[ALL[1]].replace(b"Affects: everyone", b"Affects: few"))
    write(place, "tinycuda/x.py", "X = 1\n")
    commit(place, MESSAGE.format(subject="New"))
    work.refused(5, "refresh", said=(f"{ALL[1]} changed since the worktree was made", "--anew"))
    work.refused(5, "edit", said=("holds work that is not in the series",))
    work.done("edit", "--anew")
    assert "as it was" in work.done("refresh", "--check")


def test_an_untouched_worktree_follows_the_series(work: Work) -> None:
    place = work.edit()
    work.project.series(diff(OPS, FILES[OPS], ops(VALUE_7=70)))
    assert work.edit() == place
    assert len(_log(place)) == 2
    assert (place / OPS).read_text() == ops(VALUE_7=70)


def test_a_series_that_lists_a_missing_file_is_refused(work: Work) -> None:
    work.edit()
    (work.folder / ALL[1]).unlink()
    for action in ("edit", "refresh", "graph"):
        work.refused(
            3 if action == "" else 5, action, said=(f"{ALL[1]} is listed, but there is no such file",)
        )


def test_a_patch_that_does_not_go_in_is_named(work: Work) -> None:
    work.project.series(diff(OPS, ops(VALUE_3=1), ops(VALUE_3=30)))
    work.refused(5, "edit", said=(f"0001-change.patch does not go in ({OPS}:1)",))
    assert (
        not (work.project.store / "worktrees").exists()
        or [path for path in (work.project.store / "worktrees").iterdir() if path.is_dir()] == []
    )


def test_it_stops_at_a_patch_and_goes_on_from_there(work: Work) -> None:
    place = work.edit("--at", "1")
    assert (place / OPS).read_text() == ops(VALUE_3=30)
    write(place, OPS, ops(VALUE_3=32))
    git(place, "commit", "--quiet", "--all", "--amend", "--no-edit")
    work.refused(5, "refresh", said=("a rebase is under way",))
    git(place, "rebase", "--continue")
    out = work.done("refresh")
    assert f"{ALL[0]}  content" in out
    assert work.source()[OPS] == ops(VALUE_3=32, VALUE_30=3)
    work.refused(2, "edit", "--at", "9", said=("has no patch '9'", ALL[0]))


def test_check_writes_nothing_and_says_what_refresh_would(work: Work) -> None:
    assert "as it was" in work.done("refresh", "--check")
    place = work.edit()
    write(place, OPS, ops(VALUE_3=30, VALUE_30=4))
    git(place, "commit", "--quiet", "--all", "--fixup", "HEAD~1")
    autosquash(place)
    before = work.state()
    result = work.run("refresh", "--check")
    assert result.code == 5
    assert f"{ALL[1]}: content" in result.err
    assert work.state() == before


def test_undo_takes_a_refresh_back_and_the_work_stays_in_the_worktree(work: Work) -> None:
    place, before = work.edit(), work.state()
    write(place, "tinycuda/x.py", "X = 1\n")
    commit(place, MESSAGE.format(subject="New"))
    work.done("refresh")
    assert work.state() != before
    out = work.done("refresh", "--undo")
    assert "undo refresh" in out
    assert work.state() == before
    work.refused(2, "refresh", "--undo", said=("there is nothing to undo",))
    assert _log(place)[-1] == "New"
    work.edit()
    assert _log(place)[-1] == "New"
    work.done("refresh")
    assert work.listed()[-1] == "0004-new.patch"


def test_undo_refuses_what_changed_since(work: Work) -> None:
    work.done("drop", "3", "--because", "gone")
    (work.folder / ALL[0]).write_bytes(work.state()[ALL[0]].replace(b"everyone", b"nobody"))
    work.refused(5, "drop", "--undo", said=(f"cannot be undone: {ALL[0]} changed since",))


def test_without_a_worktree_refresh_says_how_to_make_one(work: Work) -> None:
    work.refused(2, "refresh", said=(f"retread patch edit {RECIPE}",))


def test_it_lies_where_it_is_told(work: Work, tmp_path: Path) -> None:
    place = tmp_path / "mit raum" / "wörk"
    assert work.edit("--into", str(place)) == place
    assert work.edit() == place
    work.refused(2, "edit", "--into", str(tmp_path / "other"), said=(f"the worktree of {RECIPE} is {place}",))
    assert "as it was" in work.done("refresh")


def test_it_lies_in_no_repository_and_in_no_full_folder(work: Work, tmp_path: Path) -> None:
    inside = str(work.project.root / "patches" / "wt")
    work.refused(2, "edit", "--into", inside, said=("a worktree lies outside of the repository",))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    work.refused(2, "edit", "--into", str(tmp_path / "full"), said=("is there and not empty",))


def test_lines_that_begin_with_a_number_sign_stay_in_the_header(work: Work) -> None:
    name = ALL[2]
    data = work.state()[name].replace(b"Why it is made.", b"# why it is made\n#1356 says more")
    (work.folder / name).write_bytes(data)
    place = work.edit()
    git(place, "-c", "core.editor=true", "commit", "--quiet", "--amend")
    assert "as it was" in work.done("refresh", "--check")


def test_an_empty_series_gets_its_first_patch(project: Project) -> None:
    work = Work(project)
    project.series()
    place = work.edit()
    write(place, "tinycuda/x.py", "X = 1\n")
    commit(place, MESSAGE.format(subject="The first"))
    work.done("refresh")
    assert work.listed() == ["0001-the-first.patch"]


def test_patches_squashed_in_a_rebase_are_one(work: Work) -> None:
    place = work.edit()
    editor = "sed -i '2s/^pick/fixup/'"
    git(place, "-c", f"sequence.editor={editor}", "rebase", "--quiet", "--interactive", "HEAD~3")
    out = work.done("refresh")
    assert work.listed() == ["0001-change.patch", "0002-change.patch"]
    assert "0002-change.patch  dropped" in out
    assert work.source()[OPS] == ops(VALUE_3=30, VALUE_30=3)


def test_what_git_format_patch_wrote_stays_as_it_is(work: Work) -> None:
    place = work.edit()
    write(place, "tinycuda/x.py", "X = 1\n")
    commit(place, MESSAGE.format(subject="Größe"))
    mail = git(place, "format-patch", "--stdout", "HEAD~1")
    (work.folder / "0004-mail.patch").write_text(mail)
    (work.folder / "series").write_text("".join(f"{name}\n" for name in [*ALL, "0004-mail.patch"]))
    work.done("edit", "--anew")
    assert "as it was" in work.done("refresh")
    assert (work.folder / "0004-mail.patch").read_text() == mail
    assert _log(place)[-1] == "Größe"


@pytest.mark.slow
@pytest.mark.parametrize("exchange", [True, False], ids=["at once", "one by one"])
def test_killed_at_any_write_nothing_is_half_written(
    work: Work, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(durable, "exchange", lambda *_: False)
    work.edit()
    before = work.state()
    work.done("drop", "1", "--because", "it is needless")
    after = work.state()
    work.done("drop", "--undo")
    assert work.state() == before
    at, states = 0, []
    while killed(lambda: work.run("drop", "1", "--because", "it is needless"), at):
        found = work.state()
        states.append(found)
        if exchange:
            assert found in (before, after), f"killed before change {at}"
        if found != before:
            work.done("drop", "--undo")
        assert work.state() == before
        assert "as it was" in work.done("refresh")
        at += 1
    assert at > 8
    assert before in states
    assert work.state() == after
    Store(work.project.store).tidy()
    work.nothing_left()


@pytest.mark.slow
def test_killed_at_any_write_a_refresh_is_done_by_the_next_one(work: Work) -> None:
    place, before = work.edit(), work.state()
    write(place, "tinycuda/x.py", "X = 1\n")
    commit(place, MESSAGE.format(subject="New"))
    at = 0
    while killed(lambda: work.run("refresh"), at):
        assert work.listed() in (ALL, [*ALL, "0004-new.patch"])
        work.done("refresh")
        assert work.listed() == [*ALL, "0004-new.patch"]
        work.done("refresh", "--undo")
        assert work.state() == before
        at += 1
    assert at > 8
