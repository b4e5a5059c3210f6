"""GPU architectures, written as ``TORCH_CUDA_ARCH_LIST`` writes them: ``8.0``, ``9.0a``, ``12.0``."""

from __future__ import annotations

import functools
import re
from typing import Final, NewType

Arch = NewType("Arch", str)
"""A compute capability with its suffix: ``9.0a``."""

_PATTERN: Final = re.compile(r"(?P<major>[1-9][0-9]?)\.(?P<minor>[0-9])(?P<suffix>[af]?)")

FIRST_CUDA: Final[dict[Arch, tuple[int, int]]] = {
    Arch("5.0"): (6, 0),
    Arch("5.2"): (6, 5),
    Arch("5.3"): (7, 0),
    Arch("6.0"): (8, 0),
    Arch("6.1"): (8, 0),
    Arch("6.2"): (8, 0),
    Arch("7.0"): (9, 0),
    Arch("7.2"): (9, 1),
    Arch("7.5"): (10, 0),
    Arch("8.0"): (11, 0),
    Arch("8.6"): (11, 1),
    Arch("8.7"): (11, 4),
    Arch("8.9"): (11, 8),
    Arch("9.0"): (11, 8),
    Arch("9.0a"): (12, 0),
    Arch("10.0"): (12, 8),
    Arch("10.0a"): (12, 8),
    Arch("10.0f"): (12, 9),
    Arch("10.1"): (12, 8),
    Arch("10.1a"): (12, 8),
    Arch("10.1f"): (12, 9),
    Arch("10.3"): (12, 9),
    Arch("10.3a"): (12, 9),
    Arch("10.3f"): (12, 9),
    Arch("11.0"): (13, 0),
    Arch("11.0a"): (13, 0),
    Arch("11.0f"): (13, 0),
    Arch("12.0"): (12, 8),
    Arch("12.0a"): (12, 8),
    Arch("12.0f"): (12, 9),
    Arch("12.1"): (12, 9),
    Arch("12.1a"): (12, 9),
    Arch("12.1f"): (12, 9),
}
"""The CUDA release whose ptxas first knew the architecture (CUDA release notes, PTX ISA release table)."""

_DROPPED: Final = {
    (13, 0): frozenset({"5.0", "5.2", "5.3", "6.0", "6.1", "6.2", "7.0", "7.2", "10.1", "10.1a", "10.1f"})
}
"""CUDA release -> what its ptxas knows no more; 10.1 is called 11.0 since."""
_TEGRA: Final = frozenset({(5, 3), (6, 2), (7, 2), (8, 7), (10, 1), (11, 0)})
"""Systems on a chip: machine code crosses neither into them nor out of them."""


def parse(text: str) -> Arch:
    """Return ``text`` as an architecture, or raise ValueError when no GPU is written so."""
    if not _PATTERN.fullmatch(text):
        raise ValueError(f"{text!r} is not an architecture like 8.0, 9.0a or 12.0")
    return Arch(text)


def asked(text: str) -> Arch:
    """Return an architecture that a GPU has; UsageError with the near miss for any other."""
    from retread.errors import UsageError  # a kit carries this module alone
    from retread.strict import near_miss

    if text not in FIRST_CUDA:
        near = near_miss(text.removeprefix("sm_"), FIRST_CUDA)
        hint = "" if near else "write it like 9.0 or 10.0a"
        raise UsageError(f"no GPU has the architecture {text!r}{near}", hint=hint)
    return parse(text)


def assembles(cuda: str, arch: Arch) -> bool:
    """Say whether ptxas of a CUDA release, which is written ``12.8``, knows an architecture."""
    release = tuple(int(part) for part in cuda.split("."))
    gone = any(arch in dropped for since, dropped in _DROPPED.items() if release >= since)
    return FIRST_CUDA[arch] <= release and not gone


@functools.lru_cache(1024)
def parts(arch: Arch) -> tuple[int, int, str]:
    """Return (major, minor, suffix): ``9.0a`` is (9, 0, "a")."""
    match = _PATTERN.fullmatch(arch)
    assert match, arch
    return int(match["major"]), int(match["minor"]), match["suffix"]


def number(arch: Arch) -> int:
    """Return the number that fat binaries and ptxas use: 90 for ``9.0a``."""
    major, minor, _ = parts(arch)
    return major * 10 + minor


def sm(arch: Arch) -> str:
    """Return the name that ptxas uses: ``sm_90a`` for ``9.0a``."""
    return f"sm_{number(arch)}{parts(arch)[2]}"


def from_number(value: int, suffix: str = "") -> Arch:
    """Return the architecture of a fat binary's number: 90 and "a" give ``9.0a``."""
    return Arch(f"{value // 10}.{value % 10}{suffix}")


def sort_key(arch: Arch) -> tuple[int, int, str]:
    """Order architectures by age: 8.0, 9.0, 9.0a, 10.0."""
    return parts(arch)


@functools.lru_cache(4096)
def runs(code: Arch, device: Arch) -> bool:
    """Say whether a cubin for ``code`` runs on ``device``: same major, same or higher minor.

    ``a`` code runs on its own architecture alone, ``f`` code in its family: 10.0f on 10.0 and 10.3, never on 10.1.
    Source: CUDA C++ Programming Guide, binary compatibility (none with Tegra) and family-specific features.
    """
    major, minor, suffix = parts(code)
    on_major, on_minor, _ = parts(device)
    if (major, minor) == (on_major, on_minor):
        return True
    if suffix == "a" or _TEGRA & {(major, minor), (on_major, on_minor)}:
        return False
    return major == on_major and minor <= on_minor


def compiles(ptx: Arch, device: Arch) -> bool:
    """Say whether the driver can compile ``ptx`` for ``device``: for any newer one; with a suffix, as machine code.

    Source: CUDA C++ Programming Guide, PTX compatibility and family-specific features.
    """
    major, minor, suffix = parts(ptx)
    return runs(ptx, device) if suffix else (major, minor) <= parts(device)[:2]
