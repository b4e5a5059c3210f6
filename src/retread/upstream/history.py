"""The commits of upstream that changed lines, where a clone is at hand that has them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from retread.doors import gitenv, proc

_SHOWN: Final = 5
"""Commits that are named of a hunk: the last ones are those that a person looks up."""


class History:
    """What lies between two commits in a clone; nothing is fetched."""

    def __init__(
        self, place: str, old: str, candidates: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        """``candidates`` are names under which the new commit may be known; the first one counts."""
        self._env = gitenv.users(environment) | {"GIT_NO_LAZY_FETCH": "1"}
        self._folder = Path(place)
        self._old = old
        known = (self._known(one) for one in candidates) if self._has(old) else ()
        self._new = next(filter(None, known), "")

    def lines(self, path: str, first: int, last: int) -> list[str]:
        """Return the last commits that changed these lines of the newer file: id, day, subject."""
        if not self._new:
            return []
        where = ("-L", f"{first},{last}:{path}", f"{self._old}..{self._new}")
        done = self._run("log", "--no-patch", f"--max-count={_SHOWN}", "--format=%h %cs %s", *where)
        # A range beyond the end of the file: it became shorter.
        where = (f"{self._old}..{self._new}", "--", path)
        done = (
            done
            if done.code == 0
            else self._run("log", f"--max-count={_SHOWN}", "--format=%h %cs %s", *where)
        )
        return done.stdout.splitlines() if done.code == 0 else []

    def _has(self, commit: str) -> bool:
        return self._folder.is_dir() and bool(self._known(commit))

    def _known(self, name: str) -> str:
        done = self._run("rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}")
        return done.stdout.strip() if done.code == 0 else ""

    def _run(self, *words: str) -> proc.Finished:
        git = proc.find("git", why="it knows the history")
        line: list[str | Path] = [git, "-c", f"core.hooksPath={os.devnull}", *words]
        return proc.run(line, env=self._env, cwd=self._folder, check=False)
