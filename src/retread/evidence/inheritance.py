"""What a GPU found of one wheel, as far as it holds for another: for the kernels with the same machine code in both.

Machine code does not know which processor is beside the GPU. So what ran of a wheel for x86-64 is known of those
kernels of a wheel for aarch64 that are the same, byte by byte, and of no others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from retread.arch import Arch
from retread.doors import fs
from retread.elf.facts import Kernels
from retread.errors import EvidenceError, GateError
from retread.evidence import agreement, beside, signing, statements
from retread.evidence.agreement import Told
from retread.evidence.statements import Inheritance
from retread.smoke.level import Level
from retread.smoke.report import Run, SmokeReport
from retread.smoke.tally import Inherited, Verdict, tally
from retread.wheel import contents, sameness
from retread.wheel.facts import WheelFacts
from retread.wheel.sameness import Bodies


class Made(NamedTuple):
    """A statement about a wheel, and the run of another one that it is taken from."""

    payload: bytes
    report: SmokeReport
    run: Run


def statements_of(wheel: Path, other: Path, tester: str, scratch: Path) -> list[Made]:
    """Return what each GPU run of ``other`` that passed says of ``wheel``; its reports lie beside it.

    EvidenceError when there is none, or when no kernel has the same code; ``scratch`` is an empty folder.
    """
    ran = [
        (report, run)
        for report in beside.evidence(other).reports
        for run in report.runs
        if run.level is Level.GPU
        and tally(run.cases).verdict is Verdict.PASSED
        and not run.surroundings.outside
    ]
    if not ran:
        raise EvidenceError(
            f"no report of a GPU on which {other.name} passed lies beside it",
            hint=f"run 'retread smoke {other} --level gpu', or attach the report of its kit",
        )
    facts = contents.facts(wheel, scratch)
    if facts.unread:
        raise EvidenceError(f"{wheel.name}: nobody looked into {', '.join(sorted(facts.unread))}")
    mine, theirs = (contents.bodies(path, scratch) for path in (wheel, other))
    return [Made(_statement(facts, report, run, (mine, theirs), tester), report, run) for report, run in ran]


def _statement(
    facts: WheelFacts, report: SmokeReport, run: Run, code: tuple[Bodies, Bodies], tester: str
) -> bytes:
    device = Arch(run.surroundings.gpus[0].capability)
    mine, theirs = (sameness.on(device, bodies) for bodies in code)
    found = sameness.shared(mine, theirs, sameness.without(device, _groups(facts)))
    if not found.kernels:
        raise EvidenceError(
            f"{facts.file} inherits nothing from {report.wheel}: none of its {len(mine)} kernels for {device} "
            "has the same machine code there",
            hint="compile both from one source, with one toolkit and the same flags",
        )
    (wheel,) = statements.subject(facts.file, facts.sha256)
    return statements.inherited(wheel, report, run, found._asdict(), tester=tester)


def _groups(facts: WheelFacts) -> Iterator[Kernels]:
    yield from chain.from_iterable(one.kernels for one in facts.libraries.values())
    yield from chain.from_iterable(one.kernels for one in facts.code.values())


def said(envelopes: Mapping[str, bytes]) -> list[Inheritance]:
    """Return what envelopes say that a wheel inherits, whoever signed them; what cannot be read, the gate refuses."""
    found = []
    for name, data in envelopes.items():
        with suppress(GateError):
            one = statements.parse(signing.payload(data, name=name), name=name).inherited
            found += [one] if one else []
    return found


def beside_of(wheel: Path, scratch: Path) -> tuple[Inherited, ...]:
    """Return what the envelopes beside a wheel say that it inherits, whoever signed them, where its bytes agree."""
    claims = said(beside.read(wheel, fs.sha256(wheel)).envelopes)
    if not claims:
        return ()
    facts = contents.facts(wheel, scratch)
    return held(tuple(told(wheel, facts, claims, scratch)), claims)


def held(told: Sequence[Told], claims: Sequence[Inheritance]) -> tuple[Inherited, ...]:
    """Return, in short, what of the claims the wheel's own bytes, as ``told`` has them, agree with."""
    return tuple(
        one.short
        for one in claims
        if not any(agreement.faults(chain(told, agreement.of_inheritance("a statement", one))))
    )


def told(wheel: Path, facts: WheelFacts, claims: Sequence[Inheritance], scratch: Path) -> Iterator[Told]:
    """Yield what a wheel's own bytes say of the kernels that are said to inherit; ``scratch`` is an empty folder."""
    if not claims:
        return
    bodies = contents.bodies(wheel, scratch)
    for device in dict.fromkeys(Arch(one.run.capability) for one in claims):
        code = sameness.on(device, bodies)
        named = {name for one in claims if one.run.capability == device for name in one.kernels}
        mine = {name: code.get(name, agreement.NOTHING) for name in sorted(named)}
        without = sameness.without(device, _groups(facts))
        yield from agreement.of_kernels("the wheel", device, mine, code, without)
