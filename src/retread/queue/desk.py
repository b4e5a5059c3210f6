"""Where the work on one series lies: its worktree, the record of the last action, the lock."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from retread.doors import durable, fs
from retread.doors.machine import Machine
from retread.doors.store import digest
from retread.errors import UsageError
from retread.queue import pieces, resolution
from retread.queue.ledger import Ledger
from retread.queue.pieces import Piece
from retread.queue.repository import Repository
from retread.queue.resolution import Solved
from retread.recipe import files, shared, workspace
from retread.recipe.model import Recipe
from retread.recipe.workspace import Loaded
from retread.source.records import SourceTree
from retread.source.trees import Trees


class Stack(NamedTuple):
    """A series on its source, in a repository for one action."""

    repository: Repository
    source: SourceTree
    base: str
    """The tree of those files of the source that are touched."""
    pieces: list[Piece]


class Desk:
    """The places of one recipe of one workspace; nothing of them lies in the workspace but the series itself."""

    def __init__(self, machine: Machine, root: Path, recipe: str, *, to: str = "") -> None:
        """``to`` is the release that the series is carried to; that worktree is another one."""
        self.machine = machine
        self.root = Path(os.path.realpath(root))
        self.recipe: Recipe = workspace.read_recipe(root, recipe)
        self._folder = machine.store.root / "worktrees"
        aim = f"-to-{to}" if to else ""
        self._key = f"{self.recipe.name}{aim}-{digest(str(self.root))[:12]}"
        self._pointer = self._folder / f"{self._key}.place"
        self.series = files.series(self.recipe)
        """Where the series lies, as messages name it."""

    @property
    def ledger(self) -> Ledger:
        """The series folder with the record of the last action."""
        folder = Path(os.path.realpath(self.root / self.series))
        return Ledger(folder, self._folder / f"{self._key}.undo.json")

    def put(self, before: Mapping[str, bytes], after: Mapping[str, bytes], *, action: str) -> None:
        """Write the series, and say which patches it does not share any more."""
        told = list(shared.parted(self.ledger.folder, after))
        self.ledger.put(before, after, action=action)
        for one in told:
            self.machine.console.say(f"note: {one}")

    @property
    def written(self) -> Path:
        """The record of the files that a bump wrote."""
        return self._folder / f"{self._key}.written.json"

    @property
    def worktree(self) -> Path:
        """Where the worktree is, or would be."""
        with suppress(FileNotFoundError):
            return Path(self._pointer.read_text("utf-8"))
        return self._folder / self._key

    def move(self, into: Path | None) -> None:
        """Let the worktree lie elsewhere; UsageError when there is one already."""
        if into is None:
            return
        place = into.absolute()
        if place == self.worktree:
            return
        if (self.worktree / ".git").exists():
            raise UsageError(
                f"the worktree of {self.recipe.name} is {self.worktree}",
                hint="leave --into out, or remove it first",
            )
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise UsageError(f"{place} is there and not empty", hint="name a folder that is not there yet")
        if place.is_relative_to(self.root):
            raise UsageError(
                f"{place} is inside of {self.root}", hint="a worktree lies outside of the repository"
            )
        with fs.disk_errors(self._folder):
            durable.folder(self._folder)
            durable.replace(self._pointer, os.fsencode(place))

    @contextmanager
    def held(self) -> Iterator[Path]:
        """Hold the lock of this series while the block runs, and yield an empty folder for it."""
        with self.machine.store.lock(f"worktree-{self._key}"), self.machine.store.scratch() as scratch:
            yield scratch

    def resolutions(self) -> Solved:
        """Return what a person made of conflicts before."""
        beside = workspace.series_files(self.root / files.resolutions(self.recipe))
        return resolution.read({name: data for name, data in beside.items() if name.endswith(".json")})

    def loaded(self) -> Loaded:
        """Read the recipe with its series."""
        return workspace.load(self.root, f"{self.root / files.recipe_file(self.recipe.name)}")

    def trees(self, loaded: Loaded) -> Trees:
        """Return the pinned source."""
        return Trees(loaded, self.machine)

    def stack(self, loaded: Loaded, scratch: Path, *, also: Iterable[str] = ()) -> Stack:
        """Return the series on its source; ``also`` are files that it does not touch and an action may.

        SeriesError names the first patch that does not go in.
        """
        repository, source = self.repository(scratch), self.trees(loaded).source
        base = repository.base(source, {*pieces.paths(loaded.patches), *also})
        return Stack(repository, source, base, pieces.stacked(repository, base, loaded.files))

    def repository(self, scratch: Path) -> Repository:
        """Return a new repository without a working copy, for one action."""
        made = Repository(scratch / "series.git", self.machine.environment, scratch, bare=True)
        made.init()
        return made
