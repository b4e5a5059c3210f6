"""A small library for Windows, made by a real linker (``tests/data/fatbin``), and where its tables stand."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

import gpucode
from retread.arch import Arch
from retread.elf import fatbin
from retread.pe import library
from retread.source import ends
from tinycuda import INFO, LIBRARY, WHEEL, Project, make_wheel, sha256, wheel_files

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


BASE = WHEEL.replace("manylinux_2_17_x86_64", "win_amd64")
MEMBER = "tinycuda/_C.pyd"
TABLE = """
[[targets.cu128.base]]
file = "{file}"
sha256 = "{sha256}"

[targets.cu128.platforms.win_amd64]
generated = ["tinycuda/version.py", "tinycuda/**.pyd"]
requires = []
note = "No GPU under Windows has run it."
"""


def add_base(project: Project, library: bytes = gpucode.WINDOWS, **changes: bytes) -> None:
    """Serve and pin a base wheel for Windows, whose texts have the line ends of a checkout there."""
    held = {name: data for name, data in wheel_files().items() if name != LIBRARY}
    held = {name: ends.windows(data) for name, data in held.items()}
    held[f"{INFO}/WHEEL"] = held[f"{INFO}/WHEEL"].replace(b"manylinux_2_17_x86_64", b"win_amd64")
    data = make_wheel(
        {**held, MEMBER: library, **{name.replace("__", "/"): new for name, new in changes.items()}}
    )
    project.index.files["tinycuda"][BASE] = data
    project.write_recipe(project.recipe_text + TABLE.format(file=BASE, sha256=sha256(data)))
