"""Patches that do not fit: refused by the build, the same way every time, with nothing left."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from retread.build import choice, pipeline
from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.store import Kind, Store
from retread.recipe import workspace
from retread.recipe.series import ChangeKind
from tinycuda import FILES, OPS, Project, diff, ops

OLD = FILES[OPS]
GOOD = diff(OPS, OLD, ops(VALUE_3=30))


def _job(project: Project) -> pipeline.Job:
    machine = Machine(Store(project.store), Console(quiet=True), dict(os.environ))
    (job,) = choice.jobs(workspace.load(project.root, "tiny-1.0"), None, machine)
    return job


def _changes(project: Project) -> dict[str, str]:
    return {one.path: one.kind for one in _job(project).goal.trees.patched.changes}


FUZZY = GOOD.replace(" VALUE_5 = 5", " VALUE_5 = FIVE")
REVERSED = diff(OPS, ops(VALUE_3=30), OLD)
CRLF = GOOD.replace(" = 1\n", " = 1\r\n").replace(" = 2\n", " = 2\r\n").replace(" = 30\n", " = 30\r\n")
DOS = FILES["tinycuda/dos.py"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (FUZZY, f"0001-change.patch does not apply to COMMIT ({OPS}:1)"),
        (REVERSED, "0001-change.patch: COMMIT holds this change already (its reverse applies)"),
        (diff("tinycuda/gone.py", "A = 1\n", "A = 2\n"), "target deleted: COMMIT has no tinycuda/gone.py"),
        (
            diff("tinycuda/old/deep.py", "A = 1\n", "A = 2\n"),
            "target deleted: COMMIT has no tinycuda/old/deep.py; there is tinycuda/extra/deep.py",
        ),
        (diff("tinycuda/opz.py", OLD, ops(VALUE_3=30)), f"(did you mean '{OPS}'?)"),
        (diff("old/setup.py", "A = 1\n", "A = 2\n"), "no old/setup.py; there is setup.py"),
        (diff(OPS, "", "A = 1\n"), f"does not apply to COMMIT ({OPS} exists already)"),
        (CRLF, f"{OPS}:1: its lines end with CR LF, the source's with LF"),
        (
            diff("tinycuda/dos.py", DOS.replace("\r", ""), DOS.replace("\r", "").replace("2", "3")),
            "tinycuda/dos.py:1: its lines end with LF, the source's with CR LF",
        ),
    ],
    ids=["fuzz", "reversed", "gone", "moved", "misspelt", "moved up", "exists", "crlf on lf", "lf on crlf"],
)  # fmt: skip
def test_a_patch_that_does_not_fit_is_refused_the_same_way_every_time(
    project: Project, body: str, words: str
) -> None:
    project.series(body)
    words = words.replace("COMMIT", project.upstream.commit[:8])
    first = project.fails(5, "retread: series: ", words, room=Kind.PATCHED)
    second = project.fails(5, words, room=Kind.PATCHED)
    assert first.err.partition("retread: ")[2] == second.err.partition("retread: ")[2]
    assert "next: " in first.err


def test_a_change_that_an_earlier_patch_makes_is_not_called_upstreams(project: Project) -> None:
    project.series(GOOD, GOOD)
    project.fails(5, "0002-change.patch: is 0001-change.patch once more: the same diff")
    project.series(GOOD, GOOD.replace("--- ", "index 1..2\n--- "))
    project.fails(5, "0002-change.patch: 0001-change.patch makes this change already", "drop one of the two")


def test_code_that_is_there_is_not_inserted_once_more_through_an_offset(project: Project) -> None:
    """git would find the same lines in the next function, or a second time in this one."""
    path, body = "tinycuda/rep.py", "    a = 1\n    b = 2\n    return a\n"
    text = "".join(f"def f{number}():\n{body}\n\n" for number in range(1, 11))
    guarded = text.replace("def f7():\n", "def f7():\n    # guard\n    check()\n\n")
    later = f"--- a/{path}\n+++ b/{path}\n@@ -37,3 +37,6 @@\n+    # guard\n+    check()\n+\n"
    later += "".join(f" {line}\n" for line in body.splitlines())
    project.series(diff(path, "", text), diff(path, text, guarded), later)
    project.fails(5, "0003-change.patch: 0002-change.patch makes this change already", room=Kind.PATCHED)


def test_a_source_without_a_newline_at_its_end_is_told(project: Project) -> None:
    add = diff("tinycuda/end.py", "", "A = 1\nB = 2\n").replace(
        "+B = 2\n", "+B = 2\n\\ No newline at end of file\n"
    )
    project.series(add, diff("tinycuda/end.py", "A = 1\nB = 2\n", "A = 1\nB = 3\n"))
    project.fails(
        5, "0002-change.patch does not apply", "end.py:1: the source ends without a newline, which '\\ No"
    )


def test_a_file_in_a_new_folder_closes_the_overlay_before_anything_is_fetched(project: Project) -> None:
    project.series(diff("tinycuda/brandnew/mod.py", "", "M = 1\n"))
    words = (
        "0001-change.patch adds tinycuda/brandnew/mod.py in a folder that the source lacks, a native input"
    )
    project.fails(6, words)
    planned = project.run("plan", "tiny-1.0")
    assert (planned.code, words in planned.err) == (6, True)
    assert project.index.log == []
    checked = project.run("patch", "check", "tiny-1.0")
    assert checked.code == 0
    assert f"no overlay: {words}" in checked.out


@pytest.mark.parametrize(
    ("path", "words"),
    [("../evil.py", "leaves the source tree"), ("tinycuda/../../evil.py", "leaves the source tree"),
     (".git/config", "leaves the source tree"), ("/etc/evil", "not a plain relative path")],
)  # fmt: skip
def test_a_patch_that_leaves_the_tree_is_refused_before_anything_is_fetched(
    project: Project, path: str, words: str
) -> None:
    project.series(diff(path, "", "EVIL = 1\n"))
    project.fails(5, f"0001-change.patch: b/{path}: {words}")
    assert project.index.log == []


def test_when_the_second_patch_fails_nothing_is_kept_and_a_mended_one_succeeds(project: Project) -> None:
    second = diff(OPS, ops(VALUE_3=30), ops(VALUE_3=30, VALUE_20=2))
    project.series(GOOD, second.replace(" VALUE_21 = 21", " VALUE_21 = 12"))
    for _ in range(2):
        project.fails(5, "0002-change.patch does not apply", room=Kind.PATCHED)
    project.series(GOOD, second)
    assert project.build().code == 0
    assert _changes(project) == {OPS: ChangeKind.MODIFY}
    assert (_job(project).goal.trees.patched.root / OPS).read_text() == ops(VALUE_3=30, VALUE_20=2)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data.replace(b"\n", b"\r\n"), "0001-change.patch: lines of its own end with CR LF"),
        (lambda data: data[:-1], "0001-change.patch: does not end with a newline"),
    ],
    ids=["crlf", "cut"],
)
def test_a_spoilt_file_is_told_as_that_before_anything_is_fetched(
    project: Project, spoil: Callable[[bytes], bytes], words: str
) -> None:
    path = project.root / "patches" / "tinycuda" / "1.0" / "0001-change.patch"
    path.write_bytes(spoil(path.read_bytes()))
    result = project.fails(5, "the series breaks 1 rule", words)
    assert "not a unified diff" not in result.err
    assert project.index.log == []


def test_a_mode_closes_the_overlay(project: Project) -> None:
    project.series(f"diff --git a/{OPS} b/{OPS}\nold mode 100644\nnew mode 100755\n")
    project.fails(
        6, f"0001-change.patch gives {OPS} mode 100755: only a build can say what a wheel has of that"
    )


def test_a_copy_goes_in(project: Project) -> None:
    """Its source stays as it is, which is no sign of a patch that git passed over."""
    project.series(
        f"diff --git a/{OPS} b/tinycuda/more.py\nsimilarity index 100%\ncopy from {OPS}\ncopy to tinycuda/more.py\n"
    )
    assert project.build().code == 0
    assert _changes(project) == {"tinycuda/more.py": ChangeKind.ADD}
