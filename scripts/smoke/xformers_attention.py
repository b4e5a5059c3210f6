#!/usr/bin/env python3
"""Smoke suite: xFormers' attention operators, forward and backward, against attention in fp64.

The inputs are the same for both sides: random numbers in the operator's dtype, widened to fp64 for the reference.
What is allowed follows from how these kernels compute. With u the unit roundoff of the dtype and P the weights:

- P is rounded to the dtype before it meets V, and so is the output: |error| <= u P|V| + u |output|. What is
  less than the smallest normal number, as weights in fp16 can be, is off by u times that number;
- sums are kept in fp32. A sum of n terms is off by about sqrt(n) 2^-24 of the sum of their sizes, 2^-20 for 256 terms.
  fp32 inputs are split in three TF32 products, which is as good. An error e in a score makes a weight wrong by 2e;
- in the backward pass P and dS are rounded to the dtype, dS also carries the rounding of the saved output, and
  the gradients are rounded once more.

These bounds are computed for every element from the reference's own sizes, and doubled for what they leave out (exp2 on
the GPU, products of two errors). Roundings fall on both sides, so the mean error must be under a quarter of the mean
bound: a wrong scale or a lost key is found even where single elements would pass.

fp32 is tried with CUTLASS alone: the other operators take fp16 and bf16 in every version. Split-K has few cases here,
for each costs a compilation of Triton; the suite of the varargs kernels has more of them.
"""

# ruff: noqa: B905 - zip is not strict in Python 3.9
from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace
from typing import Any

import harness

DEVICE = "cuda"
DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}
BATCH, HEADS, QUERIES, KEYS, PAGE = 2, 4, 300, 352, 256  # 352 is a multiple of 8, and not of 64
SLACK = 2.0
SUMS = 2.0**-21
"""What a sum in fp32 may be off, relative to the sum of the sizes of its terms; SLACK makes it 2^-20."""
MEAN = 0.25
"""Mean error that is allowed, as a part of the mean bound."""

MODULES = {
    "cutlass": "cutlass",
    "blackwell": "cutlass_blackwell",
    "flash2": "flash",
    "flash3": "flash3",
    "splitK": "triton_splitk",
}
# CUTLASS, and FlashAttention-2 where the wheel has none of its own, are torch's; Blackwell's is another package.
LIBRARIES = {
    "flash2": ("xformers/_C_flashattention.so",),
    "flash3": ("xformers/flash_attn_3/_C.so", "xformers/_C_flashattention3.so"),
}
HALF, WIDTHS = ("fp16", "bf16"), (32, 64, 72, 128, 256)
SQUARE = ("none", "causal", "causal-bottom-right", "varlen", "varlen-causal")
FORWARD = (
    ("cutlass", tuple(DTYPES), WIDTHS, (*SQUARE, "bias", "gqa", "padded")),
    ("blackwell", HALF, (64, 128), (*SQUARE, "gqa", "padded")),
    ("flash2", HALF, WIDTHS, (*SQUARE, "gqa", "padded", "paged")),
    ("flash3", HALF, WIDTHS, (*SQUARE, "gqa", "padded", "paged")),
    ("splitK", ("fp16",), (64, 128), ("none", "bias", "gqa", "padded", "paged")),
    ("splitK", ("bf16",), (128,), ("none", "padded")),
)
BACKWARD = (
    ("cutlass", tuple(DTYPES), WIDTHS, (*SQUARE, "bias")),
    ("blackwell", HALF, (64, 128), SQUARE),
    ("flash2", HALF, WIDTHS, SQUARE),
    ("flash3", HALF, WIDTHS, SQUARE),
)


@dataclass
class Problem:
    """Inputs of one attention: tensors of BMHK or BMGHK, the bias for the operator, and the same for the reference.

    ``allowed`` says for each query and key whether they meet, ``added`` is what the scores are raised by.
    """

    query: Any
    key: Any
    value: Any
    bias: Any = None
    allowed: Any = None
    added: Any = None

    def inputs(self) -> Any:
        """Return the tensors as xFormers' operators take them."""
        return _fmha().Inputs(query=self.query, key=self.key, value=self.value, attn_bias=self.bias)

    def wide(self) -> tuple[Any, ...]:
        """Return query, key and value for the reference."""
        return _wide(self.query), _wide(self.key), _wide(self.value)


