"""What the package index means for recipes: what is new upstream, what becomes of the series, what is to be done.

Pure: offers, verdicts, facts and reports in; records out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final

import msgspec
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from retread import pypa
from retread.arch import Arch
from retread.elf.facts import LibraryFacts, coverage
from retread.errors import PlanError, RetreadError
from retread.queue.fate import Fate, PatchFate
from retread.recipe import plan
from retread.recipe.lane import Lane
from retread.recipe.model import Recipe, Target
from retread.recipe.series import ChangeKind, Patch
from retread.recipe.trial import Trial
from retread.records import Record, Sha256
from retread.smoke import details, tally
from retread.smoke.report import SmokeReport
from retread.source.records import Applied, Verdict
from retread.wheel.facts import WheelFacts

SCHEMA: Final = 1
_FIXED: Final = re.compile(r"fixed in (\S+) \(")
_CUDART: Final = "libcudart.so."
_SHOWN: Final = 5


STOPS: Final = frozenset({Verdict.CONFLICT, Verdict.GONE})
"""Verdicts of a patch of which a bump says more."""


class Upstream(Record, frozen=True, kw_only=True):
    """The newest upstream release that has a source archive, and what becomes of the series on it."""

    version: str
    file: str
    sha256: Sha256
    newer: bool
    """Whether it is newer than what the recipe pins; else the series was tried on the pinned source."""
    proven: bool
    """Whether a commit proof covers the source that the series was tried on; only the pinned one has one."""
    without_source: tuple[str, ...]
    """Releases that are newer still and have no source archive."""
    series: tuple[Applied, ...]
    fates: tuple[PatchFate, ...] = ()
    """What ``recipe bump`` says of each patch on it, where one does not apply; else nothing."""
    superfluous: tuple[str, ...]
    """Patches that users of it do not lack: it holds them, or a fix of its own, or all that they change is gone."""


def fate(upstream: Upstream, name: str) -> Fate | None:
    """Return what a bump says of a patch; None where none was tried."""
    return next((one.fate for one in upstream.fates if one.name == name), None)


class Need(Record, frozen=True, kw_only=True):
    """Whether users need the recipe's wheels still."""

    wheel: str
    """The upstream wheel that was read; empty when something else decided."""
    kept_by: tuple[str, ...]
    """What users lack in upstream's newest; empty: nothing, so that the recipe is needless."""


class JitState(StrEnum):
    """What became of the jit level under the newest torch and Triton."""

    PASSED = "passed"
    FAILED = "failed"
    NOTHING = tally.Verdict.NOTHING.value
    UNFIT = "not made for it"
    UNTRIED = "not tried"


_STATES: Final = {
    tally.Verdict.PASSED: JitState.PASSED,
    tally.Verdict.FAILED: JitState.FAILED,
    tally.Verdict.NOTHING: JitState.NOTHING,
}


class Jit(Record, frozen=True, kw_only=True):
    """The jit level of the recipe's wheel under the newest torch and Triton of the index."""

    state: JitState
    why: str = ""
    """Why it was not tried, or why nothing ran."""
    torch: str = ""
    triton: str = ""
    target: str = ""
    wheel: str = ""
    sha256: str = ""
    passed: int = 0
    skipped: int = 0
    failed: int = 0
    failures: tuple[str, ...] = ()
    """The first cases that failed, with their reasons."""
    skips: tuple[str, ...] = ()
    """Why cases were skipped, the most frequent first: a kernel that nobody compiled is no kernel that passed."""


class Action(StrEnum):
    """What a maintainer is asked to do; ``{}`` stands for the subject."""

    PIN = "pin {} in a recipe"
    DROP = "drop {}"
    REMAKE = "make {} anew"
    AIM = "aim {} elsewhere, or drop it"
    LOOK = "look at {}"
    RETIRE = "retire the recipe for {}"
    MEND = "mend what fails under {}"
    ASK = "ask again for {}"


