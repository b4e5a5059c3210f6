"""Stage *slim*: machine code for GPUs that a fleet does not have leaves a library, and what stays is packed closer.

What stays is the same code. What each GPU that is kept picks of each module, and the kernels that it finds, are read
back from the new file and held to the old one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from retread.arch import Arch, parts
from retread.build.grafts import Slim
from retread.doors import cores
from retread.elf import device, fatbin, library, packing, selection
from retread.elf import facts as elffacts
from retread.elf.facts import DEVICES, Facts, Format, LibraryFacts, Mode, Module, served
from retread.elf.fatbin import Entry, FatBinary, Kind
from retread.errors import FatbinError, PlanError, UsageError
from retread.wheel.facts import WheelFacts

Progress = Callable[[int, int], None]
"""Called with bytes done and in all."""


class Fate(NamedTuple):
    """How other GPUs are served afterwards, of those that people ask about."""

    lost: tuple[Arch, ...]
    """They find less than before: no code for some kernels that they had."""
    jit: tuple[Arch, ...]
    """They compile kernels by JIT of which they had machine code."""


def asked(keep: Sequence[Arch], *, drop_ptx: bool, compress: Mode | None) -> Slim:
    """Return what is asked for; UsageError for what is no GPU's capability, since no GPU is called 9.0a."""
    for one in keep:
        if parts(one)[2]:
            bare = one.rstrip("af")
            raise UsageError(f"--keep names GPUs, and none has the capability {one}", hint=f"say {bare}")
    return Slim(keep=tuple(dict.fromkeys(keep)), drop_ptx=drop_ptx, compress=compress)


def changes(facts: LibraryFacts, wish: Slim) -> bool:
    """Say whether a library is another one afterwards."""
    return bool(_told(facts)) and (wish.compress is not None or _takes(facts, wish))


def wanted(facts: WheelFacts, wish: Slim) -> tuple[str, ...]:
    """Return the libraries of a wheel of which something can be taken, or that are to be packed anew.

    PlanError when there is none, when nothing serves a GPU that is kept, when nothing would be left of a library, and
    when a GPU that is kept needs PTX that is to go.
    """
    coded = {name: one for name, one in facts.libraries.items() if one.format is not Format.PE and _told(one)}
    if not coded:
        raise PlanError(
            f"{facts.file} holds no GPU code in shared objects of Linux; there is nothing to take out"
        )
    idle = [one for one in wish.keep if all(served(every, one).verdict == "none" for every in coded.values())]
    if idle:
        raise PlanError(f"nothing in {facts.file} runs on {' '.join(idle)}", hint="keep GPUs that it serves")
    _demand_left(facts.file, coded, wish)
    if wish.drop_ptx:
        _demand_native(facts.file, coded, wish)
    found = tuple(name for name, one in coded.items() if changes(one, wish))
    if not found:
        raise PlanError(
            f"{facts.file} holds nothing but what {' '.join(wish.keep)} need; nothing to take out"
        )
    return found


def fate(before: Facts, after: Facts, keep: Sequence[Arch]) -> Fate:
    """Return which of the GPUs that people ask about are served worse than before, and are not kept."""
    lost, jit = list[Arch](), list[Arch]()
    for one in DEVICES:
        old, new = served(before, one), served(after, one)
        if one not in keep and new.native + new.jit < old.native + old.jit:
            lost.append(one)
        elif one not in keep and new.native < old.native:
            jit.append(one)
    return Fate(tuple(lost), tuple(jit))


def slim(old: Path, new: Path, wish: Slim, progress: Progress) -> int:
    """Write ``new``: the library ``old`` with what its GPUs need, and no machine code for others.

    Returns how many modules with kernels stay whole. Modules of relocatable code, of unknown images, and those that run
    nothing and have no PTX stay as they are. Raises ElfError when the library cannot be edited safely, FatbinError when
    its code cannot be read, and when a GPU that is kept would run something else.
    """
    modules = library.fat_binaries(old)
    free = [one for one in map(_known, modules) if one.free]
    found = dict(_modules([modules[one.number] for one in free], wish, progress))
    library.edit(
        old, new, fatbins={index: data for index, data in found.items() if data != modules[index].data}
    )
    del modules, found
    facts = _demand_same(old, new, wish.keep)
    running = sum(one.kernels != 0 for one in (*facts.modules, *facts.relocatable))
    return running - sum(one.runs for one in free)


def driver(path: Path) -> str:
    """Return the CUDA release of the oldest driver that unpacks a library's images; nothing where each does."""
    return packing.driver(library.fat_binaries(path))


# What is asked of a wheel


def _told(one: LibraryFacts) -> list[Module]:
    """Return the modules of a library that run something."""
    return [
        each for each in (*one.modules, *one.relocatable) if each.kernels != 0 and (each.sass or each.ptx)
    ]


