"""A small library for Windows, made by a real linker (``tests/data/fatbin``), and where its tables stand."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

import gpucode
from retread.arch import Arch
from retread.elf import fatbin
from retread.pe import library

DLL: Final = gpucode.WINDOWS
OPTIONAL: Final = struct.unpack_from("<I", DLL, 60)[0] + 24
TABLE: Final = OPTIONAL + struct.unpack_from("<H", DLL, OPTIONAL - 4)[0]
SM100: Final = (gpucode.DATA / "add.sm_100.cubin").read_bytes()


def header(name: bytes) -> int:
    """Return where the header of a section stands."""
    return DLL.index(name.ljust(8, b"\0"), TABLE)


def offset(name: bytes) -> int:
    """Return where a section starts in the file."""
    found: int = struct.unpack_from("<I", DLL, header(name) + 20)[0]
    return found


def patched(*edits: tuple[int, str, int]) -> bytes:
    """Return the library with numbers written over: (offset, format, value)."""
    data = bytearray(DLL)
    for at, layout, value in edits:
        struct.pack_into(layout, data, at, value)
    return bytes(data)


def grafted(folder: Path, *modules: int, data: bytes = DLL) -> Path:
    """Write the library with code for 10.0 in some modules, and return where."""
    path = folder / "old.dll"
    path.write_bytes(data)
    old = library.fat_binaries(path)
    new = {index: fatbin.graft(old[index], {Arch("10.0"): SM100}) for index in modules}
    library.edit(path, folder / "new.dll", fatbins=new)
    return folder / "new.dll"
