"""The deterministic writer of zip archives: the same members give the same bytes on every machine.

Every header is built anew from what the caller states; nothing of the machine's clock, user, umask or file
modes gets in. Members taken from another archive keep their compressed bytes. Deflating anew is the one thing
that can differ between machines, for zlib does not promise equal output across its versions and forks:
``members.DEFLATE`` names what compresses here, for keys of caches and records of builds.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import stat
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from msgspec import structs

from retread.doors import cores, fs
from retread.records import Record, Sha256
from retread.wheel import ziparchive
from retread.wheel.hashing import BackgroundHash, Following, Scan
from retread.wheel.members import LEVEL, Deflated, Member
from retread.wheel.metadata import name_clash, name_fault
from retread.wheel.ziparchive import CHUNK, DEFLATED, STORED, Archive

_BLOCK: Final = 8 << 20
_STEP: Final = 8 << 20
"""Bytes that the kernel copies at a time, so that who reads what is written can keep close behind."""
_LITTLE: Final = 1 << 16
"""What is shorter goes through this process's memory, many at a time: after every call of the system a thread waits for
the interpreter, and the others make it wait longer than such a call takes."""
_NOTHING: Final = (-1, 0, b"")
"""A window on no file."""
_NO_KERNEL_COPY: Final = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}
"""What ``copy_file_range`` says where it does not reach: across some disks, under some kernels."""
_SMALL: Final = 64
"""Content of fewer bytes is stored: deflate's own overhead eats the gain."""
_WIDE: Final = ziparchive.MAX32
_MANY: Final = ziparchive.MAX16
"""From these numbers on, sizes and counts need zip64: the highest narrow value already means "see there"."""
_UNIX: Final = 3
_PLAIN_VERSION: Final = 20
_ZIP64_VERSION: Final = 45
_FIRST_TIME: Final = datetime(1980, 1, 1, tzinfo=UTC)
_LAST_TIME: Final = datetime(2107, 12, 31, 23, 59, 58, tzinfo=UTC)
_SHARED: Final = ("method", "crc", "size", "compressed_size")
_HINT: Final = "build it again; if the disk is sound, this is a bug of retread"


class Copied(Record, frozen=True, kw_only=True):
    """A member whose compressed bytes are taken from ``archive``, where ``member`` describes it."""

    name: str
    archive: Archive
    member: Member


class NewBytes(Record, frozen=True, kw_only=True):
    """A member with new content."""

    name: str
    content: bytes
    executable: bool = False


class Later:
    """A member whose content is made when its turn comes, or by somebody else meanwhile."""

    executable: Final = False

    def __init__(self, name: str, make: Callable[[], bytes]) -> None:
        self.name = name
        self._make = make

    @functools.cached_property
    def content(self) -> bytes:
        """What it holds; asked for once."""
        return self._make()


class NewFile(Record, frozen=True, kw_only=True):
    """A member whose new content stands in a file; the file's own mode and time do not matter."""

    name: str
    path: Path
    executable: bool = False


class NewDeflated(Record, frozen=True, kw_only=True):
    """A member whose content has been deflated before, by ``deflate_file``, to the file ``path``."""

    name: str
    path: Path
    deflated: Deflated
    executable: bool = False


Source = Copied | NewBytes | Later | NewFile | NewDeflated


class Written(Record, frozen=True, kw_only=True):
    """A written archive: its size in bytes, its members in order, and the digests of what was written."""

    size: int
    members: tuple[Member, ...]
    scan: Scan
    """Read from the file while it was written, so that nobody need read it again."""


def deflate_file(src: Path, dst: Path) -> Deflated:
    """Write the raw deflate data of ``src`` to ``dst`` and return its facts.

    Blocks of 8 MiB are deflated side by side and joined by sync flushes, so the bytes do not depend on how many
    cores there are.
    """
    raw = hashlib.sha256()
    crc = compressed_size = 0
    with dst.open("wb") as out, BackgroundHash() as content:
        for data, packed in _deflated_blocks(src):
            content.update(data)
            crc = zlib.crc32(data, crc)
            raw.update(packed)
            compressed_size += out.write(packed)
        return Deflated(
            crc=crc,
            size=src.stat().st_size,
            compressed_size=compressed_size,
            sha256=content.digest(),
            raw_sha256=Sha256(raw.hexdigest()),
        )


