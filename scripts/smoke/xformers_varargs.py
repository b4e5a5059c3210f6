#!/usr/bin/env python3
"""Smoke suite: Triton kernels with lists of arguments, which xFormers writes anew for each length of the lists.

``split-k``: attention of few queries over many keys, cut in parts, by the real operator; its kernel goes through
``unroll_varargs``. ``merge``: the real kernel that merges the parts of a list. ``unroll``: kernels of this file, in
both modes of ``unroll_varargs``. Their results are whole numbers, which fp32 holds exactly, so they have to be equal.

Tolerances of attention: with u the unit roundoff of the dtype and P the weights, P is rounded before it meets V and the
output is rounded, so |error| <= u P|V| + u |output|, doubled for sums, kept in fp32, and for exp2 on the GPU. The
parts are merged in fp32, where 2^-20 of P|V| is allowed.
"""

# ruff: noqa: F821, UP037, N803 - `tl` comes later, the quotes are what unroll_varargs looks for, BLOCK is Triton's style
from __future__ import annotations

import math
from typing import Any

import harness

DEVICE = "cuda"
DTYPES = {"fp16": "float16", "bf16": "bfloat16"}
BATCH, HEADS, QUERIES, KEYS, WIDTH = 2, 4, 4, 2048, 64
LENGTHS = (2048, 100, 1500)  # the second leaves most parts of 16 without a key
SLACK, MERGED = 2.0, 2.0**-20
BLOCK = 128


def _torch() -> Any:
    import torch

    return torch


def _fmha() -> Any:
    from xformers.ops import fmha

    return fmha


def _random(*shape: int, dtype: Any) -> Any:
    return _torch().randn(*shape, device=DEVICE, dtype=dtype)


# Split-K.


def split_k(dtype: str, splits: int, mask: str, shrink: int) -> dict[str, Any]:
    """Compare the operator with a fixed number of parts with attention in fp64."""
    fmha = _fmha()
    _torch().manual_seed(0)
    query, key, value, bias, allowed = MASKS[mask](getattr(_torch(), DTYPES[dtype]), shrink)
    operator = getattr(getattr(fmha, "triton_splitk", None), f"FwOp_S{splits}", None)
    if operator is None:
        raise harness.Skip(f"this version has no triton_splitk.FwOp_S{splits}")
    reasons = operator.not_supported_reasons(fmha.Inputs(query, key, value, attn_bias=bias))
    if reasons:
        raise harness.Skip(f"{operator.NAME}: " + "; ".join(" ".join(reason.split()) for reason in reasons))
    found = fmha.memory_efficient_attention_forward(query, key, value, bias, op=operator)
    output, sizes, _ = attend(_wide(query), _wide(key), _wide(value), allowed)
    unit = float(_torch().finfo(query.dtype).eps) / 2
    return compare(_wide(found), output, SLACK * unit * (sizes + output.abs()))


