"""Small CUDA toolkits, packed as NVIDIA packs them: archives below one address, and wheels."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from retread.recipe.toolchain import Part, Toolchain, parse_toolchain
from retread.records import Sha256
from tinycuda import record, sha256, zip_bytes

SHIPPED = Path(__file__).parents[2] / "src" / "retread" / "recipe" / "toolchains"
NVCC = "cuda_nvcc/linux-x86_64/cuda_nvcc-linux-x86_64-12.8.93-archive.tar.xz"
CUDART = "cuda_cudart/linux-x86_64/cuda_cudart-linux-x86_64-12.8.90-archive.tar.xz"
SCRIPT = """\
#!/bin/sh
echo "nvcc: NVIDIA (R) Cuda compiler driver"
echo "Cuda compilation tools, release {cuda}, V{cuda}.93"
"""


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """Return a member that is a link, or something else without content."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def make_archive(top: str, files: Mapping[str, bytes], more: Iterable[tarfile.TarInfo] = ()) -> bytes:
    """Return a .tar.xz of ``files`` below ``top``; programs in a folder bin get their mode."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz", preset=0) as archive:
        folder = tarfile.TarInfo(top)
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)
        for path, data in files.items():
            member = tarfile.TarInfo(f"{top}/{path}")
            member.size, member.mode = len(data), 0o755 if data.startswith(b"#!") else 0o644
            archive.addfile(member, io.BytesIO(data))
        for member in more:
            archive.addfile(member)
    return out.getvalue()


def make_part_wheel(project: str, version: str, files: Mapping[str, bytes], mode: int = 0o644) -> bytes:
    """Return a wheel of ``files``, all of one mode."""
    info = f"{project}-{version}.dist-info"
    everything = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n\n",
    }
    modes = dict.fromkeys(files, 0o100000 | mode)
    return zip_bytes(everything | {f"{info}/RECORD": record(everything, info)}, modes)


def top(path: str) -> str:
    """Return the one folder of an archive of NVIDIA's."""
    return path.rpartition("/")[2].removesuffix(".tar.xz")


def nvcc_files(cuda: str = "12.8") -> dict[str, bytes]:
    """Return what cuda_nvcc holds, in small."""
    return {
        "LICENSE": b"of nvcc\n",
        "bin/nvcc": SCRIPT.format(cuda=cuda).encode(),
        "bin/nvcc.profile": b"TOP = $(_HERE_)/..\n",
        "include/crt/host_config.h": b"#pragma once\n",
        "nvvm/bin/cicc": b"#!/bin/sh\n",
        "nvvm/lib64/libnvvm.so.4.0.0": b"libnvvm",
    }


def cudart_files() -> dict[str, bytes]:
    """Return what cuda_cudart holds, in small."""
    return {
        "LICENSE": b"of cudart\n",
        "include/cuda_runtime.h": b"#pragma once\n",
        "lib/libcudart.so.12.8.90": b"libcudart",
        "lib/libcudart_static.a": b"static",
    }


class Mirror(NamedTuple):
    """A toolchain file like the shipped one, and the small files that it pins."""

    text: str
    archives: dict[str, bytes]
    """Path below the redistributables -> content."""
    wheels: dict[str, dict[str, bytes]]
    """Project -> file -> content."""


def mirror(*, nvcc: bytes | None = None, cuda: str = "12.8") -> Mirror:
    """Return the shipped cuda-12.8 with the hashes of small archives in place of NVIDIA's, for x86-64."""
    nvvm, lib = f"{top(NVCC)}/nvvm/lib64", f"{top(CUDART)}/lib"
    archives = {
        NVCC: nvcc
        or make_archive(
            top(NVCC),
            nvcc_files(cuda),
            [link(f"{nvvm}/libnvvm.so", "libnvvm.so.4"), link(f"{nvvm}/libnvvm.so.4", "libnvvm.so.4.0.0")],
        ),
        CUDART: make_archive(
            top(CUDART),
            cudart_files(),
            [link(f"{lib}/libcudart.so", "libcudart.so.12"), link(f"{lib}/libcudart.so.12", "libcudart.so.12.8.90")],
        ),
    }  # fmt: skip
    text = (SHIPPED / "cuda-12.8.toml").read_text("utf-8")
    shipped = parse_toolchain(text.encode(), name="cuda-12.8")
    (cccl,) = (one for one in shipped.part if one.component == "cccl" and one.machine == "x86_64")
    wheel = make_part_wheel(
        "nvidia_cuda_cccl_cu12", "12.8.90", {"nvidia/cuda_cccl/include/nv/target": b"#pragma once\n"}
    )
    name = "nvidia_cuda_cccl_cu12-12.8.90-py3-none-any.whl"
    text = text.replace(cccl.file, name).replace(cccl.sha256, sha256(wheel))
    for path, data in archives.items():
        text = re.sub(
            rf'(path = "{re.escape(path)}"\n.*\nsha256 = ")[0-9a-f]+', rf"\g<1>{sha256(data)}", text
        )
    return Mirror(text, archives, {cccl.package: {name: wheel}})


def part(component: str, data: bytes, *, file: str, folder: str, path: str = "") -> Part:
    """Return the pin of an archive or a wheel."""
    package = "" if path else component
    sha = Sha256(sha256(data))
    return Part(
        component=component,
        machine="x86_64",
        package=package,
        path=path,
        file=file,
        sha256=sha,
        folder=folder,
    )


def toolchain(*parts: Part, links: Mapping[str, str] | None = None, cuda: str = "12.8") -> Toolchain:
    """Return a toolchain of these parts."""
    return Toolchain(name="cuda-12.8", cuda=cuda, ptx_isa="8.7", part=parts, links=dict(links or {}))
