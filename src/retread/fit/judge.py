"""From an environment and the catalogue to what is said of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from retread.fit import candidates, serving
from retread.fit import driver as drivers
from retread.fit import findings as finding
from retread.fit.candidates import Listed
from retread.fit.catalogue import Catalogue, Usage
from retread.fit.environment import Environment
from retread.fit.report import Candidate, Finding, FitReport, UsageReport


def judge(
    environment: Environment,
    known: Catalogue,
    *,
    listed: Sequence[Listed] = (),
    usage: Sequence[UsageReport] = (),
) -> FitReport:
    """Return what is said of an environment."""
    libraries = serving.served(environment)
    findings = finding.findings(environment, known, libraries)
    found = candidates.candidates(environment, known, listed)
    driver = environment.driver
    return FitReport(
        schema=1,
        fits=not any(one.fault for one in findings),
        verdict=_verdict(environment, findings, found),
        python=environment.interpreter,
        torch=_torch(environment),
        triton=environment.version("triton"),
        hardware=environment.hardware,
        driver_cuda=drivers.shown(driver.cuda) if driver.version else "",
        findings=findings,
        libraries=libraries,
        imports=environment.imports,
        candidates=found,
        need=tuple(_need(environment, known)),
        usage=tuple(usage),
    )


def _torch(environment: Environment) -> str:
    version = environment.version("torch")
    if not version or "+" in version or not environment.torch_cuda:
        return version
    return f"{version}+cu{environment.torch_cuda.replace('.', '')}"


def _verdict(environment: Environment, findings: Sequence[Finding], found: Sequence[Candidate]) -> str:
    torch = f"torch {_torch(environment)}" if environment.version("torch") else "no torch"
    where = f"{torch}, Python {environment.interpreter.version}"
    if environment.hardware.gpus:
        where += f", GPU {' '.join(environment.hardware.gpus)}"
    projects = {one.project for one in found}
    there = [f"{one.name} {one.version}" for one in environment.packages if one.name in projects]
    faults = [one for one in findings if one.fault]
    if not faults:
        return f"fits: {', '.join([where, *there])}" + ("" if there else f"; {_take(found)}")
    more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    theirs = [one for one in faults if one.kind != "import"] or faults  # imports fail for what else is wrong
    best = next((one for one in found if one.fits), None)
    has = best is not None and f"{best.project} {best.version}" in there
    asked = not there or any(one.package in projects for one in theirs)
    take = f"; {_take(found)}" if asked and not has else ""
    if faults[0].kind == "torch":  # no wheel helps before that
        take = f"; {faults[0].next}"
    return f"does not fit: {where}: {faults[0].subject}: {faults[0].says}{more}{take}"


def _take(found: Sequence[Candidate]) -> str:
    best = next((one for one in found if one.fits), None)
    return f"take {best.project} {best.version} ({best.by})" if best else "no wheel that is known here fits"


def _need(environment: Environment, known: Catalogue) -> Iterator[str]:
    """Yield for each project what was measured on GPUs of this class, or on which others."""
    for one in known.usage:
        gpus = environment.hardware.gpus
        on_these = [measured for measured in one.measured if measured.gpu in gpus]
        yield from (f"{one.project}: {measured.says}" for measured in on_these)
        if not on_these:
            yield from _elsewhere(one, gpus)


def _elsewhere(usage: Usage, gpus: Sequence[str]) -> Iterator[str]:
    here = f"nothing was measured on capability {' '.join(gpus)}; elsewhere, " if gpus else ""
    yield from (f"{usage.project}: {here}{one.says}" for one in usage.measured)
