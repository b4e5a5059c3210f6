"""How smoke reports look in a terminal. Pure: records in, text out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from retread.errors import first
from retread.smoke.details import (
    Error,
    Failure,
    Group,
    Speed,
    alike,
    architectures,
    durations,
    errors,
    facts,
    notes,
    sentence,
    shown,
    skipped,
    speeds,
    suites,
    surroundings,
    taken,
    taken_words,
    untouched,
    untouched_words,
)
from retread.smoke.level import Level
from retread.smoke.report import Run, SmokeReport
from retread.smoke.tally import Inherited, Verdict, fate, headline, tally
from retread.text.tables import columns, cut, plain, wrapped


def table(report: SmokeReport) -> str:
    """Return a report for a terminal: the verdict, each run with what failed, was skipped and was measured."""
    lines = [
        f"{report.wheel}: {headline(report)}",
        f"sha256 {report.sha256}",
        f"recipe {report.recipe}, target {report.target}",
    ]
    for run in report.runs:
        lines += ["", *_run(run, report)]
    return plain([*lines, "", *wrapped(untouched_words(report), "")])


def evidence(reports: Sequence[SmokeReport]) -> str:
    """Return what several reports say of a wheel: a line for each run, what failed, and what nothing tried."""
    lines: list[str] = []
    for digest in dict.fromkeys(report.sha256 for report in reports):
        lines += ["", *_evidence([report for report in reports if report.sha256 == digest])]
    return plain(lines[1:] or ["no smoke reports"])


def _run(run: Run, report: SmokeReport) -> Iterator[str]:
    yield from wrapped(f"{run.level}: {', '.join(surroundings(run))}, {run.seconds:.1f} s", "", "    ")
    if run.surroundings.outside:
        yield from wrapped(f"outside of what the wheel promises: {run.surroundings.outside}", "  ", "    ")
    if run.unable:
        yield from wrapped(f"could not run here: {run.unable}", "  ", "    ")
        return
    if tally(run.cases).verdict is Verdict.NOTHING:
        yield f"  {Verdict.NOTHING}"
    yield from columns(
        ("suite", "passed", "failed", "skipped"),
        [(name, *map(str, tally(cases))) for name, cases in suites(run).items()],
    )
    yield from wrapped(taken_words(run, report.sha256), "  ", "    ")
    for failure in alike(run):
        yield from _failure(failure, run.level)
    yield from _groups("skipped:", skipped(run))
    yield from _groups("notes:", notes(run))
    yield from _errors(errors(run))
    yield from _speeds(speeds(run), report.project)
    yield from wrapped(sentence(run), "  ")
    yield from _durations(run)


def _durations(run: Run) -> Iterator[str]:
    if found := durations(run):
        yield "  where the seconds went, of each suite and of the slowest cases:"
        rows = [
            (cut(name), f"{whole:.1f}", *(f"{one:.1f}" for one in parts.values()))
            for name, whole, parts in found
        ]
        yield from columns(("", "all", *found[0][2]), rows)


def _failure(failure: Failure, level: Level) -> Iterator[str]:
    case, count = failure.case, len(failure.cases)
    yield f"  FAILED {f'{count} cases alike, as ' if count > 1 else ''}{case.id} ({case.seconds:.1f} s)"
    for name, words in facts(case, level).items():
        yield from wrapped(f"{name}: {words}", "    ", "      ")
    others = [one.id for one in failure.cases if one is not case]
    if others:
        yield from wrapped(f"also: {', '.join(first(others))}", "    ", "      ")


def _groups(title: str, groups: Sequence[Group]) -> Iterator[str]:
    if groups:
        yield f"  {title}"
    for text, size, example in groups:
        label = f"{size:>7}  "
        yield from wrapped(text, label, " " * len(label))
        yield f"{'':{len(label)}}{'for example ' if size > 1 else ''}{example}"


def _errors(found: Sequence[Error]) -> Iterator[str]:
    """Yield the worst error of each operator, of those that can be compared with their tolerance."""
    operators: dict[str, list[Error]] = {}
    for one in found:
        operators.setdefault(one.operator, []).append(one)
    rows = []
    for name, members in operators.items():
        sound = [(one.ratio, one.case) for one in members if one.ratio is not None]
        ratio, case = max(sound, key=lambda pair: pair[0], default=(None, ""))
        odd = len(members) - len(sound)
        rows.append((cut(name), str(len(members)), str(odd or "-"), shown(ratio), case))
    if rows:
        yield "  errors, as a part of their tolerance:"
        yield from columns(("operator", "cases", "not finite", "worst", "in"), rows, text=(0, 4))


def _speeds(found: Sequence[Speed], project: str) -> Iterator[str]:
    if found:
        yield f"  speed; a ratio above 1 means that {project} is faster than torch:"
        heads = ("shape", f"{project} ms", "torch ms", "ratio", "TFLOP/s")
        rows = [(cut(one.shape), *map(shown, (one.own, one.torch, one.ratio, one.tflops))) for one in found]
        yield from columns(heads, rows)


def _evidence(reports: Sequence[SmokeReport]) -> Iterator[str]:
    runs = [run for report in reports for run in report.runs]
    yield reports[0].wheel
    yield f"sha256 {reports[0].sha256}"
    heads = ("level", "result", "GPU", "torch", "Triton", "passed", "failed", "skipped", "remarks")
    yield from columns(heads, [_evidence_row(run) for run in runs], text=(0, 1, 2, 3, 4, 8))
    failed = Counter(f"{run.level} {one.title}: {one.reason}" for run in runs for one in alike(run))
    for words, times in failed.items():
        yield from wrapped(f"FAILED {words}{f' ({times} times)' if times > 1 else ''}", "  ", "    ")
    left = Counter(name for report in reports for name in untouched(report))
    for name, times in sorted(left.items()):
        whole = "every report" if times == len(reports) else f"{times} of {len(reports)} reports"
        yield f"  {name}: no case called into it in {whole}"


def _evidence_row(run: Run) -> tuple[str, ...]:
    around = run.surroundings
    compiled = architectures(run) if run.level is Level.JIT else []
    remarks = (
        run.unable,
        f"for {' '.join(compiled)}" if compiled else "",
        "outside" if around.outside else "",
        f"under {around.emulator}" if around.emulator else "",
        f"{len(taken(run))} from the store" if taken(run) else "",
    )
    gpus = Counter(f"{gpu.name} ({gpu.capability})" for gpu in around.gpus)
    return (
        str(run.level), fate(run), ", ".join(gpus) or "-", around.torch or "-", around.triton or "-",
        *map(str, tally(run.cases)), "; ".join(filter(None, remarks)),
    )  # fmt: skip


def inherited(one: Inherited) -> str:
    """Return what ran of another wheel, and for how much of this one it holds."""
    return (
        f"inherited: {one.kernels} of its {one.of} kernels have the machine code of {one.wheel}, "
        f"which passed on {one.where}; nothing of this wheel ran there"
    )
