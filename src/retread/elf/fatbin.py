"""Fat binaries: how CUDA stores the machine code and the PTX of one module for several architectures.

NVIDIA does not document the format. The layout below was measured on public wheels built with CUDA 11.8 to 13.2 and
on the output of ``fatbinary`` 13.0.88; what it does not explain is kept as it is, never interpreted.

    fat binary  u32 magic, u16 version, u16 header size, u64 size of all entries; then the entries
    entry       header (``_ENTRY``, 64 bytes or more), payload padded to 8 bytes
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Final

import cramjam

from retread import arch as archs
from retread import limits
from retread.arch import Arch
from retread.elf import image as elf
from retread.elf.facts import Module
from retread.errors import ElfError, FatbinError
from retread.records import Record

_MAGIC: Final = 0xBA55ED50
START: Final = struct.pack("<IHH", _MAGIC, 1, 16)
"""How every fat binary seen starts, wherever it lies."""
WRAPPER: Final = struct.Struct("<IIQQ")
"""What a library hands to CUDA's runtime for a fat binary: magic, version, where it is, and a word that is 0."""
WRAPPER_MAGIC: Final = 0x466243B1
_HEADER: Final = struct.Struct("<IHHQ")
_ENTRY: Final = struct.Struct("<HHIQIIHHIIIQQQ")
"""kind, version, header size, padded size, compressed size, extra's offset, minor, major, sm, 0, 0, flags, 0, size."""
_EXTRA: Final = struct.Struct("<II")
"""What follows a long header: 72, then the length of the option string (PTX) or of ``.nv.compat`` (machine code)."""
_ENTRY_VERSION: Final = 0x101

_FLAG_LZ4: Final = 0x2000
_FLAG_ZSTD: Final = 0x8000
_FLAG_A: Final = 0x10_0000
_FLAG_F: Final = 0x20_0000
_FLAG_COMPAT: Final = 0x100_0000
_FLAGS_DERIVED: Final = 0x1000 | _FLAG_LZ4 | _FLAG_ZSTD | _FLAG_A | _FLAG_F | _FLAG_COMPAT
_SUFFIX_FLAGS: Final = {"": 0, "a": _FLAG_A, "f": _FLAG_F}
_SEVERAL: Final = 32
"""Fat binaries after which the pages with their headers, some MB, are a matter of the past."""
LARGE: Final = 1 << 24
"""Bytes of an image from which on memory is a matter of care."""
_PLAIN_FLAGS: Final = 0x11
"""64 bits, made on Linux: what every entry of every library seen carries."""

_COMPAT_SINCE: Final = 100
"""From sm_100 on ``fatbinary`` copies a cubin's ``.nv.compat`` into the entry; for sm_90a it does not."""
_COMPAT: Final = ".nv.compat"
_EM_CUDA: Final = 190


class Kind(IntEnum):
    """What an entry holds; ``OTHER`` (LTO code, for example) is carried along and never read."""

    OTHER = 0
    PTX = 1
    ELF = 2


class Packed(IntEnum):
    """How a payload is packed, as the flags say it."""

    LZ4 = _FLAG_LZ4
    ZSTD = _FLAG_ZSTD


class Entry(Record, frozen=True, kw_only=True):
    """One image of a fat binary."""

    where: str
    """Library, module and offset, for messages."""
    kind: Kind
    arch: Arch
    isa: tuple[int, int]
    """PTX: its ISA version, (8, 7) for CUDA 12.8. Machine code: (1, the cubin's ABI version)."""
    flags: int
    options: str
    """PTX: the options for ptxas that the build recorded; else empty."""
    header: bytes
    payload: memoryview
    """As stored: perhaps compressed, without the padding where the size is known."""
    size: int
    """Bytes once unpacked; 0 where the entry does not say (it is not compressed then)."""


class FatBinary(Record, frozen=True, kw_only=True):
    """One module: a fat binary and where it lies."""

    where: str
    """Library and module, for messages."""
    index: int
    offset: int
    """Where it starts in the section."""
    size: int
    """Bytes, header included."""
    data: memoryview
    entries: tuple[Entry, ...]


