"""What differs between two builds of one library, part by part, and whether it can change what the library does.

Build ids, comments, debug information and the names of local symbols differ between builds of the same code. What is
known to describe only (``_DESCRIBES``) may differ, and so may the names that nvcc makes up (``bodies.MADE_UP``), one
for one; whatever else is loaded, and every part of a cubin that is not known, counts as code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from retread import arch
from retread.elf import bodies, edit, fatbin, image, library
from retread.elf.fatbin import Entry, FatBinary
from retread.elf.image import Image, Section, Symbol
from retread.errors import ElfError

_T = TypeVar("_T")
_LISTED: Final = 20
_BLOCK: Final = 4096
"""Elements that are compared at once before one is looked for. Measured on 20 MB that differ at their end: 0.006 s,
with 64 Ki 0.014 s, with 256 0.013 s."""
_FATBIN: Final = ".nv_fatbin"
_DESCRIBES: Final = (
    ".comment", ".debug", ".zdebug", ".gnu_debug", ".gdb_index", ".symtab", ".strtab", ".shstrtab", ".nv_debug",
    ".rel.debug", ".rela.debug", ".rel.nv_debug", ".rela.nv_debug",
    ".nv.merc.debug", ".nv.merc.nv_debug", ".nv.merc.rel.debug", ".nv.merc.rela.debug",
)  # fmt: skip
"""How sections begin that no loader, driver or processor looks at, as long as they are not loaded."""
_OBEYED_NOTES: Final = (".note.gnu.property", ".note.ABI-tag")
"""Notes by which the loader acts; all others describe, loaded or not."""
_PLACES: Final = (5, 6, 10, 12, 13)
"""Fields of the ELF header that say where tables stand: e_phoff, e_shoff, e_phnum, e_shnum, e_shstrndx."""
_PT_LOAD_OR_NOTE: Final = (image.PT_LOAD, image.PT_NOTE)
_KINDS: Final = {fatbin.Kind.ELF: "machine code", fatbin.Kind.PTX: "PTX", fatbin.Kind.OTHER: "other code"}
_SOURCE_LINES: Final = (b".file", b".loc")


class Names:
    """Which made-up name of the first library stands for which of the second; pairs are learned as they are met."""

    def __init__(self) -> None:
        self._there: dict[bytes, bytes] = {}
        self._back: dict[bytes, bytes] = {}

    def same(self, one: bytes, two: bytes) -> bool:
        """Say whether two texts are the same but for made-up names that always stand for each other."""
        if bodies.plain(one) != bodies.plain(two):
            return False
        pairs = zip(bodies.MADE_UP.finditer(one), bodies.MADE_UP.finditer(two), strict=True)
        return all(
            self._there.setdefault(a[0], b[0]) == b[0] and self._back.setdefault(b[0], a[0]) == a[0]
            for a, b in pairs
        )


class Part(StrEnum):
    """Which kind of part differs."""

    SECTION = "section"
    SYMBOL = "symbol"
    CUBIN = "cubin"


class Finding(NamedTuple):
    """One difference; ``runs`` says whether it can change what the library does."""

    part: Part
    detail: str
    runs: bool


class _Section(NamedTuple):
    """A section: what its header says, without its place in the file, and its bytes."""

    name: str
    type: int
    flags: int
    address: int
    size: int
    rest: tuple[int, ...]
    data: memoryview

    @property
    def describes(self) -> bool:
        """Whether it is known that nothing acts by it."""
        if self.type == image.SHT_NOTE and self.name.startswith(".note."):
            return self.name not in _OBEYED_NOTES
        return not self.flags & image.SHF_ALLOC and self.name.startswith(_DESCRIBES)

    @property
    def executable(self) -> bool:
        """Whether it holds code."""
        return bool(self.flags & image.SHF_EXECINSTR)


class _Elf:
    """An ELF file, of a library or of a cubin, by the names of its sections."""

    def __init__(self, read: Image) -> None:
        self.image = read
        self.sections: dict[str, _Section] = {}
        """By name without what is made up; the second of a name is ``name (2)``. In the order of the file."""
        self.names: list[str] = []
        """Keys of ``sections`` by index."""
        seen: Counter[str] = Counter()
        for section in read.sections:
            plain = bodies.plain(section.name.encode()).decode()
            seen[plain] += 1
            key = plain + (f" ({seen[plain]})" if seen[plain] > 1 else "")
            self.names.append(key)
            self.sections[key] = self._section(section)

    def _section(self, one: Section) -> _Section:
        rest = (one.link, one.info, one.align, one.entsize)
        data = image.contents(self.image, one)
        return _Section(one.name, one.type, one.flags, one.addr, one.size, rest, data)

    def head(self, *, loaded: bool) -> tuple[object, ...]:
        """Return what the header and the program headers say, but for places in the file.

        With ``loaded``, sizes of segments that are loaded are left out: a library's bytes are compared themselves,
        and it may end in fat binaries that are packed differently.
        """
        skipped = _PT_LOAD_OR_NOTE if loaded else ()
        header = tuple(value for index, value in enumerate(self.image.header) if index not in _PLACES)
        segments = tuple(
            (
                *(one.type, one.flags, one.vaddr, one.align),
                *((0, 0) if one.type in skipped else (one.filesz, one.memsz)),
            )
            for one in self.image.segments
        )
        return header, segments

    def symbols(self) -> list[Symbol]:
        """Return the symbols, those of the loader when the others were stripped."""
        for wanted in (image.SHT_SYMTAB, image.SHT_DYNSYM):
            table = next((one for one in self.image.sections if one.type == wanted), None)
            if table is not None:
                return list(image.symbols(self.image, table))
        return []

    def between(self) -> list[tuple[int, bytes]]:
        """Return (address, bytes) of everything but zeros that is loaded and stands in no section or table."""
        read = self.image
        taken = [
            (0, image.EHDR.size),
            (read.phoff, image.PHDR.size * len(read.segments)),
            (read.shoff, image.SHDR.size * len(read.sections)),
        ]
        taken += [
            (one.offset, one.size)
            for key, one in zip(self.names, read.sections, strict=True)
            if self.sections[key].data and (one.allocated or not self.sections[key].describes)
        ]
        found = []
        for segment in read.loads:
            start, end = segment.offset, segment.offset + segment.filesz
            for a, b in _gaps(start, end, taken):
                data = bytes(read.data[a:b]).rstrip(b"\0")
                left = data.lstrip(b"\0")
                if left:
                    found.append((segment.vaddr + a - start + len(data) - len(left), left))
        return found


def compare(first: Path, second: Path) -> list[Finding]:
    """Return how two shared objects that are not the same differ, what runs and what does not.

    Raises ElfError or FatbinError for what cannot be read as a shared object with fat binaries.
    """
    left, right = library.load(first), library.load(second)
    held, others = edit.fat_binaries(left), edit.fat_binaries(right)
    one, two, names = _Elf(left), _Elf(right), Names()
    found = [*_sections(one, two, names), *_symbols(one, two, names)]
    found += [Finding(Part.CUBIN, detail, runs) for detail, runs in modules(held, others, names)]
    # Everything that is loaded was compared; what is left is where things stand in the file.
    return found or [Finding(Part.SECTION, "places in the file", False)]


def listed(names: Iterable[str]) -> str:
    """Return names as a list of at most 20."""
    every = list(names)
    more = len(every) - _LISTED
    return ", ".join(every[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def sizes(one: int, two: int) -> str:
    """Return two sizes in bytes, once if they are the same."""
    return f"{one} bytes" if one == two else f"{one} and {two} bytes"


def union(one: Iterable[_T], two: Iterable[_T]) -> list[_T]:
    """Return what is in either, in the order of the first."""
    return list(dict.fromkeys([*one, *two]))


def first_difference(one: Sequence[object], two: Sequence[object]) -> int:
    """Return the index of the first element that differs, -1 when none does."""
    blocks = range(0, max(len(one), len(two)), _BLOCK)
    for start in blocks:
        a, b = one[start : start + _BLOCK], two[start : start + _BLOCK]
        if a != b:
            return start + next(at for at, (x, y) in enumerate(zip_longest(a, b)) if x != y)
    return -1


def _gaps(start: int, end: int, taken: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a file between ``start`` and ``end`` that no (offset, size) of ``taken`` covers."""
    for offset, size in sorted(taken):
        if start < min(offset, end):
            yield start, min(offset, end)
        start = max(start, offset + size)
    if start < end:
        yield start, end


