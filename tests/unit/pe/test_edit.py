"""A Windows library with other fat binaries: sound to another reader and else as it was, or refused and untouched."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

import gpucode
from pefiles import DLL, OPTIONAL, TABLE, grafted, header, offset, patched
from retread.binary import files
from retread.errors import FatbinError, PeError
from retread.pe import edit, library

WRAPPERS = offset(b".nvFatBi")


@pytest.mark.parametrize("modules", [(0, 1, 2), (1,)])
def test_modules_get_code_and_all_else_stays(tmp_path: Path, modules: tuple[int, ...]) -> None:
    path = grafted(tmp_path, *modules)
    before, after = library.read(tmp_path / "old.dll"), library.read(path)
    assert sorted(one.sass for one in after.modules) == sorted(
        ("8.0", "9.0a", "10.0") if index in modules else ("8.0", "9.0a") for index in range(3)
    )
    assert (after.needed, after.undefined) == (before.needed, before.undefined)
    old, new, moved = DLL, path.read_bytes(), library.fat_binaries(tmp_path / "old.dll")
    differ = {at for at in range(len(old)) if old[at] != new[at]}
    gone = {
        at for index in modules for at in range(moved[index].offset, moved[index].offset + moved[index].size)
    }
    pointers = {at for one in (0, 24, 56) for at in range(WRAPPERS + one + 8, WRAPPERS + one + 16)}
    pointers |= set(range(offset(b".data"), offset(b".data") + 8))
    room = TABLE + 40 * 7
    headers = {OPTIONAL - 18, *range(OPTIONAL + 8, OPTIONAL + 12), *range(OPTIONAL + 56, OPTIONAL + 60)}
    headers |= {*range(OPTIONAL + 64, OPTIONAL + 68), *range(room, room + 40)}
    assert differ <= gone | pointers | headers
    assert not any(new[at] for at in gone)


def test_every_wrapper_points_to_its_module_wherever_it_is_loaded(tmp_path: Path) -> None:
    found = library.load(grafted(tmp_path, 0, 2))
    starts = [edit.address(found, one.offset) for one in edit.fat_binaries(found)]
    assert sorted(target for _, _, target in edit.wrappers(found)) == sorted(starts)


def test_the_same_input_gives_the_same_output(tmp_path: Path) -> None:
    first = grafted(tmp_path, 0, 1, 2).read_bytes()
    assert grafted(tmp_path, 0, 1, 2).read_bytes() == first


@pytest.mark.parametrize("size", [1, 2, 3, 70_000, 65_535])
def test_the_checksum_of_any_bytes_is_the_sum_of_their_words(size: int) -> None:
    data = bytes((index * 7 + 3) % 256 for index in range(size))
    words = data + bytes(len(data) % 2)
    total = sum(struct.unpack(f"<{len(words) // 2}H", words))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    parts = [range(size // 3), data[size // 3 : size // 2], range(size // 2, size)]
    assert edit.checksum(memoryview(data), parts, size) == total + size


BASE = struct.unpack_from("<Q", DLL, OPTIONAL + 24)[0]
SIGNED = OPTIONAL + 112 + 4 * 8
RELOC = offset(b".reloc")
FULL = [(OPTIONAL + 60, "<I", TABLE + 40 * 7)]
FAULTS = {
    "signed": (patched((SIGNED, "<I", 0x5C00), (SIGNED + 4, "<I", 8)), r"is signed \(Authenticode\), and no signature"),
    "integrity": (patched((OPTIONAL + 70, "<H", 0x1E0)), r"is signed \(Authenticode\)"),
    "arm64": (patched((OPTIONAL - 20, "<H", 0xAA64)), "is for aarch64; only libraries of 64-bit Windows on x86-64"),
    "no room": (patched(*FULL), r"its headers have no room for another section \(at 0x2a0\)"),
    "used room": (patched((TABLE + 40 * 7 + 8, "<I", 1)), "its headers have no room for another section"),
    "gap": (patched((header(b".reloc") + 12, "<I", 0xD000)), r"section \.reloc is at 0xd000, not at 0xb000"),
    "memory": (patched((OPTIONAL + 56, "<I", 0xD000)), "says that it takes 53248 bytes of memory, its sections take"),
    "alignment": (patched((OPTIONAL + 36, "<I", 500)), "its sections are aligned to 4096 and 500"),
    "cut": (DLL[:-1], "it is cut short"),
    "no relocation": (
        patched((RELOC + 20, "<H", 0)), "the wrapper at 0x8000 has no base relocation, so that its pointer cannot be"
    ),
    "stripped": (patched((OPTIONAL - 2, "<H", 0x222F)), "the wrapper at 0x8000 has no base relocation"),
    "no wrapper": (
        patched((WRAPPERS, "<Q", 0), (WRAPPERS + 8, "<Q", 0)),
        r"no wrapper in section \.nvFatBi points to the fat binary at 0x3000",
    ),
    "no section of wrappers": (
        DLL.replace(b".nvFatBi", b".others\0"), r"no wrapper in section \.nvFatBi points to the fat binary"
    ),
    "version 2": (patched((WRAPPERS + 4, "<I", 2)), r"is of version 2 \(relocatable device code\), which cannot"),
    "foreign wrapper": (patched((WRAPPERS, "<I", 7)), "section .nvFatBi holds something else than wrappers, at 0x0"),
    "inside": (
        patched((offset(b".data"), "<Q", BASE + 0x3008)), "the word at 0x2000 points into a fat binary"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "told"), FAULTS.values(), ids=FAULTS.keys())
def test_what_cannot_be_edited_safely_is_refused(tmp_path: Path, data: bytes, told: str) -> None:
    with pytest.raises(PeError, match=f"old.dll: .*{told}"):
        grafted(tmp_path, 0, 1, 2, data=data)
    with pytest.raises(PeError, match=f"old.dll: .*{told}"):  # and before anybody has made new code
        library.demand_editable(tmp_path / "old.dll", modules=range(3))
    assert [one.name for one in tmp_path.iterdir()] == ["old.dll"]


def test_a_library_for_32_bits_is_not_edited(tmp_path: Path) -> None:
    (tmp_path / "x.dll").write_bytes(gpucode.windows(gpucode.PLAIN, machine=0x14C))
    with pytest.raises(
        PeError, match="is for i686; only libraries of 64-bit Windows on x86-64 can be edited"
    ):
        library.edit(tmp_path / "x.dll", tmp_path / "y.dll", fatbins={0: gpucode.PLAIN})


def test_what_is_asked_for_has_to_make_sense(tmp_path: Path) -> None:
    path, new = tmp_path / "x.dll", tmp_path / "y.dll"
    path.write_bytes(DLL)
    for options, told in (
        ({"run_path": ("$ORIGIN",)}, "is a Windows library, and these have no run path"),
        ({"fatbins": {3: gpucode.PLAIN}}, "has 3 fat binaries, none with index [3]"),
        ({"fatbins": {0: gpucode.PLAIN * 2}}, "what should replace module 0 is not one fat binary"),
    ):
        with pytest.raises((PeError, FatbinError), match=re.escape(told)):
            files.library(path).edit(path, new, **options)  # type: ignore[arg-type]
    assert not new.exists()
