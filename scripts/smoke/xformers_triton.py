"""Every Triton kernel of an xFormers wheel compiles for every architecture of the target. Needs no GPU.

A case is a launch: the arguments are of the shapes, strides, types and constants that xFormers' own host code gives
(``triton_splitk.py`` above all). The kernels' modules are imported without the packages above them, whose imports are
the ``package`` suite's matter. Kernels of bundled code of others (``xformers/_flash_attn``) are out of scope.

``expect.kernels`` of the recipe names kernels that the wheel must have, like ``splitk_kernels._splitK_reduce``.
"""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import harness
import triton_compile
from triton_compile import Tensor

if TYPE_CHECKING:
    import triton.language as tl  # noqa: TC004 - set by _samples

_SCOPE = ("ops", "triton")
_LEAST = 80
"""From this capability on ``xformers._is_triton_available`` holds; what is below compiles, or is told as skipped."""
_EXEMPT: dict[str, str] = {}
"""Kernels that no case covers -> why not."""

Arguments = dict[str, Any]


class Launch(NamedTuple):
    """A kernel, how the host code wraps it before the launch, and the launch's arguments for a capability."""

    module: str
    kernel: str
    wrapped: Callable[[Any, str], Any]
    arguments: Callable[[int], Arguments]

    def name(self) -> str:
        """Return what a recipe calls the kernel."""
        return f"{self.module.rpartition('.')[2]}.{self.kernel}"


_module = functools.partial(triton_compile.under_bare_parents, "xformers")


def compiles(number: int, launch: Launch) -> dict[str, Any]:
    """Compile the launch's kernel into what this GPU can run."""
    kernel = launch.wrapped(_module(launch.module), launch.kernel)
    given = launch.arguments(number)
    if given.get("IS_LOCAL") and "IS_LOCAL" not in kernel.arg_names:
        raise harness.Skip("this release has no local attention in split-K")
    if number < _LEAST and launch.kernel == FORWARD_KERNEL:
        raise harness.Skip("xFormers runs split-K attention from 8.0 on")
    taken = {*kernel.arg_names, "num_warps", "num_stages"}  # releases differ: BLOCK_SIZE became head_dim
    try:
        return triton_compile.build(kernel, number, {name: given[name] for name in given if name in taken})
    except triton_compile.Uncompilable as error:
        if number < _LEAST:
            raise harness.Skip(f"xFormers launches no Triton kernel below 8.0; {error}") from None
        if launch.kernel == FORWARD_KERNEL and _declined():
            raise harness.Skip(f"the operator leaves this Triton alone; {error}") from None
        raise


# How kernels are wrapped


def plain(module: Any, name: str) -> Any:
    """Return the kernel as it is decorated, but for autotuning: a launch brings one configuration."""
    kernel = getattr(module, name)
    return kernel.fn if type(kernel).__name__ == "Autotuner" else kernel


def unrolled(count: int) -> Callable[[Any, str], Any]:
    """Unroll for ``count`` results to merge, as ``merge_attentions_varargs`` does."""

    def wrapped(module: Any, name: str) -> Any:
        return _module("triton.vararg_kernel").unroll_varargs(getattr(module, name), N=count)

    return wrapped


def grouped(groups: int) -> Callable[[Any, str], Any]:
    """Unroll for groups of quantised values, and add the heuristics."""
    return lambda module, _name: module._get_splitk_kernel(groups)


def sample(count: int, mode: str, *, subscript: bool = False) -> Callable[[Any, str], Any]:
    """Unroll a kernel of our own: xFormers' kernels are written for one of the two modes only."""

    def wrapped(module: Any, _name: str) -> Any:
        kernel = _samples()[subscript]
        unrolled = module.unroll_varargs(kernel, N=count, mode=module.VarargMode[mode])
        assert unrolled.arg_names[:count] == [f"inputs{index}" for index in range(count)], unrolled.arg_names
        return unrolled

    return wrapped


@functools.lru_cache(maxsize=None)  # noqa: UP033 - a name that Python 3.9 has as well
def _declined() -> bool:
    """Say whether split-K attention tells dispatch that this Triton has no block pointers.

    A process of its own is asked: in this one the packages above the kernels are bare.
    """
    code = (
        "from xformers.ops.fmha import triton_splitk as op; raise SystemExit(op._triton_has_block_pointers())"
    )
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


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


BATCH, HEADS, KEYS, PAGE = 4, 8, 4096, 256


def strides(tensor: Tensor | None, prefix: str, letters: str) -> Arguments:
    """Return the ``stride_`` arguments of a tensor, all None without one."""
    names = [f"stride_{prefix}{letter}" for letter in letters.split()]
    return dict(zip(names, tensor.strides if tensor else [None] * len(names)))  # noqa: B905 - Python 3.9


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

