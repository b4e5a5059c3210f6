"""What a shell is offered at TAB, as it asks for it."""

from __future__ import annotations

import functools
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import argcomplete
import pytest

from retread.cli import main
from retread.cli.completion import SHELLS
from retread.recipe import workspace


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a workspace with two recipes, a toolchain and wheels."""
    (tmp_path / "recipes" / "toolchains").mkdir(parents=True)
    (tmp_path / "recipes" / "toolchains" / "ours-1.toml").touch()
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


def asked(line: str, said: Path) -> dict[str, str]:
    """Return the environment by which a shell asks."""
    return {
        "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9", "_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(said),
    }  # fmt: skip


def words_of(said: str) -> list[str]:
    return [word.strip() for word in said.split("\n") if word.strip()]


class Finder(argcomplete.CompletionFinder):
    """argcomplete's, for a process that goes on: it takes no descriptor, whosever that may be, for its own."""

    def _init_debug_stream(self) -> None:
        pass


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Return what tells what is offered at the end of a line, without a process that ends there."""

    def ended(code: int) -> None:
        raise SystemExit(code)

    def offer(line: str) -> list[str]:
        for name, value in asked(line, tmp_path / "nobody").items():
            monkeypatch.setenv(name, value)
        said = io.StringIO()
        finder = functools.partial(Finder(), exit_method=ended, output_stream=said)
        monkeypatch.setattr(argcomplete, "autocomplete", finder)
        with pytest.raises(SystemExit, match=r"^0$"):
            main.run([])
        return words_of(said.getvalue())

    monkeypatch.chdir(tmp_path)
    return offer


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("retread bu", ["build"]),
        ("retread audit", ["audit", "audit-lock"]),
        ("retread build ", ["broken-1", "demo-1.2", "xformers-0.0.35"]),
        ("retread build d", ["demo-1.2"]),
        ("retread build demo-1.2 --target ", ["cu128", "cu130"]),
        ("retread build demo-1.2 xformers-0.0.35 --target ", ["cu128", "cu130", "cu126"]),
        ("retread plan --target ", ["cu126"]),
        ("retread plan broken-1 --target ", []),
        ("retread plan --lane s", ["source"]),
        ("retread toolchain get ", sorted([*workspace.toolchains(None), "ours-1"])),
        ("retread graft a.so --toolchain o", ["ours-1"]),
        ("retread audit ", ["dist/demo-1.2-py3-none-any.whl", "dist/", "other/", "recipes/"]),
        ("retread audit other/", ["other/a.whl"]),
        ("retread audit-lock n", ["notes.txt"]),
        ("retread build --jobs ", []),
        ("retread completion z", ["zsh"]),
    ],
)
@pytest.mark.usefixtures("root")
def test_a_shell_is_offered_what_is_there(
    offered: Callable[[str], list[str]], line: str, words: list[str]
) -> None:
    assert offered(line) == words


def test_the_command_itself_answers_and_says_nothing_else(root: Path) -> None:
    env = os.environ | asked("retread build d", root / "said")
    done = subprocess.run(
        [sys.executable, "-m", "retread"], env=env, cwd=root, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert words_of((root / "said").read_text()) == ["demo-1.2"]


def test_where_there_are_no_recipes_nothing_is_offered_and_nothing_said(
    offered: Callable[[str], list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    assert offered("retread build ") == []
    assert capfd.readouterr() == ("", "")


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
        (
            ["store", "?"],
            "argument ACTION: invalid choice: '?' (choose from 'list', 'prune', 'remove', 'check')",
        ),
        (["build", "--taget", "x"], "unrecognized arguments: --taget (did you mean '--target'?)"),
        (["--root", "x", "plan"], "--root is no option of retread itself: put it after the command"),
        (["--lane=source", "plan"], "--lane is no option of retread itself: put it after the command"),
        (["--json"], "--json is no option of retread itself: put it after the command"),
        (["recipe", "-q", "list"], "-q is no option of retread recipe itself: put it after the action"),
        (["--versoin"], "unrecognized arguments: --versoin (did you mean '--version'?)"),
    ],
)
def test_a_mistyped_command_brings_the_near_one(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as end:
        main.run(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith(f": error: {said}\n")