def _torch() -> Any:
    import torch

    return torch


def _fmha() -> Any:
    from xformers.ops import fmha

    return fmha


# The masks.


def _random(*shape: int, dtype: Any) -> Any:
    return _torch().randn(*shape, device=DEVICE, dtype=dtype)


def _tensors(dtype: Any, width: int, queries: int, keys: int, batch: int = BATCH) -> Problem:
    return Problem(*(_random(batch, rows, HEADS, width, dtype=dtype) for rows in (queries, keys, keys)))


def _none(dtype: Any, width: int, shrink: int) -> Problem:
    return _tensors(dtype, width, QUERIES // shrink, KEYS // shrink)


def _causal(dtype: Any, width: int, shrink: int) -> Problem:
    count = QUERIES // shrink
    return replace(
        _tensors(dtype, width, count, count),
        bias=_fmha().attn_bias.LowerTriangularMask(),
        allowed=_triangle(count, count),
    )


def _causal_bottom_right(dtype: Any, width: int, shrink: int) -> Problem:
    bias = _fmha().attn_bias.LowerTriangularFromBottomRightMask()
    return replace(
        _none(dtype, width, shrink), bias=bias, allowed=_triangle(QUERIES // shrink, KEYS // shrink)
    )


def _bias(dtype: Any, width: int, shrink: int) -> Problem:
    bias = _random(BATCH, HEADS, QUERIES // shrink, KEYS // shrink, dtype=dtype)
    return replace(_none(dtype, width, shrink), bias=bias, added=bias.double().unsqueeze(1))


def _gqa(dtype: Any, width: int, shrink: int) -> Problem:
    groups, keys = 2, KEYS // shrink
    query = _random(BATCH, QUERIES // shrink, groups, HEADS, width, dtype=dtype)
    shape = (BATCH, keys, groups, HEADS, width)
    key, value = (_random(BATCH, keys, groups, 1, width, dtype=dtype).expand(shape) for _ in range(2))
    return Problem(query, key, value)


def _varlen(dtype: Any, width: int, shrink: int) -> Problem:
    queries, keys = ([length // shrink for length in lengths] for lengths in ((131, 37, 132), (150, 64, 138)))
    bias = _fmha().attn_bias.BlockDiagonalMask.from_seqlens(queries, keys, device=_torch().device(DEVICE))
    return _packed(dtype, width, bias, _blocks(queries, _in_a_row(keys), sum(keys), causal=False))


def _varlen_causal(dtype: Any, width: int, shrink: int) -> Problem:
    lengths = [length // shrink for length in (131, 37, 132)]
    bias = (
        _fmha()
        .attn_bias.BlockDiagonalMask.from_seqlens(lengths, device=_torch().device(DEVICE))
        .make_causal()
    )
    return _packed(dtype, width, bias, _blocks(lengths, _in_a_row(lengths), sum(lengths)))


def _padded(dtype: Any, width: int, shrink: int) -> Problem:
    """Return some decoding: few queries for each sequence, whose keys fill a part of its room."""
    queries, keys, room = [5, 5, 5], [length // shrink for length in (150, 64, 138)], 192 // shrink
    bias = _fmha().attn_bias.BlockDiagonalCausalWithOffsetPaddedKeysMask.from_seqlens(
        q_seqlen=queries, kv_padding=room, kv_seqlen=keys, device=_torch().device(DEVICE)
    )
    places = [range(at * room, at * room + length) for at, length in enumerate(keys)]
    return _packed(dtype, width, bias, _blocks(queries, places, room * len(keys)))


def _paged(dtype: Any, width: int, shrink: int) -> Problem:
    """Return some decoding from pages that lie in another order than the sequences'."""
    queries, keys = [5, 5, 5], [length // shrink for length in (300, 37, 500)]
    tables = [[4, 1], [0, 5], [3, 2]]
    blocks = _torch().tensor(tables, dtype=_torch().int32, device=DEVICE)
    bias = _fmha().attn_bias.PagedBlockDiagonalCausalWithOffsetPaddedKeysMask.from_seqlens(
        q_seqlen=queries, kv_seqlen=keys, block_tables=blocks, page_size=PAGE, device=_torch().device(DEVICE)
    )
    rooms = [[page * PAGE + offset for page in pages for offset in range(PAGE)] for pages in tables]
    places = [room[:length] for room, length in zip(rooms, keys)]
    return _packed(dtype, width, bias, _blocks(queries, places, PAGE * blocks.numel()))


def _packed(dtype: Any, width: int, bias: Any, allowed: Any) -> Problem:
    return replace(_tensors(dtype, width, *allowed.shape, batch=1), bias=bias, allowed=allowed)


def _in_a_row(lengths: list[int]) -> list[range]:
    ends = list(itertools.accumulate(lengths))
    return [range(end - length, end) for end, length in zip(ends, lengths)]


def _triangle(queries: int, keys: int) -> Any:
    """Return which keys each query meets when the last query meets them all."""
    return _torch().ones(queries, keys, dtype=_torch().bool, device=DEVICE).tril(keys - queries)


def _blocks(queries: list[int], places: list[Any], room: int, *, causal: bool = True) -> Any:
    """Return which of ``room`` keys each query meets, given the places of the keys of each sequence, in order."""
    allowed = _torch().zeros(sum(queries), room, dtype=_torch().bool, device=DEVICE)
    for rows, place in zip(_in_a_row(queries), places):
        columns = _torch().tensor(list(place), device=DEVICE)
        allowed[rows.start : rows.stop, columns] = _triangle(len(rows), len(columns)) if causal else True
    return allowed


_MAKERS = (_none, _causal, _causal_bottom_right, _varlen, _varlen_causal, _bias, _gqa, _padded, _paged)
MASKS = {maker.__name__[1:].replace("_", "-"): maker for maker in _MAKERS}


def _problem(mask: str, dtype: str, width: int, shrink: int = 1) -> Problem:
    _torch().manual_seed(0)
    return MASKS[mask](getattr(_torch(), DTYPES[dtype]), width, shrink)


# The reference, in fp64 and BGHMK.


def _wide(tensor: Any) -> Any:
    """Return a tensor of BMHK or BMGHK as fp64 of BGHMK."""
    grouped = tensor.unsqueeze(2) if tensor.ndim == 4 else tensor
    return grouped.double().permute(0, 2, 3, 1, 4)


def attend(query: Any, key: Any, value: Any, added: Any, allowed: Any) -> tuple[Any, Any]:
    """Return the output of attention and the weights."""
    scores = query @ key.mT * query.shape[-1] ** -0.5
    if added is not None:
        scores = scores + added
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    weights = scores.softmax(-1)
    return weights @ value, weights


def _unit(dtype: Any) -> float:
    return float(_torch().finfo(dtype).eps) / 2


def _weight_error(query: Any, key: Any, unit: float) -> float:
    """Return how far, relatively, a weight may be off: its rounding, and twice the error of the largest score."""
    sizes = (query.abs() @ key.abs().mT).amax().item() * query.shape[-1] ** -0.5
    return float(unit + SUMS * (1 + 2 * sizes))


def _output_bound(wide: tuple[Any, ...], output: Any, weights: Any, dtype: Any) -> Any:
    query, key, value = wide
    unit, least = _unit(dtype), _torch().finfo(dtype).tiny
    weight = _weight_error(query, key, unit) * (weights + least)
    return weight @ value.abs() + unit * (output.abs() + least)


def _gradient_bounds(
    wide: tuple[Any, ...], output: Any, weights: Any, grad: Any, dtype: Any
) -> dict[str, Any]:
    """Return the bounds of the gradients before their own rounding, and that of dS, the gradient of a bias."""
    query, key, value = wide
    unit, least, scale = _unit(dtype), _torch().finfo(dtype).tiny, query.shape[-1] ** -0.5
    off = _weight_error(query, key, unit)
    sizes = (weights + least) * (grad @ value.mT - (grad * output).sum(-1, keepdim=True)).abs()
    saved = (grad.abs() * _output_bound(wide, output, weights, dtype)).sum(-1, keepdim=True)
    scores = (off + unit) * (sizes + least) + weights * (saved + SUMS * (grad.abs() @ value.abs().mT))
    return {
        "query": scale * scores @ key.abs(),
        "key": scale * scores.mT @ query.abs(),
        "value": off * ((weights + least).mT @ grad.abs()),
        "bias": scores,
    }


def compare(found: Any, exact: Any, bound: Any) -> dict[str, float]:
    """Check every element and the mean, and return both relative to the largest element of the reference."""
    assert found.shape == exact.shape, f"shape {tuple(found.shape)} in place of {tuple(exact.shape)}"
    bound, missed, scale = SLACK * bound, (found - exact).abs(), exact.abs().max().item()
    numbers = {
        "error": missed.max().item() / scale,
        "tolerance": bound.max().item() / scale,
        "mean_error": missed.mean().item() / scale,
        "mean_tolerance": MEAN * bound.mean().item() / scale,
    }
    said = ", ".join(f"{name} {value:.2e}" for name, value in numbers.items())
    far = int((~(missed <= bound)).sum())  # what is not a number is far too
    assert not far, f"{far} of {missed.numel()} elements are outside of their bounds: {said}"
    assert numbers["mean_error"] <= numbers["mean_tolerance"], f"the mean error is too large: {said}"
    return numbers


# The operators.


def _operator(name: str, kind: str, problem: Problem) -> Any:
    """Return an operator class that can do the problem; Skip says why it cannot."""
    operator = getattr(getattr(_fmha(), MODULES[name], None), kind, None)
    if operator is None:
        raise harness.Skip(f"this version has no {MODULES[name]}.{kind}")
    reasons = operator.not_supported_reasons(problem.inputs())
    if reasons:
        raise harness.Skip(f"{operator.NAME}: " + "; ".join(" ".join(reason.split()) for reason in reasons))
    return operator


def _output(operator: Any, problem: Problem) -> Any:
    tensors = problem.query, problem.key, problem.value
    return _fmha().memory_efficient_attention_forward(*tensors, problem.bias, op=operator)


def _gradients(forwards: Any, backwards: Any, problem: Problem, grad: Any) -> dict[str, Any]:
    """Return what xFormers' autograd gives for the inputs, and for a bias that is a tensor."""
    leaves = {name: getattr(problem, name).detach().requires_grad_() for name in ("query", "key", "value")}
    bias = problem.bias
    if problem.added is not None:
        leaves["bias"] = bias = bias.detach().requires_grad_()
    inputs = list(leaves.values())
    output = _fmha().memory_efficient_attention(*inputs[:3], bias, op=(forwards, backwards))
    return dict(zip(leaves, _torch().autograd.grad(output, inputs, grad)))


def _seconds(started: float) -> float:
    _torch().cuda.synchronize()
    return round(time.perf_counter() - started, 4)


def _compared(found: Any, problem: Problem) -> dict[str, float]:
    """Compare an output with the reference."""
    wide = problem.wide()
    assert found.dtype == problem.query.dtype, f"the output is {found.dtype}"
    harness.record("output", found)
    output, weights = attend(*wide, problem.added, problem.allowed)
    return compare(_wide(found), output, _output_bound(wide, output, weights, problem.query.dtype))


def forward(op: str, dtype: str, width: int, mask: str, shrink: int) -> dict[str, Any]:
    """Compare the output of one operator with the reference."""
    problem = _problem(mask, dtype, width, shrink)
    operator = _operator(op, "FwOp", problem)
    started = time.perf_counter()
    found = _output(operator, problem)
    return {"seconds": _seconds(started), "operator": operator.NAME, **_compared(found, problem)}


def backward(op: str, dtype: str, width: int, mask: str, shrink: int) -> dict[str, Any]:
    """Compare the gradients of one pair of operators with autograd of the reference."""
    problem = _problem(mask, dtype, width, shrink)
    forwards, backwards = _operator(op, "FwOp", problem), _operator(op, "BwOp", problem)
    grad = _random(*problem.query.shape, dtype=problem.query.dtype)
    started = time.perf_counter()
    found = _gradients(forwards, backwards, problem, grad)
    seconds = _seconds(started)
    for name, one in found.items():
        harness.record(name, one)
    exact, bounds = _exact_gradients(problem, _wide(grad))
    found = {name: one.double().unsqueeze(1) if name == "bias" else _wide(one) for name, one in found.items()}
    each = {name: compare(one, exact[name], bounds[name]) for name, one in found.items()}
    worst = max(each, key=lambda name: each[name]["error"] / each[name]["tolerance"])
    errors = {f"{name}_error": numbers["error"] for name, numbers in each.items()}
    return {"seconds": seconds, "operator": backwards.NAME, **each[worst], "worst": worst, **errors}


def _exact_gradients(problem: Problem, grad: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the gradients by autograd in fp64, and their bounds."""
    leaves = dict(zip(("query", "key", "value"), problem.wide()))
    if problem.added is not None:
        leaves["bias"] = problem.added
    leaves = {name: leaf.detach().requires_grad_() for name, leaf in leaves.items()}
    wide = tuple(leaves[name] for name in ("query", "key", "value"))
    output, weights = attend(*wide, leaves.get("bias"), problem.allowed)
    exact = dict(zip(leaves, _torch().autograd.grad(output, list(leaves.values()), grad)))
    dtype = problem.query.dtype
    with _torch().no_grad():
        bounds = _gradient_bounds(wide, output, weights, grad, dtype)
        own = {name: _unit(dtype) * (exact[name].abs() + _torch().finfo(dtype).tiny) for name in leaves}
        return exact, {name: bounds[name] + own[name] for name in leaves}


def dispatch() -> dict[str, Any]:
    """Report which operators xFormers picks by itself for each dtype, and check what they compute."""
    numbers: dict[str, Any] = {}
    failures = []
    for dtype in DTYPES:
        try:
            numbers.update(_dispatched(dtype))
        except (NotImplementedError, AssertionError) as error:
            failures.append(f"{dtype}: {' '.join(str(error).split())}")
    assert not failures, "; ".join(failures) + f" (found for the others: {numbers})"
    return numbers


def _dispatched(dtype: str) -> dict[str, Any]:
    problem, fmha = _problem("none", dtype, 64), _fmha()
    found = fmha.memory_efficient_attention(problem.query, problem.key, problem.value)
    compared = _compared(found, problem)
    return {
        f"{dtype}_forward": fmha.dispatch._dispatch_fw(problem.inputs(), False).NAME,
        f"{dtype}_training": fmha.dispatch._dispatch_fw(problem.inputs(), True).NAME,
        f"{dtype}_backward": fmha.dispatch._dispatch_bw(problem.inputs(), None).NAME,
        f"{dtype}_error": compared["error"],
        f"{dtype}_tolerance": compared["tolerance"],
    }


def same_twice(op: str, kind: str, mask: str) -> None:
    """Check that the same inputs give the same bits, where the operator accepts deterministic algorithms.

    With them torch's CUTLASS gradient does not split the keys; operators that promise nothing refuse.
    """
    problem = _problem(mask, "fp16", 64)
    _torch().use_deterministic_algorithms(True)
    try:
        runs = _run_twice(op, kind, problem)
    finally:
        _torch().use_deterministic_algorithms(False)
    other = [name for name, one in runs[0].items() if not _torch().equal(one, runs[1][name])]
    assert not other, f"other bits the second time: {', '.join(other)}"


def _run_twice(op: str, kind: str, problem: Problem) -> list[dict[str, Any]]:
    forwards = _operator(op, "FwOp", problem)
    if kind == "forward":
        return [{"output": _output(forwards, problem)} for _ in range(2)]
    backwards, grad = _operator(op, "BwOp", problem), _random(*problem.query.shape, dtype=problem.query.dtype)
    return [_gradients(forwards, backwards, problem, grad) for _ in range(2)]


for _function, _kind, _table in ((forward, "F", FORWARD), (backward, "B", BACKWARD)):
    for _op, _dtypes, _widths, _names in _table:
        for _each in itertools.product(_dtypes, _widths, _names):
            harness.case(
                "/".join(["attention", _function.__name__, _op + _kind, *map(str, _each)]),
                level="gpu",
                libraries=LIBRARIES.get(_op, ()),
                shrink=(2, 4),
                op=_op,
                **dict(zip(("dtype", "width", "mask"), _each)),
            )(_function)
harness.case("attention/dispatch", level="gpu", libraries=LIBRARIES["flash2"] + LIBRARIES["flash3"])(dispatch)
for _op in MODULES:
    for _kind in ("forward",) if _op == "splitK" else ("forward", "backward"):
        harness.case(
            f"attention/same-twice/{_op}{_kind[0].upper()}",
            level="gpu",
            libraries=LIBRARIES.get(_op, ()),
            op=_op,
            kind=_kind,
            mask="none" if _op == "splitK" else "causal",
        )(same_twice)

if __name__ == "__main__":
    harness.main()