def _deflated_blocks(src: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield every block of a file with its part of one deflate stream; as many are in memory as there are cores."""
    workers = cores.count()
    count = max(1, -(-src.stat().st_size // _BLOCK))
    running: deque[tuple[bytes, Future[bytes]]] = deque()
    with src.open("rb") as source, ThreadPoolExecutor(workers) as pool:
        for index in range(count):
            data = source.read(_BLOCK)
            running.append((data, pool.submit(_deflate, data, index == count - 1)))
            if len(running) > workers:
                block, packed = running.popleft()
                yield block, packed.result()
        for block, packed in running:
            yield block, packed.result()


def _deflate(data: bytes, last: bool) -> bytes:
    packer = zlib.compressobj(LEVEL, DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)


def write(destination: Path, members: Sequence[Source], *, date_time: int) -> Written:
    """Write an archive of ``members``, in the order given, and return what was written.

    ``date_time`` is in seconds since 1970 in UTC and is every member's time, clamped to what a zip can hold
    (1980 to 2107). The file appears under its name only when it is complete; on any exception nothing is
    left. Copied and pre-deflated bytes are not checked against their facts: that is the work of the audit
    that follows. Raises WheelError for names that cannot be unpacked and for sources that are not as
    stated, StoreError for a full or forbidden disk.
    """
    names = [one.name for one in members]
    faults = [(name, "is a folder") for name in names if name.endswith("/")]
    faults += [(name, fault) for name in names if (fault := name_fault(name))]
    if clash := name_clash(names):
        faults.append(clash)
    if faults:
        raise ziparchive.refuse(destination, faults[0][1], faults[0][0], hint="give the member another name")
    with fs.sibling(destination) as temporary, _Writer(destination, temporary, date_time) as writer:
        for one in members:
            writer.add(one)
        written = writer.finish()
        temporary.chmod(0o644)
    return written


class _Writer:
    """An archive that is being written to ``temporary``, front to back; what lies in files is copied by the kernel."""

    def __init__(self, destination: Path, temporary: Path, epoch: int) -> None:
        self._destination = destination
        self._scratch = temporary.with_name(f"{temporary.name}.deflate")
        self._time = _dos_time(epoch)
        self._out = temporary.open("r+b", buffering=0)
        self._size = 0
        self._following = Following(self._out.fileno())
        self._held = bytearray()
        """What is not written yet; it counts in the size."""
        self._window = _NOTHING
        """The file that was read last of, from where on, and what."""
        self._members: list[Member] = []
        self._central: list[bytes] = []

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._following.__exit__()
        self._out.close()
        self._scratch.unlink(missing_ok=True)

    def add(self, source: Source) -> None:
        """Append one member."""
        if isinstance(source, Copied):
            entry = self._entry(source)
            member = structs.replace(source.member, name=source.name)
            self._append(member, [(source.archive.fileno(), *source.archive.raw(entry))])
        elif isinstance(source, NewBytes | Later):
            self._append(*_packed(source))
        elif isinstance(source, NewDeflated):
            self._append_file(_described(source, source.deflated, DEFLATED), source.path)
        else:
            facts = deflate_file(source.path, self._scratch)
            small = facts.size < _SMALL or facts.compressed_size >= facts.size
            path = source.path if small else self._scratch
            self._append_file(_described(source, facts, STORED if small else DEFLATED), path)

    def finish(self) -> Written:
        """Write the central directory and return the facts of the whole."""
        at = self._size
        for header in self._central:
            self._put(header)
        self._put(end_records(len(self._central), self._size - at, at))
        self._flush()
        scan = self._following.finish(self._size)
        return Written(size=self._size, members=tuple(self._members), scan=scan)

    def _append_file(self, member: Member, path: Path) -> None:
        with path.open("rb") as file:
            self._append(member, [(file.fileno(), 0, os.fstat(file.fileno()).st_size)])
        self._window = _NOTHING  # the next file that is opened may have this one's number

    def _append(self, member: Member, pieces: Iterable[bytes | tuple[int, int, int]]) -> None:
        """Write a member whose data is in ``pieces``: bytes, or (file descriptor, offset, length)."""
        header = self._size
        self._put(local_header(member, self._time))
        start = self._size
        self._following.member(member.name, start, member.compressed_size)
        for piece in pieces:
            if isinstance(piece, bytes):
                self._put(piece)
            else:
                self._copy(*piece)
        if (length := self._size - start) != member.compressed_size:
            fault = f"its source gave {length} compressed bytes instead of {member.compressed_size}"
            raise ziparchive.refuse(self._destination, fault, member.name, _HINT)
        self._central.append(central_header(member, self._time, header))
        self._members.append(member)

    def _entry(self, source: Copied) -> ziparchive.Entry:
        entry = source.archive.by_name.get(source.member.name)
        if entry is None or any(getattr(entry, key) != getattr(source.member, key) for key in _SHARED):
            fault = f"is not in {source.archive.path.name} as stated"
            raise ziparchive.refuse(self._destination, fault, source.name, _HINT)
        return entry

    def _copy(self, descriptor: int, offset: int, length: int) -> None:
        """Copy a range of another file; a file that is shorter leaves the member short, which ``_append`` refuses."""
        if length < _LITTLE:
            self._put(self._seen(descriptor, offset, length))
            return
        self._flush()
        while length:
            try:
                count = os.copy_file_range(descriptor, self._out.fileno(), min(length, _STEP), offset)
            except OSError as error:
                if error.errno not in _NO_KERNEL_COPY:
                    raise
                data = os.pread(descriptor, min(length, CHUNK), offset)
                self._put(data)
                self._flush()
                count = len(data)
            else:
                self._size += count
                self._following.grown(self._size)
            if not count:
                return
            offset += count
            length -= count

    def _put(self, data: bytes) -> None:
        self._held += data
        self._size += len(data)
        if len(self._held) >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        """Write what is held."""
        view = memoryview(self._held)
        while view:
            view = view[self._out.write(view) :]
        self._held = bytearray()
        self._following.grown(self._size)

    def _seen(self, descriptor: int, offset: int, length: int) -> bytes:
        """Return a little of another file, of which more is read at a time: its neighbours are wanted next."""
        file, start, data = self._window
        if file != descriptor or not start <= offset <= offset + length <= start + len(data):
            start, data = offset, os.pread(descriptor, CHUNK, offset)
            self._window = (descriptor, start, data)
        return data[offset - start : offset - start + length]


def local_header(member: Member, when: tuple[int, int]) -> bytes:
    """Return the header that stands before the member's data; ``when`` is (time, date) as DOS counts them."""
    name, flags = _encoded(member.name)
    sizes, extra = _narrowed((member.compressed_size, member.size), both=True)
    # The zip64 field holds the sizes the other way round.
    extra = extra[8:] + extra[:8]
    fields = (_version(extra), flags, member.method, *when, member.crc, *sizes, len(name))
    return (
        ziparchive.LOCAL.pack(ziparchive.LOCAL_SIGN, *fields, *_extra_length(extra))
        + name
        + _zip64_field(extra)
    )


def central_header(member: Member, when: tuple[int, int], offset: int) -> bytes:
    """Return the member's entry of the central directory; ``offset`` is that of its local header."""
    name, flags = _encoded(member.name)
    (size, compressed, place), extra = _narrowed((member.size, member.compressed_size, offset), both=False)
    mode = stat.S_IFREG | (0o755 if member.executable else 0o644)
    version = _version(extra)
    fields = (_UNIX << 8 | version, version, flags, member.method, *when, member.crc, compressed, size)
    lengths = (len(name), *_extra_length(extra), 0, 0, 0)
    head = ziparchive.CENTRAL.pack(ziparchive.CENTRAL_SIGN, *fields, *lengths, mode << 16, place)
    return head + name + _zip64_field(extra)


def end_records(count: int, size: int, offset: int) -> bytes:
    """Return the end of an archive whose directory has ``count`` entries in ``size`` bytes at ``offset``."""
    wide = b""
    if count >= _MANY or size >= _WIDE or offset >= _WIDE:
        length = ziparchive.END64.size - 12
        version = (_UNIX << 8 | _ZIP64_VERSION, _ZIP64_VERSION)
        wide = ziparchive.END64.pack(
            ziparchive.END64_SIGN, length, *version, 0, 0, count, count, size, offset
        )
        wide += ziparchive.LOCATOR.pack(ziparchive.LOCATOR_SIGN, 0, offset + size, 1)
    count = ziparchive.MAX16 if count >= _MANY else count
    size, offset = (ziparchive.MAX32 if value >= _WIDE else value for value in (size, offset))
    return wide + ziparchive.END.pack(ziparchive.END_SIGN, 0, 0, count, count, size, offset, 0)


def _encoded(name: str) -> tuple[bytes, int]:
    return name.encode("utf-8"), 0 if name.isascii() else ziparchive.UTF8


def _narrowed(values: Sequence[int], *, both: bool) -> tuple[list[int], bytes]:
    """Return the values as 32-bit fields, and those that do not fit as the content of a zip64 field.

    With ``both``, as local headers want it, all go there as soon as one must.
    """
    wide = [value >= _WIDE for value in values]
    if both and any(wide):
        wide = [True] * len(values)
    extra = b"".join(struct.pack("<Q", value) for value, is_wide in zip(values, wide, strict=True) if is_wide)
    return [
        ziparchive.MAX32 if is_wide else value for value, is_wide in zip(values, wide, strict=True)
    ], extra


def _version(extra: bytes) -> int:
    return _ZIP64_VERSION if extra else _PLAIN_VERSION


def _extra_length(extra: bytes) -> tuple[int]:
    return (len(extra) + 4 if extra else 0,)


def _zip64_field(extra: bytes) -> bytes:
    return struct.pack("<2H", ziparchive.ZIP64_EXTRA, len(extra)) + extra if extra else b""


def _dos_time(epoch: int) -> tuple[int, int]:
    """Return DOS (time, date), in steps of two seconds from 1980 on, of seconds since 1970 in UTC."""
    epoch = min(max(epoch, int(_FIRST_TIME.timestamp())), int(_LAST_TIME.timestamp()))
    when = datetime.fromtimestamp(epoch, UTC)
    time = when.hour << 11 | when.minute << 5 | when.second // 2
    return time, (when.year - 1980) << 9 | when.month << 5 | when.day


def _packed(source: NewBytes | Later) -> tuple[Member, list[bytes]]:
    content = source.content
    packer = zlib.compressobj(LEVEL, DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(content) + packer.flush()
    method = STORED if len(content) < _SMALL or len(packed) >= len(content) else DEFLATED
    facts = Deflated(
        crc=zlib.crc32(content),
        size=len(content),
        compressed_size=len(packed),
        sha256=Sha256(hashlib.sha256(content).hexdigest()),
        raw_sha256=Sha256(hashlib.sha256(packed).hexdigest()),
    )
    return _described(source, facts, method), [content if method == STORED else packed]


def _described(source: NewBytes | Later | NewFile | NewDeflated, facts: Deflated, method: int) -> Member:
    stored = method == STORED
    return Member(
        name=source.name,
        method=method,
        crc=facts.crc,
        size=facts.size,
        compressed_size=facts.size if stored else facts.compressed_size,
        sha256=facts.sha256,
        raw_sha256=facts.sha256 if stored else facts.raw_sha256,
        executable=source.executable,
    )
