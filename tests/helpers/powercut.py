"""A disk that loses its power: it has what was waited for, and of the rest whatever a seed leaves it.

A file's bytes are there once the file was waited for, a name once its folder was; each of the rest may be lost on its
own, whatever order it was done in. Only a move is one step, as in every file system with a journal: a file is never
under neither name. Stands at the door of ``doors.durable``.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from retread.doors import durable


class _Entry(NamedTuple):
    kind: str
    """``folder``, ``link`` or ``file``."""
    what: str = ""
    """Where a link leads, or which file it is."""


class _Step(NamedTuple):
    number: int
    """The two halves of a move have the same."""
    folder: str
    name: str
    entry: _Entry | None
    """What the name stands for; None when it went."""


class Moment(NamedTuple):
    """What the disk has, and what it was told and need not have."""

    names: Mapping[str, Mapping[str, _Entry]]
    content: Mapping[str, bytes]
    told: tuple[_Step, ...]

    def write(self, root: Path, seed: int) -> None:
        """Make the folder that is found after a power cut; with seed 0 nothing is left but what was waited for."""
        chance = random.Random(seed)
        names = {folder: dict(found) for folder, found in self.names.items()}
        kept = {one.number for one in self.told if seed and chance.random() < 0.5}
        _take(names, (one for one in self.told if one.number in kept))
        shutil.rmtree(root)
        self._fill(root, names, root)

    def _fill(self, folder: Path, names: Mapping[str, Mapping[str, _Entry]], root: Path) -> None:
        folder.mkdir()
        for name, entry in names.get(str(folder.relative_to(root)), {}).items():
            path = folder / name
            if entry.kind == "folder":
                self._fill(path, names, root)
            elif entry.kind == "link":
                path.symlink_to(entry.what)
            else:
                path.write_bytes(self.content.get(entry.what, b""))


def _take(names: dict[str, dict[str, _Entry]], steps: Iterable[_Step]) -> None:
    for one in steps:
        names.setdefault(one.folder, {}).pop(one.name, None)
        if one.entry:
            names[one.folder][one.name] = one.entry


class Disk:
    """The disk of a folder, which is on it as it is found; every change is passed on, and each moment kept."""

    def __init__(self, root: Path, change: Callable[..., Any] = durable.change) -> None:
        self.moments: list[Moment] = []
        self.waits: list[list[str]] = [[]]
        """What was waited for, in groups between which something else was done."""
        self._root, self._change = root, change
        self._names: dict[str, dict[str, _Entry]] = {}
        self._content: dict[str, bytes] = {}
        self._told: list[_Step] = []
        self._live: dict[str, _Entry] = {}
        self._number = itertools.count()
        self._lock = Lock()
        for path in sorted(root.rglob("*")):
            entry = self._of(path)
            self._live[str(path)] = entry
            self._names.setdefault(str(path.parent.relative_to(root)), {})[path.name] = entry
            if entry.kind == "file":
                self._content[entry.what] = path.read_bytes()

    def _of(self, path: Path) -> _Entry:
        if path.is_symlink():
            return _Entry("link", str(path.readlink()))
        return _Entry("folder") if path.is_dir() else _Entry("file", str(next(self._number)))

    def __call__(self, act: Callable[..., Any], *arguments: Any) -> Any:
        """Make a change, and note what the disk has of it; one at a time, whoever makes it."""
        with self._lock:
            return self._made(act, *arguments)

    def _made(self, act: Callable[..., Any], *arguments: Any) -> Any:
        done = self._change(act, *arguments)
        if act is os.fsync:
            self._wait(Path(f"/proc/self/fd/{arguments[0]}").readlink())
        elif self.waits[-1]:
            self.waits.append([])
        if act in {os.link, os.symlink}:
            self._name(arguments[1])
        elif act is os.mkdir or (act is os.open and str(arguments[0]) not in self._live):
            self._name(arguments[0])
        elif act is os.rename:
            self._tell(arguments[1], self._live[str(arguments[0])])
            self._tell(arguments[0], None, self._told[-1].number)
        elif act in {os.unlink, os.rmdir}:
            self._tell(arguments[0], None)
        names = {folder: dict(found) for folder, found in self._names.items()}
        self.moments.append(Moment(names, dict(self._content), tuple(self._told)))
        return done

    def _name(self, path: Path) -> None:
        self._tell(path, self._of(path))

    def _tell(self, path: Path, entry: _Entry | None, number: int | None = None) -> None:
        number = next(self._number) if number is None else number
        self._told.append(_Step(number, str(path.parent.relative_to(self._root)), path.name, entry))
        if entry is None:
            self._live.pop(str(path), None)
        else:
            self._live[str(path)] = entry

    def _wait(self, path: Path) -> None:
        where = str(path.relative_to(self._root))
        self.waits[-1].append(where)
        if not path.is_dir():
            self._content[self._live[str(path)].what] = path.read_bytes()
            return
        there = {one.number for one in self._told if one.folder == where}
        _take(self._names, [one for one in self._told if one.number in there])
        self._told = [one for one in self._told if one.number not in there]
