"""Two builds of one Windows library: what describes may differ, what is loaded is named, code is compared by kernel."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pefiles import DLL, OPTIONAL, SM100, grafted, offset, patched
from retread.binary import difference
from retread.errors import PeError
from retread.pe import library

CHECKSUM = (OPTIONAL + 64, "<I", 7)
LINKED = (OPTIONAL - 16, "<I", 7)
SIGNED = ((OPTIONAL + 112 + 32, "<I", len(DLL)), (OPTIONAL + 112 + 36, "<I", 8))
NONE = [("section", "places in the file, or times", False)]


def compared(folder: Path, *libraries: bytes) -> list[tuple[str, str, bool]]:
    paths = [folder / f"{at}.dll" for at in range(2)]
    for path, data in zip(paths, libraries, strict=True):
        path.write_bytes(data)
    assert difference.comparable(*paths)
    return [(str(one.part), one.detail, one.runs) for one in difference.compare(*paths)]


DATA = offset(b".data")
CASES = {
    "checksum and time": (patched(CHECKSUM, LINKED), NONE),
    "signature": (patched(*SIGNED) + b"signed!!", [("section", "the signature", False)]),
    "behind": (DLL + b"more", [("section", "bytes behind the sections", True)]),
    "stub": (patched((64, "<I", 7)), [("section", "header: what is for DOS, or tells of the linker", False)]),
    "stack": (patched((OPTIONAL + 72, "<Q", 1 << 20)), [("section", "header: subsystem and memory", True)]),
    "rules": (patched((OPTIONAL + 70, "<H", 0)), [("section", "header: characteristics", True)]),
    "code": (patched((offset(b".text") + 4, "<I", 7)), [("section", ".text (", True)]),
    "data": (patched((DATA + 8, "<I", 0x55)), [("section", ".data (", True)]),
    "exports' time": (
        patched((offset(b".edata") + 4, "<I", 0x1234567)), [("section", ".edata (times, debug information, or", False)]
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "wanted"), CASES.values(), ids=CASES.keys())
def test_what_differs_is_named_and_what_only_describes_is_told_apart(
    tmp_path: Path, changed: bytes, wanted: list[tuple[str, str, bool]]
) -> None:
    found = compared(tmp_path, DLL, changed)
    assert [(part, runs) for part, _, runs in found] == [(part, runs) for part, _, runs in wanted]
    assert all(detail.startswith(start) for (_, detail, _), (_, start, _) in zip(found, wanted, strict=True))


@pytest.mark.parametrize("modules", [(0, 1, 2), (0, 2)])
def test_a_grafted_library_has_one_image_more_and_the_pointers_to_it_are_the_same(
    tmp_path: Path, modules: tuple[int, ...]
) -> None:
    found = compared(tmp_path, DLL, grafted(tmp_path, *modules).read_bytes())
    assert [one for one in found if one[2]] == [
        ("cubin", f"module {at}, machine code for sm_100 only in second", True) for at in modules
    ]
    assert {detail for _, detail, runs in found if not runs} == {
        f"{name} (times, debug information, or where fat binaries lie)" for name in (".data", ".nvFatBi")
    }


def test_the_same_code_elsewhere_is_the_same(tmp_path: Path) -> None:
    one = grafted(tmp_path, 0, 1, 2)
    again = {module.index: bytes(module.data) for module in library.fat_binaries(one)}
    library.edit(one, tmp_path / "again.dll", fatbins=again)
    found = compared(tmp_path, one.read_bytes(), (tmp_path / "again.dll").read_bytes())
    assert [one for one in found if one[2]] == []


def test_another_kernel_is_named_by_module_and_architecture(tmp_path: Path) -> None:
    one = grafted(tmp_path, 0, 1, 2).read_bytes()
    at = one.rindex(SM100) + SM100.index(b".text.")
    other = bytearray(one)
    other[at + 6] ^= 1
    found = compared(tmp_path, one, bytes(other))
    assert found[0][2]
    assert {(part, detail.partition(": ")[0]) for part, detail, _ in found} == {
        ("cubin", "module 2, machine code for sm_100")
    }


def test_a_wrapper_of_another_module_runs_other_code(tmp_path: Path) -> None:
    at = offset(b".nvFatBi")
    changed = patched((at + 8, "<Q", struct.unpack_from("<Q", DLL, at + 32)[0]))
    assert ("section", ".nvFatBi (80 bytes)", True) in compared(tmp_path, DLL, changed)


def test_a_library_of_another_format_has_no_parts_in_common(tmp_path: Path) -> None:
    (tmp_path / "a.dll").write_bytes(DLL)
    (tmp_path / "b.so").write_bytes(b"\x7fELF")
    assert not difference.comparable(tmp_path / "a.dll", tmp_path / "b.so")
    (tmp_path / "b.so").write_bytes(DLL[:-1])
    with pytest.raises(PeError, match="cut short"):
        difference.compare(tmp_path / "a.dll", tmp_path / "b.so")
