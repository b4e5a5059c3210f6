"""git, where a series is commits: trees without a working copy, patches that go in exactly or not at all.

Deaf to the user's configuration, so that the same series makes the same bytes for everybody.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from retread.doors import gitenv, proc
from retread.errors import StoreError
from retread.queue import resolution
from retread.queue.resolution import Merged
from retread.source.records import SourceTree

NOTES: Final = "refs/notes/retread"
"""Where git keeps the file's name of each commit; it carries notes along when it rewrites commits."""
_WHO: Final = "retread"
_BATCH: Final = 200
"""Paths in one call of git: the longest ones of a source, 4 KiB each, stay below what a system takes."""
_FORM: Final = "--format=%H%x01%P%x01%T%x01%N%x01%B"
_MOVED: Final = re.compile(r"Hunk #(\d+) succeeded at \d+ \(offset (-?\d+) lines?\)")
_AS_IT_IS: Final = "* -text -ident -filter -working-tree-encoding !diff !merge !whitespace\n"
"""Attributes above the source's own: content goes in and out byte by byte, and is compared as git does by itself."""


class Commit(NamedTuple):
    """A commit of a series: what it stands on, what it makes, and what is said of it."""

    id: str
    parents: tuple[str, ...]
    tree: str
    names: tuple[str, ...]
    """Files that it was made of, as its note says; several when it was squashed."""
    message: str

    @property
    def subject(self) -> str:
        """Its first paragraph, on one line."""
        return " ".join(self.message.partition("\n\n")[0].split())


class Failed(NamedTuple):
    """Why a patch does not go in: the words of git, shortened."""

    detail: str


class Attempt(NamedTuple):
    """What came of trying a patch: the tree that it makes, or none; by how many lines hunks moved; what git said."""

    tree: str
    offsets: tuple[tuple[int, int], ...]
    """Number of the hunk, and lines."""
    detail: str


