"""Cubins behind the store: assembled once for each PTX, architecture and assembler."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from retread.arch import Arch
from retread.doors.machine import Machine, code_digest, download
from retread.doors.store import Kind, digest
from retread.environment import host
from retread.recipe.toolchain import Toolchain, part_for
from retread.toolkit.release import tool_environment

if TYPE_CHECKING:
    from retread.build.graft import Assembly
    from retread.toolkit.ptxas import Assembler

_CUBIN: Final = "cubin"


def assembler(machine: Machine, toolchain: Toolchain) -> Assembler:
    """Return the toolchain's ptxas for this machine, ready to run."""
    from retread.toolkit import ptxas

    part = part_for(toolchain, host.here())
    environment = tool_environment(machine)

    def build(into: Path) -> None:
        wheel = download(machine, part.package, part.file, part.sha256)
        ptxas.install(toolchain, part, wheel, into, environment)

    entry = machine.store.make(Kind.TOOLCHAINS, digest("toolchain", code_digest(), toolchain, part), build)
    return ptxas.load(entry, toolchain, part, environment)


def assembly(machine: Machine, tool: Assembler) -> Assembly:
    """Return how a graft gets its cubins: from the store, or assembled into it."""
    from retread.build import graft
    from retread.toolkit import ptxas as toolchain

    def cubin(ptx: bytes, target: Arch, recorded: str, where: str) -> bytes:
        options = toolchain.options(recorded, where=where)

        def build(into: Path) -> None:
            tool.assemble(ptx, target, options, into / _CUBIN)

        key = digest(*graft.cubin_key(ptx, target, options, tool.digest))
        return (machine.store.make(Kind.CUBINS, key, build) / _CUBIN).read_bytes()

    return graft.Assembly(tool.isa, cubin, tool.version)
