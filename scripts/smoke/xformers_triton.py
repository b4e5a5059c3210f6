"""Every Triton kernel of an xFormers wheel compiles for every architecture of the target. Needs no GPU.

A case is a launch: the arguments are of the shapes, strides, types and constants that xFormers' own host code gives.
Split-K attention's are in ``xformers_splitk``; that a kernel has a case in one of the two is a case here. Kernels of
bundled code of others (``xformers/_flash_attn``) are out of scope.

``expect.kernels`` of the recipe names kernels that the wheel must have, like ``splitk_kernels._splitK_reduce``.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import harness
import triton_compile
import triton_launch
import xformers_splitk
from triton_compile import Tensor
from triton_launch import BATCH, HEADS, Arguments, Launch, later, plain

if TYPE_CHECKING:
    import triton.language as tl  # noqa: TC004 - set by _samples

_SCOPE = ("ops", "triton")
_EXEMPT: dict[str, str] = {}
"""Kernels that no case covers -> why not."""


# How the kernels of our own are wrapped


def sample(count: int, mode: str, *, subscript: bool = False) -> Callable[[Any, str], Any]:
    """Unroll a kernel of our own: xFormers' kernels are written for one of the two modes only."""

    def wrapped(module: Any, _name: str) -> Any:
        kernel = _samples()[subscript]
        unrolled = module.unroll_varargs(kernel, N=count, mode=module.VarargMode[mode])
        assert unrolled.arg_names[:count] == [f"inputs{index}" for index in range(count)], unrolled.arg_names
        return unrolled

    return wrapped


@functools.lru_cache(maxsize=None)  # noqa: UP033 - a name that Python 3.9 has as well
def _samples() -> tuple[Any, Any]:
    """Return two kernels; the second holds a subscript of something that is no name."""
    triton = importlib.import_module("triton")
    globals()["tl"] = importlib.import_module("triton.language")

    def total(
        inputs: "VAR_ARGS_ARRAY",  # noqa: F821, UP037 - the text is what is looked for
        weights: "VAR_ARGS_ARRAY",  # noqa: F821, UP037
        output,
        size,
        BLOCK: tl.constexpr,  # noqa: N803
    ):
        offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        result = tl.zeros([BLOCK], dtype=tl.float32)
        for i in range(len(inputs)):
            result += tl.load(inputs[i] + offsets, mask=offsets < size) * weights[i]
        tl.store(output + offsets, result, mask=offsets < size)

    def first(
        inputs: "VAR_ARGS_ARRAY",  # noqa: F821, UP037
        output,
        BLOCK: tl.constexpr,  # noqa: N803
    ):
        for i in range(len(inputs)):
            row = inputs[i] + tl.arange(0, BLOCK)[:]
            tl.store(output + i * BLOCK + tl.arange(0, BLOCK), tl.load(row))

    return triton.jit(total), triton.jit(first)


# The launches' arguments


def summing(count: int) -> Arguments:
    """Return the arguments of the kernels of our own."""
    vector = Tensor((4096,), "float32")
    inputs = {f"inputs{index}": vector for index in range(count)}
    weights = {f"weights{index}": 0.5 + index for index in range(count)}
    return {**inputs, **weights, "output": vector, "size": 4096, "BLOCK": 512}


def norm(dtype: str, *, weighted: bool) -> Arguments:
    """Return the arguments of both RMS norms for rows of 4096 values."""
    rows = Tensor((512, 4096), dtype)
    return {
        "x_ptr": rows, "y_ptr": rows, "h1_ptr": rows, "w_ptr": Tensor((4096,), dtype) if weighted else None,
        "eps": 1e-6, "stride": 4096, "N_COLS": 4096, "BLOCK_SIZE": 4096, "INCLUDE_WEIGHT": weighted, "num_warps": 8,
    }  # fmt: skip


