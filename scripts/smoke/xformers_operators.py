#!/usr/bin/env python3
"""Smoke suite of xFormers: import, what it says of itself, and attention in the ways that programs wrap it.

The small operators that are Triton in every version are here too.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import harness
from nearness import compared

DEVICE = "cuda"
ATTENTION = "memory_efficient_attention."


def rounded(times: int, dtype: Any = None) -> float:
    """Return the tolerance of a result that was rounded so many times to 16 bits on its way."""
    import torch

    return times * float(torch.finfo(dtype or torch.float16).eps)


def normal(*shape: int, **options: Any) -> Any:
    """Return random values, fp16 unless asked otherwise."""
    import torch

    return torch.randn(*shape, device=DEVICE, **{"dtype": torch.float16, **options})


def inputs(**options: Any) -> list[Any]:
    """Return query, key and value, the same in each run."""
    import torch

    torch.manual_seed(0)
    return [normal(2, 256, 4, 64, **options) for _ in range(3)]


def exact(q: Any, k: Any, v: Any) -> Any:
    """Return attention in fp64."""
    import torch

    wide = (one.detach().double().transpose(1, 2) for one in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(*wide).transpose(1, 2)


# What the wheel says of itself


@harness.case("operators/import", level="gpu")
def imported() -> dict[str, str]:
    """Import the wheel's own xFormers, of the version that its metadata says."""
    import xformers
    import xformers.ops

    setting = harness.setting()
    wanted = setting.get("version") or importlib.metadata.version("xformers")
    assert xformers.__version__ == wanted, f"xformers {xformers.__version__}, metadata {wanted}"
    place, site = Path(xformers.__file__).resolve(), setting["site"]
    assert not site or Path(site).resolve() in place.parents, f"{place} is not below {site}"
    return {"version": xformers.__version__}


@harness.case("operators/info", level="gpu", limit=90)
def info() -> dict[str, str]:
    """Run ``python -m xformers.info``; the numbers are its lines."""
    command = [sys.executable, "-m", "xformers.info"]
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", check=False, env=dict(os.environ)
    )
    assert not done.returncode, f"exit {done.returncode}: {done.stderr[-2000:]}"
    found = dict(line.split(":", 1) for line in done.stdout.splitlines() if ": " in line)
    assert any(name.startswith(ATTENTION) for name in found), done.stdout[-2000:]
    return {name: status.strip() for name, status in found.items()}


@harness.case("operators/expected", level="gpu")
def expected() -> dict[str, Any]:
    """Compare the available attention operators with the recipe's; a name without ``@`` stands for any version."""
    import torch
    from xformers.info import get_features_status

    key, expect = "operators {}.{}".format(*torch.cuda.get_device_capability()), harness.setting()["expect"]
    wanted = expect.get(key, expect.get("operators"))
    if wanted is None:
        raise harness.Skip(f"the recipe says nothing of {key}")
    states = get_features_status()
    found = [name for name, state in states.items() if name.startswith(ATTENTION) and state == "available"]
    unexpected = [name for name in found if not {name, name.split("@")[0]} & set(wanted)]
    missing = [name for name in wanted if name not in {*found, *(one.split("@")[0] for one in found)}]
    assert not [*missing, *unexpected], f"missing: {missing}; unexpected: {unexpected}"
    return {"available": len(found)}


# Attention as programs wrap it: two roundings, of the weights and of the result; gradients have more


@harness.case("operators/compile/fp16", level="gpu", limit=120, dtype="float16", roundings=4)
@harness.case("operators/compile/fp32", level="gpu", limit=120, dtype="float32", roundings=1)
def compiled(dtype: str, roundings: int) -> dict[str, Any]:
    """Compile one attention, forward and backward, in one graph where the version can; fp32 goes to CUTLASS."""
    import torch
    from xformers.ops import memory_efficient_attention

    kind = getattr(torch, dtype)
    q, k, v = (one.requires_grad_() for one in inputs(dtype=kind))
    grad = normal(*q.shape, dtype=kind)
    wanted = memory_efficient_attention(q, k, v)
    gradients = torch.autograd.grad(wanted, (q, k, v), grad)
    whole = 1
    try:
        out = torch.compile(memory_efficient_attention, fullgraph=True, dynamic=False)(q, k, v)
    except torch._dynamo.exc.Unsupported:
        whole = 0
        torch._dynamo.reset()
        out = torch.compile(memory_efficient_attention, dynamic=False)(q, k, v)
    found = torch.autograd.grad(out, (q, k, v), grad)
    torch.cuda.synchronize()
    pairs = {name: (found[at], gradients[at]) for at, name in enumerate(("dq", "dk", "dv"))}
    return {"fullgraph": whole, **compared({"out": (out, wanted), **pairs}, rounded(roundings))}


