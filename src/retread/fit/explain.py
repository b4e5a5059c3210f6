"""Which known fault an error message is: the texts of the catalogue, and those that any GPU code meets. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from retread import pypa
from retread.fit.catalogue import Catalogue, Fault, Made, Official, Release, has
from retread.records import Record

if TYPE_CHECKING:
    from packaging.version import Version

_SPACE: Final = r"(?:\s|\x1b\[[0-9;]*m)+"
"""What may stand between two words of a message in a log: terminals break lines and colour them."""
_GAP: Final = r"[^\n]{0,400}?"
"""What ``...`` in a text stands for."""
_FIXED: Final = re.compile(r"fixed in (\S+)")
OVERLAP: Final = 4096
"""Bytes that a text may take in a log, at most; blocks of a log overlap by as many."""


class General(NamedTuple):
    """An error that belongs to no project."""

    text: str
    subject: str
    who: str
    take: str


GENERAL: Final = (
    General(
        "no kernel image is available for execution on the device",
        "The library has no code for this GPU: neither machine code for it nor PTX that its driver could compile",
        "whoever runs a wheel on a GPU that is newer, or older, than it was made for",
        "'retread fit' says for each library which GPUs it has code for, and which wheel has it for yours",
    ),
    General(
        "the provided PTX was compiled with an unsupported toolchain",
        "The wheel's PTX is newer than the driver: it was made by a CUDA release that the driver does not know",
        "GPUs for which the wheel has no machine code, on a driver older than the wheel's CUDA",
        "a newer driver, or a wheel with native code for the GPU ('retread fit' says which)",
    ),
    General(
        "PTX JIT compilation was disabled",
        "The library has no machine code for this GPU, and CUDA_DISABLE_PTX_JIT forbids compiling its PTX",
        "GPUs for which the wheel has PTX alone",
        "a wheel with native code for the GPU, or unset CUDA_DISABLE_PTX_JIT",
    ),
    General(
        "CUDA driver version is insufficient for CUDA runtime version",
        "The driver is of an older major release of CUDA than the wheel",
        "CUDA 12 on a driver before 525, CUDA 13 on one before 580",
        "a newer driver, or the torch and wheels that are built for the driver's CUDA",
    ),
    General(
        "libcudart.so...cannot open shared object file",
        "The wheel is made for another CUDA than torch, whose runtime nobody brings",
        "a wheel for CUDA 12 beside a torch for CUDA 13, or the other way round",
        "the wheel for your torch's CUDA, or one that brings nvidia-cuda-runtime ('retread fit' says which)",
    ),
    General(
        "undefined symbol: _ZN...c10",
        "The library was compiled against another torch: its C++ interface is another",
        "a wheel that is made for one release of torch, in an environment with another",
        "the wheel that is made for your torch ('retread fit' says which)",
    ),
)  # fmt: skip
"""Errors of any GPU code: what they mean, who has them, what to take."""


class Way(Record, frozen=True, kw_only=True):
    """What has no longer the fault, for one range of torch."""

    torch: str
    upstream: str
    """The newest release on the package index that does not have it; empty when none is."""
    patched: str
    """The version of a patched wheel; empty when there is no recipe."""
    recipe: str
    target: str
    compiles: bool
    """Whether making the patched wheel compiles."""


class Explained(Record, frozen=True, kw_only=True):
    """A known fault that a text belongs to."""

    text: str
    """By which of its texts it was known."""
    fault: str
    """The patch's name; empty for an error that belongs to no project."""
    project: str
    subject: str
    breaks: str
    affects: str
    upstream: str
    take: str
    ways: tuple[Way, ...]


class Explainer:
    """Looks for every known text in a log, block by block."""

    def __init__(self, known: Catalogue) -> None:
        self._known = known
        self._texts = [(seen.text, fault) for fault in known.faults for seen in fault.seen_as]
        self._waiting: list[tuple[re.Pattern[bytes], bytes, str, Fault | General]] = [
            (_pattern(text), _longest(text), text, fault) for text, fault in self._texts
        ] + [(_pattern(one.text), _longest(one.text), one.text, one) for one in GENERAL]
        self._found: list[tuple[str, Fault | General]] = []

    def feed(self, block: bytes) -> None:
        """Look into a block of a log; blocks overlap by ``OVERLAP`` bytes."""
        left = []
        for row in self._waiting:
            pattern, word, text, fault = row
            if word in block and pattern.search(block):
                self._found.append((text, fault))
            else:
                left.append(row)
        self._waiting = left

    def found(self) -> tuple[Explained, ...]:
        """Return what was found: faults of projects first, each once; what they explain is not told again."""
        rows: dict[str, Explained] = {}
        for text, fault in self._found:
            if isinstance(fault, Fault):
                rows.setdefault(f"{fault.project} {fault.name}", _explained(self._known, text, fault))
        for text, fault in self._found:
            if isinstance(fault, General):
                rows.setdefault(fault.text, _general(text, fault))
        return tuple(rows.values())


