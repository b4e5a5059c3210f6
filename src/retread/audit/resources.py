"""What kernels take of a GPU, beside those of another wheel, and the rule of those that must not spill. Pure.

A kernel whose matrix units or TMA work on while its threads go on is made for registers and shared memory alone. With
local memory it is slow at best; a TMA descriptor that a compiler copied there cannot be read by the hardware at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from retread import arch, limits
from retread.arch import Arch
from retread.audit.report import Check
from retread.elf.resources import Kernel
from retread.errors import AuditError, first
from retread.records import Record, Sha256

CHECK: Final = "spills"
HINT: Final = (
    "have ptxas say more (--ptxas-options=-v). Often a parameter that is passed by value is copied (make it "
    "'__grid_constant__ const'), a local array is indexed by a loop that is not unrolled, or a register limit "
    "(__launch_bounds__, -maxrregcount) is too low"
)
_LOCAL: Final = re.compile(r"(\d{1,9})(_GLOBAL__N_)")
"""A namespace without a name; nvcc's has a digest of the file behind these words, clang's has not."""
_STATIC: Final = re.compile(r"(?<=[\w])L(?=\d+[A-Za-z_])")
"""What clang writes before the name of a function that is static, and nvcc does not."""
_KIND: Final = "kernel with GMMA, tcgen05 or TMA"
_KINDS: Final = "kernels with GMMA, tcgen05 or TMA"
_SHOWN: Final = 200
"""Letters of a mangled name in a message: template arguments of some take thousands."""
_PART: Final = re.compile(r"L?(\d{1,9})")


class Row(Record, frozen=True, kw_only=True):
    """One kernel of a wheel's library, and the same one of the other wheel."""

    library: str
    kernel: Kernel
    beside: Kernel | None
    """The kernel of the same name and architecture in the other wheel; None without one."""


class Total(Record, frozen=True, kw_only=True):
    """The kernels of a library for one architecture, counted."""

    library: str
    architecture: Arch
    kernels: int
    registers: int
    """The sum over all kernels."""
    local: int
    """How many take local memory."""
    stack: int
    """The most bytes that one takes."""
    asynchronous: int
    """How many have instructions of GMMA, tcgen05 or TMA."""
    spilling: int
    """How many of those take local memory."""
    matched: int
    """How many the other wheel has, too. What follows is of those, here and there."""
    registers_here: int
    registers_beside: int
    stack_here: int
    """The sum over all matched kernels."""
    stack_beside: int


class ResourceReport(Record, frozen=True, kw_only=True):
    """What every kernel of a wheel takes: evidence beside it."""

    schema: int
    wheel: str
    sha256: Sha256
    beside: str
    """The file whose kernels stand beside; empty without one."""
    beside_sha256: str
    ok: bool
    """Whether no kernel spills that must not."""
    totals: tuple[Total, ...]
    kernels: tuple[Row, ...]


def report(
    wheel: str,
    sha256: Sha256,
    kernels: Mapping[str, Sequence[Kernel]],
    *,
    beside: str = "",
    beside_sha256: str = "",
    others: Mapping[str, Sequence[Kernel]] | None = None,
) -> ResourceReport:
    """Return the report of a wheel's kernels, by library; ``others`` are those of the file ``beside``."""
    rows = tuple(_rows(kernels, others or {}))
    return ResourceReport(
        schema=1,
        wheel=wheel,
        sha256=sha256,
        beside=beside,
        beside_sha256=beside_sha256,
        ok=not any(map(is_fault, rows)),
        totals=tuple(_totals(rows)),
        kernels=rows,
    )


def is_fault(row: Row) -> bool:
    """Say whether a kernel spills that must not: where the other wheel's spills as much, no compiler is to blame."""
    return row.kernel.spills and (row.beside is None or row.kernel.stack > row.beside.stack)


def demand(found: ResourceReport) -> None:
    """Raise AuditError with every kernel that spills and must not, if there is one."""
    faults = [told(row) for row in sorted(found.kernels, key=lambda row: -row.kernel.stack) if is_fault(row)]
    if faults:
        raise AuditError(
            f"{found.wheel}: {_many(len(faults))} and local memory",
            faults=first(faults),
            hint=HINT,
        )