class Task(Record, frozen=True, kw_only=True):
    """One thing to do for a recipe."""

    action: Action
    subject: str
    why: str = ""
    """In retread's own words."""
    detail: str = ""
    """In the words of others: paths of an archive, messages. It may hold anything."""


class RecipeOutlook(Record, frozen=True, kw_only=True):
    """What the index means for one recipe; what could not be asked is null, and stands in ``errors``."""

    recipe: str
    project: str
    version: str
    heir: str
    """The recipe of the project that is nearest to the newest release: the work on the series is done there."""
    upstream: Upstream | None
    need: Need | None
    jit: Jit | None
    errors: tuple[str, ...]
    tasks: tuple[Task, ...]


class Outlook(Record, frozen=True, kw_only=True):
    """What the index means for recipes."""

    schema: int
    attention: bool
    """Whether a maintainer has anything to do."""
    title: str
    """Of the issue that says it."""
    recipes: tuple[RecipeOutlook, ...]


# The series on the newest source.


def heir(recipe: Recipe, others: Mapping[str, Recipe]) -> str:
    """Return the name of the project's recipe with the highest version; ``recipe`` itself when it has that."""
    family = [recipe, *(one for one in others.values() if one.project == recipe.project)]
    return max(family, key=lambda one: pypa.version(one.version)).name


def superfluous(patch: Patch, applied: Applied, version: Version, files: Collection[str]) -> bool:
    """Say whether users of ``version``, a source of these files, lack nothing without the patch.

    The source holds it already. Or it does not fit, and its own header says that upstream fixed the fault by then, in
    other words. Or every file that it changes is gone, and none of the same name is elsewhere: where some are left,
    or one may have moved, a person has to look.
    """
    if applied.verdict in {Verdict.APPLIES, Verdict.OFFSET, Verdict.UPSTREAM}:
        return applied.verdict is Verdict.UPSTREAM
    fixed = _FIXED.match(patch.upstream)
    with suppress(InvalidVersion):
        if fixed and pypa.version(fixed[1]) <= version:
            return True
    if applied.verdict is not Verdict.GONE:
        return False
    names = {PurePosixPath(path).name for path in files}
    changed = [change.path for change in patch.changes if change.kind is not ChangeKind.ADD]
    return all(path not in files and PurePosixPath(path).name not in names for path in changed)


# Whether the recipe is needed.


def kept_by_series(recipe: Recipe, upstream: Upstream) -> list[str]:
    """Return what users lack in the newest source: the patches that upstream does not have."""
    if not upstream.newer:
        return [f"{recipe.version} is the newest release"]
    return [f"{one.name} ({one.verdict})" for one in upstream.series if one.name not in upstream.superfluous]


def kept_by_wheel(recipe: Recipe, wheel: WheelFacts) -> list[str]:
    """Return what an upstream wheel lacks of what the recipe's targets promise."""
    return [f"{name}: {lack}" for name, target in recipe.targets.items() for lack in lacks(target, wheel)]


def lacks(target: Target, wheel: WheelFacts) -> list[str]:
    """Return what an upstream wheel lacks of what a target promises."""
    return [*torch_lacks(target, wheel), *_code_lacks(target, wheel)]


def torch_lacks(target: Target, wheel: WheelFacts) -> Iterator[str]:
    """Say whether some torch of the target's range is outside of the wheel's.

    Ranges begin and end at versions that they name, so these and the one that the target is tried with are looked at.
    """
    if not target.torch:
        return
    served, wanted = pypa.specifiers(target.torch), SpecifierSet()
    for one in map(pypa.requirement, wheel.requires):
        if one.name.lower() == "torch" and (not one.marker or one.marker.evaluate({"extra": ""})):
            wanted &= one.specifier
    named = [one.version.removesuffix(".*") for one in (*served, *wanted)]
    named += [target.smoke.torch] if target.smoke else []
    missed = [
        one
        for one in named
        if served.contains(one, prereleases=True) and not wanted.contains(one, prereleases=True)
    ]
    if missed:
        yield f"the upstream wheel is for torch {wanted}, the target for {served}"


