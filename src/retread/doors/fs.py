"""The one door to the disk for what is written: complete or not at all, and a full disk is a message."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from retread.errors import StoreError, UsageError
from retread.records import Sha256

CHUNK = 1 << 20
"""Bytes that are read, hashed or copied at a time. Measured on 200 MB: hashing takes 0.14 s of a processor with 64 KiB
to 4 MiB; copying 0.017 s with 1 MiB, 0.022 s with 64 KiB, 0.036 s with 16 KiB."""
FULL = "make room there, or use a folder on another disk"
_HERE, _RENAME_EXCHANGE = -100, 2
"""AT_FDCWD of fcntl.h and RENAME_EXCHANGE of linux/fs.h."""
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV)
"""What file systems answer that know no exchange, and overlays of a folder that lies in a lower layer."""
_NEW = ".retread-new"
"""How a file is called that is being written, in the end."""
_KNOWN = {
    errno.ENOSPC: ("the disk is full", FULL),
    errno.EDQUOT: ("the disk quota is used up", FULL),
    errno.EACCES: ("no permission", "use a folder that you may write to"),
    errno.EPERM: ("no permission", "use a folder that you may write to"),
    errno.EROFS: ("the disk is read-only", "use a folder that you may write to"),
    errno.EFBIG: ("the file is larger than this process or disk may write", "raise the limit (ulimit -f)"),
    errno.EEXIST: ("a file is in the way", "move it away, or use another folder"),
    errno.ENOTDIR: ("a file is in the way", "move it away, or use another folder"),
    errno.EISDIR: ("a folder is in the way", "move it away, or use another folder"),
    errno.ENAMETOOLONG: ("the name is too long", "use a folder with a shorter name"),
    errno.ELOOP: ("its links go in a circle", "use another folder"),
    errno.EIO: ("the disk fails", "use another disk"),
}
"""What keeps from writing, and the way out."""
_SEEN = {
    errno.ENOENT: "it is not there",
    errno.EISDIR: "it is a folder",
    errno.ENOTDIR: "a part of its path is no folder",
    errno.ENXIO: "it is a socket, or nobody is at its other end",
}
"""What is said of a file or folder when nobody knows whether it was to be written."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full, read-only or forbidden disk into a StoreError that names ``path``, or what else was refused."""
    try:
        yield
    except OSError as error:
        if error.errno not in _KNOWN:
            raise
        named = Path(os.fsdecode(error.filename)) if error.filename else path
        if not _is_of(named, path):
            raise refused(error) from None  # what is read meanwhile
        what, hint = _KNOWN[error.errno]
        where = path if named.name.endswith(_NEW) else named
        raise StoreError(f"cannot write {where}: {what}", hint=hint) from None


def _is_of(named: Path, path: Path) -> bool:
    """Say whether a file is written for the sake of ``path``: it, a folder on the way, what is in it, its sibling."""
    hidden = named.name.startswith(".") and named.parent == path.parent
    return hidden or named.is_relative_to(path) or path.is_relative_to(named)


def known(code: int) -> tuple[str, str]:
    """Return what an errno that keeps from writing says to a user, and the way out if there is one."""
    return _KNOWN.get(code, (os.strerror(code), ""))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error while a file is read name it; the system tells no name once a file is open."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = os.fspath(path)
        raise


def read(path: Path) -> bytes:
    """Return what a file holds that a user named."""
    with naming(path):
        return path.read_bytes()


