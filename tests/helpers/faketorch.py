"""A package ``torch`` that is none: it answers what a smoke test asks of it, and has the GPUs that it is told of."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tinycuda import record, zip_bytes

H200 = ("NVIDIA H200", 9, 0, 150_000_000_000, 149_000_000_000)
"""Name, compute capability, bytes, bytes that are free."""
_TORCH = """\
from . import _C, cuda, version

__version__ = {version!r}


class OutOfMemoryError(RuntimeError):
    pass


{fault}
"""
_CUDA = """\
from types import SimpleNamespace

GPUS = {gpus!r}
BUSY = {busy!r}
initialized = False
lost = ""


def is_available():
    return bool(GPUS)


def device_count():
    return len(GPUS)


def get_device_properties(index):
    if BUSY:
        raise RuntimeError(BUSY)
    name, major, minor, total, _ = GPUS[index]
    return SimpleNamespace(name=name, major=major, minor=minor, total_memory=total)


def mem_get_info(index):
    return GPUS[index][4], GPUS[index][3]


def is_initialized():
    return initialized


def synchronize():
    if lost:
        raise RuntimeError(lost)


def empty_cache():
    pass
"""
_REGISTRY = """\
def _dispatch_get_all_op_names():
    return ["aten::add"]


def _dispatch_has_kernel(name):
    return True
"""
_DRIVER = """\
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
int cuDriverGetVersion(int *version) { *version = %d; return 0; }
int cuInit(unsigned flags) { return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetAttribute(int *value, int number, int device) { *value = number == 75 ? 9 : 0; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = 0; return 0; }
int cuCtxSetCurrent(void *context) { return 0; }
int cuModuleUnload(void *module) { return 0; }
int cuModuleGetFunctionCount(unsigned *count, void *module) { *count = 2; return 0; }
int cuGetErrorName(int code, const char **name)
{
    *name = code == 223 ? "CUDA_ERROR_JIT_COMPILATION_DISABLED" : "CUDA_ERROR_INVALID_IMAGE";
    return 0;
}
/* Takes machine code of sm_9x whose first bytes are an ELF's, and PTX unless its compiler is off. */
int cuModuleLoadData(void **module, const unsigned char *image)
{
    const char *off = getenv("CUDA_DISABLE_PTX_JIT");
    const unsigned char *at = image + 16, *end = at + *(const uint64_t *)(image + 8);
    for (; at < end; at += *(const uint32_t *)(at + 4) + *(const uint64_t *)(at + 8))
        if (*(const uint16_t *)at == 2 && *(const uint32_t *)(at + 28) / 10 == 9)
            return memcmp(at + *(const uint32_t *)(at + 4), "\\x7f" "ELF", 4) ? 200 : 0;
    return off && *off == '1' ? 223 : 0;
}
"""


def files(
    version: str = "2.9.1",
    *,
    cuda: str | None = None,
    gpus: tuple[tuple[str, int, int, int, int], ...] = (),
    busy: str = "",
    fault: str = "",
) -> dict[str, bytes]:
    """Return what the package consists of; ``busy`` is what a GPU answers, ``fault`` code that runs on import."""
    return {
        "torch/__init__.py": _TORCH.format(version=version, fault=fault).encode(),
        "torch/version.py": f"cuda = {cuda!r}\n".encode(),
        "torch/_C.py": _REGISTRY.encode(),
        "torch/cuda.py": _CUDA.format(gpus=gpus, busy=busy).encode(),
        **about("torch", version),
    }


def about(name: str, version: str) -> dict[str, bytes]:
    """Return the folder that tells ``importlib.metadata`` that a package is there."""
    folder = f"{name}-{version}.dist-info"
    return {
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n".encode(),
        f"{folder}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n\n",
    }


def triton(version: str = "3.5.1") -> dict[str, bytes]:
    """Return a package ``triton``."""
    return {"triton/__init__.py": f"__version__ = {version!r}\n".encode(), **about("triton", version)}


def put(folder: Path, *packages: Mapping[str, bytes]) -> Path:
    """Write packages into a folder for PYTHONPATH and return it."""
    for name, data in ((name, data) for package in packages for name, data in package.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    # Another text of the same size, written within a second, would pass for what was compiled.
    for cache in list(folder.rglob("__pycache__")):
        shutil.rmtree(cache)
    return folder


def wheel(package: Mapping[str, bytes]) -> tuple[str, bytes]:
    """Return a package as a wheel for an index: file name and content."""
    info = next(name.partition("/")[0] for name in package if ".dist-info/" in name)
    name = f"{info.removesuffix('.dist-info')}-py3-none-any.whl"
    return name, zip_bytes({**package, f"{info}/RECORD": record(package, info)})


def driver(folder: Path, cuda: int) -> Path:
    """Compile a ``libcuda.so.1`` that serves CUDA up to ``cuda`` (12080) into a folder for LD_LIBRARY_PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["gcc", "-shared", "-x", "c", "-o", folder / "libcuda.so.1", "-"],
        input=_DRIVER % cuda, text=True, check=True,
    )  # fmt: skip
    return folder