def _sections(one: _Elf, two: _Elf, names: Names) -> Iterator[Finding]:
    """Yield every section of a library that differs; of fat binaries only where they are loaded."""
    for detail, runs in _unequal(one, two, names, without=_FATBIN):
        yield Finding(Part.SECTION, detail, runs)
    if one.head(loaded=True) != two.head(loaded=True):
        yield Finding(Part.SECTION, "ELF header or program headers", True)
    if one.between() != two.between():
        yield Finding(Part.SECTION, "loaded bytes between the sections", True)


def _unequal(one: _Elf, two: _Elf, names: Names, without: str = "") -> Iterator[tuple[str, bool]]:
    """Yield sections that differ, and whether they run; contents of the one called ``without`` do not matter."""
    for name in union(one.sections, two.sections):
        a, b = one.sections.get(name), two.sections.get(name)
        if a is None or b is None:
            only = a or b
            yield f"{name} only in {'first' if a else 'second'}", bool(only and not only.describes)
            continue
        if name == without:
            a, b = (each._replace(size=0, data=memoryview(b"")) for each in (a, b))
        same = a[1:] == b[1:]  # its name, if it is another, is one of the symbols'
        if a.describes and b.describes:
            if not same:
                yield f"{name} ({_how(a, b)})", False
        elif _renamed(a, b, names):
            if not same:
                yield f"{name} (names that nvcc made up)", False
        elif not same or not a.executable:
            yield f"{name} ({_how(a, b)})", True


