"""How cases ended, counted, and the verdict that follows: whatever shows or judges a run asks here. Pure.

A report's ``ok`` is what its maker took of the same cases. It is written and never asked: one from before there was
one verdict calls skipped cases alone good. Where the two disagree, the cases decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple, Protocol, assert_never

from retread import pypa
from retread.records import Record, Sha256
from retread.smoke.level import Level
from retread.smoke.report import Case, Outcome, Run, SmokeReport


class Verdict(StrEnum):
    """What became of cases, in the words that every reader sees."""

    PASSED = "passed"
    FAILED = "FAILED"
    NOTHING = "nothing ran"


class Tally(NamedTuple):
    """How many cases ended how."""

    passed: int
    failed: int
    skipped: int

    @property
    def verdict(self) -> Verdict:
        """One failure fails them all; without a case that passed nothing ran, as skipped ones prove nothing."""
        if self.failed:
            return Verdict.FAILED
        return Verdict.PASSED if self.passed else Verdict.NOTHING


class Counted(Protocol):
    """A record that says how many cases ended how, among other things."""

    @property
    def passed(self) -> int:
        """How many passed."""

    @property
    def failed(self) -> int:
        """How many failed."""

    @property
    def skipped(self) -> int:
        """How many were skipped."""


class Tried(Record, frozen=True, kw_only=True):
    """What one smoke run found: which level, where, and how many cases."""

    level: str
    where: str
    """``NVIDIA H200, 9.0``, or ``Triton 3.6.0`` for the jit level; empty for static."""
    torch: str
    passed: int
    failed: int
    skipped: int


class Inherited(Record, frozen=True, kw_only=True):
    """What a GPU found of another wheel, which holds for the kernels of this one with the same machine code."""

    wheel: str
    """The one that ran."""
    sha256: Sha256
    where: str
    """``NVIDIA H200, 9.0``."""
    kernels: int
    """How many of this wheel's kernels have the code that ran."""
    of: int
    """How many it has."""

    @property
    def whole(self) -> bool:
        """Whether no kernel of the wheel is left out."""
        return self.kernels == self.of


def tally(cases: Iterable[Case]) -> Tally:
    """Count how cases ended."""
    ends = [case.outcome for case in cases]
    return Tally(*(ends.count(one) for one in (Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED)))


def whole(report: SmokeReport) -> Tally:
    """Count how all cases of a report ended."""
    return tally(case for run in report.runs for case in run.cases)


def counts(found: Counted) -> Tally:
    """Return what a record says of how many cases ended how."""
    return Tally(found.passed, found.failed, found.skipped)


def headline(report: SmokeReport) -> str:
    """Return in a few words what became of all cases."""
    found = whole(report)
    match found.verdict:
        case Verdict.PASSED:
            return f"smoke tests passed ({found.passed} passed, {found.skipped} skipped)"
        case Verdict.FAILED:
            return f"SMOKE TESTS FAILED ({found.failed} of {sum(found)} cases)"
        case Verdict.NOTHING:
            return f"NOT PROVEN ({Verdict.NOTHING})"
        case other:
            assert_never(other)


def fate(run: Run) -> str:
    """Return the verdict of a run; ``unable`` for one that could not start."""
    return "unable" if run.unable else tally(run.cases).verdict


def where(level: str, triton: str, gpus: Iterable[tuple[str, str]], emulator: str = "") -> str:
    """Return where a level ran: GPUs by name and capability, the jit level's Triton, nothing for static.

    An emulator is named on every level: nothing of the wheel's GPU code can have run under it.
    """
    if emulator:
        return ", ".join(filter(None, (where(level, triton, ()), f"under {emulator}")))
    if level == Level.GPU:
        return ", ".join(f"{name}, {capability}" for name, capability in gpus)
    return f"Triton {triton}" if level == Level.JIT and triton else ""


def place(run: Run) -> str:
    """Return where a run ran, as ``where`` words it."""
    around = run.surroundings
    gpus = ((gpu.name, gpu.capability) for gpu in around.gpus)
    return where(run.level, around.triton, gpus, around.emulator)


def tried(run: Run) -> Tried:
    """Return what a run found, in short."""
    found = tally(run.cases)
    return Tried(level=run.level, where=place(run), torch=run.surroundings.torch, **found._asdict())


def tritons(runs: Iterable[Run]) -> tuple[str, ...]:
    """Return the versions of Triton under which the jit level passed, the oldest first."""
    passed = [run for run in runs if tally(run.cases).verdict is Verdict.PASSED]
    found = {run.surroundings.triton for run in passed if run.level is Level.JIT}
    return tuple(sorted(found - {""}, key=pypa.version))
