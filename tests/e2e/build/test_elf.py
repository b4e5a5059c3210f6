"""Shared objects: what they hold, and edited copies that load, strip and read like the original."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retread.arch import Arch
from retread.elf import fatbin, library
from retread.errors import ElfError, FatbinError

DATA = Path(__file__).parents[2] / "data" / "fatbin"
LIBRARIES = ("libadd.so", "libadd-relr.so", "libadd-rpath.so", "libadd-aarch64.so")
NATIVE = tuple(name for name in LIBRARIES if "aarch64" not in name)
CUBIN = (DATA / "add.sm_100.cubin").read_bytes()

FOLLOW = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.wrappers.restype = ctypes.c_void_p
first = library.wrappers()
library.caller()
assert ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(library, "text"))) == b"kept"
for number in range(3):
    pointer = ctypes.c_uint64.from_address(first + 24 * number + 8).value
    size = 16 + ctypes.c_uint64.from_address(pointer + 8).value
    print(ctypes.string_at(pointer, size).hex())
"""


def _grafted(path: Path, arch: str = "10.0", cubin: bytes = CUBIN) -> dict[int, bytes]:
    return {one.index: fatbin.graft(one, {Arch(arch): cubin}) for one in library.fat_binaries(path)}


def _followed(path: Path) -> list[bytes]:
    """Return the fat binaries that the loader's relocations lead to, in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", FOLLOW, str(path)], capture_output=True, text=True, check=True
    )
    return [bytes.fromhex(line) for line in done.stdout.split()]


def _run(*line: str | Path) -> str:
    done = subprocess.run([str(part) for part in line], capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout


def test_read_says_what_a_library_holds_and_needs() -> None:
    facts = library.read(DATA / "libadd.so")
    assert (facts.machine, facts.needed, facts.run_path) == ("x86_64", ("libc.so.6",), ())
    assert (facts.versions, facts.undefined) == (("GLIBC_2.2.5",), ("getpid",))
    assert [(one.sass, one.ptx) for one in facts.modules] == [(("8.0", "9.0a"), ("8.0",))] * 4
    assert library.read(DATA / "libadd-rpath.so").run_path == ("/old/place",)
    assert library.read(DATA / "libadd-aarch64.so").machine == "aarch64"


@pytest.mark.parametrize("name", LIBRARIES)
def test_an_edited_library_reads_as_asked(name: str, tmp_path: Path) -> None:
    source, new = DATA / name, tmp_path / name
    library.edit(source, new, fatbins=_grafted(source), run_path=["$ORIGIN/../nvidia/cuda_runtime/lib", "/x"])
    before, after = library.read(source), library.read(new)
    assert after.run_path == ("$ORIGIN/../nvidia/cuda_runtime/lib", "/x")
    assert [one.sass for one in after.modules] == [("8.0", "9.0a", "10.0")] * 4
    assert (before.needed, before.versions, before.undefined) == (
        after.needed,
        after.versions,
        after.undefined,
    )
    assert new.stat().st_mode == source.stat().st_mode
    assert [bytes(one.data) for one in library.fat_binaries(new)] == list(_grafted(source).values())


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("strip", [(), ("strip",), ("strip", "--strip-debug")])
def test_the_loader_finds_the_new_fat_binaries(name: str, strip: tuple[str, ...], tmp_path: Path) -> None:
    source, new = DATA / name, tmp_path / name
    library.edit(source, new, fatbins=_grafted(source), run_path=["$ORIGIN/deeper/than/before"])
    if strip:
        _run(*strip, new)
    assert _followed(new) == list(_grafted(source).values())[:3]


@pytest.mark.parametrize("name", LIBRARIES)
def test_nothing_else_changes(name: str, tmp_path: Path) -> None:
    source, new = DATA / name, tmp_path / name
    library.edit(source, new, fatbins=_grafted(source))
    changed = {name for name, data in _sections(source).items() if _sections(new)[name] != data}
    assert changed <= {".nv_fatbin", ".nvFatBinSegment", ".rela.dyn", ".data", ".dynamic", ".symtab"}


def _sections(path: Path) -> dict[str, bytes]:
    """Return every section's bytes, read by somebody else's code."""
    with path.open("rb") as file:
        return {section.name: section.data() for section in ELFFile(file).iter_sections()}


@pytest.mark.parametrize("name", LIBRARIES)
def test_readelf_finds_no_fault_and_symbols_follow(name: str, tmp_path: Path) -> None:
    source, new = DATA / name, tmp_path / name
    library.edit(source, new, fatbins=_grafted(source), run_path=["/x"])
    _run("readelf", "-aW", new)
    starts = {
        line.split()[-1]: (int(line.split()[1], 16), int(line.split()[2]))
        for line in _run("readelf", "-sW", new).splitlines()
        if line.split()[-1:] in (["module0"], ["module1"], ["module2"], ["unused"])
    }
    (address,) = {
        int(line.split("]")[1].split()[2], 16)
        for line in _run("readelf", "-SW", new).splitlines()
        if " .nv_fatbin " in line
    }
    fatbins = library.fat_binaries(new)
    wanted = {(address + one.offset, one.size) for one in fatbins}
    assert len(wanted) == 4
    assert set(starts.values()) == wanted


def test_the_debug_file_of_an_edited_library_can_be_made(tmp_path: Path) -> None:
    new = tmp_path / "new.so"
    library.edit(DATA / "libadd.so", new, fatbins=_grafted(DATA / "libadd.so"), run_path=["/x"])
    _run("objcopy", "--only-keep-debug", new, tmp_path / "new.debug")
    with pytest.raises(ElfError, match="debug information only"):
        library.read(tmp_path / "new.debug")


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("strip", [False, True])
def test_an_edited_library_can_be_edited_again(name: str, strip: bool, tmp_path: Path) -> None:
    first, second, third = tmp_path / "1.so", tmp_path / "2.so", tmp_path / "3.so"
    library.edit(DATA / name, first, fatbins=_grafted(DATA / name))
    if strip:
        _run("strip", first)
    cubin = bytearray((DATA / "add.sm_80.cubin").read_bytes())
    cubin[48] = 89
    again = _grafted(first, "8.9", bytes(cubin))
    library.edit(first, second, fatbins=again, run_path=["/first"])
    library.edit(second, third, fatbins={1: again[1]}, run_path=["/a/longer/second"])
    for path in (second, third):
        _run("readelf", "-aW", path)
        assert [one.sass for one in library.read(path).modules] == [("8.0", "8.9", "9.0a", "10.0")] * 4
        assert _followed(path) == list(again.values())[:3]
    assert library.read(third).run_path == ("/a/longer/second",)


def test_one_module_can_be_replaced_alone(tmp_path: Path) -> None:
    source = DATA / "libadd.so"
    library.edit(source, tmp_path / "new.so", fatbins={1: _grafted(source)[1]})
    assert [len(one.sass) for one in library.read(tmp_path / "new.so").modules] == [2, 3, 2, 2]


def test_the_old_fat_binaries_leave_the_file(tmp_path: Path) -> None:
    source = DATA / "libadd.so"
    library.edit(source, tmp_path / "new.so", fatbins=_grafted(source))
    text = (tmp_path / "new.so").read_bytes()
    assert text.count((DATA / "add.sm_80.cubin").read_bytes()) == 4
    added = 4 * (len(CUBIN) + 96)
    assert (tmp_path / "new.so").stat().st_size < source.stat().st_size + added + 3 * 4096


@pytest.mark.parametrize("name", LIBRARIES)
def test_only_the_run_path(name: str, tmp_path: Path) -> None:
    new, same, none = tmp_path / "new.so", tmp_path / "same.so", tmp_path / "none.so"
    library.edit(DATA / name, new, run_path=["$ORIGIN"])
    _run("readelf", "-aW", new)
    assert "RPATH" not in _run("readelf", "-d", new)
    library.edit(new, same, run_path=["$ORIGIN"])
    assert same.read_bytes() == new.read_bytes()
    library.edit(new, none, run_path=[])
    assert (library.read(new).run_path, library.read(none).run_path) == (("$ORIGIN",), ())
    if name in NATIVE:
        assert _followed(new) == _followed(DATA / name)


def test_no_change_is_a_copy_and_the_same_edit_gives_the_same_bytes(tmp_path: Path) -> None:
    source, one, two = DATA / "libadd.so", tmp_path / "one.so", tmp_path / "two.so"
    library.edit(source, one)
    assert one.read_bytes() == source.read_bytes()
    for path in (one, two):
        library.edit(source, path, fatbins=_grafted(source), run_path=["/x"])
    assert one.read_bytes() == two.read_bytes()


def _patched(tmp_path: Path, *edits: tuple[bytes, int, bytes]) -> Path:
    """Return a copy of the small library with bytes changed, each at an offset from where a mark is found."""
    data = bytearray((DATA / "libadd.so").read_bytes())
    for mark, offset, new in edits:
        at = data.index(mark) + offset
        data[at : at + len(new)] = new
    (tmp_path / "patched.so").write_bytes(data)
    return tmp_path / "patched.so"


WRAPPER = struct.pack("<II", 0x466243B1, 1)
EXTRA = struct.pack("<QQ", 0xA008, 8)  # the relocation of the word "extra"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ((WRAPPER, 4, b"\2"), "wrapper 0 is of version 2"),
        ((WRAPPER, 0, b"\0"), "wrapper 0 has magic"),
        ((EXTRA, 16, b"\x20"), "points into a fat binary, not to its start"),
        ((struct.pack("<QQ", 0xA018, 8), 8, b"\x06"), "wrapper 0: no relocation"),
        ((b".nvFatBinSegment", 0, b"X"), "no section .nvFatBinSegment"),
        ((b".nvFatBinSegment", 0, b"__nv_relfatbin\0"), "relocatable device code"),
    ],
)
def test_what_is_not_understood_is_refused(
    edit: tuple[bytes, int, bytes], message: str, tmp_path: Path
) -> None:
    source = _patched(tmp_path, edit)
    new = tmp_path / "new.so"
    with pytest.raises(ElfError, match=message):
        library.edit(source, new, fatbins=_grafted(source))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["patched.so"]


def test_a_full_dynamic_section_is_refused(tmp_path: Path) -> None:
    data = bytearray((DATA / "libadd.so").read_bytes())
    at = data.index(struct.pack("<QQQQ", 0x6FFFFFF9, 4, 0, 0)) + 16
    count = 0
    while data[at : at + 16] == bytes(16):
        struct.pack_into("<QQ", data, at, 0x6FFFFEF0, 0)
        at, count = at + 16, count + 1
    struct.pack_into("<QQ", data, at - 16, 0, 0)
    (tmp_path / "full.so").write_bytes(data)
    assert count > 1
    with pytest.raises(ElfError, match="no free entry in the dynamic section"):
        library.edit(tmp_path / "full.so", tmp_path / "new.so", run_path=["/x"])


@pytest.mark.parametrize("name", ["add.ptx", "add.sm_80.cubin", "lz4.fatbin"])
def test_another_kind_of_file_is_refused(name: str) -> None:
    with pytest.raises(ElfError, match=name.replace(".", r"\.")):
        library.read(DATA / name)


def test_a_missing_or_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name, told in {"empty": "empty: is empty", "missing": "cannot be read"}.items():
        with pytest.raises(ElfError, match=told):
            library.read(tmp_path / name)


def test_unknown_modules_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FatbinError, match=r"has 4 fat binaries, none with index \[7\]"):
        library.edit(DATA / "libadd.so", tmp_path / "new.so", fatbins={7: b""})
    with pytest.raises(FatbinError, match="is not one fat binary"):
        library.edit(DATA / "libadd.so", tmp_path / "new.so", fatbins={0: b""})


def test_a_library_can_be_edited_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "libadd.so"
    shutil.copy(DATA / "libadd.so", path)
    library.edit(path, path, fatbins=_grafted(path))
    assert library.read(path).modules[0].sass == ("8.0", "9.0a", "10.0")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(LIBRARIES),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4),
    region=st.sampled_from(["head", "tail", "any"]),
)
def test_mutated_libraries_raise_only_our_errors(
    tmp_path: Path, name: str, edits: list[tuple[float, bytes]], region: str
) -> None:
    data = bytearray((DATA / name).read_bytes())
    low, high = {"head": (0, 0x3C0), "tail": (len(data) - 0x1000, len(data)), "any": (0, len(data))}[region]
    for where, new in edits:
        at = low + int(where * (high - low - 8))
        data[at : at + len(new)] = new
    path = tmp_path / "fuzz.so"
    path.write_bytes(data)
    try:
        library.read(path)
        library.edit(path, tmp_path / "new.so", fatbins={0: _grafted(DATA / name)[0]}, run_path=["/x"])
    except (ElfError, FatbinError):
        pass
