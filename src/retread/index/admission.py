"""Which wheels may be listed: each is read, judged by its evidence, and let in, as proven or for a reason."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import structs

from retread import pypa, version
from retread.doors.console import NOTE
from retread.errors import GateError, PublishError, RetreadError, StoreError, WheelError
from retread.evidence import gate, soundness
from retread.evidence.gate import Admission, Policy
from retread.index import candidate, release
from retread.index.candidate import Candidate
from retread.index.release import Release
from retread.wheel import metadata
from retread.wheel.statement import Proof, Statement

_PLAIN: Final = re.compile(r"[a-z0-9][a-z0-9._+!-]*\.whl")
NOTHING: Final = Proof(gpu=(), triton=())
"""Static and jit are all that is asked."""


class Terms(NamedTuple):
    """On what terms wheels are let in."""

    policy: Policy | None
    """Whose word counts; without one no wheel is proven."""
    unproven: str = ""
    """The reason for which wheels without evidence are let in all the same."""
    wants: Callable[[Statement], Proof] = lambda _: NOTHING
    """What is demanded of a wheel of a retread that did not say it yet; every other says it itself."""
    release: Release | None = None
    """The plan of the release that the wheels are; without one they are none."""


class Fault(NamedTuple):
    """Why a wheel is refused; ``gate`` when that is its evidence and nothing else."""

    text: str
    gate: bool = False
    final: bool = False
    """Whether no reason lets it in."""


def examine(wheels: Sequence[Path], terms: Terms, scratch: Path) -> tuple[list[Candidate], list[Fault]]:
    """Return the wheels that are sound, by version, as they are admitted, and what stands against the others.

    Their bytes lie in ``scratch`` until they are listed: who writes to the files meanwhile changes nothing.
    """
    found: dict[str, Candidate] = {}
    faults = [] if wheels else [Fault("no wheel was named")]
    for wheel in wheels:
        try:
            one = _read(wheel, scratch)
        except StoreError:
            raise  # the disk's fault, not the wheel's
        except RetreadError as error:
            faults += [Fault(text) for text in _told(wheel.name, error)]
            continue
        one, lacking = _admitted(one, terms)
        faults += lacking
        other = found.setdefault(wheel.name, one)
        if other.hosted.sha256 != one.hosted.sha256:
            faults.append(Fault(f"{wheel.name} is named twice, with other bytes: {other.wheel} and {wheel}"))
    if terms.release:
        faults += [Fault(text) for text in _unplanned(terms.release, wheels, found)]
    return sorted(
        found.values(), key=lambda one: (one.hosted.project, pypa.version(one.hosted.version))
    ), faults


def demand(
    one: Candidate,
    policy: Policy,
    wants: Callable[[Statement], Proof] = lambda _: NOTHING,
    spared: Collection[str] = (),
) -> Admission:
    """Return what proves a wheel; GateError with all that lacks of what it says itself, or ``wants`` of it.

    Results of the levels that are ``spared`` may be missing.
    """
    said, hosted = one.statement, one.hosted
    asked = said.promise.proof or wants(said) if said else NOTHING
    return gate.demand(
        policy,
        hosted.file,
        hosted.sha256,
        proof=asked,
        envelopes=one.beside.envelopes,
        told=one.told,
        jit=said is None or not said.is_for_no_torch,
        level=said.level if said else None,
        spared=spared,
    )


def sifted(one: Candidate, policy: Policy | None) -> tuple[Candidate, list[str]]:
    """Return a wheel with the sound part of its evidence, and what is wrong with the rest: no reason lets that in."""
    hosted, envelopes = one.hosted, one.beside.envelopes
    known = (*policy.builders, *policy.testers) if policy else ()
    wrong = dict(soundness.faults(known, hosted.file, hosted.sha256, envelopes))
    files = {name: data for name, data in one.beside.files.items() if name not in wrong}
    return one._replace(beside=one.beside._replace(files=files)), [*one.unsound, *wrong.values()]


def notes(candidates: Sequence[Candidate]) -> Iterator[str]:
    """Yield what is said of wheels that are let in for a reason: all that they lack, as a refusal would say it."""
    for one in candidates:
        for text in one.lacks if one.hosted.unproven else ():
            yield f"{NOTE} let in unproven, {text}"


def refusal(faults: Sequence[Fault], wheels: int, policy: Policy | None) -> RetreadError:
    """Return the error for wheels of which some have faults; a reason is offered where the policy takes one."""
    kind = GateError if all(fault.gate for fault in faults) else PublishError
    what = "the wheel is refused" if wheels == 1 else f"of {wheels} wheels none is listed"
    final = kind is PublishError or any(fault.final for fault in faults)
    takes_reason = not final and (policy is None or policy.allow_unproven)
    hint = "'retread publish --allow-unproven REASON' lists it all the same" if takes_reason else ""
    return kind(what, faults=[fault.text for fault in faults], hint=hint)


def demand_reason(text: str) -> str:
    """Return a reason that fits on a line of a page; PublishError for another."""
    if not text.strip() or not text.isprintable() or len(text) > 500:
        raise PublishError("a reason is one line of text", hint="say why, in up to 500 characters")
    return text


def _unplanned(planned: Release, wheels: Sequence[Path], found: Mapping[str, Candidate]) -> Iterator[str]:
    """Yield what stands between the wheels and their release; of one that cannot be read, its name counts."""
    given = []
    for name in dict.fromkeys(wheel.name for wheel in wheels):
        with suppress(WheelError):  # it is no wheel, and refused for that
            metadata.parse_name(name)
            given.append(release.Given(name, found[name].statement if name in found else None))
    return release.faults(planned, given)


def _read(wheel: Path, scratch: Path) -> Candidate:
    if not wheel.exists():
        raise PublishError(f"{wheel}: there is no such file")
    room = Path(tempfile.mkdtemp(dir=scratch))
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        one = candidate.read(wheel, Path(folder), candidate.taken(wheel, room))
    version.release(one.hosted.version)  # or it belongs to no channel
    _demand_normal(one.hosted.file)
    if one.refused:
        raise PublishError("installers refuse it", faults=one.refused)
    if one.foreign:
        raise PublishError("a machine of its tags cannot load what it holds", faults=one.foreign)
    return one


def _demand_normal(file: str) -> None:
    """Raise PublishError for a name that has another spelling: each would be another file of one version."""
    name = metadata.parse_name(file)
    if not _PLAIN.fullmatch(name.normal):
        raise PublishError(f"{file!a}: its name holds what no wheel's name may hold")
    if name.build:
        raise PublishError(
            f"{file}: it has the build tag {name.build.removesuffix('-')}; its normal name is {name.normal}",
            hint="raise the revision in the recipe: +cu128.2 follows +cu128.1",
        )
    if file != name.spellings[0]:
        raise PublishError(
            f"{file}: its name is not spelled normally: {name.normal}", hint="build it again under that name"
        )


def _admitted(one: Candidate, terms: Terms) -> tuple[Candidate, list[Fault]]:
    """Return a wheel with what its evidence proves of it, or as unproven, and what stands against listing it."""
    file, (sound, wrong) = one.hosted.file, sifted(one, terms.policy)
    lacking, hint = [f"{file}: {doubt}" for doubt in one.doubts], ""
    try:
        one = one._replace(hosted=candidate.proven(one.hosted, _proof(sound, terms)))
    except GateError as error:
        lacking, hint = [*lacking, *_lines(file, error)], error.hint
    refused = [Fault(f"{file}: {text}", gate=True, final=True) for text in wrong]
    if not lacking:
        return one, refused
    if not terms.unproven:
        return one, [*refused, *(Fault(text, gate=True) for text in _hinted(lacking, hint))]
    return (one, refused) if refused else _unproven(one._replace(lacks=tuple(lacking)), terms)


def _proof(one: Candidate, terms: Terms) -> Admission:
    if terms.policy is None:
        raise GateError("no policy says whose evidence counts", hint="name one, or give a reason")
    return demand(one, terms.policy, terms.wants)


def _unproven(one: Candidate, terms: Terms) -> tuple[Candidate, list[Fault]]:
    """Return a wheel as one that is let in for a reason, or why the policy keeps it out."""
    hosted, reason = one.hosted, terms.unproven
    level = one.statement.level if one.statement else None
    if terms.policy and terms.policy.unproven and not terms.policy.allow_unproven:
        return _partly(one, terms.policy, terms)
    if terms.policy:
        try:
            reason = gate.admit_unproven(terms.policy, hosted.file, hosted.sha256, reason, level).unproven
        except GateError as error:
            return one, [Fault(text) for text in _told(hosted.file, error)]
    return one._replace(hosted=structs.replace(hosted, unproven=reason)), []


def _partly(one: Candidate, policy: Policy, terms: Terms) -> tuple[Candidate, list[Fault]]:
    """Return a wheel that lacks nothing but what the policy lets it lack, by name, or what else it lacks."""
    try:
        demand(one, policy, terms.wants, policy.unproven)
    except GateError as error:
        return one, [Fault(text) for text in _told(one.hosted.file, error)]
    reason = f"unproven: {', '.join(policy.unproven)}: {' '.join(terms.unproven.split())}"
    return one._replace(hosted=structs.replace(one.hosted, unproven=reason)), []


def _told(name: str, error: RetreadError) -> list[str]:
    """Return an error as lines, each of which names the wheel."""
    return _hinted(_lines(name, error), error.hint)


def _lines(name: str, error: RetreadError) -> list[str]:
    message = error.message if name in error.message else f"{name}: {error.message}"
    return [f"{name}: {fault}" for fault in error.faults] or [message]


def _hinted(lines: Sequence[str], hint: str) -> list[str]:
    """Return lines with what to do at the end of the last one."""
    return [*lines[:-1], f"{lines[-1]}: {hint}" if hint else lines[-1]]
