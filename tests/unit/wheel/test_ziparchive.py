"""The strict zip reader: every way in which an archive can lie is refused by name, as WheelError."""

from __future__ import annotations

import hashlib
import io
import os
import random
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gpucode
from retread.errors import WheelError
from retread.records import Sha256
from retread.wheel.hashing import Scan
from retread.wheel.ziparchive import CHUNK, Archive, Limits
from zipparts import CONTENT, Part, build


def save(folder: Path, data: bytes) -> Path:
    path = folder / "demo-1.0-py3-none-any.whl"
    path.write_bytes(data)
    return path


def read_all(path: Path, limits: Limits | None = None) -> dict[str, bytes]:
    with Archive(path, limits=limits) as archive:
        return {entry.name: b"".join(archive.chunks(entry)) for entry in archive.entries}


def refusal(folder: Path, data: bytes, limits: Limits | None = None, case: str = "") -> str:
    path = save(folder, data)
    try:
        read_all(path, limits)
    except WheelError as error:
        caught = error
    else:
        pytest.fail(f"{case or 'it'} was read")
    assert caught.message.startswith("demo-1.0-py3-none-any.whl: "), case
    assert caught.hint, case
    return caught.message.removeprefix("demo-1.0-py3-none-any.whl: ")


LINK = (stat.S_IFLNK | 0o777) << 16
DEVICE = (stat.S_IFCHR | 0o600) << 16
BIG = b"\0" * (2 << 20)
WHOLE = build(Part())
NAME_LENGTH = WHOLE.rfind(b"PK\1\2") + 28
CHUNK_OF_DEFLATE = b"".join(
    bytes([last]) + struct.pack("<HH", 65531, 65531 ^ 0xFFFF) + bytes(65531) for last in [0] * 15 + [1]
)
DESCRIPTOR = struct.pack("<4sLLL", b"PK\7\x08", zlib.crc32(CONTENT), len(Part().data), len(CONTENT))
TWIN_FOLDER = Part(b"pkg/a.py/", b"", deflated=False, attributes=(stat.S_IFDIR | 0o755) << 16)

BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is not a zip archive"),
    "text": (b"<html>404</html>" * 9, "is not a zip archive"),
    "truncated": (WHOLE[:-30], "is truncated: the file is cut off, and its end record is missing"),
    "trailing": (WHOLE + b"#", "1 byte behind the end of the archive"),
    "two archives": (WHOLE + WHOLE, "the central directory should end at byte"),
    "prepended": (b"#!/bin/sh\n" + WHOLE, "the central directory should end at byte"),
    "prepended, adjusted": (build(Part(before=b"#!/bin/sh\n")), "10 bytes before the first member"),
    "comment": (build(Part(), comment=4), "an archive comment of 4 bytes"),
    "gap": (build(Part(), Part(b"b", before=b"gap")), "'pkg/a.py': 3 bytes that belong to no member"),
    "gap at the end": (build(Part(after=b"gap")), "'pkg/a.py': 3 bytes that belong to no member"),
    "overlap": (build(Part(b"a"), Part(b"b", central={"offset": 0})), "reaches"),
    "overlap by size": (
        build(Part(b"a", compressed=999), Part(b"b")),
        "member 'a': reaches",
    ),
    "no local header": (WHOLE.replace(b"PK\3\4", b"PK\3\5"), "has no local header at"),
    "local header outside": (build(Part(central={"offset": 4_000_000_000})), "bytes before the first"),
    "other name": (build(Part(local={"name": b"pkg/b.py"})), "'pkg/a.py': is named 'pkg/b.py' in its"),
    "other method": (build(Part(local={"method": 0})), "its method is 0 in the local header, 8 in"),
    "other flags": (build(Part(local={"flags": 2})), "its flags is 2 in the local header"),
    "other size": (build(Part(local={"size": 3})), "its size is 3 in the local header"),
    "other compressed size": (build(Part(local={"compressed": 3})), "its compressed size is 3 in the local"),
    "other crc": (build(Part(local={"crc": 0})), "its CRC is 0 in the local header"),
    "wrong crc": (build(Part(crc=1)), "'pkg/a.py': content has CRC"),
    "wrong crc, stored": (build(Part(deflated=False, crc=1)), "but declares 00000001"),
    "size too small": (build(Part(size=5)), "inflates to more than the 5 bytes it declares"),
    "size too big": (build(Part(size=999)), "holds 320 bytes but declares 999"),
    "stored sizes differ": (build(Part(deflated=False, size=5)), "is stored, yet 5 bytes take 320"),
    "not deflate": (build(Part(data=b"\xff" * 50)), "is not valid deflate data"),
    "deflate cut": (build(Part(data=Part().data[:-3])), "its deflate data ends too early"),
    "deflate with more": (build(Part(data=Part().data + b"more")), "bytes follow the end of its deflate"),
    "deflate with much more": (
        build(Part(data=Part().data + bytes(2 * CHUNK))),
        "bytes follow the end of its deflate",
    ),
    "deflate with more in the next chunk": (
        build(Part(content=bytes(CHUNK - 80), data=CHUNK_OF_DEFLATE + b"more")),
        "bytes follow the end of its deflate",
    ),
    "entry cut off": (
        WHOLE[:NAME_LENGTH] + b"\xff" + WHOLE[NAME_LENGTH + 1 :],
        "entry 0 of the central directory is cut",
    ),
    "encrypted": (build(Part(flags=1)), "is encrypted"),
    "unknown flag": (build(Part(flags=0x20)), "has unknown flags 0x0020"),
    "newer format": (build(Part(version=255)), "needs version 25.5 of the zip format"),
    "lzma": (build(Part(method=14)), "is compressed by method 14; wheels store or deflate"),
    "deflate64": (build(Part(method=9)), "is compressed by method 9"),
    "member disk": (build(Part(disk=1)), "lies on disk 1 of a split archive"),
    "disk": (build(Part(), disk=1), "split over several disks"),
    "count here": (build(Part(), here=0), "split over several disks"),
    "count high": (build(Part(), here=2, count=2), "entry 1 of the central directory is corrupt"),
    "count low": (build(Part(), Part(b"b"), here=1, count=1), "bytes beyond its 1 entries"),
    "directory size": (build(Part(), size=3), "the central directory should end at byte"),
    "link": (build(Part(attributes=LINK)), "'pkg/a.py': is a symbolic link"),
    "device": (build(Part(attributes=DEVICE)), "'pkg/a.py': is not a plain file (attributes 0x21800000)"),
    "DOS folder": (build(Part(attributes=0x10)), "is not a plain file (attributes 0x00000010)"),
    "full folder": (build(Part(b"pkg/", deflated=False, attributes=0)), "is a folder, yet has 320 bytes"),
    "folder says file": (build(Part(b"pkg/", b"", deflated=False)), "'pkg/': is not a plain file"),
    "absolute": (build(Part(b"/etc/passwd")), "'/etc/passwd': its name is an absolute path"),
    "drive": (build(Part(b"C:/x")), "'C:/x': its name is an absolute path"),
    "backslash": (build(Part(b"..\\x")), r"'..\\x': its name holds a backslash"),
    "dots": (build(Part(b"a/../../x")), "'a/../../x': its name has an empty, '.' or '..' component"),
    "dot": (build(Part(b"./x")), "has an empty, '.' or '..' component"),
    "double slash": (build(Part(b"a//x")), "has an empty, '.' or '..' component"),
    "no name": (build(Part(b"")), "'<empty>': its name is empty or holds control characters"),
    "slash": (build(Part(b"/", b"", deflated=False, attributes=0)), "is an absolute path"),
    "NUL": (build(Part(b"a.py\0.txt")), r"'a.py\x00.txt': its name is empty or holds control characters"),
    "newline": (build(Part(b"a\nb")), "holds control characters"),
    "not UTF-8": (build(Part(b"\xff.py", flags=0x800)), r"'\\xff.py': its name is not UTF-8"),
    "not marked": (build(Part("ü.py".encode())), "its name is not ASCII, nor marked as UTF-8"),
    "twice": (build(Part(), Part()), "'pkg/a.py': occurs twice"),
    "twice in another form": (
        build(Part("ü".encode(), flags=0x800), Part("u\u0308".encode(), flags=0x800)),
        "occurs twice",
    ),
    "file and folder": (build(Part(), TWIN_FOLDER), "'pkg/a.py/': occurs twice"),
    "below a file": (build(Part(), Part(b"pkg/a.py/b")), "lies in 'pkg/a.py', which is a file"),
    "second name": (build(Part(central={"extra": b"\x75\x70\1\0\0"})), "has a second name in its extra"),
    "corrupt extra": (build(Part(central={"extra": b"\1\0\x20\0"})), "has corrupt extra fields"),
    "short extra": (build(Part(local={"extra": b"\1"})), "has corrupt extra fields"),
    "double extra": (build(Part(extra=b"\7\0\0\0" * 2)), "has corrupt extra fields"),
    "needless zip64": (build(Part(extra=b"\1\0\x08\0" + bytes(8))), "has a zip64 field that does not fit"),
    "zip64 missing": (build(Part(size=0xFFFFFFFF)), "has a zip64 field that does not fit"),
    "zip64 record elsewhere": (build(Part(), wide=True, locator=0), "not where its locator says"),
    "zip64 disks": (build(Part(), wide=True, disks=2), "split over several disks"),
    "zip64 corrupt": (build(Part(), wide=True).replace(b"PK\6\6\x2c", b"PK\6\6\x2d"), "is corrupt"),
    "descriptor missing": (build(Part(flags=8)), "its data descriptor disagrees"),
    "descriptor wrong": (build(Part(flags=8, after=b"x" * 16)), "its data descriptor disagrees"),
    "descriptor unannounced": (build(Part(after=DESCRIPTOR)), "16 bytes that belong to no member"),
    "bomb": (build(Part(content=BIG)), "declares 2097152 bytes out of 2049, over 300 times"),
    "bomb with other sizes": (
        build(Part(content=BIG, size=1000)),
        "inflates to more than the 1000 bytes it declares",
    ),
}


