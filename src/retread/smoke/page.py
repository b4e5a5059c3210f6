"""A smoke report as one HTML page that needs nothing else: no network, no script. Pure: records in, text out."""

from __future__ import annotations

from typing import NamedTuple

from retread.records import Sha256
from retread.smoke import details
from retread.smoke.details import Error, Failure, Group, Speed
from retread.smoke.report import Case, Run, SmokeReport
from retread.smoke.tally import Tally, Verdict, fate, headline, tally, whole
from retread.text import charts, markup
from retread.text.charts import Bar, Dot
from retread.units import utc


def _mark(fate: str) -> str:
    """Return how a verdict looks: what neither passed nor failed is no failure, and is not good."""
    return {Verdict.PASSED.value: "good", Verdict.FAILED.value: "bad"}.get(fate, "warn")


_FILTERS = (("shown", details.shown), ("told", details.told), ("utc", utc), ("mark", _mark))


class Suite(NamedTuple):
    """A suite's cases and how they ended."""

    name: str
    tally: Tally
    cases: list[Case]


class Shown(NamedTuple):
    """Cases that failed alike and what is known of them."""

    failure: Failure
    facts: dict[str, str]


class View(NamedTuple):
    """A run as the page shows it."""

    run: Run
    anchor: str
    fate: str
    tally: Tally
    around: dict[str, str]
    failures: list[Shown]
    suites: list[Suite]
    skipped: list[Group]
    notes: list[Group]
    odd: list[Error]
    """Errors that are no finite number: the chart cannot show them."""
    errors: str
    """SVG; empty when nothing was measured."""
    speeds: list[Speed]
    bars: str
    """SVG; empty when nothing was measured."""
    sentence: str


def page(report: SmokeReport) -> str:
    """Return a report as a standalone page; whatever the report says stands there as text."""
    views = [_view(run, f"run-{index}", report) for index, run in enumerate(report.runs, start=1)]
    return markup.render(
        "smoke.html",
        _FILTERS,
        report=report,
        headline=headline(report),
        verdict=whole(report).verdict,
        views=views,
        untouched=details.untouched(report),
        untouched_words=details.untouched_words(report),
    )


def _view(run: Run, anchor: str, report: SmokeReport) -> View:
    errors, speeds = details.errors(run), details.speeds(run)
    return View(
        run=run,
        anchor=anchor,
        fate=fate(run),
        tally=tally(run.cases),
        around=_around(run, report.sha256),
        failures=[Shown(one, details.facts(one.case, run.level)) for one in details.alike(run)],
        suites=[Suite(name, tally(cases), cases) for name, cases in details.suites(run).items()],
        skipped=details.skipped(run),
        notes=details.notes(run),
        odd=[one for one in errors if one.ratio is None],
        errors=_error_chart(errors, f"{anchor}-errors"),
        speeds=speeds,
        bars=_speed_chart(speeds, f"{anchor}-speed", report.project),
        sentence=details.sentence(run),
    )


def _around(run: Run, wheel: Sha256) -> dict[str, str]:
    """Return a run's surroundings by the names that a reader sees."""
    around = run.surroundings
    gpus = [
        f"{gpu.name}, capability {gpu.capability}, {gpu.memory / 1e9:.1f} GB, {gpu.free / 1e9:.1f} GB free"
        for gpu in around.gpus
    ]
    served = f", serves CUDA up to {around.driver_cuda}" if around.driver_cuda else ""
    built = f"built with CUDA {around.torch_cuda}" if around.torch_cuda else "built without CUDA"
    return {
        "GPU": "; ".join(gpus) or "none",
        "driver": f"{around.driver}{served}" if around.driver else "none",
        "torch": f"{around.torch}, {built}" if around.torch else "none",
        "Triton": around.triton or "none",
        "Python": around.python,
        "platform": around.platform,
        "started": utc(run.started),
        "took": f"{run.seconds:.1f} s",
        **({"from the store": words} if (words := details.taken_words(run, wheel)) else {}),
        **{f"package {name}": version for name, version in around.packages.items()},
    }


def _error_chart(found: list[Error], name: str) -> str:
    points = [
        Dot(
            row=one.operator,
            kind=one.dtype,
            value=one.ratio,
            title=f"{one.case}: {one.ratio:.3g} of the tolerance ({one.dtype})",
        )
        for one in found
        if one.ratio is not None
    ]
    return charts.dots(points, name=name, title="Error divided by tolerance, for each case; 1 is the limit")


def _speed_chart(found: list[Speed], name: str, project: str) -> str:
    ratios = [
        Bar(one.shape, one.ratio, f"{one.case}: ratio {one.ratio:.3g}")
        for one in found
        if one.ratio is not None
    ]
    title = f"torch's time divided by {project}'s: to the right of 1, {project} is faster"
    return charts.bars(ratios, name=name, title=title)
