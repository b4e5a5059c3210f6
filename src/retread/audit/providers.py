"""Who gives the libraries of a wheel what they need where it is installed: each of these has to have somebody. Pure.

The loader takes a library that is loaded already for one of that name, and else searches the run path and the system's
folders. So there are five: the wheel itself, a required package in a folder of the run path, torch, which is imported
before whatever links to it and loads the CUDA libraries of its release, the system, and NVIDIA's driver. What a library
of Windows needs is in ``windows``.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.utils import canonicalize_name

from retread import pypa
from retread.audit import windows
from retread.audit.report import Check
from retread.elf.facts import Format, LibraryFacts
from retread.wheel.facts import WheelFacts
from retread.wheel.statement import Promise

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

SYSTEM: Final = frozenset(
    (
        "libanl.so.1", "libatomic.so.1", "libc.so.6", "libdl.so.2", "libexpat.so.1", "libgcc_s.so.1", "libGL.so.1",
        "libglib-2.0.so.0", "libgobject-2.0.so.0", "libgthread-2.0.so.0", "libICE.so.6", "libm.so.6", "libmvec.so.1",
        "libnsl.so.1", "libpthread.so.0", "libresolv.so.2", "librt.so.1", "libSM.so.6", "libstdc++.so.6",
        "libutil.so.1", "libX11.so.6", "libXext.so.6", "libXrender.so.1", "libz.so.1",
    )
)  # fmt: skip
"""What every system of a manylinux tag has: the policies' own list, up to manylinux_2_39."""
_LOADER: Final = re.compile(r"ld-linux-[a-z0-9-]+\.so\.[12]")
_DRIVER: Final = re.compile(r"lib(cuda|nvidia-[a-z0-9-]+|nvcuvid)\.so\.1")
"""What comes with the kernel module of NVIDIA's driver, and in no package."""
_TORCH: Final = re.compile(r"lib(torch|c10)(_[a-z0-9_]+)?\.so|lib(shm|caffe2_nvrtc)\.so")
"""What lies in ``torch/lib`` of every release for CUDA."""
_CUDA: Final[Mapping[int, Mapping[str, str]]] = {
    12: {
        "libcudart.so.12": "cuda-runtime", "libnvrtc.so.12": "cuda-nvrtc", "libcupti.so.12": "cuda-cupti",
        "libcublas.so.12": "cublas", "libcublasLt.so.12": "cublas", "libcufft.so.11": "cufft",
        "libcurand.so.10": "curand", "libcusolver.so.11": "cusolver", "libcusparse.so.12": "cusparse",
        "libnvJitLink.so.12": "nvjitlink", "libnvToolsExt.so.1": "nvtx", "libnccl.so.2": "nccl",
        "libcudnn.so.9": "cudnn", "libcusparseLt.so.0": "cusparselt", "libcufile.so.0": "cufile",
    },
    13: {
        "libcudart.so.13": "cuda-runtime", "libnvrtc.so.13": "cuda-nvrtc", "libcupti.so.13": "cuda-cupti",
        "libcublas.so.13": "cublas", "libcublasLt.so.13": "cublas", "libcufft.so.12": "cufft",
        "libcurand.so.10": "curand", "libcusolver.so.12": "cusolver", "libcusparse.so.12": "cusparse",
        "libnvJitLink.so.13": "nvjitlink", "libnccl.so.2": "nccl", "libcudnn.so.9": "cudnn",
        "libcusparseLt.so.0": "cusparselt", "libcufile.so.0": "cufile", "libnvshmem_host.so.3": "nvshmem",
    },
}  # fmt: skip
"""CUDA's major release -> library -> component: torch for that CUDA requires ``nvidia-<component>`` and loads it."""
_SINCE: Final = {
    "libcudnn.so.9": pypa.version("2.4"), "libcusparseLt.so.0": pypa.version("2.6"),
    "libcufile.so.0": pypa.version("2.7"), "libgomp.so.1": pypa.version("2.7"),
}  # fmt: skip
"""The first torch that has a library, where that is not the first for its CUDA."""
_CUDA_SINCE: Final = ((pypa.version("2.11"), 13), (pypa.version("2.1"), 12), (pypa.version("1.13"), 11))
"""From which torch on the package index's build is for which CUDA; a local version (``2.8.0+cu126``) says its own."""
_RELEASES: Final = tuple(pypa.version(f"2.{minor}.{patch}") for minor in range(15) for patch in range(3))
"""Releases of torch for which a range is tried, with those that the range itself names."""


