"""What changed in a git repository: the one question that is asked of the maintainer's own clone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from retread.doors import proc
from retread.doors.proc import Finished
from retread.errors import UsageError

EVERYTHING = "leave --base out to get everything"


def changed(root: Path, ref: str, environment: Mapping[str, str]) -> list[str]:
    """Return the paths below ``root`` that differ between the merge base of ``ref`` and HEAD and the working tree.

    Both names of a renamed file are among them, and files that git does not know yet. UsageError when git cannot tell.
    """
    clone = _Clone(root, environment)
    base = clone.merge_base(ref)
    tracked = clone.ask("diff", "--name-only", "--no-renames", "--relative", "-z", base, "--")
    new = clone.ask("ls-files", "--others", "--exclude-standard", "-z")
    return sorted({path for path in f"{tracked}{new}".split("\0") if path})


class _Clone:
    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        self._root = root
        self._program = proc.find("git", why="it knows what changed")
        ours = {key: value for key, value in environment.items() if not key.startswith("GIT_")}
        self._environment = {**ours, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}

    def ask(self, *words: str) -> str:
        return self._try(*words, check=True).stdout

    def merge_base(self, ref: str) -> str:
        told = self._try("rev-parse", "--is-shallow-repository")
        if told.code:
            said = told.stderr.strip().splitlines()[-1:] or ["git says nothing"]
            raise UsageError(f"nothing says what changed in {self._root}: {said[0]}", hint=EVERYTHING)
        shallow = told.stdout.strip() == "true"
        there = self._try("rev-parse", "--quiet", "--verify", "--end-of-options", f"{ref}^{{commit}}")
        if there.code:
            raise UsageError(f"there is no commit {ref!r} in this clone", hint=_fetch(shallow))
        base = self._try("merge-base", there.stdout.strip(), "HEAD")
        if base.code:
            raise UsageError(
                f"there is no common ancestor of {ref} and HEAD in this clone", hint=_fetch(shallow)
            )
        return base.stdout.strip()

    def _try(self, *words: str, check: bool = False) -> Finished:
        return proc.run([self._program, *words], env=self._environment, cwd=self._root, check=check)


def _fetch(shallow: bool) -> str:
    if shallow:
        return (
            f"this clone is shallow: 'git fetch --unshallow', in a workflow fetch-depth: 0, or {EVERYTHING}"
        )
    return f"get it with 'git fetch', or {EVERYTHING}"
