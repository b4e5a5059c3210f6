"""``retread matrix`` in real clones: what it finds that changed, and what it says when git cannot tell."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from retread.cli import main
from retread.recipe import matrix, shared, workspace
from tinycuda import Result, git

REPOSITORY = Path(__file__).parents[3]
OVERLAY = ["xformers-0.0.35-cu128-py3.9", "xformers-0.0.35-cu128-py3.9-win-amd64"]
COMPILED = ["xformers-0.0.35-cu130-py3.10", "xformers-0.0.35-cu130-py3.11-aarch64"]


class Clone:
    """A git repository with two of the shipped recipes, in which the command is typed."""

    def __init__(self, root: Path, read: Any) -> None:
        self.root = root
        self._read = read

    def run(self, *arguments: str, code: int = 0) -> Result:
        self._read()
        found = Result(main.run(["matrix", "--root", str(self.root), *arguments]), *self._read())
        assert found.code == code, found
        return found

    def touched(self, base: str = "main") -> list[str]:
        found = json.loads(self.run("--base", base, "--json").out)
        assert found["count"] == len(found["include"])
        return [one["name"] for one in found["include"]]

    def write(self, path: str, text: str = "changed\n") -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        with (self.root / path).open("a") as file:
            file.write(text)

    def commit(self) -> None:
        git(self.root, "add", ".")
        git(self.root, "commit", "--quiet", "--message", "x")


@pytest.fixture
def clone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Clone:
    root = tmp_path / "clone"
    for name in ("recipes/xformers-0.0.35.toml", "recipes/xformers-0.0.34.toml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, root / name)
    for name in ("recipes/locks", "patches/xformers/0.0.35", "patches/xformers/0.0.34"):
        shutil.copytree(REPOSITORY / name, root / name)
    made = Clone(root, capsys.readouterr)
    git(root, "init", "--quiet")
    made.commit()
    return made


def test_without_a_base_it_is_everything_and_the_schema_holds(clone: Clone) -> None:
    found = json.loads(clone.run("--json", "--gpus", "9.0").out)
    schema = json.loads((REPOSITORY / "docs" / "schemas" / "matrix.json").read_bytes())
    jsonschema.validate(found, schema)
    assert [one["name"] for one in found["include"]][3:] == [*OVERLAY, *COMPILED]
    of_linux = [one["name"] for one in found["include"] if one["platform"] == "x86_64"]
    assert [one["wheel"] for one in found["trials"]["include"]] == of_linux
    elsewhere = [one["name"] for one in found["include"] if one["platform"] != "x86_64"]
    assert [one["wheel"] for one in found["unproven"]] == elsewhere
    there = json.loads(clone.run("--json", "--gpus", "win_amd64:12.0", "--platform", "win_amd64").out)
    assert [one["wheel"] for one in there["trials"]["include"]] == [one["name"] for one in there["include"]]
    assert "(did you mean 'win_amd64'?)" in clone.run("--platform", "win_amd46", code=6).err
    assert clone.run("--json").out.count("\n") == 1, "a workflow's output is one line"
    assert re.search(
        r"^\| xformers-0.0.35 cu128 \| x86_64 +\| overlay +\| 3.9 ",
        clone.run("xformers-0.0.35").out,
        re.MULTILINE,
    )


def test_with_a_base_it_is_what_the_branch_and_the_working_tree_changed(clone: Clone) -> None:
    git(clone.root, "checkout", "--quiet", "-b", "work")
    clone.write("recipes/locks/xformers-0.0.35-cu130.txt", "# on the branch\n")
    clone.commit()
    git(clone.root, "checkout", "--quiet", "main")
    clone.write("patches/xformers/0.0.34/series", "# meanwhile on main\n")
    clone.commit()
    git(clone.root, "checkout", "--quiet", "work")
    assert clone.touched() == COMPILED
    lock = "recipes/locks/xformers-0.0.34-cu130.txt"
    git(clone.root, "mv", lock, "recipes/locks/other.txt")
    git(clone.root, "mv", "recipes/locks/other.txt", lock)
    clone.write("docs/new.md")
    assert clone.touched() == COMPILED
    clone.write("patches/xformers/0.0.35/README")  # git does not know it yet
    assert clone.touched() == [*OVERLAY, *COMPILED]
    assert clone.touched("HEAD") == [*OVERLAY, *COMPILED]


def test_when_nothing_of_a_wheel_changed_it_says_so_and_ends_well(clone: Clone) -> None:
    clone.write("README.md")
    found = clone.run("--base", "main", "--json")
    assert json.loads(found.out) == {
        "schema": 1, "count": 0, "include": [], "trials": {"count": 0, "include": []}, "unproven": [],
        "left_out": [],
    }  # fmt: skip
    assert found.err == "nothing of which a wheel is made changed since main\n"
    assert clone.run("--base", "main").out == ""


def test_what_git_cannot_tell_is_an_error(clone: Clone) -> None:
    told = clone.run("--base", "mian", code=2).err
    assert "there is no commit 'mian' in this clone\n  next: get it with 'git fetch'" in told
    assert "there is no commit '--all'" in clone.run("--base=--all", code=2).err
    git(clone.root, "checkout", "--quiet", "--orphan", "alone")
    clone.write("README.md")
    clone.commit()
    assert "there is no common ancestor of main and HEAD" in clone.run("--base", "main", code=2).err
    shutil.rmtree(clone.root / ".git")
    told = clone.run("--base", "main", code=2).err
    assert "nothing says what changed in" in told
    assert "not a git repository" in told
    assert "leave --base out to get everything" in told


def test_a_shallow_clone_says_how_to_get_the_rest(clone: Clone, tmp_path: Path) -> None:
    clone.write("README.md")
    clone.commit()
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{clone.root}", str(shallow))
    told = Clone(shallow, clone._read).run("--base", "HEAD~1", code=2).err
    assert "there is no commit 'HEAD~1' in this clone" in told
    assert "git fetch --unshallow" in told
    assert "fetch-depth: 0" in told


def test_a_wrong_word_gets_its_near_miss(clone: Clone) -> None:
    assert "did you mean 'xformers-0.0.35'?" in clone.run("xformers-0.0.36", code=2).err
    assert "did you mean '9.0'?" in clone.run("--gpus", "9.1", code=2).err


def test_every_shipped_file_of_which_wheels_are_made_is_some_target_s() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "recipes", "patches", "scripts/smoke"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    loaded = [workspace.load(REPOSITORY, name).recipe for name in workspace.recipes(REPOSITORY)]
    orphans = {
        path
        for path in tracked
        if not any(
            matrix.touched(shared.spread(REPOSITORY, [path]), recipe, target)
            for recipe in loaded
            for target in recipe.targets
        )
    }
    making_none = {"recipes/usage/xformers.toml", "recipes/times/xformers-0.0.35-cu130.json"}
    assert orphans == making_none, "what users need is told, and what a compile takes; neither makes a wheel"
