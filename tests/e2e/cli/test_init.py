"""``retread init``: a repository of one's own makes and tests a wheel, and its workflow is sound."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tinycuda import BUILT, Project

ROOT = Path(__file__).parents[3]
COMMIT = 40 * "a"
WORKFLOW = ".github/workflows/wheels.yml"


@pytest.fixture
def own(project: Project) -> Path:
    """Return a repository with the recipe of the workspace, and a retread where its Makefile has one."""
    made = project.run("init", "../own", "--recipe", "tiny-1.0", "--retread", f"example/retread@{COMMIT}")
    assert made.code == 0, made.err
    folder = project.root.parent / "own"
    program = folder / ".venv" / "bin" / "retread"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m retread "$@"\n')
    program.chmod(0o755)
    (folder / ".venv" / "ready").touch()
    return folder


def test_its_make_wheel_and_make_test_make_and_test_a_wheel(own: Path) -> None:
    def make(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["make", *words], cwd=own, capture_output=True, text=True, check=False)

    wheel = make("wheel")
    assert wheel.returncode == 0, wheel.stderr
    assert (own / "dist" / BUILT).is_file()
    tested = make("test")
    assert tested.returncode == 0, tested.stderr
    assert "sound: recipes, series, toolchains and proofs" in tested.stdout
    listed = make("index", "UNPROVEN=not signed yet")
    assert listed.returncode == 0, listed.stderr
    assert (own / "index" / "cu128" / "simple" / "tinycuda" / "index.html").is_file()
    (own / "patches" / "tinycuda" / "1.0" / "0001-change.patch").write_text("no patch\n")
    broken = make("test")
    assert broken.returncode != 0
    assert "0001-change.patch" in broken.stderr


def test_its_workflow_is_held_to_the_rules_of_ours(own: Path) -> None:
    tools = Path(sys.executable).parent
    for line in (
        [tools / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", own / WORKFLOW],
        [tools / "zizmor", "--offline", "--quiet", "--persona=pedantic", own / ".github"],
    ):
        if not line[0].exists():
            pytest.skip(f"needs {line[0].name}")
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    called = yaml.safe_load((own / WORKFLOW).read_text())["jobs"]["wheels"]
    assert called["uses"] == f"example/retread/.github/workflows/reusable.yml@{COMMIT}"
    reusable = yaml.safe_load((ROOT / ".github" / "workflows" / "reusable.yml").read_text())
    assert (
        called["with"].keys() <= reusable[True]["workflow_call"]["inputs"].keys()
    )  # YAML reads 'on' as true
    steps = [step["run"] for job in reusable["jobs"].values() for step in job["steps"] if "run" in step]
    typed = {found[1] for one in steps if (found := re.match(r"(?:sudo )?make (\w+)", one))}
    rules = set(re.findall(r"^(\w+):", (own / "Makefile").read_text(), re.MULTILINE))
    assert len(typed) == 7
    assert typed <= rules
    assert f"git+https://github.com/example/retread@{COMMIT}" in (own / "Makefile").read_text()


def test_a_folder_that_holds_something_stays_as_it_is_and_so_does_one_where_something_is_wrong(
    project: Project,
) -> None:
    full, empty = project.root / "full", project.root / "empty"
    full.mkdir()
    empty.mkdir()
    (full / "mine").touch()
    refused = project.run("init", "full")
    assert (refused.code, refused.out) == (2, "")
    assert "full is not empty" in refused.err
    wrong = project.run("init", "empty", "--recipe", "tiny-2.0")
    assert wrong.code == 2
    assert "there is no recipe 'tiny-2.0' (did you mean 'tiny-1.0'?)" in wrong.err
    loose = project.run("init", "empty", "--retread", "example/retread@main")
    assert loose.code == 2
    assert "expected OWNER/REPOSITORY@COMMIT" in loose.err
    assert [path.name for path in full.iterdir()] == ["mine"]
    assert list(empty.iterdir()) == []
    assert not [path for path in project.root.iterdir() if path.name.startswith(".")]


def test_without_a_commit_there_is_no_workflow_and_one_is_told(project: Project) -> None:
    made = project.run("init", "new")
    assert made.code == 0
    assert "note: no workflow: " in made.err
    found = {str(path.relative_to(project.root / "new")) for path in (project.root / "new").rglob("*")}
    assert found == {
        ".gitignore", "Makefile", "README.md", "index", "index-policy.example.toml", "patches", "patches/.gitkeep",
        "recipes", "recipes/.gitkeep",
    }  # fmt: skip
    assert sorted(made.out.split()) == sorted(
        f"new/{name}" for name in found if (project.root / "new" / name).is_file()
    )
    assert project.run("recipe", "check", "--root", "new").code == 0
