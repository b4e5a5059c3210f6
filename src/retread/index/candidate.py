"""A wheel as an index would list it: read from its bytes and from the evidence that lies beside it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from msgspec import UNSET, structs
from packaging.metadata import parse_email

from retread.audit import rules
from retread.doors import fs
from retread.elf.facts import common
from retread.errors import PublishError
from retread.evidence import agreement, beside, inheritance
from retread.evidence.agreement import Told
from retread.evidence.beside import Sidecars
from retread.evidence.gate import Admission
from retread.evidence.names import AUDIT
from retread.index.listing import Hosted
from retread.prooflevel import ProofLevel
from retread.records import digest
from retread.smoke import reading
from retread.smoke.tally import tried, tritons
from retread.version import NVCC
from retread.wheel import contents
from retread.wheel.facts import WheelFacts
from retread.wheel.members import Verified
from retread.wheel.statement import STATEMENT, Statement, compiler_of
from retread.wheel.wheelfile import Wheel


class Candidate(NamedTuple):
    """A wheel that was read and is sound, with what lies beside it."""

    wheel: Path
    taken: Path
    """Where the bytes lie that were judged."""
    hosted: Hosted
    """``uploaded`` is empty yet."""
    statement: Statement | None
    metadata: bytes
    beside: Sidecars
    """Its evidence as it was judged: these bytes are listed, whatever becomes of the files."""
    doubts: tuple[str, ...]
    """What speaks against it in its own evidence."""
    unsound: tuple[str, ...]
    """What lies beside it as evidence and is none, or is of another wheel; envelopes are judged by whose keys count."""
    told: tuple[Told, ...]
    """What ``retread.json`` and the smoke reports say, to be held against its name and its envelopes."""
    refused: tuple[str, ...] = ()
    """What no installer takes of it, though it can be read."""
    foreign: tuple[str, ...] = ()
    """Its libraries that are for another machine than its tags say."""
    lacks: tuple[str, ...] = ()
    """What it would have been refused for, of one that is let in for a reason."""


def taken(wheel: Path, room: Path) -> Path:
    """Return a copy of a wheel in the folder ``room``, to which nobody else writes while it is judged and listed.

    PublishError for what cannot be read or is no plain file, StoreError for a full disk.
    """
    path = room / wheel.name
    try:
        stream = fs.plain(wheel)
    except OSError as error:
        raise PublishError(f"{wheel} cannot be read: {error.strerror}") from None
    if stream is None:
        raise PublishError(f"{wheel} is no plain file")
    with stream, fs.disk_errors(path), path.open("xb") as copy:
        shutil.copyfileobj(stream, copy, fs.CHUNK)
        told = os.fstat(stream.fileno())
        os.utime(copy.fileno(), ns=(told.st_atime_ns, told.st_mtime_ns))
    return path


def read(wheel: Path, scratch: Path, copy: Path | None = None) -> Candidate:
    """Check every byte of a wheel and read its evidence; ``scratch`` is an empty folder for large members.

    ``copy`` is where its bytes were taken to; the evidence lies beside ``wheel``.

    WheelError and the like for a wheel that is not sound, EvidenceError for a report that is none or was edited.
    """
    with Wheel(copy or wheel) as opened:
        facts, verified = contents.look(opened, scratch)
        metadata = opened.metadata.encode()
    found = beside.read(wheel, facts.sha256)
    doubts = [*_doubts(facts), *_evidence_doubts(found)]
    claims = inheritance.said(found.envelopes)
    code = tuple(inheritance.told(copy or wheel, facts, claims, scratch))
    hosted = structs.replace(
        _hosted(facts, metadata, found), inherited=inheritance.held(code, claims) or UNSET
    )
    return Candidate(
        wheel=wheel,
        taken=copy or wheel,
        hosted=hosted,
        statement=facts.statement,
        metadata=metadata,
        beside=found,
        doubts=tuple(doubts),
        unsound=tuple(
            f"{one.message} (next: {one.hint})" if one.hint else one.message for one in found.faults
        ),
        told=(*_told(facts, verified, found), *code),
        refused=tuple(f"{one.subject}: {one.detail}" for one in facts.faults),
        foreign=tuple(_foreign(facts)),
    )


def proven(hosted: Hosted, admission: Admission) -> Hosted:
    """Return a wheel as its signed evidence proves it."""
    return structs.replace(
        hosted, tried=admission.tried, triton=admission.triton, inherited=admission.inherited or UNSET
    )


def _hosted(facts: WheelFacts, metadata: bytes, found: Sidecars) -> Hosted:
    said = facts.statement
    fields, _ = parse_email(metadata)
    runs = [run for report in found.reports.values() for run in report.runs if run.cases]
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
        sidecars=tuple(found.files),
        evidence={name: digest(data) for name, data in found.files.items()} or UNSET,
        cuda=said.promise.cuda if said else "",
        torch=said.promise.torch if said else "",
        triton=tritons(runs),
        lane=said.lane if said else "",
        commit=said.commit if said else "",
        libraries={name: common(one)[0] for name, one in facts.libraries.items() if one.modules},
        patches=said.series if said else (),
        tried=tuple(map(tried, runs)),
        compiler=_compiler(said) if said else "",
        source=said.level if said and said.level is not ProofLevel.PROVEN else UNSET,
        waived=(said.promise.waived if said else {}) or UNSET,
    )


def _compiler(said: Statement) -> str:
    """Return what compiled device code in nvcc's place; nothing when nvcc did, or nothing was compiled."""
    made = said.compiled
    if made is None or compiler_of(made) == NVCC:
        return ""
    return made.device.compiler if made.device else made.toolkit


def _foreign(facts: WheelFacts) -> Iterator[str]:
    for one in rules.machines(facts):
        if not one.ok:
            yield f"{one.subject} loads on no machine of its tags: it is for {one.detail}"


def _doubts(facts: WheelFacts) -> Iterator[str]:
    if facts.statement is None:
        yield "it has no statement (retread.json): retread did not make it"


def _told(facts: WheelFacts, verified: Verified, found: Sidecars) -> Iterator[Told]:
    if facts.statement:
        digest = verified.digest_of(f"{verified.dist_info}/{STATEMENT}")
        yield from agreement.of_statement(facts.statement, digest)
    if found.audit:
        yield agreement.of_waivers(f"{facts.file}{AUDIT}", found.audit.waived)
    for name, report in found.reports.items():
        yield from agreement.of_report(name, report)


def _evidence_doubts(found: Sidecars) -> Iterator[str]:
    if found.audit and not found.audit.ok:
        yield "its audit failed"
    for name, report in found.reports.items():
        yield from (f"{name} {doubt}" for doubt in reading.doubts(report))
