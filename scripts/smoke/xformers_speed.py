#!/usr/bin/env python3
"""Smoke suite: how fast xFormers' own choice of operator is beside torch's scaled_dot_product_attention.

Each side gets its tensors in the layout it wants, made outside of the timed region: xFormers [batch, tokens, heads,
width] and, where heads share keys, [batch, tokens, groups, heads, width]; torch [batch, heads, tokens, width] and
``enable_gqa``. Sequences of different lengths are packed for xFormers, and a jagged nested tensor for torch (padded,
with a mask, where torch has no kernel for that). So a model that has its tensors in the other layout pays for a copy
that is not in these numbers.

Both run eagerly and in turns. A time is what lies between two CUDA events around one call: short calls include what
Python takes to launch them, as they do in a model without CUDA graphs. Medians of ROUNDS calls; the spread is the
interquartile range as a part of the median. FLOPs count the pairs of query and key that meet; a backward pass counts
2.5 times a forward pass. Nothing fails for being slow, only for another result.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import harness

DEVICE = "cuda"
ROUNDS, WARM = 25, 4
CLEAR = 1.1
"""From this ratio on one side counts as faster."""
APART = 0.05
"""How far the results may be apart, relative to the largest: some roundings of bf16."""


@dataclass(frozen=True)
class Shape:
    """One attention to time; ``keys`` are as many as the queries where nothing is said, ``lengths`` are packed."""

    batch: int
    queries: int
    heads: int
    width: int
    keys: int = 0
    groups: int = 0
    dtype: str = "bfloat16"
    causal: bool = True
    training: bool = False
    lengths: tuple[int, ...] = ()

    def shrunk(self, divisor: int) -> Shape:
        """Return the same with fewer tokens."""
        fewer = tuple(max(1, length // divisor) for length in self.lengths)
        few = self.queries if self.queries < 16 else self.queries // divisor
        return replace(self, queries=sum(fewer) or few, keys=self.keys // divisor, lengths=fewer)

    def flops(self) -> float:
        """Return the work of one run."""
        keys = self.keys or self.queries
        pairs = sum(one * one for one in self.lengths) or self.batch * self.queries * keys
        whole = 4.0 * pairs * self.heads * self.width * (3.5 if self.training else 1)
        return whole / 2 if self.causal else whole

    def described(self) -> str:
        """Return the shape in words."""
        keys = f", {self.keys} keys" if self.keys else ""
        shared = f" in {self.groups} groups" if self.groups else ""
        tokens = f"{len(self.lengths)} sequences packed to {self.queries}" if self.lengths else self.queries
        kind = ("causal " if self.causal else "") + ("training" if self.training else "forward")
        heads = f"{self.heads} heads{shared} of {self.width}"
        return f"{self.dtype} {kind}, batch {self.batch}, {tokens} tokens{keys}, {heads}"


_LENGTHS = (1024, 64, 512, 96, 768, 128, 320, 192, 896, 80, 448, 160, 640, 256, 1008, 48)
SHAPES = {
    "prefill-2k": Shape(4, 2048, 16, 128),
    "prefill-16k": Shape(1, 16384, 16, 128),
    "bidirectional-4k": Shape(4, 4096, 16, 64, dtype="float16", causal=False),
    "fp32-1k": Shape(4, 1024, 16, 64, dtype="float32"),
    "training-4k": Shape(2, 4096, 16, 128, training=True),
    "decode-16k": Shape(8, 1, 32, 128, keys=16384, groups=8, causal=False),
    "decode-4-queries": Shape(8, 4, 32, 128, keys=8192, groups=8, causal=False),
    "varlen": Shape(1, sum(_LENGTHS), 16, 128, lengths=_LENGTHS),
}


def _torch() -> Any:
    import torch

    return torch


def _fmha() -> Any:
    from xformers.ops import fmha

    return fmha


@dataclass(frozen=True)
class Side:
    """One of the two: what is timed, how its result becomes [batch, tokens, heads, width], and which operator ran."""

    run: Callable[[], Any]
    result: Callable[[Any], Any]
    operator: str


def _tensors(shape: Shape) -> tuple[Any, Any, Any]:
    """Return query, key and value as [batch, tokens, heads, width]; shared heads stand once."""
    _torch().manual_seed(0)
    keys, heads = shape.keys or shape.queries, shape.groups or shape.heads
    sizes = (shape.queries, shape.heads), (keys, heads), (keys, heads)
    made = {"device": DEVICE, "dtype": getattr(_torch(), shape.dtype)}
    query, key, value = (_torch().randn(shape.batch, *size, shape.width, **made) for size in sizes)
    return query, key, value


def _xformers(shape: Shape) -> Side:
    fmha = _fmha()
    query, key, value = _tensors(shape)
    bias = fmha.attn_bias.LowerTriangularMask() if shape.causal else None
    if shape.lengths:
        device = _torch().device(DEVICE)
        bias = fmha.attn_bias.BlockDiagonalMask.from_seqlens(list(shape.lengths), device=device).make_causal()
    if shape.groups:
        each = shape.heads // shape.groups
        query = query.unflatten(2, (shape.groups, each))
        key, value = (one.unsqueeze(3).expand(-1, -1, -1, each, -1) for one in (key, value))
    operator = _chosen(fmha.Inputs(query, key, value, attn_bias=bias), shape)

    def attention(*tensors: Any) -> Any:
        return fmha.memory_efficient_attention(*tensors, bias)

    run = _trained(attention, (query, key, value)) if shape.training else lambda: attention(query, key, value)
    return Side(run, lambda one: one.flatten(2, 3) if shape.groups else one, operator)


def _chosen(inputs: Any, shape: Shape) -> str:
    """Return the operators that xFormers picks; Skip if it has none."""
    dispatch = _fmha().dispatch
    try:
        name = str(dispatch._dispatch_fw(inputs, shape.training).NAME)
        return f"{name}, {dispatch._dispatch_bw(inputs, None).NAME}" if shape.training else name
    except NotImplementedError as error:
        raise harness.Skip("xFormers has no operator: " + " ".join(str(error).split())) from error


def _sdpa(shape: Shape) -> Side:
    if shape.lengths:
        return _jagged(shape)
    attend = _torch().nn.functional.scaled_dot_product_attention
    query, key, value = (one.transpose(1, 2).contiguous() for one in _tensors(shape))
    options = {"enable_gqa": True} if shape.groups else {}

    def attention(*tensors: Any) -> Any:
        return attend(*tensors, is_causal=shape.causal, **options)

    run = _trained(attention, (query, key, value)) if shape.training else lambda: attention(query, key, value)
    return Side(run, lambda one: one.transpose(1, 2), "scaled_dot_product_attention")


def _trained(attention: Callable[..., Any], tensors: tuple[Any, ...]) -> Callable[[], Any]:
    """Return a run of forward and backward that gives the gradient of the query."""
    leaves = [one.detach().requires_grad_() for one in tensors]
    grad = _torch().ones_like(leaves[0])
    return lambda: _torch().autograd.grad(attention(*leaves), leaves, grad)[0]


def _jagged(shape: Shape) -> Side:
    torch = _torch()
    attend = torch.nn.functional.scaled_dot_product_attention
    parts = [one[0].split(shape.lengths) for one in _tensors(shape)]
    try:
        query, key, value = (_nested(each) for each in parts)
        attend(query, key, value, is_causal=True)
    except (RuntimeError, NotImplementedError, AttributeError, TypeError, ValueError):
        return _as_padded(parts, shape)
    run = lambda: attend(query, key, value, is_causal=True)  # noqa: E731
    return Side(run, lambda one: one.transpose(1, 2).values().unsqueeze(0), "jagged nested tensor")


def _nested(parts: Any) -> Any:
    torch = _torch()
    return torch.nested.nested_tensor(list(parts), layout=torch.jagged).transpose(1, 2)


def _as_padded(parts: list[Any], shape: Shape) -> Side:
    torch, most = _torch(), max(shape.lengths)
    attend = torch.nn.functional.scaled_dot_product_attention
    pad = torch.nn.utils.rnn.pad_sequence
    query, key, value = (pad(each, batch_first=True).transpose(1, 2).contiguous() for each in parts)
    # Causal alone: what the padding computes is thrown away, and no query of a sequence sees it.
    run = lambda: attend(query, key, value, is_causal=True)  # noqa: E731
    lengths = torch.tensor(shape.lengths, device=DEVICE)
    inside = torch.arange(most, device=DEVICE) < lengths[:, None]
    return Side(run, lambda one: one.transpose(1, 2)[inside].unsqueeze(0), "padded")


# Timing.


def _milliseconds(sides: tuple[Side, Side]) -> tuple[list[float], list[float]]:
    """Run both sides in turns and return the times of each."""
    event = _torch().cuda.Event
    for _ in range(WARM):
        for side in sides:
            side.run()
    marks: tuple[list[Any], list[Any]] = ([], [])
    for _ in range(ROUNDS):
        for side, mine in zip(sides, marks):  # noqa: B905 - not in Python 3.9
            mine.append((event(enable_timing=True), event(enable_timing=True)))
            mine[-1][0].record()
            side.run()
            mine[-1][1].record()
        _torch().cuda.synchronize()
    first, second = ([begin.elapsed_time(end) for begin, end in mine] for mine in marks)
    return first, second


def _spread(times: list[float]) -> float:
    low, _, high = statistics.quantiles(times, n=4)
    return round((high - low) / statistics.median(times), 4)


def speed(shape: str, shrink: int) -> dict[str, Any]:
    """Time both sides of one shape and check that they compute the same."""
    sized = SHAPES[shape].shrunk(shrink) if shrink > 1 else SHAPES[shape]
    sides = _xformers(sized), _sdpa(sized)
    own, torchs = (side.result(side.run()).float() for side in sides)
    apart = ((own - torchs).abs().max() / torchs.abs().max()).item()
    assert own.shape == torchs.shape and apart <= APART, f"the results are {apart:.3f} apart"  # noqa: PT018
    del own, torchs
    times, torch_times = _milliseconds(sides)
    mine, other = statistics.median(times), statistics.median(torch_times)
    return {
        "xformers_ms": round(mine, 5),
        "xformers_spread": _spread(times),
        "torch_ms": round(other, 5),
        "torch_spread": _spread(torch_times),
        "xformers_tflops": round(sized.flops() / mine / 1e9, 3),
        "torch_tflops": round(sized.flops() / other / 1e9, 3),
        "ratio": round(other / mine, 4),
        "operator": sides[0].operator,
        "torch_operator": sides[1].operator,
        "shape": sized.described(),
        "apart": apart,
    }


def verdict(shrink: int) -> dict[str, Any]:
    """Measure every shape once more and say in one sentence whether xFormers is needed for them."""
    ratios: dict[str, float] = {}
    without = []
    for name in SHAPES:
        try:
            ratios[name] = speed(name, shrink)["ratio"]
        except harness.Skip:
            without.append(name)
        _torch().cuda.empty_cache()
    return {"sentence": sentence(ratios, without), **ratios}


def sentence(ratios: dict[str, float], without: list[str]) -> str:
    """Return what the ratios say to somebody who wonders whether to install xFormers."""
    if not ratios:
        return "xFormers has no operator here for any of these shapes."
    faster = {name: ratio for name, ratio in ratios.items() if ratio >= CLEAR}
    slower = {name: ratio for name, ratio in ratios.items() if ratio <= 1 / CLEAR}
    rest = len(ratios) - len(faster) - len(slower)
    said = [f"xFormers is faster than torch for {len(faster)} of {len(ratios)} shapes{_listed(faster)}"]
    if slower:
        said.append(f"slower for {len(slower)}{_listed(slower)}")
    if rest:
        others = "for the others " if faster or slower else ""
        said.append(f"{others}torch alone does the same work as fast")
    if without:
        said.append(f"xFormers has no operator here for {', '.join(without)}")
    return "; ".join(said) + "."


def _listed(ratios: dict[str, float]) -> str:
    far_first = sorted(ratios, key=lambda name: -abs(math.log(ratios[name])))
    return f" ({', '.join(f'{name}: {ratios[name]:.2g}x' for name in far_first)})" if ratios else ""


LIBRARIES = (
    "xformers/flash_attn_3/_C.so",
    "xformers/_C_flashattention3.so",
    "xformers/_C_flashattention.so",
)
for _name in SHAPES:
    harness.case(
        f"speed/{_name}", level="gpu", timed=True, libraries=LIBRARIES, shrink=(2, 4, 8), shape=_name
    )(speed)
harness.case("speed/verdict", level="gpu", timed=True, limit=180, libraries=LIBRARIES, shrink=(2, 4, 8))(
    verdict
)

if __name__ == "__main__":
    harness.main()
