"""What a shell is offered at TAB, as it asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from retread.cli import main
from retread.cli.completion import SHELLS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a workspace with two recipes, a toolchain and wheels."""
    (tmp_path / "recipes" / "toolchains").mkdir(parents=True)
    (tmp_path / "recipes" / "toolchains" / "cuda-12.8.toml").touch()
    (tmp_path / "recipes" / "demo-1.2.toml").write_text("[targets.cu128]\n[targets.cu130]\n")
    (tmp_path / "recipes" / "xformers-0.0.35.toml").write_text("[targets.cu126]\n")
    (tmp_path / "recipes" / "broken-1.toml").write_text("[targets\n")
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "demo-1.2-py3-none-any.whl").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.whl").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden").touch()
    return tmp_path


def offered(root: Path, line: str) -> list[str]:
    """Return what is offered at the end of a line."""
    said = root / "said"
    env = {
        **os.environ, "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9", "_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(said),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "retread"], env=env, cwd=root, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")
    return [word.strip() for word in said.read_text().split("\n") if word.strip()]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("retread bu", ["build"]),
        ("retread build ", ["broken-1", "demo-1.2", "xformers-0.0.35"]),
        ("retread build d", ["demo-1.2"]),
        ("retread build demo-1.2 --target ", ["cu128", "cu130"]),
        ("retread build demo-1.2 xformers-0.0.35 --target ", ["cu128", "cu130", "cu126"]),
        ("retread plan --target ", ["cu126"]),
        ("retread plan broken-1 --target ", []),
        ("retread plan --lane s", ["source"]),
        ("retread toolchain get ", ["cuda-12.8"]),
        ("retread graft a.so --toolchain ", ["cuda-12.8"]),
        ("retread audit ", ["dist/demo-1.2-py3-none-any.whl", "dist/", "other/", "recipes/"]),
        ("retread audit other/", ["other/a.whl"]),
        ("retread audit-lock n", ["notes.txt"]),
        ("retread build --jobs ", []),
        ("retread completion z", ["zsh"]),
    ],
)
def test_a_shell_is_offered_what_is_there(root: Path, line: str, words: list[str]) -> None:
    assert offered(root, line) == words


def test_where_there_are_no_recipes_nothing_is_offered_and_nothing_said(tmp_path: Path) -> None:
    assert offered(tmp_path, "retread build ") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_there_is_a_script_for_each_shell(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert main.run(["completion", shell]) == 0
    assert "_ARGCOMPLETE" in capsys.readouterr().out or shell == "tcsh"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["biuld"], "argument COMMAND: invalid choice: 'biuld' (did you mean 'build'?)"),
        (
            ["plan", "--lane", "sorce"],
            "argument --lane: invalid choice: 'sorce' (did you mean 'source'?) "
            "(choose from 'overlay', 'source', 'container')",
        ),
        (["store", "?"], "argument ACTION: invalid choice: '?' (choose from 'list', 'prune')"),
        (["build", "--taget", "x"], "unrecognized arguments: --taget (did you mean '--target'?)"),
    ],
)
def test_a_mistyped_command_brings_the_near_one(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as end:
        main.run(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith(f": error: {said}\n")
