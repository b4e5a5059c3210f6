"""The store: keyed, stamped directories for whatever is worth not making twice.

An entry is looked up, locked, looked up again, built in a temporary directory and moved in with its stamp; what has no
stamp is rubbish. So two processes never build the same thing, and a killed one leaves nothing that counts.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from retread import fs
from retread.errors import StoreError
from retread.model import Record

_STAMP = "stamp.json"
_FORMAT = 1


class Kind(StrEnum):
    """The rooms of the store."""

    DOWNLOADS = "downloads"
    TREES = "trees"
    PATCHED = "patched"
    BASES = "bases"
    TOOLCHAINS = "toolchains"
    CUBINS = "cubins"
    LIBRARIES = "libraries"
    WHEELS = "wheels"


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


def digest(*parts: Any) -> str:
    """Return the key of anything that msgspec can write: SHA-256 of its canonical JSON."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


class Store:
    """A folder of finished entries, shared by every retread of this user."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, kind: Kind, key: str) -> Path | None:
        """Return the finished entry, or None; an entry whose files were changed since is not finished."""
        path = self._path(kind, key)
        try:
            stamp = msgspec.json.decode((path / _STAMP).read_bytes(), type=_Stamp)
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
            return None
        if stamp.format != _FORMAT or stamp.files != _files(path):
            return None
        return path

    def make(self, kind: Kind, key: str, build: Callable[[Path], None]) -> Path:
        """Return the entry, calling ``build`` with an empty directory when there is none yet.

        When ``build`` raises, nothing stays. Another process that makes the same entry is waited for.
        """
        found = self.get(kind, key)
        if found:
            _touch(found)
            return found
        with fs.disk_errors(self.root), self.lock(f"{kind}-{key}"):
            return self.get(kind, key) or self._build(kind, key, build)

    def _build(self, kind: Kind, key: str, build: Callable[[Path], None]) -> Path:
        path = self._path(kind, key)
        with self.scratch() as scratch:
            work = scratch / "entry"
            work.mkdir()
            build(work)
            stamp = _Stamp(format=_FORMAT, files=_files(work))
            (work / _STAMP).write_bytes(msgspec.json.encode(stamp))
            fs.remove(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            work.rename(path)
        return path

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock ``name`` of this store; the kernel frees it when the process dies."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield an empty directory on the store's disk that is removed at the end."""
        folder = self.root / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=folder))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def partial(self, key: str) -> Path:
        """Return where a download that is not complete yet grows, to be resumed by a later run."""
        folder = self.root / "partial"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / key

    def entries(self) -> list[Entry]:
        """Return every finished entry, the longest unused first."""
        found = [
            Entry(kind, path.name, path, _size(path), (path / _STAMP).stat().st_mtime)
            for kind in Kind
            for path in sorted((self.root / kind).glob("*/*"))
            if self.get(kind, path.name)
        ]
        return sorted(found, key=lambda entry: entry.used)

    def sweep(self) -> int:
        """Remove what dead processes left behind; return how many bytes that freed."""
        freed = 0
        for path in (self.root / "scratch").glob("*-*"):
            if not _alive(int(path.name.split("-")[0])):
                freed += _size(path)
                shutil.rmtree(path, ignore_errors=True)
        for kind in Kind:
            for path in (self.root / kind).glob("*/*"):
                if not self.get(kind, path.name):
                    freed += _size(path)
                    shutil.rmtree(path, ignore_errors=True)
        return freed

    def prune(self, *, unused_days: float, keep_bytes: int | None = None) -> list[Entry]:
        """Remove entries unused for longer, then the longest unused until the rest fits; return what went."""
        entries = self.entries()
        limit = time.time() - unused_days * 86400
        total = sum(entry.size for entry in entries)
        gone: list[Entry] = []
        for entry in entries:
            if entry.used < limit or (keep_bytes is not None and total > keep_bytes):
                with self.lock(f"{entry.kind}-{entry.key}"):
                    fs.remove(entry.path)
                total -= entry.size
                gone.append(entry)
        return gone

    def _path(self, kind: Kind, key: str) -> Path:
        if not key.isalnum():
            raise StoreError(f"{key!r} is not a key")
        return self.root / kind / key[:2] / key


def default_root(environment: dict[str, str]) -> Path:
    """Return the store that the environment names: RETREAD_STORE, else the user's cache folder."""
    if explicit := environment.get("RETREAD_STORE"):
        return Path(explicit).absolute()
    cache = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "~")).expanduser() / ".cache"
    return Path(cache) / "retread"


def _files(path: Path) -> dict[str, _File]:
    found = {}
    for item in os.scandir(path):
        if item.is_file() and item.name != _STAMP:
            status = item.stat()
            found[item.name] = _File(size=status.st_size, mtime_ns=status.st_mtime_ns)
    return found


def _touch(path: Path) -> None:
    with suppress(OSError):  # a read-only store still serves
        os.utime(path / _STAMP)


def _size(path: Path) -> int:
    return sum(item.lstat().st_size for item in path.rglob("*") if not item.is_dir())


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