def test_refuses(tmp_path: Path) -> None:
    found = {case: refusal(tmp_path, data, case=case) for case, (data, _) in BAD.items()}
    assert {case: told for case, told in found.items() if BAD[case][1] not in told} == {}


def test_an_archive_without_a_member_is_refused(tmp_path: Path) -> None:
    assert "it holds no member at all" in refusal(tmp_path, b"PK\x05\x06" + bytes(18))


def test_zip64_records_that_disagree_are_refused(tmp_path: Path) -> None:
    data = bytearray(build(Part(), wide=True))
    struct.pack_into("<H", data, len(data) - 12, 7)
    assert "its two end records (zip and zip64) disagree" in refusal(tmp_path, bytes(data))


@pytest.mark.parametrize(
    ("limits", "fault"),
    [
        (Limits(members=1), "2 members in a directory of"),
        (Limits(directory=10), "members in a directory of"),
        (Limits(member=100), "declares 320 bytes; the limit is 100"),
        (Limits(total=500), "its members declare 640 bytes; the limit is 500"),
    ],
)
def test_limits(tmp_path: Path, limits: Limits, fault: str) -> None:
    assert fault in refusal(tmp_path, build(Part(), Part(b"b")), limits)


def test_inflating_stops_at_the_declared_size(tmp_path: Path) -> None:
    path = save(tmp_path, build(Part(content=bytes(16 << 20), size=1 << 20)))
    given_out: list[int] = []
    with Archive(path) as archive, pytest.raises(WheelError, match="inflates to more"):
        given_out.extend(map(len, archive.chunks(archive.entries[0])))
    assert sum(given_out) <= (1 << 20) + 1


def test_damaged_data_is_refused_where_zlib_refuses_it_and_in_its_words(tmp_path: Path) -> None:
    """zlib-ng inflates here, and zlib in pip: neither may take what the other does not."""
    content, dice, told = gpucode.LIBRARY[:6000], random.Random(7), set[str]()
    kinds = ((0, zlib.Z_DEFAULT_STRATEGY, 5), (6, zlib.Z_FIXED, 40), (6, zlib.Z_DEFAULT_STRATEGY, 60))
    for level, strategy, reach in kinds * 60:
        packer = zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy)
        data = bytearray(packer.compress(content) + packer.flush())
        for _ in range(2):
            data[dice.randrange(reach)] = dice.randrange(256)
        wanted = _fault(bytes(data), len(content))
        try:
            read_all(save(tmp_path, build(Part(content=content, data=bytes(data)))))
            found = ""
        except WheelError as error:
            found = error.message.partition("is not valid deflate data ")[2]
        assert found == wanted
        told.add(wanted)
    assert len(told) > 6


def _fault(data: bytes, size: int) -> str:
    """Return what zlib has against deflate data that should inflate to so many bytes."""
    try:
        zlib.decompressobj(-15).decompress(data, size + 1)
    except zlib.error as error:
        return f"({error})"
    return ""


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WheelError, match=r"gone\.whl: cannot be read \(No such file"):
        Archive(tmp_path / "gone.whl")
    with pytest.raises(WheelError, match="is not a plain file"):
        Archive(tmp_path)
    os.mkfifo(tmp_path / "pipe.whl")
    with pytest.raises(WheelError, match="is not a plain file"):
        Archive(tmp_path / "pipe.whl")


def test_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, WHOLE)
    with Archive(path) as archive:
        os.truncate(path, 40)
        with pytest.raises(WheelError, match="the file ends at byte"):
            archive.read("pkg/a.py")


