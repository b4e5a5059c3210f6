"""Kernels of cubins: what they take, as cuobjdump says it, and their instructions, as nvdisasm counts them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpucode
from retread.arch import Arch
from retread.binary import files
from retread.elf import fatbin, image, library, resources
from retread.elf.resources import Kernel
from retread.errors import ElfError

DATA = Path(__file__).parents[2] / "data"
TENSOR = {"HGMMA": 1, "UTMALDG": 1, "UTMASTG": 1, "STSM": 1}
FIXTURES = {
    "80": {
        "local": (14, 64, 0, {"LDL": 1, "STL": 2}),
        "matrix": (18, 0, 1024, {"HMMA": 1, "IMMA": 1, "LDSM": 1, "LDGSTS": 1}),
        "plain": (4, 0, 0, {}),
    },
    "90a": {
        "quarter": (34, 0, 0, {"IGMMA": 1, "QGMMA": 1}),
        "spills": (30, 64, 2048, {**TENSOR, "LDL": 1, "STL": 2}),
        "tensor": (30, 0, 2048, TENSOR),
    },
    "100a": {"tensor": (10, 0, 2048, {"UTCMMA": 4, "UTMALDG": 1, "UBLKCP": 1, "LDTM": 1, "STTM": 1})},
    "120a": {"local": (11, 0, 0, {}), "matrix": (18, 0, 0, {"QMMA": 1, "OMMA": 1})},
}
"""Architecture -> kernel -> (registers, stack, shared memory, instructions), by cuobjdump and nvdisasm 13.5."""


def cubin(name: str) -> bytes:
    return (DATA / "kernels" / f"kernels.sm_{name}.cubin").read_bytes()


def read(name: str) -> dict[str, Kernel]:
    digits = name.rstrip("a")
    architecture = Arch(f"{digits[:-1]}.{digits[-1]}{name[len(digits) :]}")
    return {one.name: one for one in resources.of_cubin(cubin(name), architecture, where="cubin")}


@pytest.mark.parametrize("name", FIXTURES)
def test_kernels_take_what_nvidias_own_tools_say(name: str) -> None:
    found = {one.name: (one.registers, one.stack, one.shared, one.telling) for one in read(name).values()}
    assert found == FIXTURES[name]


def test_only_local_memory_beside_gmma_tcgen05_or_tma_is_a_spill_that_must_not_be() -> None:
    found = [(name, kernel) for name in FIXTURES for kernel in read(name).values()]
    assert [(name, one.name) for name, one in found if one.spills] == [("90a", "spills")]
    assert [(name, one.name) for name, one in found if one.asynchronous] == [
        ("90a", "quarter"), ("90a", "spills"), ("90a", "tensor"), ("100a", "tensor")
    ]  # fmt: skip
    assert not any(one.called for _, one in found)


def test_instructions_before_sm_70_are_not_read() -> None:
    """They have another encoding."""
    [one] = [
        one for one in resources.of_cubin(cubin("80"), Arch("6.0"), where="cubin") if one.name == "local"
    ]
    assert (one.instructions, one.telling, one.stack) == (None, {}, 64)


def test_a_library_s_kernels_come_with_module_and_architecture(tmp_path: Path) -> None:
    old, new = DATA / "fatbin" / "libadd.so", tmp_path / "libadd.so"
    first = library.fat_binaries(old)[0]
    library.edit(old, new, fatbins={0: fatbin.graft(first, {Arch("10.0a"): cubin("100a")})})
    found = files.kernels(new)
    assert [(one.module, one.architecture, one.name) for one in found] == [
        (0, "8.0", "add_one"), (0, "9.0a", "add_one"), (0, "10.0a", "tensor"),
        *((module, architecture, "add_one") for module in (1, 2, 3) for architecture in ("8.0", "9.0a")),
    ]  # fmt: skip
    assert found[0].instructions
    assert found[0].telling == {}


@pytest.mark.parametrize(
    ("name", "data", "architectures"),
    [
        ("k.cubin", gpucode.ADD90, ["9.0a"]),
        ("k.bin", gpucode.PLAIN, ["8.0", "9.0a"]),
        ("k.pyd", gpucode.windows(gpucode.PLAIN, gpucode.ADD80), ["8.0", "9.0a", "8.0"]),
        ("k.a", gpucode.archive(a=gpucode.elf(1, 62, gpucode.ADD80)), ["8.0"]),
        ("k.so", gpucode.section_called(gpucode.LIBRARY, b".my_kernel"), ["8.0", "9.0a"] * 4),
        ("k", gpucode.without_sections(gpucode.LIBRARY), ["8.0", "9.0a"] * 4),
        ("k.bin", gpucode.fat(gpucode.entry(gpucode.STUB)), []),
        ("k.ptx", gpucode.PTX, []),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_kernels_are_counted_wherever_they_lie(
    tmp_path: Path, name: str, data: bytes, architectures: list[str]
) -> None:
    (tmp_path / name).write_bytes(data)
    found = files.kernels(tmp_path / name)
    assert [(one.name, one.architecture) for one in found] == [("add_one", one) for one in architectures]
    assert all(one.instructions for one in found)


def test_relocatable_code_takes_what_is_linked_of_it(tmp_path: Path) -> None:
    later = gpucode.fat(gpucode.entry(gpucode.renamed(gpucode.RELOCATABLE, b"not_yet")))
    (tmp_path / "k.bin").write_bytes(later + gpucode.PLAIN)
    assert [(one.module, one.name) for one in files.kernels(tmp_path / "k.bin")] == [(0, "add_one")] * 2


@given(st.data())
def test_a_damaged_cubin_is_read_or_refused_in_words(data: st.DataObject) -> None:
    content = bytearray(cubin("90a"))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(1, len(content) - 1)) :]
    with suppress(ElfError):
        found = list(resources.of_cubin(bytes(content), Arch("9.0a"), where="cubin"))
        assert all(one.stack >= 0 for one in found)


@pytest.mark.parametrize(
    ("section", "size", "told"),
    [
        (".nv.info", -4, r"lib\.so, module 3: \.nv\.info is corrupt: .*"),
        (
            ".text.tensor",
            -8,
            r"lib\.so, module 3: \.text\.tensor has \d+ bytes, no whole number of instructions",
        ),
    ],
)
def test_what_is_cut_short_is_named(section: str, size: int, told: str) -> None:
    content = bytearray(cubin("90a"))
    tables = image.tables(bytes(content), where="cubin")
    found = image.named(tables, section)
    assert found
    at = tables.shoff + found.index * image.SHDR.size + 32
    content[at : at + 8] = (found.size + size).to_bytes(8, "little")
    with pytest.raises(ElfError, match=f"^{told}$"):
        list(resources.of_cubin(bytes(content), Arch("9.0a"), where="lib.so, module 3"))