def _renamed(a: _Section, b: _Section, names: Names) -> bool:
    """Say whether the contents of two sections that hold no code differ in made-up names alone."""
    same_header = a._replace(name="", data=b.data) == b._replace(name="")
    return same_header and not a.executable and names.same(bytes(a.data), bytes(b.data))


def _how(a: _Section, b: _Section) -> str:
    """Say how two sections of one name differ."""
    if a.size != b.size or a.data != b.data:
        return sizes(a.size, b.size)
    return f"moved from {a.address:#x} to {b.address:#x}" if a.address != b.address else "its header"


def _symbols(one: _Elf, two: _Elf, names: Names) -> Iterator[Finding]:
    """Yield, for every section that runs and differs, the functions and objects whose bytes differ."""
    changed = {
        name
        for name in one.sections.keys() & two.sections.keys() - {_FATBIN}
        if one.sections[name].data != two.sections[name].data
        and not one.sections[name].describes
        and not _renamed(one.sections[name], two.sections[name], names)
    }
    if not changed:
        return
    left, right = _bodies(one, changed), _bodies(two, changed)
    for name in [each for each in one.sections if each in changed]:
        a, b = left.get(name, {}), right.get(name, {})
        changes = [
            symbol
            + ("" if symbol in a and symbol in b else f" (only in {'first' if symbol in a else 'second'})")
            for symbol in union(a, b)
            if a.get(symbol) != b.get(symbol)
        ]
        if changes:
            yield Finding(Part.SYMBOL, f"{name}: {listed(changes)}", True)


def _bodies(one: _Elf, wanted: set[str]) -> dict[str, dict[str, bytes]]:
    """Return the bytes of functions and objects by section and name; local ones of one name are numbered."""
    found: dict[str, dict[str, bytes]] = {}
    seen: Counter[str] = Counter()
    for symbol in one.symbols():
        if not symbol.size or symbol.type in (image.STT_SECTION, image.STT_FILE):
            continue
        section = one.names[symbol.section] if 0 < symbol.section < len(one.names) else ""
        if section in wanted:
            seen[symbol.name] += 1
            label = symbol.name + (f" ({seen[symbol.name]})" if seen[symbol.name] > 1 else "")
            start = symbol.value - one.sections[section].address
            found.setdefault(section, {})[label] = bytes(
                one.sections[section].data[start : start + symbol.size]
            )
    return found


def modules(one: Sequence[FatBinary], two: Sequence[FatBinary], names: Names) -> Iterator[tuple[str, bool]]:
    """Yield how the fat binaries of two libraries differ."""
    if len(one) != len(two):
        yield f"{len(one)} and {len(two)} modules", True
    for a, b in zip(one, two, strict=False):
        if a.data == b.data:
            continue
        found = list(_images(a, b, names))
        yield from found or [(f"module {a.index}: order or packing", False)]


