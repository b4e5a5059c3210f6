"""How the resources of kernels look in a terminal. Pure: a report in, text out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from retread import arch
from retread.audit.resources import ResourceReport, Row, Total, short
from retread.text.tables import columns, cut, plain

_SHOWN: Final = 20
"""Kernels of each table: those that matter are on one screen, and all are in the JSON."""


def text(found: ResourceReport) -> str:
    """Return a line for each library and architecture, the comparison, and the kernels that tell most."""
    if not found.totals:
        return f"{found.wheel}: no GPU code"
    parts = [
        [found.wheel, *_totals(found.totals)],
        [*_beside(found)],
        [*_asynchronous(found)],
        [*_others(found)],
    ]
    return "\n\n".join(plain(lines) for lines in parts if lines)


def _totals(totals: Sequence[Total]) -> Iterator[str]:
    heads = ("library", "code for", "kernels", "registers", "with stack", "most", "GMMA or TMA", "with stack")
    rows = [
        (
            one.library, arch.sm(one.architecture), f"{one.kernels}", f"{one.registers}", f"{one.local}",
            f"{one.stack}", f"{one.asynchronous}", f"{one.spilling}",
        )
        for one in totals
    ]  # fmt: skip
    return columns(heads, rows, text=(0, 1))


def _beside(found: ResourceReport) -> Iterator[str]:
    """Yield the sums over the kernels that both have."""
    matched = [one for one in found.totals if one.matched]
    if found.beside and not matched:
        yield f"{found.beside} has none of these kernels for the same architecture"
    if not matched:
        return
    heads = ("library", "code for", "kernels", "registers", "", "bytes of stack", "")
    rows = [
        (
            one.library, arch.sm(one.architecture), f"{one.matched} of {one.kernels}",
            f"{one.registers_here} / {one.registers_beside}", _ratio(one.registers_here, one.registers_beside),
            f"{one.stack_here} / {one.stack_beside}", _ratio(one.stack_here, one.stack_beside),
        )
        for one in matched
    ]  # fmt: skip
    yield f"kernels that {found.beside} has, too: sums here / there"
    yield from columns(heads, rows, text=(0, 1))


def _ratio(here: int, there: int) -> str:
    return f"x {here / there:.2f}" if there else ""


def _asynchronous(found: ResourceReport) -> Iterator[str]:
    """Yield the kernels that may have no local memory."""
    rows = [row for row in found.kernels if row.kernel.asynchronous]
    if rows:
        yield from _kernels("kernels with GMMA, tcgen05 or TMA", rows)


def _others(found: ResourceReport) -> Iterator[str]:
    """Yield the others that take local memory, or more than the other wheel's where there is such a kernel at all."""
    compared = any(row.beside for row in found.kernels)
    rows = [
        row
        for row in found.kernels
        if not row.kernel.asynchronous and _more(row) > 0 and (row.beside is not None or not compared)
    ]
    if rows:
        yield from _kernels(f"other kernels with {'more ' if compared else ''}local memory", rows)


def _kernels(which: str, rows: Sequence[Row]) -> Iterator[str]:
    heads = ("kernel", "code for", "registers", "stack", "shared", "instructions", "of these")
    shown = sorted(rows, key=lambda row: (-_more(row), -row.kernel.stack, -row.kernel.registers))[:_SHOWN]
    many = f"{len(shown)} of {len(rows)}" if len(shown) < len(rows) else f"all {len(rows)}"
    yield f"{which}, {many}"
    yield from columns(heads, [_cells(row) for row in shown], text=(0, 1, 6))


def _more(row: Row) -> int:
    """Return how many bytes of local memory more than its like a kernel takes."""
    return row.kernel.stack - (row.beside.stack if row.beside else 0)


def _cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a kernel, each number with the other's where there is one."""
    both = [one for one in (row.kernel, row.beside) if one]
    numbers = [
        (one.registers, one.stack, one.shared, "-" if one.instructions is None else one.instructions)
        for one in both
    ]
    names = dict.fromkeys(name for one in both for name in one.telling)
    counts = [f"{name} {'/'.join(str(one.telling.get(name, 0)) for one in both)}" for name in names]
    return (
        cut(short(row.kernel.name)),
        arch.sm(row.kernel.architecture),
        *(" / ".join(map(str, column)) for column in zip(*numbers, strict=True)),
        " ".join(counts),
    )
