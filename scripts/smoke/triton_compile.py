"""Compile Triton kernels for GPUs that are not there, as a launch on one of them would.

Triton asks its driver which GPU it has; here a stand-in answers. So every Triton makes signature, constants, hints on
alignment and options from the launch's arguments in its own way, and what comes out is what users would run. Importing
this module imports nothing but the standard library.
"""

from __future__ import annotations

import ast
import atexit
import functools
import importlib
import importlib.util
import os
import re
import shutil
import struct
import sys
import tempfile
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import harness

_EM_CUDA = 190
_KIB = 1024
_SHARED = {75: 64, 80: 163, 86: 99, 87: 163, 89: 99, 90: 227, 100: 227, 103: 227, 120: 99, 121: 99}
"""Capability -> KiB of shared memory that one block may have; a launch that wants more raises OutOfResources."""
_TENSOR_MEMORY = 512
_OLDEST = 70
"""The first capability that Triton compiles for; matrix products for older ones abort its process."""
_BLACKWELL = 100
_KNOWS_BLACKWELL = (3, 3)
_LIMITS = (
    (89, re.compile(r"type fp8e4nv not supported in this architecture.*")),
    (80, re.compile(r"Feature '\.bf16\S*' requires \.target sm_80.*")),
)
"""Below which capability the compiler may say what: those GPUs lack the type."""
_GAPS = (("3.3.0", 120, re.compile(r"PassManager::run failed")),)
"""Which Triton may fail how from which capability on: 3.3.0 compiles no matrix product for RTX 50, 3.3.1 does."""


class Tensor:
    """A tensor argument: a type, a shape and strides; Triton takes its address for a multiple of 16."""

    def __init__(self, shape: Sequence[int], dtype: str, strides: Sequence[int] | None = None) -> None:
        self.shape = tuple(shape)
        self.dtype = getattr(importlib.import_module("torch"), dtype)
        self.strides = tuple(strides or _contiguous(self.shape))

    def permuted(self, *order: int) -> Tensor:
        """Return a view with the dimensions in another order."""
        kind = str(self.dtype).rpartition(".")[2]
        return Tensor([self.shape[one] for one in order], kind, [self.strides[one] for one in order])

    def stride(self, dimension: int | None = None) -> Any:
        """Return all strides, or one of them, in elements."""
        return self.strides if dimension is None else self.strides[dimension]

    def data_ptr(self) -> int:
        """Return an address."""
        return 0


def _contiguous(shape: Sequence[int]) -> list[int]:
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * size)
    return strides


class _Driver:
    """What Triton takes for the driver of the one GPU that a kernel is compiled for."""

    capability = 0

    def get_current_device(self) -> int:
        """Return a number of its own for every architecture, since Triton keeps kernels by device."""
        return self.capability

    def get_current_stream(self, _device: int = 0) -> int:
        """Return what Triton hands on to a launch."""
        return 0

    def get_current_target(self) -> Any:
        """Return the architecture to compile for."""
        return importlib.import_module("triton.backends.compiler").GPUTarget("cuda", self.capability, 32)

    def get_benchmarker(self) -> None:
        """Older Tritons ask for it when a kernel is decorated; nothing is ever measured."""


@functools.lru_cache(maxsize=None)  # noqa: UP033 - a name that Python 3.9 has as well
def start() -> _Driver:
    """Import Triton with an empty cache of its own and without a GPU; call it before anything else imports it."""
    above = Path(os.environ.get("TRITON_CACHE_DIR") or tempfile.gettempdir())
    above.mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="triton-", dir=above)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.update(TRITON_CACHE_DIR=folder, TRITON_ALWAYS_COMPILE="1")
    driver = _Driver()
    importlib.import_module("triton").runtime.driver.set_active(driver)
    return driver


def under_bare_parents(package: str, module: str) -> Any:
    """Import ``package.module`` without running what the packages above it do when imported."""
    start()
    top, parents = root(package), module.split(".")[:-1]
    for count in range(len(parents) + 1):
        name = ".".join([package, *parents[:count]])
        if name not in sys.modules:
            sys.modules[name] = bare = types.ModuleType(name)
            bare.__path__ = [str(top.joinpath(*parents[:count]))]
    return importlib.import_module(f"{package}.{module}")


@functools.lru_cache(maxsize=None)  # noqa: UP033
def root(package: str) -> Path:
    """Return the folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    assert places, f"there is no {package}"
    return Path(places[0])


def kernels(folders: Iterable[Path]) -> dict[str, bool]:
    """Return the names of the kernels in the folders' modules, and whether each can be launched: no other calls it."""
    found: set[str] = set()
    called: set[str] = set()
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
            if isinstance(node, ast.FunctionDef) and any(map(_is_jit, node.decorator_list)):
                found.add(f"{path.stem}.{node.name}")
                calls = (one.func for one in ast.walk(node) if isinstance(one, ast.Call))
                called |= {one.id for one in calls if isinstance(one, ast.Name)}
    return {name: name.partition(".")[2] not in called for name in found}


