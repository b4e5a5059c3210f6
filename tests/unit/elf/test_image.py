"""The tables of ELF files: the same as another reader finds, and nothing that leaves the file."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest

from retread.elf import image
from retread.errors import ElfError

DATA = Path(__file__).parents[2] / "data" / "fatbin"
FILES = sorted([*DATA.glob("*.cubin"), *DATA.glob("*.so")])
CUBIN = (DATA / "add.sm_90a.cubin").read_bytes()
SECTIONS = struct.unpack_from("<Q", CUBIN, 40)[0]


def patched(at: int, layout: str, value: int) -> bytes:
    data = bytearray(CUBIN)
    struct.pack_into(layout, data, at, value)
    return bytes(data)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_another_reader_finds_the_same(path: Path) -> None:
    from elftools.elf.elffile import ELFFile

    data = path.read_bytes()
    read, other = image.tables(data, where=path.name), ELFFile(io.BytesIO(data))
    assert (read.machine, read.flags) == (struct.unpack_from("<H", data, 18)[0], other["e_flags"])
    assert [(one.type, one.offset, one.filesz) for one in read.segments] == [
        (struct.unpack_from("<I", data, other["e_phoff"] + 56 * index)[0], one["p_offset"], one["p_filesz"])
        for index, one in enumerate(other.iter_segments())
    ]
    sections = list(other.iter_sections())
    assert [(one.name, one.addr, bytes(image.contents(read, one))) for one in read.sections] == [
        (one.name, one["sh_addr"], b"" if one["sh_type"] in {"SHT_NULL", "SHT_NOBITS"} else one.data())
        for one in sections
    ]
    for section, its in zip(read.sections, sections, strict=True):
        if section.type in (image.SHT_SYMTAB, image.SHT_DYNSYM):
            assert [(one.name, one.value, one.size) for one in image.symbols(read, section)] == [
                (one.name, one["st_value"], one["st_size"]) for one in its.iter_symbols()
            ]


def test_a_kernel_s_symbol_says_that_it_is_one() -> None:
    """0x10 of st_other, by which the driver finds kernels; pyelftools leaves these bits out."""
    read = image.tables(CUBIN, where="cubin")
    table = next(one for one in read.sections if one.type == image.SHT_SYMTAB)
    assert [one.name for one in image.symbols(read, table) if one.other & 0x10] == ["add_one"]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no ELF file"),
        (CUBIN[:63], "no ELF file"),
        (patched(4, "<B", 1), "not a 64-bit little-endian ELF file"),
        (patched(40, "<Q", len(CUBIN)), "section headers leave the file"),
        (patched(58, "<H", 40), "section headers or program headers of another format, or too many"),
        (patched(62, "<H", 999), "section headers or program headers of another format, or too many"),
        (patched(SECTIONS + 64 + 32, "<Q", 1 << 40), "section names leave the file"),
        (patched(SECTIONS + 128 + 32, "<Q", 1 << 40), r"section 2 \(\.strtab\) leave the file"),
        (patched(SECTIONS + 128, "<I", 1 << 20), "a name leaves its string table"),
    ],
)
def test_what_leaves_the_file_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(ElfError, match=f"^cubin: {told}"):
        image.tables(data, where="cubin")


def test_symbols_of_a_section_that_is_not_there_are_refused() -> None:
    read = image.tables(CUBIN, where="cubin")
    index = next(one.index for one in read.sections if one.type == image.SHT_SYMTAB)
    broken = image.tables(patched(SECTIONS + 64 * index + 40, "<I", 999), where="cubin")
    with pytest.raises(ElfError, match=r"section \.symtab refers to a section that is not there"):
        list(image.symbols(broken, broken.sections[index]))


def test_a_cubin_is_no_shared_object() -> None:
    with pytest.raises(ElfError, match="no x86-64 or aarch64 shared object"):
        image.parse(CUBIN, where="cubin")
