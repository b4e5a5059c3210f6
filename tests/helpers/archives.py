"""Hostile archives by category, each made small: wheels as PyPI's own corpus has them.

The categories are those of the corpus that PyPI holds uploads against and of the published work on archives that two
readers read as two; no file of theirs is here. A case is bytes and what is said of them: "" when they are taken.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

from tinycuda import record
from zipparts import CONTENT, Part, build

WHEEL: Final = "demo-1.2+cu128.1-py3-none-any.whl"
INFO: Final = "demo-1.2+cu128.1.dist-info"
FILES: Final = {
    "demo/__init__.py": CONTENT,
    f"{INFO}/METADATA": b"Metadata-Version: 2.1\nName: demo\nVersion: 1.2+cu128.1\n\nTiny.\n",
    f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
ODD: Final = b"demo/odd.py"


class Case(NamedTuple):
    """An archive, and what is said of it; nothing when it is taken."""

    data: bytes
    words: str = ""


def wheel(*odd: Part, finish: Callable[..., bytes] = build, **end: int) -> bytes:
    """Return a sound wheel with the odd members in it, which RECORD lists as they are."""
    files = {
        **FILES,
        **{one.name.decode("utf-8", "replace"): one.content for one in odd if one.name[-1:] != b"/"},
    }
    base = [Part(name.encode(), data) for name, data in FILES.items()]
    listed = Part(f"{INFO}/RECORD".encode(), record({name: files[name] for name in files}, INFO))
    return finish(*base, *odd, listed, **end)


def _odd(**other: object) -> Part:
    return Part(ODD, CONTENT, **other)


def _named(name: bytes, **other: object) -> bytes:
    return wheel(Part(name, CONTENT, **other))


def _descriptor(
    form: str, *, size: int = len(CONTENT), crc: int = zlib.crc32(CONTENT), packed: int = 0
) -> Part:
    """Return a member whose sizes stand behind it, in a form of their own."""
    part = _odd(flags=8, local={"crc": 0, "compressed": 0, "size": 0})
    numbers = struct.pack(form, crc, len(part.data) + packed, size)
    part.after = b"PK\7\x08" + numbers[4:] if "4x" in form else numbers
    return part


def _wide(usize: int = len(CONTENT), csize: int | None = None, more: bytes = b"") -> Part:
    """Return a member whose sizes stand in a zip64 field."""
    packed = len(_odd().data) if csize is None else csize
    data = struct.pack("<QQ", usize, packed) + more
    extra = struct.pack("<HH", 1, len(data)) + data
    both = {"compressed": 0xFFFFFFFF, "size": 0xFFFFFFFF, "extra": extra}
    return _odd(local=both, central=both)


def _unicode_path(name: bytes, old: bytes = ODD) -> bytes:
    """Return the field that gives a member a second name."""
    data = b"\1" + struct.pack("<L", zlib.crc32(old)) + name
    return struct.pack("<HH", 0x7075, len(data)) + data


def _also_listing(data: bytes, entry: bytes) -> bytes:
    """Return an archive whose directory has an entry more."""
    directory, count = data.index(b"PK\1\2"), struct.unpack_from("<H", data, len(data) - 12)[0] + 1
    listed = data[directory:-22] + entry
    return (
        data[:directory]
        + listed
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(listed), directory, 0)
    )


def _not_in_directory(*parts: Part, **end: int) -> bytes:
    """Return an archive with a member that its directory does not list."""
    hidden = _odd()
    listed = list(parts)
    listed[1].before = hidden.head() + hidden.data
    return build(*listed, **end)


def _other_directory(*parts: Part, **end: int) -> bytes:
    """Return an archive whose zip64 record names another directory than its last record."""
    data = build(*parts, wide=True, **end)
    at = len(data) - 22
    return data[: at + 8] + struct.pack("<HHLL", 1, 1, 46, 0) + data[at + 20 :]


def _with_record64(more: bytes, *, locator: bool) -> Callable[..., bytes]:
    """Return what ends an archive with a zip64 record of its own making."""

    def finish(*parts: Part, **end: int) -> bytes:
        data = build(*parts, wide=True, **end)
        start = data.rindex(b"PK\6\6")
        sign, rest = data[start : start + 56], data[start + 56 :]
        sign = sign[:4] + struct.pack("<Q", 44 + len(more)) + sign[12:] + more
        return data[:start] + sign + (rest if locator else rest[20:])

    return finish


def _ended(more: bytes, *, before: bytes = b"", comment: int = 0) -> Callable[..., bytes]:
    """Return what puts bytes before and behind an archive, behind them as a comment of that length."""

    def finish(*parts: Part, **end: int) -> bytes:
        data = build(*parts, **end)
        return before + data[:-2] + struct.pack("<H", comment) + more

    return finish


def _overlapping(*parts: Part, **end: int) -> bytes:
    """Return an archive in which the data of a member holds the whole of another, which is listed, too."""
    inner = Part(b"demo/inner.py", bytes(50))
    outer = Part(ODD, inner.head() + inner.data, deflated=False)
    at = sum(len(one.head() + one.data) for one in parts) + len(outer.head())
    return _also_listing(build(*parts, outer, **end), inner.entry(at))


def _before(part: Part, data: bytes) -> Part:
    part.before = data
    return part


def _without_record(data: bytes) -> bytes:
    """Take the zip64 record out and leave its locator."""
    start = data.rindex(b"PK\6\6")
    return data[:start] + data[start + 56 :]


SMALL = build(Part(b"demo/__init__.py", b"EVIL = 1\n"))
LINK, FIFO, DEVICE, SOCKET = (
    (kind | 0o777) << 16 for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK)
)
FOLDER = (stat.S_IFDIR | 0o755) << 16
TIMES = struct.pack("<HHBL", 0x5455, 5, 1, 1_700_000_000)
ZIPS: dict[str, Case] = {
    "stored": Case(wheel(_odd(deflated=False))),
    "deflated": Case(wheel(_odd())),
    "with folders": Case(wheel(Part(b"demo/", b"", deflated=False, attributes=FOLDER))),
    "with times in an extra field": Case(wheel(_odd(extra=TIMES))),
    "set-user-id": Case(wheel(_odd(attributes=(stat.S_IFREG | 0o4755) << 16))),
    "descriptor": Case(wheel(_descriptor("<4xLLL"))),
    "descriptor without signature": Case(wheel(_descriptor("<LLL"))),
    "descriptor, zip64": Case(wheel(_descriptor("<4xLQQ"))),
    "zip64 field": Case(wheel(_wide())),
    "zip64 end": Case(wheel(_odd(), wide=True)),
    # What stands before, behind and between.
    "prefix": Case(
        wheel(finish=_ended(b"", before=b"#!/bin/sh\n")), "the central directory should end at byte"
    ),
    "prefix, offsets adjusted": Case(
        wheel(finish=lambda first, *parts, **end: build(_before(first, b"#!/bin/sh\n"), *parts, **end)),
        "bytes before the first member",
    ),
    "suffix": Case(wheel(finish=_ended(b"more")), "4 bytes behind the end of the archive"),
    "comment": Case(wheel(finish=_ended(b"hello", comment=5)), "5 bytes behind the end of the archive"),
    "comment with an archive": Case(
        wheel(finish=_ended(SMALL, comment=len(SMALL))), "the central directory should end at byte"
    ),
    "comment of other length": Case(wheel(finish=_ended(b"", comment=7)), "comment of 7 bytes is announced"),
    "two ends": Case(
        wheel(finish=lambda *parts, **end: build(*parts, **end) + build(*parts, **end)[-22:]),
        "the central directory should end at byte",
    ),
    "two archives": Case(
        wheel(finish=lambda *parts, **end: SMALL + build(*parts, **end)),
        "the central directory should end at byte",
    ),
    "truncated": Case(wheel()[:-50], "is truncated"),
    "no archive": Case(b"<html>404</html>" * 9, "is not a zip archive"),
    "gap": Case(wheel(_odd(after=b"gap")), "bytes that belong to no member follow it"),
    # The directory against the local headers.
    "listed twice": Case(
        wheel(finish=lambda *parts, **end: _also_listing(build(*parts, **end), parts[0].entry(0))),
        "occurs twice",
    ),
    "listed twice, by two names": Case(
        wheel(finish=lambda *parts, **end: _also_listing(build(*parts, **end), _odd().entry(0))), "reaches"
    ),
    "not listed": Case(wheel(finish=_not_in_directory), "bytes that belong to no member follow it"),
    "listed, not there": Case(
        wheel(_odd()).replace(_odd().head(), b"PK\3\5" + _odd().head()[4:]), "has no local header"
    ),
    "same name twice": Case(wheel(_odd(), _odd()), "occurs twice"),
    "same name in another Unicode form": Case(
        wheel(Part("demo/ü.py".encode(), flags=0x800), Part("demo/u\u0308.py".encode(), flags=0x800)),
        "occurs twice",
    ),
    "file and folder": Case(
        wheel(_odd(), Part(ODD + b"/", b"", deflated=False, attributes=FOLDER)), "occurs twice"
    ),
    "below a file": Case(wheel(_odd(), Part(ODD + b"/more.py")), "which is a file"),
    "overlap": Case(wheel(finish=_overlapping), "reaches"),
    "overlap by a size": Case(wheel(_odd(compressed=2000)), "reaches"),
    "other name": Case(wheel(_odd(local={"name": b"demo/evil.py"})), "in its local header"),
    "other size": Case(wheel(_odd(local={"size": 3})), "its size is 3 in the local header"),
    "other CRC": Case(wheel(_odd(local={"crc": 3})), "its CRC is 3 in the local header"),
    "other method": Case(wheel(_odd(local={"method": 0})), "its method is 0 in the local header"),
    "other flags": Case(wheel(_odd(local={"flags": 0x800})), "its flags is 2048 in the local header"),
    # Descriptors.
    "descriptor, wrong CRC": Case(wheel(_descriptor("<4xLLL", crc=1)), "its data descriptor disagrees"),
    "descriptor, CRC zero": Case(wheel(_descriptor("<4xLLL", crc=0)), "its data descriptor disagrees"),
    "descriptor, wrong size": Case(wheel(_descriptor("<4xLLL", size=1)), "its data descriptor disagrees"),
    "descriptor, wrong compressed size": Case(
        wheel(_descriptor("<4xLLL", packed=1)), "its data descriptor disagrees"
    ),
    "descriptor without signature, wrong size": Case(
        wheel(_descriptor("<LLL", size=1)), "its data descriptor disagrees"
    ),
    "descriptor, zip64, wrong size": Case(
        wheel(_descriptor("<4xLQQ", size=1)), "its data descriptor disagrees"
    ),
    "descriptor, zip64, wrong compressed size": Case(
        wheel(_descriptor("<4xLQQ", packed=1)), "its data descriptor disagrees"
    ),
    "descriptor missing": Case(wheel(_odd(flags=8)), "its data descriptor disagrees"),
    "descriptor not announced": Case(
        wheel(_odd(after=_descriptor("<4xLLL").after)), "16 bytes that belong to no member"
    ),
    "descriptor, none in the directory": Case(
        wheel(_odd(flags=8, central={"crc": 0, "compressed": 0, "size": 0})), "in the local header"
    ),
    # zip64.
    "zip64, size of the field alone": Case(wheel(_wide(usize=3)), "inflates to more than the 3 bytes"),
    "zip64, compressed size of the field alone": Case(
        wheel(_wide(csize=3)), "bytes that belong to no member"
    ),
    "zip64 field too long": Case(wheel(_wide(more=bytes(8))), "has a zip64 field that does not fit"),
    "zip64 field too short": Case(
        wheel(_odd(compressed=0xFFFFFFFF, extra=struct.pack("<HHL", 1, 4, 3))),
        "has a zip64 field that does not fit",
    ),
    "zip64 field without need": Case(
        wheel(_odd(extra=struct.pack("<HHQQ", 1, 16, 20, 20))), "has a zip64 field that does not fit"
    ),
    "zip64 field twice": Case(
        wheel(_odd(extra=2 * struct.pack("<HHQQ", 1, 16, 20, 20))), "has corrupt extra fields"
    ),
    "zip64 end of another directory": Case(wheel(finish=_other_directory), "its two end records"),
    "zip64 end with more data": Case(
        wheel(finish=_with_record64(b"more", locator=True)), "is not where its locator says"
    ),
    "zip64 end without locator": Case(
        wheel(finish=_with_record64(b"", locator=False)), "the central directory should end at byte"
    ),
    "zip64 locator of another place": Case(
        wheel(_odd(), wide=True, locator=7), "is not where its locator says"
    ),
    "zip64 locator without a record": Case(
        wheel(finish=lambda *parts, **end: _without_record(build(*parts, wide=True, **end))),
        "is not where its locator",
    ),
    # Extra fields and comments of members.
    "extra field of three bytes": Case(wheel(_odd(extra=b"\1\0\3")), "has corrupt extra fields"),
    "extra field that is cut": Case(wheel(_odd(extra=b"\x75\x70\x09\0\1")), "has corrupt extra fields"),
    "Unicode path": Case(wheel(_odd(extra=_unicode_path(b"demo/evil.py"))), "has a second name"),
    "Unicode path in the local header": Case(
        wheel(_odd(local={"extra": _unicode_path(b"demo/evil.py")})), "has a second name"
    ),
    "Unicode path twice": Case(wheel(_odd(extra=2 * _unicode_path(ODD))), "has corrupt extra fields"),
    "comment of a member": Case(wheel(_odd(comment=b"hello")), "has a comment of 5 bytes"),
    "comment of a member with an end in it": Case(wheel(_odd(comment=SMALL)), "has a comment of"),
    # Names.
    "absolute": Case(_named(b"/etc/evil"), "its name is an absolute path"),
    "drive": Case(_named(b"C:/evil"), "its name is an absolute path"),
    "two dots": Case(_named(b"demo/../../evil"), "has an empty, '.' or '..' component"),
    "dot": Case(_named(b"./evil"), "has an empty, '.' or '..' component"),
    "empty component": Case(_named(b"demo//evil"), "has an empty, '.' or '..' component"),
    "backslash": Case(_named(b"demo\\..\\evil"), "its name holds a backslash"),
    "NUL": Case(_named(b"demo/a.py\0.txt"), "holds control characters"),
    "newline": Case(_named(b"demo/a\nb"), "holds control characters"),
    "delete": Case(_named(b"demo/a\x7f"), "holds control characters"),
    "not UTF-8": Case(_named(b"demo/\xff.py", flags=0x800), "its name is not UTF-8"),
    "overlong UTF-8": Case(_named(b"demo/\xc0\xaf.py", flags=0x800), "its name is not UTF-8"),
    "surrogate": Case(_named(b"demo/\xed\xa0\x80.py", flags=0x800), "its name is not UTF-8"),
    "UTF-8 that is not marked": Case(
        _named("demo/ü.py".encode()), "its name is not ASCII, nor marked as UTF-8"
    ),
    "folder with content": Case(
        _named(b"demo/odd/", deflated=False, attributes=FOLDER), "is a folder, yet has"
    ),
    "folder that says it is a file": Case(
        wheel(Part(b"demo/odd/", b"", deflated=False)), "is not a plain file"
    ),
    "file that says it is a folder": Case(wheel(_odd(attributes=FOLDER | 0x10)), "is not a plain file"),
    # Kinds.
    "symbolic link": Case(wheel(_odd(attributes=LINK)), "is a symbolic link"),
    "pipe": Case(wheel(_odd(attributes=FIFO)), "is not a plain file"),
    "device": Case(wheel(_odd(attributes=DEVICE)), "is not a plain file"),
    "socket": Case(wheel(_odd(attributes=SOCKET)), "is not a plain file"),
    "encrypted": Case(wheel(_odd(flags=1)), "is encrypted"),
    "strongly encrypted": Case(wheel(_odd(flags=0x41)), "is encrypted"),
    "masked headers": Case(wheel(_odd(flags=0x2000)), "is encrypted"),
    "patch data": Case(wheel(_odd(flags=0x20)), "has unknown flags"),
    "bzip2": Case(wheel(_odd(method=12)), "is compressed by method 12"),
    "Zstandard": Case(wheel(_odd(method=93)), "is compressed by method 93"),
    "several disks": Case(wheel(disk=1), "split over several disks"),
    "member on another disk": Case(wheel(_odd(disk=1)), "lies on disk 1"),
    "fewer members than there are": Case(wheel(_odd(), here=4, count=4), "bytes beyond its 4 entries"),
    # Content.
    "wrong CRC": Case(wheel(_odd(crc=1)), "content has CRC"),
    "wrong CRC, stored": Case(wheel(_odd(deflated=False, crc=1)), "content has CRC"),
    "size too small": Case(wheel(_odd(size=5)), "inflates to more than the 5 bytes"),
    "size too small, zip64": Case(wheel(_wide(usize=5)), "inflates to more than the 5 bytes"),
    "size too large": Case(wheel(_odd(size=999)), "holds 320 bytes but declares 999"),
    "stored, with another size": Case(wheel(_odd(deflated=False, size=5)), "is stored, yet 5 bytes take 320"),
    "two deflate streams": Case(
        wheel(_odd(data=2 * _odd().data)), "bytes follow the end of its deflate data"
    ),
    "deflate that does not end": Case(wheel(_odd(data=_odd().data[:-3])), "its deflate data ends too early"),
    "no deflate": Case(wheel(_odd(data=b"\xff" * 40)), "is not valid deflate data"),
    "bomb": Case(wheel(Part(ODD, bytes(2 << 20))), "over 300 times"),
    "bomb that says it is small": Case(
        wheel(Part(ODD, bytes(2 << 20), size=100)), "inflates to more than the 100"
    ),
}
