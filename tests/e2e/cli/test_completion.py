"""The completion scripts in the shells that they are for."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ASK = {
    "bash": """
        source <(retread completion bash)
        COMP_LINE="$LINE" COMP_POINT=${#LINE} COMP_TYPE=9 COMP_WORDS=($LINE "") COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        $(complete -p retread | sed 's/.* -F \\([^ ]*\\) .*/\\1/') retread 2>/dev/null
        printf '%s\\n' "${COMPREPLY[@]}"
    """,
    "fish": 'retread completion fish | source; complete -C "$LINE"',
    "zsh": """
        _describe() { print -l ${${(P)2}%%:*} }
        compdef() { : }
        autoload -U is-at-least
        source <(retread completion zsh) 2>/dev/null
        BUFFER="$LINE" CURSOR=${#LINE} words=(retread)
        _python_argcomplete
    """,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a workspace with a recipe, and the command on the PATH."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "demo-1.2.toml").write_text("[targets.cu128]\n[targets.cu130]\n")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "retread"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m retread "$@"\n')
    program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("shell", list(ASK))
@pytest.mark.parametrize(
    ("line", "words"),
    [("retread plan demo-1.2 --target ", ["cu128", "cu130"]), ("retread build d", ["demo-1.2"])],
)
def test_a_shell_completes(root: Path, shell: str, line: str, words: list[str]) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell}; 'make machine' installs it as root on Debian")
    env = {**os.environ, "LINE": line, "HOME": str(root), "PATH": f"{root / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        [program, "-c", ASK[shell]], env=env, cwd=root, capture_output=True, text=True, check=True
    )
    assert [word.strip() for word in done.stdout.splitlines() if word.strip()] == words
