"""Platforms as recipes, commands and wheels name them: ``x86_64`` and ``aarch64`` are Linux's, ``win_amd64``. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from retread import pypa, strict

COMPILED: Final = ("x86_64", "aarch64")
"""Those that a lane can compile for; the first is what a target itself speaks of."""
KNOWN: Final = (*COMPILED, "win_amd64")
"""Those that somebody may have."""
_OTHERS: Final = {"amd64": COMPILED[0], "x64": COMPILED[0], "arm64": COMPILED[1], "win64": "win_amd64"}
"""How others call them."""
PYTHON: Final = {"aarch64": "3.11"}
"""The Python that is pinned of a platform, with which wheels for it are compiled on another."""


def of_wheel(file: str) -> str:
    """Return the platform that a wheel's file name is for; ``any`` for one without compiled code."""
    found = sorted(pypa.wheel_platforms(file))
    linux = [
        one[1] for text in found if (one := re.fullmatch(r"(?:many|musl)?linux.*_(x86_64|aarch64)", text))
    ]
    return linux[0] if linux else found[0]


def of_base(file: str) -> str:
    """Return the platform for which a base wheel is taken: without compiled code, the first, as any other would do."""
    found = of_wheel(file)
    return COMPILED[0] if found == "any" else found


def near_miss(name: str, known: Iterable[str] = KNOWN) -> str:
    """Return `` (did you mean 'aarch64'?)`` for what is no platform's name here, or nothing."""
    listed = list(known)
    meant = _OTHERS.get(name.lower().rpartition("/")[2])
    return f" (did you mean {meant!r}?)" if meant in listed else strict.near_miss(name, listed)


def is_windows(name: str) -> bool:
    """Say whether a platform is one of Windows."""
    return name.startswith("win")
