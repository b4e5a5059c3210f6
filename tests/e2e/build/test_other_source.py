"""Recipes of projects without a source archive: a commit alone, or the wheel alone; LFS; packages in a folder."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from retread.doors.store import Kind
from retread.prooflevel import ProofLevel
from tinycuda import FILES, INFO, METADATA, OPS, WHEEL, Project, commit, diff, git, ops, sha256

NEW_INFO = "tinycuda-1.0+cu128.1.dist-info"
DATA = b"weights" * 100
SHA256 = hashlib.sha256(DATA).hexdigest()
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA256}\nsize {len(DATA)}\n"


def without(project: Project, *tables: str) -> None:
    """Leave tables out of the recipe."""
    for one in tables:
        start = project.recipe_text.index(one)
        end = project.recipe_text.index("\n[", start + 1)
        project.edit_recipe(project.recipe_text[start : end + 1], "")


def alone(project: Project) -> None:
    """Have the wheel stand for its source, for no torch."""
    without(project, "[pin]", "[[pin.submodules]]", "[sdist]", "[[sdist.unproven]]")
    project.edit_recipe('torch = ">=2.8"\n', "")
    digest = sha256(project.index.files["tinycuda"][WHEEL])
    project.edit_recipe(
        "[targets.cu128]\n", f'[source]\nwheel = "{WHEEL}"\nsha256 = "{digest}"\n\n[targets.cu128]\n'
    )


def torchless(files: dict[str, bytes]) -> None:
    files[f"{INFO}/METADATA"] = METADATA.replace("Requires-Dist: torch>=2.8\n", "").encode()


def pinned(project: Project, files: dict[str, str], folder: Path) -> str:
    """Pin a repository of these files, without submodules and without an archive; return its commit."""
    made = commit(folder, files)
    without(project, "[[pin.submodules]]", "[sdist]", "[[sdist.unproven]]")
    project.edit_recipe(project.upstream.commit, made)
    project.edit_recipe(f"file://{project.upstream.repository}", f"file://{folder}")
    return made


def said(wheel: Path) -> dict[str, object]:
    with zipfile.ZipFile(wheel) as opened:
        found: dict[str, object] = json.loads(opened.read(f"{NEW_INFO}/retread.json"))
        return found


def test_a_commit_without_an_archive_is_fetched_packed_and_said(project: Project) -> None:
    without(project, "[sdist]", "[[sdist.unproven]]")
    result = project.build()
    assert result.code == 0, result
    told = said(project.built)
    assert (told["source"], told["commit"], told["sdist"]) == ("repository", project.upstream.commit, None)
    (entry,) = (project.store / "trees").glob("*/*")
    packed = entry / "source.tar"
    assert told["packed"] == {
        "file": f"tinycuda-1.0-{project.upstream.commit[:12]}.tar",
        "sha256": sha256(packed.read_bytes()),
    }
    with tarfile.open(packed) as opened:
        assert opened.getnames() == sorted(opened.getnames())
        assert "tinycuda-1.0/third_party/lib/include/lib.h" in opened.getnames()
    shown = project.run("inspect", str(project.built)).out
    assert f"commit {project.upstream.commit[:12]}; {ProofLevel.REPOSITORY.words}" in shown


def test_a_clone_serves_in_the_place_of_the_repository(project: Project, tmp_path: Path) -> None:
    project.edit_recipe(f"file://{project.upstream.repository}", "https://example.invalid/tinycuda")
    without(project, "[sdist]", "[[sdist.unproven]]")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--no-local", str(project.upstream.repository), str(clone))
    assert project.build("--repository", str(clone)).code == 0
    git(clone, "checkout", "--quiet", "--orphan", "other")
    other = commit(tmp_path / "empty", {"README.md": "another\n"})
    result = project.run("build", "tiny-1.0", "--repository", str(tmp_path / "empty"), "--target", "cu128")
    assert (result.code, other in result.err) == (0, False)  # it is in the store


def test_a_clone_without_the_commit_is_refused(project: Project, tmp_path: Path) -> None:
    without(project, "[sdist]", "[[sdist.unproven]]")
    commit(tmp_path / "other", {"README.md": "another\n"})
    result = project.build("--repository", str(tmp_path / "other"))
    assert (result.code, project.leftovers(), project.entries(Kind.TREES)) == (4, [], [])
    assert f"{tmp_path}/other has no commit {project.upstream.commit[:12]}" in result.err


def test_a_clone_that_is_not_there_or_is_none_is_told_plainly(project: Project, tmp_path: Path) -> None:
    result = project.build("--source", "git", "--repository", "/nothere")
    assert (result.code, result.err) == (
        2,
        "retread: usage: --repository: there is no /nothere\n  next: name a clone of the source, or an address\n",
    )
    result = project.build("--source", "git", "--repository", str(tmp_path))
    assert (result.code, project.leftovers()) == (7, [])
    assert (
        f"retread: fetch: {tmp_path} cannot be asked for {project.upstream.commit[:12]}: fatal: "
        in result.err
    )
    assert "  next: try again when it can be reached, or name a clone that has it" in result.err
    assert "scratch" not in result.err


def test_a_clone_is_no_use_where_an_archive_is_taken(project: Project, tmp_path: Path) -> None:
    result = project.build("--repository", str(tmp_path))
    assert (result.code, project.leftovers()) == (2, [])
    assert "--repository: the source of tiny-1.0 does not come from git" in result.err


def test_a_wheel_alone_is_patched_and_says_that_its_source_is_not_proven(project: Project) -> None:
    project.publish_wheel(torchless)
    alone(project)
    result = project.build()
    assert result.code == 0, result
    with zipfile.ZipFile(project.built) as opened:
        assert opened.read(OPS).decode() == ops(VALUE_3=30)
        assert "torch" not in opened.read(f"{NEW_INFO}/METADATA").decode()
        assert opened.read("tinycuda/version.py") == b'__version__ = "1.0+cu128.1"\n'
    told = said(project.built)
    assert (told["source"], told["commit"], told["recipe"], told["sdist"]) == ("wheel", "", "tiny-1.0", None)
    assert told["promise"]["torch"] == ""  # type: ignore[index]
    shown = project.run("inspect", str(project.built)).out
    assert f"tiny-1.0 cu128, lane overlay; {ProofLevel.WHEEL.words}" in shown
    plan = project.run("plan", "tiny-1.0").out
    assert "the wheel's own files" in plan
    assert project.run("recipe", "check").code == 0
    git_asked = project.build("--source", "git")
    assert (git_asked.code, "no commit is pinned that git could be asked for" in git_asked.err) == (6, True)


def test_a_wheel_that_is_not_the_pinned_one_is_refused(project: Project) -> None:
    project.publish_wheel(torchless)
    alone(project)
    digest = sha256(project.index.files["tinycuda"][WHEEL])
    start = project.recipe_text.index("[source]")
    text = project.recipe_text
    project.write_recipe(text[:start] + text[start:].replace(digest, "0" * 64, 1))
    project.fails(7, f"its {WHEEL} has sha256", f"pinned is {64 * '0'}", room=Kind.TREES)


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (DATA, ""),
        (DATA + b"!", f"{len(DATA):,} bytes; the wheel's file has sha256"),
        (b"W" + DATA[1:], f"{len(DATA):,} bytes; the wheel's file has sha256"),
    ],
)
def test_a_file_of_git_lfs_is_proven_by_its_pointer(
    project: Project, tmp_path: Path, held: bytes, told: str
) -> None:
    project.publish_wheel(lambda files: files.update({"tinycuda/data.bin": held}))
    pinned(project, FILES | {"tinycuda/data.bin": POINTER}, tmp_path / "lfs")
    if not told:
        assert project.build().code == 0
        return
    pointer = (
        f"tinycuda/data.bin: the source's LFS pointer says sha256 {hashlib.sha256(DATA).hexdigest()[:12]}, "
    )
    project.fails(8, pointer, told, hashlib.sha256(held).hexdigest()[:12], room=Kind.BASES)


def test_a_package_in_a_folder_of_the_source_is_held_to_that(project: Project, tmp_path: Path) -> None:
    moved = {f"python/{path}": text for path, text in FILES.items() if path.startswith("tinycuda/")}
    pinned(project, moved | {"README.md": "# up\n"}, tmp_path / "deep")
    project.series(
        diff(f"python/{OPS}", FILES[OPS], ops(VALUE_3=30)), diff("README.md", "# up\n", "# down\n")
    )
    project.fails(8, f"{OPS}: not in the pinned source", room=Kind.BASES)
    project.edit_recipe("native-inputs", 'source-root = "python"\nnative-inputs')
    result = project.build()
    assert result.code == 0, result
    assert "note: the wheel holds nothing of README.md" in result.err
    with zipfile.ZipFile(project.built) as opened:
        assert opened.read(OPS).decode() == ops(VALUE_3=30)


def test_a_source_root_that_is_not_there_is_refused(project: Project) -> None:
    project.edit_recipe("native-inputs", 'source-root = "tinycuba"\nnative-inputs')
    project.fails(
        4, "source-root: the source has no folder 'tinycuba' (did you mean 'tinycuda'?)", room=Kind.TREES
    )
