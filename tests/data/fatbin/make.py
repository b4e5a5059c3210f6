"""Make the fixtures of this directory: cubins, fat binaries and small shared objects, all of our own kernel.

usage: make.py PTXAS [FATBINARY]

PTXAS is ptxas of CUDA 12.8 (PyPI: nvidia-cuda-nvcc-cu12==12.8.93), FATBINARY that of CUDA 13.0 (PyPI:
nvidia-cuda-nvcc==13.0.88): with it, the files that the graft is compared with are made too. GNU as and ld for x86-64
and aarch64 (binutils 2.38 or newer), and for Windows (Debian: binutils-mingw-w64-x86-64, mingw-w64-x86-64-dev) must be
on the PATH. The fixtures are committed, so tests need none of this.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import lz4.block
import zstandard

HERE = Path(__file__).parent
ENTRY = struct.Struct("<HHIQIIHHIIIQQQ")
OPTIONS = b"-O2"
STUB = b".version 8.7\n.target sm_80\n.address_size 64\n"
"""What nvcc's link step adds to every library that it links: a module without kernels."""

TARGETS = {
    "x86_64": {
        "as": ["as"],
        "ld": ["ld", "-z", "separate-code", "-z", "relro"],
        "body": "lea wrapper0(%rip), %rax\n ret",
        "call": "jmp getpid@PLT",
    },
    "aarch64": {
        "as": ["aarch64-linux-gnu-as"],
        "ld": ["aarch64-linux-gnu-ld", "-z", "max-page-size=4096"],
        "body": "adrp x0, wrapper0\n add x0, x0, :lo12:wrapper0\n ret",
        "call": "b getpid",
    },
}

SOURCE = """
.section .note.GNU-stack,"",%progbits
.section .nv_fatbin,"a"
.balign 8
module0: .incbin "lz4.fatbin"
.size module0, . - module0
module1: .incbin "zstd.fatbin"
.size module1, . - module1
.zero 24
module2: .incbin "plain.fatbin"
.size module2, . - module2
unused: .incbin "plain.fatbin"
.size unused, . - unused
.section .nvFatBinSegment,"aw"
.balign 8
.globl wrapper0
.hidden wrapper0
wrapper0: .int 0x466243b1, 1
 .quad module0, 0
 .int 0x466243b1, 1
 .quad module1, 0
 .int 0x466243b1, 1
 .quad module2, 0
.data
.balign 8
extra: .quad module2
.text
.globl wrappers
.type wrappers, %function
wrappers:
 BODY
.size wrappers, . - wrappers
.globl caller
.type caller, %function
caller:
 CALL
.size caller, . - caller
.section .rodata,"a"
.globl text
.type text, %object
text: .asciz "kept"
.size text, . - text
"""


WINDOWS = """
.section .nv_fatb,"dr"
.balign 8
module0: .incbin "lz4.fatbin"
module1: .incbin "zstd.fatbin"
.zero 24
module2: .incbin "plain.fatbin"
.section .nvFatBi,"dr"
.balign 8
wrapper0: .int 0x466243b1, 1
 .quad module0, 0
 .int 0x466243b1, 1
 .quad module1, 0
.zero 8
 .int 0x466243b1, 1
 .quad module2, 0
.data
.balign 8
extra: .quad module2
.text
.globl wrappers
wrappers:
 lea wrapper0(%rip), %rax
 ret
.globl caller
caller:
 jmp *__imp_GetCurrentProcessId(%rip)
.section .drectve
.ascii "-export:wrappers -export:caller"
"""


def entry(kind: int, sm: int, isa: tuple[int, int], flags: int, payload: bytes, *, size: int = 0) -> bytes:
    """Return one entry as NVIDIA's packer lays it out."""
    extra = b""
    if kind == 1:
        extra = struct.pack("<II", 72, len(OPTIONS)) + OPTIONS + b"\0"
        extra += bytes(-len(extra) % 8)
    padded = payload + bytes(-len(payload) % 8)
    packed = len(payload) if size else 0
    return (
        ENTRY.pack(
            kind, 0x101, 64 + len(extra), len(padded), packed, 64 if extra else 0,
            isa[1], isa[0], sm, 0, 0, flags, 0, size,
        )
        + extra
        + padded
    )  # fmt: skip


