"""The store: keyed, stamped directories for whatever is worth not making twice.

An entry is looked up, locked, looked up again, built in a temporary directory and moved in with its stamp; what has no
stamp is rubbish. So two processes never build the same thing, and a killed one leaves nothing that counts.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from retread import strict, units, variables
from retread.doors import clock, fs
from retread.errors import HostError, StoreError, UsageError
from retread.records import Record

STAMP = "stamp.json"
_FORMAT = 1
_GIVEN_UP_DAYS = 30
"""Unfinished downloads and rooms of a failed build are kept this long, to be resumed or looked into after a holiday."""
_WORK = "work"
_SIZES = "sizes.json"
READ = "read"
"""The folder of what was read of files before (``doors.readings``)."""


class Kind(StrEnum):
    """The rooms of the store."""

    DOWNLOADS = "downloads"
    TREES = "trees"
    PATCHED = "patched"
    BASES = "bases"
    TOOLCHAINS = "toolchains"
    TOOLKITS = "toolkits"
    ENVIRONMENTS = "environments"
    COMPILED = "compiled"
    CUBINS = "cubins"
    LIBRARIES = "libraries"
    WHEELS = "wheels"
    TRIALS = "trials"


_LARGE = {Kind.TREES, Kind.TOOLKITS, Kind.ENVIRONMENTS}
"""Kinds with thousands of files; their stamps hold the top-level ones."""


class _File(Record, frozen=True, kw_only=True):
    size: int
    mtime_ns: int


class _Stamp(Record, frozen=True, kw_only=True):
    format: int
    files: dict[str, _File]
    """Top-level files with size and time: a changed one makes the entry void."""


class Entry(NamedTuple):
    """One finished entry: where it lies, its size in bytes, when it was last used (seconds since 1970)."""

    kind: Kind
    key: str
    path: Path
    size: int
    used: float


class Removed(Record, frozen=True, kw_only=True):
    """What was taken out of a store."""

    removed: tuple[str, ...]
    """Entries as KIND/KEY, each once; of a shared store also names of what lay among its claims and was none."""
    freed: int
    """Bytes."""


def digest(*parts: Any) -> str:
    """Return the key of anything that msgspec can write: SHA-256 of its canonical JSON."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


class Elsewhere(Protocol):
    """Where entries are that other machines made."""

    def take(self, kind: Kind, key: str, into: Path) -> bool:
        """Fill an empty folder with the entry and return True; leave it empty and return False where there is none."""

    def has(self, kind: Kind, key: str) -> bool:
        """Say whether ``take`` would find the entry, as far as that is known without fetching it."""

    def lacks(self, kind: Kind, key: str) -> bool:
        """Say whether what is made here is given to others, and they are known to have no such entry."""

    def give(self, kind: Kind, key: str, entry: Path, scratch: Path) -> None:
        """Let others have an entry that was made here; ``scratch`` is a folder for what that takes."""