class Room:
    """Memory that images are unpacked into, one after the other: asking for more costs more than unpacking into it."""

    def __init__(self) -> None:
        self._memory = bytearray()

    def of(self, size: int) -> memoryview:
        """Return ``size`` bytes of it, all that stands in its first ones; what was there before is written over."""
        if size > len(self._memory):
            self._memory = bytearray()  # lets go of what it has, before it takes more
            self._memory = bytearray(max(size, min(2 * size, LARGE)))
        return memoryview(self._memory)[:size]

    def make(self, one: FatBinary) -> None:
        """Have what the largest image of a fat binary takes at once: they grow from one to the next."""
        with contextlib.suppress(MemoryError):  # which is told of that image, and of no other
            self.of(max((entry.size for entry in one.entries if _may_unpack(entry)), default=0))


def parse(
    data: bytes | memoryview, *, where: str, first: int = 0, behind: Callable[[], object] = bool
) -> tuple[FatBinary, ...]:
    """Return the fat binaries of a ``.nv_fatbin`` section, in order; nothing but headers is read or copied.

    ``where`` names the library in messages, ``first`` is the number of the first; ``behind`` is called now and then,
    when what was read will not be read again soon. Zeros are allowed between fat
    binaries, and nothing else. Raises FatbinError when a size, a version or an architecture makes no sense.
    """
    view = memoryview(data).toreadonly().cast("B")
    found: list[FatBinary] = []
    offset = _skip_zeros(view, 0)
    while offset < len(view):
        index = first + len(found)
        one = _parse_one(view, offset, index, f"{where}: module {index}")
        found.append(one)
        offset = _skip_zeros(view, offset + one.size)
        if not len(found) % _SEVERAL:
            behind()
    return tuple(found)


def demand_replaceable(old: Sequence[FatBinary], new: Mapping[int, bytes | memoryview], where: str) -> None:
    """Raise FatbinError unless each of ``new`` is one fat binary in the place, by index, of one that is there."""
    unknown = sorted(set(new) - set(range(len(old))))
    if unknown:
        raise FatbinError(f"{where}: has {len(old)} fat binaries, none with index {unknown}")
    for index, data in new.items():
        if len(parse(data, where=f"{where}: new module {index}")) != 1:
            raise FatbinError(f"{where}: what should replace module {index} is not one fat binary")


def demand_sane(found: Iterable[FatBinary], size: int, where: str) -> None:
    """Raise FatbinError when all that is packed would unpack to much more than a file of this size is worth."""
    packed = sum(one.size for fatbin in found for one in fatbin.entries if is_packed(one))
    if packed > most_unpacked(size):
        raise FatbinError(f"{where}: its images claim to unpack to {packed} bytes")


def most_unpacked(size: int) -> int:
    """Return how many bytes all that is packed in a file of some size may unpack to."""
    return limits.IMAGES_RATIO * size + limits.IMAGES


def parse_at(view: memoryview, offset: int, index: int, *, where: str) -> FatBinary:
    """Return the one fat binary that starts at an offset of any bytes. Raises FatbinError when none does."""
    return _parse_one(view, offset, index, where)


def modules(data: bytes | memoryview, *, where: str) -> tuple[Module, ...]:
    """Return which architectures every module has machine code and PTX for. Raises FatbinError."""
    return inventory(parse(data, where=where))


def inventory(fatbins: Sequence[FatBinary]) -> tuple[Module, ...]:
    """Return the same for fat binaries that are parsed already."""
    return tuple(
        Module(index=one.index, sass=_archs(one, Kind.ELF), ptx=_archs(one, Kind.PTX)) for one in fatbins
    )


def image(entry: Entry) -> bytes:
    """Return an entry's payload unpacked, never more than it announces. Raises FatbinError.

    Machine code that is not compressed comes with its padding: the entry does not say where it ends.
    """
    return bytes(unpacked(entry, Room()))


def unpacked(entry: Entry, room: Room) -> memoryview:
    """Return the same where it lies, or unpacked into ``room``, where it stays until this is used again."""
    if not entry.flags & (_FLAG_LZ4 | _FLAG_ZSTD):
        if len(entry.header) >= _ENTRY.size and _ENTRY.unpack_from(entry.header)[4]:
            raise FatbinError(f"{entry.where}: compressed in an unknown way (flags {entry.flags:#x})")
        return entry.payload
    if not _may_unpack(entry):
        raise FatbinError(f"{entry.where}: claims to unpack to {entry.size} bytes")
    unpack = _unpack_lz4 if entry.flags & _FLAG_LZ4 else _unpack_zstd
    try:
        into = room.of(entry.size)
    except MemoryError as error:
        raise FatbinError(f"{entry.where}: no memory for the {entry.size} bytes that it announces") from error
    if unpack(entry, into) != entry.size:
        raise FatbinError(f"{entry.where}: does not unpack to the {entry.size} bytes that it announces")
    return into


