"""Tar archives from elsewhere: read to their very end, and what Python's reader raises at a bad one in one place.

Python's reader takes a damaged header behind the first one for the end of the archive, so that what follows it is not
there; and it calls itself for each header that extends the next.
"""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final, Literal, Self

from retread import limits
from retread.doors import fs

UNREADABLE: Final = (tarfile.TarError, EOFError, ValueError, zlib.error, lzma.LZMAError, RecursionError)
"""What reading a bad archive raises, beside an OSError of the disk or of gzip."""


_READ_WHOLE: Final = frozenset((b"L", b"K", b"x", b"g", b"X"))
"""Kinds of headers whose content Python reads into memory at once: long names, and extended headers."""


class _Member(tarfile.TarInfo):
    """A member whose damaged header is an error, wherever it stands."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Return what a header says; ValueError for one that has Python read a name, or the like, without an end."""
        found = super().frombuf(buf, encoding, errors)
        if found.type in _READ_WHOLE and found.size > limits.TAR_NAME:
            raise ValueError(f"a name, or another extension of a header, of {found.size:,} bytes")
        return found

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        """Return the next member; ReadError for a header that is none, or whose names are no Unicode."""
        try:
            found = super().fromtarfile(tarfile_)
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"the header at byte {tarfile_.offset}: {error}") from None
        if not all(_is_unicode(name) for name in (found.name, found.linkname)):
            raise tarfile.ReadError(f"the header at byte {found.offset}: a name that is not UTF-8")
        return found


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # Python hands bytes on that are none
        return False
    return True


def opened(archive: Path | IO[bytes], mode: Literal["r:*", "r:xz"] = "r:*") -> tarfile.TarFile:
    """Open an archive to be read from its beginning to its end, packed in any way or by xz alone."""
    if isinstance(archive, Path):
        return tarfile.open(archive, mode, tarinfo=_Member)
    return tarfile.open(fileobj=archive, mode=mode, tarinfo=_Member)


def streamed(stream: IO[bytes]) -> tarfile.TarFile:
    """Open an archive that is no more than read, from something that gives bytes."""
    return tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member)


def catch(member: tarfile.TarInfo, into: Path) -> None:
    """Raise tarfile.FilterError for a member that Python's own rules for data would not unpack into a folder.

    A second net below the rules of whoever unpacks; a Python before 3.11.4 has none.
    """
    if hasattr(tarfile, "data_filter"):
        tarfile.data_filter(member, str(into))


def pack(archive: Path, root: Path, paths: Iterable[str], *, top: str, time: int) -> str:
    """Pack files below ``root`` into a tar whose bytes follow from them, in the folder ``top``; return its sha256."""
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as made:
        for path in sorted(paths):
            file = root / path
            member = tarfile.TarInfo(f"{top}/{path}")
            member.size, member.mtime = file.stat().st_size, time
            member.mode = 0o755 if file.stat().st_mode & 0o100 else 0o644
            with file.open("rb") as stream:
                made.addfile(member, stream)
    return fs.sha256(archive)
