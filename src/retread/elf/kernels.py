"""What every kernel of a cubin takes and does: registers, memory, and the instructions that tell how it uses the GPU.

NVIDIA does not document the format. Sections and attributes below were measured on the output of ptxas 11.8 to 13.0
and on public wheels, against cuobjdump's ``--dump-resource-usage``; opcodes against nvdisasm (scripts/bench/opcodes.py
does it again). Pure.

    .text.<kernel>  code; up to ABI 7 the top byte of sh_info is the number of registers
    .nv.shared.<kernel>  static shared memory, a size alone
    .nv.info        u8 format, u8 attribute, u16 value; in format 4 the value is the size of what follows: u32s
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from retread import arch as archs
from retread.arch import Arch
from retread.elf import fatbin
from retread.elf import image as ei
from retread.elf.fatbin import FatBinary
from retread.elf.image import Image, Section, Symbol
from retread.errors import ElfError
from retread.records import Record

OPCODES: Final[Mapping[int, str]] = {
    0x03C: "HMMA", 0x037: "IMMA", 0x03F: "DMMA", 0x03D: "BMMA", 0x07A: "QMMA", 0x07F: "OMMA",
    0x1F0: "HGMMA", 0x1F1: "IGMMA", 0x1F2: "BGMMA", 0x1F3: "QGMMA",
    0x1EA: "UTCMMA",
    0x1B4: "UTMALDG", 0x1B5: "UTMASTG", 0x1B6: "UTMAREDG",
    0x1BA: "UBLKCP",
    0x03B: "LDSM", 0x044: "STSM", 0x1AE: "LDGSTS", 0x1EE: "LDTM", 0x1ED: "STTM",
    0x183: "LDL", 0x187: "STL",
}  # fmt: skip
"""The low 9 bits of an instruction -> its name, of those that are counted.

Matrix units; those that take their operands from shared memory (sm_90a) and from tensor memory (sm_100a: UTCMMA is
UTCHMMA, UTCQMMA, UTCIMMA and UTCOMMA); TMA by a descriptor; bulk copies; shared and tensor memory; local memory. The
three bits above are the form of the operands.
"""
ASYNCHRONOUS: Final = frozenset(
    ("HGMMA", "IGMMA", "BGMMA", "QGMMA", "UTCMMA", "UTMALDG", "UTMASTG", "UTMAREDG")
)
"""What works on while the thread goes on: GMMA, tcgen05, and TMA by a descriptor."""
DECODED_SINCE: Final = 70
"""Architectures before sm_70 have instructions of 64 bits in another encoding; none of the above but LDL and STL."""

_TEXT: Final = ".text."
_SHARED: Final = ".nv.shared."
_INFO: Final = ".nv.info"
_ENTRY: Final = 0x10
"""Of a symbol's ``st_other``: a function that the host may start."""
_ATTRIBUTE: Final = struct.Struct("<BBH")
_PAIR: Final = struct.Struct("<II")
_SIZED: Final = 4
_REGISTERS: Final = 0x2F
"""EIATTR_REGCOUNT; older releases have it in the code's section header alone."""
_STACKS: Final = (0x11, 0x12, 0x23)
"""EIATTR_FRAME_SIZE, EIATTR_MIN_STACK_SIZE and EIATTR_MAX_STACK_SIZE: of the function alone, and of all it calls."""
_FUNCTION: Final = 2
_INSTRUCTION: Final = 16


class Kernel(Record, frozen=True, kw_only=True):
    """One kernel in the machine code for one architecture, or a function that kernels call."""

    name: str
    """As the symbol table has it, mangled."""
    architecture: Arch
    module: int
    """Index of the fat binary in its library."""
    called: bool
    """Whether it is a function that kernels call, and no kernel."""
    registers: int
    """Of a thread."""
    stack: int
    """Bytes of local memory that a thread takes, with those of the functions that it calls."""
    shared: int
    """Bytes of static shared memory of a block."""
    instructions: int | None
    """None where they are not decoded: before sm_70."""
    telling: dict[str, int]
    """Instruction -> how many, of those that are counted and there."""

    @property
    def asynchronous(self) -> tuple[str, ...]:
        """The instructions of GMMA, tcgen05 and TMA that it has."""
        return tuple(name for name in self.telling if name in ASYNCHRONOUS)

    @property
    def spills(self) -> bool:
        """Whether it has local memory though it has such instructions."""
        return self.stack > 0 and bool(self.asynchronous)