class Repository:
    """A repository of our own making."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], scratch: Path, *, bare: bool = False
    ) -> None:
        self.folder = folder
        self.scratch = scratch
        self.metadata = folder if bare else folder / ".git"
        self._bare = bare
        self._program = proc.find("git", why="it keeps the series as commits")
        self._environment = gitenv.deaf(environment)

    def ask(self, *words: str | Path, index: Path | None = None, cwd: Path | None = None) -> str:
        """Run git and return what it said; ToolError when it fails."""
        return self.run(*words, index=index, cwd=cwd, check=True).stdout

    def run(
        self,
        *words: str | Path,
        index: Path | None = None,
        cwd: Path | None = None,
        check: bool = False,
        more: Mapping[str, str] | None = None,
    ) -> proc.Finished:
        """Run git; ``index`` is another index than the repository's own, ``more`` are further variables."""
        where: list[str | Path] = [f"--git-dir={self.metadata}"]
        if not self._bare:
            where.append(f"--work-tree={self.folder}")
        settings: list[str | Path] = [
            "-c",
            "core.quotePath=false",
            "-c",
            "gc.auto=0",
            "-c",
            f"core.hooksPath={os.devnull}",
        ]
        env = {**self._environment, **(more or {})}
        if index:
            env["GIT_INDEX_FILE"] = str(index)
        line: list[str | Path] = [self._program, *where, *settings, *words]
        return proc.run(line, env=env, cwd=cwd or self.folder, check=check)

    def init(self) -> None:
        """Make an empty repository."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kind = ["--bare"] if self._bare else []
        words = ("init", "--quiet", "--template=", "--initial-branch=series", *kind)
        proc.run([self._program, *words, self.folder], env=self._environment, cwd=self.folder)
        (self.metadata / "info").mkdir(exist_ok=True)
        (self.metadata / "info" / "attributes").write_text(_AS_IT_IS)

    # Trees.

    def base(self, source: SourceTree, paths: Iterable[str] | None = None) -> str:
        """Return the tree of the pinned source, or of those of its files that ``paths`` names.

        A file ``.git``, as archives have where a submodule was, is left out: git holds none. StoreError when the
        store's copy is not the pinned one any more.
        """
        files = source.manifest.files
        wanted = files if paths is None else files.keys() & set(paths)
        chosen = sorted(path for path in wanted if ".git" not in path.lower().split("/"))
        index = self._fresh_index()
        for start in range(0, len(chosen), _BATCH):
            some = chosen[start : start + _BATCH]
            made = self.ask("hash-object", "-w", "--no-filters", "--", *some, cwd=source.root).split()
            wrong = next((path for path, blob in zip(some, made, strict=True) if blob != files[path]), None)
            if wrong:
                raise StoreError(
                    f"the store's copy of {wrong} was changed: {source.root / wrong}",
                    hint=f"remove {source.root.parent} and run the same command again",
                )
            entries = (f"{_mode(source.root / path)},{files[path]},{path}" for path in some)
            self.ask("update-index", "--add", *_each("--cacheinfo", entries), index=index)
        return self.ask("write-tree", index=index).strip()

    def apply(self, tree: str, patch: Path, *options: str) -> str | Failed:
        """Return the tree that a patch makes of another; no fuzz, but lines may have moved."""
        index = self._fresh_index()
        self.ask("read-tree", tree, index=index)
        done = self.run("apply", "--cached", "--whitespace=nowarn", *options, "--", patch, index=index)
        if done.code:
            return Failed(_why(done.stderr))
        return self.ask("write-tree", index=index).strip()

    def apply_bytes(self, tree: str, data: bytes, *options: str) -> str | Failed:
        """Return the tree that a patch makes, whose bytes these are."""
        file = self.scratch / "patch"
        file.write_bytes(data)
        try:
            return self.apply(tree, file, *options)
        finally:
            file.unlink(missing_ok=True)

    def attempt(self, tree: str, data: bytes, *options: str) -> Attempt:
        """Try a patch and say by how many lines its hunks moved."""
        file, index = self.scratch / "patch", self._fresh_index()
        file.write_bytes(data)
        self.ask("read-tree", tree, index=index)
        done = self.run(
            "apply", "--cached", "--verbose", "--whitespace=nowarn", *options, "--", file, index=index
        )
        moved = tuple((int(hunk), int(lines)) for hunk, lines in _MOVED.findall(done.stderr))
        if done.code:
            return Attempt("", moved, _why(done.stderr))
        return Attempt(self.ask("write-tree", index=index).strip(), moved, "")

    def renamed(self, before: str, after: str) -> dict[str, str]:
        """Return old path -> new path of files that git takes for renamed between two trees."""
        said = self.ask(
            "diff", "--find-renames", "--diff-filter=R", "--name-status", "-z", before, after, "--"
        ).split("\0")
        return dict(zip(said[1::3], said[2::3], strict=True))

    def diff(self, before: str, after: str, *paths: str) -> bytes:
        """Return what makes one tree of another, the same bytes for everybody: full ids, no version of git."""
        out = self.scratch / "diff"
        try:
            self.ask(
                "diff", f"--output={out}", "--full-index", "--find-renames", "--unified=3", "--no-color",
                "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/", "--diff-algorithm=myers",
                before, after, "--", *paths,
            )  # fmt: skip
            return out.read_bytes()
        finally:
            out.unlink(missing_ok=True)

    def blob(self, tree: str, path: str) -> tuple[str, str] | None:
        """Return mode and id of a file of a tree; None when it has none there."""
        said = self.ask("ls-tree", "-z", tree, "--", path).partition("\t")[0].split(" ")
        return (said[0], said[2]) if len(said) == 3 and said[1] == "blob" else None

    def bytes_of(self, blob: str) -> bytes:
        """Return the content of a blob."""
        file = self.scratch / self.ask("unpack-file", blob, cwd=self.scratch).strip()
        try:
            return file.read_bytes()
        finally:
            file.unlink()

    def merged(self, ours: str, base: str, theirs: str) -> Merged:
        """Return three blobs merged, with what is between the conflicts apart from these."""
        sides = {"ours": ours, "base": base, "theirs": theirs}
        for name, blob in sides.items():
            (self.scratch / name).write_bytes(self.bytes_of(blob))
        labels = [word for name in sides for word in ("-L", name)]
        words = ("merge-file", "--quiet", "--diff3", f"--marker-size={resolution.MARKER}", *labels, *sides)
        self.run(*words, cwd=self.scratch)
        return resolution.parted((self.scratch / "ours").read_bytes())

    def with_files(self, tree: str, files: Mapping[str, tuple[str, bytes] | None]) -> str:
        """Return a tree in which files have another mode and content, or are gone."""
        index = self._fresh_index()
        self.ask("read-tree", tree, index=index)
        file = self.scratch / "content"
        for path, held in files.items():
            if held is None:
                anywhere = f"--work-tree={self.scratch}"  # git wants one, and looks for nothing in it
                self.ask(
                    anywhere, "update-index", "--force-remove", "--", path, index=index, cwd=self.scratch
                )
                continue
            mode, data = held
            file.write_bytes(data)
            blob = self.ask("hash-object", "-w", "--no-filters", file).strip()
            self.ask("update-index", "--add", "--cacheinfo", f"{mode},{blob},{path}", index=index)
        return self.ask("write-tree", index=index).strip()

    def changed(self, before: str, after: str) -> list[str]:
        """Return the paths that differ between two trees."""
        said = self.ask("diff", "--name-only", "--no-renames", "-z", before, after, "--")
        return [path for path in said.split("\0") if path]

    # Commits.

    def commit(self, tree: str, parent: str | None, message: str, *, time: int, name: str = "") -> str:
        """Return a commit, the same one for everybody, with the file that it stands for in its note."""
        file = self.scratch / "message"
        file.write_text(message, "utf-8")
        who = {
            f"GIT_{role}_{key}": said
            for role in ("AUTHOR", "COMMITTER")
            for key, said in (("NAME", _WHO), ("EMAIL", _WHO), ("DATE", f"@{max(time, 0)} +0000"))
        }
        above = ["-p", parent] if parent else []
        made = self.run("commit-tree", *above, "-F", file, tree, more=who, check=True).stdout.strip()
        file.unlink()
        if name:
            self.note(made, name)
        return made

    def note(self, commit: str, name: str) -> None:
        """Say of which file a commit is; what was said before is forgotten."""
        who = {f"GIT_{role}_{key}": _WHO for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
        self.run("notes", f"--ref={NOTES}", "add", "--force", "-m", name, commit, more=who, check=True)

    def log(self, base: str, head: str) -> list[Commit]:
        """Return the commits after ``base`` up to ``head``, the oldest first."""
        words = ("log", "-z", "--reverse", "--topo-order", f"--notes={NOTES}", _FORM, f"{base}..{head}", "--")
        return [_commit(one) for one in self.ask(*words).split("\0") if one]

    def one(self, commit: str) -> Commit:
        """Return a commit."""
        return _commit(self.ask("show", "--no-patch", _FORM, commit, "--").removesuffix("\n"))

    def tree_of(self, commit: str) -> str:
        """Return the tree of a commit."""
        return self.ask("rev-parse", f"{commit}^{{tree}}").strip()

    def _fresh_index(self) -> Path:
        index = self.scratch / "index"
        index.unlink(missing_ok=True)
        return index


def _commit(said: str) -> Commit:
    identity, parents, tree, names, message = said.split("\x01", 4)
    return Commit(identity, tuple(parents.split()), tree, tuple(names.split()), message.strip("\n") + "\n")


def _mode(path: Path) -> str:
    return "100755" if os.access(path, os.X_OK) else "100644"


def _each(option: str, values: Iterable[str]) -> Iterator[str]:
    for value in values:
        yield from (option, value)


def _why(said: str) -> str:
    """Return file:line of the first hunk that failed, or what else git says."""
    if failed := re.search(r"patch failed: (.+):(\d+)$", said, re.MULTILINE):
        return f"{failed[1]}:{failed[2]}"
    if there := re.search(r"error: (.+): already exists in index", said):
        return f"{there[1]} exists already"
    if gone := re.search(r"error: (.+): does not exist in index", said):
        return f"there is no {gone[1]}"
    lines = [line for line in said.splitlines() if line.startswith("error:")]
    return lines[0].removeprefix("error: ") if lines else said.strip()


def first_lines(commits: Sequence[Commit]) -> list[str]:
    """Return the commits as a listing."""
    return [f"{one.id[:12]} {one.subject}" for one in commits]
