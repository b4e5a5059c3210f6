"""What lies beside a wheel as its evidence: its names, reading it, putting it there."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from retread.audit.report import AuditReport
from retread.doors import fs
from retread.errors import EvidenceError, UsageError
from retread.records import Record, Sha256
from retread.smoke import reading as reports
from retread.smoke.report import SmokeReport

AUDIT = ".audit.json"
COMPILE = ".compile.json"
SMOKE = ".smoke-"
"""A report's name goes on with level, Triton or GPU, and ends with ``.json``."""
ENVELOPE = ".dsse.json"


class Evidence(Record, frozen=True, kw_only=True):
    """All that is known of a wheel: the audit and the smoke reports that lie beside it, each bound to its sha256."""

    wheel: str
    sha256: Sha256
    audit: AuditReport | None
    reports: tuple[SmokeReport, ...]


def keep(report: SmokeReport, wheel: Path) -> Path:
    """Put a report beside its wheel, in the place of the last one of the same levels and GPU; return where."""
    return _put(wheel, report, reports.write(report))


def _put(wheel: Path, report: SmokeReport, data: bytes) -> Path:
    place = wheel.with_name(reports.file_name(report))
    fs.write(place, data)
    return place


def attach(path: Path, out: Path) -> Path:
    """Put the report of a kit beside the wheel that it tried, which lies under ``out``; return where.

    EvidenceError for a report that was edited, or is of another wheel.
    """
    data = path.read_bytes()
    report = reports.parse(data, name=path.name)
    reports.demand_whole(report, name=path.name)
    wheel = out / report.wheel
    if not wheel.is_file():
        raise UsageError(
            f"there is no {wheel}, of which {path.name} is a report", hint="name its folder: --out"
        )
    reports.demand_of(report, str(wheel), fs.sha256(wheel), name=path.name)
    return _put(wheel, report, data)  # as it is: an older one, written again, would not bear its digest


def evidence(wheel: Path) -> Evidence:
    """Return all that lies beside a wheel as its evidence; EvidenceError for what is of another wheel."""
    sha256 = fs.sha256(wheel)
    audit, beside = None, wheel.with_name(wheel.name + AUDIT)
    if beside.is_file():
        audit = _audit(beside)
        if audit.sha256 != sha256:
            raise EvidenceError(
                f"{beside} is the audit of another wheel", hint="audit this one, or build it again"
            )
    found = []
    for path in (path for path in names(wheel) if is_report(wheel, path.name)):
        report = reports.parse(path.read_bytes(), name=path.name)
        reports.demand_of(report, str(wheel), sha256, name=path.name)
        found.append(report)
    return Evidence(wheel=wheel.name, sha256=sha256, audit=audit, reports=tuple(found))


def _audit(path: Path) -> AuditReport:
    try:
        return msgspec.json.decode(path.read_bytes(), type=AuditReport)
    except msgspec.DecodeError as error:
        raise EvidenceError(f"{path} is not an audit's report: {error}") from None


ENVELOPE = ".dsse.json"


def names(wheel: Path) -> list[Path]:
    """Return the evidence in a wheel's folder, sorted."""
    names = [name for name in os.listdir(wheel.parent) if name.startswith(f"{wheel.name}.")]  # noqa: PTH208
    kinds = (ENVELOPE, AUDIT)
    return [wheel.parent / name for name in sorted(names) if name.endswith(kinds) or is_report(wheel, name)]


def is_report(wheel: Path, name: str) -> bool:
    """Say whether a name is that of a smoke report of the wheel."""
    return name.startswith(f"{wheel.name}{SMOKE}") and name.endswith(".json") and not name.endswith(ENVELOPE)