def of_library(fatbins: tuple[FatBinary, ...]) -> Iterator[Kernel]:
    """Yield the kernels of a library's modules in file order. Raises ElfError, FatbinError."""
    for one in fatbins:
        for entry in one.entries:
            if entry.kind is fatbin.Kind.ELF:
                yield from of_cubin(fatbin.image(entry), entry.arch, module=one.index, where=entry.where)


def of_cubin(cubin: bytes, architecture: Arch, *, module: int = 0, where: str) -> Iterator[Kernel]:
    """Yield the kernels of a cubin by name, and the functions that they call. Raises ElfError when it is corrupt."""
    image = ei.tables(cubin, where=where)
    functions = _functions(image)
    said = _said(image)
    shared = {one.name: one.size for one in image.sections if one.name.startswith(_SHARED)}
    decoded = archs.number(architecture) >= DECODED_SINCE
    for index, (symbol, text) in sorted(functions.items(), key=lambda one: one[1][0].name):
        counts = _counts(image, text) if decoded else Counter()
        yield Kernel(
            name=symbol.name,
            architecture=architecture,
            module=module,
            called=not symbol.other & _ENTRY,
            registers=said.get((index, _REGISTERS), text.info >> 24),
            stack=max(said.get((index, one), 0) for one in _STACKS),
            shared=shared.get(f"{_SHARED}{symbol.name}", 0),
            instructions=counts.total() if decoded else None,
            telling={name: counts[opcode] for opcode, name in OPCODES.items() if counts[opcode]},
        )


def _functions(image: Image) -> dict[int, tuple[Symbol, Section]]:
    """Return index of the symbol -> (symbol, section) of every function that has a section of its own."""
    found = {}
    for table in (one for one in image.sections if one.type == ei.SHT_SYMTAB):
        for index, symbol in enumerate(ei.symbols(image, table)):
            if symbol.type != _FUNCTION or not 0 < symbol.section < len(image.sections):
                continue
            section = image.sections[symbol.section]
            if section.name == f"{_TEXT}{symbol.name}":
                found[index] = symbol, section
    return found


def _said(image: Image) -> dict[tuple[int, int], int]:
    """Return (index of the symbol, attribute) -> number, of the attributes that have one."""
    section = ei.named(image, _INFO)
    found: dict[tuple[int, int], int] = {}
    data, at = bytes(ei.contents(image, section)) if section else b"", 0
    try:
        while at < len(data):
            form, attribute, size = _ATTRIBUTE.unpack_from(data, at)
            at += _ATTRIBUTE.size
            if form == _SIZED and size == _PAIR.size:
                index, number = _PAIR.unpack_from(data, at)
                found[index, attribute] = number
            at += size if form == _SIZED else 0
    except struct.error as error:
        raise ElfError(f"{image.where}: {_INFO} is corrupt: {error}") from error
    return found


def _counts(image: Image, text: Section) -> Counter[int]:
    """Return opcode -> how many of a function's instructions have it: 16 bytes each, the opcode in the lowest bits."""
    code = bytes(ei.contents(image, text))
    if len(code) % _INSTRUCTION:
        raise ElfError(f"{image.where}: {text.name} has {len(code)} bytes, no whole number of instructions")
    pairs = Counter(zip(code[::_INSTRUCTION], code[1::_INSTRUCTION], strict=True))
    counts: Counter[int] = Counter()
    for (low, high), number in pairs.items():
        counts[low | (high & 1) << 8] += number
    return counts
