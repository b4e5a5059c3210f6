"""Stage *audit*: what a finished wheel really holds, against what its target promised."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from retread.audit import rules
from retread.audit.report import AuditReport
from retread.elf.facts import LibraryFacts
from retread.errors import AuditError
from retread.records import digest
from retread.wheel import contents
from retread.wheel.contents import Known
from retread.wheel.facts import WheelFacts
from retread.wheel.statement import Promise


def audit(
    wheel: Path,
    scratch: Path,
    *,
    promise: Promise | None,
    target: str = "",
    base: Mapping[str, LibraryFacts] | None = None,
    known: Known | None = None,
) -> AuditReport:
    """Read the wheel's bytes and return every check; WheelError when nothing can be said of them.

    Without ``promise`` the wheel is held to its own statement, when it carries one.
    """
    if not contents.is_wheel(wheel):
        return _file(wheel, scratch)
    facts, _ = contents.examine(wheel, scratch, known, lenient=True)
    return judge(facts, promise=promise, target=target, base=base)


def _file(path: Path, scratch: Path) -> AuditReport:
    """Return the checks of a file that is no wheel: what it is, and whether all of its code could be read."""
    found = contents.read(path, scratch)
    checks = () if isinstance(found, WheelFacts) else tuple(rules.of_file(path.name, found))
    data = path.read_bytes()
    return AuditReport(
        schema=1,
        wheel=path.name,
        sha256=digest(data),
        size=len(data),
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
) -> AuditReport:
    """Return every check of a wheel that was read already."""
    if promise is None and facts.statement:
        promise, target = facts.statement.promise, facts.statement.target
    checks = rules.audit(facts, promise, base)
    return AuditReport(
        schema=1,
        wheel=facts.file,
        sha256=facts.sha256,
        size=facts.size,
        target=target,
        ok=all(check.ok for check in checks),
        checks=checks,
        unread=facts.unread,
    )


def demand(report: AuditReport) -> None:
    """Raise AuditError with every failed check, if there is one."""
    faults = [f"{check.check}: {check.subject}: {check.detail}" for check in report.checks if not check.ok]
    if faults:
        raise AuditError(
            f"{report.wheel} does not hold "
            + (f"what {report.target} promises" if report.target else f"the rules of {report.held}"),
            faults=faults,
            hint="'retread inspect' shows what it holds; correct the wheel, or what is promised of it",
        )