def _may_unpack(entry: Entry) -> bool:
    """Say whether what a packed entry announces is worth its bytes."""
    most = min(limits.IMAGE, limits.RATIO * len(entry.payload) + limits.ANY_RATIO)
    return bool(entry.flags & (_FLAG_LZ4 | _FLAG_ZSTD)) and entry.size <= most


def is_packed(entry: Entry) -> bool:
    """Say whether an entry's payload has to be unpacked, in a known or in an unknown way."""
    packed = len(entry.header) >= _ENTRY.size and _ENTRY.unpack_from(entry.header)[4]
    return bool(packed or entry.flags & (_FLAG_LZ4 | _FLAG_ZSTD))


def is_lz4(entry: Entry) -> bool:
    """Say whether an entry is packed as CUDA up to 12.8 packs by default, which every driver of CUDA 12 reads."""
    return bool(entry.flags & _FLAG_LZ4)


def is_zstd(entry: Entry) -> bool:
    """Say whether an entry is packed as no driver before that of CUDA 12.4 reads."""
    return bool(entry.flags & _FLAG_ZSTD)


def ptx(entry: Entry) -> bytes:
    """Return the PTX text of an entry, without the zeros at its end. Raises FatbinError."""
    if entry.kind is not Kind.PTX:
        raise FatbinError(f"{entry.where}: not PTX")
    return image(entry).rstrip(b"\0")


def ptx_for(fatbin: FatBinary, wanted: Arch) -> Entry:
    """Return the PTX to assemble for ``wanted``: that of the highest architecture not above it.

    PTX with a suffix serves its own architecture alone. Compare the entry's ``isa`` with what ptxas knows.
    Raises FatbinError when the module has no such PTX.
    """
    usable = _usable(fatbin, wanted)
    if not usable:
        has = ", ".join(archs.sm(one) for one in _archs(fatbin, Kind.PTX)) or "none"
        raise FatbinError(
            f"{fatbin.where} has no PTX from which {archs.sm(wanted)} can be assembled (PTX: {has})",
            hint="leave that architecture out, or take a build whose PTX is old enough for it",
        )
    return max(usable, key=lambda entry: archs.sort_key(entry.arch))


def has_ptx_for(fatbin: FatBinary, wanted: Arch) -> bool:
    """Say whether ``ptx_for`` finds PTX."""
    return bool(_usable(fatbin, wanted))


def _usable(fatbin: FatBinary, wanted: Arch) -> list[Entry]:
    """Return the PTX that serves ``wanted``: its own, or any of an older architecture that has no suffix."""
    limit = archs.number(wanted)
    return [
        entry
        for entry in fatbin.entries
        if entry.kind is Kind.PTX
        and (entry.arch == wanted or (not archs.parts(entry.arch)[2] and archs.number(entry.arch) <= limit))
    ]


def graft(fatbin: FatBinary, cubins: Mapping[Arch, bytes]) -> bytes:
    """Return the fat binary with ``cubins`` appended, oldest architecture first; what was there stays as it was.

    The result's length is a multiple of 8 when the fat binary's is. Raises FatbinError when an architecture has
    machine code already, or when a cubin is not one for its architecture.
    """
    present = _archs(fatbin, Kind.ELF)
    added: list[bytes] = []
    for wanted in sorted(cubins, key=archs.sort_key):
        if wanted in present:
            raise FatbinError(f"{fatbin.where} has {archs.sm(wanted)} code already")
        added.append(_native_entry(fatbin, wanted, cubins[wanted]))
    magic, version, header_size, payload = _HEADER.unpack_from(fatbin.data)
    header = _HEADER.pack(magic, version, header_size, payload + sum(map(len, added)))
    return b"".join((header, fatbin.data[_HEADER.size :], *added))


def parted(fatbin: FatBinary, entries: Mapping[int, bytes | None]) -> bytes:
    """Return the fat binary with some of its entries alone, in their order: index -> new bytes, None for its own.

    The result's length is a multiple of 8 when those of the fat binary and of the new bytes are.
    """
    at, found = _HEADER.unpack_from(fatbin.data)[2], list[bytes]()
    for index, entry in enumerate(fatbin.entries):
        size = len(entry.header) + _ENTRY.unpack_from(entry.header)[3]
        if index in entries:
            found.append(entries[index] or bytes(fatbin.data[at : at + size]))
        at += size
    magic, version, header_size, _ = _HEADER.unpack_from(fatbin.data)
    header = _HEADER.pack(magic, version, header_size, sum(map(len, found)))
    return b"".join((header, fatbin.data[_HEADER.size : header_size], *found))


