"""How far results are from their references, for the suites beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import harness


def compared(pairs: Mapping[str, tuple[Any, Any]], tolerance: float) -> dict[str, float]:
    """Return the largest of the errors, each relative to its reference's largest value; fail above tolerance."""
    errors = {}
    for name, (got, wanted) in pairs.items():
        harness.record(name, got)
        assert got.shape == wanted.shape, f"{name} is {tuple(got.shape)}, not {tuple(wanted.shape)}"
        reference = wanted.detach().double()
        error = (got.detach().double() - reference).abs().max() / reference.abs().max()
        errors[name] = float(error) if math.isfinite(error) else math.inf
    worst = max(errors, key=lambda name: errors[name])
    assert errors[worst] <= tolerance, f"{worst} differs by {errors[worst]:.3g}, more than {tolerance:.3g}"
    return {"error": errors[worst], "tolerance": tolerance}
