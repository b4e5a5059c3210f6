"""Each verdict that a patch, and a hunk, can get on another source, with real git."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from retread.queue.carry import Carried, Carrier, Known, Wish
from retread.queue.fate import Fate, together
from retread.queue.pieces import Piece
from retread.queue.repository import Repository
from retread.recipe.proof import blob_id
from retread.source.records import Manifest, SourceTree

LINES = [f"line {number}\n" for number in range(1, 41)]
OLD = "".join(LINES)
BLOCK = "begin\nsame\nsame\nsame\nend\n"


def changed(**lines: str) -> str:
    """Return the file with other lines: ``changed(_3="x")``."""
    return "".join(f"{lines[f'_{at}']}\n" if f"_{at}" in lines else line for at, line in enumerate(LINES, 1))


class Made:
    """A repository with an old and a new source, and a series on the old one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scratch").mkdir()
        self.git = Repository(folder / "git", dict(os.environ), folder / "scratch", bare=True)
        self.git.init()

    def tree(self, name: str, files: Mapping[str, str]) -> str:
        """Return the tree of files."""
        root = self.folder / name
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        blobs = {path: blob_id(text.encode()) for path, text in files.items()}
        return self.git.base(
            SourceTree(root=root, manifest=Manifest(commit="", time=0, files=blobs, unproven=()))
        )

    def carry(
        self,
        old: dict[str, str],
        steps: list[dict[str, str]],
        new: dict[str, str],
        fixed: bool = False,
        **wish: Fate,
    ) -> list[Carried]:
        """Carry a series, whose sources after each patch are ``steps``, to ``new``."""
        before = base = self.tree("old", old)
        some = []
        for number, step in enumerate(steps, start=1):
            after = self.tree(f"step{number}", step)
            some.append(Piece(f"000{number}-p.patch", b"", before, after, self.git.diff(before, after)))
            before = after
        target = self.tree("new", new)
        known = Known(lambda: self.git.renamed(base, target), lambda _: fixed)
        carrier = Carrier(self.git, (base, target), known)
        names = {f"000{key[1:]}-p.patch": value for key, value in wish.items()}
        return carrier.carry(some, Wish(names, {}))

    def text(self, one: Carried, path: str = "a.py") -> str:
        """Return a file as a carried patch leaves it."""
        assert one.piece is not None
        return self.git.ask("show", f"{one.piece.after}:{path}")


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


PATCHED = {"a.py": changed(_20="patched")}


@pytest.mark.parametrize(
    ("new", "fate", "detail"),
    [
        ({"a.py": changed(_1="other")}, Fate.CLEAN, ""),
        ({"a.py": "more\n" + OLD}, Fate.OFFSET, "+1"),
        ({"a.py": changed(_18="other")}, Fate.THREE_WAY, ""),
        ({"a.py": changed(_20="patched", _1="other")}, Fate.UPSTREAM, ""),
        ({"a.py": changed(_20="otherwise")}, Fate.CONFLICT, "a.py:17"),
        ({"b.txt": "nothing of it\n"}, Fate.DELETED, ""),
        ({"sub/b.py": OLD}, Fate.RENAMED, "sub/b.py"),
    ],
    ids=["clean", "offset", "three-way", "upstream", "conflict", "deleted", "renamed"],
)
def test_every_verdict(made: Made, new: dict[str, str], fate: Fate, detail: str) -> None:
    (one,) = made.carry({"a.py": OLD}, [PATCHED], new)
    assert [(hunk.fate, hunk.detail) for hunk in one.fate.hunks] == [(fate, detail)]
    assert one.fate.fate is fate
    assert one.fate.kept == (fate in {Fate.CLEAN, Fate.OFFSET})
    assert one.fate.open != one.fate.kept


@pytest.mark.parametrize(("mode", "fate"), [(0o644, Fate.CLEAN), (0o755, Fate.UPSTREAM)])
def test_a_mode_goes_in_once(made: Made, mode: int, fate: Fate) -> None:
    old = made.tree("old", {"a b.py": OLD})
    (made.folder / "old" / "a b.py").chmod(0o755)
    step = made.tree("old", {"a b.py": OLD})
    (made.folder / "old" / "a b.py").chmod(mode)
    new = made.tree("old", {"a b.py": OLD, "other": ""})
    piece = Piece("0001-p.patch", b"", old, step, None)
    (one,) = Carrier(made.git, (old, new), Known(dict, lambda _: False)).carry([piece], Wish({}, {}))
    assert one.fate.fate is fate


ODD = {"a.py": OLD, "b.py": "x\r\ny\r\n", "c d.py": "no\nend", "gone.py": "g\n"}
ODD_AFTER = {"a.py": OLD, "b.py": "x\r\nz\r\n", "sub/ü ß.py": "no\nend", "new.py": "n"}


def test_files_that_come_go_and_move_are_carried(made: Made) -> None:
    (one,) = made.carry(ODD, [ODD_AFTER], {**ODD, "a.py": changed(_1="other")})
    assert (one.fate.fate, one.fate.kept) == (Fate.CLEAN, True)
    assert one.piece is not None
    listed = made.git.ask("ls-tree", "-r", "--name-only", "-z", one.piece.after).split("\0")
    assert listed[:-1] == ["a.py", "b.py", "new.py", "sub/ü ß.py"]
    assert made.git.bytes_of(made.git.blob(one.piece.after, "b.py")[1]) == b"x\r\nz\r\n"
    assert made.git.bytes_of(made.git.blob(one.piece.after, "new.py")[1]) == b"n"


