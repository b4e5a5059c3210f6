"""How the suites of xFormers' compiled library call into it: cases, random values and what results are held to."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import harness

F = TypeVar("F", bound=Callable[..., Any])
DEVICE = "cuda"
C = ("xformers/_C.so",)
DTYPES = {"fp16": "float16", "bf16": "bfloat16"}
SECONDS: dict[str, float] = {}
"""Seconds of the first call of each operator in this process."""


def each(
    name: str,
    *,
    libraries: Sequence[str] = C,
    limit: float = 60,
    env: Mapping[str, str] | None = None,
    shrink: Sequence[int] = (),
    timed: bool = False,
    **choices: Iterable[Any],
) -> Callable[[F], F]:
    """Make a function a case for each combination of its arguments, which the name holds as {fields}.

    Only a program has cases: when another suite imports it, its functions are nothing but functions.
    """

    def add(function: F) -> F:
        if function.__module__ != "__main__":
            return function
        pairs = ([(key, value) for value in values] for key, values in choices.items())
        for arguments in map(dict, itertools.product(*pairs)):
            harness.case(
                name.format(**arguments),
                level="gpu",
                limit=limit,
                env=env,
                libraries=libraries,
                shrink=shrink,
                timed=timed,
                **arguments,
            )(function)
        return function

    return add


def begin() -> None:
    """Start a case: the wheel's library is loaded, and the random values are the same in each run."""
    import torch
    import xformers

    failure = xformers._cpp_lib._cpp_library_load_exception
    assert failure is None, f"the library did not load: {failure.__cause__ or failure}"
    torch.manual_seed(0)


def call(name: str, *args: Any, **options: Any) -> Any:
    """Call an operator of the library and wait for the GPU; skip when this version has none of that name."""
    import torch

    if not hasattr(torch.ops.xformers, name):
        raise harness.Skip(f"this version's library has no {name}")
    started = time.perf_counter()
    result = getattr(torch.ops.xformers, name)(*args, **options)
    torch.cuda.synchronize()  # some launches are not checked: the fault would meet another case
    harness.record(name, result)
    SECONDS.setdefault(name, round(time.perf_counter() - started, 4))
    return result


def same(name: str, got: Any, wanted: Any) -> None:
    """Fail unless every value is the same."""
    assert got.shape == wanted.shape, f"{name} is {tuple(got.shape)}, not {tuple(wanted.shape)}"
    wrong = int((got != wanted).sum())
    assert not wrong, f"{name}: {wrong} of {got.numel()} values are wrong"


def rounded(dtype: str, times: int) -> float:
    """Return the tolerance of a result that was rounded so many times to dtype on its way."""
    import torch

    return times * float(torch.finfo(getattr(torch, DTYPES[dtype])).eps)


def normal(*shape: int, dtype: str = "", grad: bool = False) -> Any:
    """Return random values."""
    import torch

    kind = getattr(torch, DTYPES.get(dtype, "float32"))
    return torch.randn(*shape, device=DEVICE, dtype=kind, requires_grad=grad)


def capability() -> tuple[int, int]:
    """Return the GPU's compute capability."""
    import torch

    major, minor = torch.cuda.get_device_capability()
    return major, minor
