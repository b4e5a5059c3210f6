"""What a wheel holds: every library is read, every byte is checked, and what is known is not read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from retread.elf import library as elf
from retread.errors import ElfError, FatbinError, WheelError
from retread.wheel import contents
from retread.wheel.contents import Known
from tinycuda import DATA, INFO, LIBRARY, WHEEL, make_wheel, names, wheel_files


def _wheel(folder: Path, **changes: bytes) -> Path:
    files = wheel_files() | changes
    (folder / WHEEL).write_bytes(make_wheel(files))
    return folder / WHEEL


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a/_C.so", True), ("a/_C.cpython-311-x86_64-linux-gnu.so", True), ("a/libx.so.12", True),
     ("a/so.py", False), ("a.so/readme.txt", False), ("a/_C.so.py", True)],
)  # fmt: skip
def test_libraries_are_told_by_their_name(name: str, expected: bool) -> None:
    assert contents.is_library(name) is expected


def test_a_wheel_is_read_whole(tmp_path: Path, scratch: Path) -> None:
    facts, verified = contents.examine(_wheel(tmp_path), scratch)
    assert (facts.project, facts.version, facts.requires) == ("tinycuda", "1.0", ("torch>=2.8",))
    assert facts.members == len(wheel_files()) + 1 == len(verified.members)
    assert facts.libraries[LIBRARY] == elf.read(DATA / "libadd.so")
    assert facts.statement is None
    assert not names(scratch)


def test_what_is_known_by_its_bytes_is_not_read_again(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = _wheel(tmp_path)
    facts, verified = contents.examine(wheel, scratch)
    raw = {member.name: member.raw_sha256 for member in verified.members}
    known = Known(verified.members, {raw[LIBRARY]: facts.libraries[LIBRARY]})
    monkeypatch.setattr(elf, "read", lambda path: pytest.fail(f"read again: {path}"))
    assert contents.examine(wheel, scratch, known) == (facts, verified)


def test_a_library_that_is_none_is_refused_by_its_member_name(tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(ElfError, match=r"tinycuda-_C\.so|tinycuda/_C\.so"):
        contents.examine(_wheel(tmp_path, **{LIBRARY: b"not ELF at all" * 10}), scratch)
    assert not names(scratch)


def test_a_corrupt_fat_binary_is_refused(tmp_path: Path, scratch: Path) -> None:
    library = bytearray((DATA / "libadd.so").read_bytes())
    at = library.index(bytes.fromhex("50ed55ba"))
    library[at + 8 : at + 16] = (1 << 40).to_bytes(8, "little")
    with pytest.raises((FatbinError, ElfError), match=r"_C\.so"):
        contents.examine(_wheel(tmp_path, **{LIBRARY: bytes(library)}), scratch)
    assert not names(scratch)


def test_a_statement_that_is_not_retread_s_is_refused(tmp_path: Path, scratch: Path) -> None:
    wheel = _wheel(tmp_path, **{f"{INFO}/retread.json": b'{"schema": 1}'})
    with pytest.raises(WheelError, match=r"retread\.json is not retread's"):
        contents.examine(wheel, scratch)
    twice = _wheel(tmp_path, **{f"{INFO}/retread.json": b'{"schema": 1, "tool": "a", "tool": "b"}'})
    with pytest.raises(WheelError, match=r"retread\.json is not retread's: 'tool' is there twice"):
        contents.examine(twice, scratch)
