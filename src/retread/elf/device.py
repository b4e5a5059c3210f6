"""The GPU code in any bytes: fat binaries and single cubins, wherever they lie, and what their kernels are offered for.

Sections have usual names, but nothing depends on them: CUDA's runtime reaches fat binaries by pointers, and Windows
libraries, archives and files without section headers hold them, too. Both kinds start in a way of their own. Pure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

from retread import arch as archs
from retread import limits
from retread.arch import Arch
from retread.elf import fatbin, kernels, release
from retread.elf import image as ei
from retread.elf.facts import Kernels, Made, Module
from retread.elf.fatbin import Entry, FatBinary, Kind, Room
from retread.elf.kernels import Looked
from retread.elf.release import Told
from retread.errors import ElfError, FatbinError

SIGNS: Final = (fatbin.START, b"\x7fELF\x02\x01\x01")
"""How fat binaries start, and cubins as all ELF files of their kind."""
_ANY: Final = re.compile(b"|".join(map(re.escape, SIGNS)))
_START: Final = re.compile(
    re.escape(fatbin.START) + rb"|\x7fELF\x02\x01\x01[\x33\x41].{10}\xbe\x00", re.DOTALL
)
START_LENGTH: Final = 20
"""Bytes that tell such a start."""
WINDOW: Final = 1 << 18
"""Bytes that are looked through at a time for starts: few enough for the processor's cache."""
_SEVERAL: Final = 32
"""Windows after which those before are a matter of the past."""
_ELF: Final = 0x7F
_PTX_START: Final = re.compile(rb"(?:\s|//[^\n]*\n|/\*(?:[^*]|\*(?!/))*\*/)*\.version\s+\d+\.\d+")
_PTX_VERSION: Final = re.compile(rb"^[ \t]*\.version[ \t]+(\d{1,2})\.(\d{1,2})", re.MULTILINE)
_PTX_TARGET: Final = re.compile(rb"^[ \t]*\.target[ \t]+sm_(\d{1,4})([af]?)", re.MULTILINE)


B = TypeVar("B")


class Each(Protocol):
    """What does the same to each of many fat binaries."""

    def __call__(self, do: Callable[[FatBinary, Room], B], found: Sequence[FatBinary], /) -> Sequence[B]:
        """Return what comes of them, in their order; what is unpacked meanwhile goes into a room that is there."""


def _each(do: Callable[[FatBinary, Room], B], found: Sequence[FatBinary]) -> Sequence[B]:
    room = Room()
    return [do(one, room) for one in found]


def _find(window: memoryview) -> Sequence[int]:
    return [match.start() for match in _ANY.finditer(window)]


class Means(NamedTuple):
    """How the bytes of a file are gone through: fat binaries perhaps side by side, and what is done behind."""

    each: Each = _each
    behind: Callable[[], object] = bool
    """Called when some of the bytes have been read, and will hardly be again."""
    find: Callable[[memoryview], Sequence[int]] = _find
    """Returns where in at most ``WINDOW`` bytes any of ``SIGNS`` begins, in order."""
    bare: int = 0
    """So many bytes at the start of the file in which no code begins."""


PLAIN: Final = Means()


class Image(NamedTuple):
    """Machine code or PTX: for which architecture, and its kernels; None where they cannot be told."""

    kind: Kind
    arch: Arch
    kernels: frozenset[str] | None
    relocatable: bool
    held: Entry | memoryview
    """Where its bytes lie: in a fat binary, perhaps packed, or alone."""
    made: Told = Told()
    """Which release of CUDA made it."""

    def content(self) -> bytes:
        """Return its bytes, unpacked. Raises FatbinError."""
        return bytes(self.held) if isinstance(self.held, memoryview) else fatbin.image(self.held)


class Code(NamedTuple):
    """One module: a fat binary, or a cubin or PTX alone."""

    images: tuple[Image, ...]
    relocatable: bool
    """Whether it is only there to be linked."""
    untold: bool = False
    """Whether there is something in it whose kernels cannot be told: code for link-time optimisation, for example."""


class Survey(NamedTuple):
    """What all modules of a file are and offer; for ``facts``."""

    modules: tuple[Module, ...]
    relocatable: tuple[Module, ...]
    kernels: tuple[Kernels, ...]
    made: tuple[Made, ...]


def of_section(data: memoryview, *, where: str, means: Means = PLAIN) -> tuple[list[Code], list[str]]:
    """Return the modules of a ``.nv_fatbin`` section, or of a file of fat binaries, and what could not be read.

    Raises FatbinError when its fat binaries are corrupt.
    """
    found = fatbin.parse(data, where=where, behind=means.behind)
    fatbin.demand_sane(found, len(data), where)
    looked = means.each(of_fat_binary, found)
    return [code for code, _ in looked], [fault for _, faults in looked for fault in faults]