def rope(dtype: str, internal: str = "", *, dynamic: bool = False, positions: str = "") -> Arguments:
    """Return the arguments of rotary embeddings with a cache: 8 heads of queries, 2 of keys, 128 values each."""
    queries, keys, cache = (
        Tensor((1, length, heads, 128), dtype) for length, heads in ((16, HEADS), (16, 2), (4 * 1024, 2))
    )
    starts = Tensor((BATCH + 1,), "int32")
    named = {"xq": queries, "xk": keys, "xv": keys, "out_q": queries, "cache_k": cache, "cache_v": cache}
    scaling = {
        "old_context_len": 8192.0,
        "scale_factor": 16.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 32.0,
    }
    arguments: Arguments = {
        **named, "seqstartq": starts, "seqstartk": starts, "seqlenk": Tensor((BATCH,), "int32"), "theta": 10000.0,
        "linear_scale": 1.0, "use_dynamic_scaling": dynamic, "first_seqpos": None, "seqpos": None, "k_start": HEADS,
        "v_start": HEADS + 2, "n_groups": 1, "dim": 128, "stride_seqstartq": 1, "stride_seqstartk": 1,
        "stride_seqlenk": 1, "stride_seqpos": 1 if positions else 0, "internal_dtype": internal,
        "const_batch_strides": False, "cache_padding_length": 0, "seqlenk_shift": 0, "BLOCK_SIZE": 128,
        "adjacents": not dynamic, "num_warps": 1,
    }  # fmt: skip
    for name, tensor in named.items():
        short = name.replace("_", "") if name != "out_q" else "outq"
        row = (tensor.stride(1), 0, tensor.stride(2))
        arguments |= dict(zip((f"stride_{short}{letter}" for letter in "MGH"), row))  # noqa: B905 - Python 3.9
    arguments |= {f"dynamic_{name}": value if dynamic else 0 for name, value in scaling.items()}
    return {**arguments, **({positions: Tensor((16,), "int32")} if positions else {})}


def selection(dtype: str) -> Arguments:
    """Return the arguments of ``index_select_cat``, both ways."""
    rows, index = Tensor((512, 1024), dtype), Tensor((128,), "int64")
    return {
        "output_ptr": rows, "source_ptr": rows, "grad_source_ptr": rows, "grad_output_ptr": rows, "index_ptr": index,
        "num_rows": 512, "num_indices": 128, "num_cols": 1024, "stride0": 1024, "stride1": 1, "BLOCK_SIZE_INDEX": 1,
        "BLOCK_SIZE_COL": 512,
    }  # fmt: skip


def addition(dtype: str, *, scaled: bool) -> Arguments:
    """Return the arguments of ``scaled_index_add``, both ways."""
    batch, scaling = Tensor((64, 196, 1024), dtype), Tensor((1024,), dtype) if scaled else None
    return {
        "input_ptr": batch, "source_ptr": batch, "grad_output_ptr": batch, "grad_source_ptr": batch,
        "grad_scaling_ptr": batch if scaled else None, "scaling_ptr": scaling, "index_ptr": Tensor((32,), "int64"),
        "alpha": 0.5, "num_inp_indices": 64, "num_src_indices": 32, "num_rows": 196, "num_cols": 1024,
        "stride0": 196 * 1024, "stride1": 1024, "stride2": 1, "BLOCK_SIZE_INDEX": 1, "BLOCK_SIZE_ROW": 1,
        "BLOCK_SIZE_COL": 512, "HAS_SCALING": scaled,
    }  # fmt: skip


def tiles(dtype: str, *, split: int = 1) -> Arguments:
    """Return the arguments of one matrix times three, with two of the kernel's own configurations."""
    language = importlib.import_module("triton.language")
    matrix = Tensor((1024, 1024), dtype)
    block = {"BLOCK_M": 128, "BLOCK_N": 128, "num_stages": 4, "num_warps": 4}
    if split > 1:
        block = {"BLOCK_M": 32, "BLOCK_N": 64, "num_stages": 4, "num_warps": 2}
    sizes = {"M": (1024, 0, 0), "N": (1024,) * 3, "K": (1024, 0, 0)}
    steps = {
        "am": (1024, 0, 0),
        "bk": (1024,) * 3,
        "cm": (1024,) * 3,
        "ak": (1,) * 3,
        "bn": (1,) * 3,
        "cn": (1,) * 3,
    }
    return {
        **{f"{name}{row}{column}": matrix for name in "ABC" for row in (1, 2, 3) for column in (1, 2, 3)},
        **{f"{name}{index + 1}": size[index] for name, size in sizes.items() for index in range(3)},
        **{f"stride_{name}{index + 1}": step[index] for name, step in steps.items() for index in range(3)},
        **block, "BLOCK_K": 32, "GROUP_M": 8, "SPLIT_K": split, "ACC_TYPE": language.float32,
    }  # fmt: skip


