"""The maintainer's own clone: what changed in it, and commits of what a command wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from retread.doors import gitenv, proc
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


def commit(
    root: Path, files: Mapping[str, bytes], message: str, *, environment: Mapping[str, str], scratch: Path
) -> str:
    """Put a commit on HEAD in which the paths below ``root`` hold these bytes, and return its id.

    Whatever else is staged or changed stays as it is; in the index the paths are as in the commit. UsageError where git
    cannot: outside of a repository, or with nobody's name.
    """
    clone = _Clone(root, environment)
    prefix = clone.demand("rev-parse", "--show-prefix").rstrip("\n")
    head = clone.demand("rev-parse", "--verify", "HEAD^{commit}").strip()
    entries = []
    for path, data in files.items():
        (scratch / "content").write_bytes(data)
        blob = clone.demand("hash-object", "-w", "--no-filters", "--", str(scratch / "content")).strip()
        entries += ["--cacheinfo", f"100644,{blob},{prefix}{path}"]
    beside = _Clone(root, environment, index=scratch / "index")
    beside.demand("read-tree", head)
    beside.demand("update-index", "--add", *entries)
    tree = beside.demand("write-tree").strip()
    made = clone.demand("commit-tree", tree, "-p", head, "-m", message).strip()
    clone.demand("update-ref", "-m", "retread", "HEAD", made, head)
    clone.demand("update-index", "--add", *entries)
    return made


class _Clone:
    def __init__(self, root: Path, environment: Mapping[str, str], *, index: Path | None = None) -> None:
        """``index`` is another one than the clone's own."""
        self._root = root
        self._program = proc.find("git", why="it knows what changed")
        self._environment = gitenv.users(environment)
        if index:
            self._environment["GIT_INDEX_FILE"] = str(index)

    def ask(self, *words: str) -> str:
        return self._try(*words, check=True).stdout

    def demand(self, *words: str) -> str:
        """Return what git says; UsageError when it refuses."""
        found = self._try(*words)
        if found.code:
            said = found.stderr.strip() or "git says nothing"
            raise UsageError(f"git does not commit in {self._root}: {said.splitlines()[-1]}")
        return found.stdout

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
