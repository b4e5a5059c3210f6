"""The folder of an index: what lies where, one writer at a time, and a change that happens whole or not at all.

What a change makes, links included, is laid down in ``.retread/next``. The journal says where each of it goes, and is
the commit point: before it stands, ``next`` is rubbish; from then on every file of it is only moved to its place,
wheels before links before lists, which the next writer goes on with if this one is killed. So readers see an old page
or a new one.

A power cut may take whatever was not waited for. So the disk is waited for
- once for all new files, with ``next``, where their names are, and the folder that ``next`` is in: the journal relies
  on them;
- for the journal, its bytes and then its name: the decision;
- once for the folders in which others were made: what moves into one that a power cut takes is gone with it;
- once for the folders that files of a stage moved into, and for no others: a link may not be there before what it leads
  to, nor a list before the links that it names. The files' bytes are there already, and moving changes none;
- for the line in the history, which says that all of it was done, so that a journal which comes back is known for an
  old one. That ``next`` and the journal are gone is not waited for.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from retread import strict
from retread.doors import durable, fs
from retread.errors import PublishError, StoreError, first
from retread.index import layout
from retread.index.layout import CHANNEL, FILES, HIDDEN
from retread.index.listing import Project
from retread.index.revisions import EMPTY, Ledger
from retread.records import Record, Sha256

R = TypeVar("R", bound=Record)
_FOUND = "lost+found"
"""What a disk has at its root; that, and what begins with a dot, like a server's settings, an index leaves alone."""
_HINT = "see what 'retread index check' says, and put the folder back from a copy"
_BLOCK = 1 << 16


class Touched(Record, frozen=True, kw_only=True):
    """A wheel that an action is about."""

    file: str
    sha256: Sha256


