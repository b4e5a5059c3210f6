"""Kernels by name: of machine code, packed or not, with symbols or without; of PTX, with comments or without."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retread.elf import fatbin, kernels
from retread.elf import image as ei
from retread.errors import ElfError, FatbinError

DATA = Path(__file__).parents[2] / "data" / "fatbin"
CUBINS = ("add.sm_80.cubin", "add.sm_90a.cubin", "add.sm_100.cubin")


@pytest.mark.parametrize("variant", ["plain", "lz4", "zstd"])
def test_every_image_of_a_module_names_its_kernels(variant: str) -> None:
    (one,) = fatbin.parse((DATA / f"{variant}.fatbin").read_bytes(), where="lib.so")
    assert [kernels.of_entry(entry)[:2] for entry in one.entries] == [(frozenset({"add_one"}), False)] * 3


@pytest.mark.parametrize("name", CUBINS)
def test_the_kernels_of_a_cubin_are_its_entry_points(name: str) -> None:
    assert kernels.of_cubin((DATA / name).read_bytes(), where="x").kernels == {"add_one"}


@pytest.mark.parametrize("name", CUBINS)
def test_a_cubin_without_symbols_is_read_by_its_sections(name: str) -> None:
    assert kernels.of_cubin(_without_symbols((DATA / name).read_bytes()), where="x").kernels == {"add_one"}


def test_a_cubin_without_sections_has_none() -> None:
    data = bytearray((DATA / "add.sm_80.cubin").read_bytes())
    data[40:48] = bytes(8)
    data[58:64] = bytes(6)
    assert kernels.of_cubin(bytes(data[: ei.EHDR.size]), where="x").kernels == frozenset()


def test_a_number_of_sections_beyond_16_bits_is_read() -> None:
    data = bytearray((DATA / "add.sm_80.cubin").read_bytes())
    (shoff,) = struct.unpack_from("<Q", data, 40)
    count, names = struct.unpack_from("<HH", data, 60)
    struct.pack_into("<HH", data, 60, 0, 0xFFFF)
    struct.pack_into("<Q", data, shoff + 32, count)
    struct.pack_into("<I", data, shoff + 40, names)
    assert kernels.of_cubin(bytes(data), where="x").kernels == {"add_one"}


def test_machine_code_that_must_be_linked_is_told_apart() -> None:
    data = bytearray((DATA / "add.sm_80.cubin").read_bytes())
    assert not kernels.is_relocatable(bytes(data))
    data[16] = 1
    assert kernels.is_relocatable(bytes(data))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", set()),
        (b".visible .func f()\n{ret;}", set()),
        (b".visible .entry _Z1kPi(\n.param .u64 p)\n{ret;}\n.weak .entry b$1()", {"_Z1kPi", "b$1"}),
        (b".version 8.7\n.entry a(){ret;}.entry\n\tb (){ret;}", {"a", "b"}),
        (b"// .entry x(\n/* .entry y( */ .entry z()", {"z"}),
        (b".entry_point q; call .entrya; .section .entry2 {}", set()),
    ],
)
def test_the_kernels_of_ptx_are_its_entries(text: bytes, expected: set[str]) -> None:
    assert kernels.of_ptx(text) == expected


def test_what_is_no_cubin_is_refused_with_its_place() -> None:
    data = bytearray((DATA / "plain.fatbin").read_bytes())
    at = data.index(b"\x7fELF")
    data[at : at + 4] = b"none"
    (one,) = fatbin.parse(bytes(data), where="lib.so")
    with pytest.raises(FatbinError, match=r"lib\.so: module 0, offset 0x10: no ELF file"):
        kernels.of_entry(one.entries[0])


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(CUBINS),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
    length=st.floats(0.5, 1),
)
def test_mutated_cubins_raise_nothing_but_elf_error(
    name: str, edits: list[tuple[float, bytes]], length: float
) -> None:
    data = bytearray((DATA / name).read_bytes())
    for where, new in edits:
        at = int(where * (len(data) - 8))
        data[at : at + len(new)] = new
    with contextlib.suppress(ElfError):
        kernels.of_cubin(bytes(data[: int(len(data) * length)]), where="fuzz")


def _without_symbols(data: bytes) -> bytes:
    """Return a cubin whose symbol table counts as something else."""
    found = bytearray(data)
    (shoff,) = struct.unpack_from("<Q", found, 40)
    (count,) = struct.unpack_from("<H", found, 60)
    for index in range(count):
        if struct.unpack_from("<I", found, shoff + index * 64 + 4) == (ei.SHT_SYMTAB,):
            struct.pack_into("<I", found, shoff + index * 64 + 4, 1)
    return bytes(found)
