"""Which release of CUDA made GPU code: what its compiler left there. Pure.

PTX states the version of its language, which nvcc writes as the newest that it knows, and newer ones of ptxas leave
their name in machine code. Source: the release table of NVIDIA's PTX ISA.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from retread.elf import fatbin
from retread.elf.fatbin import FatBinary, Kind
from retread.errors import FatbinError

_TOOLS: Final = re.compile(rb"Cuda compilation tools, release ([0-9]{1,2}\.[0-9]{1,2}),")
_OF_ISA: Final = {
    (7, 0): "11.0", (7, 1): "11.1", (7, 2): "11.2", (7, 3): "11.3", (7, 4): "11.4", (7, 5): "11.5", (7, 6): "11.6",
    (7, 7): "11.7", (7, 8): "11.8", (8, 0): "12.0", (8, 1): "12.1", (8, 2): "12.2", (8, 3): "12.3", (8, 4): "12.4",
    (8, 6): "12.7", (8, 7): "12.8", (8, 8): "12.9", (9, 0): "13.0", (9, 1): "13.1", (9, 2): "13.2",
}  # fmt: skip
"""PTX ISA -> the one release that wrote it; 8.5 is that of 12.5 and of 12.6."""
_TRIED: Final = 4
"""Modules whose machine code is unpacked to look for a name: one compiler makes all modules of a library."""


def release(modules: Iterable[FatBinary]) -> str:
    """Return the release that made most of a file's modules; nothing where none says it."""
    found: Counter[str] = Counter()
    silent: list[FatBinary] = []
    for one in modules:
        told = {_OF_ISA.get(entry.isa, "") for entry in one.entries if entry.kind is Kind.PTX} - {""}
        if told:
            found.update(told)
        else:
            silent.append(one)
    found.update(filter(None, map(_named, silent[:_TRIED])))
    return max(found, key=lambda name: (found[name], name)) if found else ""


def _named(one: FatBinary) -> str:
    """Return the release that names itself in a module's smallest machine code."""
    code = [entry for entry in one.entries if entry.kind is Kind.ELF]
    for entry in sorted(code, key=lambda entry: len(entry.payload))[:1]:
        try:
            match = _TOOLS.search(fatbin.image(entry))
        except FatbinError:
            return ""
        return match[1].decode() if match else ""
    return ""
