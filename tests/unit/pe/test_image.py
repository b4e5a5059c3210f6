"""The tables of Windows libraries: nothing that leaves the file, and nothing that makes no sense."""

from __future__ import annotations

import struct

import pytest

import gpucode
from pefiles import DLL, OPTIONAL, TABLE, patched
from retread.errors import PeError
from retread.pe import image


def parse(data: bytes) -> image.Image:
    return image.parse(data, where="x.dll")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no Windows library"),
        (b"MZ" + bytes(58) + struct.pack("<I", 1 << 20), "the header leaves the file"),
        (b"MZ" + bytes(58) + struct.pack("<I", 64) + b"NE\0\0", "the header does not begin with PE"),
        (patched((OPTIONAL, "<H", 0x107)), r"of an unknown kind \(machine 0x8664, magic 0x107\)"),
        (patched((OPTIONAL - 20, "<H", 0x1234)), r"of an unknown kind \(machine 0x1234"),
        (patched((OPTIONAL + 108, "<I", 17)), "says that it has 17 directories"),
        (patched((OPTIONAL - 18, "<H", 97)), "has 97 sections; 96 are taken"),
        (DLL[:0x5A01], r"section \.reloc leaves the file \(offset 0x5a00, 512 bytes\): it is cut short"),
        (DLL[:TABLE], "the table of sections leaves the file"),
        (patched((TABLE + 40 + 12, "<I", 0x1000)), r"sections \.\w+ and \.\w+ overlap in memory"),
        (patched((TABLE + 40 + 20, "<I", 0x400)), r"sections \.\w+ and \.\w+ overlap in the file"),
    ],
)
def test_what_makes_no_sense_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(PeError, match=f"^x.dll: .*{told}"):
        parse(data)


IMPORTS = struct.unpack_from("<I", DLL, OPTIONAL + 120)[0]


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        ([(OPTIONAL + 120, "<I", 0x9000_0000)], "no bytes for address 0x90000000"),
        ([(0x5800 + 12, "<I", 0x9000_0000)], "a name at address 0x90000000 has no end, or leaves the file"),
        ([(0x5800, "<I", 0x9000_0000)], "no bytes for address 0x90000000"),
    ],
)
def test_imports_that_lead_nowhere_are_refused(edits: list[tuple[int, str, int]], told: str) -> None:
    read = parse(patched(*edits))
    with pytest.raises(PeError, match=told):
        image.imported(read)


@pytest.mark.parametrize(
    ("at", "value", "told"),
    [(4, 6, "a block of 6 bytes"), (4, 4096, "a block of 4096 bytes"), (4, 8 + 12, "8 bytes are left over|a block of")],
)  # fmt: skip
def test_base_relocations_that_are_corrupt_are_refused(at: int, value: int, told: str) -> None:
    read = parse(patched((0x5A00 + at, "<I", value)))
    with pytest.raises(PeError, match=f"base relocations are corrupt: ({told})"):
        list(image.relocations(read))


def test_a_library_for_32_bits_is_read() -> None:
    read = parse(gpucode.windows(gpucode.PLAIN, machine=0x14C))
    assert (image.MACHINES[read.machine], read.wide, read.base, len(read.sections)) == (
        "i686",
        False,
        1 << 28,
        1,
    )
