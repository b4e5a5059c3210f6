"""What a wheel sees while it is tried on this machine: nobody vouches for it yet, so it is behind walls.

It sees the Python that tries it with all that this can import, and GPUs where there are some.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from retread import strict
from retread.doors import proc, walls
from retread.doors.console import NOTE
from retread.doors.walls import Walls
from retread.environment import host
from retread.records import Record

_ASK: Final = """
import ctypes, json, site, sys
count = ctypes.c_int(-1)
if sys.argv[1:]:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        if driver.cuInit(0) == 0:
            driver.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):
        pass
found = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *sys.path]
print(json.dumps({"shown": [path for path in found if path], "user": site.getuserbase(), "gpus": count.value}))
"""
"""What a Python can import, and how many GPUs it may use. Asked outside of walls first, this also has the driver make
its device files, which takes rights that nothing has behind walls."""
_KEPT: Final = frozenset(
    {
        "PATH",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TERM",
        "NO_COLOR",
        "LD_LIBRARY_PATH",
        "CC",
        "CXX",
        "CONDA_PREFIX",
        "VIRTUAL_ENV",
    }
)
_KEPT_KINDS: Final = (
    "LC_", "PYTHON", "CUDA_", "NVIDIA_", "NCCL_", "TORCH", "PYTORCH_", "TRITON_", "OMP_", "MKL_", "KMP_", "OPENBLAS_",
)  # fmt: skip
"""Variables that say how Python, torch and GPUs are used. No other reaches a wheel: among them are keys and tokens."""
_DRIVER: Final = ("/run/opengl-driver", "/run/nvidia-persistenced", "/tmp/nvidia-mps", "/etc/nvidia")
"""Where else than among the packages a driver lies, or talks."""
_HOME: Final = "/tmp"


class _Python(Record, frozen=True, kw_only=True):
    """What a Python says of itself."""

    shown: tuple[str, ...] = ()
    user: str = ""
    gpus: int = -1


def around(
    kit: Path,
    python: Path | str,
    paths: Iterable[Path],
    environment: Mapping[str, str],
    heard: Callable[[str], None],
) -> tuple[Sequence[str], Mapping[str, str]]:
    """Return what stands before the command that runs a kit, and its variables; without walls nothing, and all.

    Walls that keep the GPUs out are none, which ``heard`` is told. ToolError for a Python that cannot be started.
    """
    if walls.absence(environment):
        return (), environment
    kept = {
        name: value for name, value in environment.items() if name in _KEPT or name.startswith(_KEPT_KINDS)
    }
    program = shutil.which(python, path=environment.get("PATH")) or str(python)
    home = {"HOME": environment["HOME"]} if "HOME" in environment else {}
    gpu = host.has_gpu()
    outside = _asked([], program, {**kept, **home}, gpu)
    named = [
        one
        for name, value in kept.items()
        if name != "PATH"
        for one in value.split(":")
        if one.startswith("/")
    ]
    shown = [kit, *paths, *walls.hops(program), *outside.shown, *named, *(_DRIVER if gpu else ())]
    before = Walls(walls.readable(shown), folder=_HOME, devices=gpu).command()
    variables = {**kept, "HOME": _HOME, "PYTHONUSERBASE": outside.user}
    if gpu and _asked(before, program, variables, gpu).gpus != outside.gpus:
        walls.demand(environment, why := "no GPU can be used behind walls here")
        heard(f"    {NOTE} {why}, so what this wheel runs {walls.OPEN}")
        return (), environment
    return before, variables


def _asked(before: Sequence[str], program: str, environment: Mapping[str, str], gpu: bool) -> _Python:
    done = proc.run([*before, program, "-c", _ASK, *(["gpu"] if gpu else [])], env=environment, check=False)
    try:
        return strict.decoded(done.stdout.strip().splitlines()[-1], _Python)
    except (IndexError, ValueError):
        return _Python()  # what is wrong with it, the kit's run tells
