"""The pull requests of a watch, with a real git, and a program in GitHub's place that notes what it is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from retread.queue.fate import Fate
from retread.upstream.outlook import Action
from tinycuda import git

SCRIPT = Path(__file__).parents[3] / "scripts" / "request.py"
GH = """\
#!/bin/sh
# Plays GitHub's program: requests are what a file says, and what was asked for is noted, with the texts.
echo "$@" >> "$LOG"
[ "$1 $2" = "pr list" ] && cat "$REQUESTS"
while [ $# -gt 0 ]; do [ "$1" = --body-file ] && cat "$2" >> "$TEXTS"; shift; done
exit 0
"""
RETREAD = """\
#!/bin/sh
# Plays a bump: it writes a recipe if it is to, says what a file says, and ends as it is to.
[ -e "$MADE/written" ] && mkdir -p recipes && echo new > recipes/demo-1.3.toml
cat "$MADE/bump.json"
exit "$(cat "$MADE/code")"
"""
BRANCH = "bump/demo-1.3"


class Night:
    """A clone with a remote, a watch that wants 1.3 for a recipe, and programs that play their parts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.remote, self.clone = folder / "remote", folder / "clone"
        for name in ("clone", "bin"):
            (folder / name).mkdir()
        git(folder, "init", "--quiet", "--bare", str(self.remote))
        git(self.clone, "init", "--quiet")
        git(self.clone, "remote", "add", "origin", f"file://{self.remote}")
        git(self.clone, "commit", "--quiet", "--allow-empty", "--message", "first")
        for name, text in (("gh", GH), ("retread", RETREAD)):
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        task = {"action": Action.PIN, "subject": "1.3"}
        row = dict.fromkeys(("upstream", "need", "jit")) | {
            "recipe": "demo-1.2",
            "project": "demo",
            "version": "1.2",
        }
        row |= {"heir": "demo-1.2", "errors": [], "tasks": [task]}
        watched = {"schema": 1, "attention": True, "title": "x", "recipes": [row]}
        (self.clone / "watch.json").write_text(json.dumps(watched))

    def bump(self, fate: Fate, *, written: bool = False, code: int = 5) -> None:
        """Let a bump give a patch this verdict."""
        passes = fate is Fate.CLEAN
        one = {
            "name": "0001-a.patch",
            "fate": fate,
            "kept": passes,
            "open": not passes,
            "reason": "",
            "hunks": [],
        }
        data = {"schema": 1, "recipe": "demo-1.2", "to": "1.3", "file": "demo-1.3.tar.gz", "sha256": "a" * 64}
        data |= {"proven": False, "patches": [one], "range_diff": "", "look_at": []}
        data |= {"written": ["recipes/demo-1.3.toml"] if written else []}
        (self.folder / "bump.json").write_text(json.dumps(data))
        (self.folder / "code").write_text(str(0 if written else code))
        (self.folder / "written").unlink(missing_ok=True)
        if written:
            (self.folder / "written").touch()

    def run(self, *requests: dict[str, Any]) -> tuple[list[str], str]:
        """Run the script; return what GitHub was asked for, and with which texts."""
        for name in ("log", "texts"):
            (self.folder / name).write_text("")
        (self.folder / "requests").write_text(json.dumps(requests))
        names = {"LOG": "log", "TEXTS": "texts", "REQUESTS": "requests"}
        environment = {**os.environ, **{name: str(self.folder / file) for name, file in names.items()}}
        environment |= {"MADE": str(self.folder), "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        environment |= {"RETREAD": str(self.folder / "bin" / "retread"), "TMPDIR": str(self.folder)}
        start = git(self.clone, "rev-parse", "HEAD")
        subprocess.run([sys.executable, SCRIPT, "watch.json"], cwd=self.clone, env=environment, check=True)
        assert git(self.clone, "rev-parse", "HEAD") == start
        assert git(self.clone, "status", "--porcelain") == "?? watch.json\n"
        assert not list(self.folder.glob("*.md"))
        asked = [line.split(" --body-file")[0] for line in (self.folder / "log").read_text().splitlines()]
        return [line for line in asked if not line.startswith(("auth", "pr list"))], (
            self.folder / "texts"
        ).read_text()

    def held(self) -> list[str]:
        """Return the files on the branch of the request."""
        return git(self.remote, "ls-tree", "-r", "--name-only", BRANCH).splitlines()


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(tmp_path)


def pull(text: str, *comments: str, state: str = "OPEN", draft: bool = True) -> dict[str, Any]:
    said = [{"body": one} for one in comments]
    return {"number": 7, "state": state, "isDraft": draft, "body": text, "comments": said}


def test_what_goes_by_itself_is_a_ready_request_with_the_files(night: Night) -> None:
    night.bump(Fate.CLEAN, written=True)
    asked, text = night.run()
    assert asked == ["pr create --head bump/demo-1.3 --title Carry demo-1.2 to 1.3"]
    assert night.held() == ["recipes/demo-1.3.toml"]
    assert "| `0001-a.patch` | clean |" in text
    assert night.run(pull(text, draft=False)) == ([], "")


def test_what_is_open_is_a_draft_and_a_change_is_one_comment(night: Night) -> None:
    night.bump(Fate.THREE_WAY)
    asked, first = night.run()
    assert night.held() == []
    assert night.run(pull(first)) == ([], ""), "the same is never said twice"
    night.bump(Fate.CONFLICT)
    asked, told = night.run(pull(first))
    assert asked == ["pr comment 7", "pr edit 7"]
    assert "`three-way` before, `conflict` now" in told
    comment = told[: told.index("`demo-1.2` on ")]
    assert night.run(pull(told[len(comment) :], comment)) == ([], "")
    assert night.run(pull(first, comment)) == ([], "")


def test_a_draft_on_which_nobody_works_gets_the_files_when_all_goes(night: Night) -> None:
    night.bump(Fate.THREE_WAY)
    _, first = night.run()
    night.bump(Fate.CLEAN, written=True)
    assert night.run(pull(first))[0] == ["pr comment 7", "pr ready 7", "pr edit 7"]
    assert night.held() == ["recipes/demo-1.3.toml"]


def test_a_branch_on_which_somebody_works_is_left_alone(night: Night) -> None:
    night.bump(Fate.THREE_WAY)
    _, first = night.run()
    git(night.folder, "clone", "--quiet", "--branch", BRANCH, f"file://{night.remote}", "other")
    (night.folder / "other" / "work").write_text("mine")
    git(night.folder / "other", "add", "work")
    git(night.folder / "other", "commit", "--quiet", "--message", "work")
    git(night.folder / "other", "push", "--quiet")
    night.bump(Fate.CLEAN, written=True)
    assert night.run(pull(first))[0] == ["pr comment 7", "pr edit 7"]
    assert night.held() == ["work"]


def test_a_request_that_was_closed_is_not_opened_again(night: Night) -> None:
    night.bump(Fate.CLEAN, written=True)
    assert night.run(pull("", state="CLOSED")) == ([], "")


def test_a_bump_that_fails_is_a_draft_that_says_so(night: Night) -> None:
    night.bump(Fate.CLEAN, code=4)
    asked, text = night.run()
    assert asked == ["pr create --head bump/demo-1.3 --title Carry demo-1.2 to 1.3"]
    assert "nothing was written: `the bump ended with 4; the log says why`" in text
