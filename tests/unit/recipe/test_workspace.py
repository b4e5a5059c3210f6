"""The maintainer's files: found upwards, read together, and a wrong name brings the near one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from retread.errors import RecipeError, SeriesError, SourceError, UsageError
from retread.recipe import workspace
from tinycuda import Project


def test_the_root_is_found_from_below(project: Project) -> None:
    assert workspace.find_root(project.root / "patches" / "tinycuda") == project.root


def test_no_root_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no folder recipes/ in .*\n.*--root"):
        workspace.find_root(tmp_path)


def test_a_recipe_comes_with_all_that_stands_beside_it(project: Project) -> None:
    loaded = workspace.load(project.root, "tiny-1.0")
    assert loaded.recipe.name == "tiny-1.0"
    assert [patch.name for patch in loaded.patches] == ["0001-change.patch"]
    assert set(loaded.files) == {"0001-change.patch", "series"}
    assert set(loaded.parsed_proofs()) == {project.upstream.commit, project.upstream.inner_commit}
    assert (
        workspace.load(project.root, str(project.root / "recipes" / "tiny-1.0.toml")).recipe == loaded.recipe
    )


def test_an_unknown_recipe_brings_the_near_one_and_the_list(project: Project) -> None:
    with pytest.raises(UsageError) as caught:
        workspace.load(project.root, "tiny-1.1")
    assert str(caught.value).splitlines() == [
        "there is no recipe 'tiny-1.1' (did you mean 'tiny-1.0'?)",
        "  next: recipes here: tiny-1.0",
    ]


def test_a_folder_in_the_place_of_a_recipe_is_named(project: Project) -> None:
    (project.root / "recipes" / "other.toml").mkdir()
    with pytest.raises(UsageError, match=r"recipes/other\.toml is a folder, where a file is wanted"):
        workspace.load(project.root, "other")


def test_no_series_says_where(project: Project) -> None:
    (project.root / "patches" / "tinycuda" / "1.0" / "series").unlink()
    with pytest.raises(SeriesError, match=re.escape("patches/tinycuda/1.0: there is no file 'series'")):
        workspace.load(project.root, "tiny-1.0")


def test_a_proof_that_was_changed_is_refused(project: Project) -> None:
    (path,) = (project.root / "recipes" / "commits").glob("tinycuda-*.tree")
    path.write_bytes(path.read_bytes().replace(b"setup.py", b"setup.pz"))
    with pytest.raises(SourceError, match="its listing makes tree"):
        workspace.load(project.root, "tiny-1.0").parsed_proofs()


TOOLCHAIN = """\
name = "cuda-12.8"
cuda = "12.8"
ptx-isa = "8.7"
part = []
"""


def _toolchain(project: Project, text: str = TOOLCHAIN) -> None:
    project.edit_recipe("revision = 1\n", 'revision = 1\ntoolchain = "cuda-12.8"\n')
    folder = project.root / "recipes" / "toolchains"
    folder.mkdir()
    (folder / "cuda-12.8.toml").write_text(text)


def test_a_toolchain_is_read(project: Project) -> None:
    _toolchain(project)
    assert workspace.load(project.root, "tiny-1.0").toolchains["cuda-12.8"].ptx_isa == "8.7"


def test_an_unknown_toolchain_brings_the_near_one(project: Project) -> None:
    _toolchain(project)
    project.edit_recipe('toolchain = "cuda-12.8"', 'toolchain = "cuda-12.9"')
    with pytest.raises(
        RecipeError, match=r"there is no toolchain 'cuda-12.9' \(did you mean 'cuda-12.8'\?\)"
    ):
        workspace.load(project.root, "tiny-1.0")


def test_a_toolchain_of_another_cuda_release_is_refused(project: Project) -> None:
    _toolchain(project, TOOLCHAIN.replace('cuda = "12.8"', 'cuda = "12.9"'))
    with pytest.raises(RecipeError, match=r"is for CUDA 12\.8, toolchain cuda-12\.8 is 12\.9"):
        workspace.load(project.root, "tiny-1.0")
