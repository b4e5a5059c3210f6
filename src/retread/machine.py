"""The machine that a build runs on: its doors, and the pinned tools that it gets for itself and keeps in the store."""

from __future__ import annotations

import functools
import hashlib
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from retread.arch import Arch
from retread.console import Console
from retread.model import Sha256
from retread.recipe import Toolchain, part_for
from retread.store import Kind, Store, digest
from retread.units import size

if TYPE_CHECKING:
    from retread.stages.graft import Assembly
    from retread.stages.toolchain import Assembler


class Machine(NamedTuple):
    """The doors that a build goes through: the store, the terminal, the environment."""

    store: Store
    console: Console
    environment: Mapping[str, str]


@functools.cache
def code_digest() -> str:
    """Return a digest of retread's own code: whatever it makes is void when it changes."""
    found = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def download(machine: Machine, project: str, file: str, sha256: Sha256) -> Path:
    """Return a pinned file of a project, downloading it when the store has it not."""

    def build(into: Path) -> None:
        from retread import net

        using = net.settings(machine.environment)
        partial = machine.store.partial(sha256)
        with machine.console.step(f"fetch {file}") as step:
            wanted = net.Wanted(project, file, sha256)
            net.fetch(
                wanted, partial, using=using, progress=lambda done, total: step.progress(done, total, "B")
            )
            shutil.move(partial, into / file)
            step.detail = size((into / file).stat().st_size)

    return machine.store.make(Kind.DOWNLOADS, sha256, build) / file


def assembler(machine: Machine, toolchain: Toolchain) -> Assembler:
    """Return the toolchain's ptxas for this machine, ready to run."""
    from retread.stages import toolchain as stage

    part = part_for(toolchain, platform.machine())
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(machine.store.root), "LC_ALL": "C"}

    def build(into: Path) -> None:
        wheel = download(machine, part.package, part.file, part.sha256)
        stage.install(toolchain, wheel, into, environment)

    entry = machine.store.make(Kind.TOOLCHAINS, digest("toolchain", code_digest(), toolchain, part), build)
    return stage.load(entry, toolchain, part, environment)


def assembly(machine: Machine, tool: Assembler) -> Assembly:
    """Return how a graft gets its cubins: from the store, or assembled into it."""
    from retread.stages import graft, toolchain

    def cubin(ptx: bytes, target: Arch, recorded: str, where: str) -> bytes:
        options = toolchain.options(recorded, where=where)

        def build(into: Path) -> None:
            with machine.store.scratch() as scratch:
                (into / "cubin").write_bytes(tool.assemble(ptx, target, options, scratch))

        key = digest(*graft.cubin_key(ptx, target, options, tool.digest))
        return (machine.store.make(Kind.CUBINS, key, build) / "cubin").read_bytes()

    return graft.Assembly(tool.isa, cubin)
