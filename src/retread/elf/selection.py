"""Which images of a module a GPU runs: what the driver picks of a fat binary. Pure.

Source: CUDA C++ Programming Guide, binary and PTX compatibility: the machine code of the newest architecture that runs
on the GPU; where there is none, the PTX of the newest that can be compiled for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from retread import arch as archs
from retread.arch import Arch
from retread.elf.fatbin import Entry, FatBinary, Kind


def best(found: Iterable[Arch], fits: Callable[[Arch], bool]) -> frozenset[Arch]:
    """Return the newest of the architectures that fit: one, and those of its number with another suffix.

    Whether 9.0 or 9.0a comes first where a module has both, nothing says; they are never parted.
    """
    some = [one for one in found if fits(one)]
    newest = max(map(archs.number, some), default=0)
    return frozenset(one for one in some if archs.number(one) == newest)


def picked(sass: Iterable[Arch], ptx: Iterable[Arch], device: Arch) -> tuple[frozenset[Arch], bool]:
    """Return the architectures of which a GPU runs one, and whether by JIT from PTX; none where nothing runs."""
    native = best(sass, lambda one: archs.runs(one, device))
    if native:
        return native, False
    text = best(ptx, lambda one: archs.compiles(one, device))
    return text, bool(text)


def chosen(module: FatBinary, device: Arch) -> tuple[Entry, ...]:
    """Return the images of a module of which a GPU runs one, in their order."""
    sass, ptx = of_kind(module, Kind.ELF), of_kind(module, Kind.PTX)
    found, jit = picked((one.arch for one in sass), (one.arch for one in ptx), device)
    return tuple(one for one in (ptx if jit else sass) if one.arch in found)


def kept(module: FatBinary, devices: Sequence[Arch], *, drop_ptx: bool) -> frozenset[int]:
    """Return the indices of the images that stay in a module for these GPUs: what each picks, and PTX unless dropped.

    Where that is nothing the smallest stays, so that the driver finds a fat binary as before, and nothing to run.
    """
    wanted = {id(one) for device in devices for one in chosen(module, device)}
    wanted |= {id(one) for one in of_kind(module, Kind.PTX) if not drop_ptx}
    if not wanted and module.entries:
        wanted = {id(min(module.entries, key=lambda one: len(one.payload)))}
    return frozenset(index for index, one in enumerate(module.entries) if id(one) in wanted)


def of_kind(module: FatBinary, kind: Kind) -> list[Entry]:
    """Return a module's images of one kind."""
    return [one for one in module.entries if one.kind is kind]
