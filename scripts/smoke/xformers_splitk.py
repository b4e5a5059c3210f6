"""Every Triton kernel of xFormers' split-K attention compiles for every architecture of the target; needs no GPU.

A case is a launch: the arguments are of the shapes, strides, types and constants that xFormers' own host code gives
(``triton_splitk.py`` above all).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import harness
import triton_launch
from triton_compile import Tensor
from triton_launch import BATCH, HEADS, LEAST, Arguments, Launch, later, plain, strides

KEYS, PAGE = 4096, 256
KERNELS = "ops.fmha._triton.splitk_kernels"


class Attention(NamedTuple):
    """What a user asks of split-K attention over 4 sequences of 4096 keys with 8 heads."""

    head_dim: int = 128
    dtype: str = "float16"
    queries: int = 1
    splits: int = 16
    groups: int = 0
    """Of int4 quantisation; 0 leaves keys and values as they are."""
    fp8: bool = False
    bias: tuple[str, ...] = ()
    """Of: tensor; or padded, and with it causal, local, gappy, paged, variable (lengths of queries)."""
    early_exit: bool = False


# How kernels are wrapped


def unrolled(count: int) -> Callable[[Any, str], Any]:
    """Unroll for ``count`` results to merge, as ``merge_attentions_varargs`` does."""

    def wrapped(module: Any, name: str) -> Any:
        return triton_launch.load("triton.vararg_kernel").unroll_varargs(getattr(module, name), N=count)

    return wrapped


def attending(wanted: Attention) -> Callable[[Any, str], Any]:
    """Unroll for groups of quantised values, and add the heuristics."""

    def wrapped(module: Any, _name: str) -> Any:
        kernel = module._get_splitk_kernel(wanted.groups or 1)
        if "local" in wanted.bias and "IS_LOCAL" not in kernel.arg_names:
            raise harness.Skip("this release has no local attention in split-K")
        return kernel

    return wrapped


ASKED = """
import sys, types, xformers
for name in ("xformers.ops", "xformers.ops.fmha"):
    sys.modules[name] = bare = types.ModuleType(name)
    bare.__path__ = [xformers.__path__[0] + name[len("xformers"):].replace(".", "/")]
from xformers.ops.fmha import triton_splitk as op
raise SystemExit(op._triton_has_block_pointers())
"""
"""Asks split-K attention what it tells dispatch; the other operators have no part in it, and are not imported."""


def declined() -> bool:
    """Say whether split-K attention tells dispatch that this Triton has no block pointers.

    A process of its own is asked: in this one the packages above the kernels are bare.
    """
    return not harness.ask(ASKED)


# The launches' arguments


def split_k(wanted: Attention, number: int) -> Arguments:
    """Return the arguments of the forward kernel as ``triton_splitk.FwOp.apply`` makes them."""
    tensors = _operands(wanted)
    out, lse = partial_results(wanted)
    return {
        **tensors,
        "sm_scale": wanted.head_dim**-0.5,
        "Out_splitK": out,
        "LSE_splitk": lse,
        **_sequences(wanted),
        **strides(tensors["Q"], "q", "z m g h k"),
        **strides(tensors["K"], "k", "z n g h k"),
        **strides(tensors["V"], "v", "z n g h k"),
        **strides(out, "osk_", "z g h s m k"),
        **strides(lse, "lsek_", "z g h s m"),
        **strides(tensors["additive_bias"], "bias_", "b g h qm km"),
        **strides(tensors["K_fp8_scale_shift"], "k_fp8_scale_shift_", "z n g h"),
        **strides(tensors["V_fp8_scale_shift"], "v_fp8_scale_shift_", "z n g h"),
        "Z": BATCH,
        "H": HEADS,
        "G": 1,
        "N_CTX_Q": wanted.queries,
        "N_CTX_K": KEYS,
        "BLOCK_N_PER_SPLIT": (KEYS + wanted.splits - 1) // wanted.splits,
        "BLOCK_DMODEL": wanted.head_dim,
        "PACKED_PER_VAL": _packed(wanted),
        "N_GROUPS": wanted.groups or 1,
        "IS_SPLITK": wanted.splits > 1,
        "SPLIT_K_EARLY_EXIT": wanted.early_exit,
        "WRITE_LSE": wanted.splits > 1,
        "NUM_PROGRAMS_DIM2_CONST": wanted.splits,
        "IS_HIP": False,
        **_blocks(wanted, number),
    }


def _packed(wanted: Attention) -> int:
    """Return how many keys' values one element holds."""
    return 8 if wanted.groups else 4 if wanted.fp8 else 1