def _is_jit(decorator: ast.expr) -> bool:
    """Say whether a decorator is ``triton.jit`` or ``jit``, called or not."""
    return ast.unparse(decorator).partition("(")[0] in {"triton.jit", "jit"}


def capability(architecture: str) -> int:
    """Return the number of an architecture: 90 of ``9.0a``, 120 of ``12.0+PTX``."""
    major, minor = re.findall(r"\d+", architecture)[:2]
    return int(major) * 10 + int(minor)


class Uncompilable(Exception):  # noqa: N818 - what the kernel is
    """What the compiler says, in one line, with the kernel's line if it names one."""


def build(kernel: Any, number: int, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Compile ``kernel``, decorated as it is launched, for a capability; return numbers about the result.

    Raises Skip where compiler or GPU lack something by design, Uncompilable, or AssertionError when the GPU could not
    run the result.
    """
    start().capability = number
    _need_triton_for(number)
    try:
        compiled = kernel.run(grid=(1, 1, 1), warmup=True, **arguments)
    except Exception as error:
        if said := _limit(error, number) or _gap(error, number):
            raise harness.Skip(f"sm_{number}: {said}") from None
        raise Uncompilable(_said(error)).with_traceback(error.__traceback__) from error
    return _checked(compiled, number)


def _said(error: BaseException) -> str:
    """Return the innermost cause and the line of the kernel below which the compiler put its mark."""
    lines = str(error).splitlines()
    marks = [index for index, line in enumerate(lines) if index and line.strip() == "^"]
    inner = error
    while inner.__cause__ is not None:
        inner = inner.__cause__
    words = [line for line in str(inner).strip().splitlines() if line] or [""]
    reason = f"{type(inner).__name__}: {words[-1] if inner is error and marks else words[0]}"
    return f"{reason}, at `{lines[marks[-1] - 1].strip()[:100]}`" if marks else reason


def _need_triton_for(number: int) -> None:
    if number < _OLDEST:
        raise harness.Skip(f"sm_{number}: Triton compiles for 7.0 and newer, and no Triton kernel runs there")
    version = importlib.import_module("triton").__version__
    if number >= _BLACKWELL and tuple(int(part) for part in version.split(".")[:2]) < _KNOWS_BLACKWELL:
        raise harness.Skip(f"the ptxas of Triton {version} does not know sm_{number}; that of 3.3 does")


def _limit(error: BaseException | None, number: int) -> str:
    """Return what the compiler says when the GPU lacks a type by design; nothing for any other error."""
    while error is not None:
        for below, pattern in _LIMITS:
            found = pattern.search(str(error))
            if found and number < below:
                return found[0]
        error = error.__cause__ or error.__context__
    return ""


def _gap(error: BaseException, number: int) -> str:
    """Return what this release of Triton is known to fail with on a GPU; nothing for any other error."""
    version = importlib.import_module("triton").__version__
    known = any(
        version == one and number >= first and pattern.search(str(error)) for one, first, pattern in _GAPS
    )
    return f"Triton {version} does not compile this for it: {error}" if known else ""


def _checked(compiled: Any, number: int) -> dict[str, Any]:
    """Return the sizes of what was compiled after asserting that this GPU can run it."""
    target = re.search(r"^\.target\s+(sm_(\d+)[af]?)", compiled.asm["ptx"], re.MULTILINE)
    assert target, "the PTX has no .target"
    assert int(target[2]) == number, f"the PTX is for {target[1]}, not for sm_{number}"
    cubin, metadata = compiled.asm["cubin"], compiled.metadata
    assert _machine(cubin) == number, f"the cubin is for sm_{_machine(cubin)}, not for sm_{number}"
    room = _SHARED[number] * _KIB if number in _SHARED else metadata.shared
    assert metadata.shared <= room, (
        f"it takes {metadata.shared} bytes of shared memory; a block on sm_{number} may have {room}"
    )
    columns = getattr(metadata, "tmem_size", None) or 0
    assert columns <= _TENSOR_MEMORY, f"it takes {columns} columns of tensor memory of {_TENSOR_MEMORY}"
    return {
        "cubin": len(cubin),
        "ptx_target": target[1],
        "shared": metadata.shared,
        "warps": metadata.num_warps,
    }


def _machine(cubin: bytes) -> int:
    """Return what number an ELF file of CUDA is for: bits 0-7 of its flags up to ABI 7, bits 8-23 from ABI 8 on."""
    assert cubin[:6] == b"\x7fELF\x02\x01", "what should be the cubin is no 64-bit ELF file"
    machine, flags = struct.unpack_from("<H28xI", cubin, 18)
    assert machine == _EM_CUDA, f"what should be the cubin is for machine {machine}"
    return flags & 0xFF if cubin[8] < 8 else flags >> 8 & 0xFFFF
