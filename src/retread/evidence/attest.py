"""Signed statements beside a wheel: how it was built, and what each smoke run found.

A statement can be made where the wheel is and signed elsewhere: who has the key then meets nothing but digests.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from retread import limits
from retread.doors import fs
from retread.errors import EvidenceError
from retread.evidence import agreement, beside, inheritance, keyfiles, signing, statements
from retread.evidence.names import COMPILE, ENVELOPE
from retread.evidence.signing import Key
from retread.smoke import reading
from retread.smoke.level import Level
from retread.smoke.report import Run, SmokeReport
from retread.smoke.tally import Verdict, tally
from retread.wheel import contents

STATEMENT: Final = ".statement.json"
"""How the file of a statement ends that nobody has signed yet."""


def provenance(wheel: Path, key: Path, *, finished: int, scratch: Path) -> dict[Path, bytes]:
    """Sign how a wheel was built, as its own retread.json says; return the envelope and its place beside the wheel."""
    builder = keyfiles.secret(key)
    return _signed(built(wheel, builder.name, finished=finished, scratch=scratch), builder)


def results(wheel: Path, key: Path, *, demanded: bool = True) -> dict[Path, bytes]:
    """Sign what every smoke run found whose report lies beside the wheel; return the envelopes and their places.

    EvidenceError when there is no report and one is ``demanded``, or when nothing ran in a run: in-toto knows no result
    for that.
    """
    tester = keyfiles.secret(key)
    return _signed(tested(wheel, tester.name, demanded=demanded), tester)


def inherited(wheel: Path, other: Path, key: Path, *, scratch: Path) -> dict[Path, bytes]:
    """Sign what GPUs found of another wheel, for the kernels of this one that have the same machine code."""
    tester = keyfiles.secret(key)
    return _signed(inheriting(wheel, other, tester.name, scratch=scratch), tester)


def inheriting(wheel: Path, other: Path, tester: str, *, scratch: Path) -> dict[Path, bytes]:
    """Return the statements of what a wheel inherits of another one's GPU runs, and their places beside it."""
    made = inheritance.statements_of(wheel, other, tester, scratch)
    return {
        _place(wheel, f"{_name(one.run, 'inherited')}-{one.report.digest[:8]}"): one.payload for one in made
    }


def built(wheel: Path, builder: str, *, finished: int, scratch: Path) -> dict[Path, bytes]:
    """Return the statement that a builder made a wheel as its retread.json says, and its place beside the wheel."""
    facts, verified = contents.examine(wheel, scratch)
    if facts.statement is None:
        raise EvidenceError(f"{wheel.name} holds no {agreement.STATEMENT}: nothing says how it was built")
    told = verified.digest_of(f"{verified.dist_info}/{agreement.STATEMENT}")
    left = wheel.with_name(f"{wheel.name}{COMPILE}")
    record = fs.sha256(left) if facts.statement.compiled and left.is_file() else ""
    payload = statements.provenance(
        facts.file, facts.sha256, facts.statement, told, builder=builder, finished=finished, record=record
    )
    return {_place(wheel, "provenance"): payload}


def tested(wheel: Path, tester: str, *, demanded: bool) -> dict[Path, bytes]:
    """Return the statements that a tester found what the reports beside a wheel tell, and their places.

    EvidenceError when there is no report and one is ``demanded``.
    """
    found = beside.evidence(wheel).reports
    runs = [(report, run) for report in found for run in report.runs if _says(report, run)]
    if not runs and demanded:
        raise EvidenceError(f"no smoke report lies beside {wheel}", hint=f"make one: retread smoke {wheel}")
    return {
        _place(wheel, f"{_name(run)}-{report.digest[:8]}"): statements.test_result(report, run, tester=tester)
        for report, run in runs
    }


def sign(folder: Path, key: Path) -> dict[Path, bytes]:
    """Sign the statements of a folder that are made in the key's name; return the envelopes and their places.

    It takes no wheel and no report: a statement names the wheel by its digest. GateError for a file that is no
    statement, EvidenceError when none is made in that name.
    """
    signer, mine = keyfiles.secret(key), dict[Path, bytes]()
    for path in sorted(folder.glob(f"*{STATEMENT}")):
        stream = fs.plain(path)
        if stream is None:
            raise EvidenceError(f"{path} is no plain file")
        with stream:
            payload = stream.read(limits.EVIDENCE + 1)
        if len(payload) > limits.EVIDENCE:
            raise EvidenceError(f"{path} is larger than any statement: over {limits.EVIDENCE >> 20} MiB")
        said = statements.parse(payload, name=path.name)
        if not path.name.startswith(f"{said.wheel}."):
            raise EvidenceError(f"{path.name} is a statement about {said.wheel}")
        if said.by == signer.name:
            mine[path.with_name(path.name.removesuffix(STATEMENT))] = payload
    if not mine:
        raise EvidenceError(
            f"no statement in {folder} is made in the name of {signer.name}",
            hint=f"make them: retread statement WHEEL --builder {signer.name} --out {folder}",
        )
    return _signed(mine, signer)


def _signed(payloads: Mapping[Path, bytes], key: Key) -> dict[Path, bytes]:
    return {
        place.with_name(place.name + ENVELOPE): signing.sign(payload, statements.PAYLOAD_TYPE, key)
        for place, payload in payloads.items()
    }


def _says(report: SmokeReport, run: Run) -> bool:
    """Say whether a run has a result to sign, or should have one, so that its lack is told now and not by the gate."""
    return tally(run.cases).verdict is not Verdict.NOTHING or run in reading.idle(report)


def _name(run: Run, kind: str = "test") -> str:
    """Return what tells a run from the wheel's others: the Triton of the jit level, the GPU of the gpu level."""
    words = {Level.STATIC: "", Level.JIT: run.surroundings.triton, Level.GPU: _gpu(run)}[run.level]
    kept = "".join(letter if letter.isalnum() or letter == "." else "-" for letter in words.lower())
    return "-".join(part for part in (kind, str(run.level), kept) if part)


def _gpu(run: Run) -> str:
    return " ".join(sorted({gpu.name for gpu in run.surroundings.gpus}))


def _place(wheel: Path, kind: str) -> Path:
    """Return what a statement is called, without an ending: there is one for it as it is, and one for its envelope."""
    return wheel.with_name(f"{wheel.name}.{kind}")
