"""Changes to a folder that outlive a power cut, all through one door, so that a test can stop between any two."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from retread.doors import fs
from retread.errors import StoreError
from retread.records import Sha256

T = TypeVar("T")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT)
_HERE, _RENAME_EXCHANGE = -100, 2
"""AT_FDCWD of fcntl.h and RENAME_EXCHANGE of linux/fs.h."""
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV)
"""What file systems answer that know no exchange, and overlays of a folder that lies in a lower layer."""


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


def folder(path: Path) -> None:
    """Make a folder and those above it, where there are none."""
    if not path.is_dir():
        folder(path.parent)
        with suppress(FileExistsError):
            change(os.mkdir, path)


def write(path: Path, data: bytes) -> None:
    """Write a new file and wait until the disk has it; its folder's entry is not waited for."""
    folder(path.parent)
    handle = change(os.open, path, _NEW, 0o644)
    try:
        os.fchmod(handle, 0o644)  # under any umask
        _write(handle, data)
        change(os.fsync, handle)
    finally:
        os.close(handle)


def replace(path: Path, data: bytes) -> None:
    """Put a file in the place of another, whole or not at all; one writer at a time."""
    new = path.with_name(f"{path.name}.new")
    remove(new)
    write(new, data)
    move(new, path)
    sync(path.parent)


def append(path: Path, data: bytes, *, after: int) -> None:
    """Write ``data`` behind the first ``after`` bytes of a file; what stood behind them was never finished."""
    handle = change(os.open, path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        change(os.ftruncate, handle, after)
        os.lseek(handle, after, os.SEEK_SET)
        _write(handle, data)
        change(os.fsync, handle)
    finally:
        os.close(handle)
    sync(path.parent)


def take(source: Path, path: Path) -> Sha256:
    """Make ``path`` the same file as ``source``, read-only: a hard link, else a copy; return its SHA-256."""
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
    sync(path)
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
    return change(_exchange, os.fsencode(one), os.fsencode(other))


def _exchange(one: bytes, other: bytes) -> bool:
    """Call renameat2(2), which Python does not offer."""
    import ctypes

    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_HERE, one, _HERE, other, _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), os.fsdecode(other))


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


def sync(path: Path) -> None:
    """Wait until the disk has a file's bytes, or a folder's entries."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        change(os.fsync, handle)
    finally:
        os.close(handle)


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
