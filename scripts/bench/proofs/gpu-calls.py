#!/usr/bin/env python3
"""Call into the compiled library of wheels on a real GPU, with the JIT off, and compare with a reference.

    gpu-calls.py WHEEL... --json REPORT     on the GPU machine: only Python, torch and this script

Each wheel runs in a fresh process with CUDA_DISABLE_PTX_JIT=1 and CUDA_CACHE_DISABLE=1: what passes is native code. The
report is bound to each wheel by its sha256.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    """Run every wheel in a process of its own and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path, nargs="+")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(calls()))
        return
    reports = [report(wheel) for wheel in options.wheel]
    text = json.dumps({"schema": 1, **machine(), "wheels": reports}, indent=2) + "\n"
    if options.json:
        options.json.write_text(text)
    print(text)


def machine() -> dict[str, str]:
    """Return what the calls ran on."""
    import torch
    import triton

    query = ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    gpu = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    python = ".".join(map(str, sys.version_info[:3]))
    return {"gpu": gpu, "torch": torch.__version__, "triton": triton.__version__, "python": python}


def report(wheel: Path) -> dict[str, Any]:
    """Return what became of the calls into one wheel."""
    found: dict[str, Any] = {"wheel": wheel.name, "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        env = {**os.environ, "PYTHONPATH": folder, "CUDA_DISABLE_PTX_JIT": "1", "CUDA_CACHE_DISABLE": "1"}
        command = [sys.executable, __file__, "--here", wheel]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        return {**found, "failed": done.stderr[-3000:]}
    return {**found, "calls": json.loads(done.stdout.splitlines()[-1])}


def calls() -> dict[str, Any]:
    """Return what each call gave: difference from the reference, seconds of the first call, or the error."""
    import torch
    import xformers
    from xformers import ops

    torch.manual_seed(0)
    found: dict[str, Any] = {"version": xformers.__version__}

    def attention(dtype: torch.dtype, op: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
        q, k, v = (torch.randn(2, 300, 4, 64, device="cuda", dtype=dtype) for _ in range(3))
        out = ops.memory_efficient_attention_forward(q, k, v, op=op)
        a, b, c = (one.double().transpose(1, 2) for one in (q, k, v))
        return out.double(), torch.nn.functional.scaled_dot_product_attention(a, b, c).transpose(1, 2)

    def sparse() -> tuple[torch.Tensor, torch.Tensor]:
        """Pack, and unpack to dense: two of each four values must be left, as they were."""
        x = torch.randn(4096, 4096, device="cuda", dtype=torch.float16)
        dense = ops.sparsify24_like(x, ops.sparsify24(x), backend="dense")
        left = (dense.reshape(4096, 1024, 4) != 0).sum(-1)
        assert int(left.max()) == 2, left
        assert float(left.double().mean()) > 1.9, left.double().mean()
        return dense.double(), torch.where(dense != 0, x, 0).double()

    def split(op: Any) -> Callable[[], tuple[torch.Tensor, torch.Tensor]]:
        return lambda: attention(torch.float16, op)

    def swiglu() -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(512, 256, device="cuda", dtype=torch.float16)
        module = ops.SwiGLU(256, 512, 256, bias=True).cuda().half()
        w = module
        x1, x2 = (x.double() @ w.w12.weight.double().T + w.w12.bias.double()).chunk(2, -1)
        inner = torch.nn.functional.silu(x1) * x2
        return module(x).double(), inner @ w.w3.weight.double().T + w.w3.bias.double()

    cases: dict[str, Callable[[], tuple[torch.Tensor, torch.Tensor]]] = {
        "attention fp16": lambda: attention(torch.float16),
        "attention fp32": lambda: attention(torch.float32),
        "sparse24": sparse,
        "swiglu": swiglu,
    }
    triton_op = getattr(ops.fmha, "triton_splitk", None)
    if triton_op is not None:
        cases["attention split-K, Triton"] = split(triton_op.FwOp)
    for name, case in cases.items():
        started = time.perf_counter()
        try:
            got, wanted = case()
            torch.cuda.synchronize()
            difference = (got - wanted).abs().max().item() / wanted.abs().max().item()
            found[name] = {
                "relative difference": difference,
                "seconds": round(time.perf_counter() - started, 3),
            }
        except Exception as error:
            found[name] = {"error": f"{type(error).__name__}: {str(error)[:600]}"}
    return found


main()
