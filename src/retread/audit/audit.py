"""Stage *audit*: what a finished wheel really holds, against what its target promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from retread.audit import resources, rules
from retread.audit.report import AuditReport
from retread.elf.facts import LibraryFacts
from retread.elf.kernels import Kernel
from retread.errors import AuditError
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
    known: Known | None = None,
) -> AuditReport:
    """Read the wheel's bytes and return every check; WheelError and the like when they cannot be read at all.

    Without ``promise`` the wheel is held to its own statement, when it carries one. Of one that was compiled without
    nvcc each kernel is looked at, too.
    """
    facts, _ = contents.examine(wheel, scratch, known)
    kernels = contents.kernels(wheel, scratch) if without_nvcc(facts.statement) else None
    return judge(facts, promise=promise, target=target, base=base, kernels=kernels)


def without_nvcc(said: Statement | None) -> bool:
    """Say whether a wheel was compiled by another compiler than NVIDIA's, by what it says of itself."""
    return bool(said and said.compiled and compiler_of(said.compiled) != NVCC)


def judge(
    facts: WheelFacts,
    *,
    promise: Promise | None,
    target: str = "",
    base: Mapping[str, LibraryFacts] | None = None,
    kernels: Mapping[str, Sequence[Kernel]] | None = None,
) -> AuditReport:
    """Return every check of a wheel that was read already, of its ``kernels`` where they were."""
    if promise is None and facts.statement:
        promise, target = facts.statement.promise, facts.statement.target
    checks = (*rules.audit(facts, promise, base), *resources.checks(kernels or {}))
    return AuditReport(
        schema=1,
        wheel=facts.file,
        sha256=facts.sha256,
        size=facts.size,
        target=target,
        ok=all(check.ok for check in checks),
        checks=checks,
    )


def demand(report: AuditReport) -> None:
    """Raise AuditError with every failed check, if there is one."""
    faults = [f"{check.check}: {check.subject}: {check.detail}" for check in report.checks if not check.ok]
    if faults:
        raise AuditError(
            f"{report.wheel} does not hold "
            + (f"what {report.target} promises" if report.target else "the rules of any wheel"),
            faults=faults,
            hint=_hint(report),
        )


def _hint(report: AuditReport) -> str:
    """Return what to do next: for kernels alone, what to try in their source."""
    if {check.check for check in report.checks if not check.ok} == {resources.CHECK}:
        return resources.HINT
    return "'retread inspect' shows what it holds; correct the wheel, or what is promised of it"
