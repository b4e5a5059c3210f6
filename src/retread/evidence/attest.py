"""Signed statements beside a wheel: how it was built, and what each smoke run found."""

from __future__ import annotations

from pathlib import Path

from retread.errors import EvidenceError
from retread.evidence import beside, keyfiles, signing, statements
from retread.evidence.beside import ENVELOPE
from retread.smoke import reading
from retread.smoke.level import Level
from retread.smoke.report import Run, SmokeReport
from retread.smoke.tally import Verdict, tally
from retread.wheel import contents


def provenance(wheel: Path, key: Path, *, finished: int, scratch: Path) -> dict[Path, bytes]:
    """Sign how a wheel was built, as its own retread.json says; return the envelope and its place beside the wheel."""
    facts, verified = contents.examine(wheel, scratch)
    if facts.statement is None:
        raise EvidenceError(f"{wheel.name} holds no {contents.STATEMENT}: nothing says how it was built")
    builder = keyfiles.load(key)
    told = verified.digest_of(f"{verified.dist_info}/{contents.STATEMENT}")
    payload = statements.provenance(
        facts.file, facts.sha256, facts.statement, told, builder=builder.name, finished=finished
    )
    return {_place(wheel, "provenance"): signing.sign(payload, statements.PAYLOAD_TYPE, builder)}


def results(wheel: Path, key: Path) -> dict[Path, bytes]:
    """Sign what every smoke run found whose report lies beside the wheel; return the envelopes and their places.

    EvidenceError when there is no report, or when nothing ran in a run: in-toto knows no result for that.
    """
    tester = keyfiles.load(key)
    found = beside.evidence(wheel).reports
    runs = [(report, run) for report in found for run in report.runs if _says(report, run)]
    if not runs:
        raise EvidenceError(f"no smoke report lies beside {wheel}", hint=f"make one: retread smoke {wheel}")
    return {
        _place(wheel, f"{_name(run)}-{report.digest[:8]}"): signing.sign(
            statements.test_result(report, run, tester=tester.name), statements.PAYLOAD_TYPE, tester
        )
        for report, run in runs
    }


def _says(report: SmokeReport, run: Run) -> bool:
    """Say whether a run has a result to sign, or should have one, so that its lack is told now and not by the gate."""
    return tally(run.cases).verdict is not Verdict.NOTHING or run in reading.idle(report)


def _name(run: Run) -> str:
    """Return what tells a run from the wheel's others: the Triton of the jit level, the GPU of the gpu level."""
    words = {Level.STATIC: "", Level.JIT: run.surroundings.triton, Level.GPU: _gpu(run)}[run.level]
    kept = "".join(letter if letter.isalnum() or letter == "." else "-" for letter in words.lower())
    return "-".join(part for part in ("test", str(run.level), kept) if part)


def _gpu(run: Run) -> str:
    return " ".join(sorted({gpu.name for gpu in run.surroundings.gpus}))


def _place(wheel: Path, kind: str) -> Path:
    return wheel.with_name(f"{wheel.name}.{kind}{ENVELOPE}")
