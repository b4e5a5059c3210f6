"""Base wheels that no one should take: refused by the build and by whoever looks into them, with nothing left."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from io import BytesIO

import pytest

from retread.doors.store import Kind
from tinycuda import (
    FILES,
    INFO,
    METADATA,
    OPS,
    WHEEL,
    Project,
    make_wheel,
    record,
    wheel_files,
    zip_bytes,
)


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (lambda text: text.replace(b"sha256=", b"sha256=A", 1), "RECORD states sha256"),
        (lambda text: re.sub(rb",(\d+)\n", rb",1\1\n", text, count=1), "bytes, the wheel holds"),
        (lambda text: text.split(b"\n", 1)[1], "RECORD does not list"),
        (lambda text: b"ghost.py,sha256=AA,1\n" + text, "RECORD lists 'ghost.py', which is not in the wheel"),
        (lambda text: text + text.split(b"\n")[0] + b"\n", "twice"),
        (lambda text: b"", "RECORD does not list"),
    ],
)
def test_a_record_that_lies_is_refused(project: Project, lie: Callable[[bytes], bytes], words: str) -> None:
    files = wheel_files()
    project.publish(wheel=zip_bytes({**files, f"{INFO}/RECORD": lie(record(files))}))
    project.fails(9, "RECORD does not describe the wheel", words, room=Kind.BASES)


def _twice(data: bytes) -> bytes:
    out = BytesIO(data)
    with zipfile.ZipFile(out, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(OPS, b"EVIL = 1\n")
    return out.getvalue()


def _named(name: str) -> Callable[[bytes], bytes]:
    return lambda data: zip_bytes({**wheel_files(), name: b"evil"})


def _linked(data: bytes) -> bytes:
    return zip_bytes({**wheel_files(), "tinycuda/link": b"/etc/passwd"}, {"tinycuda/link": 0o120777})


def _bomb(data: bytes) -> bytes:
    return zip_bytes({**wheel_files(), "tinycuda/bomb": bytes(4 << 20)}, level=9)


def _sized(data: bytes) -> bytes:
    """Return the wheel with another size of ops.py in both of its headers."""
    size = len(FILES[OPS]).to_bytes(4, "little")
    assert data.count(size) >= 2
    return data.replace(size, (len(FILES[OPS]) - 1).to_bytes(4, "little"))


HOSTILE = {
    "duplicate": (_twice, "occurs twice"),
    "absolute": (_named("/etc/evil"), "its name is an absolute path"),
    "dots": (_named("tinycuda/../../evil"), "'..' component"),
    "drive": (_named("C:/evil"), "its name is an absolute path"),
    "link": (_linked, "is a symbolic link"),
    "bomb": (_bomb, "over 300 times"),
    "sizes": (_sized, f"member '{OPS}': "),
    "truncated": (lambda data: data[:-100], "is truncated"),
    "in front": (lambda data: b"#!/bin/sh\n" + data, "the central directory should end at"),
    "behind": (lambda data: data + b"more", "4 bytes behind the end of the archive"),
    "no zip": (lambda data: b"<html>not found</html>" * 9, "is not a zip archive"),
    "empty": (lambda data: b"", "is not a zip archive"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_archive_that_is_no_plain_wheel_is_refused_everywhere(project: Project, name: str) -> None:
    spoil, words = HOSTILE[name]
    data = spoil(make_wheel(wheel_files()))
    project.publish(wheel=data)
    project.fails(9, f"retread: wheel: {WHEEL}: ", words, room=Kind.BASES)
    (project.root / WHEEL).write_bytes(data)
    for command in ("inspect", "audit"):
        result = project.run(command, WHEEL)
        assert result.code == 9, result
        assert words in result.err
        assert result.out == ""
    assert project.leftovers() == []


@pytest.mark.parametrize(
    ("metadata", "code", "words"),
    [
        (METADATA.replace("1.0\n", "1.1\n"), 9, "METADATA: Version is '1.1', the file name says '1.0'"),
        (METADATA.replace("tinycuda", "other"), 9, "METADATA: Name is 'other'"),
        (
            METADATA.replace("torch>=2.8", "torch==2.6"),
            8,
            "requires another torch than the target's 'torch>=2.8': its METADATA says 'torch==2.6'",
        ),
        ("Name: tinycuda\n", 9, "METADATA states Metadata-Version 0 times"),
    ],
)
def test_metadata_that_says_something_else_is_refused(
    project: Project, metadata: str, code: int, words: str
) -> None:
    project.publish_wheel(lambda files: files.update({f"{INFO}/METADATA": metadata.encode()}))
    project.fails(code, words)
