"""Stage *graft*: native code for more architectures, assembled from the PTX in a library's own fat binaries.

Every cubin is kept in the store as soon as it is made, so that an interrupted graft goes on where it was. The largest
modules go first, so that all cores are busy to the end.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

import msgspec

from retread import arch, strict
from retread.arch import Arch
from retread.binary import files
from retread.doors import proc
from retread.elf import fatbin
from retread.elf.facts import Format, LibraryFacts, counted
from retread.elf.fatbin import FatBinary, Kind
from retread.errors import UNREADABLE, ElfError, FatbinError, PeError
from retread.records import Record
from retread.wheel import contents
from retread.wheel.contents import Known
from retread.wheel.wheelfile import Verified, Wheel
from retread.wheel.zipwriter import Deflated, Member, deflate_file

_FACTS = "library.json"
_CONTENT = "library.deflate"

Progress = Callable[[int, int], None]
"""Called with seconds-independent work done and in all, in bytes of PTX."""


class Request(Record, frozen=True, kw_only=True):
    """What one library of the base wheel is to get; () and None leave things as they are."""

    member: str
    architectures: tuple[Arch, ...]
    run_path: tuple[str, ...] | None


class Grafted(Record, frozen=True, kw_only=True):
    """A library that is ready for the wheel: its facts, and its content as deflated bytes."""

    facts: LibraryFacts
    deflated: Deflated
    reproduced: bool | None


class Assembly(NamedTuple):
    """How cubins are made: the newest PTX ISA that is understood, and the function that assembles one."""

    isa: tuple[int, int]
    cubin: Callable[[bytes, Arch, str, str], bytes]
    """(PTX, architecture, options as recorded, where for messages) -> cubin."""


class Job(NamedTuple):
    """One cubin to make."""

    module: int
    target: Arch
    ptx: bytes
    options: str
    where: str


def wanted(facts: LibraryFacts, architectures: Sequence[Arch]) -> tuple[Arch, ...]:
    """Return the architectures that at least one module lacks, but for modules that run nothing."""
    modules = counted(facts.modules)
    lacking = {one for module in modules for one in architectures if one not in module.sass}
    return tuple(sorted(lacking, key=arch.sort_key))


def graft(
    old: Path,
    new: Path,
    *,
    architectures: Sequence[Arch],
    run_path: Sequence[str] | None,
    assembly: Assembly | None,
    progress: Progress,
) -> bool | None:
    """Write ``new``: the library ``old`` with native code for ``architectures`` and another run path.

    Returns whether ptxas reproduced machine code that the library had, None when that could not be tried. FatbinError
    when a module with kernels has no PTX for an architecture, ElfError or PeError when the library cannot be edited.
    """
    fatbins: dict[int, bytes] = {}
    reproduced, way = None, files.library(old)
    if architectures and assembly:
        modules, facts = way.fat_binaries(old), way.read(old)
        _demand_reach(old, facts, len(modules), architectures)
        idle = {one.index for one in facts.modules if one.kernels == 0}
        jobs = plan_jobs(modules, architectures, assembly.isa, idle)
        reproduced = _reproduces(modules, assembly) if jobs else None
        cubins = run_jobs(jobs, assembly, progress)
        fatbins = {index: fatbin.graft(modules[index], found) for index, found in cubins.items()}
        del modules
    way.edit(old, new, fatbins=fatbins, run_path=run_path)
    return reproduced


def graft_member(
    wheel: Wheel, request: Request, into: Path, *, assembly: Assembly | None, progress: Progress
) -> None:
    """Make the library that ``request`` asks for and leave it, deflated, with its facts in ``into``."""
    old = contents.unpack(wheel, wheel.archive.by_name[request.member], into / "base.so")
    new = into / "library.so"
    try:
        reproduced = graft(
            old,
            new,
            architectures=request.architectures,
            run_path=request.run_path,
            assembly=assembly,
            progress=progress,
        )
    except UNREADABLE as error:  # the user knows the member, not where it was unpacked
        raise type(error)(error.message.replace(str(old), request.member), hint=error.hint) from None
    facts = files.library(new).read(new)
    result = Grafted(
        facts=facts,
        deflated=deflate_file(new, into / _CONTENT),
        reproduced=reproduced,
    )
    old.unlink()
    new.unlink()
    (into / _FACTS).write_bytes(msgspec.json.encode(result))


def demand_own(member: str, made: Grafted) -> None:
    """Raise FatbinError where the assembler did not make machine code that the library had."""
    if made.reproduced is False:
        raise FatbinError(
            f"{member}: the toolchain's ptxas does not make the library's own machine code from its PTX",
            hint="name the toolchain of the CUDA release that built the base wheel",
        )


def load(entry: Path) -> tuple[Grafted, Path]:
    """Return what lies in a finished store entry, and the file of deflated bytes."""
    return strict.decoded((entry / _FACTS).read_bytes(), Grafted), entry / _CONTENT


def known(verified: Verified, libraries: Mapping[str, LibraryFacts], grafted: Mapping[str, Grafted]) -> Known:
    """Return what an audit need not inflate again: a wheel's members, and the libraries that were made from it."""
    raw = {member.name: member.raw_sha256 for member in verified.members}
    read = {raw[name]: facts for name, facts in libraries.items()}
    made = []
    for name, one in grafted.items():
        deflated = one.deflated
        read[deflated.raw_sha256] = one.facts
        made.append(
            Member(
                name=name,
                method=zlib.DEFLATED,
                crc=deflated.crc,
                size=deflated.size,
                compressed_size=deflated.compressed_size,
                sha256=deflated.sha256,
                raw_sha256=deflated.raw_sha256,
                executable=True,
            )
        )
    return Known(members=(*verified.members, *made), libraries=read)


