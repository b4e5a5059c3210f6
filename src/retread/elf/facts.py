"""What a file with GPU code holds and needs, read from its bytes, and how a GPU is served by it. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from retread import arch
from retread.arch import Arch
from retread.records import Record


class Mode(StrEnum):
    """What nvcc calls them: ``speed`` is LZ4, the default up to CUDA 12.9; ``balance``, that of 13.0, and ``size``."""

    SPEED = "speed"
    BALANCE = "balance"
    SIZE = "size"


class Module(Record, frozen=True, kw_only=True):
    """One fat binary: the architectures for which it holds machine code, and those of its PTX."""

    index: int
    sass: tuple[Arch, ...]
    ptx: tuple[Arch, ...]
    kernels: int | None = None
    """How many kernels it holds, each counted once; None where they cannot be told. One with 0 runs nothing, one
    without any architecture holds code that is not machine code yet (for link-time optimisation)."""


class Kernels(Record, frozen=True, kw_only=True):
    """Kernels that are to be had for the same architectures, whichever modules hold them."""

    sass: tuple[Arch, ...]
    """With machine code."""
    ptx: tuple[Arch, ...]
    count: int
    names: tuple[str, ...] = ()
    """As the linker knows them, sorted; only where they were asked for."""


class Format(StrEnum):
    """How a library is packed, and so by which system it is loaded."""

    ELF = "ELF"
    PE = "PE"
    """Windows'."""


class Made(Record, frozen=True, kw_only=True):
    """The images of a file that one release of CUDA made, as what its compiler left in them tells."""

    cuda: str
    """``12.6``, or with the build where that is told: ``12.8.93``."""
    by: str
    """What tells it."""
    images: int
    sass: tuple[Arch, ...]
    """Architectures of its machine code."""
    ptx: tuple[Arch, ...]


class CodeFacts(Record, frozen=True, kw_only=True):
    """The GPU code of a file that is no library: of an archive, a cubin."""

    kind: str
    """What the file is, for people: ``object (x86_64)``, ``cubin``."""
    modules: tuple[Module, ...]
    relocatable: tuple[Module, ...] = ()
    """Modules of ``-rdc=true``: what was linked of their machine code is among ``modules``, their PTX is linked by the
    driver."""
    kernels: tuple[Kernels, ...] = ()
    """All that its modules hold; those of modules whose kernels cannot be told are not among them."""
    unread: tuple[str, ...] = ()
    """What of its GPU code could not be read, and why."""
    made: tuple[Made, ...] = ()
    """Which releases of CUDA made it, that of most images first; images of which nothing tells it are not there."""


class LibraryFacts(Record, frozen=True, kw_only=True):
    """What a library or a program holds and needs, read from its bytes."""

    machine: str
    """``x86_64`` or ``aarch64``; of Windows also ``i686``."""
    needed: tuple[str, ...]
    run_path: tuple[str, ...]
    versions: tuple[str, ...]
    """Symbol versions it asks of others, sorted: ``GLIBC_2.17``, ``GLIBCXX_3.4.21``."""
    undefined: tuple[str, ...]
    """What others must define, sorted: dynamic symbols without weak ones, imports."""
    modules: tuple[Module, ...]
    """Its fat binaries in file order, those of the usual section first; empty for one without device code."""
    relocatable: tuple[Module, ...] = ()
    """As ``CodeFacts`` has them, and so the next two."""
    kernels: tuple[Kernels, ...] = ()
    unread: tuple[str, ...] = ()
    compilers: tuple[str, ...] = ()
    """Which compilers left their names in it, sorted: ``GCC: (Debian 12.2.0-14) 12.2.0``. nvcc leaves none."""
    format: Format = Format.ELF
    made: tuple[Made, ...] = ()
    closed: str = ""
    """Why nothing can be changed in it: a library of Windows that is signed."""


Facts = LibraryFacts | CodeFacts

CLANG: Final = "clang version"
"""Part of what clang leaves of itself."""


class Served(NamedTuple):
    """How a GPU is served, in numbers of kernels. A module whose kernels cannot be told counts as one kernel."""

    native: int
    jit: int
    """Only by JIT from PTX."""
    none: int
    modules: int
    """Modules with kernels that have something for this GPU."""
    of_modules: int

    @property
    def kernels(self) -> int:
        """How many there are."""
        return self.native + self.jit + self.none

    @property
    def verdict(self) -> str:
        """``native``, ``jit`` (some only from PTX), ``part`` (some not at all) or ``none``."""
        if self.none:
            return "part" if self.native or self.jit else "none"
        return "jit" if self.jit else "native"


def common(facts: LibraryFacts) -> tuple[tuple[Arch, ...], tuple[Arch, ...]]:
    """Return (machine code, PTX): the architectures that every module has, but for such as run nothing."""
    holding = counted(facts.modules)
    if not holding:
        return (), ()
    sass = set.intersection(*(set(module.sass) for module in holding))
    ptx = set.intersection(*({*module.ptx, *linked_ptx(facts)} for module in holding))
    return tuple(sorted(sass, key=arch.sort_key)), tuple(sorted(ptx, key=arch.sort_key))


def linked_ptx(facts: Facts) -> set[Arch]:
    """Return the architectures of the PTX that the driver links: every relocatable module with kernels has it."""
    found = [set(one.ptx) for one in facts.relocatable if one.kernels != 0]
    return set.intersection(*found) if found else set()


def counted(modules: tuple[Module, ...]) -> tuple[Module, ...]:
    """Return the modules of which something can be asked; all of them when that is none.

    What has no kernels, as what nvcc's link step adds and sources without any, runs nothing and so lacks nothing.
    """
    return tuple(one for one in modules if one.kernels != 0) or modules


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
_BESIDE_ARM: Final = frozenset({Arch("12.1")})
"""Those that come in one chip with a processor of Arm's, and with no other."""
_X86: Final = frozenset({"x86_64", "i686", "win_amd64", "win32"})


def devices(machine: str) -> tuple[Arch, ...]:
    """Return those of ``DEVICES`` that a machine can have, which libraries or wheels name; all for an unknown one."""
    return tuple(one for one in DEVICES if one not in _BESIDE_ARM or machine not in _X86)


def served(facts: Facts, device: Arch) -> Served:
    """Return how a GPU is served. The kernel decides: what no module offers to it is code that it does not have."""
    told = [one for one in (*facts.modules, *facts.relocatable) if one.kernels != 0 and (one.sass or one.ptx)]
    unknown = [Kernels(sass=one.sass, ptx=one.ptx, count=1) for one in told if one.kernels is None]
    counts = {"native": 0, "jit": 0, "none": 0}
    for one in (*facts.kernels, *unknown):
        counts[offered(one, device)] += one.count
    offering = [one for one in told if offered(one, device) != "none"]
    return Served(**counts, modules=len(offering), of_modules=len(told))


def offered(what: Kernels | Module, device: Arch) -> str:
    """Return how a GPU runs kernels, or a module, for these architectures: ``native``, ``jit`` or ``none``."""
    if any(arch.runs(code, device) for code in what.sass):
        return "native"
    return "jit" if any(arch.compiles(one, device) for one in what.ptx) else "none"


def coverage(facts: Facts, device: Arch) -> str:
    """Return the verdict of ``served`` alone."""
    return served(facts, device).verdict


def lacking(facts: Facts, device: Arch) -> tuple[str, ...]:
    """Return the names of the kernels that a GPU has no code for, sorted, as far as the facts hold names."""
    return tuple(
        sorted(name for one in facts.kernels if offered(one, device) == "none" for name in one.names)
    )
