"""The machine that a build runs on: its doors, and the pinned tools that it gets for itself and keeps in the store."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from retread import arch
from retread.arch import Arch
from retread.doors.console import Console
from retread.doors.store import Kind, Store, digest
from retread.errors import FetchError, PlanError
from retread.recipe.model import Part, Toolchain, part_for, toolkit_parts
from retread.records import Record, Sha256
from retread.units import size

if TYPE_CHECKING:
    from retread.build.graft import Assembly
    from retread.doors.net.download import Progress, Settings
    from retread.toolkit.layout import Toolkit
    from retread.toolkit.ptxas import Assembler

MIRROR = "RETREAD_CUDA_MIRROR"
"""The variable that names a copy of NVIDIA's redistributables: an http address or a folder."""
TRIED = (Arch("9.0"), Arch("10.0"))
"""The architectures for which a toolkit is tried."""


class Machine(NamedTuple):
    """The doors that a build goes through: the store, the terminal, the environment."""

    store: Store
    console: Console
    environment: Mapping[str, str]


@functools.cache
def code_digest() -> str:
    """Return a digest of retread's own code: whatever it makes is void when it changes."""
    found = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def download(machine: Machine, project: str, file: str, sha256: Sha256) -> Path:
    """Return a pinned file of a project, downloading it when the store has it not."""

    def fetch(partial: Path, using: Settings, progress: Progress) -> None:
        from retread.doors.net import download as net

        net.fetch(net.Wanted(project, file, sha256), partial, using=using, progress=progress)

    return _downloaded(machine, file, sha256, fetch)


def _downloaded(
    machine: Machine, file: str, sha256: Sha256, fetch: Callable[[Path, Settings, Progress], None]
) -> Path:
    def build(into: Path) -> None:
        from retread.doors.net import download as net

        using = net.settings(machine.environment)
        partial = machine.store.partial(sha256)
        with machine.console.step(f"fetch {file}") as step:
            fetch(partial, using, lambda done, total: step.progress(done, total, "B"))
            shutil.move(partial, into / file)
            step.detail = size((into / file).stat().st_size)

    return machine.store.make(Kind.DOWNLOADS, sha256, build) / file


def assembler(machine: Machine, toolchain: Toolchain) -> Assembler:
    """Return the toolchain's ptxas for this machine, ready to run."""
    from retread.toolkit import ptxas as stage

    part = part_for(toolchain, platform.machine())
    environment = _tool_environment(machine)

    def build(into: Path) -> None:
        wheel = download(machine, part.package, part.file, part.sha256)
        stage.install(toolchain, part, wheel, into, environment)

    entry = machine.store.make(Kind.TOOLCHAINS, digest("toolchain", code_digest(), toolchain, part), build)
    return stage.load(entry, toolchain, part, environment)


def assembly(machine: Machine, tool: Assembler) -> Assembly:
    """Return how a graft gets its cubins: from the store, or assembled into it."""
    from retread.build import graft
    from retread.toolkit import ptxas as toolchain

    def cubin(ptx: bytes, target: Arch, recorded: str, where: str) -> bytes:
        options = toolchain.options(recorded, where=where)

        def build(into: Path) -> None:
            with machine.store.scratch() as scratch:
                (into / "cubin").write_bytes(tool.assemble(ptx, target, options, scratch))

        key = digest(*graft.cubin_key(ptx, target, options, tool.digest))
        return (machine.store.make(Kind.CUBINS, key, build) / "cubin").read_bytes()

    return graft.Assembly(tool.isa, cubin)


def toolkit(machine: Machine, toolchain: Toolchain) -> Toolkit:
    """Return the CUDA toolkit of exactly the toolchain's release: the store's, made of pinned parts, or the system's.

    The system's is taken only when a part that no package index has cannot be fetched. PlanError when there is none.
    """
    from retread.toolkit import layout as stage

    parts = toolkit_parts(toolchain, platform.machine())
    key = stage.parts_digest(toolchain, parts)
    if not machine.store.get(Kind.TOOLKITS, key):
        try:
            for part in parts:
                if part.path:
                    fetch_part(machine, toolchain, part)
        except FetchError as error:
            return _system_toolkit(machine, toolchain, error)

    def build(into: Path) -> None:
        archives = [(part, fetch_part(machine, toolchain, part)) for part in parts]
        with machine.console.step(f"lay out CUDA {toolchain.cuda}") as step:
            stage.lay_out(toolchain, archives, into, _tool_environment(machine))
            step.detail = f"{len(parts)} parts"

    return stage.load(machine.store.make(Kind.TOOLKITS, key, build), toolchain, parts)


def stored_toolkit(machine: Machine, toolchain: Toolchain) -> Toolkit | None:
    """Return the toolkit made of pinned parts if the store has it; PlanError when this machine has no parts."""
    from retread.toolkit import layout as stage

    parts = toolkit_parts(toolchain, platform.machine())
    entry = machine.store.get(Kind.TOOLKITS, stage.parts_digest(toolchain, parts))
    return stage.load(entry, toolchain, parts) if entry else None


def fetch_part(machine: Machine, toolchain: Toolchain, part: Part) -> Path:
    """Return a part of a toolchain, downloading it when the store has it not."""
    if not part.path:
        return download(machine, part.package, part.file, part.sha256)

    def fetch(partial: Path, using: Settings, progress: Progress) -> None:
        from retread.doors.net import download as net

        wanted, base = net.Wanted("", part.file, part.sha256), mirror(machine, toolchain)
        try:
            net.fetch_from(base, part.path, wanted, partial, using=using, progress=progress)
        except FetchError as error:
            raise FetchError(error.message, faults=error.faults, hint=ways(toolchain)) from None

    return _downloaded(machine, part.file, part.sha256, fetch)