def _demand_reach(old: Path, facts: LibraryFacts, inside: int, architectures: Sequence[Arch]) -> None:
    """Raise ElfError when kernels that lack an architecture are linked by the driver, or lie beyond the first modules.

    The first ``inside`` are those of section .nv_fatbin; what lies elsewhere cannot be grafted. PeError for Windows'.
    """
    wants = set(architectures)
    section, refused = (".nv_fatb", PeError) if facts.format is Format.PE else (".nv_fatbin", ElfError)
    hint = "leave the library out of 'graft', or compile it: lane 'source'"
    if facts.relocatable and wanted(facts, architectures):
        raise refused(f"{old}: holds relocatable device code (-rdc=true), which cannot be grafted", hint=hint)
    stuck = [one for one in facts.modules[inside:] if one.kernels != 0 and one.sass and wants - set(one.sass)]
    if stuck:
        raise refused(
            f"{old}: {len(stuck)} module(s) lie outside of section {section}, where nothing can be grafted; "
            f"module {stuck[0].index} has {' '.join(stuck[0].sass)}",
            hint=hint,
        )


def plan_jobs(
    modules: Sequence[FatBinary],
    architectures: Sequence[Arch],
    isa: tuple[int, int],
    idle: Collection[int] = (),
) -> list[Job]:
    """Return one job for every architecture that a module lacks, the largest PTX first.

    ``idle`` are the modules without kernels, such as nvcc's link step adds: they need nothing, and are grafted only if
    they have PTX for it.
    """
    jobs = []
    for module in modules:
        present = {entry.arch for entry in module.entries if entry.kind is Kind.ELF}
        for target in architectures:
            if target in present or (module.index in idle and not fatbin.has_ptx_for(module, target)):
                continue
            entry = fatbin.ptx_for(module, target)
            if entry.isa > isa:
                raise FatbinError(
                    f"{module.where}: its PTX is ISA {_dotted(entry.isa)}, the toolchain's reads up to {_dotted(isa)}",
                    hint="name a toolchain of the CUDA release that built the library",
                )
            jobs.append(
                Job(module.index, target, fatbin.ptx(entry), entry.options, f"{module.where}, {target}")
            )
    return sorted(jobs, key=lambda job: len(job.ptx), reverse=True)


def run_jobs(jobs: Sequence[Job], assembly: Assembly, progress: Progress) -> dict[int, dict[Arch, bytes]]:
    """Return module -> architecture -> cubin, assembled on all cores; the first failure stops the rest."""
    total, done = sum(len(job.ptx) for job in jobs), 0
    cubins: dict[int, dict[Arch, bytes]] = {}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        running: dict[Future[bytes], Job] = {}
        try:
            for job in jobs:
                future = pool.submit(assembly.cubin, job.ptx, job.target, job.options, job.where)
                running[future] = job
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    cubins.setdefault(job.module, {})[job.target] = future.result()
                    done += len(job.ptx)
                    progress(done, total)
        except BaseException:
            with proc.stopping():
                pool.shutdown(wait=True, cancel_futures=True)
            raise
    return cubins


def _reproduces(modules: Sequence[FatBinary], assembly: Assembly) -> bool | None:
    """Say whether the smallest module's PTX, assembled for an architecture that it has, gives its own machine code.

    That proves that this ptxas with these options is the one that built the library. None when no module has both.
    """
    pairs = [
        (ptx, code)
        for module in modules
        for ptx in module.entries
        for code in module.entries
        if ptx.kind is Kind.PTX and code.kind is Kind.ELF and ptx.arch == code.arch
    ]
    if not pairs:
        return None
    ptx, code = min(pairs, key=lambda pair: pair[0].size or len(pair[0].payload))
    cubin = assembly.cubin(fatbin.ptx(ptx), ptx.arch, ptx.options, ptx.where)
    return fatbin.image(code).rstrip(b"\0") == cubin.rstrip(b"\0")


def cubin_key(ptx: bytes, target: Arch, options: Sequence[str], assembler: str) -> tuple[str, ...]:
    """Return everything that decides a cubin's bytes, for its key in the store: all that ptxas is given, and which.

    retread's own code is not in it: it hands over the PTX and takes what comes.
    """
    return ("cubin", hashlib.sha256(ptx).hexdigest(), target, *options, assembler)


def _dotted(isa: tuple[int, int]) -> str:
    return f"{isa[0]}.{isa[1]}"