def explain(known: Catalogue, blocks: Iterable[bytes]) -> tuple[Explained, ...]:
    """Return the known faults whose texts a log holds; its blocks overlap by ``OVERLAP`` bytes."""
    explainer = Explainer(known)
    for block in blocks:
        explainer.feed(block)
    return explainer.found()


def _pattern(text: str) -> re.Pattern[bytes]:
    pieces = (_SPACE.join(map(re.escape, piece.split())) for piece in text.split("..."))
    return re.compile(_GAP.join(pieces).encode())


def _longest(text: str) -> bytes:
    """Return the longest word of a text: a log without it need not be searched for the rest."""
    return max(re.split(r"\s|\.\.\.", text), key=len).encode()


def _explained(known: Catalogue, text: str, fault: Fault) -> Explained:
    return Explained(
        text=text,
        fault=fault.name,
        project=fault.project,
        subject=fault.subject,
        breaks=fault.breaks,
        affects=fault.affects,
        upstream=fault.upstream,
        take=_take(fault),
        ways=tuple(_ways(known, fault)),
    )


def _take(fault: Fault) -> str:
    fixed = _FIXED.match(fault.upstream)
    if fixed:
        return (
            f"upstream mended it in {fault.project} {fixed[1]}; take the release that is made for your torch"
        )
    return "a patched wheel: no release of upstream's has it mended"


def _ways(known: Catalogue, fault: Fault) -> Iterator[Way]:
    """Yield for each range of torch the newest official release without the fault, and the best patched wheel."""
    official: dict[str, str] = {}
    patched: dict[str, tuple[Release, Made]] = {}
    for usage in (one for one in known.usage if one.project == fault.project):
        official.update({one.torch: one.version for one in usage.release if not _met(fault, one)})
    for release in (one for one in known.releases if one.project == fault.project):
        if not has(fault, release.version) or fault.name in release.faults:
            for made in release.made:
                if made.bases or made.torch not in patched or not patched[made.torch][1].bases:
                    patched[made.torch] = release, made
    ways = [_way(torch, official.get(torch, ""), patched.get(torch)) for torch in {*official, *patched}]
    yield from sorted(
        (one for one in ways if not any(_covers(other, one) for other in ways)),
        key=lambda one: _first(one.torch),
    )


def _way(torch: str, upstream: str, patched: tuple[Release, Made] | None) -> Way:
    return Way(
        torch=torch,
        upstream=upstream,
        patched=patched[1].version if patched else "",
        recipe=patched[0].recipe if patched else "",
        target=patched[1].target if patched else "",
        compiles=bool(patched and not patched[1].bases),
    )


def _met(fault: Fault, release: Official) -> bool:
    """Say whether who installs a release meets a fault of it: with the torch and Triton that it is made for."""
    around = {"torch": _first(release.torch), "triton": pypa.version(release.triton or "0")}
    return has(fault, release.version) and any(
        all(
            pypa.specifiers(seen.when.get(key, "")).contains(one)
            for key, one in around.items()
            if one.release[0]
        )
        for seen in fault.seen_as
    )


def _covers(other: Way, one: Way) -> bool:
    """Say whether a way for every later torch makes another one needless: it offers all that this one does."""
    allowed = pypa.specifiers(other.torch)
    return (
        other is not one
        and all(part.operator == ">=" for part in allowed)
        and allowed.contains(_first(one.torch))
        and bool(other.upstream or not one.upstream)
        and bool(other.patched or not one.patched)
        and (one.compiles or not other.compiles)
    )


def _first(torch: str) -> Version:
    """Return the oldest version that a range names, to order ranges by."""
    return min((pypa.version(one.version) for one in pypa.specifiers(torch)), default=pypa.version("0"))


def _general(text: str, one: General) -> Explained:
    return Explained(
        text=text,
        fault="",
        project="",
        subject=one.subject,
        breaks="",
        affects=one.who,
        upstream="",
        take=one.take,
        ways=(),
    )