@pytest.mark.parametrize("form", ["<LLL", "<4xLLL", "<LQQ", "<4xLQQ"])
def test_data_descriptors_are_read(tmp_path: Path, form: str) -> None:
    part = Part(flags=8, local={"crc": 0, "compressed": 0, "size": 0})
    after = struct.pack(form, zlib.crc32(CONTENT), len(part.data), len(CONTENT))
    part.after = b"PK\7\x08" + after[4:] if "4x" in form else after
    path = save(tmp_path, build(part, Part(b"b")))
    assert read_all(path) == {"pkg/a.py": CONTENT, "b": CONTENT}


def test_zip64_is_read(tmp_path: Path) -> None:
    wide = {"compressed": 0xFFFFFFFF, "size": 0xFFFFFFFF}
    extra = struct.pack("<HHQQ", 1, 16, len(CONTENT), len(Part().data))
    part = Part(local={**wide, "extra": extra}, central={**wide, "extra": extra})
    assert read_all(save(tmp_path, build(part, wide=True))) == {"pkg/a.py": CONTENT}


def test_reads_what_zipfile_writes_to_a_pipe(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise io.UnsupportedOperation

    out = Pipe()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pkg/ü.py", CONTENT)
        with archive.open("wide.bin", "w", force_zip64=True) as member:
            member.write(CONTENT)
        archive.mkdir("folder")
    assert read_all(save(tmp_path, out.getvalue())) == {
        "pkg/ü.py": CONTENT,
        "wide.bin": CONTENT,
        "folder/": b"",
    }


def test_reading_by_name_and_raw(tmp_path: Path) -> None:
    path = save(tmp_path, build(Part(), Part(b"x", b"", deflated=False, attributes=0o100755 << 16)))
    with Archive(path) as archive:
        entry = archive.by_name["pkg/a.py"]
        offset, length = archive.raw(entry)
        assert (
            path.read_bytes()[offset : offset + length] == b"".join(archive.raw_chunks(entry)) == Part().data
        )
        assert archive.read("pkg/a.py") == CONTENT
        assert [one.executable for one in archive.entries] == [False, True]
        with pytest.raises(WheelError, match="member 'gone': is missing"):
            archive.read("gone")
        with pytest.raises(WheelError, match="declares 320 bytes, more than the 9 that are sensible"):
            archive.read("pkg/a.py", limit=9)


def test_scan_hashes_file_and_members_whatever_their_order(tmp_path: Path) -> None:
    big = os.urandom(3 * CHUNK + 7)
    parts = [Part(b"big", big, deflated=False), Part(), Part(b"none", b"", deflated=False)]
    path = save(tmp_path, build(*parts))
    with Archive(path) as archive:
        whole, raw, of = archive.scan()
        assert archive.scan(Scan(Sha256("said"), {}, of)).sha256 == "said"
        assert archive.scan(Scan(Sha256("said"), {}, (*of[:-1], 0))).sha256 == whole
    assert whole == hashlib.sha256(path.read_bytes()).hexdigest()
    names = ("big", "pkg/a.py", "none")
    assert raw == {name: hashlib.sha256(one.data).hexdigest() for name, one in zip(names, parts, strict=True)}


def _base() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pkg/__init__.py", CONTENT)
        archive.writestr("pkg/ü.bin", bytes(range(256)), zipfile.ZIP_STORED)
        archive.writestr("empty", b"")
    return out.getvalue()


BASE = _base()
EDITS: dict[str, Callable[[bytearray, int, int], None]] = {
    "set": lambda data, at, value: data.__setitem__(at, value),
    "cut": lambda data, at, value: data.__delitem__(slice(at, at + value)),
    "insert": lambda data, at, value: data.__setitem__(slice(at, at), bytes([value])),
    "repeat": lambda data, at, value: data.__setitem__(slice(at, at), data[at : at + value]),
    "swap": lambda data, at, value: data.__setitem__(
        slice(at, at + 4), struct.pack("<L", 0xFFFFFF00 | value)
    ),
}
MUTATIONS = st.tuples(st.sampled_from(sorted(EDITS)), st.integers(0, len(BASE) - 1), st.integers(0, 255))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(MUTATIONS, min_size=1, max_size=4))
def test_mutated_archives_are_refused_or_read_as_zipfile_reads_them(
    tmp_path: Path, mutations: list[tuple[str, int, int]]
) -> None:
    data = bytearray(BASE)
    for edit, at, value in mutations:
        EDITS[edit](data, min(at, len(data) - 1), value) if data else None
    path = save(tmp_path, bytes(data))
    try:
        contents = read_all(path)
    except WheelError:
        return
    with zipfile.ZipFile(path) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == contents
