"""The one way to change a series folder: whole or not at all, with what was there before kept for one way back.

The new folder is made beside the old one, with links to what stays as it is, and the two trade places in one step.
Where a file system cannot do that the files are replaced one by one, the list last; the record that is written first
then finishes the way back from any point in between.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from retread import strict
from retread.doors import durable
from retread.errors import SeriesError, UsageError
from retread.queue.order import SERIES
from retread.recipe import shared
from retread.recipe.workspace import series_files
from retread.records import Record

Files = Mapping[str, bytes]


class Action(Record, frozen=True, kw_only=True):
    """The last action: what it was called, and the folder before and after it."""

    action: str
    before: dict[str, bytes]
    after: dict[str, bytes]


class Ledger(NamedTuple):
    """A series folder, and the record of the last action on it."""

    folder: Path
    """A real path: links are followed."""
    record: Path

    def put(self, before: Files, after: Files, *, action: str) -> None:
        """Make the folder hold ``after``; SeriesError when it does not hold ``before`` any more."""
        now = series_files(self.folder)
        changed = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
        if changed:
            raise SeriesError(
                f"{self.folder.name}: {', '.join(changed)} changed while this ran; nothing was written",
                hint="run the same command again",
            )
        with durable.disk_errors(self.folder):
            durable.replace(
                self.record,
                msgspec.json.encode(Action(action=action, before=dict(before), after=dict(after))),
            )
            self._switch(before, {name: data for name, data in after.items() if name not in _strays(after)})

    def undo(self) -> Action:
        """Put back what was there before the last action, and return that action."""
        last = self._last()
        now = series_files(self.folder)
        if last is None or now == last.before:
            done = "" if last is None else f": '{last.action}' was not carried out, or is undone"
            raise UsageError(f"there is nothing to undo{done}")
        names = (now.keys() | last.before.keys() | last.after.keys()) - _strays(last.after)
        other = [
            name
            for name in sorted(names)
            if now.get(name) not in (last.before.get(name), last.after.get(name))
        ]
        if other:
            raise SeriesError(
                f"'{last.action}' cannot be undone: {', '.join(other)} changed since",
                hint="git has what was there before, if it was committed",
            )
        with durable.disk_errors(self.folder):
            self._switch(now, last.before)
            durable.remove(self.record)
        return last

    def _last(self) -> Action | None:
        with suppress(FileNotFoundError, ValueError):
            return strict.decoded(self.record.read_bytes(), Action)
        return None

    def _switch(self, before: Files, after: Files) -> None:
        beside = self.folder.with_name(f".{self.folder.name}.retread")
        durable.remove(beside)
        try:
            self._lay(beside, before, after)
            done = durable.exchange(beside, self.folder)
            durable.sync(self.folder.parent)
        except BaseException:
            durable.remove(beside)
            raise
        durable.remove(beside)
        if not done:
            self._one_by_one(before, after)

    def _lay(self, beside: Path, before: Files, after: Files) -> None:
        """Make the new folder; what is no file of the series is taken over as it is."""
        durable.change(os.mkdir, beside)
        durable.change(shutil.copymode, self.folder, beside)
        targets = shared.targets(self.folder)
        for name, data in after.items():
            if target := targets.get(data):
                durable.point(beside / name, target)
            elif before.get(name) != data or not _linked(self.folder / name, beside / name):
                durable.write(beside / name, data)
        for other in self.folder.iterdir():
            if other.is_dir() and not other.is_symlink():
                durable.change(shutil.copytree, other, beside / other.name, True)
        durable.sync(beside)

    def _one_by_one(self, before: Files, after: Files) -> None:
        targets = shared.targets(self.folder)
        ordered = sorted(after, key=lambda name: (name == SERIES, name))
        for name in ordered:
            if before.get(name) != after[name]:
                put(self.folder / name, after[name], targets)
        for name in before.keys() - after.keys():
            durable.remove(self.folder / name)
        durable.sync(self.folder)


def put(path: Path, data: bytes, targets: Mapping[bytes, str]) -> None:
    """Put a file of a series in the place of another: a link where the bytes are those of a shared patch."""
    if target := targets.get(data):
        durable.remove(path)
        durable.point(path, target)
        durable.sync(path.parent)
    else:
        durable.replace(path, data)


def _strays(files: Files) -> set[str]:
    """Return the names under which a killed process may have left half a file."""
    return {f"{name}.new" for name in files}


def _linked(source: Path, path: Path) -> bool:
    try:
        durable.change(os.link, source, path)
    except OSError:
        return False
    return True