SPLIT_K, FORWARD_KERNEL = "ops.fmha._triton.splitk_kernels", "_fwd_kernel_splitK"
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
    for count in (1, 2, 4):
        for mode in ("UNROLL", "CONDITIONAL"):
            name = f"vararg-{mode.lower()}/n-{count}"
            yield name, Launch("triton.vararg_kernel", "", sample(count, mode), _of(summing, count))
    subscript = sample(2, "CONDITIONAL", subscript=True)
    yield "vararg-conditional/subscript", Launch("triton.vararg_kernel", "", subscript, _of(summing, 2))
    for name, wanted in FORWARD.items():
        wrapped = grouped(wanted.groups or 1)
        yield f"splitk-forward/{name}", Launch(SPLIT_K, FORWARD_KERNEL, wrapped, _attending(wanted))
    for name, splits, dtype in (("fp16", 16, "float16"), ("odd-bf16", 6, "bfloat16")):
        wanted = Attention(splits=splits, dtype=dtype)
        arguments = _of(reduction, wanted, with_lse=dtype == "float16")
        yield f"splitk-reduce/{name}", Launch(SPLIT_K, "_splitK_reduce", plain, arguments)
    for count in (1, 2, 4):
        for name, dtype in (("", "float16"), ("_backward", "bfloat16")):
            launch = Launch(
                SPLIT_K, f"_splitK_reduce_varargs{name}", unrolled(count), _of(merging, count, dtype)
            )
            yield f"splitk-reduce-varargs{name.replace('_', '-')}/n-{count}", launch
    for case, (kernel, arguments) in _others().items():
        module, _, function = kernel.partition(".")
        yield case, Launch(f"ops._triton.{module}", function, plain, arguments)


def _others() -> dict[str, tuple[str, Callable[[int], Arguments]]]:
    """Return the kernels that are launched as they are decorated."""
    rotary = "rope_padded_kernels._rope_padded_kernel"
    matmul = "tiled_matmul_kernels._xformers_tiled_matmul_kernel"
    select, add = "k_index_select_cat.index_select_cat", "k_scaled_index_add.scaled_index_add"
    return {
        "rmsnorm/fp16": ("rmsnorm_kernels._rms_norm_kernel", _of(norm, "float16", weighted=True)),
        "rmsnorm/bf16-no-weight": ("rmsnorm_kernels._rms_norm_kernel", _of(norm, "bfloat16", weighted=False)),
        "rmsnorm-add/bf16": ("rmsnorm_kernels._rms_norm_add_kernel", _of(norm, "bfloat16", weighted=True)),
        "rope-padded/bf16": (rotary, _of(rope, "bfloat16")),
        "rope-padded/f32-dynamic": (rotary, _of(rope, "float16", "f32", dynamic=True, positions="seqpos")),
        "rope-padded/f64": (rotary, _of(rope, "bfloat16", "f64", positions="first_seqpos")),
        "index-select-cat/forward": (f"{select}_fwd_kernel", _of(selection, "float16")),
        "index-select-cat/backward": (f"{select}_bwd_kernel", _of(selection, "bfloat16")),
        "scaled-index-add/forward": (f"{add}_fwd_kernel", _of(addition, "float16", scaled=True)),
        "scaled-index-add/forward-no-scale": (f"{add}_fwd_kernel", _of(addition, "bfloat16", scaled=False)),
        "scaled-index-add/backward": (f"{add}_bwd_kernel", _of(addition, "float16", scaled=True)),
        "tiled-matmul/bf16": (matmul, _of(tiles, "bfloat16")),
        "tiled-matmul/fp16-split-4": (matmul, _of(tiles, "float16", split=4)),
    }


def _of(made: Callable[..., Arguments], *values: Any, **options: Any) -> Callable[[int], Arguments]:
    """Put off making arguments, which takes torch."""
    return lambda _number: made(*values, **options)


def _attending(wanted: Attention) -> Callable[[int], Arguments]:
    return lambda number: split_k(wanted, number)


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
NUMBERS = sorted({triton_compile.capability(one) for one in harness.setting()["architectures"]})

for number in NUMBERS:
    for name, launch in LAUNCHES.items():
        harness.case(f"triton/sm_{number}/{name}", level="jit", limit=120, number=number, launch=launch)(
            compiles
        )
harness.case("triton/named", level="jit", covered=frozenset(one.name() for one in LAUNCHES.values()))(named)

if __name__ == "__main__":
    harness.main()
