"""A CUDA toolkit of exactly one release for this machine: from the store, from pinned parts, or the system's."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from retread import arch, variables
from retread.arch import Arch
from retread.doors import fs
from retread.doors.machine import Machine, download, downloaded
from retread.doors.store import Kind
from retread.environment import host
from retread.errors import FetchError, PlanError, ToolError
from retread.recipe.toolchain import Part, Toolchain, toolkit_parts
from retread.toolkit.release import tool_environment
from retread.units import counted
from retread.wheel.statement import DeviceTools

if TYPE_CHECKING:
    from retread.doors.net.download import Progress
    from retread.doors.net.settings import Settings
    from retread.toolkit.layout import Toolkit


TRIED = (Arch("9.0"), Arch("10.0"))
"""The architectures for which a toolkit is tried."""


def toolkit(machine: Machine, toolchain: Toolchain, target: str = "") -> Toolkit:
    """Return the CUDA toolkit of exactly the toolchain's release: the store's, made of pinned parts, or the system's.

    It runs here and compiles for ``target``, without one for this machine.

    The system's is taken only when a part that no package index has cannot be fetched. PlanError when there is none.
    """
    from retread.toolkit import layout

    parts = toolkit_parts(toolchain, host.here(), target)
    key = layout.parts_digest(toolchain, parts)
    if not machine.store.get(Kind.TOOLKITS, key):
        try:
            for part in parts:
                if part.path:
                    fetch_part(machine, toolchain, part)
        except FetchError as error:
            if target and target != host.here():
                raise
            return _system_toolkit(machine, toolchain, error)

    def build(into: Path) -> None:
        archives = [(part, fetch_part(machine, toolchain, part)) for part in parts]
        with machine.console.step(f"lay out CUDA {toolchain.cuda}") as step:
            layout.lay_out(toolchain, archives, into, tool_environment(machine))
            step.detail = counted(len(parts), "part")

    return layout.load(machine.store.make(Kind.TOOLKITS, key, build), toolchain, parts)


def known_digest(machine: Machine, toolchain: Toolchain, target: str = "") -> str:
    """Return the digest of what ``toolkit`` would return, where it can be told without having it; else nothing.

    It cannot where a part has to be fetched in whose place the system's toolkit would do.
    """
    from retread.toolkit import layout

    parts = toolkit_parts(toolchain, host.here(), target)
    key = layout.parts_digest(toolchain, parts)
    may_be_another = any(part.path for part in parts) and target in {"", host.here()}
    return "" if may_be_another and not machine.store.get(Kind.TOOLKITS, key) else key


def stored_toolkit(machine: Machine, toolchain: Toolchain, target: str = "") -> Toolkit | None:
    """Return the toolkit made of pinned parts if the store has it; PlanError when this machine has no parts."""
    from retread.toolkit import layout

    parts = toolkit_parts(toolchain, host.here(), target)
    entry = machine.store.get(Kind.TOOLKITS, pinned_key(toolchain, target))
    return layout.load(entry, toolchain, parts) if entry else None


def pinned_key(toolchain: Toolchain, target: str = "") -> str:
    """Return the key of the toolkit that is made of pinned parts; PlanError when this machine has no parts."""
    from retread.toolkit import layout

    return layout.parts_digest(toolchain, toolkit_parts(toolchain, host.here(), target))


def fetch_part(machine: Machine, toolchain: Toolchain, part: Part) -> Path:
    """Return a part of a toolchain, downloading it when the store has it not."""
    if part.package:
        return download(machine, part.package, part.file, part.sha256)
    if part.deb:
        from retread.toolkit import debian

        return debian.fetch(machine, part)

    def fetch(partial: Path, using: Settings, progress: Progress) -> None:
        from retread.doors.net import asking
        from retread.doors.net import download as net

        wanted, base = asking.Wanted("", part.file, part.sha256), mirror(machine, toolchain)
        try:
            with variables.named(variables.CUDA_MIRROR, machine.environment):
                net.fetch_from(base, part.path, wanted, partial, using=using, progress=progress)
        except FetchError as error:
            raise FetchError(error.message, faults=error.faults, hint=ways(toolchain)) from None

    return downloaded(machine, part.file, part.sha256, fetch)


def mirror(machine: Machine, toolchain: Toolchain) -> str:
    """Return the address or folder below which parts with a path lie."""
    return fs.of_variable(machine.environment.get(variables.CUDA_MIRROR, "")) or toolchain.redistributables


def ways(toolchain: Toolchain) -> str:
    """Return what a user can do who lacks a part that no package index has."""
    return (
        f"do one of three: let this machine reach {toolchain.redistributables}; set {variables.CUDA_MIRROR} to an "
        f"address or a folder with the same files below it; install NVIDIA's toolkit {toolchain.cuda} and set CUDA_HOME"
    )


def _system_toolkit(machine: Machine, toolchain: Toolchain, error: FetchError) -> Toolkit:
    from retread.toolkit import layout

    found, reasons = layout.find_system(toolchain.cuda, machine.environment, tool_environment(machine))
    if found is None:
        raise PlanError(
            f"toolchain {toolchain.name}: this machine cannot have CUDA {toolchain.cuda}",
            faults=[": ".join((error.message, *error.faults)), *reasons],
            hint=ways(toolchain),
        )
    machine.console.say(f"note: {error.message}; taking the toolkit that is installed: {found.root}")
    return found


def device_tools(machine: Machine, found: Toolkit) -> DeviceTools:
    """Return what makes device code in a toolkit, each program as it says of itself; ToolError when one does not."""
    from retread.toolkit import clang, release

    env, programs = tool_environment(machine), found.root / "bin"
    header = (found.root / "include" / "cuda.h").read_text("utf-8", "replace")
    told = re.search(r"#define\s+CUDA_VERSION\s+(\d+)", header)
    if told is None:
        raise ToolError(f"{found.root}/include/cuda.h does not say of which release it is")
    stands_in = clang.stands_in(found.root)
    return DeviceTools(
        compiler=clang.compiler(found.root)
        if stands_in
        else f"nvcc {release.number(programs / 'nvcc', env)}",
        assembler=f"ptxas {release.number(programs / 'ptxas', env)}",
        headers=f"CUDA {int(told[1]) // 1000}.{int(told[1]) % 1000 // 10}",
        container=f"fatbinary {release.number(programs / 'fatbinary', env)}",
    )


def try_toolkit(machine: Machine, found: Toolkit) -> tuple[Arch, ...]:
    """Compile a small kernel for those architectures of ``TRIED`` that the release knows; ToolError when one fails.

    Where clang is the compiler, its code is held to what nvcc would make.
    """
    from retread.doors import proc
    from retread.toolkit import clang, layout

    release = tuple(int(part) for part in found.cuda.split("."))
    tried = tuple(one for one in TRIED if arch.FIRST_CUDA[one] <= release)
    for one in tried:
        with machine.store.scratch() as scratch, machine.console.step(f"compile for {one}"):
            user = {"PATH": machine.environment.get("PATH", os.defpath), "TMPDIR": str(scratch)}
            layout.compile_for(found, one, scratch, tool_environment(machine) | user)
    if clang.stands_in(found.root):
        with machine.store.scratch() as scratch, machine.console.step("hold clang's code to nvcc's"):
            env = tool_environment(machine) | {"TMPDIR": str(scratch)}
            clang.demand(found.root, scratch, lambda command: proc.run(command, env=env, check=False))
    return tried
