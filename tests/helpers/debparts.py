"""Small packages as Debian packs them, and a toolchain of them whose compiler only says that it is clang."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tinycuda import sha256
from toolparts import make_part_wheel

POOL = "pool/main/l/llvm-toolchain-22"
CLANG = f"{POOL}/clang-22_22.1.8-1~deb13u5_amd64.deb"
LIBC = "pool/updates/main/g/glibc/libc6_2.41-12_amd64.deb"
WHEEL = "demo_cuda-12.8.93-py3-none-any.whl"
NVIDIA = """\
#!/bin/sh
echo "Cuda compilation tools, release 12.8, V12.8.93"
"""
LOADER = """\
#!/bin/sh
echo "Debian clang version 22.1.8 (1~deb13u5)"
"""
OLD = """\
#!/bin/sh
echo "clang: libc.so.6: version 'GLIBC_2.38' not found (required by libLLVM.so.22.1)" >&2
exit 1
"""


def make_deb(
    files: Mapping[str, str], more: Iterable[tarfile.TarInfo] = (), *, data: str = "data.tar.xz"
) -> bytes:
    """Return a package of ``files`` and ``more``; ``data`` is what the archive of the files is called in it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz", preset=0) as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"./{path}")
            member.size, member.mode = len(text.encode()), 0o755 if text.startswith("#!") else 0o644
            archive.addfile(member, io.BytesIO(text.encode()))
        for member in more:
            archive.addfile(member)
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", data: out.getvalue()}
    packed = b"!<arch>\n"
    for name, content in members.items():
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
        packed += header.encode() + content + b"\n" * (len(content) % 2)
    return packed


def clang_deb(more: Iterable[tarfile.TarInfo] = ()) -> bytes:
    """Return a package of clang's, in small."""
    top = "usr/lib/llvm-22"
    return make_deb(
        {f"{top}/bin/clang": "\x7fELF", f"{top}/lib/clang/22/include/x.h": "", "usr/share/doc/x": ""}, more
    )


def libc_deb(loader: str = LOADER) -> bytes:
    """Return a package of the C library; clang is started through ``loader``."""
    top = "usr/lib/x86_64-linux-gnu"
    return make_deb({f"{top}/ld-linux-x86-64.so.2": loader, f"{top}/libc.so.6": "libc"})


def nvidia_files() -> dict[str, bytes]:
    """Return what the wheels of NVIDIA's bring, in small."""
    return {
        "bin/ptxas": NVIDIA.encode(),
        "bin/fatbinary": NVIDIA.encode(),
        "bin/cicc": b"unwanted",
        "include/cuda.h": b"",
        "include/crt/host_defines.h": b"",
        "include/curand_mtgp32_kernel.h": b"",
        "nvvm/libdevice/libdevice.10.bc": b"BC",
    }


class Pinned(NamedTuple):
    """A toolchain file, and the files that it pins."""

    text: str
    debs: dict[str, bytes]
    """Path in the archive -> content."""
    wheels: dict[str, dict[str, bytes]]
    """Project -> file -> content."""


def pinned(
    *, clang: bytes | None = None, libc: bytes | None = None, nvidia: Mapping[str, bytes] | None = None
) -> Pinned:
    """Return a toolchain ``cuda-12.8-clang22`` of small parts."""
    clang, libc = clang or clang_deb(), libc or libc_deb()
    files = nvidia_files() if nvidia is None else nvidia
    wheel = make_part_wheel(
        "demo_cuda", "12.8.93", {f"nvidia/cuda/{name}": data for name, data in files.items()}
    )
    text = 'name = "cuda-12.8-clang22"\ncuda = "12.8"\nptx-isa = "8.7"\ncompiler = "clang"\n'
    taken = ", ".join(f'"{name}"' for name in files if name != "bin/cicc")
    text += _part(
        "nvidia", f'package = "demo-cuda"\nfile = "{WHEEL}"', wheel, "nvidia/cuda", f"files = [{taken}]"
    )
    for name, path, data, folder, place in (
        ("clang", CLANG, clang, "usr/lib/llvm-22/bin", "llvm/libexec"),
        ("clang-headers", CLANG, clang, "usr/lib/llvm-22/lib", "llvm/lib"),
        ("libc6", LIBC, libc, "usr/lib/x86_64-linux-gnu", "llvm/debian"),
    ):
        where = f'deb = "{path}"\nfile = "{path.rpartition("/")[2]}"'
        text += _part(name, where, data, folder, f'place = "{place}"')
    return Pinned(text, {CLANG: clang, LIBC: libc}, {"demo-cuda": {WHEEL: wheel}})


def _part(name: str, where: str, data: bytes, folder: str, more: str) -> str:
    return (
        f'\n[[part]]\ncomponent = "{name}"\nmachine = "x86_64"\n{where}\nsha256 = "{sha256(data)}"\n'
        f'folder = "{folder}"\n{more}\n'
    )
