"""An entry comes out of a parcel as it went in, and nothing leads out of it."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
import zstandard

from retread import limits
from retread.errors import StoreError
from retread.shared import parcel


def entry(folder: Path) -> Path:
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "a.so").write_bytes(b"code" * 1000)
    (folder / "lib" / "b.so").hardlink_to(folder / "lib" / "a.so")
    (folder / "tool").write_bytes(b"#!/bin/sh\n")
    (folder / "tool").chmod(0o755)
    (folder / "link").symlink_to("lib/a.so")
    (folder / "away").symlink_to("/usr/bin/python3")
    (folder / "stamp.json").write_text("{}")
    os.utime(folder / "tool", ns=(10**18 + 5, 10**18 + 500))
    return folder


def test_an_entry_comes_out_as_it_went_in(tmp_path: Path) -> None:
    one, other = entry(tmp_path / "one"), tmp_path / "other"
    other.mkdir()
    sha256, size = parcel.pack(one, tmp_path / "parcel")
    assert size == (tmp_path / "parcel").stat().st_size
    assert len(sha256) == 64
    parcel.unpack(tmp_path / "parcel", other)
    assert (other / "lib" / "b.so").read_bytes() == b"code" * 1000
    assert (other / "tool").stat().st_mode & 0o777 == 0o755
    assert abs((other / "tool").stat().st_mtime - (one / "tool").stat().st_mtime) < 1e-3
    assert str((other / "away").readlink()) == "/usr/bin/python3"
    assert str((other / "link").readlink()) == "lib/a.so"
    assert not (other / "stamp.json").exists()


def packed(*members: tuple[tarfile.TarInfo, bytes], into: Path) -> Path:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    into.write_bytes(zstandard.compress(raw.getvalue()))
    return into


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ([(member("../out"), b"x")], "leads out of the parcel"),
        ([(member("/out"), b"x")], "leads out of the parcel"),
        ([(member("a/../../out"), b"x")], "leads out of the parcel"),
        ([(member("pipe", tarfile.FIFOTYPE), b"")], "neither a file, a folder nor a link"),
        ([(member("a", tarfile.LNKTYPE, "../out"), b"")], "leads out of the parcel"),
    ],
)
def test_nothing_leads_out_of_a_parcel(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], told: str
) -> None:
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(StoreError, match=told):
        parcel.unpack(packed(*members, into=tmp_path / "parcel"), into)
    assert list(into.iterdir()) == []


def test_no_file_is_written_through_a_link(tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    through = [(member("a", tarfile.SYMTYPE, str(tmp_path)), b""), (member("a/out"), b"x")]
    with pytest.raises((StoreError, OSError)):
        parcel.unpack(packed(*through, into=tmp_path / "parcel"), into)
    assert not (tmp_path / "out").exists()


def test_a_parcel_that_is_none_or_swells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    into = tmp_path / "into"
    into.mkdir()
    (tmp_path / "rubbish").write_bytes(b"not zstandard at all")
    with pytest.raises(StoreError, match="cannot be unpacked"):
        parcel.unpack(tmp_path / "rubbish", into)
    monkeypatch.setattr(limits, "UNPACKED", 100_000)
    with pytest.raises(StoreError, match="more than 100,000 bytes"):
        parcel.unpack(packed((member("a"), bytes(200_000)), into=tmp_path / "parcel"), into)