def _demand_left(file: str, coded: Mapping[str, LibraryFacts], wish: Slim) -> None:
    """Raise PlanError when a library has nothing for any GPU that is kept."""
    faults = []
    for name, one in coded.items():
        if all(served(one, each).verdict == "none" for each in wish.keep):
            sass, ptx = elffacts.common(one)
            has = " ".join(sass) or "other GPUs"
            faults.append(f"{name}: it has code for {has}{' and PTX' if ptx else ''}")
    if faults:
        raise PlanError(
            f"nothing would be left of {len(faults)} of {len(coded)} libraries of {file} for {' '.join(wish.keep)}",
            faults=faults,
            hint="keep a GPU that they serve, too",
        )


def _demand_native(file: str, coded: Mapping[str, LibraryFacts], wish: Slim) -> None:
    """Raise PlanError when a GPU that is kept runs a module by JIT only."""
    faults = []
    for name, one in coded.items():
        for each in wish.keep:
            jit = sum(elffacts.offered(module, each) == "jit" for module in _told(one))
            if jit:
                faults.append(f"{name}: {each} runs {jit} of {len(_told(one))} modules by JIT alone")
    if faults:
        raise PlanError(
            f"--drop-ptx would take from {file} what GPUs that are kept need",
            faults=faults,
            hint="leave --drop-ptx out, or give it machine code first: 'retread graft'",
        )


def _takes(one: LibraryFacts, wish: Slim) -> bool:
    """Say whether a library has anything that no GPU that is kept picks."""
    for module in one.modules:
        picked = [selection.picked(module.sass, module.ptx, each) for each in wish.keep]
        native = frozenset[Arch]().union(*(found for found, jit in picked if not jit))
        text = frozenset[Arch]().union(*(found for found, jit in picked if jit))
        if set(module.sass) - native or (wish.drop_ptx and set(module.ptx) - text):
            return True
    return False


# What becomes of modules


class _Known(NamedTuple):
    """What has to be known of a module before it gets other content."""

    number: int
    runs: bool
    free: bool
    """Whether it may."""


def _known(module: FatBinary) -> _Known:
    """Return whether a module runs something, and may have other content. FatbinError when it cannot be read."""
    code, unread = device.of_fat_binary(module)
    if unread:
        raise FatbinError(unread[0])
    runs = any(one.kernels for one in code.images)
    told = all(one.kind is not Kind.OTHER for one in module.entries) and not code.relocatable
    return _Known(module.index, runs, told and (runs or any(one.kind is Kind.PTX for one in code.images)))


def _modules(modules: Sequence[FatBinary], wish: Slim, progress: Progress) -> Iterator[tuple[int, bytes]]:
    """Yield index and new bytes of each module, packed on all cores."""
    total, done = sum(one.size for one in modules), 0
    with ThreadPoolExecutor(cores.count()) as pool:
        try:
            for one, data in zip(modules, pool.map(lambda one: _module(one, wish), modules), strict=True):
                done += one.size
                progress(done, total)
                yield one.index, data
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _module(one: FatBinary, wish: Slim) -> bytes:
    kept = selection.kept(one, wish.keep, drop_ptx=wish.drop_ptx)
    mode = wish.compress
    return fatbin.parted(
        one, {index: packing.packed(one.entries[index], mode) if mode else None for index in kept}
    )


# What is read back


def _demand_same(old: Path, new: Path, keep: Sequence[Arch]) -> LibraryFacts:
    """Return what the new library holds; FatbinError unless each GPU picks the same images of each module.

    It has to find the same kernels, too.
    """
    pairs = zip(library.fat_binaries(old), library.fat_binaries(new), strict=True)
    for before, after in pairs:
        for one in keep:
            if _same(selection.chosen(before, one), selection.chosen(after, one)):
                continue
            raise FatbinError(f"{before.where}: {one} would run something else than before")
    first, second = library.read(old, names=True), library.read(new, names=True)
    for one in keep:
        if _kernels(first, one) != _kernels(second, one):
            raise FatbinError(f"{old}: {one} would find other kernels than before")
    return second


def _same(first: Sequence[Entry], second: Sequence[Entry]) -> bool:
    """Say whether two rows of images are the same, apart from how they are packed."""
    if [(one.header, one.payload) for one in first] == [(one.header, one.payload) for one in second]:
        return True
    return [*map(_identity, first)] == [*map(_identity, second)]


def _identity(one: Entry) -> tuple[object, ...]:
    content = fatbin.ptx(one) if one.kind is Kind.PTX else fatbin.image(one)
    return one.kind, one.arch, one.isa, one.options, hashlib.sha256(content).digest()


def _kernels(facts: LibraryFacts, one: Arch) -> dict[str, str]:
    """Return kernel -> how a GPU runs it, of those that it has code for."""
    groups = ((elffacts.offered(group, one), group.names) for group in facts.kernels)
    return {name: how for how, names in groups if how != "none" for name in names}
