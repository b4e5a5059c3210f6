"""Which kernels of two wheels have the same machine code."""

from __future__ import annotations

from pathlib import Path

from house import ROOT
from retread.arch import Arch
from retread.binary import files
from retread.elf import bodies
from retread.records import Sha256
from retread.wheel.sameness import of_architecture

DATA = ROOT / "tests" / "data" / "fatbin"
ONE, TWO = Sha256("1" * 64), Sha256("2" * 64)


def test_libraries_of_two_machines_have_the_same_kernels(tmp_path: Path) -> None:
    here, there = (files.bodies(DATA / name) for name in ("libadd.so", "libadd-aarch64.so"))
    assert here == there
    assert {key: len(set(found)) for key, found in here.items()} == {
        ("8.0", "add_one"): 1,
        ("9.0a", "add_one"): 1,
    }


def test_a_changed_byte_of_code_is_another_kernel() -> None:
    cubin = (DATA / "add.sm_80.cubin").read_bytes()
    [(name, digest)] = bodies.of_cubin(cubin, where="cubin")
    from retread.elf import image as ei

    image = ei.tables(cubin, where="cubin")
    text = next(one for one in image.sections if one.name == f".text.{name}")
    changed = bytearray(cubin)
    changed[text.offset + 40] ^= 1
    assert dict(bodies.of_cubin(bytes(changed), where="cubin"))[name] != digest


def test_names_that_nvcc_makes_up_are_cut_down_to_the_file() -> None:
    one, two = (
        f"_ZN57_GLOBAL__N__{path}_24_sparse24_pack_cu_ce05d834{number}4packEv".encode()
        for path, number in (("4dcb4a0e", "_19"), ("9a01bc5f", "_5123"))
    )
    assert bodies.plain(one) == bodies.plain(two)
    assert bodies.plain(b"_Z10add_kernelPff") == b"_Z10add_kernelPff"


def test_what_agrees_and_what_does_not() -> None:
    code = Arch("9.0")
    one = {
        (code, "same"): (ONE,),
        (code, "other"): (ONE, ONE),
        (code, "mine"): (ONE,),
        (Arch("8.0"), "far"): (ONE,),
    }
    two = {(code, "same"): (ONE,), (code, "other"): (ONE, TWO), (code, "theirs"): (ONE,)}
    found = of_architecture(code, one, two)
    assert (found.same, found.other, found.first, found.second) == (
        ("same",),
        ("other",),
        ("mine",),
        ("theirs",),
    )
