"""A wheel as an index would list it: read from its bytes and from the evidence that lies beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
from packaging.metadata import parse_email
from packaging.utils import canonicalize_name

from retread.audit.report import AuditReport
from retread.elf import facts as elf_facts
from retread.errors import RetreadError
from retread.evidence.beside import AUDIT, ENVELOPE, is_report, names
from retread.index.listing import Hosted
from retread.records import Sha256, digest
from retread.smoke import reading
from retread.smoke.report import SmokeReport
from retread.smoke.tally import tried, tritons
from retread.wheel import contents
from retread.wheel.facts import WheelFacts
from retread.wheel.statement import Statement
from retread.wheel.wheelfile import Wheel


class Fingerprint(NamedTuple):
    """Which file it is, and whether it was written since."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class Candidate(NamedTuple):
    """A wheel that was read and is sound, with what lies beside it."""

    wheel: Path
    fingerprint: Fingerprint
    hosted: Hosted
    """``uploaded`` is empty yet."""
    statement: Statement | None
    metadata: bytes
    evidence: Mapping[str, Sha256]
    """Sidecar -> its digest."""
    doubts: tuple[str, ...]
    """What speaks against it in its own evidence."""


def fingerprint(path: Path) -> Fingerprint:
    """Return which file a path is, by what the disk says of it."""
    found = path.stat()
    return Fingerprint(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def read(wheel: Path, scratch: Path) -> Candidate:
    """Check every byte of a wheel and read its evidence; ``scratch`` is an empty folder for large members.

    WheelError and the like for a wheel that is not sound, EvidenceError for a report that is none or was edited.
    """
    before = fingerprint(wheel)
    facts, _ = contents.examine(wheel, scratch)
    with Wheel(wheel) as opened:
        metadata = opened.archive.read(f"{opened.dist_info}/METADATA")
    found = {path.name: path.read_bytes() for path in names(wheel)}
    told = {name: reading.parse(data, name=name) for name, data in found.items() if is_report(wheel, name)}
    doubts = [*_doubts(wheel, facts, found), *_report_doubts(facts, told)]
    hosted = _hosted(facts, metadata, list(told.values()), tuple(found))
    digests = {name: digest(data) for name, data in found.items()}
    return Candidate(wheel, before, hosted, facts.statement, metadata, digests, tuple(doubts))


def envelopes(candidate: Candidate) -> dict[str, bytes]:
    """Return the signed statements that lie beside a wheel."""
    folder = candidate.wheel.parent
    return {name: (folder / name).read_bytes() for name in candidate.evidence if name.endswith(ENVELOPE)}


def _hosted(facts: WheelFacts, metadata: bytes, told: list[SmokeReport], sidecars: tuple[str, ...]) -> Hosted:
    said = facts.statement
    fields, _ = parse_email(metadata)
    runs = [run for report in told for run in report.runs if run.cases]
    return Hosted(
        file=facts.file,
        sha256=facts.sha256,
        size=facts.size,
        project=facts.project,
        version=facts.version,
        uploaded="",
        requires_python=fields.get("requires_python", ""),
        metadata_sha256=digest(metadata),
        yanked=None,
        unproven="",
        sidecars=sidecars,
        cuda=said.promise.cuda if said else "",
        torch=said.promise.torch if said else "",
        triton=tritons(runs),
        lane=said.lane if said else "",
        commit=said.commit if said else "",
        libraries={name: elf_facts.common(one)[0] for name, one in facts.libraries.items() if one.modules},
        patches=said.series if said else (),
        tried=tuple(map(tried, runs)),
    )


def _doubts(wheel: Path, facts: WheelFacts, found: Mapping[str, bytes]) -> Iterator[str]:
    said = facts.statement
    if said is None:
        yield "it has no statement (retread.json): retread did not make it"
    elif (canonicalize_name(said.project), said.version) != (facts.project, facts.version):
        yield f"its statement is of {said.project} {said.version}"
    if data := found.get(f"{wheel.name}{AUDIT}"):
        try:
            audit = msgspec.json.decode(data, type=AuditReport)
        except msgspec.DecodeError as error:
            yield f"{wheel.name}{AUDIT} is not an audit's report: {error}"
            return
        if audit.sha256 != facts.sha256:
            yield f"{wheel.name}{AUDIT} is of another wheel: 'retread audit' it again"
        elif not audit.ok:
            yield "its audit failed"


def _report_doubts(facts: WheelFacts, told: Mapping[str, SmokeReport]) -> Iterator[str]:
    for name, report in told.items():
        try:
            reading.demand_of(report, facts.file, facts.sha256, name=name)
        except RetreadError as error:
            yield f"{error.message}: {error.hint}"
        else:
            yield from (f"{name} {doubt}" for doubt in reading.doubts(report))
