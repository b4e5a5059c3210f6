"""Any file that may hold GPU code: told by its content, whatever it is called, and read as far as it can be.

Everything that ``cuobjdump`` takes is here, and what only CUDA's driver and Windows take. What cannot be looked into is
told by its content or its name, so that nobody counts it among what was read. A library's format is behind ``Library``:
who grafts, audits and shows them does not ask which it is.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from retread.arch import Arch
from retread.doors import fs
from retread.elf import bodies as kernel_bodies
from retread.elf import device, resources
from retread.elf import image as ei
from retread.elf import library as elf
from retread.elf.device import Code
from retread.elf.facts import CodeFacts, Facts, LibraryFacts
from retread.elf.fatbin import FatBinary
from retread.elf.resources import Kernel
from retread.errors import ElfError, PeError, RetreadError
from retread.pe import image as pe_image
from retread.pe import library as pe
from retread.records import Sha256

HEAD: Final = 4096
"""Bytes of a file by which it is told what it is."""
_ET_REL: Final = 1
_EM_CUDA: Final = 190
_ELF_TOLD: Final = 20
"""Bytes of an ELF header that tell what the file is."""
_ELF_KINDS: Final[Mapping[bytes, str]] = {
    b"\x01\x01": "an ELF file of 32 bits",
    b"\x01\x02": "an ELF file of 32 bits",
    b"\x02\x02": "an ELF file of big-endian order",
}
_AR_FIRST: Final = 8
"""Where the first member of an archive begins."""
_AR_HEAD: Final = 60
"""Bytes of a member's header; its size stands in them as ten digits (``ar.h``)."""
_TAR: Final = (257, b"ustar")
_NAMED: Final = re.compile(r"\.(so|so\.[0-9.]+|pyd|dll|node|exe|cubin|fatbin|ptx|ltoir|o|a|dylib)$")
"""Names that promise code."""


class Format(StrEnum):
    """What is read."""

    LIBRARY = "shared object or program"
    OBJECT = "object"
    CUBIN = "cubin"
    FAT_BINARY = "fat binary"
    PTX = "PTX"
    ARCHIVE = "archive"
    WINDOWS = "Windows library or program"


