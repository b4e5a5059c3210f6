"""Tar archives: a damaged one is an error, and what Python would not unpack is caught."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from retread.doors import tar
from sdists import END, member, pax

WHOLE = member(b"a", b"1") + member(b"b", b"2")


def read(data: bytes) -> list[str]:
    with tar.opened(io.BytesIO(data)) as archive:
        return [one.name for one in archive]


@pytest.mark.parametrize("end", [END, b"", END + b"what nobody reads"])
def test_an_archive_is_read_to_its_end(end: bytes) -> None:
    assert read(WHOLE + end) == ["a", "b"]


@pytest.mark.parametrize(
    "more",
    [
        member(b"c", sum=b"000001\0 "),
        member(b"c", size=b"zzzzzzzzzzz"),
        member(b"c")[:300],
        b"text" * 128,
        2000 * pax((b"mtime", b"0")),
        pax((b"path", b"c")),
    ],
    ids=["checksum", "size", "cut", "no header", "many extensions", "nothing extended"],
)
def test_a_damaged_header_is_not_taken_for_the_end(more: bytes) -> None:
    with pytest.raises(tar.UNREADABLE):
        read(WHOLE + more + (END if len(more) != 300 else b""))


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [("../evil", tarfile.REGTYPE, ""), ("a", tarfile.SYMTYPE, "../evil"), ("a", tarfile.CHRTYPE, ""),
     ("a", tarfile.SYMTYPE, "/etc/passwd")],
)  # fmt: skip
def test_what_python_would_not_unpack_is_caught(tmp_path: Path, name: str, kind: bytes, target: str) -> None:
    tar.catch(tarfile.TarInfo("folder/file"), tmp_path)
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    with pytest.raises(tarfile.TarError):
        tar.catch(member, tmp_path)


@pytest.mark.parametrize(
    "name", [member(b"\xff\xfe"), pax((b"path", b"\xff"), (b"hdrcharset", b"BINARY")) + member(b"c")]
)
def test_a_name_that_is_no_unicode_is_refused(name: bytes) -> None:
    with pytest.raises(tarfile.ReadError, match="a name that is not UTF-8"):
        read(WHOLE + name + END)
