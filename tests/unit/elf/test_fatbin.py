"""Fat binaries: read strictly, unpacked within bounds, grafted exactly as NVIDIA's own packer would do it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retread.arch import Arch
from retread.elf import fatbin
from retread.elf.facts import Module
from retread.errors import FatbinError

DATA = Path(__file__).parents[2] / "data" / "fatbin"
VARIANTS = ("plain", "lz4", "zstd")


def _bytes(name: str) -> bytes:
    return (DATA / name).read_bytes()


def _one(name: str) -> fatbin.FatBinary:
    (one,) = fatbin.parse(_bytes(name), where="lib.so")
    return one


@pytest.mark.parametrize("variant", VARIANTS)
def test_ptx_comes_out_as_it_was_written(variant: str) -> None:
    entry = fatbin.ptx_for(_one(f"{variant}.fatbin"), Arch("10.0"))
    assert fatbin.ptx(entry) == _bytes("add.ptx")
    assert (entry.arch, entry.isa, entry.options) == ("8.0", (8, 7), "-O2")


def test_inventory_names_architectures_with_their_suffix() -> None:
    data = _bytes("plain.fatbin") + bytes(40) + _bytes("lz4.fatbin")
    assert fatbin.modules(data, where="lib.so") == (
        Module(index=0, sass=(Arch("8.0"), Arch("9.0a")), ptx=(Arch("8.0"),)),
        Module(index=1, sass=(Arch("8.0"), Arch("9.0a")), ptx=(Arch("8.0"),)),
    )
    assert fatbin.parse(data, where="lib.so")[1].offset == len(_bytes("plain.fatbin")) + 40


@pytest.mark.parametrize("data", [b"", bytes(4096), bytes(7)])
def test_nothing_but_zeros_is_no_module(data: bytes) -> None:
    assert fatbin.parse(data, where="lib.so") == ()


@pytest.mark.parametrize(("name", "arch"), [("sm_90a", "9.0a"), ("sm_100", "10.0")])
def test_a_graft_equals_what_nvidias_packer_writes(name: str, arch: str) -> None:
    theirs = _one(f"nvidia.{name}.fatbin").entries[-1]
    (ours,) = fatbin.parse(
        fatbin.graft(_one("nvidia.before.fatbin"), {Arch(arch): _bytes(f"add.{name}.cubin")}), where="new"
    )
    assert (ours.entries[-1].header, ours.entries[-1].payload) == (theirs.header, theirs.payload)
    assert bytes(ours.data) == _bytes(f"nvidia.{name}.fatbin")


def test_a_graft_leaves_what_was_there_as_it_was() -> None:
    old = _one("lz4.fatbin")
    grafted = fatbin.graft(old, {Arch("10.0"): _bytes("add.sm_100.cubin")})
    assert grafted[16 : old.size] == _bytes("lz4.fatbin")[16:]
    (new,) = fatbin.parse(grafted, where="new")
    assert [(entry.kind.name, entry.arch) for entry in new.entries] == [
        ("ELF", "8.0"), ("PTX", "8.0"), ("ELF", "9.0a"), ("ELF", "10.0"),
    ]  # fmt: skip
    assert new.entries[-1].flags == 0x1000011
    assert len(grafted) % 8 == 0


def test_an_architecture_is_grafted_once_only() -> None:
    with pytest.raises(FatbinError, match=r"lib\.so: module 0 has sm_80 code already"):
        fatbin.graft(_one("plain.fatbin"), {Arch("8.0"): _bytes("add.sm_80.cubin")})


@pytest.mark.parametrize("cubin", ["add.sm_80.cubin", "add.ptx", "lz4.fatbin", "libadd.so"])
def test_only_a_cubin_of_the_architecture_is_grafted(cubin: str) -> None:
    with pytest.raises(FatbinError, match="cubin for sm_100"):
        fatbin.graft(_one("plain.fatbin"), {Arch("10.0"): _bytes(cubin)})


def test_ptx_serves_its_own_and_newer_architectures() -> None:
    one = _one("plain.fatbin")
    assert fatbin.ptx_for(one, Arch("8.0")).arch == "8.0"
    assert fatbin.ptx_for(one, Arch("12.0a")).arch == "8.0"
    with pytest.raises(
        FatbinError, match=r"module 0 has no PTX from which sm_75 can be assembled \(PTX: sm_80\)"
    ):
        fatbin.ptx_for(one, Arch("7.5"))


def test_ptx_with_a_suffix_serves_itself_alone() -> None:
    data = bytearray(_bytes("nvidia.before.fatbin"))
    struct.pack_into("<I", data, 16 + 28, 90)
    struct.pack_into("<Q", data, 16 + 40, 0x108011)
    (one,) = fatbin.parse(bytes(data), where="lib.so")
    assert fatbin.ptx_for(one, Arch("9.0a")).arch == "9.0a"
    with pytest.raises(FatbinError, match="no PTX"):
        fatbin.ptx_for(one, Arch("10.0"))


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0, b"\1\2\3\4", r"lib\.so: module 0: no fat binary at offset 0x0"),
        (8, b"\xff" * 7, "promises"),
        (16 + 2, b"\2\2", "unknown version"),
        (16 + 4, b"\x10\0\0\0", "leaves its fat binary"),
        (16 + 8, b"\xff" * 8, "leaves its fat binary"),
        (16 + 16, b"\xff" * 4, "compressed"),
        (16 + 28, b"\xff" * 4, "no architecture is called"),
    ],
)
def test_a_broken_header_is_refused(offset: int, value: bytes, message: str) -> None:
    data = bytearray(_bytes("plain.fatbin"))
    data[offset : offset + len(value)] = value
    with pytest.raises(FatbinError, match=message):
        fatbin.parse(bytes(data), where="lib.so")


@pytest.mark.parametrize("variant", ["lz4", "zstd"])
@pytest.mark.parametrize("size", [0, 10, 1 << 20, 1 << 29, 1 << 40, (1 << 64) - 1])
def test_a_wrong_size_unpacks_to_nothing(variant: str, size: int) -> None:
    data = bytearray(_bytes(f"{variant}.fatbin"))
    at = data.index(struct.pack("<HHI", 1, 0x101, 80))
    struct.pack_into("<Q", data, at + 56, size)
    (one,) = fatbin.parse(bytes(data), where="lib.so")
    with pytest.raises(FatbinError, match=r"lib\.so: module 0, offset 0x"):
        fatbin.ptx(fatbin.ptx_for(one, Arch("8.0")))


def test_unknown_compression_is_refused() -> None:
    data = bytearray(_bytes("lz4.fatbin"))
    at = data.index(struct.pack("<HHI", 1, 0x101, 80))
    struct.pack_into("<Q", data, at + 40, 0x1011)
    (one,) = fatbin.parse(bytes(data), where="lib.so")
    with pytest.raises(FatbinError, match="unknown way"):
        fatbin.ptx(fatbin.ptx_for(one, Arch("8.0")))


@settings(max_examples=26, deadline=None)
@given(
    variant=st.sampled_from(VARIANTS),
    edits=st.lists(
        st.tuples(st.integers(0, 6500), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6
    ),
    length=st.integers(0, 6600),
)
def test_mutated_bytes_raise_nothing_but_fatbin_error(
    variant: str, edits: list[tuple[int, bytes]], length: int
) -> None:
    data = bytearray(_bytes(f"{variant}.fatbin"))
    for at, new in edits:
        data[at % 96 if at % 3 else at : (at % 96 if at % 3 else at) + len(new)] = new
    try:
        for one in fatbin.parse(bytes(data[: max(length, 1000)]), where="fuzz"):
            for entry in one.entries:
                fatbin.image(entry)
            fatbin.graft(one, {Arch("12.1"): _bytes("add.sm_80.cubin")})
    except FatbinError:
        pass
