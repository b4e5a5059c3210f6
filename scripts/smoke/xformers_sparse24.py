#!/usr/bin/env python3
"""Smoke suite of xFormers: what packs and multiplies two of each four values, against exact references.

The values of the inputs are distinct within every tile, so the kept ones are known exactly. The operators that newer
versions write in Triton are here too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import harness
from library_calls import DEVICE, DTYPES, begin, call, capability, each, normal, rounded, same
from nearness import compared

BACKENDS = ("cutlass", "cusparselt")
# References of sparse24: tiles of 4x4, from which at most two values of each row and each column are kept.


def tiled(x: Any) -> Any:
    """Return (tiles, 16) of (rows, columns)."""
    rows, cols = x.shape
    return x.reshape(rows // 4, 4, cols // 4, 4).permute(0, 2, 1, 3).reshape(-1, 16)


def untiled(tiles: Any, rows: int, cols: int) -> Any:
    """Return (rows, columns) of (tiles, 16)."""
    return tiles.reshape(rows // 4, cols // 4, 4, 4).permute(0, 2, 1, 3).reshape(rows, cols)


def distinct(groups: int, size: int, dtype: str, first: Any = None) -> Any:
    """Return groups of values whose magnitudes differ by more than rounding; those of ``first`` are the largest."""
    import torch

    noise = torch.rand(groups, size, device=DEVICE)
    rank = (noise if first is None else noise + first).argsort(1).argsort(1)
    sign = torch.where(torch.rand(groups, size, device=DEVICE) < 0.5, -1.0, 1.0)
    if first is not None:
        sign = torch.where(first, 1.0, sign)
    return (sign * (rank + 0.25 + noise / 2)).to(getattr(torch, DTYPES[dtype]))


def dense(rows: int, cols: int, dtype: str) -> Any:
    """Return a matrix without ties in any tile and without a zero."""
    return untiled(distinct(rows * cols // 16, 16, dtype), rows, cols)


def balanced(rows: int, cols: int, dtype: str) -> Any:
    """Return a matrix in whose every tile the eight largest values stand two to a row and two to a column."""
    import torch

    ring = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]], device=DEVICE).bool()
    count = rows * cols // 16
    lines, places = (torch.rand(count, 4, device=DEVICE).argsort(1) for _ in range(2))
    first = ring[lines[:, :, None], places[:, None, :]].reshape(count, 16)
    return untiled(distinct(count, 16, dtype, first), rows, cols)


def greedy(x: Any) -> Any:
    """Return which values the greedy algorithm keeps: the largest first, wherever row and column have room."""
    import torch

    order = tiled(x).argsort(1, descending=True)
    kept = torch.zeros_like(order, dtype=torch.bool)
    in_row, in_col = (torch.zeros(len(order), 4, dtype=torch.int, device=x.device) for _ in range(2))
    for rank in range(16):
        at = order[:, rank : rank + 1]
        row, col = at // 4, at % 4
        take = (in_row.gather(1, row) < 2) & (in_col.gather(1, col) < 2)
        kept.scatter_(1, at, take)
        in_row.scatter_add_(1, row, take.int())
        in_col.scatter_add_(1, col, take.int())
    return untiled(kept, *x.shape)


def by_line(x: Any, limits: Sequence[int], in_column: int) -> Any:
    """Return which values are kept when each row of a tile takes its largest, without a look at the rows below."""
    import torch

    tiles = tiled(x).reshape(-1, 4, 4)
    kept = torch.zeros_like(tiles, dtype=torch.bool)
    used = torch.zeros(len(tiles), 4, dtype=torch.int, device=x.device)
    for row, limit in enumerate(limits):
        order = tiles[:, row].argsort(1, descending=True)
        count = torch.zeros(len(tiles), 1, dtype=torch.int, device=x.device)
        for rank in range(4):
            at = order[:, rank : rank + 1]
            take = (used.gather(1, at) < in_column) & (count < limit)
            kept[:, row].scatter_(1, at, take)
            used.scatter_add_(1, at, take.int())
            count += take.int()
    return untiled(kept.reshape(-1, 16), *x.shape)


ALGORITHMS: dict[str, Callable[[Any], Any]] = {
    "": greedy,
    "largest_values_greedy": greedy,
    "largest_abs_values_greedy": lambda x: greedy(x.abs()),
    "causal1122": lambda x: by_line(x, (1, 1, 2, 2), 2),
    "largest_notranspose": lambda x: by_line(x, (2, 2, 2, 2), 4),
    "largest_abs_notranspose": lambda x: by_line(x.abs(), (2, 2, 2, 2), 4),
}


def packed(x: Any, mask: Any) -> Any:
    """Return two of each four values: a lone one from the left half stands first, one from the right half second."""
    import torch

    rows, cols = x.shape
    a, b, c, d = x.reshape(rows, cols // 4, 4).unbind(-1)
    at_a, at_b, at_c, at_d = mask.reshape(rows, cols // 4, 4).unbind(-1)
    none = torch.zeros_like(a)
    first = torch.where(at_a, a, torch.where(at_b, b, torch.where(at_c & at_d, c, none)))
    second = torch.where(at_d, d, torch.where(at_c, c, torch.where(at_a & at_b, b, none)))
    return torch.stack([first, second], -1).reshape(rows, cols // 2)


def bits(masks: Any) -> Any:
    """Return the mask that the threads wrote: 8 bytes for 8x8 values, four tiles of 16 bits."""
    import torch

    x, y, _ = masks.shape
    words = masks.contiguous().view(torch.int16).int()[..., None]
    each = (words >> torch.arange(16, device=words.device, dtype=torch.int)) & 1
    return each.reshape(x, y, 2, 2, 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(8 * x, 8 * y).bool()


def cut(values: Any, rows: int, cols: int, backend: str) -> Any:
    """Return the packed values without what a backend adds: rounded sizes, or the metadata behind the values."""
    if backend == "cutlass":
        return values[:rows, : cols // 2]
    return values.reshape(-1)[: rows * cols // 2].reshape(rows, cols // 2)


SHAPES = ((64, 128), (96, 192), (40, 320))
"""Of the last one the rows do not fill the kernel's blocks of 32."""


