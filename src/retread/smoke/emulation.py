"""Trying a wheel of another machine on this one: that machine's Python and packages, run under qemu, without a GPU."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from retread.doors import proc
from retread.doors.machine import Machine
from retread.doors.net import settings
from retread.doors.store import digest
from retread.environment import foreign, venv
from retread.errors import HostError
from retread.recipe.system import System
from retread.recipe.toolchain import Toolchain
from retread.toolkit import system
from retread.toolkit.toolkit import toolkit

_WRAPPER = """\
#!/bin/sh
# Runs the Python that lies beside this script, which is another machine's. Python takes this script for itself, so that
# what it starts goes the same way.
here=${{0%/*}}
export RETREAD_EMULATOR={told} QEMU_CPU={cpu}
exec {qemu} -L "${{here%/*}}" -0 "$0" "$here/python{number}" "$@"
"""


_CPU = "neoverse-n1"
_CPUINFO = """\
processor\t: {index}
BogoMIPS\t: 100.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1

"""
"""What Linux says of such a processor. qemu shows programs this machine's own /proc/cpuinfo instead, in which libraries
that look for the words of theirs find nothing, and end."""
_MIDR = "0x00000000413fd0c1\n"
_PTXAS = ("TRITON_PTXAS_PATH", "TRITON_PTXAS_BLACKWELL_PATH")
"""Where Triton looks for its assembler; from 3.6 on, for 10.0 and newer, where the second one says."""


class Emulated(NamedTuple):
    """Another machine, as far as this one can run its programs."""

    machine: Machine
    system: System
    qemu: Path
    told: str
    """What reports say of it: ``qemu-aarch64 7.2.22``."""
    toolchain: Toolchain | None
    """Whose ptxas, a program of this machine, assembles what Triton makes; the other machine's would be slow."""

    def python(self, *requires: str) -> Path:
        """Return a Python of the other machine with what is required, made when the store has none."""
        return self._made(*requires) / "bin" / "python"

    def packages(self, requirement: str) -> Path:
        """Return a folder with the other machine's package alone."""
        return self._made(requirement, alone=True) / system.PACKAGES

    @property
    def environment(self) -> Mapping[str, str]:
        """What a trial may see of the caller's variables, and where this machine's ptxas is."""
        found = dict(self.machine.environment)
        if self.toolchain:
            ptxas = str(toolkit(self.machine, self.toolchain).root / "bin" / "ptxas")
            found |= dict.fromkeys(_PTXAS, ptxas)
        return found

    @property
    def keeps(self) -> bool:
        """No: of another machine's system nobody here knows what a trial depends on."""
        return False

    def _made(self, *requires: str, alone: bool = False) -> Path:
        wrapper = _WRAPPER.format(
            cpu=_CPU, told=shlex.quote(self.told), qemu=shlex.quote(str(self.qemu)), number=self.system.python
        )

        def make(into: Path, cache: Path) -> None:
            root = into / venv.VENV
            root.mkdir()
            if not alone:
                system.lay_out(self.machine, self.system, root)
                _describe_processors(root)
                (root / "bin" / "python").write_text(wrapper, "utf-8")
                (root / "bin" / "python").chmod(0o755)
            foreign.install(
                [*(["--no-deps"] if alone else []), *self._compiled(), *requires],
                root / system.PACKAGES,
                python=self.system.python,
                platform=f"{self.system.name}-{self.system.manylinux}",
                cache=cache,
                settings=settings.settings(self.machine.environment),
                environment=self.machine.environment,
            )

        made_of = (_CPUINFO, _MIDR, os.cpu_count())
        key = digest("emulated", system.digest(self.system), requires, alone, wrapper, made_of)
        title = f"install {' '.join(requires)} for {self.system.name}"
        return venv.stored(self.machine, key, title, make)

    def _compiled(self) -> list[str]:
        """Return the option that has modules compiled at once, where this Python can: no trial may keep what it did."""
        same = ".".join(map(str, sys.version_info[:2])) == self.system.python
        return ["--compile-bytecode"] if same else []


def _describe_processors(root: Path) -> None:
    """Put below the root, where qemu looks first, what programs read of the machine's processors."""
    count = os.cpu_count() or 1
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(
        "".join(_CPUINFO.format(index=one) for one in range(count)), "utf-8"
    )
    for index in range(count):
        folder = root / "sys" / "devices" / "system" / "cpu" / f"cpu{index}" / "regs" / "identification"
        folder.mkdir(parents=True)
        (folder / "midr_el1").write_text(_MIDR, "utf-8")


def emulated(machine: Machine, platform: str, toolchain: Toolchain | None) -> Emulated:
    """Return how programs of a platform are run here; HostError when there is no emulator, PlanError without parts."""
    found = system.known(platform)
    names = (f"qemu-{platform}-static", f"qemu-{platform}")
    path = machine.environment.get("PATH")
    qemu = next((there for name in names if (there := shutil.which(name, path=path))), None)
    if qemu is None:
        raise HostError(
            f"{platform} programs do not run here: there is no {names[1]} on the PATH",
            hint="install qemu's user emulation (on Debian: apt-get install qemu-user-static)",
        )
    said = proc.run([qemu, "--version"], env={"LC_ALL": "C"}).stdout
    version = re.search(r"version ([0-9.]+)", said)
    return Emulated(
        machine, found, Path(qemu), f"{names[1]} {version[1] if version else ''}".strip(), toolchain
    )
