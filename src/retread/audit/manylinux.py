"""Which manylinux a wheel's libraries may claim. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from retread.elf.facts import LibraryFacts
from retread.wheel.facts import WheelFacts

_LIBSTDCXX: Final = (
    ((2, 5), (3, 4, 8), (1, 3, 1)), ((2, 12), (3, 4, 13), (1, 3, 3)), ((2, 17), (3, 4, 19), (1, 3, 7)),
    ((2, 24), (3, 4, 22), (1, 3, 10)), ((2, 27), (3, 4, 24), (1, 3, 11)), ((2, 31), (3, 4, 28), (1, 3, 12)),
    ((2, 34), (3, 4, 29), (1, 3, 13)), ((2, 35), (3, 4, 30), (1, 3, 13)), ((2, 39), (3, 4, 33), (1, 3, 15)),
)  # fmt: skip
"""From which glibc on a system has which GLIBCXX and CXXABI, at least. Source: auditwheel's policies."""


def libstdcxx(versions: Iterable[str], limit: tuple[int, ...]) -> list[str]:
    """Return the symbol versions of libstdc++ that are newer than what every system with this glibc has."""
    _, *had = max((one for one in _LIBSTDCXX if one[0] <= limit), default=((), (), ()))
    most = dict(zip(("GLIBCXX", "CXXABI"), had, strict=True))
    found = []
    for version in versions:
        match = re.fullmatch(r"(GLIBCXX|CXXABI)_([0-9]{1,4}(?:\.[0-9]{1,4})+)", version)
        if match and tuple(map(int, match[2].split("."))) > most[match[1]]:
            found.append(version)
    return found


def dotted(version: Iterable[int]) -> str:
    """Return a version as text."""
    return ".".join(map(str, version))


def platform_tag(libraries: Iterable[LibraryFacts]) -> str:
    """Return the oldest manylinux tag whose policy offers every symbol version that the libraries ask for.

    ``linux_x86_64`` when no policy does, nothing when there are no libraries. Source: auditwheel's policies.
    """
    from auditwheel.architecture import Architecture
    from auditwheel.libc import Libc
    from auditwheel.policy import WheelPolicies

    found = list(libraries)
    if not found:
        return ""
    policies = WheelPolicies(libc=Libc.GLIBC, arch=Architecture(found[0].machine))
    asked = {str(index): set(one.versions) for index, one in enumerate(found)}
    return str(policies.versioned_symbols_policy(asked).name)


def newer(wheel: WheelFacts, platform: str) -> list[str]:
    """Return what of a wheel needs a newer machine than ``platform`` (``manylinux_2_28``), by library and symbol."""
    limit = glibc_limit([f"{platform}_"])
    found = glibc_limit({tag.rpartition("-")[2] for tag in wheel.tags})
    if found and found <= limit:
        return []
    faults = [f"auditwheel found {', '.join(sorted(wheel.tags))}"]
    for name, facts in wheel.libraries.items():
        for version in sorted(facts.versions):
            alone = msgspec.structs.replace(facts, versions=(version,))
            needs = glibc_limit([platform_tag([alone])])
            if not needs or needs > limit:
                faults.append(f"{name} asks for {version}, which is in manylinux_{'_'.join(map(str, needs))}")
    return faults


def glibc_limit(platforms: Iterable[str]) -> tuple[int, ...]:
    """Return the oldest glibc that the platform tags promise to run on, or () when they promise none."""
    aliases = {"manylinux2014": (2, 17), "manylinux2010": (2, 12), "manylinux1": (2, 5)}
    found: list[tuple[int, ...]] = []
    for platform in platforms:
        if match := re.match(r"manylinux_(\d+)_(\d+)_", platform):
            found.append((int(match[1]), int(match[2])))
        found += [version for alias, version in aliases.items() if platform.startswith(f"{alias}_")]
    return min(found, default=())


def glibc(version: str) -> tuple[int, ...]:
    """Return the glibc that a symbol version asks for: GLIBC_2.17; the loader has DT_RELR from 2.36 on."""
    if version == "GLIBC_ABI_DT_RELR":
        return (2, 36)
    match = re.fullmatch(r"GLIBC_([0-9]{1,4}(?:\.[0-9]{1,4})+)", version)
    return tuple(int(part) for part in match[1].split(".")) if match else ()