_LINUX: Final = {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux"}
_WINDOWS: Final = {"os_name": "nt", "sys_platform": "win32", "platform_system": "Windows"}
_MACHINES: Final = {"x86_64": "x86_64", "aarch64": "aarch64", "amd64": "AMD64", "arm64": "ARM64"}
_MINORS: Final = range(6, 20)
"""Pythons under which the condition of a requirement is tried: whatever wheels of today may meet."""


class _Torch(NamedTuple):
    """The releases of torch that a wheel may meet."""

    range: SpecifierSet | None
    """None when the wheel does not require torch."""
    releases: tuple[Version, ...]


def _is_for(one: Requirement, wheel: WheelFacts) -> bool:
    """Say whether a requirement is one where the wheel is installed, under some Python and without extras."""
    if one.marker is None or "extra" in str(one.marker):
        return one.marker is None
    machine = next(
        (name for end, name in _MACHINES.items() if any(tag.endswith(end) for tag in wheel.tags)), ""
    )
    if not machine:
        return True
    there = {**(_WINDOWS if wheel.windows else _LINUX), "platform_machine": machine}
    try:
        return any(
            one.marker.evaluate(
                {**there, "python_version": f"3.{minor}", "python_full_version": f"3.{minor}.0"}
            )
            for minor in _MINORS
        )
    except (UndefinedComparison, UndefinedEnvironmentName):
        return True


def checks(wheel: WheelFacts, promise: Promise | None) -> Iterator[Check]:
    """Yield for every library who provides what it needs; nobody is a failed check.

    A wheel for which no torch is promised may need what a part of its range of torch has, or what another required
    package might.
    """
    requires = [one for one in map(pypa.requirement, wheel.requires) if _is_for(one, wheel)]
    torch = _torch(requires, promise)
    projects = [canonicalize_name(one.name) for one in requires]
    others = [one for one in projects if one != "torch"]
    free = not (promise and promise.torch)
    cuda = _major(promise.cuda) if promise else 0
    for name, facts in wheel.libraries.items():
        if not wheel.loads(facts):
            continue
        found: dict[str, list[str]] = {}
        lacking: list[str] = []
        for needed in facts.needed:
            if facts.format is Format.PE:
                around = windows.Around(wheel, "torch" in projects, cuda or windows.cuda(facts.needed))
                who, why = windows.provider(needed, name, around)
            else:
                who, why = _provider(needed, name, facts, wheel, projects), ""
            if not who and facts.format is Format.ELF:
                who, why = _of_torch(needed, torch, part=free)
            if not who and free and others:
                who = f"not known, perhaps {' or '.join(others)}"
            if who:
                found.setdefault(who, []).append(needed)
            else:
                lacking.append(f"{needed}{why}")
        provided = "; ".join(f"{who}: {' '.join(what)}" for who, what in found.items())
        detail = f"nothing provides {', '.join(lacking)}" if lacking else provided or "needs no library"
        yield Check(check="providers", subject=name, ok=not lacking, detail=detail)


def _major(cuda: str) -> int:
    return int(cuda.partition(".")[0] or 0)


def _provider(
    needed: str, member: str, facts: LibraryFacts, wheel: WheelFacts, projects: Sequence[str]
) -> str:  # fmt: skip
    """Return who has the library whatever torch there is, or nothing."""
    if needed in SYSTEM or _LOADER.fullmatch(needed):
        return "the system"
    if _DRIVER.fullmatch(needed):
        return "NVIDIA's driver"
    folders = [folder for entry in facts.run_path if (folder := _folder(entry, member))]
    if any(f"{folder}/{needed}" in wheel.libraries for folder in folders):
        return "the wheel by run path"
    for folder in folders:
        if project := _packaged(needed, folder, projects):
            return f"{project} by run path"
    if any(posixpath.basename(one) == needed for one in wheel.libraries):
        return "the wheel, once it is loaded"
    return ""


def _folder(entry: str, member: str) -> str:
    """Return the folder of site-packages that a run path's entry means for a member; nothing for one outside."""
    match = re.fullmatch(r"(?:\$ORIGIN|\$\{ORIGIN\})((?:/.*)?)", entry)
    folder = posixpath.normpath(posixpath.dirname(member) + match[1]) if match else ""
    return "" if folder.startswith(("..", "/")) else folder


def _packaged(needed: str, folder: str, projects: Sequence[str]) -> str:
    """Return the required project that puts the library into the folder, or nothing."""
    for cuda, libraries in _CUDA.items():
        component = libraries.get(needed)
        own = f"nvidia/{(component or '').replace('-', '_')}/lib"
        for project, place in (
            (f"nvidia-{component}-cu{cuda}", own),
            (f"nvidia-{component}", f"nvidia/cu{cuda}/lib"),
        ):
            if component and folder == place and project in projects:
                return project
    top = canonicalize_name(folder.partition("/")[0])
    return top if top in projects and top != "torch" else ""


def _torch(requires: list[Requirement], promise: Promise | None) -> _Torch:
    said = [one.specifier for one in requires if canonicalize_name(one.name) == "torch"]
    if not said:
        return _Torch(None, ())
    allowed = (
        pypa.specifiers(promise.torch)
        if promise and promise.torch
        else pypa.specifiers(",".join(map(str, said)))
    )
    named = [
        pypa.version(one.version)
        for one in allowed
        if one.operator != "===" and not one.version.endswith(".*")
    ]
    releases = [one for one in dict.fromkeys((*named, *_RELEASES)) if allowed.contains(one, prereleases=True)]
    return _Torch(allowed, tuple(sorted(releases)))


def _of_torch(needed: str, torch: _Torch, *, part: bool) -> tuple[str, str]:
    """Return (torch, if all its releases have the library, or with ``part`` one of them; why it is not torch)."""
    if not (_TORCH.fullmatch(needed) or needed in _SINCE or any(needed in found for found in _CUDA.values())):
        return "", ""
    if torch.range is None:
        return "", " (torch is not required)"
    lacking = [one for one in torch.releases if not _has(one, needed)]
    if not lacking:
        return ("torch", "") if torch.releases else ("", f" (no torch{torch.range} is known)")
    if part and len(lacking) < len(torch.releases):
        return f"torch, but not {lacking[0]}", ""
    return "", f" (torch {lacking[0]} {_why(lacking[0], needed)})"


def _why(torch: Version, needed: str) -> str:
    """Return why a release of torch does not have a library."""
    if needed in _SINCE and torch < _SINCE[needed]:
        return "does not have it yet"
    return f"is for CUDA {_cuda(torch)}" if _cuda(torch) else "is for no CUDA"


def _has(torch: Version, needed: str) -> bool:
    """Say whether a release of torch ships the library, or requires and loads it."""
    if torch < _SINCE.get(needed, torch):
        return False
    return bool(_TORCH.fullmatch(needed)) or needed == "libgomp.so.1" or needed in _CUDA.get(_cuda(torch), ())


def _cuda(torch: Version) -> int:
    """Return the major release of CUDA that a torch is built for, 0 for none."""
    if torch.local:
        match = re.fullmatch(r"cu(\d+)\d", torch.local)
        return int(match[1]) if match else 0
    return next((cuda for first, cuda in _CUDA_SINCE if torch >= first), 0)