def of_library(
    data: memoryview, regions: Iterable[tuple[int, int]], *, where: str, lenient: bool, means: Means = PLAIN
) -> tuple[list[Code], list[str]]:
    """Return the modules of a library, and what could not be read.

    ``regions`` are (start, end) of the sections that hold its fat binaries; these come first, what lies elsewhere
    follows. Raises FatbinError for a section that is corrupt, unless ``lenient``.
    """
    taken: list[tuple[int, int]] = []
    found: list[Code] = []
    unread: list[str] = []
    for start, end in regions:
        try:
            if any(start < high and end > low for low, high in taken):
                raise FatbinError(f"{where}: two sections of fat binaries overlap")
            modules, faults = of_section(data[start:end], where=where, means=means)
        except FatbinError as error:
            if not lenient:
                raise
            unread.append(error.message)
        else:
            found, unread = [*found, *modules], [*unread, *faults]
            taken.append((start, end))
    more, faults = elsewhere(data, taken, where=where, means=means)
    return [*found, *more], list(dict.fromkeys([*unread, *faults]))


def of_fat_binary(one: FatBinary, room: Room | None = None) -> tuple[Code, list[str]]:
    """Return the images of a fat binary, and what is wrong with those that cannot be unpacked or read.

    ``room`` is what they are unpacked into.
    """
    found: list[Image] = []
    unread: list[str] = []
    room, same = room or Room(), dict[frozenset[str] | None, frozenset[str] | None]()
    room.make(one)
    for entry in one.entries:
        if entry.kind is Kind.OTHER:
            continue
        try:
            looked = kernels.of_entry(entry, room)
            looked = looked._replace(kernels=same.setdefault(looked.kernels, looked.kernels))
            found.append(_image(entry.kind, entry.arch, looked, entry))
        except FatbinError as error:
            unread.append(error.message)
            found.append(Image(entry.kind, entry.arch, None, False, entry))
    untold = any(entry.kind is Kind.OTHER for entry in one.entries) and not found
    return Code(tuple(found), any(one.relocatable for one in found), untold), unread


def of_cubin(data: memoryview, *, where: str) -> Code:
    """Return the one image of a cubin. Raises ElfError, FatbinError."""
    _, header = ei.header(data, where)
    looked = kernels.of_cubin(data, where=where)
    built_for = fatbin.cubin_arch(header[7], data[8], where)
    return Code((_image(Kind.ELF, built_for, looked, data),), looked.relocatable)


def _image(kind: Kind, built_for: Arch, looked: Looked, held: Entry | memoryview) -> Image:
    return Image(kind, built_for, looked.kernels, looked.relocatable, held, looked.made)


def of_ptx(text: bytes, *, where: str) -> Code:
    """Return the one image of a PTX text. Raises FatbinError when it is for no GPU."""
    target = _PTX_TARGET.search(text)
    try:
        built_for = archs.parse(archs.from_number(int(target[1]), target[2].decode()) if target else "")
    except ValueError as error:
        raise FatbinError(f"{where}: PTX for no architecture that is known") from error
    made = (
        release.of_ptx((int(version[1]), int(version[2])))
        if (version := _PTX_VERSION.search(text))
        else Told()
    )
    return Code((Image(Kind.PTX, built_for, kernels.of_ptx(text), False, memoryview(text), made),), False)


def is_ptx(head: bytes) -> bool:
    """Say whether a text begins as PTX does, comments apart."""
    return _PTX_START.match(head) is not None


def elsewhere(
    data: memoryview, taken: Iterable[tuple[int, int]], *, where: str, means: Means = PLAIN
) -> tuple[list[Code], list[str]]:
    """Return the fat binaries and cubins that start outside of the ranges (start, end) that are ``taken``.

    The second list names what begins as one and cannot be read.
    """
    found: list[Code] = []
    unread: list[str] = []
    start, broken, packed = means.bare, 0, 0
    for low, high in (*sorted(taken), (len(data), len(data))):
        for at in _starts(data, start, max(start, low), means):
            if at < start:
                continue
            if broken == limits.BROKEN or packed > fatbin.most_unpacked(len(data)):
                why = (
                    f"{limits.BROKEN} broken ones" if broken == limits.BROKEN else f"{packed} bytes unpacked"
                )
                return found, [*unread, f"{where}: what lies behind {at:#x}, after {why}"]
            try:
                code, start = _at(data, at, unread, f"{where}: at {at:#x}", means)
            except (ElfError, FatbinError) as error:
                unread.append(error.message)
                broken += 1
            else:
                found += [code] if code else []
                packed += (
                    sum(one.held.size for one in code.images if isinstance(one.held, Entry)) if code else 0
                )
        start = max(start, high)
    return found, unread


