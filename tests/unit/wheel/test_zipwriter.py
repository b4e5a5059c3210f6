"""The writer: same members, same bytes; nothing half-made; and every tool can read the result."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import time
import zipfile
import zlib
from pathlib import Path

import pytest
from msgspec import structs

from retread.errors import StoreError, WheelError
from retread.records import Sha256
from retread.wheel import zipwriter
from retread.wheel.members import Member
from retread.wheel.ziparchive import Archive
from retread.wheel.zipwriter import Copied, Later, NewBytes, NewDeflated, NewFile, Source, Written

TEXT = b"print('a tyre')\n" * 50
NOISE = hashlib.shake_128(b"retread").digest(5000)


def members(folder: Path) -> list[Source]:
    """Return one member of every kind."""
    folder.mkdir(exist_ok=True)
    file = folder / "lib.so"
    file.write_bytes(TEXT * 100)
    noise = folder / "noise"
    noise.write_bytes(NOISE)
    deflated = zipwriter.deflate_file(file, folder / "lib.deflate")
    return [
        NewBytes(name="pkg/ü.py", content=TEXT),
        NewBytes(name="pkg/small.py", content=b"a" * 63, executable=True),
        NewBytes(name="pkg/noise", content=NOISE),
        NewBytes(name="pkg/empty", content=b""),
        NewFile(name="pkg/lib.so", path=file, executable=True),
        NewFile(name="pkg/noise.bin", path=noise),
        NewDeflated(name="pkg/lib2.so", path=folder / "lib.deflate", deflated=deflated, executable=True),
    ]


def contents() -> dict[str, bytes]:
    texts = {"pkg/ü.py": TEXT, "pkg/small.py": b"a" * 63, "pkg/noise": NOISE, "pkg/empty": b""}
    return texts | {"pkg/lib.so": TEXT * 100, "pkg/noise.bin": NOISE, "pkg/lib2.so": TEXT * 100}


def write(folder: Path, date_time: int = 1_700_000_001) -> tuple[Path, Written]:
    path = folder / "out.whl"
    return path, zipwriter.write(path, members(folder), date_time=date_time)


def test_what_is_written_is_what_is_reported(tmp_path: Path) -> None:
    path, written = write(tmp_path)
    assert written.size == path.stat().st_size
    with Archive(path) as archive, zipfile.ZipFile(path) as other:
        raw = archive.scan().raw
        assert written.scan == archive.scan()
        assert {one.name: archive.read(one.name) for one in archive.entries} == contents()
        assert {name: other.read(name) for name in other.namelist()} == contents()
        assert list(raw.items()) == [(one.name, one.raw_sha256) for one in written.members]
        for one, entry in zip(written.members, archive.entries, strict=True):
            keys = ("name", "method", "crc", "size", "compressed_size", "executable")
            assert [getattr(one, key) for key in keys] == [getattr(entry, key) for key in keys]
            assert one.sha256 == hashlib.sha256(contents()[one.name]).hexdigest()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["lib.deflate", "lib.so", "noise", "out.whl"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_headers_say_nothing_of_this_machine(tmp_path: Path) -> None:
    path, _ = write(tmp_path)
    with zipfile.ZipFile(path) as archive:
        for one in archive.infolist():
            executable = one.filename.endswith((".so", "small.py"))
            assert one.date_time == (2023, 11, 14, 22, 13, 20)
            assert one.external_attr >> 16 == stat.S_IFREG | (0o755 if executable else 0o644)
            assert (one.create_system, one.create_version, one.extra, one.comment) == (3, 20, b"", b"")
            assert one.flag_bits == (0 if one.filename.isascii() else 0x800)
            stored = one.filename in ("pkg/small.py", "pkg/noise", "pkg/empty", "pkg/noise.bin")
            assert one.compress_type == (zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, (1980, 1, 1, 0, 0, 0)), (-(10**15), (1980, 1, 1, 0, 0, 0)), (10**15, (2107, 12, 31, 23, 59, 58))],
)
def test_times_that_no_zip_can_hold_are_clamped(
    tmp_path: Path, epoch: int, expected: tuple[int, ...]
) -> None:
    path, _ = write(tmp_path, epoch)
    with zipfile.ZipFile(path) as archive:
        assert {one.date_time for one in archive.infolist()} == {expected}


def test_same_members_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, first = write(tmp_path / "one")
    before = os.umask(0o077)
    try:
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "Pacific/Kiritimati")
            time.tzset()
            path, second = write(tmp_path / "a longer name")
    finally:
        os.umask(before)
        time.tzset()
    assert (first.members, first.scan.sha256) == (second.members, second.scan.sha256)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    # Bytes that changed here change every published digest: the format, or zlib, is no longer the same.
    if zlib.ZLIB_RUNTIME_VERSION == "1.2.13":
        assert (
            hashlib.sha256(path.read_bytes()).hexdigest()
            == "d9c6f1b821814c16d91426cf33bdc26d9673798aae6656ed1d947b6e6f3a352b"
        )


def test_raw_copies_keep_their_compressed_bytes(tmp_path: Path) -> None:
    base = tmp_path / "base.whl"
    with zipfile.ZipFile(base, "w") as other:
        other.writestr("a", TEXT, zipfile.ZIP_DEFLATED, compresslevel=1)
        other.writestr("b", NOISE)
    with Archive(base) as archive:
        facts = [_member(archive, name) for name in ("a", "b")]
        sources = [Copied(name=f"new/{one.name}", archive=archive, member=one) for one in facts]
        written = zipwriter.write(base, sources, date_time=0)
        assert written.members == tuple(structs.replace(one, name=f"new/{one.name}") for one in facts)
    with Archive(base) as archive:
        assert b"".join(archive.raw_chunks(archive.by_name["new/a"])) == _deflate(TEXT, 1)
        assert archive.read("new/b") == NOISE


def _deflate(data: bytes, level: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def _member(archive: Archive, name: str) -> Member:
    entry = archive.by_name[name]
    return Member(
        name=name,
        method=entry.method,
        crc=entry.crc,
        size=entry.size,
        compressed_size=entry.compressed_size,
        sha256=Sha256(hashlib.sha256(archive.read(name)).hexdigest()),
        raw_sha256=archive.scan().raw[name],
        executable=entry.executable,
    )


def test_zip64_is_written_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipwriter, "_WIDE", 2000)
    monkeypatch.setattr(zipwriter, "_MANY", 3)
    path, _ = write(tmp_path)
    with Archive(path) as archive, zipfile.ZipFile(path) as other:
        assert {one.name: archive.read(one.name) for one in archive.entries} == contents()
        assert {name: other.read(name) for name in other.namelist()} == contents()
        assert [bool(one.extra) for one in other.infolist()] == [False, False, True, True, True, True, True]
    subprocess.run(["unzip", "-tqq", path], check=True)


def test_zip64_starts_at_the_first_number_that_does_not_fit(tmp_path: Path) -> None:
    _, written = write(tmp_path)
    for size, wide in ((0xFFFFFFFE, False), (0xFFFFFFFF, True)):
        member = structs.replace(written.members[1], size=size)
        assert (b"\1\0\x10\0" in zipwriter.local_header(member, (0, 33))) is wide
        assert (b"\1\0\x08\0" in zipwriter.central_header(member, (0, 33), 0)) is wide
        assert (zipwriter.central_header(written.members[1], (0, 33), size)[6] == 45) is wide
        assert (len(zipwriter.end_records(1, 1, size)) == 98) is wide
    assert [len(zipwriter.end_records(count, 1, 1)) for count in (0xFFFE, 0xFFFF)] == [22, 98]


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["../x"], "member '../x': its name has an empty, '.' or '..' component"),
        (["a", "a"], "member 'a': occurs twice"),
        (["a", "a/b"], "member 'a/b': lies in 'a', which is a file"),
        (["a/"], "member 'a/': is a folder"),
    ],
)
def test_bad_names_are_refused(tmp_path: Path, names: list[str], fault: str) -> None:
    with pytest.raises(WheelError) as caught:
        zipwriter.write(tmp_path / "x.whl", [NewBytes(name=name, content=b"") for name in names], date_time=0)
    assert fault in caught.value.message
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = members(tmp_path / "in")
    (tmp_path / "in" / "lib.deflate").write_bytes(b"cut")
    out = tmp_path / "out"
    out.mkdir()
    (out / "x.whl").write_bytes(b"old")
    with pytest.raises(WheelError, match=r"member 'pkg/lib2\.so': its source gave 3 compressed bytes"):
        zipwriter.write(out / "x.whl", sources, date_time=0)
    with pytest.raises(FileNotFoundError):
        zipwriter.write(out / "x.whl", [NewFile(name="a", path=tmp_path / "gone")], date_time=0)
    monkeypatch.setattr(zipwriter, "central_header", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        zipwriter.write(out / "x.whl", sources, date_time=0)
    assert [one.name for one in out.iterdir()] == ["x.whl"]
    assert (out / "x.whl").read_bytes() == b"old"


def _interrupt(*_: object) -> bytes:
    raise KeyboardInterrupt


def test_full_disk_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipwriter, "end_records", full)
    with pytest.raises(StoreError, match="the disk is full"):
        zipwriter.write(tmp_path / "x.whl", [NewBytes(name="a", content=b"")], date_time=0)
    assert not list(tmp_path.iterdir())


def test_copies_that_are_not_as_stated_are_refused(tmp_path: Path) -> None:
    path, written = write(tmp_path)
    with Archive(path) as archive:
        wrong = structs.replace(written.members[0], crc=1)
        source = Copied(name="a", archive=archive, member=wrong)
        with pytest.raises(WheelError, match=r"member 'a': is not in out\.whl as stated"):
            zipwriter.write(tmp_path / "x.whl", [source], date_time=0)


def test_disks_that_the_kernel_cannot_copy_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = write(tmp_path)
    expected = path.read_bytes()

    def across(*_: object) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", across)
    path, _ = write(tmp_path)
    assert path.read_bytes() == expected


def test_small_files_one_after_the_other_are_each_their_own(tmp_path: Path) -> None:
    contents = {f"{number}.bin": os.urandom(200 + number) for number in range(4)}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    files = [NewFile(name=name, path=tmp_path / name) for name in contents]
    zipwriter.write(tmp_path / "out.whl", files, date_time=0)
    with Archive(tmp_path / "out.whl") as archive:
        assert {one.name: archive.read(one.name) for one in archive.entries} == contents


def test_a_later_member_is_made_once_and_beside_what_is_copied_before_it(tmp_path: Path) -> None:
    asked = []
    last = Later("pkg/z.json", lambda: asked.append(1) or b"{}" * 99)  # type: ignore[func-returns-value]
    path = tmp_path / "out.whl"
    written = zipwriter.write(path, [*members(tmp_path / "in"), last], date_time=0)
    with Archive(path) as archive:
        assert archive.read("pkg/z.json") == last.content == b"{}" * 99
    assert written.scan.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert asked == [1]


def test_blocks_deflated_side_by_side_do_not_depend_on_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "large"
    source.write_bytes(bytes(range(256)) * (9 << 12) + b"the rest")
    found = set()
    for cores in ({0}, {0, 1, 2, 3}):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: cores)
        found.add(zipwriter.deflate_file(source, tmp_path / "deflated"))
        assert zlib.decompress((tmp_path / "deflated").read_bytes(), -15) == source.read_bytes()
    assert len(found) == 1
