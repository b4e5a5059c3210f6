"""What a wheel holds: every library is read, every byte is checked, and what is known is not read again."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpucode
from retread.binary import files as elf
from retread.errors import ElfError, FatbinError, WheelError
from retread.wheel import contents
from retread.wheel.contents import Known
from retread.wheel.facts import WheelFacts
from retread.wheel.ziparchive import Archive, Entry
from tinycuda import DATA, INFO, LIBRARY, METADATA, WHEEL, make_wheel, names, record, wheel_files


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


def test_nothing_that_a_wheel_holds_is_inflated_twice(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inflated, chunks = Counter[str](), Archive.chunks

    def counted(self: Archive, entry: Entry) -> Iterator[bytes]:
        inflated[entry.name] += 1
        return chunks(self, entry)

    wheel = _wheel(tmp_path)
    monkeypatch.setattr(Archive, "chunks", counted)
    facts, verified = contents.examine(wheel, scratch)
    assert facts.libraries[LIBRARY].modules
    assert {name: inflated[name] for name in wheel_files() if INFO not in name} == dict.fromkeys(
        (name for name in wheel_files() if INFO not in name), 1
    )

    inflated.clear()
    contents.examine(wheel, scratch, Known(verified.members))
    assert {name: count for name, count in inflated.items() if INFO not in name} == {LIBRARY: 1}

    inflated.clear()
    monkeypatch.setattr(Archive, "scan", lambda _: pytest.fail("hashed member by member"))
    assert contents.facts(wheel, scratch) == facts
    assert {count for name, count in inflated.items() if INFO not in name} == {1}


def test_what_is_known_by_its_bytes_is_not_read_again(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = _wheel(tmp_path)
    facts, verified = contents.examine(wheel, scratch)
    raw = {member.name: member.raw_sha256 for member in verified.members}
    known = Known(verified.members, {raw[LIBRARY]: facts.libraries[LIBRARY]})
    monkeypatch.setattr(elf, "read", lambda path, **_: pytest.fail(f"read again: {path}"))
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


def _facts(folder: Path, scratch: Path, name: str = WHEEL, **files: bytes) -> WheelFacts:
    (folder / name).write_bytes(make_wheel(wheel_files() | files))
    facts = contents.facts(folder / name, scratch, lenient=True)
    assert not names(scratch)
    return facts


def test_a_wrong_statement_about_itself_hides_nothing_of_the_rest(tmp_path: Path, scratch: Path) -> None:
    sound = _facts(tmp_path, scratch)
    old = wheel_files()[f"{INFO}/WHEEL"]
    for changes, check, told in (
        ({f"{INFO}/WHEEL": old.replace(b"manylinux_2_17", b"linux")}, "wheel", "WHEEL: Tag is"),
        ({f"{INFO}/WHEEL": b"nonsense"}, "wheel", "is no 'Field: value'"),
        (
            {f"{INFO}/METADATA": METADATA.encode().replace(b"\nVersion: 1.0", b"\nVersion: 1.1")},
            "metadata",
            "Version is '1.1'",
        ),
        (
            {f"{INFO}/METADATA": METADATA.encode().replace(b"\nVersion", b"\nGranted\nVersion")},
            "metadata",
            "'Field: value'",
        ),
        ({f"{INFO}/retread.json": b"{}"}, "statement", "is not retread's"),
        ({f"{INFO}/entry_points.txt": b"[console_scripts]\nx\n"}, "entry points", "'x' is no 'name = value'"),
        ({f"{INFO}/entry_points.txt": b"\xff"}, "entry points", "is not UTF-8"),
    ):
        found = _facts(tmp_path, scratch, **changes)
        assert [one.check for one in found.faults] == [check], changes
        assert told in found.faults[0].detail
        assert found.libraries == sound.libraries
        if check in ("wheel", "metadata", "statement"):
            with pytest.raises(WheelError):
                contents.examine(tmp_path / WHEEL, scratch)


def test_a_record_that_lies_is_noted_line_by_line(tmp_path: Path, scratch: Path) -> None:
    lies = record(wheel_files() | {"tinycuda/none.py": b"", "tinycuda/version.py": b"other"})
    (tmp_path / WHEEL).write_bytes(make_wheel(wheel_files(), **{f"{INFO}/RECORD": lies}))
    facts = contents.facts(tmp_path / WHEEL, scratch, lenient=True)
    assert [(one.check, one.subject) for one in facts.faults] == [("record", WHEEL)] * 2
    told = "\n".join(one.detail for one in facts.faults)
    assert "'tinycuda/version.py': RECORD states 5 bytes" in told
    assert "'tinycuda/none.py', which is not in the wheel" in told
    assert facts.libraries


def test_every_member_is_looked_into_or_named(tmp_path: Path, scratch: Path) -> None:
    facts = _facts(
        tmp_path, scratch,
        **{
            "tinycuda/libx.so": b"INPUT(libx.so.1)\n", "tinycuda/x.so.LICENSE": b"MIT", "tinycuda/x.py": b"",
            "tinycuda/skel.so": gpucode.elf(3, 164, bits=1), "tinycuda/data.zip": b"PK\3\4" + bytes(40),
            "tinycuda/_C.pyd": gpucode.windows(gpucode.PLAIN), "tinycuda/plugin.node": gpucode.LIBRARY,
            "tinycuda/k.cubin": gpucode.ADD90, "tinycuda/k.bin": gpucode.PLAIN, "tinycuda/k.ptx": gpucode.PTX,
            "tinycuda/libk.a": gpucode.archive(a=gpucode.elf(1, 62, gpucode.PLAIN)), "bad.cubin": gpucode.ADD90[:99],
        },
    )  # fmt: skip
    assert set(facts.libraries) == {LIBRARY, "tinycuda/_C.pyd", "tinycuda/plugin.node"}
    assert {name: one.kind for name, one in facts.code.items()} == {
        "tinycuda/k.cubin": "cubin",
        "tinycuda/k.bin": "fat binary", "tinycuda/k.ptx": "PTX", "tinycuda/libk.a": "archive",
    }  # fmt: skip
    assert {name: len(one.modules) for name, one in facts.code.items()} == dict.fromkeys(facts.code, 1)
    assert facts.unread == {
        "bad.cubin": "section headers leave the file (offset 0x818, 64 bytes)",
        "tinycuda/data.zip": "a zip archive",
        "tinycuda/libx.so": "a linker script",
        "tinycuda/skel.so": "an ELF file of 32 bits",
    }


def test_a_strong_hash_in_record_is_checked(tmp_path: Path, scratch: Path) -> None:
    for kind, sound in (("sha512", True), ("sha384", True), ("sha512", False), ("md5", False)):
        data = _with_hashes(kind, b"" if sound or kind == "md5" else b"other")
        (tmp_path / WHEEL).write_bytes(data)
        facts = contents.facts(tmp_path / WHEEL, scratch, lenient=True)
        assert (not facts.faults) is sound, facts.faults


def _with_hashes(kind: str, more: bytes) -> bytes:
    """Return the wheel with other hashes in RECORD, of its files with ``more`` behind them."""
    files = wheel_files()
    record = "".join(
        f"{name},{kind}={base64.urlsafe_b64encode(hashlib.new(kind, data + more).digest()).rstrip(b'=').decode()},"
        f"{len(data)}\n"
        for name, data in files.items()
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(f"{INFO}/RECORD", f"{record}{INFO}/RECORD,,\n")
    return out.getvalue()


def test_a_version_may_be_spelled_in_two_ways(tmp_path: Path, scratch: Path) -> None:
    """1.0 and 1.0.0 are one version; the file's name says which spelling is the wheel's."""
    facts = contents.facts(_spelled(tmp_path, "1.0.0"), scratch)
    assert (facts.version, facts.faults) == ("1.0.0", ())
    with pytest.raises(WheelError, match=r"is not named after tinycuda-1\.0\.1"):
        contents.examine(_spelled(tmp_path, "1.0.1"), scratch)


def _spelled(folder: Path, version: str) -> Path:
    path = folder / WHEEL.replace("-1.0-", f"-{version}-")
    path.write_bytes(make_wheel(wheel_files()))
    return path
