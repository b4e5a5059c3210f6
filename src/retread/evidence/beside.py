"""What lies beside a wheel as its evidence: reading it, putting it there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from retread import limits, strict
from retread.audit.report import AuditReport
from retread.doors import fs
from retread.errors import EvidenceError, UsageError
from retread.evidence import soundness
from retread.evidence.names import AUDIT, ENVELOPE
from retread.records import Record, Sha256
from retread.smoke import reading as reports
from retread.smoke.report import SmokeReport

_ASIDE = "take it away: what lies beside a wheel is listed with it"


class Evidence(Record, frozen=True, kw_only=True):
    """All that is known of a wheel: the audit and the smoke reports that lie beside it, each bound to its sha256."""

    wheel: str
    sha256: Sha256
    audit: AuditReport | None
    reports: tuple[SmokeReport, ...]


def attach(path: Path, out: Path) -> Path:
    """Put the report of a kit beside the wheel that it tried, which lies under ``out``; return where.

    EvidenceError for a report that was edited, or is of another wheel.
    """
    data = fs.read(path)
    report = reports.parse(data, name=path.name)
    reports.demand_whole(report, name=path.name)
    wheel = out / report.wheel
    if not wheel.is_file():
        raise UsageError(
            f"there is no {wheel}, of which {path.name} is a report", hint="name its folder: --out"
        )
    reports.demand_of(report, str(wheel), fs.sha256(wheel), name=path.name)
    return keep(report, data, wheel)  # as it is: an older one, written again, would not bear its digest


class Sidecars(NamedTuple):
    """What lies beside a wheel as its evidence, every file of it read once."""

    files: dict[str, bytes]
    """Audit, smoke reports and envelopes by name, sorted: what is judged, hashed and copied is this."""
    audit: AuditReport | None
    reports: dict[str, SmokeReport]
    """By name."""
    faults: tuple[EvidenceError, ...]
    """What is said to be evidence of this wheel and is not; it is in none of the two above."""

    @property
    def envelopes(self) -> dict[str, bytes]:
        """The signed statements, by name."""
        return {name: data for name, data in self.files.items() if name.endswith(ENVELOPE)}


def read(wheel: Path, sha256: Sha256) -> Sidecars:
    """Read what lies beside the wheel that has this digest; EvidenceError for a report that is none or was edited."""
    files = dict(_files(wheel))
    audit, faults = None, []
    try:
        audit = _audit(wheel.with_name(f"{wheel.name}{AUDIT}"), files.get(f"{wheel.name}{AUDIT}"), sha256)
    except EvidenceError as error:
        faults.append(error)
    found = {}
    for name in (name for name in files if _is_report(wheel, name)):
        report = reports.parse(files[name], name=name)
        try:
            reports.demand_of(report, str(wheel), sha256, name=name)
            found[name] = report
        except EvidenceError as error:
            faults.append(error)
    return Sidecars(files, audit, found, tuple(faults))


def sound(wheel: Path, sha256: Sha256, name: str) -> bytes:
    """Return one of the files beside a wheel, which need not be there itself; EvidenceError unless it is sound.

    Signatures are nobody's here: an envelope is whole, and about these bytes. FileNotFoundError for what is not there.
    """
    path = wheel.with_name(name)
    data = _content(path)
    if name.endswith(ENVELOPE):
        for _, fault in soundness.faults((), wheel.name, sha256, {name: data}):
            raise EvidenceError(fault)
    elif name == f"{wheel.name}{AUDIT}":
        _audit(path, data, sha256)
    else:
        reports.demand_of(reports.parse(data, name=name), str(wheel), sha256, name=name)
    return data


def evidence(wheel: Path) -> Evidence:
    """Return all that lies beside a wheel as its evidence; EvidenceError for what is of another wheel."""
    sha256 = fs.sha256(wheel)
    found = read(wheel, sha256)
    for fault in found.faults:
        raise fault
    return Evidence(wheel=wheel.name, sha256=sha256, audit=found.audit, reports=tuple(found.reports.values()))


def keep(report: SmokeReport, data: bytes, wheel: Path) -> Path:
    """Put a report, as ``data`` holds it, beside its wheel in the place of the last one of the same levels and GPU."""
    place = wheel.with_name(reports.file_name(report))
    fs.write(place, data)
    return place


def _files(wheel: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of the evidence in a wheel's folder, sorted; what is gone meanwhile is not there.

    EvidenceError for what no evidence is called, and for what is no plain file, like a link, or too large for one.
    """
    names = [name for name in os.listdir(wheel.parent) if name.startswith(f"{wheel.name}.")]  # noqa: PTH208
    for name in sorted(names):
        if name.endswith((ENVELOPE, AUDIT)) or _is_report(wheel, name):
            if not name.isprintable():  # half of a character is not, either
                raise EvidenceError(f"{name!a} is no name of evidence", hint=_ASIDE)
            with suppress(FileNotFoundError):
                yield name, _content(wheel.with_name(name))


def _content(path: Path) -> bytes:
    try:
        stream = None if path.is_symlink() else fs.plain(path)
    except PermissionError:
        raise EvidenceError(f"{path} may not be read", hint="make it readable, or take it away") from None
    if stream is None:
        raise EvidenceError(f"{path} is evidence by its name, but no plain file", hint=_ASIDE)
    with stream:
        data = stream.read(limits.EVIDENCE + 1)
    if len(data) > limits.EVIDENCE:
        raise EvidenceError(
            f"{path} is larger than any evidence: over {limits.EVIDENCE >> 20} MiB", hint=_ASIDE
        )
    return data


def _is_report(wheel: Path, name: str) -> bool:
    return (
        name.startswith(f"{wheel.name}{reports.BESIDE}")
        and name.endswith(".json")
        and not name.endswith(ENVELOPE)
    )


def _audit(path: Path, data: bytes | None, sha256: Sha256) -> AuditReport | None:
    if data is None:
        return None
    try:
        strict.json(data)
        audit = strict.decoded(data, AuditReport)
    except ValueError as error:
        raise EvidenceError(f"{path} is not an audit's report: {error}") from None
    if audit.sha256 != sha256:
        hint = "audit this one, or build it again"
        raise EvidenceError(f"{path} is the audit of another wheel", hint=hint)
    return audit