def _starts(data: memoryview, start: int, end: int, means: Means) -> Iterator[int]:
    """Yield where in a range something begins as a fat binary or a cubin does."""
    step = WINDOW - START_LENGTH + 1
    for number, low in enumerate(range(start, end, step), 1):
        for at in means.find(data[low : min(low + WINDOW, end)]):
            if at < step and begins(data, low + at, end):
                yield low + at
        if not number % _SEVERAL or low + step >= end:
            means.behind()


def begins(data: bytes | memoryview, at: int, end: int | None = None) -> bool:
    """Say whether what stands at a place begins as a fat binary or a cubin does, before an ``end``."""
    return _START.match(data, at, len(data) if end is None else end) is not None


def _at(data: memoryview, at: int, unread: list[str], where: str, means: Means) -> tuple[Code | None, int]:
    """Return the code that starts at an offset, and where it ends; a fat binary without entries is a mere template."""
    if data[at] != _ELF:
        one = fatbin.parse_at(data, at, 0, where=where)
        fatbin.demand_sane([one], len(data), where)
        if not one.entries:
            return None, at + one.size
        ((code, faults),) = means.each(of_fat_binary, [one])
        unread += faults
        return code, at + one.size
    end = at + kernels.extent(data[at:], where=where)
    return of_cubin(data[at:end], where=where), end


def survey(found: Iterable[Code], *, names: bool, unlinked: bool = False) -> Survey:
    """Return the modules in the order in which they come, and their kernels, grouped by what they are offered for.

    With ``names``, the groups hold the kernels' names. In a file that is ``unlinked`` itself, an object or an archive,
    relocatable machine code counts as such: whoever links the file links it.
    """
    plain: list[Module] = []
    later: list[Module] = []
    sass, ptx = defaultdict[str, set[Arch]](set), defaultdict[str, set[Arch]](set)
    made: list[tuple[Told, Arch, bool]] = []
    for code in found:
        made += [(one.made, one.arch, one.kind is Kind.PTX) for one in code.images]
        into = later if code.relocatable else plain
        into.append(_module(len(into), code))
        for names_of, (native, text) in _offered(code, unlinked=unlinked).items():
            for name in names_of:
                sass[name] |= native
                ptx[name] |= text
    return Survey(tuple(plain), tuple(later), _groups(sass, ptx, names=names), release.grouped(made))


def _offered(code: Code, *, unlinked: bool) -> dict[frozenset[str], tuple[set[Arch], set[Arch]]]:
    """Return kernels -> the architectures with machine code, and those of PTX, that a module has them for.

    Most images of a module hold the same kernels.
    """
    found = defaultdict[frozenset[str], tuple[set[Arch], set[Arch]]](lambda: (set(), set()))
    for one in code.images:
        native, text = found[one.kernels or frozenset()]
        if one.kind is Kind.PTX:
            text.add(one.arch)
        elif unlinked or not one.relocatable:
            native.add(one.arch)
    return found


def _groups(
    sass: Mapping[str, set[Arch]], ptx: Mapping[str, set[Arch]], *, names: bool
) -> tuple[Kernels, ...]:
    """Return the kernels by what they are offered for, in the order of their names."""
    groups: dict[tuple[frozenset[Arch], frozenset[Arch]], list[str]] = {}
    for name in sorted(sass):
        groups.setdefault((frozenset(sass[name]), frozenset(ptx[name])), []).append(name)
    return tuple(
        Kernels(
            sass=_ordered(native), ptx=_ordered(text), count=len(every), names=tuple(every) if names else ()
        )
        for (native, text), every in groups.items()
    )


def _module(index: int, code: Code) -> Module:
    known = [one.kernels for one in code.images]
    names = frozenset[str]().union(*(one for one in known if one is not None))
    return Module(
        index=index,
        sass=_ordered(one.arch for one in code.images if one.kind is Kind.ELF),
        ptx=_ordered(one.arch for one in code.images if one.kind is Kind.PTX),
        kernels=None if code.untold or None in known else len(names),
    )


def _ordered(found: Iterable[Arch]) -> tuple[Arch, ...]:
    return tuple(sorted(set(found), key=archs.sort_key))
