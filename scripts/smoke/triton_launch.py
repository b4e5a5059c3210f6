"""Launches of xFormers' Triton kernels, as cases that compile them for every architecture of the target.

The kernels' modules are imported without the packages above them, whose imports are the ``package`` suite's matter.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import harness
import triton_compile
from triton_compile import Tensor

LEAST = 80
"""From this capability on ``xformers._is_triton_available`` holds; what is below compiles, or is told as skipped."""
BATCH, HEADS = 4, 8

Arguments = dict[str, Any]
load = functools.partial(triton_compile.under_bare_parents, "xformers")


class Launch(NamedTuple):
    """A kernel, how the host code wraps it before the launch, and the launch's arguments for a capability."""

    module: str
    kernel: str
    wrapped: Callable[[Any, str], Any]
    arguments: Callable[[int], Arguments]
    declined: Callable[[], bool] = bool  # no
    """Says whether xFormers leaves this Triton alone; asked when the kernel does not compile."""

    def name(self) -> str:
        """Return what a recipe calls the kernel."""
        return f"{self.module.rpartition('.')[2]}.{self.kernel}"


def cases(launches: Mapping[str, Launch], *, fresh: bool = False) -> None:
    """Make every launch a case for each architecture of the target.

    ``fresh`` ones import their kernels anew, where that takes less time than to compile those of other modules again.
    """
    for number in sorted({triton_compile.capability(one) for one in harness.setting()["architectures"]}):
        for name, launch in launches.items():
            case = f"triton/sm_{number}/{name}"
            harness.case(case, level="jit", limit=120, fresh=fresh, number=number, launch=launch)(compiles)


def compiles(number: int, launch: Launch) -> dict[str, Any]:
    """Compile the launch's kernel into what this GPU can run."""
    kernel = launch.wrapped(load(launch.module), launch.kernel)
    given = launch.arguments(number)
    taken = {*kernel.arg_names, "num_warps", "num_stages"}  # releases differ: BLOCK_SIZE became head_dim
    try:
        return triton_compile.build(kernel, number, {name: given[name] for name in given if name in taken})
    except triton_compile.Uncompilable as error:
        if number < LEAST:
            raise harness.Skip(f"xFormers launches no Triton kernel below 8.0; {error}") from None
        if launch.declined():
            raise harness.Skip(f"the operator leaves this Triton alone; {error}") from None
        raise


def plain(module: Any, name: str) -> Any:
    """Return the kernel as it is decorated, but for autotuning: a launch brings one configuration."""
    kernel = getattr(module, name)
    return kernel.fn if type(kernel).__name__ == "Autotuner" else kernel


def later(made: Callable[..., Arguments], *values: Any, **options: Any) -> Callable[[int], Arguments]:
    """Put off making arguments, which takes torch."""
    return lambda _number: made(*values, **options)


def strides(tensor: Tensor | None, prefix: str, letters: str) -> Arguments:
    """Return the ``stride_`` arguments of a tensor, all None without one."""
    names = [f"stride_{prefix}{letter}" for letter in letters.split()]
    return dict(zip(names, tensor.strides if tensor else [None] * len(names)))  # noqa: B905 - Python 3.9
