"""How a GPU runs code, in the words that everything here uses, with what the driver has to be for it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from retread import arch
from retread.arch import Arch
from retread.elf import facts as elf
from retread.elf.facts import LibraryFacts, common
from retread.fit import driver as drivers
from retread.fit.driver import Cuda, Driver
from retread.fit.environment import Environment, Library, Package, with_gpu_code
from retread.fit.report import Served

NONE: Final = "NO CODE"
TOO_NEW: Final = "PTX too new for the driver"


def served(environment: Environment) -> tuple[Served, ...]:
    """Return how every library with GPU code is served."""
    gpus, driver = environment.hardware.gpus, environment.driver
    return tuple(
        _served(package, library, facts, gpus, driver)
        for package, library, facts in with_gpu_code(environment.packages)
    )


def _served(
    package: Package, library: Library, facts: LibraryFacts, gpus: Sequence[Arch], driver: Driver
) -> Served:
    native, ptx = common(facts)
    return Served(
        package=package.name,
        version=package.version,
        library=library.path,
        modules=len(facts.modules),
        native=native,
        ptx=ptx,
        gpus={gpu: _of_library(library, facts, gpu, driver) for gpu in gpus},
    )


def _of_library(library: Library, facts: LibraryFacts, gpu: Arch, driver: Driver) -> str:
    found = elf.served(facts, gpu)
    if found.verdict == "none":
        return NONE
    offering = [one for one in facts.modules if elf.offered(one, gpu) == "native"]
    tuned = all(any(_is_for(code, gpu) for code in one.sass) for one in offering)
    words = _jit(_isa(library.isa, gpu), driver) if found.jit else _native(tuned)
    return words + (f", but for {found.none} of {found.kernels} kernels" if found.none else "")


def of_architectures(
    native: Iterable[Arch], ptx: Iterable[Arch], gpu: Arch, *, cuda: Cuda, driver: Driver
) -> str:
    """Return how a GPU runs a wheel whose modules all have this code, made with a CUDA release."""
    fitting = [code for code in native if arch.runs(code, gpu)]
    if fitting:
        return _native(any(_is_for(code, gpu) for code in fitting))
    return _jit(cuda, driver) if any(arch.compiles(one, gpu) for one in ptx) else NONE


def _native(tuned: bool) -> str:
    return "native, tuned for it" if tuned else "native"


def _is_for(code: Arch, gpu: Arch) -> bool:
    return arch.parts(code)[:2] == arch.parts(gpu)[:2]


def _isa(isa: Mapping[Arch, Cuda], gpu: Arch) -> Cuda:
    """Return the CUDA release whose driver compiles the PTX that there is for a GPU: the newest of several."""
    return max(
        (drivers.of_ptx(version) for ptx, version in isa.items() if arch.compiles(ptx, gpu)), default=(0, 0)
    )


def _jit(needs: Cuda, driver: Driver) -> str:
    first = driver.first(needs)
    if driver.version and driver.cuda < needs:
        return f"{TOO_NEW} (needs driver >= {first})"
    return f"by JIT from PTX (needs driver >= {first})"


def runs(words: str) -> bool:
    """Say whether code that is served in these words runs."""
    return not words.startswith((NONE, TOO_NEW))
