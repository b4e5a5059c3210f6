"""Smoke reports as they are read and joined. Pure: bytes and records in, records and bytes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from retread import strict
from retread.audit.report import AuditReport, Check
from retread.canonical import digest
from retread.errors import EvidenceError, SmokeError, first
from retread.records import Sha256
from retread.smoke import details
from retread.smoke.report import SCHEMA, Case, Fault, Outcome, Run, SmokeReport
from retread.smoke.tally import Verdict, tally, whole

CUT: Final = " (interrupted)"
"""What stands behind the pattern of a run that was interrupted, as ``smoke.runtime.program`` writes it."""
BESIDE: Final = ".smoke-"
"""What stands between a wheel's name and what ran, in the name of a report beside it."""


def parse(data: bytes, *, name: str) -> SmokeReport:
    """Return the report in ``data``; EvidenceError for one that is none, is newer than retread, or was edited."""
    try:
        table = strict.document(data, SCHEMA)
    except strict.NewerError as error:
        raise EvidenceError(f"{name} has {error}", hint="read it with a newer retread") from None
    except ValueError as error:
        raise EvidenceError(f"{name} is not a smoke report: {error}") from None
    report, faults = strict.read(SmokeReport, table)
    if report is None:
        raise EvidenceError(f"{name} is not a smoke report of schema {SCHEMA}", faults=first(faults))
    if not _is_whole(report, table):
        raise EvidenceError(
            f"{name} was edited or damaged: its digest is not that of what it says",
            hint="run the tests again",
        )
    return report


def parted(said: str) -> tuple[str, object]:
    """Return the report that a kit wrote, and what stands on the line after it: results for another time."""
    report, _, kept = said.rstrip("\n").rpartition("\n")
    try:
        return report, strict.json(kept)
    except ValueError:
        return said, None


def _is_whole(report: SmokeReport, table: Mapping[str, Any]) -> bool:
    """Say whether a report bears the digest of what it says, and nothing of that was lost in reading it."""
    return digest(table) == report.digest == digest(_as_made(strict.json(write(report)), table))


def _as_made(said: Any, table: Any) -> Any:
    """Return what is said without the fields that came after ``table`` was made: its digest does not know them."""
    if isinstance(said, dict) and isinstance(table, dict):
        return {name: _as_made(value, table[name]) for name, value in said.items() if name in table}
    if isinstance(said, list) and isinstance(table, list):
        return [_as_made(*pair) for pair in zip(said, table, strict=True)]
    return said


def write(report: SmokeReport) -> bytes:
    """Return a report as a file holds it; one that was read from a file is kept as the bytes that it was read from."""
    return msgspec.json.format(msgspec.json.encode(report)) + b"\n"


def joined(reports: Sequence[SmokeReport]) -> SmokeReport:
    """Return one report with the runs of several of the same wheel and kit."""
    return sealed(reports[0], [run for report in reports for run in report.runs])


def sealed(report: SmokeReport, runs: Sequence[Run]) -> SmokeReport:
    """Return ``report`` with other runs, its verdict and its digest."""
    made = msgspec.structs.replace(report, runs=tuple(runs))
    ok = whole(made).verdict is Verdict.PASSED
    table: Mapping[str, Any] = strict.json(msgspec.json.encode(msgspec.structs.replace(made, ok=ok)))
    return msgspec.convert({**table, "digest": digest(table)}, SmokeReport)


def audit_cases(audit: AuditReport) -> list[Case]:
    """Return the checks of the audit as cases."""
    return [_case(f"audit/{one.check}/{one.subject}", one) for one in audit.checks]


def audited(run: Run, cases: Sequence[Case], seconds: float) -> Run:
    """Return a static run with the cases of the audit before its own."""
    return msgspec.structs.replace(run, cases=(*cases, *run.cases), seconds=round(run.seconds + seconds, 2))


