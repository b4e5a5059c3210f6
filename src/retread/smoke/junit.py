"""Smoke reports as JUnit XML, which every CI system reads. Pure: records in, text out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from retread.smoke.details import Failure, alike
from retread.smoke.report import Case, Fault, Outcome, Run, SmokeReport
from retread.smoke.tally import fate, tally
from retread.text.controls import legal
from retread.units import utc


def xml(report: SmokeReport) -> str:
    """Return a report as JUnit XML: a testsuite for each suite of each run, a testcase for each case."""
    root = _element(None, "testsuites", name=report.wheel)
    for run, label in zip(report.runs, _labels(report.runs), strict=True):
        suites = dict.fromkeys(case.suite for case in run.cases) or {"run": None}
        for suite in suites:
            _suite(root, report, run, suite, label)
    _count(
        root, [case for run in report.runs for case in run.cases], sum(bool(r.unable) for r in report.runs)
    )
    indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _suite(root: Element, report: SmokeReport, run: Run, suite: str, label: str) -> None:
    cases = [case for case in run.cases if case.suite == suite]
    made = _element(root, "testsuite", name=f"{label}: {suite}", timestamp=utc(run.started).removesuffix("Z"))
    _count(made, cases, int(bool(run.unable)))
    properties = _element(made, "properties")
    for name, value in _properties(report, run).items():
        _element(properties, "property", name=name, value=value)
    # Readers take a dot for the border between package and class.
    where = f"{label}.{suite}" if "." not in label else f"{label.replace('.', '_')}.{suite}"
    groups = {id(case): one for one in alike(run) for case in one.cases}
    for case in cases:
        _case(made, case, where, groups.get(id(case)))
    if run.unable:
        alone = _element(made, "testcase", classname=where, name="run", time="0.000")
        _element(alone, "skipped", message=run.unable)


def _case(suite: Element, case: Case, where: str, failed: Failure | None) -> None:
    made = _element(suite, "testcase", classname=where, name=case.id, time=_time(case.seconds))
    if case.outcome is Outcome.SKIPPED:
        _element(made, "skipped", message=case.reason)
    elif failed:
        _failure(made, case, failed)
    remarks = [f"note: {case.note}"] if case.note else []
    remarks += [f"{name}: {value}" for name, value in case.numbers.items()]
    if remarks:
        _element(made, "system-out", "\n".join(remarks))


def _failure(made: Element, case: Case, failed: Failure) -> None:
    """Add why a case failed; of cases that failed alike one has the whole account, the others name it."""
    kind = case.fault.type if case.fault else "Failure"
    message = case.reason or (case.fault.message if case.fault else "no reason given")
    if len(failed.cases) > 1:
        message = f"{message} ({len(failed.cases)} cases alike)"
    text = "\n\n".join(_accounts(case)) if case is failed.case else f"as {failed.case.id}"
    _element(made, "failure", text, message=message, type=kind)


def _accounts(case: Case) -> Iterable[str]:
    if case.fault:
        yield _account(case.fault)
    if case.again:
        yield f"Run alone with CUDA_LAUNCH_BLOCKING=1:\n{_account(case.again)}"


def _account(fault: Fault) -> str:
    lines = (
        f"{fault.type}: {fault.message}",
        f"where: {fault.where}" if fault.where else "",
        f"kernel: {fault.kernel}" if fault.kernel else "",
        fault.stack,
    )
    return "\n".join(filter(None, lines))


def _properties(report: SmokeReport, run: Run) -> dict[str, str]:
    around = run.surroundings
    found = {
        "wheel": report.wheel,
        "sha256": report.sha256,
        "recipe": report.recipe,
        "target": report.target,
        "kit": report.kit,
        "level": str(run.level),
        "result": fate(run),
        "gpu": ", ".join(f"{gpu.name} ({gpu.capability})" for gpu in around.gpus),
        "driver": around.driver,
        "driver_cuda": around.driver_cuda,
        "torch": around.torch,
        "torch_cuda": around.torch_cuda,
        "triton": around.triton,
        "python": around.python,
        "platform": around.platform,
        "outside": around.outside,
        **{f"package {name}": version for name, version in around.packages.items()},
    }
    return {name: value for name, value in found.items() if value}


def _labels(runs: Sequence[Run]) -> list[str]:
    """Return a name for each run: its level, with versions and a number as far as needed to tell them apart."""
    levels = [run.level for run in runs]
    found: list[str] = []
    for run in runs:
        around = run.surroundings
        versions = f" torch {around.torch or 'none'} Triton {around.triton or 'none'}"
        name = f"{run.level}{versions if levels.count(run.level) > 1 else ''}"
        taken = sum(one == name or one.startswith(f"{name} #") for one in found)
        found.append(f"{name} #{taken + 1}" if taken else name)
    return found


def _count(element: Element, cases: Sequence[Case], unable: int) -> None:
    found = tally(cases)
    element.set("tests", str(sum(found) + unable))
    element.set("failures", str(found.failed))
    element.set("errors", "0")
    element.set("skipped", str(found.skipped + unable))
    element.set("time", _time(sum(case.seconds for case in cases)))


def _time(seconds: float) -> str:
    return f"{seconds:.3f}" if math.isfinite(seconds) else "0.000"


def _element(parent: Element | None, tag: str, text: str = "", **attributes: str) -> Element:
    legals = {name: legal(value) for name, value in attributes.items()}
    made = Element(tag, legals) if parent is None else SubElement(parent, tag, legals)
    made.text = legal(text) or None
    return made
