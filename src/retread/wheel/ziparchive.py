"""Zip archives as bytes on a disk: the strict reader, and the layout that reader and writer share.

A zip says everything twice and readers differ in what they believe, so that one file can hold different
contents for pip, uv and unzip. Only archives that leave no room for that pass here: every byte belongs to
exactly one structure, both headers of a member agree, no name reaches outside the folder it is unpacked into,
and no member gives more bytes than it declares. Compressed bytes can be reached as they are, so that a wheel
is edited without recompressing.

Source of the format: PKWARE APPNOTE.TXT 6.3.10.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from retread import limits
from retread.errors import WheelError
from retread.records import Record, Sha256
from retread.units import counted
from retread.wheel import hashing
from retread.wheel.hashing import Scan
from retread.wheel.metadata import name_clash, name_fault

STORED: Final = 0
DEFLATED: Final = 8
CHUNK: Final = 1 << 20
"""Bytes read at a time: small enough that two hashes of a chunk find it in the processor's cache."""

LOCAL: Final = struct.Struct("<4s5H3L2H")
CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
END: Final = struct.Struct("<4s4H2LH")
END64: Final = struct.Struct("<4sQ2H2L4Q")
LOCATOR: Final = struct.Struct("<4sLQL")
LOCAL_SIGN: Final = b"PK\3\4"
CENTRAL_SIGN: Final = b"PK\1\2"
END_SIGN: Final = b"PK\5\6"
END64_SIGN: Final = b"PK\6\6"
LOCATOR_SIGN: Final = b"PK\6\7"
DESCRIPTOR_SIGN: Final = b"PK\7\x08"
MAX16: Final = 0xFFFF
MAX32: Final = 0xFFFFFFFF
ZIP64_EXTRA: Final = 0x0001
_UNICODE_PATH_EXTRA: Final = 0x7075
ENCRYPTED: Final = 0x2041
DESCRIPTOR: Final = 0x0008
UTF8: Final = 0x0800
FLAGS: Final = 0x0006 | DESCRIPTOR | UTF8
"""Flags that change nothing, say where the sizes stand, or how the name is written."""
_DESCRIPTORS: Final = {12: "<LLL", 16: "<4xLLL", 20: "<LQQ", 24: "<4xLQQ"}
_NEWEST: Final = 63
"""Version of the format, in tenths, beyond which readers give up."""
_HINT: Final = "fetch the wheel again and compare its sha256 with the one its publisher states"


class Limits(Record, frozen=True, kw_only=True):
    """How much an archive may ask for before it counts as a bomb. Sizes in bytes, after inflating."""

    members: int = limits.MEMBERS
    directory: int = limits.DIRECTORY
    member: int = limits.MEMBER
    total: int = limits.UNPACKED
    ratio: int = limits.RATIO
    """Inflated to compressed bytes; deflate reaches 1032, shared objects stay below 20."""
    ratio_from: int = limits.ANY_RATIO
    """Members of at most this size may have any ratio."""


class Entry(Record, frozen=True, kw_only=True):
    """One member of an archive, as both of its headers state it. Offsets and sizes in bytes."""

    name: str
    method: int
    crc: int
    size: int
    compressed_size: int
    header_offset: int
    data_offset: int
    executable: bool

    @property
    def is_dir(self) -> bool:
        """Say whether this is an entry for a folder, which has no content."""
        return self.name.endswith("/")


class _Central(NamedTuple):
    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    size: int
    compressed_size: int
    offset: int
    mode: int


def refuse(path: Path, fault: str, member: str = "", hint: str = _HINT) -> WheelError:
    """Return the error that names the wheel, the member, the fault and what to do next."""
    return WheelError(f"{path.name}: {f'member {member!r}: ' if member else ''}{fault}", hint=hint)


