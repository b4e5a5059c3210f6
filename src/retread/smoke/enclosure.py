"""What a wheel sees while it is tried on this machine: nobody vouches for it yet, so it is behind walls.

It sees the Python that tries it with all that this can import, and GPUs where there are some.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from retread import strict
from retread.doors import proc, walls
from retread.doors.walls import Walls
from retread.environment import host

_ASK: Final = """
import contextlib, ctypes, json, site, sys
if sys.argv[1:]:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libcuda.so.1").cuInit(0)
found = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *sys.path]
print(json.dumps({"shown": [path for path in found if path], "user": site.getuserbase()}))
"""
"""What a Python can import. On a machine with GPUs it also has the driver make its device files, once: that takes
rights which nothing has behind walls."""
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


def around(
    kit: Path, python: Path | str, paths: Iterable[Path], environment: Mapping[str, str]
) -> tuple[Sequence[str], Mapping[str, str]]:
    """Return what stands before the command that runs a kit, and its variables; without walls nothing, and all.

    ToolError for a Python that cannot be started.
    """
    if walls.absence(environment):
        return (), environment
    kept = {
        name: value for name, value in environment.items() if name in _KEPT or name.startswith(_KEPT_KINDS)
    }
    gpu = host.has_gpu()
    program = shutil.which(python, path=environment.get("PATH")) or str(python)
    home = {"HOME": environment["HOME"]} if "HOME" in environment else {}
    asked = proc.run([program, "-c", _ASK, *(["gpu"] if gpu else [])], env={**kept, **home}, check=False)
    own: dict[str, Any] = {"shown": [], "user": ""}
    if not asked.code:
        own = strict.json(asked.stdout.splitlines()[-1])
    named = [
        one
        for name, value in kept.items()
        if name != "PATH"
        for one in value.split(":")
        if one.startswith("/")
    ]
    shown = [kit, *paths, *walls.hops(program), *own["shown"], *named]
    made = Walls(walls.readable([*shown, *(_DRIVER if gpu else ())]), folder=_HOME, devices=gpu)
    return made.command(), {**kept, "HOME": _HOME, "PYTHONUSERBASE": own["user"]}
