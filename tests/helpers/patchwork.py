"""Work on a series as a maintainer does it: the folder, the worktree, git in it."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from retread.doors import durable
from tinycuda import FILES, OPS, Project, Result, diff, git, ops

RECIPE = "tiny-1.0"
MESSAGE = """\
{subject}

Breaks: what a user sees
Affects: everyone
Upstream: not reported
Drop-when: never
"""
FIRST = diff(OPS, FILES[OPS], ops(VALUE_3=30))
SECOND = diff(OPS, ops(VALUE_3=30), ops(VALUE_3=30, VALUE_30=3))
THIRD = diff("tinycuda/new.py", "", "NEW = 1\n")
FULL = [f"--set={field}: said" for field in ("Breaks", "Affects", "Drop-when")] + [
    "--set=Upstream: not reported"
]
"""What fills a header but for its subject."""


class Work:
    """A project with a series of three patches: two of one file that do not touch each other, and a new file."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.folder = project.root / "patches" / "tinycuda" / "1.0"
        project.series(FIRST, SECOND, THIRD)

    def run(self, action: str, *words: str) -> Result:
        """Run an action of ``retread patch`` on the recipe."""
        return self.project.run("patch", action, RECIPE, *words)

    def done(self, action: str, *words: str) -> str:
        """Run an action that goes well; return what it printed."""
        result = self.run(action, *words)
        assert result.code == 0, result
        return result.out

    def refused(self, code: int, action: str, *words: str, said: tuple[str, ...]) -> str:
        """Run an action that is refused: nothing printed, the series and everything beside it as they were."""
        before = self.state()
        result = self.run(action, *words)
        assert result.code == code, result
        for word in said:
            assert word in result.err, (word, result.err)
        assert result.out == ""
        assert self.state() == before
        self.nothing_left()
        return result.err

    def edit(self, *words: str) -> Path:
        """Make the worktree; return its place."""
        return Path(self.done("edit", *words).strip())

    def state(self) -> dict[str, bytes]:
        """Return what lies in the series folder."""
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir())}

    def listed(self) -> list[str]:
        """Return the series."""
        return (self.folder / "series").read_text().splitlines()

    def digests(self) -> dict[str, str]:
        """Return the digest of each patch."""
        return {
            name: hashlib.sha256(data).hexdigest() for name, data in self.state().items() if name != "series"
        }

    def nothing_left(self) -> None:
        """Check that nothing lies beside the series folder, and no scratch in the store."""
        assert [path.name for path in self.folder.parent.iterdir()] == ["1.0"]
        assert self.project.leftovers() == []

    def source(self) -> dict[str, str]:
        """Return what the series makes: path -> text, by git alone."""
        place = self.project.root.parent / "applied"
        if not place.exists():
            place.mkdir()
        for path, text in FILES.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(text.encode())
        for name in (line.partition("#")[0].strip() for line in self.listed()):
            if name:
                git(place, "apply", "--whitespace=nowarn", str(self.folder / name))
        found = {str(path.relative_to(place)): path for path in place.rglob("*.py")}
        read = {name: path.read_bytes().decode() for name, path in found.items()}
        for path in found.values():
            path.unlink()
        return read


def write(place: Path, path: str, text: str) -> None:
    """Write a file of a worktree."""
    (place / path).parent.mkdir(parents=True, exist_ok=True)
    (place / path).write_bytes(text.encode())


def commit(place: Path, message: str) -> str:
    """Commit everything in a worktree; return the commit."""
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--cleanup=verbatim", "--message", message)
    return git(place, "rev-parse", "HEAD").strip()


def autosquash(place: Path, base: str = "HEAD~4") -> None:
    """Put fixup commits where they belong, without an editor."""
    git(place, "-c", "sequence.editor=:", "rebase", "--quiet", "--interactive", "--autosquash", base)


class _Killer:
    """Ends this process with SIGKILL before the n-th change to the disk."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, act: Callable[..., object], *arguments: object) -> object:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return None if act is os.fsync else act(*arguments)


def killed(act: Callable[[], object], at: int) -> bool:
    """Do something in a child that is killed before a change to the disk; say whether it came to that."""
    child = os.fork()
    if not child:
        try:
            durable.change = _Killer(at)  # type: ignore[assignment]
            act()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])