_ZIP: Final = "a zip archive"
_NEXT: Final = {_ZIP: "a wheel is read under its own name, which ends with .whl"}
"""What a file is that is not read -> what to do; of all others, what is read is named."""
_READ: Final = (
    "what is read: wheels, libraries, programs, objects, archives of them, cubins, fat binaries, PTX"
)
_STARTS: Final[tuple[tuple[bytes, Format | str], ...]] = (
    (b"\x50\xed\x55\xba", Format.FAT_BINARY), (b"!<arch>\n", Format.ARCHIVE),
    (b"!<thin>\n", "an archive that only names its members"),
    (b"PK\x03\x04", _ZIP), (b"\x1f\x8b", "packed by gzip"), (b"BZh", "packed by bzip2"),
    (b"\xfd7zXZ\x00", "packed by xz"), (b"\x28\xb5\x2f\xfd", "packed by zstd"), (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x04\x22\x4d\x18", "packed by lz4"), (b"BC\xc0\xde", "LLVM code"), (b"\xde\xc0\x17\x0b", "LLVM code"),
    (b"\xcf\xfa\xed\xfe", "a Mach-O file"), (b"\xce\xfa\xed\xfe", "a Mach-O file"),
    (b"\xca\xfe\xba\xbe\x00\x00\x00", "a Mach-O file"),
)  # fmt: skip
"""How files begin -> what is read, or what a file is that may hold code and is not looked into."""


def told(head: bytes, name: str) -> Format | str | None:
    """Return what a file is, by its first bytes: a format that is read, why it is not looked into, or None.

    None is for what neither looks like code nor is called as if it were.
    """
    if head.startswith(b"\x7fELF"):
        return _elf(head)
    if pe_image.machine(head):
        return Format.WINDOWS
    if device.is_ptx(head):
        return Format.PTX
    known = next((what for start, what in _STARTS if head.startswith(start)), None)
    at, sign = _TAR
    if head[at:].startswith(sign):
        known = known or "a tar archive"
    return known or (_unlike(head) if _NAMED.search(name) else None)


def is_wheel(path: Path) -> bool:
    """Say whether a file is to be read as a wheel: by its name, or because it is no file that may hold code."""
    if path.name.endswith(".whl"):
        return True
    with fs.naming(path), path.open("rb") as stream:
        return told(stream.read(HEAD), path.name) is None


class Library(Protocol):
    """What the format of libraries gives: ``elf.library``, ``pe.library``."""

    def read(
        self, path: Path, *, where: str = "", names: bool = False, lenient: bool = False, bare: int = 0
    ) -> LibraryFacts:
        """Return what a library holds and needs."""

    def fat_binaries(self, path: Path) -> tuple[FatBinary, ...]:
        """Return the fat binaries that can be replaced."""

    def edit(
        self,
        source: Path,
        destination: Path,
        *,
        fatbins: Mapping[int, bytes] | None = None,
        run_path: Sequence[str] | None = None,
    ) -> None:
        """Write a copy with some fat binaries replaced, by their index, and with another run path."""

    def demand_editable(
        self, path: Path, *, modules: Collection[int] = (), run_path: Sequence[str] | None = None
    ) -> None:
        """Raise what ``edit`` would, were there other fat binaries for these modules: before anybody makes them."""

    @property
    def FATBIN(self) -> str:  # noqa: N802
        """The section of fat binaries."""

    @property
    def Refused(self) -> type[RetreadError]:  # noqa: N802
        """What a library is refused with."""


_LIBRARIES: Final[Mapping[Format, Library]] = {Format.LIBRARY: elf, Format.WINDOWS: pe}


def format_of(path: Path) -> Format | str | None:
    """Return what the file at ``path`` is, as ``told``."""
    with path.open("rb") as stream:
        return told(stream.read(HEAD), path.name)


def library(path: Path) -> Library:
    """Return what reads and edits the library at ``path``, by its first bytes; ELF's when they are unknown."""
    found = told(bytes(elf.mapped(path, where=str(path))[:HEAD]), path.name)
    return pe if found is Format.WINDOWS else elf


def read(path: Path, *, where: str = "", names: bool = False, lenient: bool = False, bare: int = 0) -> Facts:
    """Return what the file at ``path`` holds. Raises as what ``UNREADABLE`` names for one that is not read.

    ``where`` is what messages call it, ``names`` puts kernels' names into the facts; if ``lenient``, corrupt fat
    binaries are named in the facts, and so is what is wrong with the tables of a Windows library. Who saw the file pass
    by says in how many ``bare`` bytes at its start no GPU code begins.
    """
    where = where or str(path)
    data, found = _told(path, where)
    broken: list[str] = []
    try:
        if found in _LIBRARIES:
            return _LIBRARIES[found].read(path, where=where, names=names, lenient=lenient, bare=bare)
    except PeError as error:
        if not lenient:
            raise
        broken = [error.message]
    code, unread = _code(data, found, where, bare)
    unlinked = found in (Format.OBJECT, Format.ARCHIVE)
    surveyed = device.survey(code, names=names, unlinked=unlinked)
    return CodeFacts(
        kind=_kind(found, data),
        modules=surveyed.modules,
        relocatable=surveyed.relocatable,
        kernels=surveyed.kernels,
        unread=(*broken, *unread),
        made=surveyed.made,
    )


def demand_read(path: Path) -> None:
    """Raise ElfError for a file that ``read`` does not look into."""
    _told(path, str(path))


def kernels(path: Path, *, where: str = "") -> tuple[Kernel, ...]:
    """Return what every kernel of the file at ``path`` takes, module by module; all its machine code is read.

    Raises as ``read`` does, and ElfError for a cubin that is corrupt.
    """
    where = where or str(path)
    return tuple(resources.of_modules(_modules(path, where), where=where))


def _modules(path: Path, where: str) -> Iterable[Code]:
    """Return the modules of a file, none of which may be unreadable."""
    data, found = _told(path, where)
    match found:
        case Format.LIBRARY:
            return elf.code(ei.loaded(data, where=where), lenient=False)[0]
        case Format.WINDOWS:
            return pe.code(pe_image.parse(data, where=where), lenient=False)[0]
        case _:
            return _code(data, found, where)[0]


def bodies(path: Path, *, where: str = "") -> dict[tuple[Arch, str], tuple[Sha256, ...]]:
    """Return (architecture, name) -> digests of the machine code of the kernels of that name; raises as ``kernels``."""
    where = where or str(path)
    return kernel_bodies.of_modules(_modules(path, where), where=where)


def _told(path: Path, where: str) -> tuple[memoryview, Format]:
    """Return the bytes of a file, and what it is. Raises ElfError for one that is not read."""
    data = elf.mapped(path, where=where)
    found = told(bytes(data[:HEAD]), path.name)
    if not isinstance(found, Format):
        what = found or "no ELF file, nor another that holds GPU code"
        raise ElfError(f"{where} is {what}; it is not read", hint=_NEXT.get(found or "", _READ))
    return data, found


def _code(data: memoryview, found: Format, where: str, bare: int = 0) -> tuple[list[Code], list[str]]:
    """Return the modules of a file, and what could not be read."""
    match found:
        case Format.CUBIN:
            return [device.of_cubin(data, where=where)], []
        case Format.PTX:
            return [device.of_ptx(bytes(data), where=where)], []
        case Format.FAT_BINARY:
            return device.of_section(data, where=where, means=elf.means(data))
        case Format.ARCHIVE:
            code, unread = device.elsewhere(data, (), where=where, means=elf.means(data, bare))
            return code, [*unread, *_torn(data, where)]
        case _:
            return device.elsewhere(data, (), where=where, means=elf.means(data, bare))


def _torn(data: memoryview, where: str) -> Iterator[str]:
    """Yield where the members of an archive end before its bytes do: a damaged one is not one without code."""
    at = _AR_FIRST
    while at < len(data):
        head = bytes(data[at : at + _AR_HEAD])
        if not head.strip(b"\n\0"):
            return
        size = head[48:58].strip()
        if not (head.endswith(b"`\n") and size.isdigit()):
            yield f"{where}: no member of an archive begins at {at:#x}: it is damaged, or cut short"
            return
        at += _AR_HEAD + int(size)
        if at > len(data):
            yield f"{where}: its last member promises {at - len(data)} bytes more than there are: it is cut short"
        at += at % 2


def _kind(found: Format, data: memoryview) -> str:
    """Return what a file is, with the machine that it is for."""
    if found is Format.OBJECT:
        machine = ei.MACHINES.get(int.from_bytes(data[18:20], "little"), "another machine")
    else:
        machine = pe_image.machine(bytes(data[:HEAD])) if found is Format.WINDOWS else ""
    return f"{found} ({machine})" if machine else str(found)


def _elf(head: bytes) -> Format | str:
    """Return what an ELF file is."""
    kind, machine = (int.from_bytes(head[at : at + 2], "little") for at in (16, 18))
    if len(head) < _ELF_TOLD:
        return "an ELF file that is cut short"
    if head[4:6] != b"\x02\x01":
        return _ELF_KINDS.get(head[4:6], "a damaged ELF file")
    if machine == _EM_CUDA:
        return Format.CUBIN
    if kind == _ET_REL:
        return Format.OBJECT
    return Format.LIBRARY if machine in ei.MACHINES else f"an ELF file for machine {machine}"


def _unlike(head: bytes) -> str:
    """Say what a file is that is called like code and is none."""
    if not head:
        return "empty"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # which may end within a letter
    except UnicodeDecodeError:
        return "of no format that is known"
    if b"\0" in head:
        return "of no format that is known"
    return "a linker script" if re.search(rb"\b(INPUT|GROUP)\s*\(", head) else "a text"
