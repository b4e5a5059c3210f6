"""Hold what retread reads of kernels to NVIDIA's own tools: registers, stack, shared memory and counted instructions.

usage: opcodes.py NVDISASM CUOBJDUMP FILE [FILE ...]

NVDISASM and CUOBJDUMP are of PyPI's nvidia-cuda-nvdisasm and nvidia-cuda-cuobjdump (13.5.37 was tried; neither reads
code before sm_75). A FILE is a shared object or a cubin, called ``NAME.sm_90a.cubin`` after its architecture. Prints
what differs, and ends with 1 when anything does. Disassembling takes about 20 s for each MB of machine code.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from retread import arch
from retread.arch import Arch
from retread.elf import fatbin, kernels, library
from retread.elf.kernels import OPCODES, Kernel

Usage: TypeAlias = tuple[str, int, int, int]
KNOWN = 75
_FUNCTION = re.compile(r"^ Function (.*):$")
_USAGE = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+)")
_SECTION = re.compile(r"^//-+ \.text\.(\S+) +-+", re.MULTILINE)
_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P[T0-9]+ )?\s*\{?\s*([A-Z][A-Z0-9_]*)")
_KINDS = {"UTCHMMA": "UTCMMA", "UTCQMMA": "UTCMMA", "UTCIMMA": "UTCMMA", "UTCOMMA": "UTCMMA"}
"""What retread counts as one."""


def cubins(path: Path) -> Iterator[tuple[Arch, bytes]]:
    """Yield the cubins of a file that both tools read, each once."""
    if path.suffix == ".cubin":
        digits, suffix = re.fullmatch(r"sm_(\d+)([af]?)", path.name.split(".")[-2]).groups()  # type: ignore[union-attr]
        yield arch.from_number(int(digits), suffix), path.read_bytes()
        return
    for one in library.fat_binaries(path):
        for entry in one.entries:
            if entry.kind is fatbin.Kind.ELF and arch.number(entry.arch) >= KNOWN:
                yield entry.arch, fatbin.image(entry)


def usage(cuobjdump: str, file: Path) -> dict[str, Usage]:
    """Return what each function takes, by cuobjdump."""
    found, name = {}, ""
    for line in _said(cuobjdump, "--dump-resource-usage", str(file)).splitlines():
        if told := _FUNCTION.match(line):
            name = told[1]
        elif told := _USAGE.search(line):
            found[name] = (name, int(told[1]), int(told[2]), int(told[3]))
    return found


def telling(nvdisasm: str, file: Path) -> dict[str, dict[str, int]]:
    """Return function -> instruction -> how many, by nvdisasm, of those that retread counts."""
    parts = _SECTION.split(_said(nvdisasm, "--print-code", str(file)))
    found = {}
    for function, text in zip(parts[1::2], parts[2::2], strict=True):
        names = Counter(_KINDS.get(name, name) for name in _INSTRUCTION.findall(text))
        found[function] = {name: names[name] for name in OPCODES.values() if names[name]}
    return found


def _said(*command: str) -> str:
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True
    ).stdout


def differences(one: Kernel, taken: dict[str, Usage], counted: dict[str, dict[str, int]]) -> Iterator[str]:
    """Yield how a kernel is another by NVIDIA's tools."""
    ours = (one.name, one.registers, one.stack, one.shared)
    if ours != taken.get(one.name):
        yield f"{ours[1:]} registers, stack and shared memory, by cuobjdump {taken.get(one.name, ('',))[1:]}"
    if one.telling != counted.get(one.name):
        yield f"{one.telling}, by nvdisasm {counted.get(one.name)}"


def main() -> int:
    """Compare every kernel of the files."""
    nvdisasm, cuobjdump, *files = sys.argv[1:]
    wrong = seen = 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "one.cubin"
        for path in map(Path, files):
            for architecture, cubin in cubins(path):
                file.write_bytes(cubin)
                taken, counted = usage(cuobjdump, file), telling(nvdisasm, file)
                for one in kernels.of_cubin(cubin, architecture, where=str(path)):
                    seen += 1
                    for told in differences(one, taken, counted):
                        wrong += 1
                        print(f"{path}: {arch.sm(architecture)}: {one.name[:100]}: {told}")
    print(f"{seen} kernels, {wrong} differences")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
