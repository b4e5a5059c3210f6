#!/usr/bin/env python3
"""Smoke suite of xFormers: ``_C.so`` itself, SwiGLU and Sputnik, and native code that needs no JIT.

Attention never calls into this library. What it has of sparse24 is tried by the suite of that name, whose functions run
here once more in fresh processes.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import xformers_sparse24 as sparse24
from library_calls import DEVICE, DTYPES, SECONDS, begin, call, each, normal, rounded
from nearness import compared

ALL = """
_nvcc_build_version _sparse24_gemm _sparse24_meta_shuffle_test _sparse24_pack_mask sparse24_apply
_sparse24_pack_tensor_according_to_mask _sparse24_reorder_meta sparse24_apply_dense_output
sparse24_largest_mask_2d sparse24_largest_with_Krandom_mask_2d sparse24_sparsify_both_ways
"""
SINCE_31 = " _sparse24_fp8_sm90_cutlass_gemm _sparse24_sm90_cutlass_compress sparseNM_dense"
UNTIL_33 = """
coo_sddmm csr_sddmm dual_gemm_silu_identity_mul gemm_fused_operand_sum matmul_with_mask sddmm_sputnik
silu_bw_fused sparse_softmax_backward_sputnik sparse_softmax_sputnik spmm_sputnik swiglu_packedw
"""


# The library itself


def loaded() -> set[Path]:
    """Return the libraries that this process has loaded."""
    if sys.platform != "win32":
        lines = Path("/proc/self/maps").read_text("utf-8", "surrogateescape").splitlines()
        return {Path(line.split(maxsplit=5)[5]) for line in lines if "/" in line}
    import ctypes
    from ctypes import wintypes

    kernel = ctypes.WinDLL("kernel32")
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    kernel.K32EnumProcessModules.argtypes = (
        wintypes.HANDLE, ctypes.POINTER(wintypes.HMODULE), wintypes.DWORD, wintypes.LPDWORD
    )  # fmt: skip
    kernel.GetModuleFileNameW.argtypes = (wintypes.HMODULE, wintypes.LPWSTR, wintypes.DWORD)
    modules, needed, name = (
        (wintypes.HMODULE * 4096)(),
        wintypes.DWORD(),
        ctypes.create_unicode_buffer(1 << 15),
    )
    process = kernel.GetCurrentProcess()
    assert kernel.K32EnumProcessModules(process, modules, ctypes.sizeof(modules), ctypes.byref(needed))
    found = set()
    for one in modules[: needed.value // ctypes.sizeof(wintypes.HMODULE)]:
        if kernel.GetModuleFileNameW(one, name, len(name)):
            found.add(Path(name.value).resolve())
    return found


@each("library/load")
def load() -> dict[str, Any]:
    """Load the library from the wheel; it finds its CUDA runtime."""
    begin()
    import xformers

    folder = Path(xformers.__file__).resolve().parent
    paths = loaded()
    mine = sorted(path.name for path in paths if path.parent == folder and path.name.startswith("_C"))
    assert mine, f"no _C library of {folder} is mapped"
    runtimes = sorted(path.name for path in paths if path.name.startswith(("libcudart", "cudart64")))
    return {"version": xformers.__version__, "library": " ".join(mine), "libcudart": " ".join(runtimes)}


@each("library/registered")
def registered() -> dict[str, Any]:
    """Look for every operator that this version's sources declare."""
    begin()
    import torch
    import xformers

    patch = int("".join(filter(str.isdigit, xformers.__version__.split("+")[0].split(".")[2])))
    wanted = (ALL + (SINCE_31 if patch >= 31 else "") + (UNTIL_33 if patch <= 33 else "")).split()
    missing = [name for name in wanted if not hasattr(torch.ops.xformers, name)]
    assert not missing, f"missing: {' '.join(missing)}"
    return {"operators": len(wanted)}


@each("library/nvcc")
def nvcc() -> dict[str, Any]:
    """Ask the library which nvcc made it: none, where its version says that clang did."""
    begin()
    import xformers

    major, minor, build = call("_nvcc_build_version")
    by_clang = ".clang." in xformers.__version__
    assert major == 0 if by_clang else major >= 11, (major, xformers.__version__)
    return {"nvcc": f"{major}.{minor}.{build}"}


# SwiGLU, up to 0.0.33