class Archive:
    """An open zip whose structure has been checked; the contents of a member are checked whenever it is read.

    Raises WheelError for anything that is not one plain, unambiguous zip. Safe to read from several threads.
    """

    path: Path
    size: int
    entries: tuple[Entry, ...]
    """In the order of the central directory."""
    by_name: Mapping[str, Entry]

    def __init__(self, path: Path, *, limits: Limits | None = None) -> None:
        self.path = path
        self._limits = limits or Limits()
        self._fd = _open(path)
        try:
            self.size = os.fstat(self._fd).st_size
            self.entries = self._parse()
            self.by_name = MappingProxyType({entry.name: entry for entry in self.entries})
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def refuse(self, fault: str, member: str = "") -> WheelError:
        """Return the error for a fault of this archive."""
        return refuse(self.path, fault, member)

    def fileno(self) -> int:
        """Return the descriptor of the open file."""
        return self._fd

    def raw(self, entry: Entry) -> tuple[int, int]:
        """Return (offset, length) of the member's compressed bytes in the file."""
        return entry.data_offset, entry.compressed_size

    def pieces(self, offset: int, length: int) -> Iterator[bytes]:
        """Yield the file's bytes from ``offset`` on, in chunks."""
        while length:
            data = os.pread(self._fd, min(length, CHUNK), offset)
            if not data:
                raise self.refuse(f"the file ends at byte {offset}, {length} bytes early")
            yield data
            offset += len(data)
            length -= len(data)

    def raw_chunks(self, entry: Entry) -> Iterator[bytes]:
        """Yield the member's compressed bytes as they are, unchecked."""
        return self.pieces(*self.raw(entry))

    def chunks(self, entry: Entry) -> Iterator[bytes]:
        """Yield the member's content; raise WheelError at its end if size or CRC are not as declared."""
        from retread.wheel import inflating

        return inflating.content(
            self.raw_chunks(entry),
            size=entry.size,
            crc=entry.crc,
            deflated=entry.method == DEFLATED,
            refuse=functools.partial(self.refuse, member=entry.name),
        )

    def head(self, entry: Entry, length: int) -> bytes:
        """Return at most ``length`` bytes from the start of a member, unchecked."""
        packed = os.pread(self._fd, min(entry.compressed_size, length + CHUNK // 64), entry.data_offset)
        if entry.method == STORED:
            return packed[:length]
        from retread.wheel import inflating

        return inflating.head(packed, length)

    def read(self, name: str, *, limit: int = 64 << 20) -> bytes:
        """Return the whole content of a member of at most ``limit`` bytes."""
        entry = self.by_name.get(name)
        if entry is None:
            raise self.refuse("is missing", name)
        if entry.size > limit:
            raise self.refuse(f"declares {entry.size} bytes, more than the {limit} that are sensible", name)
        return b"".join(self.chunks(entry))

    def sha256(self) -> Sha256:
        """Return the SHA-256 of the file."""
        whole = hashlib.sha256()
        for data in self.pieces(0, self.size):
            whole.update(data)
        return Sha256(whole.hexdigest())

    def scan(self, before: Scan | None = None) -> Scan:
        """Return the SHA-256 of the file, and of each member's compressed bytes by name, in one pass.

        ``before`` is returned instead if it is of this very file, which was not changed since.
        """
        if before is not None and before.of == hashing.identity(self._fd):
            return before
        members = ((one.name, *self.raw(one)) for one in self.entries)
        return hashing.scan(self._fd, hashing.ended(members, self.size), self.pieces)

    def _at(self, offset: int, length: int) -> bytes:
        return b"".join(self.pieces(offset, length))

    def _parse(self) -> tuple[Entry, ...]:
        count, size, offset = self._end()
        if count > self._limits.members or size > self._limits.directory:
            raise self.refuse(f"{count} members in a directory of {size} bytes are more than is sensible")
        if not count:
            raise self.refuse("it holds no member at all")
        central = tuple(self._centrals(self._at(offset, size), count))
        if clash := name_clash([one.name for one in central]):
            raise self.refuse(clash[1], clash[0])
        self._check_sizes(central)
        order = sorted(range(count), key=lambda index: central[index].offset)
        ends = [central[index].offset for index in order[1:]] + [offset]
        start = central[order[0]].offset if order else offset
        if start:
            raise self.refuse(f"{counted(start, 'byte')} before the first member")
        placed = {index: self._locate(central[index], end) for index, end in zip(order, ends, strict=True)}
        return tuple(placed[index] for index in range(count))

    def _end(self) -> tuple[int, int, int]:
        """Return (number of members, size of the central directory, its offset) from the archive's end."""
        at = self.size - END.size
        if at < 0 or not (tail := self._at(at, END.size)).startswith(END_SIGN):
            raise self._no_end()
        _, disk, first_disk, here, count, size, offset, comment = END.unpack(tail)
        if comment:
            raise self.refuse(f"an archive comment of {comment} bytes is announced but does not follow")
        locator = self._at(max(at - LOCATOR.size, 0), min(at, LOCATOR.size))
        if locator.startswith(LOCATOR_SIGN):
            at, wide = self._end64(at - LOCATOR.size, locator)
            narrow = (disk, first_disk, here, count, size, offset)
            tops = (MAX16,) * 4 + (MAX32,) * 2
            if any(a not in (b, top) for a, b, top in zip(narrow, wide, tops, strict=True)):
                raise self.refuse("its two end records (zip and zip64) disagree")
            disk, first_disk, here, count, size, offset = wide
        if disk or first_disk or here != count:
            raise self.refuse("is one part of an archive split over several disks")
        if offset + size != at:
            raise self.refuse(f"the central directory should end at byte {at}, but ends at {offset + size}")
        return count, size, offset

    def _end64(self, at: int, locator: bytes) -> tuple[int, tuple[int, int, int, int, int, int]]:
        """Return the zip64 end record's offset, and (disk, first disk, count here, count, size, offset)."""
        _, disk, offset, disks = LOCATOR.unpack(locator)
        if disk or disks != 1:
            raise self.refuse("is one part of an archive split over several disks")
        if offset + END64.size != at:
            raise self.refuse("the zip64 end record is not where its locator says")
        sign, length, _, _, *values = END64.unpack(self._at(offset, END64.size))
        if sign != END64_SIGN or length != END64.size - 12:
            raise self.refuse("the zip64 end record is corrupt")
        return offset, (values[0], values[1], values[2], values[3], values[4], values[5])

    def _no_end(self) -> WheelError:
        """Say why the file does not end with an end record."""
        length = min(self.size, END.size + MAX16)
        tail = self._at(self.size - length, length)
        found = tail.rfind(END_SIGN)
        if found >= 0 and length - found > END.size:
            return self.refuse(f"{counted(length - found - END.size, 'byte')} behind the end of the archive")
        if self._at(0, min(self.size, 4)) == LOCAL_SIGN:
            return self.refuse("is truncated: the file is cut off, and its end record is missing")
        return self.refuse("is not a zip archive")

    def _centrals(self, data: bytes, count: int) -> Iterator[_Central]:
        at = 0
        for index in range(count):
            if data[at : at + 4] != CENTRAL_SIGN or at + CENTRAL.size > len(data):
                raise self.refuse(f"entry {index} of the central directory is corrupt")
            fields = CENTRAL.unpack_from(data, at)
            lengths = fields[10:13]
            at += CENTRAL.size
            if at + sum(lengths) > len(data):
                raise self.refuse(f"entry {index} of the central directory is cut off")
            name = data[at : at + lengths[0]]
            extra = data[at + lengths[0] : at + lengths[0] + lengths[1]]
            at += sum(lengths)
            if lengths[2]:
                raise self.refuse(
                    f"has a comment of {lengths[2]} bytes", name.decode("utf-8", "backslashreplace")
                )
            yield self._central(fields, name, extra)
        if at != len(data):
            raise self.refuse(f"the central directory has {len(data) - at} bytes beyond its {count} entries")

    def _central(self, fields: tuple[int, ...], raw_name: bytes, extra: bytes) -> _Central:
        flags, method, crc, compressed, size = fields[3], fields[4], fields[7], fields[8], fields[9]
        disk, attributes, offset = fields[13], fields[15], fields[16]
        name = self._name(raw_name, flags)
        size, compressed, offset = self._widen(extra, (size, compressed, offset), name)
        if fields[2] > _NEWEST:
            raise self.refuse(f"needs version {fields[2] / 10} of the zip format", name)
        if flags & ENCRYPTED:
            raise self.refuse("is encrypted", name)
        if flags & ~FLAGS:
            raise self.refuse(f"has unknown flags {flags & ~FLAGS:#06x}", name)
        if method not in (STORED, DEFLATED):
            raise self.refuse(f"is compressed by method {method}; wheels store or deflate", name)
        if method == STORED and size != compressed:
            raise self.refuse(f"is stored, yet {size} bytes take {compressed}", name)
        if disk:
            raise self.refuse(f"lies on disk {disk} of a split archive", name)
        self._check_kind(name, size, attributes)
        return _Central(name, raw_name, flags, method, crc, size, compressed, offset, attributes >> 16)

    def _name(self, raw: bytes, flags: int) -> str:
        try:
            name = raw.decode("utf-8" if flags & UTF8 else "ascii")
        except UnicodeDecodeError as error:
            kind = "UTF-8" if flags & UTF8 else "ASCII, nor marked as UTF-8"
            raise self.refuse(f"its name is not {kind}", raw.decode("utf-8", "backslashreplace")) from error
        if fault := name_fault(name):
            raise self.refuse(fault, name or "<empty>")
        return name

    def _widen(self, extra: bytes, values: tuple[int, ...], name: str) -> tuple[int, ...]:
        """Return the 32-bit values with those that say "see the zip64 field" taken from there."""
        fields: dict[int, bytes] = {}
        at = 0
        while at < len(extra):
            kind, length = struct.unpack_from("<2H", extra, at) if at + 4 <= len(extra) else (0, len(extra))
            at += 4 + length
            if at > len(extra) or kind in fields:
                raise self.refuse("has corrupt extra fields", name)
            fields[kind] = extra[at - length : at]
        if _UNICODE_PATH_EXTRA in fields:
            raise self.refuse("has a second name in its extra fields", name)
        wide = fields.get(ZIP64_EXTRA, b"")
        if len(wide) != 8 * values.count(MAX32):
            raise self.refuse("has a zip64 field that does not fit its header", name)
        numbers = iter(struct.unpack(f"<{len(wide) // 8}Q", wide))
        return tuple(next(numbers) if value == MAX32 else value for value in values)

    def _check_kind(self, name: str, size: int, attributes: int) -> None:
        kind = stat.S_IFMT(attributes >> 16)
        is_dir = name.endswith("/")
        if kind == stat.S_IFLNK:
            raise self.refuse("is a symbolic link", name)
        if kind not in (0, stat.S_IFDIR if is_dir else stat.S_IFREG) or (attributes & 0x10 and not is_dir):
            raise self.refuse(f"is not a plain file (attributes {attributes:#010x})", name)
        if is_dir and size:
            raise self.refuse(f"is a folder, yet has {size} bytes of content", name)

    def _check_sizes(self, central: Sequence[_Central]) -> None:
        most = self._limits
        for one in central:
            if one.size > most.member:
                raise self.refuse(f"declares {one.size} bytes; the limit is {most.member}", one.name)
            if one.size > most.ratio_from and one.size > most.ratio * one.compressed_size:
                fault = f"declares {one.size} bytes out of {one.compressed_size}, over {most.ratio} times"
                raise self.refuse(fault, one.name)
        total = sum(one.size for one in central)
        if total > most.total:
            raise self.refuse(f"its members declare {total} bytes; the limit is {most.total}")

    def _locate(self, one: _Central, end: int) -> Entry:
        """Return the entry after checking its local header; what belongs to it must end at byte ``end``."""
        head = self._at(one.offset, min(LOCAL.size, self.size - one.offset))
        if len(head) < LOCAL.size or not head.startswith(LOCAL_SIGN):
            raise self.refuse(f"has no local header at byte {one.offset}", one.name)
        _, _, flags, method, _, _, crc, compressed, size, name_length, extra_length = LOCAL.unpack(head)
        data_offset = one.offset + LOCAL.size + name_length + extra_length
        data_end = data_offset + one.compressed_size
        if data_end > end:
            raise self.refuse(f"reaches {data_end - end} bytes into what follows it", one.name)
        rest = self._at(one.offset + LOCAL.size, name_length + extra_length)
        if rest[:name_length] != one.raw_name:
            other = rest[:name_length].decode("utf-8", "backslashreplace")
            raise self.refuse(f"is named {other!r} in its local header", one.name)
        size, compressed = self._widen(rest[name_length:], (size, compressed), one.name)
        self._check_twins(one, flags, method, (crc, compressed, size))
        self._check_tail(one, data_end, end)
        return Entry(
            name=one.name,
            method=one.method,
            crc=one.crc,
            size=one.size,
            compressed_size=one.compressed_size,
            header_offset=one.offset,
            data_offset=data_offset,
            executable=bool(one.mode & 0o111) and not one.name.endswith("/"),
        )

    def _check_twins(self, one: _Central, flags: int, method: int, numbers: tuple[int, int, int]) -> None:
        """Check that the local header agrees with the central one; zeros may stand for "see behind"."""
        twins = [("flags", flags, one.flags), ("method", method, one.method)]
        known = (one.crc, one.compressed_size, one.size)
        for what, local, central in zip(("CRC", "compressed size", "size"), numbers, known, strict=True):
            if local or not one.flags & DESCRIPTOR:
                twins.append((what, local, central))
        for what, local, central in twins:
            if local != central:
                fault = f"its {what} is {local} in the local header, {central} in the central directory"
                raise self.refuse(fault, one.name)

    def _check_tail(self, one: _Central, at: int, end: int) -> None:
        """Check that nothing but an announced data descriptor stands between a member and the next."""
        length = end - at
        if not one.flags & DESCRIPTOR:
            if length:
                raise self.refuse(f"{length} bytes that belong to no member follow it", one.name)
            return
        data = self._at(at, length) if length in _DESCRIPTORS else b""
        signed = length in (16, 24)
        expected = (one.crc, one.compressed_size, one.size)
        if (
            not data
            or (signed and not data.startswith(DESCRIPTOR_SIGN))
            or struct.unpack(_DESCRIPTORS[length], data) != expected
        ):
            raise self.refuse("its data descriptor disagrees with the central directory", one.name)


def _open(path: Path) -> int:
    """Return a descriptor of a plain file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise refuse(path, f"cannot be read ({error.strerror})", hint=f"look at {path}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise refuse(path, "is not a plain file", hint=f"look at {path}")
    return fd
