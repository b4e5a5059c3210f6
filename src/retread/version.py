"""Versions of patched wheels: ``<upstream>+cu128.<revision>``, and channels, which are called after CUDA. Pure.

The revision is an integer segment of its own, so that ``+cu128.10`` sorts after ``+cu128.9`` (PEP 440). Where clang
compiled in nvcc's place, the version says so: ``+cu128.clang.1``, which sorts before every ``+cu128.<revision>``, so
that a resolver never takes it in place of a wheel that nvcc made.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from retread import pypa
from retread.errors import PublishError

__version__ = "0.1.0"
"""retread's own version."""

CHANNEL: Final = "cu[0-9]+"
"""What the name of a channel is like, as a pattern."""
NVCC: Final = "nvcc"
"""NVIDIA's compiler of device code, which no version names."""
CLANG: Final = "clang"
"""The compiler that can stand in its place."""
COMPILERS: Final = (NVCC, CLANG)
_LOCAL: Final = re.compile(rf"({CHANNEL})(?:\.{CLANG})?\.([0-9]+)")
_CUDA: Final = re.compile("cu([0-9]+)([0-9])")


class Release(NamedTuple):
    """A version of ours, in parts: ``0.0.35+cu128.2``."""

    upstream: str
    channel: str
    revision: int
    compiler: str = NVCC
    """Of the device code; each counts revisions of its own."""


def channel(cuda: str) -> str:
    """Return the channel of a CUDA release: cu128 of 12.8."""
    return f"cu{cuda.replace('.', '')}"


def cuda(channel: str) -> str:
    """Return the CUDA release of a channel: 12.8 of cu128; empty for another kind of name."""
    match = _CUDA.fullmatch(channel)
    return f"{match[1]}.{match[2]}" if match else ""


def patched(upstream: str, cuda: str, revision: int, compiler: str = NVCC) -> str:
    """Return the version of a wheel patched from ``upstream`` for ``cuda``: ("0.0.35", "12.8", 1) -> 0.0.35+cu128.1."""
    named = "" if compiler == NVCC else f".{compiler}"
    return str(pypa.version(f"{upstream}+{channel(cuda)}{named}.{revision}"))


def compiler(version: str) -> str:
    """Return what a version says of who compiled the device code: NVCC, unless its local part names another."""
    return CLANG if CLANG in (pypa.version(version).local or "").split(".") else NVCC


def release(version: str) -> Release:
    """Return the parts of a version; PublishError for one that belongs to no channel."""
    found = pypa.version(version)
    match = _LOCAL.fullmatch(found.local or "")
    if not match:
        raise PublishError(
            f"version {version} belongs to no channel: it is not like 1.2+cu128.1",
            hint="give the wheel a local version of CUDA and revision: 'retread build' does, graft and slim by --local",
        )
    return Release(found.public, match[1], int(match[2]), compiler(version))