@each("library/swiglu/{dtype}", dtype=DTYPES)
def swiglu(dtype: str) -> dict[str, float]:
    """Compare output and all gradients of the packed operator: eight roundings lie between input and gradient."""
    begin()
    import torch
    from xformers import ops

    if not hasattr(ops, "SwiGLUPackedFusedOp"):
        raise harness.Skip("this version has no packed operator")
    module = ops.SwiGLU(256, 512, 128).to(DEVICE, getattr(torch, DTYPES[dtype]))
    x, out = normal(384, 256, dtype=dtype, grad=True), normal(384, 128, dtype=dtype)
    chosen = ops.SwiGLUOpDispatch.from_arguments(x, *module._ordered_params()).op
    assert chosen is ops.SwiGLUPackedFusedOp, f"{chosen} was chosen"
    inputs = [x, *module.parameters()]
    got = module(x)
    found = [got, *torch.autograd.grad(got, inputs, out)]
    torch.cuda.synchronize()
    wide = [one.detach().double().requires_grad_() for one in inputs]
    left, right = torch.nn.functional.linear(*wide[:3]).chunk(2, -1)
    wanted = torch.nn.functional.linear(torch.nn.functional.silu(left) * right, *wide[3:])
    references = [wanted, *torch.autograd.grad(wanted, wide, out.double())]
    names = ("out", "dx", "dw12", "db12", "dw3", "db3")
    return compared({name: (found[i], references[i]) for i, name in enumerate(names)}, rounded(dtype, 8))


@each("library/swiglu-kernels/{dtype}", dtype=DTYPES)
def swiglu_kernels(dtype: str) -> dict[str, float]:
    """Call the three fused kernels: each sums in fp32, and up to four roundings lie behind a result."""
    import torch

    begin()
    x, grad = normal(384, 256, dtype=dtype), normal(384, 512, dtype=dtype)
    w1, w2 = (normal(512, 256, dtype=dtype) / 16 for _ in range(2))
    b1, b2 = (normal(512, dtype=dtype) for _ in range(2))
    x1, x2, x4 = call("dual_gemm_silu_identity_mul", x, w1, b1, w2, b2)
    one, two = (x.double() @ w.double().t() + b.double() for w, b in ((w1, b1), (w2, b2)))
    both, again = call("silu_bw_fused", x1, x2, grad)
    left, right, up = x1.double().requires_grad_(), x2.double().requires_grad_(), grad.double()
    inner = torch.nn.functional.silu(left) * right
    product, total = call("gemm_fused_operand_sum", grad.t(), x)
    pairs = {"x1": (x1, one), "x2": (x2, two), "x4": (x4, torch.nn.functional.silu(one) * two)}
    pairs["silu backward"] = (both, torch.stack(torch.autograd.grad(inner, (left, right), up), 1))
    pairs["silu again"] = (again, inner.detach())
    pairs |= {"product": (product, up.t() @ x.double()), "sum": (total, up.sum(0))}
    return compared(pairs, rounded(dtype, 4))


# Sputnik, up to 0.0.33: fp32 alone, with CUDA cores, so 1e-5 is some ten roundings of a sum of 64


