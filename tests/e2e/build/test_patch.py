"""The series: applied whole or not at all; each way in which a patch does not fit has its own message."""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.store import Kind, Store
from retread.recipe import workspace
from retread.recipe.series import ChangeKind
from retread.source.records import Verdict
from retread.source.trees import Trees
from tinycuda import BUILT, FILES, OPS, Project, diff, git, ops

if TYPE_CHECKING:
    import pytest

OLD = FILES[OPS]
GOOD = diff(OPS, OLD, ops(VALUE_3=30))


def _trees(project: Project) -> Trees:
    machine = Machine(Store(project.store), Console(quiet=True), dict(os.environ))
    return Trees(workspace.load(project.root, "tiny-1.0"), machine)


def _changes(project: Project) -> dict[str, str]:
    return {one.path: one.kind for one in _trees(project).patched.changes}


def test_the_difference_holds_what_the_series_changes_and_no_more(project: Project) -> None:
    project.series(
        diff(OPS, OLD, ops(VALUE_3=30)),
        diff(OPS, ops(VALUE_3=30), ops(VALUE_3=30, VALUE_30=3)),
        diff("tinycuda/new.py", "", "NEW = 1\n"),
        diff("tinycuda/extra/deep.py", FILES["tinycuda/extra/deep.py"], ""),
    )
    patched = _trees(project).patched
    assert {one.path: one.kind for one in patched.changes} == {
        OPS: ChangeKind.MODIFY,
        "tinycuda/new.py": ChangeKind.ADD,
        "tinycuda/extra/deep.py": ChangeKind.DELETE,
    }
    assert (patched.root / OPS).read_text() == ops(VALUE_3=30, VALUE_30=3)
    files = {str(path.relative_to(patched.root)) for path in patched.root.rglob("*") if path.is_file()}
    assert files == {OPS, "tinycuda/new.py"}


def test_a_series_that_undoes_itself_changes_nothing(project: Project) -> None:
    project.series(GOOD, diff(OPS, ops(VALUE_3=30), OLD))
    assert _changes(project) == {}


def test_an_empty_series_changes_nothing(project: Project) -> None:
    project.series()
    assert _changes(project) == {}
    assert project.build().code == 0


def test_a_patch_at_other_lines_applies_and_says_so(project: Project) -> None:
    moved = re.sub(r"@@ -1,6 \+1,6 @@", "@@ -9,6 +9,6 @@", GOOD)
    assert moved != GOOD
    project.series(moved)
    (applied,) = _trees(project).try_series().applied
    assert applied.verdict is Verdict.OFFSET
    assert applied.detail == f"{OPS}: hunk 1 at line 1, 8 lines above its own"
    result = project.build()
    assert f"note: 0001-change.patch applies at other lines: {applied.detail}" in result.err
    assert _told(project.built)["offsets"] == [applied.detail]
    project.series(GOOD)
    assert project.build().code == 0
    assert "offsets" not in _told(project.built)


def _told(wheel: Path) -> dict[str, object]:
    """Return what a wheel says of its first patch."""
    with zipfile.ZipFile(wheel) as archive:
        said = json.loads(archive.read(f"{BUILT.partition('-py3')[0]}.dist-info/retread.json"))
    first: dict[str, object] = said["series"][0]
    return first


def test_a_python_file_that_does_not_compile_any_more_is_refused_before_anything_is_kept(
    project: Project,
) -> None:
    project.series(GOOD, diff(OPS, ops(VALUE_3=30), ops(VALUE_3=30).replace("= 30", "= (3")))
    for command in (("patch", "check", "tiny-1.0"), ("build", "tiny-1.0")):
        result = project.run(*command)
        assert result.code == 5
        assert "cannot compile 1 Python file that it could before" in result.err
        assert f"0001-change.patch, 0002-change.patch: {OPS}:3: SyntaxError: " in result.err
    assert project.entries(Kind.PATCHED) == []
    assert project.leftovers() == []


def test_a_new_python_file_that_does_not_compile_is_refused(project: Project) -> None:
    project.series(diff("tinycuda/new.py", "", "A = (\n"))
    for command in (("patch", "check", "tiny-1.0"), ("build", "tiny-1.0")):
        assert "0001-change.patch: tinycuda/new.py:1: SyntaxError: " in project.run(*command).err
    assert project.entries(Kind.PATCHED) == []


FUZZY = GOOD.replace(" VALUE_5 = 5", " VALUE_5 = FIVE")
CRLF = GOOD.replace(" = 1\n", " = 1\r\n").replace(" = 2\n", " = 2\r\n").replace(" = 30\n", " = 30\r\n")
DOS = FILES["tinycuda/dos.py"]


def test_a_patch_with_crlf_fits_a_source_with_crlf(project: Project) -> None:
    project.series(diff("tinycuda/dos.py", DOS, DOS.replace("2", "3")))
    patched = _trees(project).patched
    assert (patched.root / "tinycuda/dos.py").read_bytes() == b"A = 1\r\nB = 3\r\nC = 3\r\n"


def test_a_patch_that_makes_a_link_is_refused(project: Project) -> None:
    body = diff("tinycuda/link.py", "", "/etc/passwd\n").replace("100644", "120000")
    project.series(body)
    project.fails(5, "0001-change.patch", "symbolic link")
    assert project.index.log == []


def test_the_check_tries_every_patch_and_keeps_nothing(project: Project) -> None:
    project.series(FUZZY, GOOD, GOOD.replace("--- ", "index 1..2\n--- "), diff("gone.py", "A\n", "B\n"))
    result = project.run("patch", "check", "tiny-1.0", "--json")
    assert result.code == 5
    found = json.loads(result.out)["tiny-1.0"]
    assert [one["verdict"] for one in found] == [
        "does not apply", "applies", "already in the source", "target deleted",
    ]  # fmt: skip
    assert "3 patches cannot go in" in result.err
    assert project.entries(Kind.PATCHED) == []
    assert project.leftovers() == []
    project.series(GOOD)
    assert project.run("patch", "check").code == 0


def test_the_user_s_git_configuration_does_not_matter(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(
        "[apply]\n\twhitespace = fix\n\tignoreWhitespace = change\n[core]\n\tautocrlf = true\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    project.series(CRLF)
    project.fails(5, "its lines end with CR LF")


def test_a_repository_around_the_store_does_not_matter(project: Project) -> None:
    """``git apply`` below a repository takes paths from its top and skips what lies elsewhere, with exit code 0."""
    project.store.mkdir()
    git(project.store, "init", "--quiet")
    assert project.build().code == 0
    assert _changes(project) == {OPS: ChangeKind.MODIFY}


def test_without_git_the_message_says_so(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert project.run("patch", "check").code == 0
    project.series(diff(OPS, OLD, ops(VALUE_3=31)))
    monkeypatch.setenv("PATH", "/nowhere")
    project.fails(14, "git is not installed; it applies the patches")


def test_trees_are_looked_up_once(project: Project) -> None:
    project.series(GOOD)
    trees = _trees(project)
    assert trees.patched is trees.patched
    assert trees.source is trees.source