# The cases


@each("library/sparse24/sparsify/{shape[0]}x{shape[1]}/{dtype}", shape=SHAPES, dtype=DTYPES)
@each("library/sparse24/sparsify/{backend}/{dtype}", backend=("cusparselt",), dtype=DTYPES)
@each("library/sparse24/sparsify/{algorithm}/{dtype}", algorithm=[*ALGORITHMS][1:], dtype=DTYPES)
def sparsify(
    dtype: str, shape: tuple[int, int] = (128, 256), backend: str = "cutlass", algorithm: str = ""
) -> dict[str, Any]:
    """Compare the values packed both ways, and the mask, with the algorithm's: there is no difference."""
    begin()
    x = dense(*shape, dtype)
    try:
        found = call("sparse24_sparsify_both_ways", x, algorithm, backend)
    except RuntimeError as error:
        if "Unknown algorithm" not in str(error):
            raise
        raise harness.Skip(f"this version does not know {algorithm}") from error
    mask, (rows, cols) = ALGORITHMS[algorithm](x), shape
    same("mask", bits(found[4])[:rows, :cols], mask)
    same("packed", cut(found[0], rows, cols, backend), packed(x, mask))
    if not algorithm.endswith("notranspose"):  # which does not promise two to a column
        same("packed_t", cut(found[2], cols, rows, backend), packed(x.t(), mask.t()))
    return {"kept": float(mask.double().mean())}