def csr(rows: int, cols: int) -> tuple[Any, Any, Any, Any, Any]:
    """Return a mask with a multiple of four values in each row, and row order, offsets, columns and rows of them."""
    import torch

    count = torch.randint(1, cols // 4 + 1, (rows,), device=DEVICE) * 4
    mask = torch.rand(rows, cols, device=DEVICE).argsort(1).argsort(1) < count[:, None]
    offsets = torch.nn.functional.pad(count.cumsum(0), (1, 0)).int()
    line, column = (one.int().contiguous() for one in mask.nonzero().unbind(1))
    return mask, count.argsort(descending=True).int(), offsets, column, line


@each("library/sputnik/sddmm")
def sddmm() -> dict[str, float]:
    """Sample dense products with each of the three kernels."""
    begin()
    mask, order, offsets, column, line = csr(192, 128)
    a, b = normal(4, 192, 64), normal(4, 128, 64)
    wanted = (a.double() @ b.double().transpose(1, 2))[:, mask]
    kernels = {"sddmm_sputnik": offsets, "csr_sddmm": offsets, "coo_sddmm": line}
    return compared(
        {name: (call(name, a, b, order, at, column), wanted) for name, at in kernels.items()}, 1e-5
    )


@each("library/sputnik/softmax")
def softmax() -> dict[str, float]:
    """Take the softmax of a sparse matrix, and its gradient."""
    import torch

    begin()
    mask, order, offsets, column, _ = csr(192, 128)
    values, up = (normal(4, len(column)) for _ in range(2))
    full = torch.full((4, 192, 128), -math.inf, device=DEVICE, dtype=torch.float64)
    full[:, mask] = values.double()
    wanted = full.softmax(-1)[:, mask]
    found = call("sparse_softmax_sputnik", 192, 128, order, values, offsets, column)
    back = call("sparse_softmax_backward_sputnik", 192, 128, order, found, up, offsets, column)
    product = torch.zeros_like(full)
    product[:, mask] = wanted * up.double()
    total = product.sum(-1, keepdim=True).expand_as(full)[:, mask]
    return compared({"forward": (found, wanted), "backward": (back, wanted * (up - total))}, 1e-5)


@each("library/sputnik/spmm")
def spmm() -> dict[str, float]:
    """Multiply sparse by dense."""
    import torch

    begin()
    mask, order, offsets, column, _ = csr(192, 128)
    values, b = normal(4, len(column)), normal(4, 128, 64)
    full = torch.zeros(4, 192, 128, device=DEVICE, dtype=torch.float64)
    full[:, mask] = values.double()
    return compared(
        {"spmm": (call("spmm_sputnik", b, order, values, offsets, column, 192), full @ b.double())}, 1e-5
    )


@each("library/sputnik/matmul-with-mask")
def matmul_with_mask() -> dict[str, float]:
    """Multiply at the places of a sparse mask."""
    import torch

    begin()
    a, b = normal(4, 96, 64), normal(4, 64, 80)
    mask = torch.rand(4, 96, 80, device=DEVICE) < 0.3
    found = call("matmul_with_mask", a, b, mask.to_sparse()).to_dense()
    return compared({"product": (found, torch.where(mask, a.double() @ b.double(), 0))}, 1e-5)


# The same once more in fresh processes: native code serves this GPU when it works without the JIT


FAMILIES: dict[str, Callable[[], Any]] = {
    "sparsify24": lambda: sparse24.sparsify("fp16"),
    "sparse24_apply": lambda: sparse24.apply("bf16", "cutlass"),
    "largest mask": lambda: sparse24.largest_mask("fp16", 4),
    "N:M dense": lambda: sparse24.nm_dense(4),
    "meta shuffle": lambda: sparse24.meta_shuffle(False),
    "sparse24 gemm": lambda: sparse24.gemm("fp16", "cutlass"),
    "fp8 gemm": sparse24.fp8_gemm,
    "swiglu": lambda: swiglu("fp16"),
    "swiglu kernels": lambda: swiglu_kernels("bf16"),
    "sddmm": sddmm,
    "softmax": softmax,
    "spmm": spmm,
    "matmul with mask": matmul_with_mask,
}
NO_CACHE = {"CUDA_CACHE_DISABLE": "1"}
NO_JIT = {**NO_CACHE, "CUDA_DISABLE_PTX_JIT": "1"}


@each("library/native/families", env=NO_JIT, limit=120)
@each("library/cold-start/families", env=NO_CACHE, timed=True, limit=180)
def families() -> dict[str, Any]:
    """Run every family in the library; the numbers are the seconds of each operator's first call in this process."""
    begin()
    faults, passed = [], 0
    for name, family in FAMILIES.items():
        try:
            family()
            passed += 1
        except harness.Skip:
            continue
        except Exception as error:  # the others are to be told from it
            faults.append(
                f"{name}: {str(error).strip().splitlines()[0] if str(error) else type(error).__name__}"
            )
    assert not faults, "; ".join(faults)
    seconds = {f"seconds {name}": spent for name, spent in SECONDS.items()}
    return {"families": passed, "seconds": round(sum(SECONDS.values()), 4), **seconds}


@each("library/native/attention", env=NO_JIT, libraries=())
@each("library/cold-start/attention", env=NO_CACHE, timed=True, libraries=())
def attention() -> dict[str, Any]:
    """Run one attention with the operator that is chosen by itself: it rounds the weights and the result."""
    begin()
    import torch
    from xformers import ops

    q, k, v = (normal(2, 300, 4, 64, dtype="fp16") for _ in range(3))
    torch.cuda.synchronize()
    started = time.perf_counter()
    found = ops.memory_efficient_attention_forward(q, k, v)
    torch.cuda.synchronize()
    seconds = round(time.perf_counter() - started, 4)
    wide = (one.double().transpose(1, 2) for one in (q, k, v))
    wanted = torch.nn.functional.scaled_dot_product_attention(*wide).transpose(1, 2)
    return {"seconds": seconds, **compared({"out": (found, wanted)}, rounded("fp16", 2))}


if __name__ == "__main__":
    harness.main()