def mirror(machine: Machine, toolchain: Toolchain) -> str:
    """Return the address or folder below which parts with a path lie."""
    return machine.environment.get(MIRROR) or toolchain.redistributables


def ways(toolchain: Toolchain) -> str:
    """Return what a user can do who lacks a part that no package index has."""
    return (
        f"do one of three: let this machine reach {toolchain.redistributables}; set {MIRROR} to an address or a "
        f"folder with the same files below it; install NVIDIA's toolkit {toolchain.cuda} and set CUDA_HOME"
    )


def _system_toolkit(machine: Machine, toolchain: Toolchain, error: FetchError) -> Toolkit:
    from retread.toolkit import layout as stage

    found, reasons = stage.find_system(toolchain.cuda, machine.environment, _tool_environment(machine))
    if found is None:
        raise PlanError(
            f"toolchain {toolchain.name}: this machine cannot have CUDA {toolchain.cuda}",
            faults=[": ".join((error.message, *error.faults)), *reasons],
            hint=ways(toolchain),
        )
    machine.console.say(f"{error.message}; taking the toolkit that is installed: {found.root}")
    return found


class PartReport(Record, frozen=True, kw_only=True):
    """A pinned part of a toolkit, where this machine has it from, and why it cannot have it."""

    component: str
    file: str
    sha256: str
    origin: str
    """``store``, ``package index``, or an address or file; empty when nobody asked."""
    obstacle: str


class ToolchainReport(Record, frozen=True, kw_only=True):
    """A toolchain on this machine: its parts, the finished toolkit if there is one, and why there cannot be."""

    name: str
    cuda: str
    machine: str
    parts: tuple[PartReport, ...]
    root: str
    """Where the toolkit lies: what CUDA_HOME is to be; empty when it is not there."""
    version: str
    origin: str
    """``pinned parts``, or ``system, <path>``."""
    digest: str
    architectures: tuple[Arch, ...]
    """Those for which it was tried and compiles."""
    obstacles: tuple[str, ...]


def inquire(machine: Machine, toolchain: Toolchain) -> tuple[list[PartReport], list[str]]:
    """Return how this machine would get each part of the toolkit, and why it cannot have the whole (empty: it can).

    Nothing is downloaded; servers are asked for parts that the store lacks.
    """
    try:
        parts = toolkit_parts(toolchain, platform.machine())
        if stored_toolkit(machine, toolchain):
            return [part_report(part, "store") for part in parts], []
    except PlanError as error:
        return [], [error.message]
    found = [_ask(machine, toolchain, part) for part in parts]
    reasons = [f"{one.component}: {one.obstacle}" for one in found if one.obstacle]
    if any(one.obstacle and part.path for part, one in zip(parts, found, strict=True)):
        from retread.toolkit import layout as stage

        system, others = stage.find_system(toolchain.cuda, machine.environment, _tool_environment(machine))
        return found, [] if system else [*reasons, *others]
    return found, reasons


def obstacles(machine: Machine, toolchain: Toolchain) -> list[str]:
    """Return why this machine cannot have the toolkit; nothing when it can. Nothing is downloaded."""
    return inquire(machine, toolchain)[1]


def _ask(machine: Machine, toolchain: Toolchain, part: Part) -> PartReport:
    if machine.store.get(Kind.DOWNLOADS, part.sha256):
        return part_report(part, "store")
    from retread.doors.net import download as net

    using = net.settings(machine.environment)
    if part.path:
        base = mirror(machine, toolchain)
        return part_report(part, net.where(base, part.path), net.absence(base, part.path, using=using))
    wanted = net.Wanted(part.package, part.file, part.sha256)
    return part_report(part, "package index", net.index_absence(wanted, using=using))


def part_reports(toolchain: Toolchain) -> list[PartReport]:
    """Return the parts of this machine's toolkit, with nobody asked; PlanError when it has none."""
    return [part_report(part) for part in toolkit_parts(toolchain, platform.machine())]


def part_report(part: Part, origin: str = "", obstacle: str = "") -> PartReport:
    """Return what is known of a part on this machine."""
    return PartReport(
        component=part.component, file=part.file, sha256=part.sha256, origin=origin, obstacle=obstacle
    )


def try_toolkit(machine: Machine, found: Toolkit) -> tuple[Arch, ...]:
    """Compile a small kernel for those architectures of ``TRIED`` that the release knows; ToolError when one fails."""
    from retread.toolkit import layout as stage

    release = tuple(int(part) for part in found.cuda.split("."))
    tried = tuple(one for one in TRIED if arch.FIRST_CUDA[one] <= release)
    for one in tried:
        with machine.store.scratch() as scratch, machine.console.step(f"compile for {one}"):
            user = {"PATH": machine.environment.get("PATH", os.defpath), "TMPDIR": str(scratch)}
            stage.compile_for(found, one, scratch, _tool_environment(machine) | user)
    return tried


def _tool_environment(machine: Machine) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "TMPDIR": str(machine.store.root), "LC_ALL": "C"}


def report(
    toolchain: Toolchain,
    parts: Sequence[PartReport],
    found: Toolkit | None,
    *,
    tried: Sequence[Arch] = (),
    obstacles: Sequence[str] = (),
) -> ToolchainReport:
    """Return what is known of a toolchain on this machine."""
    return ToolchainReport(
        name=toolchain.name,
        cuda=toolchain.cuda,
        machine=platform.machine(),
        parts=tuple(parts),
        root=str(found.root) if found else "",
        version=found.version if found else "",
        origin=found.origin if found else "",
        digest=found.digest if found else "",
        architectures=tuple(tried),
        obstacles=tuple(obstacles),
    )