def _code_lacks(target: Target, wheel: WheelFacts) -> Iterator[str]:
    libraries = {name: facts for name, facts in wheel.libraries.items() if facts.modules}
    if target.architectures and not libraries:
        yield "the upstream wheel holds no GPU code"
    major = target.cuda.partition(".")[0]
    for name, facts in libraries.items():
        others = [one for one in cuda_majors(facts) if one != major]
        if others:
            yield f"upstream's {name} is for CUDA {', '.join(others)}"
        promised = next((one.architectures for one in target.exempt if one.library == name), None)
        lacks = _lacking(facts, target.architectures if promised is None else promised)
        if lacks:
            yield f"upstream's {name} has no native code for {' '.join(lacks)}"


def _lacking(facts: LibraryFacts, architectures: Sequence[Arch]) -> list[Arch]:
    return [one for one in architectures if coverage(facts, one) != "native"]


def cuda_majors(facts: LibraryFacts) -> list[str]:
    """Return the major releases of CUDA whose runtime a library loads; nothing when it has it inside."""
    return [one.removeprefix(_CUDART).partition(".")[0] for one in facts.needed if one.startswith(_CUDART)]


# The jit level.


def overlay_target(recipe: Recipe, patches: Sequence[Patch]) -> str:
    """Return the first target that the overlay lane makes; PlanError says of each why there is none."""
    faults = []
    for name in recipe.targets:
        try:
            plan.choose_lane(recipe, name, patches, Lane.OVERLAY)
        except PlanError as error:
            faults.append(f"{name}: {'; '.join(error.faults) or error.message}")
        else:
            return name
    raise PlanError(f"{recipe.name}: the overlay lane makes no target", faults=faults)


def retried(recipe: Recipe, name: str, trial: Trial) -> Recipe:
    """Return the recipe with a target that is tried in another way."""
    target = recipe.targets[name]
    changed = msgspec.structs.replace(target, smoke=trial)
    return msgspec.structs.replace(recipe, targets={**recipe.targets, name: changed})


def jit(report: SmokeReport, *, torch: str, triton: str) -> Jit:
    """Return what a smoke report says of the jit level."""
    found = tally.whole(report)
    failed = [f"{one.title}: {one.reason}" for run in report.runs for one in details.alike(run)]
    skipped = [group for run in report.runs for group in details.skipped(run)]
    idle = [] if any(found) else [details.reasons(run) for run in report.runs]
    return Jit(
        state=_STATES[found.verdict],
        why="; ".join(idle),
        torch=torch,
        triton=triton,
        target=report.target,
        wheel=report.wheel,
        sha256=report.sha256,
        **found._asdict(),
        failures=tuple(failed[:_SHOWN]),
        skips=tuple(f"{one.size} skipped: {one.text}" for one in skipped[:_SHOWN]),
    )


def jit_words(jit: Jit) -> str:
    """Return in a few words what became of the jit level."""
    under = f"torch {jit.torch}, Triton {jit.triton}"
    match jit.state:
        case JitState.PASSED:
            return f"{under}: {jit.passed} passed, {jit.skipped} skipped"
        case JitState.FAILED:
            return f"{under}: {jit.failed} FAILED, {jit.passed} passed, {jit.skipped} skipped"
        case JitState.NOTHING:
            return f"{under}: {jit.state}, {jit.why or f'{jit.skipped} skipped'}"
        case JitState.UNFIT | JitState.UNTRIED:
            return f"{jit.state}: {jit.why}"


# What is to be done.


