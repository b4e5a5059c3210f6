"""Changes to a folder that outlive a power cut, all through one door, so that a test can stop between any two.

What is changed is on the disk only once it was waited for: a file's bytes by the file, that it is there at all, and
under which name, by its folder. Nothing else is certain: what was not waited for may be there or not, each on its own.
Whoever changes several things waits for those together between which no order matters, and no oftener.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from retread.doors import cores, fs
from retread.errors import StoreError
from retread.records import Sha256

T = TypeVar("T")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT)
_MANY = 100
"""Files and folders above which the whole disk is waited for. Measured on ext4: 200 new files take 37 ms one after the
other, 27 ms by two threads, 4 ms by the disk; 10 take 2.0, 1.3 and 0.5 ms, but the disk has what others write, too, so
that a publish beside a large download would take as long as that."""


def change(act: Callable[..., T], *arguments: object) -> T:
    """Make one change to the disk: nothing in this module makes one elsewhere."""
    return act(*arguments)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a disk that refuses into a StoreError; a full one is the index's, not the store's."""
    with fs.disk_errors(path):
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            where = error.filename or path
            hint = "make room on the disk of the index, then do it again"
            raise StoreError(f"cannot write {where}: the disk is full", hint=hint) from None


def folder(path: Path) -> list[Path]:
    """Make a folder and those above it, where there are none; return the folders that it made an entry in."""
    if path.is_dir():
        return []
    entered = folder(path.parent)
    with suppress(FileExistsError):
        change(os.mkdir, path)
    return [*entered, path.parent]


def put(path: Path, data: bytes) -> None:
    """Write a new file; neither its bytes nor its folder's entry are waited for."""
    folder(path.parent)
    handle = change(os.open, path, _NEW, 0o644)
    try:
        os.fchmod(handle, 0o644)  # under any umask
        _write(handle, data)
    finally:
        os.close(handle)


def write(path: Path, data: bytes) -> None:
    """Write a new file and wait until the disk has it; its folder's entry is not waited for."""
    put(path, data)
    sync(path)


def replace(path: Path, data: bytes) -> None:
    """Put a file in the place of another, whole or not at all; one writer at a time.

    The bytes are waited for before they get the name, else a power cut could leave the name with nothing behind it;
    the name, so that what follows can rely on it.
    """
    new = path.with_name(f"{path.name}.new")
    remove(new)
    write(new, data)
    move(new, path)
    sync(path.parent)


def append(path: Path, data: bytes, *, after: int) -> None:
    """Write ``data`` behind the first ``after`` bytes of a file; what stood behind them was never finished.

    The bytes are waited for; the folder, when the file is new.
    """
    new = not path.exists()
    handle = change(os.open, path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        change(os.ftruncate, handle, after)
        os.lseek(handle, after, os.SEEK_SET)
        _write(handle, data)
        change(os.fsync, handle)
    finally:
        os.close(handle)
    if new:
        sync(path.parent)


def take(source: Path, path: Path) -> Sha256:
    """Make ``path`` the same file as ``source``, read-only: a hard link, else a copy; return its SHA-256.

    Neither its bytes nor its folder's entry are waited for.
    """
    folder(path.parent)
    try:
        change(os.link, os.path.realpath(source), path)
        copied = None
    except OSError as error:
        if error.errno in _FULL:
            raise
        copied = _copy(source, path)
    if stat.S_IMODE(path.stat().st_mode) != 0o444:
        with suppress(PermissionError):  # a link to somebody else's file
            change(os.chmod, path, 0o444)
    return copied or fs.sha256(path)


def point(path: Path, target: str) -> None:
    """Make a new symbolic link."""
    folder(path.parent)
    change(os.symlink, target, path)


def move(source: Path, path: Path) -> None:
    """Move a file or a link within one disk to ``path``, in the place of what was there."""
    folder(path.parent)
    change(os.rename, source, path)


def exchange(one: Path, other: Path) -> bool:
    """Let two folders of one disk trade places at once; False where the system cannot, and nothing was changed."""
    return change(fs.exchange, one, other)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it is there."""
    if path.is_symlink() or not path.is_dir():
        with suppress(FileNotFoundError):
            path.lstat()
            change(os.unlink, path)
        return
    for inside in path.iterdir():
        remove(inside)
    change(os.rmdir, path)


def sync(*paths: Path) -> None:
    """Wait until the disk has the bytes of files and the entries of folders, which lie on one disk.

    They are waited for at once, in no order, so that a file system can put them down together; very many by their disk.
    """
    if len(paths) > _MANY:
        _wait(_sync_disk, paths[0])
    elif len(paths) > 1:
        cores.spread(functools.partial(_wait, os.fsync), paths)
    else:
        for one in paths:
            _wait(os.fsync, one)


def _wait(how: Callable[[int], None], path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        change(how, handle)
    finally:
        os.close(handle)


def _sync_disk(handle: int) -> None:
    """Call syncfs(2), which Python does not offer."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).syncfs(handle):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _write(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[change(os.write, handle, rest) :]


def _copy(source: Path, path: Path) -> Sha256:
    digest = hashlib.sha256()
    handle = change(os.open, path, _NEW, 0o644)
    try:
        with source.open("rb") as stream:
            while data := stream.read(fs.CHUNK):
                digest.update(data)
                _write(handle, data)
    finally:
        os.close(handle)
    shutil.copystat(source, path)
    return Sha256(digest.hexdigest())
