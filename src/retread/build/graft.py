"""Stage *graft*: native code for more architectures, assembled from the PTX in a library's own fat binaries.

Every cubin is kept in the store as soon as it is made, so that an interrupted graft goes on where it was. The largest
modules go first, so that all cores are busy to the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from retread.arch import Arch
from retread.binary import files
from retread.binary.files import Library
from retread.build import slim
from retread.build.grafts import CONTENT, FACTS, Grafted, Proof, Request, wanted
from retread.doors import cores, proc
from retread.elf import fatbin, kernels
from retread.elf.facts import LibraryFacts
from retread.elf.fatbin import Entry, FatBinary, Kind
from retread.elf.release import Told
from retread.errors import KEEP_LIBRARY, UNREADABLE, FatbinError, ToolError
from retread.records import T
from retread.units import counted

if TYPE_CHECKING:
    from retread.wheel.wheelfile import Wheel

Progress = Callable[[int, int], None]
"""Called with seconds-independent work done and in all, in bytes of PTX."""


class Assembly(NamedTuple):
    """How cubins are made: the newest PTX ISA that is understood, and the function that assembles one."""

    isa: tuple[int, int]
    cubin: Callable[[bytes, Arch, str, str], bytes]
    """(PTX, architecture, options as recorded, where for messages) -> cubin."""
    ptxas: str = ""
    """What it says of itself."""


Provers = Callable[[str], Iterable[Assembly]]
"""The CUDA release that made machine code, as it tells (12.6; nothing: it does not) -> who may make it again."""


class Means(NamedTuple):
    """What grafts, and what proves: the ptxas that built a library need not be the one that adds to it."""

    assembly: Assembly
    provers: Provers


class Tool(NamedTuple):
    """The toolchain's name and CUDA release, and what gets its assembler ready, once it is clear that it is needed."""

    name: str
    cuda: str
    ready: Callable[[], Means]


def alone(assembly: Assembly) -> Means:
    """Return the means of a graft whose assembler proves, too."""
    return Means(assembly, lambda cuda: (assembly,))


class Job(NamedTuple):
    """One cubin to make."""

    module: int
    target: Arch
    entry: Entry
    """Its PTX."""
    where: str

    @property
    def size(self) -> int:
        """Bytes of PTX, from which follows how long it takes; zeros behind the text may be among them."""
        return self.entry.size or len(self.entry.payload)


def graft(
    old: Path,
    new: Path,
    *,
    architectures: Sequence[Arch],
    run_path: Sequence[str] | None,
    means: Means | None,
    progress: Progress,
    facts: LibraryFacts | None = None,
) -> Proof:
    """Write ``new``: the library ``old`` with native code for ``architectures`` and another run path.

    Returns whether machine code that the library had was made again: that is tried while the new code is assembled.
    ``facts`` are those of ``old``, from who has read it. FatbinError when a module with kernels has no PTX for an
    architecture, ElfError or PeError when the library cannot be edited.
    """
    fatbins: dict[int, bytes] = {}
    proof, way = Proof(reproduced=None), files.library(old)
    if architectures and means:
        modules, facts = way.fat_binaries(old), facts or way.read(old)
        _demand_reach(old, way, facts, len(modules), architectures)
        idle = {one.index for one in facts.modules if one.kernels == 0}
        jobs = plan_jobs(modules, architectures, means.assembly.isa, idle)
        if jobs:  # what is refused is refused before anything is assembled
            way.demand_editable(old, modules={job.module for job in jobs}, run_path=run_path)
            proving = partial(prove, modules, means.provers)
            cubins, proof = run_jobs(jobs, means.assembly, progress, proving)
            fatbins = dict(
                cores.spread(lambda one: (one[0], fatbin.graft(modules[one[0]], one[1])), cubins.items())
            )
        del modules
    way.edit(old, new, fatbins=fatbins, run_path=run_path)
    return proof


def graft_member(
    wheel: Wheel, request: Request, into: Path, *, means: Means | None, progress: Progress
) -> None:
    """Make the library that ``request`` asks for and leave it, deflated, with its facts in ``into``."""
    from retread.wheel import contents
    from retread.wheel.zipwriter import deflate_file

    old = contents.unpack(wheel, wheel.archive.by_name[request.member], into / "base.so")
    new = into / "library.so"
    try:
        proof, whole = _edit(old, new, request, means, progress)
    except UNREADABLE as error:  # the user knows the member, not where it was unpacked
        raise type(error)(error.message.replace(str(old), request.member), hint=error.hint) from None
    facts = files.library(new).read(new)
    result = Grafted(
        facts=facts,
        deflated=deflate_file(new, into / CONTENT),
        proof=proof,
        driver=slim.driver(new) if request.slim else "",
        whole=whole,
    )
    old.unlink()
    new.unlink()
    (into / FACTS).write_bytes(msgspec.json.encode(result))


def _edit(
    old: Path, new: Path, request: Request, means: Means | None, progress: Progress
) -> tuple[Proof, int]:
    """Write ``new``: ``old`` as it is requested; ``old`` may be written over. Return what both stages return."""
    wish = request.slim
    if wish and not request.architectures and request.run_path is None:
        return Proof(reproduced=None), slim.slim(old, new, wish, progress)
    proof = graft(
        old,
        new,
        architectures=request.architectures,
        run_path=request.run_path,
        means=means,
        progress=progress,
    )
    if wish is None:
        return proof, 0
    new.replace(old)
    return proof, slim.slim(old, new, wish, progress)


def demand_own(member: str, proof: Proof, hint: Callable[[str], str]) -> None:
    """Raise FatbinError where machine code that the library had was not made again; ``hint`` is told which CUDA did."""
    if proof.reproduced is False:
        raise FatbinError(f"{member}: {failure(proof)}", hint=hint(proof.cuda))