@harness.case("operators/cuda-graph", level="gpu")
def cuda_graph() -> dict[str, float]:
    """Capture one attention and replay it with other inputs."""
    import torch
    from xformers.ops import memory_efficient_attention

    places, others = inputs(), [normal(2, 256, 4, 64) for _ in range(3)]
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with (
        torch.no_grad(),
        torch.cuda.stream(aside),
    ):  # what is allocated or compiled at first must not be captured
        for _ in range(2):
            memory_efficient_attention(*places)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        found = memory_efficient_attention(*places)
    for place, other in zip(places, others):  # noqa: B905 - Python 3.9 has no strict
        place.copy_(other)
    graph.replay()
    torch.cuda.synchronize()
    eager = memory_efficient_attention(*others)
    return compared({"eager": (found, eager), "exact": (found, exact(*others))}, rounded(2))


@harness.case("operators/autocast", level="gpu")
def autocast() -> dict[str, float]:
    """Project under autocast, attend in bf16, and send the gradient back to fp32 weights."""
    import torch
    from xformers.ops import memory_efficient_attention

    torch.manual_seed(0)
    layer = torch.nn.Linear(128, 3 * 128).to(DEVICE)
    x = normal(2, 256, 128, dtype=torch.float32)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        parts = layer(x).reshape(2, 256, 3, 2, 64).unbind(2)
        out = memory_efficient_attention(*parts)
    assert out.dtype == torch.bfloat16, out.dtype
    out.float().pow(2).sum().backward()
    assert bool(layer.weight.grad.isfinite().all()), "the weights' gradient is not finite"
    assert bool(layer.weight.grad.any()), "the weights' gradient is zero"
    return compared({"out": (out, exact(*parts))}, rounded(2, torch.bfloat16))


def attends(_: Any, function: Any, *_rest: Any, **_options: Any) -> bool:
    """Say whether a called operator is an attention, whose result is worth its memory."""
    return any(word in str(function) for word in ("attention", "flash"))


@harness.case("operators/checkpoint", level="gpu")
def checkpoint() -> dict[str, float]:
    """Compute again in the backward pass, with and without results kept by the policy: the gradients stay the same."""
    import torch
    import xformers
    from xformers.ops import memory_efficient_attention

    places = [one.requires_grad_() for one in inputs()]
    grad = normal(*places[0].shape)
    wanted = torch.autograd.grad(memory_efficient_attention(*places), places, grad)
    pairs = {}
    for policy in (None, attends):
        out = xformers.checkpoint(memory_efficient_attention, *places, policy_fn=policy)
        found = torch.autograd.grad(out, places, grad)
        torch.cuda.synchronize()
        label = "kept" if policy else "computed again"
        pairs |= {f"{name}, {label}": (found[at], wanted[at]) for at, name in enumerate(("dq", "dk", "dv"))}
    return compared(pairs, rounded(4))


@harness.case("operators/bias", level="gpu")
def bias() -> None:
    """Write biases out on the GPU: nothing is added where a query may look, and minus infinity elsewhere."""
    import torch
    from xformers.ops.fmha.attn_bias import BlockDiagonalMask, LowerTriangularMask

    shape = (1, 96, 96)
    block = torch.repeat_interleave(torch.arange(3, device=DEVICE), torch.tensor([16, 48, 32], device=DEVICE))
    lower = torch.ones(96, 96, device=DEVICE).tril().bool()
    same = block[:, None] == block[None, :]
    masks = (LowerTriangularMask(), lower), (BlockDiagonalMask.from_seqlens([16, 48, 32]), same)
    for mask, visible in masks:
        found = mask.materialize(shape, dtype=torch.float32, device=DEVICE)
        wanted = torch.where(visible, 0.0, -math.inf).expand(shape)
        assert torch.equal(found, wanted), f"{type(mask).__name__} is wrong"


# The small Triton operators


@harness.case("operators/scaled-index-add", level="gpu")
def scaled_index_add() -> dict[str, float]:
    """Add scaled rows in place, with gradients: one rounding, two for the gradient of the scale's sum."""
    import torch
    from xformers import ops

    torch.manual_seed(0)
    x, source, scale = (normal(*shape, requires_grad=True) for shape in ((24, 10, 520), (9, 10, 520), (520,)))
    index, grad = torch.randperm(24, device=DEVICE)[:9], normal(24, 10, 520)
    out = ops.scaled_index_add(x.clone(), index, source, scale, 0.75)
    found = torch.autograd.grad(out, (x, source, scale), grad)
    torch.cuda.synchronize()
    wide = [one.detach().double().requires_grad_() for one in (x, source, scale)]
    wanted = torch.index_add(wide[0], 0, index, wide[1] * wide[2], alpha=0.75)
    references = torch.autograd.grad(wanted, wide, grad.double())
    pairs = {name: (found[at], references[at]) for at, name in enumerate(("dx", "dsource", "dscale"))}
    return compared({"out": (out, wanted), **pairs}, rounded(4))


