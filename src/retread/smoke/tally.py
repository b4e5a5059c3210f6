"""How the cases of runs ended, counted; every view and every judge of a report starts here. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from packaging.version import Version

from retread.records import Record
from retread.smoke.report import Case, Level, Outcome, Run, SmokeReport


class Tally(NamedTuple):
    """How many cases ended how."""

    passed: int
    failed: int
    skipped: int


class Tried(Record, frozen=True, kw_only=True):
    """What one smoke run found: which level, where, and how many cases."""

    level: str
    where: str
    """``NVIDIA H200, 9.0``, or ``Triton 3.6.0`` for the jit level; empty for static."""
    torch: str
    passed: int
    failed: int
    skipped: int


def tally(cases: Iterable[Case]) -> Tally:
    """Count how cases ended."""
    ends = [case.outcome for case in cases]
    return Tally(*(ends.count(one) for one in (Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED)))


def verdict(report: SmokeReport) -> str:
    """Return in a few words what became of all cases."""
    found = tally(case for run in report.runs for case in run.cases)
    if found.failed:
        return f"SMOKE TESTS FAILED ({found.failed} of {sum(found)} cases)"
    if not report.ok:
        return "NOT PROVEN (nothing ran)" if not found.passed else "NOT PROVEN"
    return f"smoke tests passed ({found.passed} passed, {found.skipped} skipped)"


def fate(run: Run) -> str:
    """Return ``passed``, ``FAILED``, or what kept a run from being either."""
    if run.unable:
        return "unable"
    found = tally(run.cases)
    if found.failed:
        return "FAILED"
    return "passed" if found.passed else "nothing ran"


def tried(run: Run) -> Tried:
    """Return what a run found, in short."""
    around = run.surroundings
    gpus = ", ".join(f"{gpu.name}, {gpu.capability}" for gpu in around.gpus)
    where = {Level.STATIC: "", Level.JIT: f"Triton {around.triton}", Level.GPU: gpus}[run.level]
    counts = {one: sum(case.outcome is one for case in run.cases) for one in Outcome}
    return Tried(
        level=run.level,
        where=where,
        torch=around.torch,
        passed=counts[Outcome.PASSED],
        failed=counts[Outcome.FAILED],
        skipped=counts[Outcome.SKIPPED],
    )


def tritons(runs: list[Run]) -> tuple[str, ...]:
    """Return the versions of Triton under which the jit level passed, the oldest first."""
    found = {run.surroundings.triton for run in runs if run.level is Level.JIT and _passed(run)}
    return tuple(sorted(found - {""}, key=Version))


def _passed(run: Run) -> bool:
    outcomes = {case.outcome for case in run.cases}
    return Outcome.PASSED in outcomes and Outcome.FAILED not in outcomes