class Action(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One change of an index, a line of its history."""

    number: int
    time: str
    """UTC, as PEP 700 writes it."""
    action: str
    """``publish``, ``yank``, ``unyank``, ``remove``, ``rollback``, ``refresh``, ``revoke`` or ``renew``."""
    reason: str
    base: str
    """The address of the index as consumers write it, which the pages of this action name."""
    files: tuple[Touched, ...]
    projects: tuple[str, ...]
    """``cu128/demo`` for each page that was written."""
    channels: tuple[str, ...]
    """Those whose own pages were written."""
    serial: int = 0
    """Serial number of the revocation list that was put into the index; 0 of an action that put none."""


class _Journal(Record, frozen=True, kw_only=True):
    action: Action
    gone: tuple[str, ...]
    """Folders that are removed once no page names them."""
    moves: dict[str, str] = msgspec.field(default_factory=dict)
    """Place in the index -> name in ``next``."""
    made: tuple[str, ...] = ()
    """Folders that were not there when it was decided."""


class Index:
    """An index on disk. Whatever changes it holds ``writing()``; what is read without is whole, but may be old."""

    def __init__(self, root: Path, say: Callable[[str], None] = lambda _: None) -> None:
        self.root = Path(os.path.realpath(root))
        self.hidden = self.root / HIDDEN
        self.next = self.hidden / "next"
        self.journal = self.hidden / "journal.json"
        self._history = self.hidden / "history.jsonl"
        self._moves: dict[str, str] = {}
        self.say = say

    @property
    def exists(self) -> bool:
        """Whether anything was ever published here."""
        try:
            return self._history.is_file()
        except OSError as error:
            raise fs.refused(error) from None

    def demand(self) -> None:
        """Raise PublishError where there is no index."""
        if not self.exists:
            raise PublishError(f"{self.root} holds no index", hint="'retread publish' makes one")

    def demand_room(self) -> None:
        """Raise PublishError where an index would begin among the files of somebody else, or in another index."""
        fs.demand_folder(self.root)
        begun = self.journal.exists() or self.exists  # in this order: the journal goes after the history came
        if begun:
            return
        for folder in self.root.parents:
            if _is_index(folder):
                raise lies_in(str(self.root), str(folder))
        try:
            others = [one for one in _names(self.root) if one != _FOUND and not one.startswith(".")]
        except OSError as error:
            raise fs.refused(error) from None
        if others:
            raise PublishError(
                f"{self.root} holds no index, but other things",
                faults=first(others),
                hint="name a folder that is new or empty: an index has one of its own",
            )

    # What it says.

    def channels(self) -> tuple[str, ...]:
        """Return the channels, sorted."""
        return tuple(name for name in _names(self.hidden / "state") if CHANNEL.fullmatch(name))

    def names(self, channel: str) -> Iterator[str]:
        """Yield the names that a channel owns, sorted."""
        return (name.removesuffix(".json") for name in _names(self.hidden / "state" / channel))

    def owns(self, channel: str, name: str) -> bool:
        """Say whether a channel owns a name."""
        return os.path.lexists(self.root / layout.state(channel, name))

    def project(self, channel: str, name: str) -> Project | None:
        """Return what a channel lists of a project; None for a name that it does not own."""
        return read(self.root / layout.state(channel, name), Project)

    def at(self, number: int, channel: str, name: str) -> Project | None:
        """Return what action ``number`` made of a project."""
        return read(self.root / f"{layout.snapshot(number, channel, name)}.json", Project)

    def ledger(self, channel: str, name: str) -> Ledger:
        """Return what a channel ever published of a project."""
        return read(self.root / layout.ledger(channel, name), Ledger) or EMPTY

    def bound(self, file: str) -> str:
        """Return the SHA-256 that a file name is bound to for ever, or nothing."""
        try:
            return (self.root / layout.binding(file)).read_text("ascii")
        except FileNotFoundError:
            return ""

    def history(self) -> Iterator[Action]:
        """Yield every action, the first one first; a line that is not finished is none."""
        with suppress(FileNotFoundError), self._history.open("rb") as stream:
            for line in stream:
                if line.endswith(b"\n"):
                    yield _action(line, self._history)

    def last(self) -> Action | None:
        """Return the last action; it is read from the end, whatever stands before."""
        try:
            data, _ = self._tail()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _action(data, self._history) if data else None

    def _tail(self) -> tuple[bytes, int]:
        """Return the last finished line of the history, and where it ends."""
        with self._history.open("rb") as stream:
            size = at = stream.seek(0, os.SEEK_END)
            data = b""
            while at and data.count(b"\n") < 2:
                start = max(0, at - _BLOCK)
                stream.seek(start)
                data, at = stream.read(at - start) + data, start
        finished = data[: data.rfind(b"\n") + 1]
        return finished[finished.rfind(b"\n", 0, -1) + 1 :], size - len(data) + len(finished)

    # Who writes.

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the index for a change; what an earlier one left is finished or removed first.

        StoreError for a disk that refuses, PublishError for an index that is not sound.
        """
        with durable.disk_errors(self.root):
            self._demand_folder(self.hidden)
            durable.sync(*durable.folder(self.hidden))
            with self._locked():
                self._recover()
                self._moves = {}
                try:
                    yield
                finally:
                    if not self.journal.exists():
                        durable.remove(self.next)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep writers out while it is looked at; PublishError where there is no index."""
        self._demand_plain()
        self.demand()
        with ExitStack() as stack:
            with suppress(FileNotFoundError):  # a copy need not have it
                lock = stack.enter_context((self.hidden / "lock").open("rb"))
                fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    def _demand_plain(self) -> None:
        """Raise PublishError where a pipe or a device lies in the place of what is read: it need never end."""
        for path in (self.hidden / "lock", self._history, self.journal):
            if os.path.lexists(path) and not path.is_file():
                raise PublishError(f"{path} is no plain file", hint=_HINT)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._demand_plain()
        with (self.hidden / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.say(f"waiting for another process that changes {self.root}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _recover(self) -> None:
        found = read(self.journal, _Journal)
        if found and not ((last := self.last()) and last.number >= found.action.number):
            self.say(f"finishing action {found.action.number}, which was interrupted")
            self._apply(found if found.moves else msgspec.structs.replace(found, moves=self._mirrored()))
        for path in (self.next, self.journal, self.journal.with_name(f"{self.journal.name}.new")):
            durable.remove(path)

    def _mirrored(self) -> dict[str, str]:
        """Return what lies in ``next`` of a retread whose journal did not say it: a tree that mirrors the index."""
        found = []
        for folder, folders, files in os.walk(self.next):
            links = [name for name in folders if (Path(folder) / name).is_symlink()]
            found += [str((Path(folder) / name).relative_to(self.next)) for name in (*files, *links)]
        return {one: one for one in found}

    # How it is written.

    def staged(self, relative: str) -> Path:
        """Return where to write a file or a link that the change puts to its place in the index."""
        return self.next / self._moves.setdefault(relative, str(len(self._moves)))

    def commit(self, action: Action, gone: Iterable[str] = ()) -> None:
        """Make what was staged the index; ``gone`` are folders that no page names any more."""
        durable.folder(self.next)
        made = self._demand_way()
        files = [path for name in self._moves.values() if not (path := self.next / name).is_symlink()]
        durable.sync(*files, self.next, self.hidden)
        journal = _Journal(action=action, gone=tuple(gone), moves=self._moves, made=made)
        durable.replace(self.journal, msgspec.json.encode(journal))
        try:
            self._apply(journal)
        except OSError as error:
            raise StoreError(
                f"cannot write {error.filename or self.root}: {error.strerror}",
                hint=f"action {action.number} is decided: the next change finishes it, once the disk lets it",
            ) from None

    def _apply(self, journal: _Journal) -> None:
        """Move everything to its place; done again, it goes on where it was."""
        for folder in journal.made:
            durable.folder(self.root / folder)
        durable.sync(*{(self.root / folder).parent for folder in journal.made})
        for stage in self._stages(journal.moves):
            for place in stage:
                if os.path.lexists(staged := self.next / journal.moves[place]):
                    durable.move(staged, self.root / place)
            durable.sync(*{(self.root / place).parent for place in stage})
        for path in journal.gone:
            durable.remove(self.root / path)
        emptied = {(self.root / path).parent for path in journal.gone}
        durable.sync(*(path for path in emptied if path.is_dir()))  # a part of an index has not all
        self._note(journal.action)
        durable.remove(self.next)
        durable.remove(self.journal)

    def _stages(self, moves: Mapping[str, str]) -> list[list[str]]:
        """Return the places in the order in which they are filled: what pages name, links to pages, lists."""
        stages: list[list[str]] = [[], [], []]
        for place in sorted(moves):
            staged = self.next / moves[place]
            is_link = (staged if os.path.lexists(staged) else self.root / place).is_symlink()
            stages[1 if is_link else 0 if place.startswith((f"{FILES}/", f"{HIDDEN}/")) else 2].append(place)
        return stages

    def _note(self, action: Action) -> None:
        line, end = self._tail() if self._history.exists() else (b"", 0)
        if not line or _decode(line, Action, self._history).number < action.number:
            durable.append(self._history, msgspec.json.encode(action) + b"\n", after=end)

    def _demand_way(self) -> tuple[str, ...]:
        """Return the folders that are to be made; PublishError unless everything can be moved to its place.

        What is decided must not fail.
        """
        disk, made = self.hidden.stat().st_dev, []
        folders = {str(folder) for place in self._moves for folder in Path(place).parents}
        for folder in sorted(folders):
            path = self.root / folder
            self._demand_folder(path)
            if path.exists():
                _demand_writable(path, disk)
            else:
                made.append(folder)
        for relative, name in sorted(self._moves.items()):
            place, link = self.root / relative, (self.next / name).is_symlink()
            foreign = not self.exists or place.is_symlink() != link or (not link and place.is_dir())
            if os.path.lexists(place) and foreign:
                raise _in_the_way(place)
        return tuple(made)

    def _demand_folder(self, path: Path) -> None:
        if path != self.root and path.is_symlink():
            raise _in_the_way(path)
        if os.path.lexists(path) and not path.is_dir():
            raise _in_the_way(path)


def lies_in(place: str, outer: str) -> PublishError:
    """Return the error for an index that would begin inside another."""
    return PublishError(
        f"{place} lies in the index {outer}", hint="name a place beside it: an index has one of its own"
    )


def _is_index(folder: Path) -> bool:
    with suppress(OSError):  # what may not be looked into
        return (folder / HIDDEN / "history.jsonl").is_file()
    return False


def read(path: Path, kind: type[R]) -> R | None:
    """Return the record in a file, or None where there is no file; PublishError for one that is damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return _decode(data, kind, path)


def _action(line: bytes, path: Path) -> Action:
    found = _decode(line, Action, path)
    with suppress(ValueError):
        if found.number >= 1 and datetime.fromisoformat(found.time):
            return found
    raise PublishError(f"{path} is damaged: action {found.number} of {found.time!r}", hint=_HINT)


def _decode(data: bytes, kind: type[R], path: Path) -> R:
    try:
        return strict.decoded(data, kind)
    except ValueError as error:
        raise PublishError(f"{path} is damaged: {error}", hint=_HINT) from None


def _names(path: Path) -> list[str]:
    try:
        return sorted(os.listdir(path))  # noqa: PTH208 - a Path for each of thousands takes three times as long
    except FileNotFoundError:
        return []


def _demand_writable(folder: Path, disk: int) -> None:
    if folder.stat().st_dev != disk:
        hint = "an index is one disk's: mount that disk at the index itself"
        raise PublishError(f"{folder} is another disk than its index", hint=hint)
    if not os.access(folder, os.W_OK | os.X_OK):
        hint = "use a folder that you may write to"
        raise StoreError(f"cannot write {folder}: no permission", hint=hint)


def _in_the_way(path: Path) -> PublishError:
    kind = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "a file"
    return PublishError(f"{path} is in the way: {kind} that retread did not make", hint="move it away")
