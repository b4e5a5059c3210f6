"""Who gives a library of Windows what it imports, where it is installed. Pure.

A DLL that is loaded already is taken by its name. Else Python has the loader search the library's own folder, those
that a program added, and the system's; there is no run path. So there are five: the wheel itself, torch, which is
imported before whatever links to it and has its DLLs and CUDA's in one folder, Python, Windows, and NVIDIA's driver.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from retread.wheel.facts import WheelFacts

TORCH: Final = "torch for CUDA {cuda}, not the package index's, which is for CPU alone"
"""Who has torch's and CUDA's DLLs: on the package index, torch's wheels for Windows hold no code for GPUs."""
SYSTEM: Final = frozenset(
    (
        "advapi32", "bcrypt", "cfgmgr32", "comctl32", "comdlg32", "crypt32", "d3d11", "d3d12", "dbghelp", "dwmapi",
        "dxgi", "gdi32", "imm32", "iphlpapi", "kernel32", "mpr", "msvcrt", "ntdll", "ole32", "oleaut32", "opengl32",
        "pdh", "powrprof", "propsys", "psapi", "rpcrt4", "secur32", "setupapi", "shell32", "shlwapi", "synchronization",
        "ucrtbase", "user32", "userenv", "version", "winmm", "wintrust", "ws2_32", "wsock32",
    )
)  # fmt: skip
"""What Windows 10 and later have, without ``.dll``."""
_SYSTEM: Final = re.compile(r"(api|ext)-ms-win-[a-z0-9-]+")
_PYTHON: Final = re.compile(r"python3\d*t?|vcruntime140(_1)?")
"""The interpreter's own DLLs, in its folder."""
_CPP: Final = re.compile(r"msvcp140(_[a-z0-9_]+)?|concrt140|vcomp140|vcruntime140_threads")
"""The rest of Microsoft's C++ runtime, which torch asks its users to install."""
_DRIVER: Final = re.compile(r"nvcuda|nvml|nvcuvid|nvencodeapi64|nvoptix|nvapi64")
_TORCH: Final = re.compile(
    r"torch(_[a-z0-9_]+)?|c10(_[a-z0-9_]+)?|shm|caffe2_nvrtc|libiomp5md|uv|asmjit|fbgemm"
)
"""What lies in ``torch/lib`` of every release for CUDA."""
_CUDA: Final[Mapping[int, re.Pattern[str]]] = {
    12: re.compile(
        r"cudart64_12|nvrtc64_120_0|nvrtc-builtins64_12\d|cupti64_202[345].*|cublas(lt)?64_12|cufftw?64_11"
        r"|curand64_10|cusolver(mg)?64_11|cusparse64_12|nvjitlink_120_0|nvtoolsext64_1|cudnn[a-z_]*64_9"
    ),
    13: re.compile(
        r"cudart64_13|nvrtc64_130_0|nvrtc-builtins64_13\d|cupti64_202[56].*|cublas(lt)?64_13|cufftw?64_12"
        r"|curand64_10|cusolver(mg)?64_12|cusparse64_12|nvjitlink_130_0|cudnn[a-z_]*64_9"
    ),
}
"""CUDA's major release -> what of it torch for that CUDA has in ``torch/lib``."""


class Around(NamedTuple):
    """What there is beside a library where it is installed."""

    wheel: WheelFacts
    torch: bool
    """Whether the wheel requires torch."""
    cuda: int
    """The major release of CUDA that is promised, else the one whose DLLs it needs; 0 when there is none."""


def provider(needed: str, member: str, around: Around) -> tuple[str, str]:
    """Return (who has the DLL that a member needs, or nothing; why nobody has it)."""
    name = needed.lower().removesuffix(".dll")
    if who := _always(name) or _inside(needed, member, around.wheel.libraries):
        return who, ""
    releases = [cuda for cuda, one in _CUDA.items() if one.fullmatch(name)]
    if not (releases or _TORCH.fullmatch(name)):
        return "", ""
    if not around.torch:
        return "", " (torch is not required)"
    if releases and around.cuda and around.cuda not in releases:
        return (
            "",
            f" (it is CUDA {' or '.join(map(str, releases))}'s, and the wheel is for CUDA {around.cuda})",
        )
    return TORCH.format(cuda=around.cuda or "12 or 13"), ""


def cuda(needed: Iterable[str]) -> int:
    """Return the major release of CUDA whose DLLs are needed; 0 when they are of none, or of any."""
    names = [one.lower().removesuffix(".dll") for one in needed]
    found = [[cuda for cuda, one in _CUDA.items() if one.fullmatch(name)] for name in names]
    return next((one[0] for one in found if len(one) == 1), 0)


def _always(name: str) -> str:
    """Return who has a DLL whatever else there is."""
    known = (
        (name in SYSTEM or _SYSTEM.fullmatch(name), "Windows"),
        (_PYTHON.fullmatch(name), "Python"),
        (_CPP.fullmatch(name), "Microsoft's C++ runtime"),
        (_DRIVER.fullmatch(name), "NVIDIA's driver"),
    )
    return next((who for found, who in known if found), "")


def _inside(needed: str, member: str, members: Sequence[str] | Mapping[str, object]) -> str:
    """Return how the wheel itself has a DLL: in the library's folder, where it is found, or in another."""
    wanted = needed.lower()
    places = [posixpath.dirname(one) for one in members if posixpath.basename(one).lower() == wanted]
    if posixpath.dirname(member) in places:
        return "the wheel, beside it"
    return "the wheel, once its folder is added" if places else ""