@each("library/sparse24/sparsify/large", shrink=(2, 4))
def sparsify_large(shrink: int) -> dict[str, Any]:
    """Compare a matrix of many blocks."""
    return sparsify("fp16", (4096 // shrink, 4096 // shrink))


@each("library/sparse24/meta/{dtype}", dtype=DTYPES)
def meta(dtype: str) -> None:
    """Compare the metadata with the CPU operators; cuSPARSELt's has the same blocks in another order."""
    import torch

    begin()
    x = balanced(256, 512, dtype)
    mask = greedy(x)
    ours = call("sparse24_sparsify_both_ways", x, "", "cutlass")
    theirs = call("sparse24_sparsify_both_ways", x, "", "cusparselt")
    for name, at, kept in (("meta", 1, mask), ("meta_t", 3, mask.t().contiguous())):
        reordered = call("_sparse24_reorder_meta", call("_sparse24_pack_mask", kept.cpu()))
        same(name, ours[at].cpu(), reordered)
        rows, cols = kept.shape
        values = call(
            "_sparse24_pack_tensor_according_to_mask", (x if at == 1 else x.t()).cpu().contiguous(), reordered
        )
        same(f"values of {name}", cut(ours[at - 1], rows, cols, "cutlass").cpu(), values)
        blocks = ours[at].permute(2, 0, 1).reshape(cols // 32, rows // 32, 64)
        other = theirs[at].reshape(-1).view(torch.int16).reshape(cols // 64, rows // 128, 2, 4, 64)
        same(f"{name} of cuSPARSELt", other.transpose(1, 2).reshape_as(blocks), blocks)


@each("library/sparse24/meta-shuffle/transposed-{transposed}", transposed=(False, True))
def meta_shuffle(transposed: bool) -> None:
    """Exchange metadata between four neighbouring threads: each gets one line of all four."""
    import torch

    begin()
    local = torch.randint(0, 256, (4, 8, 8), device=DEVICE)
    found = call("_sparse24_meta_shuffle_test", local, transposed)
    quads = local.reshape(2, 2, 4, 2, 2, 4).permute(
        0, 2, 4, 5, 1, 3
    )  # pair, pair, upper or lower, line, x, y
    shift = torch.tensor([[0, 16], [8, 24]] if transposed else [[0, 8], [16, 24]], device=DEVICE)
    words = (quads << shift).sum((-1, -2)).reshape(2, 4, 2, 2, 2)
    lines = words.transpose(-1, -2) if transposed else words
    same("metadata", found & 0xFFFFFFFF, lines.permute(0, 3, 1, 4, 2).reshape(4, 8, 2))


@each("library/sparse24/apply/{backend}/{dtype}", backend=BACKENDS, dtype=DTYPES)
def apply(dtype: str, backend: str) -> None:
    """Apply one matrix's pattern to another's values: packed, dense, and with the dropped ones scaled."""
    import torch

    begin()
    rows, cols = 256, 384
    x, y = dense(rows, cols, dtype), dense(rows, cols, dtype)
    masks, mask = call("sparse24_sparsify_both_ways", x, "", backend)[4], greedy(x)
    found = call("sparse24_apply", y, masks, backend)
    same("packed", cut(found[0], rows, cols, backend), packed(y, mask))
    same("packed_t", cut(found[2], cols, rows, backend), packed(y.t(), mask.t()))
    same("dense", call("sparse24_apply_dense_output", y, masks), torch.where(mask, y, 0))
    scaled = call(
        "sparse24_apply_dense_output", y.t().contiguous().t(), masks, 2.0, 0.5
    )  # exact powers of two
    same("scaled", scaled, torch.where(mask, y * 0.5, y * 2))


@each("library/sparse24/largest-mask/{dtype}", dtype=DTYPES, shrink=(2, 4))
def largest_mask(dtype: str, shrink: int = 1) -> None:
    """Compare the mask of every tile: a launch that failed would leave whatever was in memory, without an error."""
    begin()
    for rows, cols in ((36, 52), (2048 // shrink, 4096 // shrink)):
        x = dense(rows, cols, dtype)
        mask = greedy(x)
        same("mask", call("sparse24_largest_mask_2d", x), mask.to(x.dtype))
        same("none random", call("sparse24_largest_with_Krandom_mask_2d", x, 0), mask.to(x.dtype))
        some = call("sparse24_largest_with_Krandom_mask_2d", x, 3)
        tiles = tiled(some).reshape(-1, 4, 4)
        assert bool(((tiles == 0) | (tiles == 1)).all()), "the mask has values other than 0 and 1"
        assert max(float(tiles.sum(axis).max()) for axis in (1, 2)) <= 2, (
            "a row or a column has more than two"
        )


@each("library/sparse24/nm-dense/2of{size}", size=(4, 8))
def nm_dense(size: int) -> None:
    """Keep the two largest of each group and make the others zero."""
    import torch

    begin()
    x = distinct(512 * 256 // size, size, "bf16")
    for algorithm, keys in (("largest", x), ("largest_abs", x.abs())):
        found = call("sparseNM_dense", x.reshape(512, 256), sort_preproc=algorithm, N=2, M=size)
        kept = keys.argsort(1).argsort(1) >= size - 2
        same(algorithm, found.reshape_as(x), torch.where(kept, x, 0))


@each("library/sparse24/gradient/{dtype}", dtype=DTYPES)
def gradient(dtype: str) -> None:
    """Send a gradient through the values that were kept, or scaled through all of them."""
    begin()
    import torch
    from xformers.ops import sp24

    x = dense(256, 512, dtype).requires_grad_()
    out = dense(256, 512, dtype)
    mask = greedy(x.detach())
    pattern = sp24.sparsify24(x.detach())
    for name, sparse, wanted in (
        ("gradient of sparsify24", sp24.sparsify24(x, gradient="24dense"), torch.where(mask, out, 0)),
        (
            "straight through",
            sp24.sparsify24_ste(x, bw_mul0=2.0, bw_mul1=0.5),
            torch.where(mask, out * 0.5, out * 2),
        ),
        (
            "gradient of sparsify24_like",
            sp24.sparsify24_like(x, pattern, "24dense", "dense"),
            torch.where(mask, out, 0),
        ),
    ):
        x.grad = None
        sparse.backward(out)
        torch.cuda.synchronize()
        same(name, x.grad, wanted)
    relu = torch.relu(sp24.sparsify24(x.detach()))
    torch.cuda.synchronize()
    same("relu of a sparse tensor", relu.packed, packed(x.detach().relu(), mask))


@each("library/sparse24/gemm/{backend}/{dtype}", backend=BACKENDS, dtype=DTYPES)
def gemm(dtype: str, backend: str) -> dict[str, float]:
    """Multiply sparse by dense and dense by sparse: the sum runs in fp32 and is rounded once."""
    begin()
    import torch
    from xformers.ops import sp24

    if backend == "cusparselt" and not sp24._has_cusparseLt():
        raise harness.Skip(
            f"this version does not take cuSPARSELt {sp24._cusplt_version_str} on {capability()}"
        )
    sp24._CUSPLT_TUNE = False  # tries 70 kernels for each shape, some of them wrong
    a, b = dense(256, 512, dtype), normal(512, 128, dtype=dtype)
    sparse, wide = sp24.sparsify24(a, backend=backend), torch.where(greedy(a), a, 0).double()
    try:
        left, right = sparse @ b, b.t() @ sparse.t()
    except RuntimeError as error:
        if "compute capability 8.x" not in str(error):
            raise
        raise harness.Skip("upstream lets this operator run on compute capability 8.x only") from error
    torch.cuda.synchronize()
    product = wide @ b.double()
    return compared(
        {"sparse @ dense": (left, product), "dense @ sparse": (right, product.t())}, rounded(dtype, 1)
    )


@each("library/sparse24/gemm/fp8-sm90")
def fp8_gemm() -> dict[str, float]:
    """Multiply compressed fp8 by fp8: rounded once to bf16, but Hopper's tensor cores sum fp8 in about 14 bits."""
    import torch

    begin()
    if capability()[0] != 9:
        raise harness.Skip("upstream made this operator for compute capability 9.x")
    rows, cols, depth = 512, 1024, 256
    groups = distinct(rows * depth // 4, 4, "bf16")
    kept = groups.abs().argsort(1).argsort(1) >= 2
    a = torch.where(kept, groups, 0).reshape(rows, depth).to(torch.float8_e4m3fn)
    b = normal(cols, depth).to(torch.float8_e4m3fn)
    scale_a, scale_b = normal(rows, 1).abs() + 0.5, normal(1, cols).abs() + 0.5
    values, places = call("_sparse24_sm90_cutlass_compress", a)
    scaled = call("_sparse24_fp8_sm90_cutlass_gemm", values, places, b.t(), a_scale=scale_a, b_scale=scale_b)
    plain = call("_sparse24_fp8_sm90_cutlass_gemm", values, places, b.t())
    product = a.double() @ b.double().t()
    return compared({"plain": (plain, product), "scaled": (scaled, product * scale_a * scale_b)}, 1e-2)


if __name__ == "__main__":
    harness.main()
