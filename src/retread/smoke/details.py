"""What a report says in detail: reasons, faults, errors, speeds, surroundings, libraries. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from retread.records import Sha256
from retread.smoke.level import Level
from retread.smoke.report import Case, Fault, Outcome, Run, SmokeReport
from retread.smoke.tally import Verdict, place, whole
from retread.units import utc

BLOCKING: Final = "CUDA_LAUNCH_BLOCKING=1"
_SPEED: Final = "speed/"
_SLOWEST: Final = 12
"""So many cases are told with what they spent their time on."""
_DTYPE: Final = re.compile(r"b?fp?\d+|[bf]float\d+|float\d+|e[45]m[23](?:fn)?|half|double")
_ARCHITECTURE: Final = re.compile(r"(?:^|[/_-])sm_?(\d+)(\d[af]?)(?=$|[/_-])")


class Group(NamedTuple):
    """Cases of which the same is said."""

    text: str
    size: int
    example: str


class Failure(NamedTuple):
    """Cases that failed alike: for the same reason but for their own names, at the same line, in the same kernel."""

    case: Case
    """The one of which most is known: it ran again alone, or is the first."""
    cases: list[Case]
    """All of them, in the order in which they ran."""

    @property
    def title(self) -> str:
        """Which cases it is."""
        others = len(self.cases) - 1
        more = f" and {others} other{'s' if others > 1 else ''}, alike" if others else ""
        return f"{self.case.id}{more}"

    @property
    def reason(self) -> str:
        """Why they failed, in one line."""
        fault = self.case.fault
        return self.case.reason or (told(fault) if fault else "no reason given")


class Error(NamedTuple):
    """How far a case's result is off, as a part of what it may be off."""

    case: str
    operator: str
    dtype: str
    ratio: float | None
    """Error divided by tolerance; None when that is no finite number."""


class Speed(NamedTuple):
    """How long the project's operator and torch's took for the same."""

    case: str
    shape: str
    own: float | None
    """Milliseconds."""
    torch: float | None
    """Milliseconds."""
    ratio: float | None
    """torch's time divided by the project's: more than 1 is faster than torch."""
    tflops: float | None


def suites(run: Run) -> dict[str, list[Case]]:
    """Return the cases of each suite, in the order in which they ran."""
    found: dict[str, list[Case]] = {}
    for case in run.cases:
        found.setdefault(case.suite, []).append(case)
    return found


def surroundings(run: Run) -> list[str]:
    """Return under what a run ran, from the GPU to the Python, each as a few words."""
    around = run.surroundings
    words = [f"{gpu.name} ({gpu.capability})" for gpu in around.gpus] or ["no GPU"]
    if around.emulator:
        words = [f"ran under {around.emulator}, CPU only; GPU code assembled, not run"]
    if around.driver:
        words.append(
            f"driver {around.driver}" + (f" (CUDA {around.driver_cuda})" if around.driver_cuda else "")
        )
    built = f"CUDA {around.torch_cuda}" if around.torch_cuda else "without CUDA"
    words.append(f"torch {around.torch} ({built})" if around.torch else "no torch")
    words.append(f"Triton {around.triton}" if around.triton else "no Triton")
    return [*words, f"Python {around.python}"]


def skipped(run: Run) -> list[Group]:
    """Return the reasons for which cases were skipped, the most frequent first."""
    return _grouped(
        (case.reason or "no reason given", case.id) for case in run.cases if case.outcome is Outcome.SKIPPED
    )


def reasons(run: Run) -> str:
    """Return why nothing ran in a run."""
    if not run.cases:
        return run.unable or "no case"
    return "; ".join(f"{one.size} skipped: {one.text}" for one in skipped(run))


def label(run: Run) -> str:
    """Return a run's level, and where it ran."""
    return f"{run.level} ({place(run)})" if place(run) else run.level


def notes(run: Run) -> list[Group]:
    """Return what a reader should know of cases that did not fail."""
    return _grouped(
        (case.note, case.id) for case in run.cases if case.note and case.outcome is not Outcome.FAILED
    )