def told(row: Row) -> str:
    """Return what is wrong with a kernel that spills."""
    kernel, others = row.kernel, f", {row.beside.stack} in the other wheel" if row.beside else ""
    name = "".join(one if one.isprintable() else "?" for one in kernel.name[:_SHOWN])
    return (
        f"{row.library}: {arch.sm(kernel.architecture)}: {kernel.stack} bytes of stack{others},"
        f" with {' '.join(kernel.asynchronous)}: {short(name)} ({name})"
    )


def checks(kernels: Mapping[str, Sequence[Kernel]]) -> Iterator[Check]:
    """Yield for every library with GPU code whether a kernel spills that must not."""
    for library, found in kernels.items():
        rows = [Row(library=library, kernel=one, beside=None) for one in found if one.asynchronous]
        faults = [told(one).removeprefix(f"{library}: ") for one in rows if is_fault(one)]
        detail = f"{_many(len(rows))}: no local memory" if rows else f"there is no {_KIND}"
        if faults:
            detail = f"{len(faults)} of {len(rows)} {_KINDS} take local memory: " + "; ".join(faults[:3])
        if found:
            yield Check(check=CHECK, subject=library, ok=not faults, detail=detail)


def _many(kernels: int) -> str:
    return f"1 {_KIND}" if kernels == 1 else f"{kernels} {_KINDS}"


# Which kernels are the same.


def same_name(name: str) -> str:
    """Return a mangled name as every compiler would have it: without digests of files, and without what tells static.

    >>> same_name("_ZN46_GLOBAL__N__6545d977_9_matmul_cu_17a31ef3_27041fIfEEvv")
    '_ZN12_GLOBAL__N_11fIfEEvv'
    """
    parts, at = [], 0
    for found in _LOCAL.finditer(name):
        if found.start() >= at:
            parts += [name[at : found.start()], "12_GLOBAL__N_1"]
            at = found.start(2) + int(found[1])
    return _STATIC.sub("", "".join([*parts, name[at:]]))


def short(name: str) -> str:
    """Return the name of a kernel without its template arguments and parameters: ``cutlass::device_kernel``.

    >>> short("_ZN7cutlass13device_kernelINS_4gemm4GemmEEEvNT_6ParamsE")
    'cutlass::device_kernel'
    """
    rest = re.sub(r"^_Z(?:N[rVK]*)?", "", same_name(name[: limits.DEMANGLED]))
    parts = []
    while found := _PART.match(rest):
        end = found.end() + int(found[1])
        parts.append(rest[found.end() : end])
        rest = rest[end:]
        if not name.startswith("_ZN"):
            break
    words = ["(anonymous)" if part.startswith("_GLOBAL__N_") else part for part in parts]
    return "::".join(words) if words and name.startswith("_Z") else name


def _rows(kernels: Mapping[str, Sequence[Kernel]], others: Mapping[str, Sequence[Kernel]]) -> Iterator[Row]:
    """Yield a row for each kernel; one of a name that there is several times stands beside its like in order."""
    known: dict[tuple[str, Arch, str], list[Kernel]] = {}
    for library, found in others.items():
        for one in found:
            known.setdefault((_file(library), one.architecture, same_name(one.name)), []).append(one)
    for library, found in kernels.items():
        for one in found:
            same = known.get((_file(library), one.architecture, same_name(one.name)), [])
            yield Row(library=library, kernel=one, beside=same.pop(0) if same else None)


def _file(library: str) -> str:
    return library.rpartition("/")[2]


def _totals(rows: Iterable[Row]) -> Iterator[Total]:
    groups: dict[tuple[str, Arch], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.library, row.kernel.architecture), []).append(row)
    for (library, architecture), group in sorted(
        groups.items(), key=lambda one: (one[0][0], arch.sort_key(one[0][1]))
    ):
        kernels = [row.kernel for row in group]
        matched = [(row.kernel, row.beside) for row in group if row.beside]
        yield Total(
            library=library,
            architecture=architecture,
            kernels=len(kernels),
            registers=sum(one.registers for one in kernels),
            local=sum(one.stack > 0 for one in kernels),
            stack=max(one.stack for one in kernels),
            asynchronous=sum(bool(one.asynchronous) for one in kernels),
            spilling=sum(one.spills for one in kernels),
            matched=len(matched),
            registers_here=sum(one.registers for one, _ in matched),
            registers_beside=sum(one.registers for _, one in matched),
            stack_here=sum(one.stack for one, _ in matched),
            stack_beside=sum(one.stack for _, one in matched),
        )