@pytest.mark.parametrize(
    ("new", "path", "fate"),
    [
        ({"b.py": "x\ny\n"}, "b.py", Fate.CONFLICT),
        ({"c d.py": "no\nend\n"}, "c d.py", Fate.CLEAN),
        ({"new.py": "n"}, "new.py", Fate.TWICE),
        ({"new.py": "m"}, "new.py", Fate.CONFLICT),
    ],
    ids=[
        "its lines end otherwise",
        "a renamed file got its newline",
        "the new file is there",
        "another one is",
    ],
)
def test_an_odd_file_that_does_not_fit_is_told(
    made: Made, new: dict[str, str], path: str, fate: Fate
) -> None:
    (one,) = made.carry(ODD, [ODD_AFTER], {**ODD, **new})
    assert [hunk.fate for hunk in one.fate.hunks if hunk.path == path] == [fate]
    assert one.fate.open == (fate is not Fate.CLEAN)


def test_a_conflict_shows_what_upstream_did_there(made: Made) -> None:
    (one,) = made.carry({"a.py": OLD}, [PATCHED], {"a.py": changed(_20="otherwise", _38="far away")})
    assert "-line 20\n+otherwise\n" in one.fate.hunks[0].upstream
    assert "far away" not in one.fate.hunks[0].upstream


def test_what_a_header_calls_fixed_is_upstream_in_other_words(made: Made) -> None:
    (one,) = made.carry({"a.py": OLD}, [PATCHED], {"a.py": changed(_20="otherwise")}, fixed=True)
    assert one.fate.fate is Fate.OTHERWISE
    assert one.fate.open


def test_a_change_that_is_there_is_not_applied_twice(made: Made) -> None:
    """git puts an insertion in a second time where the same lines stand again."""
    old = {"a.py": BLOCK + "".join(LINES[:10]) + BLOCK}
    with_it = BLOCK.replace("same\nend", "same\nadded\nend")
    patched = {"a.py": with_it + "".join(LINES[:10]) + BLOCK}
    new = {"a.py": with_it + "".join(LINES[:10]) + BLOCK}
    (one,) = made.carry(old, [patched], new)
    assert one.fate.fate in {Fate.TWICE, Fate.UPSTREAM}
    assert one.fate.open


def test_accepted_verdicts_are_done(made: Made) -> None:
    (one,) = made.carry({"a.py": OLD}, [PATCHED], {"a.py": changed(_18="other")}, _1=Fate.THREE_WAY)
    assert one.fate.kept
    assert one.fate.reason == "three-way, accepted"
    assert made.text(one) == changed(_18="other", _20="patched")


def test_an_accepted_rename_aims_the_patch_there(made: Made) -> None:
    (one,) = made.carry({"a.py": OLD}, [PATCHED], {"sub/b.py": OLD}, _1=Fate.RENAMED)
    assert made.text(one, "sub/b.py") == changed(_20="patched")


def test_an_accepted_verdict_must_be_the_one_that_it_is(made: Made) -> None:
    (one,) = made.carry({"a.py": OLD}, [PATCHED], {"a.py": changed(_20="otherwise")}, _1=Fate.THREE_WAY)
    assert one.fate.open
    assert one.piece is None


def test_later_patches_are_tried_without_the_one_that_is_open(made: Made) -> None:
    steps = [
        PATCHED,
        {"a.py": changed(_20="patched", _35="second")},
        {"a.py": changed(_20="third", _35="second")},
    ]
    found = made.carry({"a.py": OLD}, steps, {"a.py": changed(_20="otherwise")})
    assert [one.fate.fate for one in found] == [Fate.CONFLICT, Fate.CLEAN, Fate.CONFLICT]
    assert made.text(found[1]) == changed(_20="otherwise", _35="second")


def test_hunks_have_verdicts_of_their_own(made: Made) -> None:
    steps = [{"a.py": changed(_5="one", _20="two", _35="three")}]
    (one,) = made.carry({"a.py": OLD}, steps, {"a.py": changed(_5="one", _20="otherwise")})
    assert [hunk.fate for hunk in one.fate.hunks] == [Fate.UPSTREAM, Fate.CONFLICT, Fate.CLEAN]


def test_a_patch_of_which_a_part_is_upstream_is_for_a_person(made: Made) -> None:
    steps = [{"a.py": changed(_5="one", _35="three")}]
    (one,) = made.carry({"a.py": OLD}, steps, {"a.py": changed(_5="one")}, _1=Fate.UPSTREAM)
    assert one.fate.open
    assert together([Fate.UPSTREAM, Fate.CLEAN]) is Fate.CONFLICT
    assert together([Fate.UPSTREAM, Fate.UPSTREAM]) is Fate.UPSTREAM
    assert together([Fate.CLEAN, Fate.OFFSET]) is Fate.OFFSET


def test_a_moved_patch_is_written_for_its_new_place(made: Made) -> None:
    (one,) = made.carry({"a.py": OLD}, [PATCHED], {"a.py": "more\n" + OLD})
    assert one.piece is not None
    assert one.piece.diff is None
    (two,) = Made(_below(made)).carry({"a.py": OLD}, [PATCHED], {"a.py": changed(_1="x")})
    assert two.piece is not None
    assert two.piece.diff is not None


def _below(made: Made) -> Path:
    (made.folder / "again").mkdir()
    return made.folder / "again"