class Store:
    """A folder of finished entries, shared by every retread of this user."""

    def __init__(
        self,
        root: Path,
        *,
        waiting: Callable[[str], AbstractContextManager[object]] = nullcontext,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """Take a folder; ``waiting`` gets what is waited for, and is entered meanwhile.

        What is missing is looked for ``elsewhere`` before it is made, and given there once it is.
        """
        self.root = root
        self._waiting = waiting
        self._elsewhere = elsewhere
        self._moved: dict[Kind, Store] = {}

    def anew(self, kinds: Collection[Kind], root: Path) -> Store:
        """Return this store with the rooms of ``kinds`` under ``root`` instead, so that results are made again.

        Only for looking up and making: what lists or removes entries does not look under ``root``. What is made there
        comes from nowhere else.
        """
        other = Store(self.root, waiting=self._waiting, elsewhere=self._elsewhere)
        moved = Store(root, waiting=self._waiting)
        other._moved = {**self._moved, **dict.fromkeys(kinds, moved)}
        return other

    def get(self, kind: Kind, key: str) -> Path | None:
        """Return the finished entry, or None; an entry whose files were changed since is not finished."""
        path = self._path(kind, key)
        return None if _sound(path, kind) is None else path

    def is_elsewhere(self, kind: Kind, key: str) -> bool:
        """Say whether an entry that is not here is where ``make`` looks before it makes one."""
        return self._elsewhere is not None and not self.get(kind, key) and self._elsewhere.has(kind, key)

    def is_here_alone(self, kind: Kind, key: str) -> bool:
        """Say whether others would have been given an entry, and were not: it was here before they were named."""
        return self._elsewhere is not None and self._elsewhere.lacks(kind, key)

    def use(self, kind: Kind, key: str) -> Path | None:
        """Return the finished entry, or None, and note that it was used, which keeps it from being pruned."""
        found = self.get(kind, key)
        if found:
            with suppress(OSError):  # a read-only store still serves
                os.utime(found / STAMP)
        return found

    def make(self, kind: Kind, key: str, build: Callable[[Path], None]) -> Path:
        """Return the entry, calling ``build`` with an empty directory when there is none yet.

        When ``build`` raises, nothing stays. Another process that makes the same entry is waited for.
        """
        if moved := self._moved.get(kind):
            return moved.make(kind, key, build)  # with locks and scratch on its own disk
        if found := self.use(kind, key):
            return found
        with self._errors(), self.lock(f"{kind}-{key}", tell=True):
            return self.get(kind, key) or self._build(kind, key, build)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Say of a disk that refuses what can be done about a store's."""
        try:
            with fs.disk_errors(self.root):
                yield
        except StoreError as error:
            if str(self.root) not in error.message and error.hint != fs.FULL:
                raise
            what = "make room" if error.hint == fs.FULL else error.hint
            hint = f"{what}, or point {variables.STORE} to another {'disk' if error.hint == fs.FULL else 'folder'}"
            raise StoreError(error.message, hint=hint) from None

    def _build(self, kind: Kind, key: str, build: Callable[[Path], None]) -> Path:
        path = self._path(kind, key)
        with self.scratch() as scratch:
            work = scratch / "entry"
            work.mkdir()
            taken = self._elsewhere is not None and self._elsewhere.take(kind, key, work)
            if not taken:
                build(work)
            stamp = _Stamp(format=_FORMAT, files=_files(work, kind))
            (work / STAMP).write_bytes(msgspec.json.encode(stamp))
            _remove(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            work.rename(path)
            if self._elsewhere and not taken:
                self._elsewhere.give(kind, key, path, scratch)
        return path

    def is_damaged(self, kind: Kind, key: str) -> bool:
        """Say whether there is something under a key that is no finished entry, or no longer."""
        return self._path(kind, key).exists() and self.get(kind, key) is None

    def renew(self, kind: Kind, key: str, build: Callable[[Path], None]) -> Path:
        """Return the entry, made anew by ``build`` in the place of one that is there."""
        with self._errors(), self.lock(f"{kind}-{key}"):
            return self._build(kind, key, build)

    def discard(self, kind: Kind, key: str) -> None:
        """Remove an entry that turned out to be void, or that nobody wants."""
        with self._errors(), self.lock(f"{kind}-{key}"):
            _remove(self._path(kind, key))

    @contextmanager
    def workroom(self, name: str) -> Iterator[Path]:
        """Yield a folder that is kept between runs, for work that goes on where it was; one process at a time.

        It lies where compiled wheels do, so a store in which these are made anew starts with an empty one.
        """
        if Kind.COMPILED in self._moved:
            with self._moved[Kind.COMPILED].workroom(name) as path:
                yield path
            return
        with self._errors(), self.lock(f"work-{name}", tell=True):
            path = self._room(_WORK) / name
            path.mkdir(exist_ok=True)
            yield path
            os.utime(path)

    @contextmanager
    def lock(self, name: str, *, tell: bool = False) -> Iterator[None]:
        """Hold the lock ``name`` of this store; the kernel frees it when the process dies.

        With ``tell``, the user sees when somebody else has it, and for how long.
        """
        with (self._room("locks") / name).open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with (
                    self._waiting(f"wait for another build that makes {name[:24]}") if tell else nullcontext()
                ):
                    fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield an empty directory on the store's disk that is removed at the end.

        It is locked as long as this process lives, so that ``sweep`` knows whose it may remove.
        """
        import shutil
        import tempfile

        with self._errors():
            folder = self._room("scratch")
            with self.lock("scratch"):
                path = Path(tempfile.mkdtemp(dir=folder))
                lock = self._scratch_lock(path)
                handle = _try_lock(lock)
            try:
                yield path
            finally:
                shutil.rmtree(path, ignore_errors=True)
                lock.unlink(missing_ok=True)
                if handle is not None:
                    os.close(handle)

    def _scratch_lock(self, path: Path) -> Path:
        return self._room("locks") / f"scratch-{path.name}"

    def partial(self, key: str) -> Path:
        """Return where a download that is not complete yet grows, to be resumed by a later run."""
        return self._room("partial") / key

    def entries(self, *, anew: bool = False) -> list[Entry]:
        """Return every finished entry, the longest unused first.

        What a source tree, a toolkit or an environment holds is counted once and then kept; it is counted ``anew``
        where that decides something.
        """
        found, sizes = [], _Sizes(self.root / _SIZES, anew=anew)
        for kind, path in self._places():
            files = _sound(path, kind)
            if files is not None:
                with suppress(FileNotFoundError):  # another process may prune
                    stamp = (path / STAMP).stat()
                    large = kind in _LARGE
                    size = sizes.of(kind, path) if large else sum(one.size for one in files.values())
                    found.append(Entry(kind, path.name, path, size + stamp.st_size, stamp.st_mtime))
        sizes.keep()
        return sorted(found, key=lambda entry: entry.used)

    def names(self, kind: Kind) -> set[str]:
        """Return the names of the files at the top of every finished entry of a kind."""
        found = [path for one, path in self._places() if one is kind and self.get(kind, path.name)]
        return {file.name for path in found for file in path.iterdir() if file.name != STAMP}

    def tidy(self) -> int:
        """Remove the scratch of dead processes and downloads given up long ago; return how many bytes that freed."""
        freed = 0
        with self._errors():
            if (self.root / "scratch").is_dir():
                with self.lock("scratch"):
                    for path in (self.root / "scratch").iterdir():
                        freed += _remove_unlocked(path, self._scratch_lock(path))
                        if not path.exists():
                            self._scratch_lock(path).unlink(missing_ok=True)
            with suppress(HostError):  # by a clock of another age nothing is told to be old
                freed += self._drop_files("partial", clock.now() - _GIVEN_UP_DAYS * units.DAY)
                freed += self.drop_beside(unused_days=_GIVEN_UP_DAYS)
        return freed

    def drop_beside(self, *, unused_days: float) -> int:
        """Remove workrooms and readings that were unused for longer; return how many bytes that freed."""
        limit = clock.now() - unused_days * units.DAY
        return self._drop_rooms(limit) + self._drop_files(READ, limit)

    def _drop_files(self, room: str, limit: float) -> int:
        """Remove the files of a room that are older than ``limit`` (seconds since 1970); return how many bytes went."""
        freed = 0
        for path in (self.root / room).glob("*"):
            with suppress(FileNotFoundError):  # another process may just have completed it
                if path.stat().st_mtime < limit:
                    freed += path.stat().st_size
                    path.unlink(missing_ok=True)
        return freed

    def sweep(self) -> int:
        """Do what ``tidy`` does, and remove entries that are not finished or were damaged since."""
        freed = self.tidy()
        with self._errors():
            for kind, path in self._places():
                if not self.get(kind, path.name):
                    lock = self._room("locks") / f"{kind}-{path.name}"
                    lock.touch()
                    freed += _remove_unlocked(path, lock, unless=partial(self.get, kind, path.name))
        return freed

    def prune(self, *, unused_days: float, keep_bytes: int | None = None) -> list[Entry]:
        """Remove entries unused for longer, then the longest unused until the rest fits; return what went."""
        entries = self.entries(anew=True)
        limit = clock.now() - unused_days * units.DAY
        total = sum(entry.size for entry in entries)
        gone: list[Entry] = []
        for entry in entries:
            if int(entry.used) <= limit or (keep_bytes is not None and total > keep_bytes):
                with self.lock(f"{entry.kind}-{entry.key}"):
                    if _used(entry.path) > entry.used:
                        continue  # somebody took it while this process waited
                    _remove(entry.path)
                total -= entry.size
                gone.append(entry)
        return gone

    def _drop_rooms(self, limit: float) -> int:
        """Remove workrooms unused since ``limit`` (seconds since 1970); return how many bytes that freed."""
        freed = 0
        for path in (self.root / _WORK).glob("*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < limit:
                    freed += _remove_unlocked(path, self._room("locks") / f"work-{path.name}")
        return freed

    def beside(self) -> dict[str, int]:
        """Return room -> bytes of what lies beside the entries.

        Work that goes on, compile cache, downloads begun, worktrees of series, what was read of files before.
        """
        names = (_WORK, "sccache", "uv", "partial", "worktrees", READ)
        sizes = {name: _size(self.root / name) for name in names}
        return {name: size for name, size in sizes.items() if size}

    def _places(self) -> Iterator[tuple[Kind, Path]]:
        """Yield where entries lie, finished or not; what has no key for a name is not the store's."""
        for kind in Kind:
            for room in _names(self.root / kind):
                folder = self.root / kind / room
                yield from ((kind, folder / name) for name in _names(folder) if name.isalnum())

    def _room(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _path(self, kind: Kind, key: str) -> Path:
        if not key.isalnum():
            raise StoreError(f"{key!r} is not a key")
        return self._moved.get(kind, self).root / kind / key[:2] / key


def default_root(environment: dict[str, str]) -> Path:
    """Return the store that the environment names: RETREAD_STORE, else the user's cache folder.

    StoreError where a file lies in its place; UsageError where it would be below an empty HOME.
    """
    if explicit := environment.get(variables.STORE):
        with variables.named(variables.STORE, environment):
            path = Path(fs.of_variable(explicit)).absolute()
            fs.demand_folder(path)
        return path
    home, cache = environment.get("HOME", "~"), environment.get("XDG_CACHE_HOME")
    if not (home or cache):
        raise UsageError("HOME is empty", hint=f"set HOME, or {variables.STORE} to a folder")
    return Path(cache or Path(home).expanduser() / ".cache").absolute() / "retread"


class _Sizes:
    """How much large entries hold, beside their stamps, each by when its folder was filled; kept in a file."""

    def __init__(self, path: Path, *, anew: bool) -> None:
        self._path, self._now = path, dict[str, tuple[int, int]]()
        self._before = dict[str, tuple[int, int]]()
        with suppress(OSError, ValueError):
            if not anew:
                self._before = strict.decoded(path.read_bytes(), dict[str, tuple[int, int]])

    def of(self, kind: Kind, entry: Path) -> int:
        """Return the bytes of an entry, which is read through unless that was done since it was filled."""
        name, filled = f"{kind}/{entry.name}", entry.stat().st_mtime_ns
        known = self._before.get(name)
        if known is None or known[0] != filled:
            stamp = (entry / STAMP).stat().st_size
            known = (filled, _size(entry) - stamp)
        self._now[name] = known
        return known[1]

    def keep(self) -> None:
        """Keep what is known of those that were asked for, and of no others."""
        if self._now != self._before:
            with suppress(OSError, StoreError):  # a read-only store keeps nothing
                fs.write(self._path, msgspec.json.encode(self._now))


def _sound(path: Path, kind: Kind) -> dict[str, _File] | None:
    """Return the files of a finished entry, as its stamp has them; None for what is none, or was changed since."""
    try:
        stamp = strict.decoded((path / STAMP).read_bytes(), _Stamp)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None  # another process may be pruning it
    except OSError as error:
        hint = f"let {variables.STORE} name a folder that you may use"
        raise StoreError(fs.refused(error).message, hint=hint) from None
    return stamp.files if stamp.format == _FORMAT and stamp.files == _files(path, kind) else None


def _files(path: Path, kind: Kind) -> dict[str, _File]:
    """Return every file; of a source tree or a toolkit the top-level ones: who takes a file out of a tree checks it."""
    found = {
        name: _File(size=status.st_size, mtime_ns=status.st_mtime_ns)
        for name, status in _walk(os.fspath(path), deep=kind not in _LARGE)
    }
    found.pop(STAMP, None)
    return found


def _walk(folder: str, within: str = "", *, deep: bool = True) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each file below a folder, by its name from there, and what the system says of it.

    Links to folders are passed over, as is what another process removes meanwhile.
    """
    try:
        with os.scandir(folder) as there:
            every = list(there)
    except OSError:
        return
    for one in every:
        if not one.is_dir():
            with suppress(FileNotFoundError):
                yield f"{within}{one.name}", one.stat(follow_symlinks=False)
        elif deep and not one.is_symlink():
            yield from _walk(one.path, f"{within}{one.name}/")


def _names(folder: Path) -> list[str]:
    """Return what is in a folder, sorted; nothing of what is none."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - a Path for each of thousands takes three times as long
    except (FileNotFoundError, NotADirectoryError):
        return []


def _used(path: Path) -> float:
    try:
        return (path / STAMP).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(path: Path) -> int:
    return sum(status.st_size for _, status in _walk(os.fspath(path)))


def _remove_unlocked(path: Path, lock: Path, unless: Callable[[], object] = lambda: None) -> int:
    """Remove ``path`` if nobody holds ``lock`` and ``unless`` still says no; return its size in bytes."""
    handle = _try_lock(lock)
    if handle is None:
        return 0
    try:
        if unless():
            return 0
        freed = _size(path)
        _remove(path)
        return freed
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    """Remove an entry or a folder, the stamp first: a process that dies halfway leaves nothing that counts."""
    with suppress(FileNotFoundError, NotADirectoryError):
        (path / STAMP).unlink()
    fs.remove(path)


def _try_lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock of a file, or None when another process holds it."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)  # NFS locks only what is open for writing
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
