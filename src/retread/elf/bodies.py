"""What each kernel's machine code is, to tell whether two builds have the same: bytes, constants, attributes, calls."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from retread.arch import Arch
from retread.elf import image as ei
from retread.elf.device import Code
from retread.elf.fatbin import Entry, Kind
from retread.elf.image import Image, Section
from retread.records import Sha256

_TEXT: Final = ".text."
_OWN: Final = (
    ".nv.info.",
    ".nv.constant0.",
    ".nv.constant2.",
    ".nv.constant3.",
    ".nv.constant4.",
    ".nv.shared.",
)
"""Sections of a kernel's own, beside its code: what its parameters are, its constants, its shared memory."""
MADE_UP: Final = re.compile(
    rb"(?<![0-9])\d*+_(?:INTERNAL|GLOBAL__N_)_[0-9a-f]{8}_(\d+_\w+?)_[0-9a-f]{8}(?:_\d+)?"
)
"""What nvcc calls things that are local to a source file: by hashes of its path, and by the number of the process."""
_RELOCATIONS: Final = {".rel": struct.Struct("<QQ"), ".rela": struct.Struct("<QQq")}


def plain(data: bytes) -> bytes:
    """Return a text with made-up names cut down to the file that they are local to."""
    return MADE_UP.sub(rb"_\1_", data)


def of_modules(found: Iterable[Code], *, where: str) -> dict[tuple[Arch, str], tuple[Sha256, ...]]:
    """Return (architecture, name) -> digests of the kernels of that name, sorted; raises as the reader of cubins."""
    bodies: dict[tuple[Arch, str], list[Sha256]] = {}
    for one in (code for code in found if not code.relocatable):
        for image in (image for image in one.images if image.kind is Kind.ELF):
            told = image.held.where if isinstance(image.held, Entry) else where
            for name, digest in of_cubin(image.content(), where=told):
                bodies.setdefault((image.arch, name), []).append(digest)
    return {key: tuple(sorted(digests)) for key, digests in bodies.items()}


def of_cubin(cubin: bytes, *, where: str) -> Iterator[tuple[str, Sha256]]:
    """Yield (name, digest) of each function of a cubin: of its bytes, and of what it refers to by name.

    Names are ``plain``: what nvcc makes up differs from build to build.
    """
    image = ei.tables(cubin, where=where)
    by_name = {section.name: section for section in image.sections}
    for section in image.sections:
        if section.name.startswith(_TEXT):
            name = section.name.removeprefix(_TEXT)
            parts = [by_name[one + name] for one in (_TEXT, *_OWN) if one + name in by_name]
            digest = hashlib.sha256()
            for part in parts:
                digest.update(plain(part.name.encode()))
                digest.update(f" {part.type} {part.size}\n".encode() + bytes(ei.contents(image, part)))
                for line in _calls(image, by_name, part):
                    digest.update(plain(line.encode()))
            yield plain(name.encode()).decode(), Sha256(digest.hexdigest())


def _calls(image: Image, by_name: dict[str, Section], part: Section) -> Iterator[str]:
    """Yield what a section refers to: where, how and which symbol by name, since numbers differ from file to file."""
    for before, layout in _RELOCATIONS.items():
        section = by_name.get(before + part.name)
        if section is None or section.link >= len(image.sections):
            continue
        symbols = [one.name for one in ei.symbols(image, image.sections[section.link])]
        for offset, info, *addend in ei.records(image, section, layout):
            symbol = symbols[info >> 32] if info >> 32 < len(symbols) else str(info >> 32)
            yield f"{before} {offset} {info & 0xFFFFFFFF} {symbol} {addend}\n"