def judge(
    recipe: Recipe,
    heir: str,
    *,
    upstream: Upstream | None,
    need: Need | None,
    jit: Jit | None,
    errors: Sequence[RetreadError] = (),
) -> RecipeOutlook:
    """Return what the answers mean for a recipe."""
    tasks: list[Task] = []
    if need and not need.kept_by:
        why = "every target is served by it, and no patch is lacking"
        tasks.append(Task(action=Action.RETIRE, subject=need.wheel, why=why))
    elif upstream and heir == recipe.name:
        tasks += _series_tasks(upstream)
    if jit and jit.state is JitState.FAILED:
        tasks.append(_mending(jit))
    tasks += [_question(recipe.name, error) for error in errors]
    return RecipeOutlook(
        recipe=recipe.name,
        project=recipe.project,
        version=recipe.version,
        heir=heir,
        upstream=upstream,
        need=need,
        jit=jit,
        errors=tuple(_told(error) for error in errors),
        tasks=tuple(tasks),
    )


def unread(name: str, error: RetreadError) -> RecipeOutlook:
    """Return the row of a recipe that cannot be read."""
    return RecipeOutlook(
        recipe=name, project="", version="", heir="", upstream=None, need=None, jit=None,
        errors=(_told(error),), tasks=(_question(name, error),),
    )  # fmt: skip


def outlook(recipes: Sequence[RecipeOutlook]) -> Outlook:
    """Return the whole, with the title of the issue that says it."""
    names = [one.recipe for one in recipes if one.tasks]
    if not names:
        title = "Upstream: nothing to do"
    elif len(names) == 1:
        title = f"Upstream: {names[0]} wants attention"
    elif len(names) == 2:
        title = f"Upstream: {' and '.join(names)} want attention"
    else:
        title = f"Upstream: {len(names)} recipes want attention"
    return Outlook(schema=SCHEMA, attention=bool(names), title=title, recipes=tuple(recipes))


def _series_tasks(upstream: Upstream) -> Iterator[Task]:
    version = upstream.version
    if upstream.newer:
        yield Task(action=Action.PIN, subject=version, why="the newest release has no recipe")
    for one in upstream.series:
        match one.verdict:
            case Verdict.UPSTREAM:
                yield Task(action=Action.DROP, subject=one.name, why=f"{version} has it already")
            case Verdict.GONE if one.name in upstream.superfluous:
                why = f"what it changes is gone from {version}; see that the fault went with it"
                yield Task(action=Action.DROP, subject=one.name, why=why)
            case Verdict.CONFLICT if one.name in upstream.superfluous:
                why = f"its header says that upstream fixed it; see that {version} does, where it does not apply"
                yield Task(action=Action.DROP, subject=one.name, why=why, detail=one.detail)
            case Verdict.GONE:
                why = f"{version} lacks a file that it changes{_bump(upstream, one.name)}"
                yield Task(action=Action.AIM, subject=one.name, why=why, detail=one.detail)
            case Verdict.CONFLICT:
                why = f"it does not apply to {version}{_bump(upstream, one.name)}"
                yield Task(action=Action.REMAKE, subject=one.name, why=why, detail=one.detail)
            case Verdict.APPLIES | Verdict.OFFSET:
                pass
    for text in upstream.without_source:
        why = "it is newer still and has no source archive, so that no patch could be tried on it"
        yield Task(action=Action.LOOK, subject=text, why=why)


def _bump(upstream: Upstream, name: str) -> str:
    found = fate(upstream, name)
    return f"; a bump says {found}" if found else ""


def _mending(jit: Jit) -> Task:
    why = f"{jit.failed} of {sum(tally.counts(jit))} cases fail"
    subject = f"torch {jit.torch}, Triton {jit.triton}"
    return Task(action=Action.MEND, subject=subject, why=why, detail=jit.failures[0])


def _question(name: str, error: RetreadError) -> Task:
    return Task(
        action=Action.ASK, subject=name, why=f"it stopped with a {error.kind} error", detail=_told(error)
    )


def _told(error: RetreadError) -> str:
    return ": ".join((error.message, *error.faults[:1]))
