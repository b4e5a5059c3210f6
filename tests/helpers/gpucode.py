"""GPU code in files of every kind, put together from the fixtures of ``tests/data/fatbin``: no tool is needed."""

from __future__ import annotations

import struct
from pathlib import Path

DATA = Path(__file__).parents[1] / "data" / "fatbin"
ADD80, ADD90, STUB, RELOCATABLE = (
    (DATA / f"{name}.cubin").read_bytes()
    for name in ("add.sm_80", "add.sm_90a", "stub.sm_80", "add.sm_80.rel")
)
PTX = (DATA / "add.ptx").read_bytes()
LIBRARY = (DATA / "libadd.so").read_bytes()
WINDOWS = (DATA / "add.dll").read_bytes()
PLAIN = (DATA / "plain.fatbin").read_bytes()
"""A fat binary: machine code for 8.0 and 9.0a, PTX for 8.0, kernel ``add_one``."""


def entry(payload: bytes, *, kind: int = 2, sm: int = 80, flags: int = 0x11, options: bytes = b"") -> bytes:
    """Return an entry of a fat binary: machine code (2), PTX (1) or another kind."""
    extra = struct.pack("<II", 72, len(options)) + options + b"\0" if options else b""
    extra += bytes(-len(extra) % 8)
    padded = payload + bytes(-len(payload) % 8)
    header = struct.pack(
        "<HHIQIIHHIIIQQQ", kind, 0x101, 64 + len(extra), len(padded), 0, 64 if extra else 0, 7, 8 if kind == 1 else 1,
        sm, 0, 0, flags, 0, 0,
    )  # fmt: skip
    return header + extra + padded


def fat(*entries: bytes) -> bytes:
    """Return a fat binary of these entries."""
    body = b"".join(entries)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def renamed(cubin: bytes, name: bytes) -> bytes:
    """Return a cubin whose kernel ``add_one`` is called otherwise, by a name of seven letters."""
    assert len(name) == 7
    return cubin.replace(b"add_one", name)


def hollow(cubin: bytes, gap: int) -> tuple[bytes, bytes]:
    """Return all before and all after so many zeros that stand in a library's fat binary, behind the header of a cubin.

    The tables of a cubin stand at its end, so that one as large is such. What ``LIBRARY`` held stays where it is.
    """
    head, rest = bytearray(cubin[:64]), bytearray(cubin[64:])
    tables, first = struct.unpack_from("<Q", head, 40)[0], len(LIBRARY) + -len(LIBRARY) % 8
    struct.pack_into("<Q", head, 40, tables + gap)
    for at in range(tables - 64, tables - 64 + 64 * struct.unpack_from("<H", head, 60)[0], 64):
        struct.pack_into("<Q", rest, at + 24, struct.unpack_from("<Q", rest, at + 24)[0] + gap)
    start = bytearray(fat(entry(bytes(head))))
    size = 64 + gap + len(rest)
    struct.pack_into("<Q", start, 8, 64 + size)
    struct.pack_into("<Q", start, 16 + 8, size)
    library = bytearray(LIBRARY.ljust(first, b"\0"))
    section = struct.unpack_from("<Q", library, 40)[0] + 12 * 64
    struct.pack_into("<QQ", library, section + 24, first, 80 + size)
    return bytes(library + start), bytes(rest)


def windows(*inside: bytes, machine: int = 0x8664) -> bytes:
    """Return a Windows library that imports nothing and holds these bytes, as data."""
    held = b"".join(inside) + b"\x90" * 7
    wide = machine != 0x14C
    coff = struct.pack("<HHIIIHH", machine, 1, 0, 0, 0, 240 if wide else 224, 0x2022)
    before = struct.pack("<HBBIIIII", 0x20B if wide else 0x10B, 14, 0, 0, 0, 0, 0, 0x1000)
    base = struct.pack("<Q" if wide else "<II", *((1 << 32,) if wide else (0, 1 << 28)))
    after = struct.pack("<IIHHHHHHIIIIHH", 4096, 512, 6, 0, 0, 0, 6, 0, 0, 0x1000 + (len(held) + 4095) // 4096 * 4096,
                        512, 0, 2, 0x160)  # fmt: skip
    after += struct.pack("<QQQQII" if wide else "<IIIIII", 0, 0, 0, 0, 0, 16) + bytes(128)
    section = struct.pack("<8sIIIIIIHHI", b".data", len(held), 4096, len(held), 512, 0, 0, 0, 0, 0xC000_0040)
    head = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + coff + before + base + after + section
    return head + bytes(512 - len(head)) + held


def archive(**members: bytes) -> bytes:
    """Return a static library of these members."""
    found = b"!<arch>\n"
    for name, data in members.items():
        found += f"{name + '/':<16}{0:<12}{0:<6}{0:<6}{644:<8}{len(data):<10}`\n".encode()
        found += data + b"\n" * (len(data) % 2)
    return found


def elf(kind: int, machine: int = 62, *inside: bytes, bits: int = 2) -> bytes:
    """Return an ELF header of this type and machine, without any table, and these bytes behind it."""
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF" + bytes((bits, 1, 1)), kind, machine, 1, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0
    )
    return head + b"".join(inside)


def without_sections(library: bytes) -> bytes:
    """Return a shared object whose header says that it has no section headers, as ``sstrip`` leaves it."""
    found = bytearray(library)
    found[40:48] = bytes(8)
    found[58:64] = bytes(6)
    return bytes(found)


def section_called(library: bytes, name: bytes) -> bytes:
    """Return the library with its section of fat binaries called otherwise, by a name of ten letters."""
    assert len(name) == 10
    return library.replace(b".nv_fatbin\0", name + b"\0")
