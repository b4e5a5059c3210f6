"""Patches made, folded, moved, dropped, split and squashed: series, numbers and files in one go, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patchwork import FULL, MESSAGE, Work, commit, write
from tinycuda import FILES, OPS, Project, diff, git, ops

ALL = ["0001-change.patch", "0002-change.patch", "0003-change.patch"]
LAST = ops(VALUE_3=30, VALUE_30=3)


@pytest.fixture
def work(project: Project) -> Work:
    return Work(project)


def _file(tmp_path: Path, text: str) -> str:
    (tmp_path / "some.diff").write_bytes(text.encode())
    return str(tmp_path / "some.diff")


def _subjects(work: Work) -> list[str]:
    names = [name for name in work.listed() if name and not name.startswith("#")]
    return [(work.folder / name).read_text().partition("\n")[0] for name in names]


def test_new_of_a_diff_gets_the_next_number(work: Work, tmp_path: Path) -> None:
    origin = _file(tmp_path, diff(OPS, LAST, ops(VALUE_3=30, VALUE_30=3, VALUE_20=2)))
    words = ["more", "--from", origin, "--set", "Subject: More", *FULL]
    out = json.loads(work.done("new", *words, "--json"))
    assert out["action"] == "new more"
    assert out["patches"][3] == {"name": "0004-more.patch", "was": "", "state": "new"}
    assert work.listed() == [*ALL, "0004-more.patch"]
    text = (work.folder / "0004-more.patch").read_text()
    assert text.startswith(
        "Subject: More\nBreaks: said\nAffects: said\nDrop-when: said\nUpstream: not reported\n---\n"
    )
    assert work.source()[OPS] == ops(VALUE_3=30, VALUE_30=3, VALUE_20=2)
    assert work.project.run("patch", "check").code == 0
    work.done("new", "--undo")
    assert work.listed() == ALL


def test_new_before_another_moves_the_numbers_of_the_later_ones(work: Work, tmp_path: Path) -> None:
    origin = _file(tmp_path, diff(OPS, FILES[OPS], ops(VALUE_20=2)))
    before = work.state()
    work.done("new", "0009-more.patch", "--from", origin, "--before", "2", "--set", "Subject: More", *FULL)
    assert work.listed() == [ALL[0], "0002-more.patch", "0003-change.patch", "0004-change.patch"]
    assert work.state()["0004-change.patch"] == before[ALL[2]]
    assert work.source()[OPS] == ops(VALUE_3=30, VALUE_30=3, VALUE_20=2)


def test_new_takes_its_header_from_a_file(work: Work, tmp_path: Path) -> None:
    header = tmp_path / "header.txt"
    header.write_text(
        "Subject: Über\nBreaks: b\n folded\nAffects: a\nUpstream: not reported\nDrop-when: d\n\nText.\n"
    )
    origin = _file(tmp_path, diff("tinycuda/y.py", "", "Y = 1\n"))
    work.done("new", "more", "--from", origin, "--header", str(header))
    assert (work.folder / "0004-more.patch").read_text().startswith(header.read_text() + "---\ndiff --git")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["more"], 2, "made of what? --from is missing"),
        (["--from", "DIFF"], 2, "what is it called?"),
        (["more", "--from", "DIFF"], 5, "header: Subject is missing"),
        (["more", "--from", "DIFF", "--set", "Subject: x"], 5, "header: Drop-when is missing"),
        (["more", "--from", "DIFF", "--set", "nonsense"], 2, "'nonsense' is not 'Field: text'"),
        (["change", "--from", "DIFF", *FULL], 2, "the name change is taken: 0001-change.patch"),
        (["../evil", "--from", "DIFF", *FULL], 2, "'../evil' is not a patch's name"),
        (["more", "--from", "DIFF", "--before", "7", *FULL], 2, "has no patch '7'"),
        (["more", "--from", "DIFF", "--before", "1", "--after", "2", *FULL], 2, "name one of the two"),
        (["more", "--from", "nowhere", *FULL], 2, "there is no worktree"),
        (["more", "--from", "DIFF", "--header", "nowhere"], 2, "there is no file nowhere"),
    ],
)
def test_new_says_what_is_missing(work: Work, tmp_path: Path, words: list[str], code: int, said: str) -> None:
    origin = _file(tmp_path, diff("tinycuda/y.py", "", "Y = 1\n"))
    typed = [origin if word == "DIFF" else word for word in words]
    work.refused(code, "new", *typed, said=(said,))


def test_new_of_a_diff_that_does_not_go_in(work: Work, tmp_path: Path) -> None:
    origin = _file(tmp_path, diff(OPS, ops(VALUE_3=7), ops(VALUE_3=8)))
    work.refused(5, "new", "more", "--from", origin, *FULL, said=(f"some.diff does not go in ({OPS}:1)",))
    same = _file(tmp_path, diff(OPS, FILES[OPS], ops(VALUE_3=30)))
    work.refused(5, "new", "more", "--from", same, *FULL, said=("does not go in",))


def test_new_of_a_commit_of_another_clone(work: Work, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(work.project.upstream.repository), "clone")
    write(clone, "tinycuda/dos.py", "A = 1\r\nB = 7\r\nC = 3\r\n")
    made = commit(clone, MESSAGE.format(subject="From upstream"))
    work.done("new", "theirs", "--from", "HEAD", "--clone", str(clone))
    text = (work.folder / "0004-theirs.patch").read_text()
    assert text.startswith("Subject: From upstream\nBreaks: what a user sees\n")
    assert f"Origin: commit {made}\n" in text
    assert work.source()["tinycuda/dos.py"] == "A = 1\r\nB = 7\r\nC = 3\r\n"
    git(clone, "checkout", "--quiet", "-b", "side", "HEAD~1")
    write(clone, "z.py", "Z = 1\n")
    commit(clone, "side")
    git(clone, "merge", "--quiet", "--message", "both", "main")
    words = ("more", "--clone", str(clone))
    work.refused(5, "new", *words, "--from", "HEAD", said=("a merge of",))
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "empty")
    work.refused(5, "new", *words, "--from", "HEAD", said=("changes nothing",))
    work.refused(2, "new", *words, "--from", "nowhere", said=("neither a file nor a commit",))


def test_fold_changes_one_patch_and_replays_the_rest(work: Work, tmp_path: Path) -> None:
    before = work.state()
    origin = _file(tmp_path, diff(OPS, ops(VALUE_3=30), ops(VALUE_3=33)))
    out = work.done("fold", "1", "--from", origin)
    assert "0001-change.patch  content" in out
    assert work.source()[OPS] == ops(VALUE_3=33, VALUE_30=3)
    assert {name for name, data in work.state().items() if before[name] != data} == {ALL[0]}


def test_fold_into_the_way_of_a_later_patch_is_refused(work: Work, tmp_path: Path) -> None:
    origin = _file(tmp_path, diff(OPS, ops(VALUE_3=30), ops(VALUE_3=30, VALUE_31=9)))
    work.refused(5, "fold", "1", "--from", origin, said=(f"{ALL[1]} does not go in after it ({OPS}:27)",))


def test_move_renumbers_and_the_source_stays(work: Work) -> None:
    before, source = work.state(), work.source()
    work.done("move", "3", "--before", "1")
    assert _subjects(work) == [f"Subject: Change {ALL[index]}" for index in (2, 0, 1)]
    assert work.listed() == ALL
    assert work.state()[ALL[0]] == before[ALL[2]]
    assert work.source() == source
    work.done("move", "1", "--after", "3")
    assert work.state() == before
    work.refused(2, "move", "1", said=("where to?",))
    work.refused(2, "move", said=("which patch?",))


def test_move_before_what_it_needs_is_refused(work: Work) -> None:
    work.project.series(
        diff(OPS, FILES[OPS], ops(VALUE_3=30)), diff(OPS, ops(VALUE_3=30), ops(VALUE_3=30, VALUE_4=4_000))
    )
    work.refused(
        5,
        "move",
        "2",
        "--before",
        "1",
        said=(f"{ALL[1]} does not go in in that order", "nothing was changed"),
    )


def test_drop_keeps_the_reason_and_the_comments(work: Work) -> None:
    (work.folder / "series").write_text(
        f"# what all of them are for\n{ALL[0]}\n# why the second\n{ALL[1]} # a remark\n{ALL[2]}\n# the end\n"
    )
    work.done("drop", "1", "--because", "upstream took it\n  in 1.1")
    assert work.listed() == [
        "# what all of them are for",
        "# change.patch was dropped: upstream took it in 1.1",
        "# why the second",
        "0001-change.patch # a remark",
        "0002-change.patch",
        "# the end",
    ]
    assert work.source()[OPS] == ops(VALUE_30=3)
    assert work.project.run("patch", "check").code == 0
    work.refused(2, "drop", "1", said=("--because TEXT",))
    work.done("drop", "2", "--because", "x")
    work.done("drop", "1", "--because", "x")
    assert _subjects(work) == []


def test_drop_of_what_a_later_one_needs_is_refused(work: Work) -> None:
    work.project.series(
        diff(OPS, FILES[OPS], ops(VALUE_3=30)), diff(OPS, ops(VALUE_3=30), ops(VALUE_3=30, VALUE_4=4_000))
    )
    words = (f"{ALL[1]} does not go in without {ALL[0]}", "retread patch graph")
    work.refused(5, "drop", "1", "--because", "x", said=words)


def test_split_by_file_and_by_hunk_and_squash_back(project: Project) -> None:
    work = Work(project)
    both = diff(OPS, FILES[OPS], LAST) + diff("tinycuda/new.py", "", "NEW = 1\n")
    project.series(both)
    source, head = work.source(), ["--set", "Subject: The other", *FULL]
    work.done("split", "1", "other", "--path", f"{OPS}:2", "--path", "tinycuda/new.py", *head)
    assert work.listed() == ["0001-change.patch", "0002-other.patch"]
    assert work.source() == source
    first, second = ((work.folder / name).read_text() for name in work.listed())
    assert "+VALUE_3 = 30" in first
    assert "+VALUE_30 = 3" not in first
    assert "+VALUE_30 = 3" in second
    assert "+NEW = 1" in second
    work.done("squash", "1", "2")
    assert work.listed() == ["0001-change.patch"]
    assert work.source() == source
    assert _subjects(work) == ["Subject: Change 0001-change.patch"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["1", "other"], 2, "split off what?"),
        (["1", "other", "--path", "nowhere.py"], 2, f"{OPS} (hunks 1 to 2)"),
        (["1", "other", "--path", f"{OPS}:3"], 2, "the file has 2 hunks"),
        (["1", "other", "--path", f"{OPS}:x"], 2, f"0001-change.patch has no {OPS}:x"),
        (["1", "other", "--path", OPS], 2, "nothing would be left in it"),
        (["1", "other", "--path", f"{OPS}:1"], 5, "0002-other.patch (split from 0001-change.patch): header"),
        (["1"], 2, "what is the new one called?"),
    ],
)
def test_split_says_what_there_is(project: Project, words: list[str], code: int, said: str) -> None:
    work = Work(project)
    project.series(diff(OPS, FILES[OPS], LAST))
    work.refused(code, "split", *words, said=(said,))


def test_squash_takes_the_place_and_header_of_the_first(work: Work) -> None:
    source = work.source()
    work.done("squash", "3", "1")
    assert _subjects(work) == ["Subject: Change 0002-change.patch", "Subject: Change 0003-change.patch"]
    assert work.source() == source
    work.refused(2, "squash", "1", said=("name two patches or more",))
    work.refused(2, "squash", "1", "nothing", said=("has no patch 'nothing'",))


def test_squash_of_patches_that_undo_each_other_is_refused(project: Project) -> None:
    work = Work(project)
    project.series(diff(OPS, FILES[OPS], LAST), diff(OPS, LAST, FILES[OPS]))
    work.refused(5, "squash", "1", "2", said=("change nothing together", "retread patch drop"))


def test_the_worktree_follows_every_action_and_its_undo(work: Work) -> None:
    place = work.edit()
    work.done("drop", "2", "--because", "x")
    assert (place / OPS).read_text() == ops(VALUE_3=30)
    assert "as it was" in work.done("refresh", "--check")
    work.done("drop", "--undo")
    assert (place / OPS).read_text() == LAST
    assert "as it was" in work.done("refresh", "--check")


def test_an_action_does_not_lose_work_in_the_worktree(work: Work) -> None:
    place = work.edit()
    write(place, "tinycuda/x.py", "X = 1\n")
    commit(place, MESSAGE.format(subject="Unwritten"))
    words = ("holds work that is not in the series", "retread patch refresh tiny-1.0")
    work.refused(5, "drop", "1", "--because", "x", said=words)


def test_what_lies_beside_the_patches_stays(work: Work) -> None:
    (work.folder / "notes.md").write_text("remember\n")
    (work.folder / "more").mkdir()
    (work.folder / "more" / "deep.txt").write_text("deep\n")
    work.done("drop", "1", "--because", "x")
    assert (work.folder / "notes.md").read_text() == "remember\n"
    assert (work.folder / "more" / "deep.txt").read_text() == "deep\n"


def test_a_folder_that_is_a_link_stays_one(work: Work, tmp_path: Path) -> None:
    work.folder.rename(tmp_path / "elsewhere")
    work.folder.symlink_to(tmp_path / "elsewhere")
    work.done("drop", "1", "--because", "x")
    assert work.folder.is_symlink()
    assert len(list((tmp_path / "elsewhere").iterdir())) == 3


def test_a_read_only_folder_is_told(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    from retread.doors import durable, fs

    change = durable.change

    def refuse(act: object, *arguments: object) -> object:
        if act is fs.exchange:
            raise OSError(30, "Read-only file system", str(work.folder))
        assert callable(act)
        return change(act, *arguments)

    monkeypatch.setattr(durable, "change", refuse)
    work.refused(13, "drop", "1", "--because", "x", said=("the disk is read-only",))


def test_the_graph_shows_what_needs_what_and_native_inputs(project: Project) -> None:
    work = Work(project)
    three, four = ops(VALUE_3=30), ops(VALUE_3=30, VALUE_4=40)
    project.series(
        diff(OPS, FILES[OPS], three),
        diff("csrc/add.cu", FILES["csrc/add.cu"], FILES["csrc/add.cu"].replace("1", "2")),
        diff(OPS, three, four),
        diff(OPS, four, ops(VALUE_3=30, VALUE_4=40, VALUE_5=50)),
    )
    found = json.loads(work.done("graph", "--json"))["patches"]
    assert [one["needs"] for one in found] == [[], [], ["0001-change.patch"], ["0003-change.patch"]]
    assert [one["native"] for one in found] == [[], ["csrc/add.cu"], [], []]
    out = work.done("graph")
    assert "  0004-change.patch\n    needs 0003\n    touches tinycuda/ops.py" in out
    assert "touches csrc/add.cu (native)" in out