def fatbin(ptx: bytes) -> bytes:
    """Return a fat binary with our machine code for sm_80 and sm_90a around a PTX entry."""
    body = entry(2, 80, (1, 7), 0x11, (HERE / "add.sm_80.cubin").read_bytes()) + ptx
    body += entry(2, 90, (1, 7), 0x100011, (HERE / "add.sm_90a.cubin").read_bytes())
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def library(target: str, name: str, *flags: str) -> None:
    """Assemble and link one shared object."""
    tools = TARGETS[target]
    text = SOURCE.replace("BODY", tools["body"]).replace("CALL", tools["call"])
    (HERE / "lib.s").write_text(text)
    subprocess.run([*tools["as"], "lib.s", "-o", "lib.o"], cwd=HERE, check=True)
    line = [*tools["ld"], "-shared", "--build-id=sha1", "--hash-style=gnu", "-soname", name, *flags]
    subprocess.run([*line, "lib.o", "-o", name], cwd=HERE, check=True)
    for scratch in ("lib.s", "lib.o"):
        (HERE / scratch).unlink()


def windows(name: str, *flags: str) -> None:
    """Assemble and link one library for Windows, with nothing of the linker's time or of a compiler's runtime in it."""
    prefix = "x86_64-w64-mingw32"
    (HERE / "lib.s").write_text(WINDOWS)
    subprocess.run([f"{prefix}-as", "lib.s", "-o", "lib.o"], cwd=HERE, check=True)
    line = [f"{prefix}-ld", "-shared", "-e", "0", "--strip-all", "--no-insert-timestamp", *flags]
    line += ["lib.o", f"-L/usr/{prefix}/lib", "-lkernel32", "-o", name]
    subprocess.run(line, cwd=HERE, check=True)
    for scratch in ("lib.s", "lib.o"):
        (HERE / scratch).unlink()


def official(fatbinary: str) -> None:
    """Let NVIDIA's packer write what a graft of sm_90a, or of sm_100, must come to."""
    base = ["--image3=kind=ptx,sm=80,file=add.ptx", "--image3=kind=elf,sm=80,file=add.sm_80.cubin"]
    for name, more in (("before", ()), ("sm_90a", ("90a",)), ("sm_100", ("100",))):
        images = [f"--image3=kind=elf,sm={arch},file=add.sm_{arch}.cubin" for arch in more]
        line = [fatbinary, "-64", f"--create=nvidia.{name}.fatbin", *base, *images]
        subprocess.run(line, cwd=HERE, check=True)


def packed(fatbinary: str) -> None:
    """Pack four images in every way that nvcc's ``--compress-mode`` has, as the files that ours are compared with."""
    images = [f"--image3=kind=elf,sm={sm},file=add.sm_{sm}.cubin" for sm in ("80", "90a", "100")]
    images.append("--image3=kind=ptx,sm=80,file=add.ptx")
    for mode in ("none", "speed", "balance", "size"):
        line = [
            fatbinary,
            "-64",
            f"--create=nvidia.{mode}.fatbin",
            f"--compress-mode={mode}",
            "--compress-all",
        ]
        subprocess.run([*line, *images], cwd=HERE, check=True)


def main() -> None:
    """Make every fixture."""
    for arch in ("80", "90a", "100"):
        line = [sys.argv[1], f"-arch=sm_{arch}", "add.ptx", "-o", f"add.sm_{arch}.cubin"]
        subprocess.run(line, cwd=HERE, check=True)
    subprocess.run(
        [sys.argv[1], "-c", "-arch=sm_80", "add.ptx", "-o", "add.sm_80.rel.cubin"], cwd=HERE, check=True
    )
    (HERE / "stub.ptx").write_bytes(STUB)
    subprocess.run([sys.argv[1], "-arch=sm_80", "stub.ptx", "-o", "stub.sm_80.cubin"], cwd=HERE, check=True)
    (HERE / "stub.ptx").unlink()
    text = (HERE / "add.ptx").read_bytes() + b"\0"
    lz4_block = lz4.block.compress(text, store_size=False)
    zstd_frame = zstandard.ZstdCompressor().compress(text)
    (HERE / "plain.fatbin").write_bytes(fatbin(entry(1, 80, (8, 7), 0x11, text)))
    (HERE / "lz4.fatbin").write_bytes(fatbin(entry(1, 80, (8, 7), 0x2011, lz4_block, size=len(text))))
    (HERE / "zstd.fatbin").write_bytes(fatbin(entry(1, 80, (8, 7), 0x8011, zstd_frame, size=len(text))))
    libc = "-l:libc.so.6"
    library("x86_64", "libadd.so", libc, "-L/lib/x86_64-linux-gnu")
    library("x86_64", "libadd-relr.so", "-z", "pack-relative-relocs", libc, "-L/lib/x86_64-linux-gnu")
    library(
        "x86_64", "libadd-rpath.so", "-rpath", "/old/place", "--disable-new-dtags", "-z", "noseparate-code"
    )
    library("aarch64", "libadd-aarch64.so")
    windows("add.dll")
    if len(sys.argv) > 2:
        official(sys.argv[2])
        packed(sys.argv[2])


if __name__ == "__main__":
    main()
