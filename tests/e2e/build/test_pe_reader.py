"""Windows libraries and another reader, lief: it reads the same, and finds nothing wrong with what is written."""

from __future__ import annotations

from pathlib import Path

import lief

from pefiles import DLL, SM100, grafted
from retread.arch import Arch
from retread.elf import fatbin
from retread.pe import image, library


def test_another_reader_finds_the_same() -> None:
    read, other = image.parse(DLL, where="x.dll"), lief.PE.parse(list(DLL))
    assert other is not None
    assert [(one.name, one.address, one.memory, one.offset, one.size) for one in read.sections] == [
        (one.name, one.virtual_address, one.virtual_size, one.offset, one.size) for one in other.sections
    ]
    assert (read.base, read.memory) == (
        other.optional_header.imagebase, other.optional_header.sizeof_image
    )  # fmt: skip
    assert image.needed(read) == tuple(one.name for one in other.imports)
    assert image.imported(read) == tuple(sorted(e.name for one in other.imports for e in one.entries))
    assert [(one.address, one.kind) for one in image.relocations(read)] == [
        (e.address, int(e.type)) for one in other.relocations for e in one.entries if int(e.type)
    ]


def test_another_reader_finds_it_sound(tmp_path: Path) -> None:
    once, twice = grafted(tmp_path, 0, 1), tmp_path / "twice.dll"
    left = library.fat_binaries(once)[0]
    library.edit(once, twice, fatbins={0: fatbin.graft(left, {Arch("10.0"): SM100})})
    assert [one.sass for one in library.read(twice).modules] == [("8.0", "9.0a", "10.0")] * 3
    assert library.fat_binaries(twice)[2].where.endswith(": module 2")
    for path in (once, twice):
        found = lief.PE.parse(path)
        assert found is not None
        assert lief.PE.check_layout(found) == (True, "")
        assert found.optional_header.checksum == found.compute_checksum()
        last = found.sections[-1]
        assert (last.name, last.characteristics) == (".nv_fatb", 0x4000_0040)
        assert found.optional_header.sizeof_initialized_data % 512 == 0
