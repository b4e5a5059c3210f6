"""Wheels: what they say must be what they hold, and what is written from them must install everywhere."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile

from retread.errors import WheelError
from retread.records import Sha256
from retread.wheel import metadata, wheelfile, zipwriter
from retread.wheel.wheelfile import Verified, Wheel
from retread.wheel.ziparchive import Archive, Entry
from retread.wheel.zipwriter import NewBytes, NewDeflated, NewFile, Source

NAME = "demo_pkg-1.0-py3-none-any.whl"
INFO = "demo_pkg-1.0.dist-info"
LIBRARY = hashlib.shake_128(b"so").digest(40_000) + bytes(40_000)
FILES = {
    "demo_pkg/__init__.py": b"ANSWER = 42\n" * 9,
    "demo_pkg/_C.so": LIBRARY,
    "demo_pkg-1.0.data/scripts/demo": b"#!python\nprint('demo')\n",
    f"{INFO}/METADATA": b"Metadata-Version: 2.1\nName: Demo.Pkg\nVersion: 1.0\nRequires-Dist: torch==2.8\n\n",
    f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n\n",
}
Change = Callable[[dict[str, bytes]], object]


def record(files: dict[str, bytes], folder: str = INFO) -> bytes:
    rows = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(data)}\n")
    return "".join([*rows, f"{folder}/RECORD,,\n"]).encode()


def build(folder: Path, change: Change | None = None, late: Change | None = None, name: str = NAME) -> Path:
    """Write the wheel with zipfile; ``change`` is applied before RECORD is made, ``late`` after."""
    files = dict(FILES)
    if change:
        change(files)
    files[f"{INFO}/RECORD"] = record(files)
    if late:
        late(files)
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for one, data in files.items():
            info = zipfile.ZipInfo(one, (2024, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o100755 if one.endswith((".so", "/demo")) else 0o100644) << 16
            archive.writestr(info, data)
    return folder / name


def patch(base: Path, folder: Path) -> Path:
    """Write the wheel anew as 1.0+cu128.1 with another requirement and a changed module."""
    with Wheel(base) as wheel:
        name = wheel.name.with_version("1.0+cu128.1")
        text = metadata.set_requirement(metadata.set_version(wheel.metadata, name.version), "torch==2.9.0")
        info = f"{name.stem}.dist-info"
        new = [
            NewBytes(name=f"{info}/METADATA", content=text.encode()),
            NewBytes(name="demo_pkg/__init__.py", content=b"ANSWER = 43\n" * 9),
        ]
        taken = {one.name for one in new}
        copies = wheelfile.copies(wheel, wheel.verify(), stem=name.stem)
        sources = wheelfile.sealed([*(one for one in copies if one.name not in taken), *new], info)
        folder.mkdir(exist_ok=True)
        zipwriter.write(folder / name.file_name, sources, date_time=1_700_000_000)
        return folder / name.file_name


def test_verify_says_what_the_wheel_holds(tmp_path: Path) -> None:
    path = build(tmp_path, lambda files: files.update({f"{INFO}/RECORD.jws": b"signed"}))
    with Wheel(path) as wheel:
        verified = wheel.verify()
        assert (wheel.name.project, wheel.dist_info) == ("demo-pkg", INFO)
        assert wheel.text("RECORD").endswith(f"{INFO}/RECORD,,\n")
    assert verified.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert verified.size == path.stat().st_size
    library = next(one for one in verified.members if one.name == "demo_pkg/_C.so")
    assert (library.sha256, library.size) == (hashlib.sha256(LIBRARY).hexdigest(), len(LIBRARY))
    assert library.executable
    assert msgspec.json.decode(msgspec.json.encode(verified), type=Verified) == verified


def test_known_members_are_not_inflated_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Wheel(build(tmp_path / "a")) as wheel:
        known = wheel.verify().members
    inflated: list[str] = []
    chunks = Archive.chunks

    def watched(self: Archive, entry: Entry) -> object:
        inflated.append(entry.name)
        return chunks(self, entry)

    path = build(tmp_path / "b", lambda files: files.update({"demo_pkg/__init__.py": b"new"}))
    with Wheel(path) as wheel:
        monkeypatch.setattr(Archive, "chunks", watched)
        verified = wheel.verify(known)
        # RECORD twice: once for its digest, once for its text.
        assert sorted(inflated) == [f"{INFO}/RECORD", f"{INFO}/RECORD", "demo_pkg/__init__.py"]
        monkeypatch.undo()
        assert verified == wheel.verify()


def test_known_bytes_under_a_header_that_lies_are_inflated_and_refused(tmp_path: Path) -> None:
    path = build(tmp_path)
    with Wheel(path) as wheel:
        known = wheel.verify().members
    crc = next(one.crc for one in known if one.name == "demo_pkg/_C.so").to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(crc, b"\0\1\2\3"))
    with Wheel(path) as wheel, pytest.raises(WheelError, match=r"member 'demo_pkg/_C\.so': content has CRC"):
        wheel.verify(known)


def test_what_was_hashed_while_it_was_written_is_not_read_again_unless_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Wheel(build(tmp_path)) as base:
        known = base.verify().members
        path = tmp_path / "out" / base.path.name
        path.parent.mkdir()
        sources = wheelfile.sealed(wheelfile.copies(base, base.verify()), INFO)
        written = zipwriter.write(path, sources, date_time=0)
    read: list[int] = []
    pieces = Archive.pieces

    def watched(self: Archive, offset: int, length: int) -> object:
        read.append(length)
        return pieces(self, offset, length)

    with Wheel(path) as wheel:
        at = wheel.archive.by_name["demo_pkg/_C.so"].data_offset + 9
        whole = wheel.verify(known)
        monkeypatch.setattr(Archive, "pieces", watched)
        assert wheel.verify(known, scan=written.scan) == whole
        assert sum(read) < wheel.archive.size / 10
        monkeypatch.undo()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    os.utime(path, (0, 0))
    with Wheel(path) as wheel, pytest.raises(WheelError, match=r"member 'demo_pkg/_C\.so'"):
        wheel.verify(known, scan=written.scan)


def _without(name: str) -> Change:
    return lambda files: files.pop(name)


def _with(name: str, data: bytes) -> Change:
    return lambda files: files.update({name: data})


def _swap(name: str, old: bytes, new: bytes) -> Change:
    return lambda files: files.update({name: files[name].replace(old, new)})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            lambda files: [files.pop(f"{INFO}/{one}") for one in ("METADATA", "WHEEL")],
            "'{INFO}/METADATA': is missing",
        ),
        (_without(f"{INFO}/WHEEL"), f"member '{INFO}/WHEEL': is missing"),
        (_with("other-1.0.dist-info/METADATA", b""), "has 2 .dist-info folders, not one"),
        (_with("other-1.0.data/scripts/x", b""), "'other-1.0.data': is not named after demo_pkg-1.0"),
        (_with("plain.data/x", b""), "'plain.data': is named after no release"),
        (
            _swap(f"{INFO}/METADATA", b"Demo.Pkg", b"Domo"),
            "METADATA: Name is 'domo', the file name says 'demo-pkg'",
        ),
        (_swap(f"{INFO}/METADATA", b"Version: 1.0", b"Version: 1.1"), "METADATA: Version is '1.1', the file"),
        (_swap(f"{INFO}/METADATA", b"Name", b"Mane"), "whl: METADATA states Name 0 times"),
        (_swap(f"{INFO}/METADATA", b"Demo", b"\xff"), "METADATA': is not UTF-8 text"),
        (
            _swap(f"{INFO}/WHEEL", b"-any", b"-linux_x86_64"),
            "WHEEL: Tag is 'py3-none-linux_x86_64', the file",
        ),
        (_swap(f"{INFO}/WHEEL", b"Tag", b"Build: 1\nTag"), "WHEEL: Build is '1', the file name says ''"),
        (_swap(f"{INFO}/WHEEL", b": 1.0", b": 2.0"), "whl: WHEEL has Wheel-Version 2.0"),
    ],
)
def test_statements_that_disagree_are_refused(tmp_path: Path, change: Change, fault: str) -> None:
    with pytest.raises(WheelError) as caught:
        Wheel(build(tmp_path, change))
    assert fault.replace("{INFO}", INFO) in str(caught.value)
    assert caught.value.message.startswith(NAME)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["demo_pkg-1.1-py3-none-any.whl", "other-1.0-py3-none-any.whl"])
def test_folder_of_another_release_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(WheelError, match=r"member 'demo_pkg-1\.0\.data': is not named after"):
        Wheel(build(tmp_path, name=name))


def test_wheel_without_dist_info_is_refused(tmp_path: Path) -> None:
    path = tmp_path / NAME
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("demo_pkg/__init__.py", "")
    with pytest.raises(WheelError, match=r"has 0 \.dist-info folders, not one"):
        Wheel(path)


@pytest.mark.parametrize(
    ("late", "fault"),
    [
        (_with("demo_pkg/__init__.py", b"ANSWER = 41\n" * 9), "'demo_pkg/__init__.py': RECORD states sha256"),
        (_with("demo_pkg/__init__.py", b""), "RECORD states 108 bytes, the wheel holds 0"),
        (_with("demo_pkg/more.py", b""), "RECORD does not list 'demo_pkg/more.py'"),
        (_without("demo_pkg/__init__.py"), "RECORD lists 'demo_pkg/__init__.py', which is not in the wheel"),
        (_without(f"{INFO}/RECORD"), "RECORD': is missing"),
    ],
)
def test_records_that_disagree_are_refused(tmp_path: Path, late: Change, fault: str) -> None:
    with Wheel(build(tmp_path, late=late)) as wheel, pytest.raises(WheelError) as caught:
        wheel.verify()
    assert fault in str(caught.value)


def test_many_faults_are_cut_short(tmp_path: Path) -> None:
    path = build(tmp_path, late=lambda files: files.update({f"x{number}": b"" for number in range(30)}))
    with Wheel(path) as wheel, pytest.raises(WheelError) as caught:
        wheel.verify()
    assert len(caught.value.faults) == 21
    assert caught.value.faults[-1] == "... and 10 more"


def test_patched_wheel_verifies_and_keeps_the_rest(tmp_path: Path) -> None:
    base = build(tmp_path, lambda files: files.update({f"{INFO}/RECORD.p7s": b"signed"}))
    path = patch(base, tmp_path / "out")
    assert path.name == "demo_pkg-1.0+cu128.1-py3-none-any.whl"
    with Wheel(path) as wheel, Wheel(base) as old:
        before = {one.name: one.raw_sha256 for one in old.verify().members}
        after = {one.name: one.raw_sha256 for one in wheel.verify().members}
        assert metadata.requirements(wheel.metadata) == ("torch==2.9.0",)
    info = "demo_pkg-1.0+cu128.1.dist-info"
    assert list(after) == [
        "demo_pkg-1.0+cu128.1.data/scripts/demo",
        "demo_pkg/_C.so",
        "demo_pkg/__init__.py",
        *(f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD")),
    ]
    assert after["demo_pkg/_C.so"] == before["demo_pkg/_C.so"]
    assert after[f"{info}/WHEEL"] == before[f"{INFO}/WHEEL"]


def test_every_source_can_be_sealed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(LIBRARY)
    deflated = zipwriter.deflate_file(file, tmp_path / "deflated")
    texts = {name: data for name, data in FILES.items() if not name.endswith(".so")}
    sources = [NewBytes(name=name, content=data) for name, data in texts.items()]
    more: list[Source] = [
        NewFile(name="demo_pkg/_C.so", path=file),
        NewDeflated(name="demo_pkg/_D.so", path=tmp_path / "deflated", deflated=deflated),
    ]
    zipwriter.write(tmp_path / NAME, wheelfile.sealed([*sources, *more], INFO), date_time=0)
    with Wheel(tmp_path / NAME) as wheel:
        facts = {one.name: one.sha256 for one in wheel.verify().members}
    assert facts["demo_pkg/_C.so"] == facts["demo_pkg/_D.so"] == Sha256(hashlib.sha256(LIBRARY).hexdigest())


def test_installer_and_unzip_take_the_patched_wheel(tmp_path: Path) -> None:
    path = patch(build(tmp_path), tmp_path / "out")
    subprocess.run(["unzip", "-tqq", path], check=True)
    target = {kind: str(tmp_path / kind) for kind in ("purelib", "platlib", "headers", "scripts", "data")}
    with WheelFile.open(path) as source:
        source.validate_record(validate_contents=True)
        install(source, SchemeDictionaryDestination(target, sys.executable, "posix"), {})
    _check_installed(tmp_path / "purelib")
    assert os.access(tmp_path / "purelib/demo_pkg/_C.so", os.X_OK)


def _check_installed(folder: Path) -> None:
    assert (folder / "demo_pkg/__init__.py").read_bytes() == b"ANSWER = 43\n" * 9
    assert (folder / "demo_pkg/_C.so").read_bytes() == LIBRARY
    text = (folder / "demo_pkg-1.0+cu128.1.dist-info/METADATA").read_text()
    assert "Version: 1.0+cu128.1\nRequires-Dist: torch==2.9.0\n" in text
