"""Comparisons: from the same bytes to a different function, and what people are told of it."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from pefiles import DLL, OPTIONAL, patched
from retread.elf import difference, fatbin
from retread.errors import WheelError
from retread.wheel.comparison import Comparison, Tier, What, compare
from tinycuda import DATA, INFO, LIBRARY, OPS, WHEEL, make_wheel, record, wheel_files, zip_bytes

NATIVE = "tinycuda/_native.so"
STATEMENT = f"{INFO}/retread.json"
SOURCE = """\
__asm__(".ident \\"{ident}\\"");
static const int table[] = {{1, {value}, 3}};
const char kernel[] = "_ZN36_GLOBAL__N__{path}_4_k_cu_287106df1kEv";
static int {local}(int x) {{ return (x ^ {factor}) + table[x & 1]; }}
int first(int x) {{ return x + 1; }}
int second(int x) {{ return {local}(x); }}
"""
ADD_TEXT = 0x480
"""Where ``.text.add_one`` of add.sm_90a.cubin starts."""


Compare = Callable[[bytes, bytes], Comparison]


@pytest.fixture(name="compared")
def _compared(tmp_path: Path) -> Compare:
    def run(first: bytes, second: bytes) -> Comparison:
        paths = [tmp_path / name / WHEEL for name in ("one", "two")]
        for path, data in zip(paths, (first, second), strict=True):
            path.parent.mkdir()
            path.write_bytes(data)
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        found = compare(*paths, scratch)
        assert list(scratch.iterdir()) == []
        assert [side.file for side in (found.first, found.second)] == [WHEEL, WHEEL]
        return found

    return run


def built(tmp_path: Path, *flags: str, **values: object) -> bytes:
    """Return a library that gcc made."""
    source, library = tmp_path / "code.c", tmp_path / "code.so"
    usual = {"ident": "one", "value": 2, "local": "helper", "factor": 7, "path": "01234567"}
    source.write_text(SOURCE.format(**{**usual, **values}))
    line = ["gcc", "-shared", "-fPIC", "-O1", "-fno-inline", "-nostdlib", "-Wl,--build-id", *flags]
    subprocess.run([*line, "-o", library, source], check=True)
    return library.read_bytes()


def wheel(**changes: bytes) -> bytes:
    """Return a wheel with its usual library, and with other files by name."""
    return make_wheel({**wheel_files(), **changes})


def told(found: Comparison) -> list[tuple[str, What, str, bool]]:
    return [(one.member, one.kind, one.detail, one.runs) for one in found.differences]


def with_library(data: bytes) -> bytes:
    return wheel(**{NATIVE: data})


def test_the_same_bytes_are_identical(compared: Compare) -> None:
    found = compared(wheel(), wheel())
    assert (found.tier, found.differences) == (Tier.IDENTICAL, ())
    assert found.first == found.second


def test_only_the_archive_differs(compared: Compare) -> None:
    files = wheel_files()
    files[f"{INFO}/RECORD"] = record(files)
    turned = dict(reversed(files.items()))
    found = compared(zip_bytes(files), zip_bytes(turned, modes={OPS: 0o100755}, level=9))
    assert found.tier is Tier.SAME_CONTENTS
    assert {(one.kind, one.runs) for one in found.differences} == {(What.ARCHIVE, False)}
    packed, mode, order = (one.detail for one in found.differences)
    assert packed.startswith("compression of ")
    assert LIBRARY in packed
    assert (mode, order) == (f"executable bit of {OPS}", "order")


def test_only_times_differ(compared: Compare, tmp_path: Path) -> None:
    later = tmp_path / "later.zip"
    with zipfile.ZipFile(later, "w") as archive:
        files = wheel_files()
        for name, data in {**files, f"{INFO}/RECORD": record(files)}.items():
            info = zipfile.ZipInfo(name, (2025, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o100755 if name.endswith(".so") else 0o100644) << 16
            archive.writestr(info, data, compresslevel=1)
    found = compared(wheel(), later.read_bytes())
    assert found.tier is Tier.SAME_CONTENTS
    assert told(found) == [("", What.ARCHIVE, "times, attributes or folders", False)]


def test_a_changed_line_is_named_and_record_is_not(compared: Compare) -> None:
    changed = wheel_files()[OPS].replace(b"VALUE_17 = 17", b"VALUE_17 = 18")
    found = compared(wheel(), wheel(**{OPS: changed}))
    assert found.tier is Tier.DIFFERENT
    assert told(found) == [(OPS, What.CONTENT, "from line 17 on", True)]


def test_line_ends_and_bytes_count(compared: Compare) -> None:
    found = compared(
        wheel(**{"tinycuda/a.py": b"A = 1\n", "tinycuda/b.bin": b"\0\xff" + bytes(5000)}),
        wheel(**{"tinycuda/a.py": b"A = 1\r\n", "tinycuda/b.bin": b"\0\xff" + bytes(4998) + b"\1\0\0"}),
    )
    assert told(found) == [
        ("tinycuda/a.py", What.CONTENT, "from line 1 on", True),
        ("tinycuda/b.bin", What.CONTENT, "5002 and 5003 bytes, differ from byte 5000", True),
    ]


def test_missing_members_are_named(compared: Compare) -> None:
    files = wheel_files()
    del files[OPS]
    found = compared(wheel(), make_wheel({**files, "tinycuda/more.py": b""}))
    assert found.tier is Tier.DIFFERENT
    assert told(found) == [("tinycuda/more.py", What.SECOND, "", True), (OPS, What.FIRST, "", True)]


def test_record_alone_is_named(compared: Compare) -> None:
    files = wheel_files()
    rows = record(files).splitlines(keepends=True)
    found = compared(wheel(), make_wheel(files, **{f"{INFO}/RECORD": b"".join(reversed(rows))}))
    assert told(found) == [(f"{INFO}/RECORD", What.CONTENT, "from line 1 on", True)]


def test_a_wheel_that_is_not_sound_is_refused(compared: Compare) -> None:
    with pytest.raises(WheelError, match="RECORD does not describe"):
        compared(wheel(), make_wheel(wheel_files(), **{OPS: b"other"}))


STATED = {
    "tool": "retread 1",
    "series": [{"name": "a", "sha256": "1"}],
    "libraries": {"a/_C.so": {"modules": 1}},
}


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        ({"tool": "retread 2"}, "tool"),
        ({"series": [{"name": "a", "sha256": "2"}, {}]}, "series[0].sha256, series[1]"),
        ({"libraries": {"a/_C.so": {"modules": True}}}, 'libraries["a/_C.so"].modules'),
        ({"more": None}, "more"),
    ],
)
def test_values_of_the_statement_are_named(
    compared: Compare, change: Mapping[str, object], keys: str
) -> None:
    first, second = (json.dumps(one).encode() for one in (STATED, {**STATED, **change}))
    found = compared(wheel(**{STATEMENT: first}), wheel(**{STATEMENT: second}))
    assert found.tier is Tier.DIFFERENT
    assert told(found) == [(STATEMENT, What.CONTENT, keys, True)]


def test_the_spelling_of_the_statement_changes_nothing(compared: Compare) -> None:
    first, second = json.dumps(STATED).encode(), json.dumps(STATED, indent=1, sort_keys=True).encode()
    found = compared(wheel(**{STATEMENT: first}), wheel(**{STATEMENT: second}))
    assert found.tier is Tier.SAME_CODE
    assert [one.runs for one in found.differences] == [False]


def test_what_does_not_run_may_differ(compared: Compare, tmp_path: Path) -> None:
    found = compared(
        with_library(built(tmp_path, "-g")),
        with_library(built(tmp_path, "-g", ident="the other", local="hilfer")),
    )
    assert found.tier is Tier.SAME_CODE
    assert {(one.member, one.kind, one.runs) for one in found.differences} == {(NATIVE, What.SECTION, False)}
    names = {one.detail.split()[0] for one in found.differences}
    assert {".comment", ".note.gnu.build-id", ".strtab"} <= names
    assert all(name.startswith((".comment", ".note.", ".strtab", ".symtab", ".debug")) for name in names)


def test_a_library_for_windows_is_compared_by_its_parts(compared: Compare) -> None:
    name = "tinycuda/_C.pyd"
    found = compared(wheel(**{name: DLL}), wheel(**{name: patched((OPTIONAL + 64, "<I", 7))}))  # its checksum
    assert found.tier is Tier.SAME_CODE
    assert told(found) == [(name, What.SECTION, "places in the file, or times", False)]


def test_stripping_changes_no_code(compared: Compare, tmp_path: Path) -> None:
    found = compared(with_library(built(tmp_path)), with_library(built(tmp_path, "-s")))
    assert found.tier is Tier.SAME_CODE
    assert (NATIVE, What.SECTION, ".symtab only in first", False) in told(found)


def test_a_different_function_is_named(compared: Compare, tmp_path: Path) -> None:
    found = compared(with_library(built(tmp_path)), with_library(built(tmp_path, factor=5)))
    assert found.tier is Tier.DIFFERENT
    assert [one.detail for one in found.differences if one.kind is What.SYMBOL] == [".text: helper"]
    assert [one.detail.split()[0] for one in found.differences if one.runs] == [".text", ".text:"]


def test_different_data_is_named(compared: Compare, tmp_path: Path) -> None:
    found = compared(with_library(built(tmp_path)), with_library(built(tmp_path, value=9)))
    assert found.tier is Tier.DIFFERENT
    assert [one.detail for one in found.differences if one.kind is What.SYMBOL] == [".rodata: table"]


def test_names_that_nvcc_made_up_may_differ(compared: Compare, tmp_path: Path) -> None:
    found = compared(with_library(built(tmp_path)), with_library(built(tmp_path, path="89abcdef")))
    assert found.tier is Tier.SAME_CODE
    assert (NATIVE, What.SECTION, ".rodata (names that nvcc made up)", False) in told(found)


def test_what_the_loader_is_told_counts(compared: Compare, tmp_path: Path) -> None:
    """An executable stack changes no section."""
    found = compared(with_library(built(tmp_path)), with_library(built(tmp_path, "-Wl,-z,execstack")))
    assert found.tier is Tier.DIFFERENT
    assert (NATIVE, What.SECTION, "ELF header or program headers", True) in told(found)


def test_loaded_bytes_outside_of_sections_count(compared: Compare, tmp_path: Path) -> None:
    data = bytearray(built(tmp_path))
    at, size = _program_header(data, kind=1)  # the first segment ends after its last section
    struct.pack_into("<2Q", data, at + 32, size + 16, size + 16)
    other = bytearray(data)
    other[size + 8] ^= 0xFF
    found = compared(with_library(bytes(data)), with_library(bytes(other)))
    assert found.tier is Tier.DIFFERENT
    assert told(found) == [(NATIVE, What.SECTION, "loaded bytes between the sections", True)]


def _program_header(data: bytes, kind: int) -> tuple[int, int]:
    """Return where the first program header of a kind stands, and the size of its segment in the file."""
    offset, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    at = next(
        at for at in range(offset, offset + 56 * count, 56) if struct.unpack_from("<I", data, at) == (kind,)
    )
    return at, struct.unpack_from("<Q", data, at + 32)[0]


@pytest.mark.parametrize("damage", [b"\x7fELF", b"\x7fELF\x02\x01" + bytes(200)])
def test_what_is_no_sound_library_is_compared_by_bytes(compared: Compare, damage: bytes) -> None:
    found = compared(with_library(damage), with_library(damage + b"\xff"))
    assert found.tier is Tier.DIFFERENT
    assert [(one.member, one.kind) for one in found.differences] == [(NATIVE, What.CONTENT)]


# Fat binaries. libadd.so has four modules: LZ4, zstd, plain, plain, each with sm_80, PTX for sm_80, and sm_90a.


def cuda(change: Callable[[bytearray, int], None], module: int = 2) -> bytes:
    """Return a wheel whose library has one module changed; ``change`` gets the bytes and where the module starts."""
    data = bytearray((DATA / "libadd.so").read_bytes())
    start = -1
    for _ in range(module + 1):
        start = data.index(struct.pack("<I", 0xBA55ED50), start + 1)
    change(data, start)
    return wheel(**{LIBRARY: bytes(data)})


def in_cubin(offset: int) -> Callable[[bytearray, int], None]:
    """Return what changes one byte of the sm_90a cubin of a module that is not compressed."""

    def change(data: bytearray, start: int) -> None:
        data[data.index((DATA / "add.sm_90a.cubin").read_bytes(), start) + offset] ^= 1

    return change


def test_a_different_kernel_is_named(compared: Compare) -> None:
    found = compared(wheel(), cuda(in_cubin(ADD_TEXT + 8)))
    assert found.tier is Tier.DIFFERENT
    detail = "module 2, machine code for sm_90a: .text.add_one (384 bytes)"
    assert told(found) == [(LIBRARY, What.CUBIN, detail, True)]


def test_debug_information_of_a_kernel_may_differ(compared: Compare) -> None:
    found = compared(wheel(), cuda(in_cubin(0x328 + 8)))
    assert found.tier is Tier.SAME_CODE
    detail = "module 2, machine code for sm_90a: .debug_frame (104 bytes)"
    assert told(found) == [(LIBRARY, What.CUBIN, detail, False)]


@pytest.mark.parametrize(
    ("offset", "what"), [(48, "ELF header"), (0x268 + 2 * 24 + 8, "symbols"), (40, "bytes")]
)
def test_the_rest_of_a_cubin_counts(compared: Compare, offset: int, what: str) -> None:
    found = compared(wheel(), cuda(in_cubin(offset)))
    assert found.tier is Tier.DIFFERENT
    assert any(what in one.detail and one.runs for one in found.differences)


def test_every_byte_of_what_a_kernel_is_counts() -> None:
    data = (DATA / "add.sm_90a.cubin").read_bytes()
    running = (".text.add_one", ".nv.constant0.add_one", ".nv.info", ".nv.info.add_one", ".nv.callgraph")
    file = ELFFile(io.BytesIO(data))
    for name in running:
        section = file.get_section_by_name(name)
        for at in range(section["sh_offset"], section["sh_offset"] + section["sh_size"], 7):
            other = bytes([*data[:at], data[at] ^ 1, *data[at + 1 :]])
            details = list(difference._cubin(data, other, difference.Names()))
            assert [(detail.split()[0], runs) for detail, runs in details] == [(name, True)]


MADE_UP = b"_ZN34_INTERNAL_%s_4_k_cu_287106df3tabE"
PTX = (
    b"// made by hand\n.version 8.7\n\t.loc 1 5 3\n.local .b8 x;\n.global .b8 NAME[1];\nld NAME;\nst OTHER;\n"
)
RENAMED = {b"NAME": MADE_UP % b"01234567", b"OTHER": MADE_UP % b"89abcdef"}


def named(text: bytes, **names: bytes) -> bytes:
    """Return PTX with its names filled in."""
    for old, new in {**RENAMED, **{key.encode(): MADE_UP % value for key, value in names.items()}}.items():
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (named(PTX.replace(b".loc 1 5", b".loc 1 6")), ("comments or lines of the source", False)),
        (named(PTX.replace(b"by hand", b"by foot")), ("comments or lines of the source", False)),
        (named(PTX.replace(b".local", b".locaL")), ("from line 4 on", True)),
        (named(PTX + b"ret;"), ("from line 8 on", True)),
        (named(PTX.replace(b"st OTHER;", b"")), ("from line 7 on", True)),
        (named(PTX, NAME=b"aaaaaaaa", OTHER=b"bbbbbbbb"), ("names that nvcc made up", False)),
        (named(PTX, NAME=b"89abcdef", OTHER=b"01234567"), ("names that nvcc made up", False)),
        (named(PTX, NAME=b"aaaaaaaa", OTHER=b"aaaaaaaa"), ("from line 7 on", True)),
        (named(PTX.replace(b"ld NAME", b"ld OTHER")), ("from line 6 on", True)),
    ],
)
def test_ptx_is_compared_by_its_code(second: bytes, told: tuple[str, bool]) -> None:
    assert list(difference._ptx(named(PTX) + b"\0", second, difference.Names())) == [told]


def test_ptx_of_a_module_is_named(compared: Compare) -> None:
    def change(data: bytearray, start: int) -> None:
        at = data.index(b".target sm_80", start)
        data[at : at + 13] = b".target sm_75"

    found = compared(wheel(), cuda(change))
    assert found.tier is Tier.DIFFERENT
    ((_, kind, detail, _),) = told(found)
    assert (kind, detail.rpartition(" line ")[0]) == (What.CUBIN, "module 2, PTX for sm_80: from")


def test_other_architectures_are_named(compared: Compare) -> None:
    def change(data: bytearray, start: int) -> None:
        struct.pack_into("<I", data, start + 16 + 28, 86)

    found = compared(wheel(), cuda(change))
    assert [(detail, runs) for _, _, detail, runs in told(found)] == [
        ("module 2, machine code for sm_80 only in first", True),
        ("module 2, machine code for sm_86 only in second", True),
    ]


def test_compression_changes_no_code() -> None:
    (one,) = fatbin.parse((DATA / "lz4.fatbin").read_bytes(), where="one")
    (two,) = fatbin.parse((DATA / "zstd.fatbin").read_bytes(), where="two")
    assert list(difference.modules([one], [two], difference.Names())) == [
        ("module 0: order or packing", False)
    ]
    assert next(difference.modules([one], [two, two], difference.Names())) == ("1 and 2 modules", True)