def taken(run: Run) -> list[Case]:
    """Return the cases that did not run, since the store had their results."""
    return [case for case in run.cases if case.taken]


def borrowed(run: Run, wheel: Sha256) -> list[Case]:
    """Return the cases whose results are of another wheel than this one."""
    return [case for case in run.cases if case.taken and case.taken.wheel != wheel]


def taken_words(run: Run, wheel: Sha256) -> str:
    """Return how many results were taken from the store, when they were made and of which wheel; empty for none."""
    made = sorted(case.taken.when for case in run.cases if case.taken)
    if not made:
        return ""
    times = dict.fromkeys((utc(made[0]), utc(made[-1])))
    others = len(borrowed(run, wheel))
    of = f", {others} of other wheels" if others else ", of this wheel"
    return f"{len(made)} of {len(run.cases)} taken from the store, made on {' to '.join(times)}{of}"


def durations(run: Run) -> list[tuple[str, float, dict[str, float]]]:
    """Return the suites and the slowest cases with their seconds and the parts of them, where these were counted."""
    if not any(case.parts for case in run.cases):
        return []
    groups = [*suites(run).items()]
    slowest = sorted(run.cases, key=lambda case: -case.seconds - case.parts.get("start", 0.0))[:_SLOWEST]
    return [_lasted(name, cases) for name, cases in (*groups, *((case.id, [case]) for case in slowest))]


def _lasted(name: str, cases: list[Case]) -> tuple[str, float, dict[str, float]]:
    """Return a name, all seconds, and each part; what is left of the cases' own seconds is called ``run``."""
    parts = {
        part: sum(case.parts.get(part, 0.0) for case in cases) for part in ("start", "import", "compile")
    }
    whole = sum(case.seconds for case in cases)
    parts["run"] = whole - parts["import"] - parts["compile"]
    return name, whole + parts["start"], parts


def failures(run: Run) -> list[Case]:
    """Return the cases that failed."""
    return [case for case in run.cases if case.outcome is Outcome.FAILED]


def alike(run: Run) -> list[Failure]:
    """Return the cases that failed, those that failed alike as one."""
    groups: dict[tuple[str, ...], list[Case]] = {}
    for case in failures(run):
        fault = case.fault
        said = nameless(case.id, Failure(case, [case]).reason)
        where = (fault.where, fault.kernel) if fault else ("", "")
        groups.setdefault((said, *where), []).append(case)
    return [Failure(next((one for one in cases if one.again), cases[0]), cases) for cases in groups.values()]


def nameless(name: str, reason: str) -> str:
    """Return a reason without the last part of the case's id: "import a: no x" and "import b: no x" are one fault."""
    own = name.rpartition("/")[2]
    return re.sub(rf"(?<![\w.]){re.escape(own)}(?!\w)", "*", reason) if re.search("[a-z]", own) else reason


def told(fault: Fault) -> str:
    """Return a fault in one line: kind, message, place and kernel, as far as they are known."""
    first = next(iter(fault.message.strip().splitlines()), "")
    words = first if first.startswith(fault.type) else ": ".join(filter(None, (fault.type, first)))
    words += f", in {fault.where}" if fault.where else ""
    return words + (f", kernel {fault.kernel}" if fault.kernel else "")


def facts(case: Case, level: Level) -> dict[str, str]:
    """Return what is known of a failure, by the names that a reader sees."""
    fault = case.fault
    found = {
        "reason": Failure(case, [case]).reason,
        "where": fault.where if fault else "",
        "kernel": fault.kernel if fault else "",
        "note": case.note,
        f"with {BLOCKING}": told(case.again) if case.again else "",
    }
    if level is Level.GPU and not case.again:
        found[f"with {BLOCKING}"] = "passed, or was not run again"
    return {name: words for name, words in found.items() if words}