def stored(entry: Entry, payload: bytes, how: Packed | None, *, size: int = 0) -> bytes:
    """Return an entry with another payload, packed as said, of this size once unpacked; the rest of it stays."""
    fields = list(_ENTRY.unpack_from(entry.header))
    padded = _pad(payload)
    fields[3], fields[4] = len(padded), len(payload) if how else 0
    fields[11] = fields[11] & ~(_FLAG_LZ4 | _FLAG_ZSTD) | (how or 0)
    fields[13] = size
    return _ENTRY.pack(*fields) + entry.header[_ENTRY.size :] + padded


def _archs(fatbin: FatBinary, kind: Kind) -> tuple[Arch, ...]:
    """Return the architectures that a module has images of one kind for, oldest first."""
    return tuple(sorted({one.arch for one in fatbin.entries if one.kind is kind}, key=archs.sort_key))


def _skip_zeros(view: memoryview, offset: int) -> int:
    """Return the first multiple of 8 from ``offset`` on at which something other than zeros starts."""
    step = 1 << 16
    while offset < len(view):
        block = bytes(view[offset : offset + step])
        zeros = len(block) - len(block.lstrip(b"\0"))
        if zeros < len(block):
            return offset + zeros // 8 * 8
        offset += len(block)
        step = 1 << 20
    return offset


def _parse_one(view: memoryview, offset: int, index: int, where: str) -> FatBinary:
    """Return the fat binary at ``offset``, every bound checked."""
    if len(view) - offset < _HEADER.size:
        raise FatbinError(f"{where}: cut short at offset {offset:#x}")
    magic, version, header_size, payload = _HEADER.unpack_from(view, offset)
    if magic != _MAGIC or version != 1 or header_size < _HEADER.size:
        raise FatbinError(
            f"{where}: no fat binary at offset {offset:#x} "
            f"(magic {magic:#x}, version {version}, header of {header_size} bytes)"
        )
    if header_size + payload > len(view) - offset:
        raise FatbinError(f"{where}: offset {offset:#x} promises {payload} bytes, more than there are")
    data = view[offset : offset + header_size + payload]
    entries: list[Entry] = []
    at = header_size
    while at < len(data):
        entry, at = _parse_entry(data, at, f"{where}, offset {offset + at:#x}")
        entries.append(entry)
    return FatBinary(
        where=where, index=index, offset=offset, size=len(data), data=data, entries=tuple(entries)
    )


def _parse_entry(data: memoryview, at: int, where: str) -> tuple[Entry, int]:
    """Return the entry at ``at`` of a fat binary, and where the next one starts."""
    if len(data) - at < _ENTRY.size:
        raise FatbinError(f"{where}: entry cut short")
    fields = _ENTRY.unpack_from(data, at)
    number, version, header_size, padded, packed, extra, minor, major, sm, _, _, flags, _, size = fields
    if version != _ENTRY_VERSION:
        raise FatbinError(f"{where}: entry of unknown version {version:#x}")
    if not _ENTRY.size <= header_size <= len(data) - at or padded > len(data) - at - header_size:
        raise FatbinError(f"{where}: entry of {header_size} + {padded} bytes leaves its fat binary")
    if packed > padded:
        raise FatbinError(f"{where}: entry of {padded} bytes holds {packed} compressed ones")
    header = bytes(data[at : at + header_size])
    start = at + header_size
    kind = Kind(number) if number in (Kind.PTX, Kind.ELF) else Kind.OTHER
    entry = Entry(
        where=where,
        kind=kind,
        arch=_arch(sm, flags, where),
        isa=(major, minor),
        flags=flags,
        options=_options(header, extra, where) if kind is Kind.PTX else "",
        header=header,
        payload=data[start : start + (packed or padded)],
        size=size,
    )
    return entry, start + padded


def _arch(sm: int, flags: int, where: str) -> Arch:
    """Return the architecture of an entry; the flags carry the suffix."""
    suffix = ("a" if flags & _FLAG_A else "") + ("f" if flags & _FLAG_F else "")
    try:
        return archs.parse(archs.from_number(sm, suffix))
    except ValueError as error:
        raise FatbinError(f"{where}: no architecture is called sm_{sm}{suffix}") from error