def failure(proof: Proof) -> str:
    """Say of a proof that failed who built the library, how that is known, and who did not make it again."""
    who = (
        f"CUDA {proof.cuda} built it ({proof.by})"
        if proof.cuda
        else "nothing in it tells which CUDA built it"
    )
    return (
        f"{who}; {proof.ptxas or 'the ptxas at hand'} does not make its own machine code again from its PTX"
    )


def told(proof: Proof, grafting: str) -> str:
    """Return what a user hears of a proof: that it failed, or that another ptxas than the one that grafts gave it."""
    if proof.reproduced is False:
        return f"{failure(proof)}: the new code is as good as its ptxas, and not what the builder would give"
    if proof.ptxas == grafting or not proof.reproduced:
        return ""
    return (
        f"CUDA {proof.cuda} built it ({proof.by}): {proof.ptxas} makes its own machine code again from its PTX, "
        "byte for byte"
    )


def _demand_reach(
    old: Path, way: Library, facts: LibraryFacts, inside: int, architectures: Sequence[Arch]
) -> None:
    """Refuse a library whose kernels that lack an architecture are linked by the driver, or are out of reach.

    The first ``inside`` modules are those of the section of fat binaries; what lies elsewhere cannot be grafted.
    """
    wants = set(architectures)
    hint = f"{KEEP_LIBRARY}, or compile it: lane 'source'"
    if facts.relocatable and wanted(facts, architectures):
        raise way.Refused(
            f"{old}: holds relocatable device code (-rdc=true), which cannot be grafted", hint=hint
        )
    stuck = [one for one in facts.modules[inside:] if one.kernels != 0 and one.sass and wants - set(one.sass)]
    if stuck:
        raise way.Refused(
            f"{old}: {counted(len(stuck), 'module')} outside of section {way.FATBIN}, where nothing can be grafted; "
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
            jobs.append(Job(module.index, target, entry, f"{module.where}, {target}"))
    return sorted(jobs, key=lambda job: job.size, reverse=True)


def run_jobs(
    jobs: Sequence[Job], assembly: Assembly, progress: Progress, meanwhile: Callable[[], T]
) -> tuple[dict[int, dict[Arch, bytes]], T]:
    """Return module -> architecture -> cubin, assembled on all cores, and what is done ``meanwhile`` on one of them.

    The first failure stops the rest.
    """
    total, done = sum(job.size for job in jobs), 0
    cubins: dict[int, dict[Arch, bytes]] = {}
    with ThreadPoolExecutor(cores.count()) as pool:
        running: dict[Future[bytes], Job] = {}
        try:
            beside = pool.submit(meanwhile)
            for job in jobs:
                running[pool.submit(_assembled, job, assembly)] = job
            left: set[Future[Any]] = {beside, *running}
            while left:
                ended, left = wait(left, return_when=FIRST_COMPLETED)
                for future in ended:
                    found = future.result()
                    if future in running:
                        job = running[future]
                        cubins.setdefault(job.module, {})[job.target] = found
                        done += job.size
                        progress(done, total)
            return cubins, beside.result()
        except BaseException:
            with proc.stopping():
                pool.shutdown(wait=True, cancel_futures=True)
            raise


def _assembled(job: Job, assembly: Assembly) -> bytes:
    """Return the cubin of a job; its PTX is unpacked only now, so that the first one is begun at once."""
    return assembly.cubin(fatbin.ptx(job.entry), job.target, job.entry.options, job.where)


def prove(modules: Sequence[FatBinary], provers: Provers) -> Proof:
    """Return whether a small module's PTX, assembled for an architecture that it has, gives its own machine code.

    That shows which ptxas with these options built the library. The smallest module with a kernel is taken.
    """
    pair = _pair(modules)
    if pair is None:
        return Proof(reproduced=None)
    ptx, code = pair
    told, text, last = _told(code), fatbin.ptx(ptx), ""
    for one in provers(told.cuda):
        last = one.ptxas
        try:
            made = one.cubin(text, ptx.arch, ptx.options, ptx.where) if ptx.isa <= one.isa else b""
        except ToolError:  # it knows the architecture no more, or not yet
            continue
        if fatbin.image(code).rstrip(b"\0") == made.rstrip(b"\0"):
            return Proof(reproduced=True, cuda=told.cuda, by=told.by, ptxas=last)
    return Proof(reproduced=False, cuda=told.cuda, by=told.by, ptxas=last)


def _pair(modules: Sequence[FatBinary]) -> tuple[Entry, Entry] | None:
    """Return PTX and machine code of one module for one architecture: the smallest PTX that holds a kernel, if any."""
    pairs = [
        (ptx, code)
        for module in modules
        for ptx in module.entries
        for code in module.entries
        if ptx.kind is Kind.PTX and code.kind is Kind.ELF and ptx.arch == code.arch
    ]
    pairs.sort(key=lambda pair: pair[0].size or len(pair[0].payload))
    return next((pair for pair in pairs if kernels.of_entry(pair[0]).kernels), pairs[0] if pairs else None)


def _told(code: Entry) -> Told:
    """Return which release made machine code."""
    try:
        return kernels.of_entry(code).made
    except FatbinError:
        return Told()


def cubin_key(ptx: bytes, target: Arch, options: Sequence[str], assembler: str) -> tuple[str, ...]:
    """Return everything that decides a cubin's bytes, for its key in the store: all that ptxas is given, and which.

    retread's own code is not in it: it hands over the PTX and takes what comes.
    """
    return ("cubin", hashlib.sha256(ptx).hexdigest(), target, *options, assembler)


def _dotted(isa: tuple[int, int]) -> str:
    return f"{isa[0]}.{isa[1]}"
