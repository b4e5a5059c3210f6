"""The pinned tree: every file proven or allowed by name, whichever way it came; anything else is refused whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from retread import limits
from retread.doors.store import Kind
from retread.errors import SourceError
from retread.recipe import proof, workspace
from retread.source import tree as source
from tinycuda import FILES, INNER, SDIST, TIME, Project, commit, git

TOP = "tinycuda-1.0"


def _prove(project: Project, into: Path) -> None:
    loaded = workspace.load(project.root, "tiny-1.0")
    sdist = into / SDIST
    sdist.write_bytes(project.index.files["tinycuda"][SDIST])
    source.from_sdist(loaded.recipe, sdist, loaded.parsed_proofs(), into)


def test_an_sdist_becomes_a_tree_whose_every_file_is_accounted_for(project: Project, tmp_path: Path) -> None:
    _prove(project, tmp_path)
    tree = source.load(tmp_path)
    inner = {f"third_party/lib/{path}": text for path, text in INNER.items()}
    expected = FILES | inner
    assert {path: (tree.root / path).read_bytes().decode() for path in expected} == expected
    assert tree.manifest.files == {
        path: proof.blob_id((tree.root / path).read_bytes()) for path in (*expected, "PKG-INFO")
    }
    assert [(one.path, one.reason) for one in tree.manifest.unproven] == [
        ("PKG-INFO", "written by setuptools")
    ]
    assert tree.manifest.time == TIME


def test_an_archive_that_would_fill_the_disk_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SOURCE", 100)
    project.fails(4, "makes it larger than a source archive may be", room=Kind.TREES)


def test_a_submodule_pinned_at_another_commit_is_refused(project: Project) -> None:
    project.edit_recipe(f'commit = "{project.upstream.inner_commit}"', f'commit = "{"0" * 40}"')
    inner = project.upstream.inner_commit[:12]
    project.fails(4, f"third_party/lib is pinned at 000000000000, the commit has {inner}", room=Kind.TREES)


def test_a_submodule_that_the_commit_has_not_is_refused(project: Project) -> None:
    project.edit_recipe('path = "third_party/lib"', 'path = "third_party/bil"')
    project.fails(4, "third_party/bil is not a submodule of", room=Kind.TREES)


def test_no_proof_no_source(project: Project) -> None:
    (path,) = (project.root / "recipes" / "commits").glob("tinycuda-*.tree")
    path.unlink()
    project.fails(4, "no commit proof for", "recipes/commits/", room=Kind.TREES)


def _from_git(project: Project, into: Path, **environment: str) -> None:
    loaded = workspace.load(project.root, "tiny-1.0")
    source.from_git(
        loaded.recipe, into, environment={"PATH": os.environ["PATH"], **environment}, say=lambda text: None
    )


def test_git_gives_the_files_of_the_commit_and_of_its_submodules(project: Project, tmp_path: Path) -> None:
    into = tmp_path / "git"
    into.mkdir()
    _from_git(project, into)
    tree = source.load(into)
    inner = {f"third_party/lib/{path}": text for path, text in INNER.items()}
    for path, text in (FILES | inner).items():
        assert (tree.root / path).read_bytes() == text.encode()
        assert tree.manifest.files[path] == proof.blob_id(text.encode())
    assert tree.manifest.time == TIME
    assert not list(tree.root.rglob(".git"))


def test_attributes_and_filters_do_not_change_what_the_commit_holds(project: Project, tmp_path: Path) -> None:
    files = {".gitattributes": "*.py text eol=crlf\n*.c ident\n", "a.py": "A = 1\n", "b.c": "/* $Id$ */\n"}
    found = commit(tmp_path / "odd", files)
    into = tmp_path / "into"
    source._checkout(
        Path("/usr/bin/git"), f"file://{tmp_path}/odd", found, into, {"PATH": os.environ["PATH"]}
    )
    for path, text in files.items():
        assert (into / path).read_bytes() == text.encode()


def test_a_repository_around_the_caller_is_left_alone(project: Project, tmp_path: Path) -> None:
    """A hook runs with GIT_DIR and GIT_INDEX_FILE set; they are not retread's."""
    mine = tmp_path / "mine"
    head = commit(mine, {"precious": "work\n"})
    (tmp_path / "into").mkdir()
    _from_git(
        project, tmp_path / "into",
        GIT_DIR=str(mine / ".git"), GIT_WORK_TREE=str(mine), GIT_INDEX_FILE=str(mine / ".git" / "index"),
    )  # fmt: skip
    assert git(mine, "rev-parse", "HEAD").strip() == head
    assert git(mine, "status", "--porcelain") == ""
    assert source.load(tmp_path / "into").manifest.commit == project.upstream.commit


def test_the_user_s_hooks_do_not_run(project: Project, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "post-checkout").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (hooks / "post-checkout").chmod(0o755)
    (tmp_path / "config").write_text(f"[core]\n\thooksPath = {hooks}\n")
    (tmp_path / "into").mkdir()
    _from_git(project, tmp_path / "into", GIT_CONFIG_GLOBAL=str(tmp_path / "config"))
    assert not (tmp_path / "ran").exists()


def test_a_commit_that_the_repository_has_not_is_a_message(project: Project) -> None:
    project.edit_recipe(f'commit = "{project.upstream.commit}"', f'commit = "{"1" * 40}"')
    result = project.build("--source", "git")
    assert result.code == 4
    assert f"tinycuda has no commit {12 * '1'}" in result.err
    assert "name a clone that has it with --repository" in result.err
    assert project.leftovers() == []
    assert project.entries(Kind.TREES) == []


def test_source_error_is_the_kind(project: Project, tmp_path: Path) -> None:
    project.publish_sdist(lambda files: files.update({f"{TOP}/evil": b""}))
    with pytest.raises(SourceError, match="1 file"):
        _prove(project, tmp_path)
    assert not (tmp_path / "tree" / "evil").exists()
