"""Stage *audit*: what a finished wheel really holds, against what its target promised."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from retread.audit import resources, rules
from retread.audit.report import AuditReport, Check
from retread.audit.rules import Broken
from retread.binary import files
from retread.doors import fs
from retread.elf.facts import LibraryFacts
from retread.errors import UNREADABLE, AuditError
from retread.recipe import miscompiles, waiver
from retread.version import NVCC
from retread.wheel import contents
from retread.wheel.contents import Known
from retread.wheel.facts import WheelFacts
from retread.wheel.statement import Promise, Statement, compiler_of


def audit(
    wheel: Path,
    scratch: Path,
    *,
    promise: Promise | None,
    target: str = "",
    base: Mapping[str, LibraryFacts] | None = None,
    broken: Broken | None = None,
    known: Known | None = None,
) -> AuditReport:
    """Read the wheel's bytes and return every check; WheelError when nothing can be said of them.

    Without ``promise`` the wheel is held to its own statement, when it carries one. Of one that was compiled without
    nvcc each kernel is looked at, too. ``broken`` is what the base wheel breaks: a waiver covers nothing else.
    """
    if not files.is_wheel(wheel):
        return _file(wheel, scratch)
    facts = contents.facts(wheel, scratch, known, lenient=True)
    spills = _spills(wheel, scratch) if without_nvcc(facts.statement) else ()
    return judge(facts, promise=promise, target=target, base=base, broken=broken, more=spills)


def without_nvcc(said: Statement | None) -> bool:
    """Say whether a wheel was compiled by another compiler than NVIDIA's, by what it says of itself."""
    return bool(said and said.compiled and compiler_of(said.compiled) != NVCC)


def _spills(wheel: Path, scratch: Path) -> Iterator[Check]:
    """Yield whether kernels spill that must not, or that they cannot be read."""
    try:
        yield from resources.checks(contents.kernels(wheel, scratch, lenient=True))
    except UNREADABLE as error:
        yield Check(check=resources.CHECK, subject=wheel.name, ok=False, detail=error.message)


def _file(path: Path, scratch: Path) -> AuditReport:
    """Return the checks of a file that is no wheel: what it is, and whether all of its code could be read."""
    found = contents.read(path, scratch)
    checks = () if isinstance(found, WheelFacts) else tuple(rules.of_file(path.name, found))
    return AuditReport(
        schema=1,
        wheel=path.name,
        sha256=fs.sha256(path),
        size=path.stat().st_size,
        target="",
        ok=all(check.ok for check in checks),
        checks=checks,
    )


def judge(
    facts: WheelFacts,
    *,
    promise: Promise | None,
    target: str = "",
    base: Mapping[str, LibraryFacts] | None = None,
    broken: Broken | None = None,
    more: Iterable[Check] = (),
) -> AuditReport:
    """Return every check of a wheel that was read already, and what ``more`` was looked at."""
    if promise is None and facts.statement:
        promise, target = facts.statement.promise, facts.statement.target
    checks = (*rules.audit(facts, promise, base, denied=miscompiles.KNOWN, broken=broken), *more)
    return AuditReport(
        schema=1,
        wheel=facts.file,
        sha256=facts.sha256,
        size=facts.size,
        target=target,
        ok=not any(check.fails for check in checks),
        checks=checks,
        unread=facts.unread,
        waived=promise.waived if promise else {},
    )


def broken(facts: WheelFacts, promise: Promise | None) -> frozenset[tuple[str, str]]:
    """Return the rules of any wheel that a base wheel breaks, each with what breaks it, if this is promised of it."""
    found = rules.of_any(facts, promise, miscompiles.KNOWN)
    return frozenset(rules.place(one, facts) for one in found if not one.ok)


def demand(report: AuditReport, *, but: Collection[Check] = ()) -> None:
    """Raise AuditError with every failed check that is not in ``but``, if there is one."""
    failed = [check for check in report.checks if check.fails and check not in but]
    faults = [f"{check.check}: {check.subject}: {check.detail}" for check in failed]
    if faults:
        raise AuditError(
            f"{report.wheel} does not hold "
            + (f"what {report.target} promises" if report.target else f"the rules of {report.held}"),
            faults=faults,
            hint=_hint(report),
        )


def _hint(report: AuditReport) -> str:
    """Return what to do next: for kernels alone, what to try in their source."""
    failed = {check.check: None for check in report.checks if check.fails}
    if set(failed) == {resources.CHECK}:
        return resources.HINT
    rules = [rule for rule in failed if rule in waiver.RULES or rule.startswith(waiver.MISCOMPILE)]
    hint = "'retread inspect' shows what it holds; correct the wheel, or what is promised of it"
    if rules:
        hint += (
            f'; what its base wheel breaks itself, a recipe waives: {waiver.key("NAME", rules[0])} = "reason"'
        )
    return hint
