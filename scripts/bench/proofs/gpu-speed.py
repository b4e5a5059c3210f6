#!/usr/bin/env python3
"""Time the operators of compiled libraries of several wheels on a real GPU, in turns, with the JIT off.

    gpu-speed.py WHEEL... [--beside RUNTIME.whl] [--rounds N] --json REPORT

runs on the GPU machine: only Python, torch and this script are needed. ``--beside`` is unpacked beside every wheel, for
a libcudart that is found by run path.

Each round runs every wheel once, in a fresh process with CUDA_DISABLE_PTX_JIT=1: what is timed is native code. A time
is the median of CALLS calls between two CUDA events, after WARM others, and before each the L2 cache is filled with
something else. Events and call are queued behind a kernel that waits for longer than the processor takes to queue them,
so what an operator does on the processor is in no time. The report has each wheel's times of every round, the median of
them, its ratio to the first wheel's in the same run, and the processor's milliseconds to queue one call. An operator
that a library does not have is left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

CALLS, WARM = 30, 5
FLUSH = 256 << 20
"""Bytes: several times the L2 cache of any GPU so far."""
CYCLES = 2_500_000
"""Of a GPU in a millisecond, at the highest clock of any so far."""


def main() -> None:
    """Run the rounds and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path, nargs="+")
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(times()))
        return
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder, str(index)) for index in range(len(options.wheel))]
        for wheel, place in zip(options.wheel, places, strict=True):
            for one in filter(None, (wheel, options.beside)):
                unpack(one, place)
        rounds = [[one_round(place) for place in places] for _ in range(options.rounds)]
    names = [name for name in rounds[0][0] if all(name in found for one in rounds for found in one)]
    text = json.dumps(report(options.wheel, rounds, names), indent=1) + "\n"
    if options.json:
        options.json.write_text(text)
    print(text)