def listed(folder: Path, ending: str = "") -> list[Path]:
    """Return the files and folders of a folder whose names have an ending, sorted; nothing where there is no folder.

    Path.glob takes a folder that may not be read for an empty one.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(ending))
    except (FileNotFoundError, NotADirectoryError):
        return []


def refused(error: OSError) -> StoreError:
    """Return what an error of the system says to a user, wherever it came from."""
    code, where = error.errno or 0, error.filename
    what = _SEEN.get(code) or _KNOWN.get(code, (error.strerror or str(error), ""))[0]
    if where is not None:
        return StoreError(
            f"cannot use {os.fsdecode(where) if isinstance(where, bytes | str) else where}: {what}"
        )
    try:
        Path.cwd()
    except OSError:
        return StoreError("the folder that this runs in is gone", hint="go to one that is there")
    return StoreError(f"the system refused: {what}")


@contextmanager
def sibling(path: Path, *, waiting: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it becomes ``path`` when the block ends well, else it is removed.

    That of a process that was killed is removed by the next one that writes ``path``. Some file systems give a file
    its blocks before it takes another one's place; who is not ``waiting`` for that lets the two trade places.
    """
    with disk_errors(path):
        _demand_plain(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = _reserved(path)
        try:
            yield temporary
            if waiting or not (path.is_file() and exchange(temporary, path)):
                temporary.replace(path)
        finally:  # a link that replaces one to the same file stays where it was: another process was as quick
            temporary.unlink(missing_ok=True)
            os.close(handle)


def _demand_plain(path: Path) -> None:
    """Raise StoreError where a device, a pipe or a socket lies: a file would take its place."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise StoreError(
            f"cannot write {path}: it is no plain file", hint="name one that is, or that is not there"
        )


def _reserved(path: Path) -> tuple[int, Path]:
    """Make a file beside ``path``, locked as long as this process lives, and remove those that nobody holds."""
    import tempfile

    prefix = f".{path.name[:80]}."
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _lock(folder, fcntl.LOCK_EX):  # so that each is locked as soon as others see it
            for other in path.parent.iterdir():
                if other.name.startswith(prefix) and other.name.endswith(_NEW) and _is_abandoned(other):
                    other.unlink(missing_ok=True)
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=_NEW, dir=path.parent)
        _lock(handle, fcntl.LOCK_EX)
        return handle, path.with_name(Path(name).name)  # the system gives it from the root
    finally:
        os.close(folder)


def _is_abandoned(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(handle)


@contextmanager
def own_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield an empty folder below ``parent`` that is this process's own, and gone after the block.

    It lies in one that is locked as long as this process lives: whoever writes a file locks the folder of that, too.
    Those of dead processes whose names begin the same are removed; one of which nobody can say it stays.
    """
    for name in os.listdir(parent):  # noqa: PTH208 - of 10,000 folders, paths would take ten times as long
        if name.startswith(prefix):
            _remove_abandoned(parent / name)
    path, handle = _locked_folder(parent, prefix)
    try:
        inner = path / "in"
        inner.mkdir(mode=0o755)
        yield inner
    finally:
        remove(path)
        os.close(handle)


@contextmanager
def temporary(what: str) -> Iterator[Path]:
    """Yield an empty folder among the system's temporary ones, gone after the block; ``what`` is in its path.

    Those that dead processes left are removed.
    """
    import tempfile

    with own_folder(Path(tempfile.gettempdir()), f"retread-{what}-") as path:
        yield path


def _locked_folder(parent: Path, prefix: str) -> tuple[Path, int]:
    """Make a folder and lock it; again, where another process took it for abandoned before it was."""
    import tempfile

    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        _lock(handle, fcntl.LOCK_EX)  # without locks nobody takes it for abandoned
        if path.exists():
            return path, handle
        os.close(handle)


def _remove_abandoned(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if _lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
            remove(path)
    finally:
        os.close(handle)


def _lock(handle: int, how: int) -> bool:
    """Lock a file or a folder; False where somebody has it, or the file system knows no locks."""
    try:
        fcntl.flock(handle, how)
    except OSError:
        return False
    return True


def of_variable(value: str) -> str:
    """Return the path that a variable names, or another value as it is.

    A ``~`` at its beginning is a home folder, which no shell makes of it in a file or a quote; UsageError for the home
    of somebody who is not known here, and for an own one that is empty.
    """
    if not value.startswith("~"):
        return value
    if value.partition("/")[0] == "~" and os.environ.get("HOME") == "":
        raise UsageError(f"{value}: HOME is empty", hint="write the whole path, or set HOME")
    try:
        return str(Path(value).expanduser())
    except RuntimeError:
        user = value.partition("/")[0]
        raise UsageError(f"{value}: there is no home of {user}", hint="write the whole path") from None


def demand_folder(path: Path) -> None:
    """Raise StoreError where a file lies in the place of a folder, or on the way to it, before work is done for it."""
    with disk_errors(path):
        nearest = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not nearest.is_dir():
        what, hint = _KNOWN[errno.ENOTDIR]
        raise StoreError(f"cannot write {path}: {what}", hint=hint)


def write(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` whole or not at all."""
    with sibling(path) as temporary:
        temporary.write_bytes(data)
        temporary.chmod(0o644)


def place(source: Path, destination: Path) -> bool:
    """Make ``destination`` the same file as ``source``: a hard link, or a copy where links do not reach.

    Return whether it held other bytes before.
    """
    there = destination.is_file()
    if there and destination.samefile(source):
        return False
    import shutil

    equal = there and is_equal(source, destination)
    if not _link(source, destination) and not equal:
        with sibling(destination) as temporary:
            shutil.copyfile(source, temporary)
            shutil.copystat(source, temporary)
    return there and not equal


def _link(source: Path, destination: Path) -> bool:
    """Put a hard link in the place of what is there; say whether that can be done."""
    try:
        with sibling(destination, waiting=False) as temporary:
            temporary.unlink()
            os.link(source, temporary)
    except (OSError, StoreError):
        return False
    return True


def exchange(one: Path, other: Path) -> bool:
    """Let two files, or folders, of one disk trade places at once; False where the system cannot: nothing is changed.

    renameat2(2), which Python does not offer.
    """
    import ctypes

    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), os.fspath(other))


def is_equal(one: Path, other: Path) -> bool:
    """Say whether two files have the same bytes.

    They are read from the end: an archive lists there what is in it, with a checksum each, so that two of them differ
    in the first bytes that are looked at.
    """
    size = one.stat().st_size
    if size != other.stat().st_size:
        return False
    with one.open("rb") as ours, other.open("rb") as theirs:
        for start in range((size - 1) // CHUNK * CHUNK, -1, -CHUNK):
            ours.seek(start)
            theirs.seek(start)
            if ours.read(CHUNK) != theirs.read(CHUNK):
                return False
    return True


def existing(path: Path) -> Path:
    """Return a file that is there; UsageError when it is not."""
    if path.is_file():
        return path
    if path.is_dir():
        raise UsageError(f"{path} is a folder, where a file is wanted")
    raise UsageError(f"{path} is no plain file" if path.exists() else f"there is no file {path}")


def plain(path: Path) -> BinaryIO | None:
    """Open a plain file; None for what is none, like a pipe that nobody writes to or a device that never ends."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None
    return os.fdopen(handle, "rb")


def beneath(root: Path, path: str) -> BinaryIO:
    """Open a plain file below a folder that somebody else writes to; OSError when a link stands on the way to it.

    What was looked at cannot be swapped for a link to another file meanwhile, since no step is taken twice.
    """
    *folders, name = Path(path).parts
    handle = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for one in folders:
        if one == "..":
            os.close(handle)
            raise OSError(errno.EINVAL, "leads out of its folder", path)
        try:
            inner = os.open(one, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
        finally:
            os.close(handle)
        handle = inner
    try:
        found = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=handle)
    finally:
        os.close(handle)
    stream = os.fdopen(found, "rb")
    if not stat.S_ISREG(os.fstat(found).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "is no plain file", path)
    return stream


def sha256(path: Path) -> Sha256:
    """Return the SHA-256 of a file."""
    with naming(path), path.open("rb") as stream:
        return Sha256(hashlib.file_digest(stream, "sha256").hexdigest())


def remove(path: Path) -> None:
    """Remove a file or a whole directory, if it is there."""
    if path.is_dir() and not path.is_symlink():
        import shutil

        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