def _images(one: FatBinary, two: FatBinary, names: Names) -> Iterator[tuple[str, bool]]:
    """Yield how the images of one module differ."""
    left, right = _by_arch(one), _by_arch(two)
    for key in union(left, right):
        a, b = left.get(key), right.get(key)
        label = f"module {one.index}, {_KINDS[key[0]]} for {arch.sm(key[1])}"
        if a is None or b is None:
            yield f"{label} only in {'first' if a else 'second'}", True
        elif (a.header, a.payload) != (b.header, b.payload):
            yield from ((f"{label}: {detail}", runs) for detail, runs in _image(a, b, names))


def _by_arch(one: FatBinary) -> dict[tuple[fatbin.Kind, arch.Arch, int], Entry]:
    """Return the images by kind, architecture and how many of these there were before."""
    seen: Counter[tuple[fatbin.Kind, arch.Arch]] = Counter()
    found = {}
    for entry in one.entries:
        found[entry.kind, entry.arch, seen[entry.kind, entry.arch]] = entry
        seen[entry.kind, entry.arch] += 1
    return found


def _image(one: Entry, two: Entry, names: Names) -> Iterator[tuple[str, bool]]:
    """Yield how two images for one architecture differ, other than in how they are compressed."""
    if (one.isa, one.options) != (two.isa, two.options):
        yield "version or options of its assembler", True
    a, b = fatbin.image(one), fatbin.image(two)
    if a == b:
        return
    if one.kind is fatbin.Kind.PTX:
        yield from _ptx(a, b, names)
    elif one.kind is fatbin.Kind.ELF:
        yield from _cubin(a, b, names)
    else:
        yield sizes(len(a), len(b)), True


def _ptx(one: bytes, two: bytes, names: Names) -> Iterator[tuple[str, bool]]:
    """Yield where two PTX texts differ, and whether it is more than comments and lines of the source."""
    left, right = _ptx_lines(one), _ptx_lines(two)
    end = len(one.rstrip(b"\0").splitlines()) + 1
    renamed = False
    for (number, a), (_, b) in zip_longest(left, right, fillvalue=(end, b"")):
        if not names.same(a, b):  # lines that are equal have names to learn, too
            yield f"from line {number} on", True
            return
        renamed = renamed or a != b
    yield "names that nvcc made up" if renamed else "comments or lines of the source", False


def _ptx_lines(data: bytes) -> list[tuple[int, bytes]]:
    """Return (number, text) of the lines of a PTX text that are code."""
    lines = enumerate((line.strip() for line in data.rstrip(b"\0").splitlines()), start=1)
    return [
        (number, line)
        for number, line in lines
        if line and not line.startswith(b"//") and line.split(None, 1)[0] not in _SOURCE_LINES
    ]


def _cubin(one: bytes, two: bytes, names: Names) -> Iterator[tuple[str, bool]]:
    """Yield which sections of two cubins differ: first those that run, then those that describe."""
    try:
        left, right = (_Elf(image.tables(data, where="cubin")) for data in (one, two))
        found = list(_unequal(left, right, names))
        if left.head(loaded=False) != right.head(loaded=False):
            found.append(("ELF header or program headers", True))
        if not _same_symbols(left, right, names):
            found.append(("symbols", True))
    except ElfError:
        yield sizes(len(one), len(two)), True
        return
    found = found or [("places in the file", False)]
    for runs in (True, False):
        details = [detail for detail, does in found if does is runs]
        if details:
            yield listed(details), runs


def _same_symbols(one: _Elf, two: _Elf, names: Names) -> bool:
    """Say whether all that the driver can ask of two cubins' symbols is the same: all but the names of local ones."""
    left, right = one.symbols(), two.symbols()
    pairs = [
        (section.name, two.sections[key].name) for key, section in one.sections.items() if key in two.sections
    ]
    for a, b in zip(left, right, strict=False):
        if a[1:] != b[1:]:
            return False
        if a.binding != image.STB_LOCAL or bodies.plain(a.name.encode()) == bodies.plain(b.name.encode()):
            pairs.append((a.name, b.name))
    return len(left) == len(right) and all(names.same(a.encode(), b.encode()) for a, b in pairs)
