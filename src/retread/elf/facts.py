"""What a shared object holds and needs, read from its bytes, and how a GPU is served by it. Pure."""

from __future__ import annotations

from typing import Final

from retread import arch
from retread.arch import Arch
from retread.records import Record


class Module(Record, frozen=True, kw_only=True):
    """One fat binary of a library: the architectures for which it holds machine code, and those of its PTX."""

    index: int
    sass: tuple[Arch, ...]
    ptx: tuple[Arch, ...]


class LibraryFacts(Record, frozen=True, kw_only=True):
    """What a shared object holds and needs, read from its bytes."""

    machine: str
    """``x86_64`` or ``aarch64``."""
    needed: tuple[str, ...]
    run_path: tuple[str, ...]
    versions: tuple[str, ...]
    """Symbol versions it asks of others, sorted: ``GLIBC_2.17``, ``GLIBCXX_3.4.21``."""
    undefined: tuple[str, ...]
    """Dynamic symbols that it does not define itself, sorted, without weak ones."""
    modules: tuple[Module, ...]
    """Its fat binaries in file order; empty for a library without device code."""
    compilers: tuple[str, ...] = ()
    """Which compilers left their names in it, sorted: ``GCC: (Debian 12.2.0-14) 12.2.0``. nvcc leaves none."""


CLANG: Final = "clang version"
"""Part of what clang leaves of itself."""


def common(facts: LibraryFacts) -> tuple[tuple[Arch, ...], tuple[Arch, ...]]:
    """Return (machine code, PTX): the architectures that every module of the library has."""
    if not facts.modules:
        return (), ()
    sass = set.intersection(*(set(module.sass) for module in facts.modules))
    ptx = set.intersection(*(set(module.ptx) for module in facts.modules))
    return tuple(sorted(sass, key=arch.sort_key)), tuple(sorted(ptx, key=arch.sort_key))


DEVICES: Final = {
    Arch("7.5"): "Turing",
    Arch("8.0"): "A100",
    Arch("8.6"): "RTX 30",
    Arch("8.9"): "RTX 40, L40",
    Arch("9.0"): "H100, H200",
    Arch("10.0"): "B200",
    Arch("10.3"): "B300",
    Arch("12.0"): "RTX 50",
    Arch("12.1"): "DGX Spark",
}
"""The GPUs that people ask about, by capability."""


def coverage(facts: LibraryFacts, device: Arch) -> str:
    """Return how a GPU runs the library: ``native``, ``jit`` (some module only from PTX) or ``none``."""
    verdict = "native"
    for module in facts.modules:
        if any(arch.runs(code, device) for code in module.sass):
            continue
        if not any(arch.compiles(one, device) for one in module.ptx):
            return "none"
        verdict = "jit"
    return verdict