def _none(dtype: Any, shrink: int) -> tuple[Any, ...]:
    key, value = (_random(BATCH, KEYS // shrink, HEADS, WIDTH, dtype=dtype) for _ in range(2))
    return _random(BATCH, QUERIES, HEADS, WIDTH, dtype=dtype), key, value, None, None


def _multiquery(dtype: Any, shrink: int) -> tuple[Any, ...]:
    """Return inputs of BMGHK whose heads of a group share their keys."""
    shape = (BATCH, KEYS // shrink, 2, HEADS, WIDTH)
    key, value = (_random(*shape[:3], 1, WIDTH, dtype=dtype).expand(shape) for _ in range(2))
    return _random(BATCH, QUERIES, 2, HEADS, WIDTH, dtype=dtype), key, value, None, None


def _varlen(dtype: Any, shrink: int) -> tuple[Any, ...]:
    """Return packed sequences: the last query of each meets all its keys, the one before all but one."""
    torch, masks = _torch(), _fmha().attn_bias
    room, lengths = KEYS // shrink, [length // shrink for length in LENGTHS]
    bias = masks.BlockDiagonalCausalWithOffsetPaddedKeysMask.from_seqlens(
        q_seqlen=[QUERIES] * len(lengths), kv_padding=room, kv_seqlen=lengths, device=torch.device(DEVICE)
    )
    allowed = torch.zeros(QUERIES * len(lengths), room * len(lengths), dtype=torch.bool, device=DEVICE)
    for at, length in enumerate(lengths):
        for row in range(QUERIES):
            allowed[at * QUERIES + row, at * room : at * room + length - (QUERIES - 1 - row)] = True
    key, value = (_random(1, allowed.shape[1], HEADS, WIDTH, dtype=dtype) for _ in range(2))
    return _random(1, allowed.shape[0], HEADS, WIDTH, dtype=dtype), key, value, bias, allowed


MASKS = {"none": _none, "varlen": _varlen, "gqa": _multiquery}


def _wide(tensor: Any) -> Any:
    """Return a tensor of BMHK or BMGHK as fp64 of BGHMK."""
    grouped = tensor.unsqueeze(2) if tensor.ndim == 4 else tensor
    return grouped.double().permute(0, 2, 3, 1, 4)


def attend(query: Any, key: Any, value: Any, allowed: Any = None) -> tuple[Any, Any, Any]:
    """Return the output of attention, P|V|, and the logarithm of the sum that the weights are divided by."""
    scores = query @ key.mT * query.shape[-1] ** -0.5
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    weights = scores.softmax(-1)
    return weights @ value, weights @ value.abs(), scores.logsumexp(-1)


def compare(found: Any, exact: Any, bound: Any) -> dict[str, float]:
    """Check every element; return error and tolerance relative to the largest element of the reference."""
    assert found.shape == exact.shape, f"shape {tuple(found.shape)} in place of {tuple(exact.shape)}"
    missed, scale = (found - exact).abs(), exact.abs().max().item()
    numbers = {"error": missed.max().item() / scale, "tolerance": bound.max().item() / scale}
    far = int((~(missed <= bound)).sum())  # what is not a number is far too
    assert not far, f"{far} of {missed.numel()} elements are outside of their bounds: {numbers}"
    return numbers


def merge(count: int) -> dict[str, float]:
    """Merge the attention over ``count`` parts of the keys, and compare with attention over all."""
    fmha = _fmha()
    if not hasattr(fmha, "merge_attentions"):
        raise harness.Skip("this version has no merge_attentions")
    torch = _torch()
    torch.manual_seed(0)
    query = _random(BATCH, 1, HEADS, QUERIES, WIDTH, dtype=torch.float64)
    key, value = (_random(BATCH, 1, HEADS, 30 * count, WIDTH, dtype=torch.float64) for _ in range(2))
    parts = [attend(query, *both) for both in zip(key.split(30, -2), value.split(30, -2))]  # noqa: B905
    outputs = [part[0].permute(0, 3, 1, 2, 4).float().contiguous() for part in parts]
    found, sums = fmha.merge_attentions(outputs, [part[2].float().contiguous() for part in parts])
    output, sizes, exact_sums = attend(query, key, value)
    numbers = compare(_wide(found), output, MERGED * sizes)
    compare(sums.double(), exact_sums, MERGED * exact_sums.abs())
    return numbers


# Kernels for unroll_varargs. `tl` is put into this module when it is needed: a listing has no Triton.


def _total(xs: "VAR_ARGS_ARRAY", result, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for i in range(len(xs)):
        total += tl.load(xs[i] + offsets)
    tl.store(result + offsets, total)


def _weighted(xs: "VAR_ARGS_ARRAY", ws: "VAR_ARGS_ARRAY", result, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for i in range(len(xs)):
        total += tl.load(xs[i] + offsets) * tl.load(ws[i])
    tl.store(result + offsets, total)


def _subscripts(xs: "VAR_ARGS_ARRAY", result, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)[:]
    total = tl.zeros([1, BLOCK], dtype=tl.float32)
    for i in range(len(xs)):
        row = tl.load(xs[i] + offsets)
        total += row[None, :]
    tl.store(result + offsets[None, :], total)


def _kept(xs: "VAR_ARGS_ARRAY", result, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    values: "VAR_ARGS_ARRAY"
    for i in range(len(xs)):
        values[i] = tl.load(xs[i] + offsets)
    largest = tl.zeros([BLOCK], dtype=tl.float32) - float("inf")
    for i in range(len(xs)):
        largest = tl.maximum(largest, values[i])
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for i in range(len(xs)):
        total += largest - values[i]
    tl.store(result + offsets, total)


KERNELS = {"total": _total, "weighted": _weighted, "subscripts": _subscripts, "kept": _kept}
EXACT = {
    "total": lambda xs, ws: xs.sum(0),
    "weighted": lambda xs, ws: (xs * ws[:, None]).sum(0),
    "subscripts": lambda xs, ws: xs.sum(0),
    "kept": lambda xs, ws: (xs.amax(0) - xs).sum(0),
}


def unroll(kernel: str, mode: str, count: int) -> None:
    """Launch one of the kernels with lists of ``count`` and compare with the exact result."""
    torch = _torch()
    unrolled = _unrolled(kernel, mode, count)
    torch.manual_seed(0)
    xs = torch.randint(-1000, 1000, (count, BLOCK), device=DEVICE).float()
    ws = torch.randint(-9, 9, (count,), device=DEVICE).float()
    result = torch.full((BLOCK,), math.nan, device=DEVICE)
    lists = [*xs, *ws] if kernel == "weighted" else [*xs]
    unrolled[(1,)](*lists, result, BLOCK=BLOCK)
    exact = EXACT[kernel](xs, ws)
    wrong = int((result != exact).sum())
    assert not wrong, f"{wrong} of {BLOCK} numbers are wrong, the first {result[result != exact][0].item()}"


def _unrolled(kernel: str, mode: str, count: int) -> Any:
    try:
        import triton
        import triton.language
        from xformers.triton import vararg_kernel
    except ModuleNotFoundError as error:
        raise harness.Skip(f"there is no {error.name}") from error
    globals()["tl"] = triton.language
    return vararg_kernel.unroll_varargs(
        triton.jit(KERNELS[kernel]), N=count, mode=vararg_kernel.VarargMode[mode.upper()]
    )


for _dtype in DTYPES:
    for _splits in (1, 2, 4, 8, 16):
        for _mask in ("none", "varlen", "gqa") if _dtype == "fp16" else ("none", "varlen"):
            harness.case(
                f"varargs/split-k/{_dtype}/{_splits}/{_mask}",
                level="gpu",
                shrink=(2, 4),
                dtype=_dtype,
                splits=_splits,
                mask=_mask,
            )(split_k)
for _count in (1, 2, 5):
    harness.case(f"varargs/merge/{_count}", level="gpu", count=_count)(merge)
    for _kernel in KERNELS:
        # The conditional mode has no place to keep a list in.
        for _mode in ("unroll",) if _kernel == "kept" else ("unroll", "conditional"):
            harness.case(
                f"varargs/unroll/{_kernel}/{_mode}/{_count}",
                level="gpu",
                kernel=_kernel,
                mode=_mode,
                count=_count,
            )(unroll)

if __name__ == "__main__":
    harness.main()