def _rows(wanted: Attention) -> tuple[int, int]:
    """Return the batch size and the length of the queries as the kernel sees them."""
    return (1, BATCH * wanted.queries) if "variable" in wanted.bias else (BATCH, wanted.queries)


def _operands(wanted: Attention) -> Arguments:
    rows, length = _rows(wanted)
    together = {"paged", "gappy"} & set(wanted.bias)
    places = (1, BATCH * KEYS, 1, HEADS) if together else (BATCH, KEYS, 1, HEADS)
    packed = _packed(wanted)
    kind = "int32" if packed > 1 else wanted.dtype
    width = wanted.head_dim // packed + wanted.groups
    scales = Tensor(places, "int32") if wanted.fp8 else None
    biased = "tensor" in wanted.bias
    return {
        "Q": Tensor((rows, length, 1, HEADS, wanted.head_dim), wanted.dtype),
        "K": Tensor((*places, width), kind),
        "V": Tensor((*places, width), kind),
        "K_fp8_scale_shift": scales,
        "V_fp8_scale_shift": scales,
        "additive_bias": Tensor((BATCH, 1, HEADS, length, KEYS), wanted.dtype) if biased else None,
        "HAS_ADDITIVE_BIAS": biased,
    }


def partial_results(wanted: Attention) -> tuple[Tensor, Tensor | None]:
    """Return what the forward kernel writes: attention and log-sum-exp of every chunk."""
    rows, length = _rows(wanted)
    if wanted.splits == 1:
        out = Tensor((rows, 1, length, 1, HEADS, wanted.head_dim), wanted.dtype)
        return out.permuted(0, 3, 4, 1, 2, 5), None
    padded = (length + 31) // 32 * 32
    out = Tensor((rows, 1, HEADS, wanted.splits, padded, wanted.head_dim), "float32")
    return out, Tensor((rows, 1, HEADS, wanted.splits, length), "float64")