def errors(run: Run) -> list[Error]:
    """Return the measured errors of a run, of every case that says an error and a tolerance."""
    found = []
    for case in run.cases:
        if {"error", "tolerance"} <= case.numbers.keys():
            error, tolerance = number(case.numbers["error"]), number(case.numbers["tolerance"])
            ratio = _part(error, tolerance)
            found.append(Error(case.id, _operator(case), _dtype(case), ratio))
    return found


def architectures(run: Run) -> list[str]:
    """Return for which architectures cases passed, by their ids (``sm_100``) or their number ``architecture``."""
    found = set()
    for case in run.cases:
        if case.outcome is Outcome.PASSED:
            found |= {f"{major}.{minor}" for major, minor in _ARCHITECTURE.findall(case.id)}
            named = case.numbers.get("architecture")
            found |= {named} if isinstance(named, str) else set()
    return sorted(found, key=lambda one: (len(one.partition(".")[0]), one))


def speeds(run: Run) -> list[Speed]:
    """Return the measured times of a run, of the cases whose ids begin with ``speed/``."""
    cases = [case for case in run.cases if case.id.startswith(_SPEED) and case.id != f"{_SPEED}verdict"]
    found = [_speed(case) for case in cases]
    return [one for one in found if (one.own, one.torch, one.ratio, one.tflops) != (None,) * 4]


def sentence(run: Run) -> str:
    """Return what the suite concludes of all the times; empty when it does not."""
    said = [case.numbers.get("sentence") for case in run.cases if case.id == f"{_SPEED}verdict"]
    return next((one for one in said if isinstance(one, str)), "")


def untouched(report: SmokeReport) -> list[str]:
    """Return the libraries that no case of any run called into; runs that could not start do not count."""
    runs = [run for run in report.runs if not run.unable] or report.runs
    first = runs[0].untouched if runs else ()
    return [name for name in first if all(name in run.untouched for run in runs)]


def untouched_words(report: SmokeReport) -> str:
    """Return in one sentence which libraries nothing is known of."""
    if whole(report).verdict is Verdict.NOTHING:
        return f"{Verdict.NOTHING}: nothing is known of any library"
    names = ", ".join(untouched(report))
    return f"no case called into: {names}" if names else "no library of the wheel was left out"


def number(value: object) -> float | None:
    """Return a finite number; None for anything else that a suite may have put there."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def shown(value: float | str | None) -> str:
    """Return a number as a suite gave it, with three significant digits; ``-`` for none."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _speed(case: Case) -> Speed:
    times = {key: number(value) for key, value in case.numbers.items() if f"_{key}".endswith("_ms")}
    torch = times.pop("torch_ms", None)
    own = next(iter(times.values()), None)
    ratio = torch / own if torch and own else number(case.numbers.get("ratio"))
    shape = str(case.numbers.get("shape") or case.id.removeprefix(_SPEED))
    rates = [number(value) for key, value in case.numbers.items() if f"_{key}".endswith("_tflops")]
    return Speed(case.id, shape, own, torch, ratio, next(iter(rates), None))


def _part(error: float | None, tolerance: float | None) -> float | None:
    """Return an error as a part of its tolerance; none of nothing is nothing."""
    if error is None or tolerance is None or tolerance < 0:
        return None
    return abs(error) / tolerance if tolerance else (0.0 if error == 0 else None)


def _operator(case: Case) -> str:
    """Return what a case names as its operator; without that, the first two parts of its id."""
    named = case.numbers.get("operator")
    return named if isinstance(named, str) and named else "/".join(case.id.split("/")[:2])


def _dtype(case: Case) -> str:
    named = case.numbers.get("dtype")
    if isinstance(named, str) and named:
        return named.removeprefix("torch.")
    return next((word for word in re.split(r"[/_.-]", case.id) if _DTYPE.fullmatch(word)), "other")


def _grouped(pairs: Iterable[tuple[str, str]]) -> list[Group]:
    found: dict[str, list[str]] = {}
    for text, case in pairs:
        found.setdefault(text, []).append(case)
    groups = [Group(text, len(cases), cases[0]) for text, cases in found.items()]
    return sorted(groups, key=lambda one: -one.size)
