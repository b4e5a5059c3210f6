"""Smoke reports as they are read and joined. Pure: bytes and records in, records and bytes out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from retread import strict
from retread.audit.report import AuditReport
from retread.canonical import digest
from retread.errors import EvidenceError, SmokeError
from retread.records import Sha256
from retread.smoke.report import SCHEMA, Case, Fault, Outcome, Run, SmokeReport

BESIDE: Final = ".smoke-"
"""What stands between a wheel's name and what ran, in the name of a report beside it."""


def parse(data: bytes, *, name: str) -> SmokeReport:
    """Return the report in ``data``; EvidenceError for one that is none, is newer than retread, or was edited."""
    try:
        table: Any = json.loads(data)
        schema = table["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EvidenceError(f"{name} is not a smoke report: {type(error).__name__}: {error}") from None
    if not isinstance(schema, int) or schema > SCHEMA:
        raise EvidenceError(
            f"{name} has schema {schema}; this retread reads up to {SCHEMA}",
            hint="read it with a newer retread",
        )
    report, faults = strict.read(SmokeReport, table)
    if report is None:
        raise EvidenceError(f"{name} is not a smoke report of schema {SCHEMA}", faults=faults[:20])
    if not _is_whole(report, table):
        raise EvidenceError(
            f"{name} was edited or damaged: its digest is not that of what it says",
            hint="run the tests again",
        )
    return report


def _is_whole(report: SmokeReport, table: Mapping[str, Any]) -> bool:
    """Say whether a report bears the digest of what it says, and was read as it says it."""
    try:
        return digest(table) == report.digest == digest(_within(table, json.loads(write(report))))
    except UnicodeEncodeError:  # half of a character
        return False


def _within(said: Any, written: Any) -> Any:
    """Return what was written again without what was not said: fields that came after an older report."""
    if isinstance(said, dict) and isinstance(written, dict):
        return {key: _within(value, written[key]) for key, value in said.items() if key in written}
    if isinstance(said, list) and isinstance(written, list):
        return [_within(*both) for both in zip(said, written, strict=True)]
    return written


def write(report: SmokeReport) -> bytes:
    """Return a report as a file holds it."""
    return msgspec.json.format(msgspec.json.encode(report)) + b"\n"


def joined(reports: Sequence[SmokeReport]) -> SmokeReport:
    """Return one report with the runs of several of the same wheel and kit."""
    return sealed(reports[0], [run for report in reports for run in report.runs])


def sealed(report: SmokeReport, runs: Sequence[Run]) -> SmokeReport:
    """Return ``report`` with other runs, its verdict and its digest."""
    cases = [case for run in runs for case in run.cases]
    ok = bool(cases) and all(case.outcome is not Outcome.FAILED for case in cases)
    table: Mapping[str, Any] = json.loads(
        msgspec.json.encode(msgspec.structs.replace(report, runs=tuple(runs), ok=ok))
    )
    return msgspec.convert({**table, "digest": digest(table)}, SmokeReport)


def audited(run: Run, audit: AuditReport, seconds: float) -> Run:
    """Return a static run with the checks of the audit before its cases."""
    cases = [_case(f"audit/{one.check}/{one.subject}", one.ok, one.detail) for one in audit.checks]
    return msgspec.structs.replace(run, cases=(*cases, *run.cases), seconds=round(run.seconds + seconds, 2))


def _case(name: str, ok: bool, detail: str) -> Case:
    if ok:
        return Case(id=name, suite="audit", outcome=Outcome.PASSED, seconds=0.0)
    fault = Fault(type="Audit", message=detail, where="", kernel="", stack="")
    return Case(id=name, suite="audit", outcome=Outcome.FAILED, seconds=0.0, reason=detail, fault=fault)


def demand(report: SmokeReport) -> None:
    """Raise SmokeError with every failed case, if there is one, or when nothing ran."""
    failed = [case for run in report.runs for case in run.cases if case.outcome is Outcome.FAILED]
    if failed:
        more = [f"... and {len(failed) - 20} more"] if len(failed) > 20 else []
        raise SmokeError(
            f"{report.wheel}: {len(failed)} of {sum(len(run.cases) for run in report.runs)} cases failed",
            faults=[*(f"{case.id}: {case.reason}" for case in failed[:20]), *more],
            hint="the report has each one's stack; --only ID runs one of them alone",
        )
    if not report.ok:
        raise SmokeError(f"{report.wheel}: no case ran", hint="see why in the report, or take away --only")


def file_name(report: SmokeReport) -> str:
    """Return what the report is called beside its wheel: ``WHEEL.smoke-LEVELS[-GPU].json``."""
    ran = [run for run in report.runs if run.cases]
    words = [str(level) for level in dict.fromkeys(run.level for run in ran)] or ["none"]
    gpus = [gpu.name for run in ran if run.level == "gpu" for gpu in run.surroundings.gpus]
    words += [
        "".join(letter if letter.isalnum() else "-" for letter in name.lower())
        for name in dict.fromkeys(gpus)
    ]
    return f"{report.wheel}{BESIDE}{'-'.join(words)}.json"


def demand_whole(report: SmokeReport, *, name: str) -> None:
    """Raise EvidenceError for the report of a part of a test."""
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