def _case(name: str, found: Check) -> Case:
    if not found.fails:
        note = f"waived: {found.detail}; {found.waived}" if found.waived else ""
        return Case(id=name, suite="audit", outcome=Outcome.PASSED, seconds=0.0, note=note)
    fault = Fault(type="Audit", message=found.detail, where="", kernel="", stack="")
    return Case(id=name, suite="audit", outcome=Outcome.FAILED, seconds=0.0, reason=found.detail, fault=fault)


def demand(report: SmokeReport) -> None:
    """Raise SmokeError with every failed case, if there is one, or with the reasons when nothing ran."""
    found = whole(report)
    if found.verdict is Verdict.FAILED:
        failed = [f"{one.title}: {one.reason}" for run in report.runs for one in details.alike(run)]
        raise SmokeError(
            f"{report.wheel}: {found.failed} of {sum(found)} cases failed",
            faults=first(failed),
            hint="the report has each one's stack; --only ID runs one of them alone",
        )
    if found.verdict is Verdict.NOTHING:
        can = "a machine that has what is lacking can try it: --ssh HOST, or 'retread kit'"
        raise SmokeError(
            f"{report.wheel}: {Verdict.NOTHING}",
            faults=first([f"{details.label(run)}: {details.reasons(run)}" for run in report.runs]),
            hint=can if report.only == "*" else "name other cases, or take away --only",
        )


def idle(report: SmokeReport) -> list[Run]:
    """Return the runs that should have said something of the wheel, and in which nothing ran.

    One outside of what the wheel promises says nothing of the promise, whatever it finds. One without cases could not
    start, and is passed over where others of the report did.
    """
    started = any(run.cases for run in report.runs)
    runs = [run for run in report.runs if bool(run.cases) is started and not run.surroundings.outside]
    return [run for run in runs if tally(run.cases).verdict is Verdict.NOTHING]


def doubts(report: SmokeReport) -> Iterator[str]:
    """Yield what in a report speaks against its wheel: a failure, a run in which nothing ran, or no run at all.

    And what says nothing of this wheel: results of others.
    """
    if not report.runs:
        yield f"tells of no run: {Verdict.NOTHING}"
    if whole(report).verdict is Verdict.FAILED:
        yield "tells of a failure"
    for run in idle(report):
        yield f"tells of {details.label(run)}: {Verdict.NOTHING}, {details.reasons(run)}"
    for run in report.runs:
        if others := details.borrowed(run, report.sha256):
            count = f"{len(others)} of {len(run.cases)} results are of other wheels"
            yield f"tells of {details.label(run)}: {count}: try every case of this one (retread smoke --cold)"


def file_name(report: SmokeReport) -> str:
    """Return what the report is called beside its wheel: ``WHEEL.smoke-LEVELS[-GPU].json``.

    Levels in which nothing ran are not named, so that such a report never takes the place of one that proves something.
    """
    ran = [run for run in report.runs if tally(run.cases).verdict is not Verdict.NOTHING]
    words = [str(level) for level in dict.fromkeys(run.level for run in ran)] or ["none"]
    gpus = [gpu.name for run in ran if run.level == "gpu" for gpu in run.surroundings.gpus]
    words += [
        "".join(letter if letter.isalnum() else "-" for letter in name.lower())
        for name in dict.fromkeys(gpus)
    ]
    return f"{report.wheel}{BESIDE}{'-'.join(words)}.json"


def demand_whole(report: SmokeReport, *, name: str) -> None:
    """Raise EvidenceError for the report of a part of a test, or of one that was interrupted."""
    if report.only.endswith(CUT):
        raise EvidenceError(f"{name} is the report of a test that was interrupted", hint="run all of it")
    if report.only != "*":
        raise EvidenceError(
            f"{name} is the report of a part of a test: --only {report.only}", hint="run all of it"
        )


def demand_of(report: SmokeReport, wheel: str, sha256: Sha256, *, name: str) -> None:
    """Raise EvidenceError unless the report is of this very wheel."""
    if report.sha256 != sha256:
        raise EvidenceError(
            f"{name} is a report of another {report.wheel}",
            faults=[f"the wheel that was tried has sha256 {report.sha256}", f"{wheel} has {sha256}"],
            hint="attach it to the wheel that was tried, or try this one",
        )