def _options(header: bytes, extra: int, where: str) -> str:
    """Return the option string behind a PTX entry's header; empty when there is none."""
    if not extra:
        return ""
    if not _ENTRY.size <= extra <= len(header) - _EXTRA.size:
        raise FatbinError(f"{where}: options outside the entry's header")
    start, length = _EXTRA.unpack_from(header, extra)
    if start > len(header) or length > len(header) - start:
        raise FatbinError(f"{where}: options outside the entry's header")
    return header[start : start + length].decode("utf-8", "replace")


def _unpack_lz4(entry: Entry, into: memoryview) -> int:
    """Unpack an LZ4 block, and return its size; LZ4 cannot gain more than 255 : 1."""
    if entry.size > 255 * len(entry.payload) + 64:
        raise FatbinError(f"{entry.where}: {len(entry.payload)} bytes cannot unpack to {entry.size}")
    try:
        return int(cramjam.lz4.decompress_block_into(entry.payload, into, entry.size))
    except (cramjam.DecompressionError, ValueError, OverflowError) as error:
        raise FatbinError(f"{entry.where}: broken LZ4 data: {error}") from error


def _unpack_zstd(entry: Entry, into: memoryview) -> int:
    """Unpack a zstd frame, and return its size, which is one more where it holds more than announced."""
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(entry.payload) as reader:
            return int(reader.readinto(into)) + len(reader.read(1))
    except (zstandard.ZstdError, ValueError, MemoryError) as error:
        raise FatbinError(f"{entry.where}: broken zstd data: {error}") from error


def _native_entry(fatbin: FatBinary, wanted: Arch, cubin: bytes) -> bytes:
    """Return an entry for ``cubin``, laid out as ``fatbinary`` does it (compared byte by byte with 13.0.88's)."""
    abi, compat = _read_cubin(cubin, wanted, fatbin.where)
    native = [entry for entry in fatbin.entries if entry.kind is Kind.ELF] or fatbin.entries
    flags = (native[-1].flags if native else _PLAIN_FLAGS) & ~_FLAGS_DERIVED
    flags |= _SUFFIX_FLAGS[archs.parts(wanted)[2]]
    extra = b""
    if archs.number(wanted) >= _COMPAT_SINCE and compat:
        flags |= _FLAG_COMPAT
        extra = _pad(_EXTRA.pack(_ENTRY.size + _EXTRA.size, len(compat)) + b"\0" + compat)
    payload = _pad(cubin)
    header = _ENTRY.pack(
        Kind.ELF, _ENTRY_VERSION, _ENTRY.size + len(extra), len(payload), 0, _ENTRY.size if extra else 0,
        abi, 1, archs.number(wanted), 0, 0, flags, 0, 0,
    )  # fmt: skip
    return header + extra + payload


def _pad(data: bytes) -> bytes:
    """Return ``data`` with zeros up to a multiple of 8 bytes."""
    return data + bytes(-len(data) % 8)


def cubin_arch(flags: int, abi: int, where: str) -> Arch:
    """Return what a cubin with these ELF flags and this ABI version is for. Raises FatbinError when it is for no GPU.

    CUDA 12's ABI 7 keeps the number in bits 0-7 and the suffix ``a`` in bit 11; ABI 8 (sm_100 on, and all of CUDA 13)
    in bits 8-23 and bit 3. Measured on the output of ptxas 12.8 and 13.0; ``f`` is not marked.
    """
    number, own = (flags & 0xFF, flags & 0x800) if abi < 8 else (flags >> 8 & 0xFFFF, flags & 0x8)
    return _arch(number, _FLAG_A if own else 0, where)


def _read_cubin(cubin: bytes, wanted: Arch, where: str) -> tuple[int, bytes]:
    """Return a cubin's ABI version and its ``.nv.compat`` section (empty if none), having checked what it is for.

    ELF flags: CUDA 12's ABI 7 keeps the architecture's number in bits 0-7, ABI 8 (and sm_100 on) in bits 8-23.
    """
    broken = f"{where}: what should be the cubin for {archs.sm(wanted)}"
    try:
        tables = elf.tables(cubin, where=broken)
        found = elf.named(tables, _COMPAT)
    except ElfError as error:
        raise FatbinError(str(error)) from error
    flags, abi = tables.flags, cubin[8]
    number = flags & 0xFF if abi < 8 else flags >> 8 & 0xFFFF
    if tables.machine != _EM_CUDA or number != archs.number(wanted):
        raise FatbinError(f"{broken} is for machine {tables.machine}, sm_{number}")
    return abi, bytes(elf.contents(tables, found)) if found else b""