def _sequences(wanted: Attention) -> Arguments:
    """Return what the bias says of the sequences."""
    bias = set(wanted.bias)
    paged, with_lengths = "paged" in bias, bool(bias - {"tensor"})
    tables = Tensor((BATCH, KEYS // PAGE), "int32") if paged else None
    return {
        "block_tables": tables,
        **strides(tables, "blocktables", "z l"),
        "Seq_len": Tensor((BATCH,), "int32") if with_lengths else None,
        "Seq_starts_k": Tensor((BATCH + 1,), "int32") if "gappy" in bias else None,
        "Seq_starts_q": Tensor((BATCH + 1,), "int32") if "variable" in bias else None,
        "Seq_starts_q_multiplier": 1 if "variable" in bias else None,
        "USE_SEQ_LEN": with_lengths,
        "kv_cache_blocks_per_row": KEYS // PAGE if paged else 0,
        "USE_PAGED_ATTENTION": paged,
        "PAGE_SIZE": PAGE if paged else 0,
        "IS_CAUSAL": "causal" in bias,
        "IS_LOCAL": "local" in bias,
        "NUM_QUERIES_CAUSAL": _rows(wanted)[1] if with_lengths else 1,
        "WINDOW_LEFT": 255 if "local" in bias else -1,
        "WINDOW_RIGHT": -1,
    }


def _blocks(wanted: Attention, number: int) -> Arguments:
    """Return the sizes that are launched without autotuning; GPUs from 8.9 on have larger ones."""
    rows, warps = 16, 2
    if wanted.head_dim == 128 and _packed(wanted) == 1 and number >= 89:
        warps = 4 if wanted.queries > 1 else 2
        rows = next(size for size in (16, 32, 64, 128) if wanted.queries <= size or size == 128)
    return {"BLOCK_M": rows, "BLOCK_N": 64, "num_warps": warps, "num_stages": 1}


def reduction(wanted: Attention, *, with_lse: bool) -> Arguments:
    """Return the arguments of the kernel that merges the chunks, as ``merge_attentions`` makes them."""
    parts, lse_parts = partial_results(wanted)
    out, lse = _merged(wanted.dtype)
    return {
        "Out_splitK": parts,
        "LSE_splitK": lse_parts,
        "split_k": wanted.splits,
        "splitK_pow2": 1 << (wanted.splits - 1).bit_length(),
        **strides(parts, "osk_", "z g h s m k"),
        **strides(lse_parts, "lsek_", "z g h s m"),
        **_merging(out, lse if with_lse else None),
    }


def _merged(dtype: str) -> tuple[Tensor, Tensor]:
    return Tensor((BATCH, 1, 1, HEADS, 128), dtype), Tensor((BATCH, 1, HEADS, 1), "float32")


def _merging(out: Tensor, lse: Tensor | None) -> Arguments:
    return {
        "Out": out,
        "LSE": lse,
        **strides(out, "o", "z m g h k"),
        **strides(lse, "lse_", "z g h m"),
        "head_dim": 128,
        "head_dim_pow_2": 128,
        "BLOCK_SIZE": 128,
        "H": HEADS,
        "G": 1,
        "WRITE_LSE": lse is not None,
        "num_warps": 2,
    }


def merging(count: int, dtype: str) -> Arguments:
    """Return the arguments of the kernels that merge ``count`` results of different places, and of their gradients."""
    out, lse = _merged(dtype)
    arguments = _merging(out, lse)
    for index in range(count):
        arguments |= {
            **{f"{name}_splitK{index}": out for name in ("Out", "Dout")},
            **{f"{name}_splitK{index}": lse for name in ("LSE", "DLSE")},
            **{f"{name}{index}": size for name, size in strides(out, "osk_", "z m g h k").items()},
            **{f"{name}{index}": size for name, size in strides(lse, "lsek_", "z g h m").items()},
        }
    gradients = {**strides(out, "do", "z m g h k"), **strides(lse, "dlse_", "z g h m")}
    return {**arguments, "DOut": out, "DLSE": lse, **gradients}


# The cases

FORWARD = {
    "fp16": Attention(splits=1),
    "bf16-head-64": Attention(head_dim=64, dtype="bfloat16"),
    "tensor-bias": Attention(queries=64, splits=1, bias=("tensor",)),
    "queries-128": Attention(queries=128, splits=1, dtype="bfloat16"),
    "groups-1": Attention(groups=1),
    "groups-2": Attention(groups=2),
    "groups-4": Attention(groups=4, bias=("paged",)),
    "fp8-paged": Attention(fp8=True, bias=("paged",), dtype="bfloat16"),
    "varlen": Attention(queries=8, bias=("padded", "variable"), early_exit=True),
    "local": Attention(queries=4, bias=("padded", "causal", "local")),
    "paged-gappy-causal": Attention(queries=4, bias=("paged", "gappy", "causal"), dtype="bfloat16"),
}


def launches() -> Iterator[tuple[str, Launch]]:
    """Yield every case's name without the architecture, and its launch."""
    for name, wanted in FORWARD.items():
        launch = Launch(KERNELS, "_fwd_kernel_splitK", attending(wanted), _forward(wanted), declined)
        yield f"splitk-forward/{name}", launch
    for name, splits, dtype in (("fp16", 16, "float16"), ("odd-bf16", 6, "bfloat16")):
        wanted = Attention(splits=splits, dtype=dtype)
        arguments = later(reduction, wanted, with_lse=dtype == "float16")
        yield f"splitk-reduce/{name}", Launch(KERNELS, "_splitK_reduce", plain, arguments)
    for count in (1, 2, 4):
        for name, dtype in (("", "float16"), ("_backward", "bfloat16")):
            launch = Launch(
                KERNELS, f"_splitK_reduce_varargs{name}", unrolled(count), later(merging, count, dtype)
            )
            yield f"splitk-reduce-varargs{name.replace('_', '-')}/n-{count}", launch


def _forward(wanted: Attention) -> Callable[[int], Arguments]:
    """Put off making arguments; xFormers' own rule says for which GPUs there are any."""

    def arguments(number: int) -> Arguments:
        if number < LEAST:
            raise harness.Skip("xFormers runs split-K attention from 8.0 on")
        return split_k(wanted, number)

    return arguments


LAUNCHES = dict(launches())

if __name__ == "__main__":
    triton_launch.cases(LAUNCHES)
    harness.main()
