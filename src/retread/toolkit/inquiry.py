"""What is known of a toolchain on this machine, without downloading anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from retread import variables
from retread.arch import Arch
from retread.doors.machine import Machine
from retread.doors.store import Kind
from retread.environment import host
from retread.errors import PlanError
from retread.recipe.toolchain import Part, Toolchain, toolkit_parts
from retread.records import Record
from retread.toolkit.release import tool_environment
from retread.toolkit.toolkit import mirror, stored_toolkit

if TYPE_CHECKING:
    from retread.toolkit.layout import Toolkit


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


def inquire(machine: Machine, toolchain: Toolchain, target: str = "") -> tuple[list[PartReport], list[str]]:
    """Return how this machine would get each part of the toolkit, and why it cannot have the whole (empty: it can).

    Nothing is downloaded; servers are asked for parts that the store lacks. Without a ``target`` it compiles for this
    machine.
    """
    try:
        parts = toolkit_parts(toolchain, host.here(), target)
        if stored_toolkit(machine, toolchain, target):
            return [part_report(part, "store") for part in parts], []
    except PlanError as error:
        return [], [error.message]
    found = [_ask(machine, toolchain, part) for part in parts]
    reasons = [f"{one.component}: {one.obstacle}" for one in found if one.obstacle]
    native = target in {"", host.here()}
    if native and any(one.obstacle and part.path for part, one in zip(parts, found, strict=True)):
        from retread.toolkit import layout

        system, others = layout.find_system(toolchain.cuda, machine.environment, tool_environment(machine))
        return found, [] if system else [*reasons, *others]
    return found, reasons


def obstacles(machine: Machine, toolchain: Toolchain, target: str = "") -> list[str]:
    """Return why this machine cannot have the toolkit; nothing when it can. Nothing is downloaded."""
    return inquire(machine, toolchain, target)[1]


def _ask(machine: Machine, toolchain: Toolchain, part: Part) -> PartReport:
    if machine.store.get(Kind.DOWNLOADS, part.sha256):
        return part_report(part, "store")
    if part.deb:
        from retread.toolkit import debian

        return part_report(part, *debian.inquire(machine, part))
    from retread.doors.net import asking, catalogue, download, settings

    using = settings.settings(machine.environment)
    if part.path:
        base = mirror(machine, toolchain)
        lack = download.absence(base, part.path, using=using)
        source = variables.source(variables.CUDA_MIRROR, machine.environment) if lack else ""
        return part_report(part, download.where(base, part.path), f"{source}{lack}")
    wanted = asking.Wanted(part.package, part.file, part.sha256)
    return part_report(part, "package index", catalogue.index_absence(wanted, using=using))


def part_reports(toolchain: Toolchain) -> list[PartReport]:
    """Return the parts of this machine's toolkit, with nobody asked; PlanError when it has none."""
    return [part_report(part) for part in toolkit_parts(toolchain, host.here())]


def part_report(part: Part, origin: str = "", obstacle: str = "") -> PartReport:
    """Return what is known of a part on this machine."""
    return PartReport(
        component=part.component, file=part.file, sha256=part.sha256, origin=origin, obstacle=obstacle
    )


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
        machine=host.here(),
        parts=tuple(parts),
        root=str(found.root) if found else "",
        version=found.version if found else "",
        origin=found.origin if found else "",
        digest=found.digest if found else "",
        architectures=tuple(tried),
        obstacles=tuple(obstacles),
    )