@harness.case("operators/index-select-cat", level="gpu")
def index_select_cat() -> dict[str, float]:
    """Gather rows of two matrices into one vector, and scatter the gradient: both without rounding."""
    import torch
    from xformers import ops

    torch.manual_seed(0)
    sources = [normal(rows, cols, requires_grad=True) for rows, cols in ((48, 1032), (30, 520))]
    indices = [torch.randperm(rows, device=DEVICE)[: rows // 2] for rows in (48, 30)]
    out = ops.index_select_cat(sources, indices)
    picked = [source[index] for source, index in zip(sources, indices)]  # noqa: B905 - Python 3.9 has no strict
    wanted = torch.cat([one.flatten() for one in picked])
    grad = torch.randn_like(wanted)
    found = [out, *torch.autograd.grad(out, sources, grad)]
    references = [wanted, *torch.autograd.grad(wanted, sources, grad)]
    torch.cuda.synchronize()
    names = ("out", "first gradient", "second gradient")
    return compared({name: (found[at], references[at]) for at, name in enumerate(names)}, 0.0)


@harness.case("operators/rms-norm", level="gpu")
def rms_norm() -> dict[str, float]:
    """Normalise, and normalise a sum: each sums in fp32 and rounds once, the sum's addition once more."""
    import torch
    from xformers.ops import rmsnorm

    torch.manual_seed(0)
    x, y, weight = normal(3, 70, 1000), normal(3, 70, 1000), normal(1000)

    def wanted(values: Any) -> Any:
        wide = values.double()
        return wide / (wide.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()

    plain, weighted = rmsnorm.rms_norm(x, None), rmsnorm.rms_norm(x, weight)
    total = x.clone()
    added = rmsnorm.rms_norm_add(total, y, weight)
    torch.cuda.synchronize()
    pairs = {"plain": (plain, wanted(x)), "weighted": (weighted, wanted(x) * weight.double())}
    pairs |= {
        "sum": (total, x.double() + y.double()),
        "added": (added, wanted(x.double() + y) * weight.double()),
    }
    return compared(pairs, rounded(2))


@harness.case("operators/rope-padded", level="gpu")
def rope_padded() -> dict[str, float]:
    """Rotate queries and keys and put keys and values into a padded cache; fp32, with fast sine and cosine."""
    import torch
    from xformers.ops import rope_padded as rope
    from xformers.ops.fmha.attn_bias import BlockDiagonalCausalWithOffsetPaddedKeysMask as Mask

    torch.manual_seed(0)
    news, lengths, room = [3, 5], [10, 7], 16
    wide = {"dtype": torch.float32}
    xq, xk, xv = normal(1, 8, 4, 64, **wide), normal(1, 8, 2, 64, **wide), normal(1, 8, 2, 64, **wide)
    keys, values = normal(1, 2 * room, 2, 64, **wide), normal(1, 2 * room, 2, 64, **wide)
    mask = Mask.from_seqlens(q_seqlen=news, kv_padding=room, kv_seqlen=lengths, device=torch.device(DEVICE))
    place = [
        (row, length - new + at) for row, (new, length) in enumerate(((3, 10), (5, 7))) for at in range(new)
    ]
    slots = torch.tensor([row * room + position for row, position in place], device=DEVICE)
    at = torch.tensor([position for _, position in place], device=DEVICE).double()
    angle = at[:, None, None] * 10000.0 ** (-torch.arange(0, 64, 2, device=DEVICE).double() / 64)
    turn = torch.polar(torch.ones_like(angle), angle)

    def turned(x: Any) -> Any:
        pairs = torch.view_as_complex(x[0].double().reshape(*x.shape[1:3], 32, 2))
        return torch.view_as_real(pairs * turn).reshape(1, *x.shape[1:])

    wanted_keys, wanted_values = keys.double(), values.clone()
    wanted_keys[0, slots], wanted_values[0, slots] = turned(xk)[0], xv[0]
    found = rope(xq, xk, xv, keys, values, mask)
    torch.cuda.synchronize()
    assert torch.equal(values, wanted_values), "the cache of values is wrong"
    return compared({"queries": (found, turned(xq)), "keys": (keys, wanted_keys)}, 1e-4)


@harness.case("operators/tiled-matmul", level="gpu", limit=90)
def tiled_matmul() -> dict[str, float]:
    """Multiply grids of tiles, with one of the kernel's hundreds of configurations: finding the best takes minutes."""
    import torch
    from xformers import ops
    from xformers.ops._triton import tiled_matmul_kernels

    kernel = tiled_matmul_kernels._xformers_tiled_matmul_kernel
    all_of_them = kernel.configs
    kernel.configs = [
        one for one in all_of_them if one.kwargs["BLOCK_M"] == 64 and one.kwargs["SPLIT_K"] == 1
    ][:1]
    torch.manual_seed(0)
    a = [[normal(rows, depth) for depth in (64, 128)] for rows in (128, 192)]
    b = [[normal(depth, cols) for cols in (256, 64, 128)] for depth in (64, 128)]
    try:
        found = ops.tiled_matmul(a, b)
    finally:
        kernel.configs = all_of_them
    torch.cuda.synchronize()
    left, right = (torch.cat([torch.cat(row, 1) for row in grid]).double() for grid in (a, b))
    return compared({"product": (torch.cat([torch.cat(row, 1) for row in found]), left @ right)}, rounded(1))


if __name__ == "__main__":
    harness.main()
