"""The levels of smoke tests. Apart from the reports, since the command line offers them before it reads any. Pure."""

from __future__ import annotations

from enum import StrEnum


class Level(StrEnum):
    """What a smoke test needs: nothing, Triton, or the GPU."""

    STATIC = "static"
    JIT = "jit"
    GPU = "gpu"
