"""An entry of the store as one file: a tar in Zstandard frames, made of a folder, and made a folder again."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO, Final, cast

import zstandard

from retread import limits
from retread.doors import tar
from retread.doors.store import STAMP
from retread.errors import StoreError
from retread.records import Sha256

_LEVEL: Final = 3
"""Of Zstandard. A toolkit of 396 MB becomes 122 MB in 1.7 s of processor time; at level 1 it is 138 MB in 1.1 s."""
_CHUNK: Final = 1 << 20


def pack(entry: Path, file: Path) -> tuple[Sha256, int]:
    """Write the files of an entry, but for its stamp, to ``file``; return SHA-256 and size of that."""
    with file.open("xb") as raw:
        hashing = _Hashing(raw)
        packer = zstandard.ZstdCompressor(level=_LEVEL, threads=-1)
        with (
            packer.stream_writer(cast("IO[bytes]", hashing), closefd=False) as stream,
            tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            for path in sorted(entry.iterdir()):
                if path.name != STAMP:
                    archive.add(path, path.name, filter=_nobodys)
    return Sha256(hashing.sha256.hexdigest()), hashing.size


def unpack(file: Path, into: Path) -> None:
    """Write what ``pack`` packed into a folder; StoreError for anything else, and for what is too large."""
    try:
        with (
            file.open("rb") as raw,
            zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as stream,
        ):
            _unpack(cast("IO[bytes]", _Bounded(stream)), into)
    except (zstandard.ZstdError, *tar.UNREADABLE) as error:
        raise StoreError(f"the parcel cannot be unpacked: {error}") from None


def _unpack(stream: IO[bytes], into: Path) -> None:
    links, folders = [], []
    with tar.streamed(stream) as archive:
        for member in archive:
            path = into / _inside(member.name)
            if member.isdir():
                path.mkdir(exist_ok=True)
                folders.append((path, member))
            elif member.issym():
                links.append((path, member.linkname))
            elif member.islnk():
                path.hardlink_to(into / _inside(member.linkname))
            elif member.isreg():
                found = archive.extractfile(member)
                assert found is not None
                with path.open("xb") as out:
                    shutil.copyfileobj(found, out, _CHUNK)
                path.chmod(member.mode & 0o755)
                os.utime(path, ns=(_nanoseconds(member), _nanoseconds(member)))
            else:
                raise ValueError(f"{member.name} is neither a file, a folder nor a link")
    for path, leads_to in links:  # last, so that no file is written through one
        path.symlink_to(leads_to)
    for path, member in reversed(folders):
        os.utime(path, ns=(_nanoseconds(member), _nanoseconds(member)))


def _inside(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise ValueError(f"{name!r} leads out of the parcel")
    return name


def _nanoseconds(member: tarfile.TarInfo) -> int:
    return round(float(member.mtime) * 1e9)


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out who owned a file on the machine that made it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


class _Hashing:
    """A file that is hashed while it is written."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Write and hash."""
        self.sha256.update(data)
        self.size += len(data)
        return self._raw.write(data)


class _Bounded:
    """A stream that ends with an error when more comes out of it than a parcel may hold."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = limits.UNPACKED

    def read(self, size: int) -> bytes:
        """Return the next bytes; ValueError for too many."""
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"more than {limits.UNPACKED:,} bytes")
        return data