# The cases


def launches() -> Iterator[tuple[str, Launch]]:
    """Yield every case's name without the architecture, and its launch."""
    for count in (1, 2, 4):
        for mode in ("UNROLL", "CONDITIONAL"):
            name = f"vararg-{mode.lower()}/n-{count}"
            yield name, Launch("triton.vararg_kernel", "", sample(count, mode), later(summing, count))
    subscript = sample(2, "CONDITIONAL", subscript=True)
    yield "vararg-conditional/subscript", Launch("triton.vararg_kernel", "", subscript, later(summing, 2))
    for case, (kernel, arguments) in _others().items():
        module, _, function = kernel.partition(".")
        yield case, Launch(f"ops._triton.{module}", function, plain, arguments)


def _others() -> dict[str, tuple[str, Callable[[int], Arguments]]]:
    """Return the kernels that are launched as they are decorated."""
    rotary = "rope_padded_kernels._rope_padded_kernel"
    matmul = "tiled_matmul_kernels._xformers_tiled_matmul_kernel"
    select, add = "k_index_select_cat.index_select_cat", "k_scaled_index_add.scaled_index_add"
    return {
        "rmsnorm/fp16": ("rmsnorm_kernels._rms_norm_kernel", later(norm, "float16", weighted=True)),
        "rmsnorm/bf16-no-weight": (
            "rmsnorm_kernels._rms_norm_kernel",
            later(norm, "bfloat16", weighted=False),
        ),
        "rmsnorm-add/bf16": ("rmsnorm_kernels._rms_norm_add_kernel", later(norm, "bfloat16", weighted=True)),
        "rope-padded/bf16": (rotary, later(rope, "bfloat16")),
        "rope-padded/f32-dynamic": (rotary, later(rope, "float16", "f32", dynamic=True, positions="seqpos")),
        "rope-padded/f64": (rotary, later(rope, "bfloat16", "f64", positions="first_seqpos")),
        "index-select-cat/forward": (f"{select}_fwd_kernel", later(selection, "float16")),
        "index-select-cat/backward": (f"{select}_bwd_kernel", later(selection, "bfloat16")),
        "scaled-index-add/forward": (f"{add}_fwd_kernel", later(addition, "float16", scaled=True)),
        "scaled-index-add/forward-no-scale": (f"{add}_fwd_kernel", later(addition, "bfloat16", scaled=False)),
        "scaled-index-add/backward": (f"{add}_bwd_kernel", later(addition, "float16", scaled=True)),
        "tiled-matmul/bf16": (matmul, later(tiles, "bfloat16")),
        "tiled-matmul/fp16-split-4": (matmul, later(tiles, "float16", split=4)),
    }


def named(covered: frozenset[str]) -> dict[str, int]:
    """Assert that each kernel the recipe names is in wheel and cases, and each that can be launched in a case."""
    found = triton_compile.kernels(triton_compile.root("xformers") / folder for folder in _SCOPE)
    expected = set(harness.setting()["expect"].get("kernels", ()))
    faults = {
        "not in this wheel": expected - found.keys(),
        "named by the recipe, compiled by no case": expected - covered,
        "launchable, compiled by no case": {name for name in found if found[name]} - covered - {*_EXEMPT},
    }
    said = [f"{what}: {', '.join(sorted(names))}" for what, names in faults.items() if names]
    assert not said, "; ".join(said)
    return {"kernels": sum(found.values()), "helpers": len(found) - sum(found.values())}


LAUNCHES = dict(launches())

if __name__ == "__main__":
    triton_launch.cases(LAUNCHES, fresh=True)
    both = [*LAUNCHES.values(), *xformers_splitk.LAUNCHES.values()]
    covered = frozenset(one.name() for one in both)
    harness.case("triton/named", level="jit", alone=True, covered=covered)(named)
    harness.main()