def unpack(wheel: Path, into: Path) -> None:
    """Unpack a wheel into a folder."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(into)


def one_round(place: Path) -> dict[str, list[float]]:
    """Return what ``times`` does of one wheel in a fresh process."""
    env = {**os.environ, "PYTHONPATH": str(place), "CUDA_DISABLE_PTX_JIT": "1"}
    command = [sys.executable, __file__, "--here", str(place)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{place}: {done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def report(
    wheels: list[Path], rounds: list[list[dict[str, list[float]]]], names: list[str]
) -> dict[str, Any]:
    """Return the report: the machine, the wheels, and of each operator the times and the ratios to the first wheel."""
    import torch

    query = ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    gpu = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    found = {}
    for name in names:
        all_times = [[one[index][name][0] for one in rounds] for index in range(len(wheels))]
        queued = [[one[index][name][1] for one in rounds] for index in range(len(wheels))]
        medians = [statistics.median(one) for one in all_times]
        found[name] = {
            "ms": [round(one, 4) for one in medians],
            "ratio": [round(one / medians[0], 3) for one in medians],
            "ms_to_queue": [round(statistics.median(one), 4) for one in queued],
            "rounds": [[round(one, 4) for one in times] for times in all_times],
        }
    return {
        "schema": 1,
        "gpu": gpu,
        "torch": torch.__version__,
        "wheels": [
            {"wheel": one.name, "sha256": hashlib.sha256(one.read_bytes()).hexdigest()} for one in wheels
        ],
        "operators": found,
    }


# What is timed, in the process of one wheel.


def times() -> dict[str, list[float]]:
    """Return the milliseconds of each operator that the library has: on the GPU, and of the processor to queue it."""
    import torch
    import xformers

    failure = xformers._cpp_lib._cpp_library_load_exception
    assert failure is None, failure.__cause__ or failure
    flush, found = torch.empty(FLUSH, dtype=torch.int8, device="cuda"), dict[str, list[float]]()
    for name, call in calls().items():
        queued = statistics.median([_queue(call) for _ in range(WARM)])
        taken = []
        for _ in range(CALLS):
            flush.zero_()
            torch.cuda._sleep(int((1 + 2 * queued) * CYCLES))
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
            taken.append(start.elapsed_time(end))
        found[name] = [statistics.median(taken), queued]
    return found


def _queue(call: Callable[[], Any]) -> float:
    """Make a call and return the milliseconds that the processor was at it, with nothing else in the queue."""
    import torch

    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    taken = time.perf_counter() - start
    torch.cuda.synchronize()
    return taken * 1000


def calls() -> dict[str, Callable[[], Any]]:
    """Return what is timed, by name, with its inputs made."""
    import torch
    from xformers import ops

    torch.manual_seed(0)
    library, found = torch.ops.xformers, dict[str, Callable[[], Any]]()

    def add(needs: str, name: str, call: Callable[[], Any]) -> None:
        if hasattr(library, needs):
            found[name] = call

    for dtype in (torch.float16, torch.bfloat16):
        for rows in (4096, 16384):
            x, kind = torch.randn(rows, 4096, device="cuda", dtype=dtype), str(dtype).removeprefix("torch.")
            label = f"{kind} {rows} x 4096"
            packed = ops.sparsify24(x)
            add("sparse24_sparsify_both_ways", f"sparsify24 {label}", lambda x=x: ops.sparsify24(x))
            add(
                "sparse24_apply",
                f"sparsify24_like {label}",
                lambda x=x, packed=packed: ops.sparsify24_like(x, packed),
            )
            add(
                "sparse24_apply_dense_output",
                f"sparsify24_like, dense, {label}",
                lambda x=x, packed=packed: ops.sparsify24_like(x, packed, backend="dense"),
            )
    _swiglu(add, library)
    _sputnik(add, library)
    return found


def _swiglu(add: Callable[[str, str, Callable[[], Any]], None], library: Any) -> None:
    """Add the three kernels of SwiGLU and the module's training step, as a model of width 4096 has them."""
    import torch
    from xformers import ops

    if not hasattr(library, "silu_bw_fused"):
        return
    for dtype in (torch.float16, torch.bfloat16):
        kind = str(dtype).removeprefix("torch.")
        x, grad = (torch.randn(4096, size, device="cuda", dtype=dtype) for size in (1024, 4096))
        w1, w2 = (torch.randn(4096, 1024, device="cuda", dtype=dtype) / 32 for _ in range(2))
        b1, b2 = (torch.randn(4096, device="cuda", dtype=dtype) for _ in range(2))
        across = grad.t()
        x1, x2, _ = library.dual_gemm_silu_identity_mul(x, w1, b1, w2, b2)
        add(
            "dual_gemm_silu_identity_mul",
            f"dual_gemm_silu_identity_mul {kind}",
            lambda a=(x, w1, b1, w2, b2): library.dual_gemm_silu_identity_mul(*a),
        )
        add("silu_bw_fused", f"silu_bw_fused {kind}", lambda a=(x1, x2, grad): library.silu_bw_fused(*a))
        add(
            "gemm_fused_operand_sum",
            f"gemm_fused_operand_sum {kind}",
            lambda a=(across, x): library.gemm_fused_operand_sum(*a),
        )
        module = ops.SwiGLU(1024, 4096, 1024).to("cuda", dtype)
        inputs, up = x.clone().requires_grad_(), torch.randn_like(x)

        def step(module: Any = module, inputs: Any = inputs, up: Any = up) -> None:
            module(inputs).backward(up)

        add("silu_bw_fused", f"SwiGLU, forward and backward, {kind}", step)


def _sputnik(add: Callable[[str, str, Callable[[], Any]], None], library: Any) -> None:
    """Add the sparse products: 8 heads of 1024 tokens and width 64, a tenth of the pairs, in fp32."""
    import torch

    if not hasattr(library, "spmm_sputnik"):
        return
    size, heads, width = 1024, 8, 64
    mask = torch.rand(size, size, device="cuda").argsort(1) < 104  # a multiple of four in each row
    offsets = torch.nn.functional.pad(mask.sum(1).cumsum(0), (1, 0)).int()
    line, column = (one.int().contiguous() for one in mask.nonzero().unbind(1))
    order = torch.arange(size, device="cuda", dtype=torch.int32)
    a, b = (torch.randn(heads, size, width, device="cuda") for _ in range(2))
    values = torch.randn(heads, len(column), device="cuda")
    soft = library.sparse_softmax_sputnik(size, size, order, values, offsets, column)
    for name, at in (("sddmm_sputnik", offsets), ("csr_sddmm", offsets), ("coo_sddmm", line)):
        add(name, name, lambda name=name, at=at: getattr(library, name)(a, b, order, at, column))
    add(
        "sparse_softmax_sputnik",
        "sparse_softmax_sputnik",
        lambda: library.sparse_softmax_sputnik(size, size, order, values, offsets, column),
    )
    add(
        "sparse_softmax_backward_sputnik",
        "sparse_softmax_backward_sputnik",
        lambda: library.sparse_softmax_backward_sputnik(size, size, order, soft, values, offsets, column),
    )
    add("spmm_sputnik", "spmm_sputnik", lambda: library.spmm_sputnik(b, order, values, offsets, column, size))


if __name__ == "__main__":
    main()
