"""What changes an index, in order: wheels are read and judged, all of them, before the first one is listed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from msgspec import structs
from packaging.utils import canonicalize_name
from packaging.version import Version

from retread.doors import durable
from retread.errors import GateError, PublishError, RetreadError
from retread.evidence import gate
from retread.evidence.gate import Admission, Policy
from retread.index import candidate, revisions
from retread.index import check as soundness
from retread.index import folder as indexdir
from retread.index.candidate import Candidate
from retread.index.change import Change, find, later
from retread.index.check import Checked
from retread.index.folder import Action, Index
from retread.index.listing import METADATA, Hosted, Project, place
from retread.index.revisions import Ledger
from retread.records import Record
from retread.wheel import metadata
from retread.wheel.statement import Proof, Statement

Say = Callable[[str], None]


class Fault(NamedTuple):
    """Why a wheel is refused; ``gate`` when it lacks evidence and nothing else."""

    text: str
    gate: bool = False


class Published(Record, frozen=True, kw_only=True):
    """What a publish did."""

    action: Action | None
    """None when every wheel was listed already."""
    listed: tuple[Hosted, ...]
    known: tuple[str, ...]
    """Wheels that were listed already, with the same bytes."""


def publish(
    index: Path,
    wheels: Sequence[Path],
    *,
    policy: Policy | None,
    wants: Callable[[Statement], Proof] = lambda _: candidate.NOTHING,
    unproven: str = "",
    base: str,
    now: int,
    scratch: Path,
    say: Say,
) -> Published:
    """List wheels with their evidence: all of them, or none when one is refused.

    A wheel says itself what it has to be proven by; ``wants`` is asked for one of a retread that did not say it yet.
    ``unproven`` is the reason for which wheels without evidence are let in, ``now`` is in seconds since 1970.
    GateError when evidence is all that lacks, else PublishError, each with every fault of every wheel.
    """
    if unproven:
        _demand_reason(unproven)
    place = Index(index, say)
    candidates, faults = _examine(wheels, policy, wants, unproven, scratch)
    if faults and not place.exists:
        raise _refusal(faults, len(wheels))  # and no folder is made
    with place.writing():
        judged = _Judged(place, now)
        for one in candidates:
            faults += judged.add(one)
        if faults:
            raise _refusal(faults, len(wheels))
        for file in judged.known:
            say(f"{file}: listed already, with the same bytes")
        action = _list(place, judged, unproven, base, now) if judged.accepted else None
    return Published(action=action, listed=tuple(judged.listed), known=tuple(judged.known))


def yank(
    index: Path, project: str, version: str, reason: str, *, now: int, base: str = "", say: Say
) -> Action:
    """Mark the wheels of a version so that resolvers pass them over unless they are asked for exactly."""
    return _mark(index, project, version, _demand_reason(reason), now=now, base=base, say=say)


def unyank(
    index: Path, project: str, version: str, reason: str = "", *, now: int, base: str = "", say: Say
) -> Action:
    """Take the mark away again; ``reason`` is for the history."""
    return _mark(index, project, version, None, why=reason, now=now, base=base, say=say)


def remove(
    index: Path, project: str, version: str, reason: str, *, now: int, base: str = "", say: Say
) -> Action:
    """Take the wheels of a version off the pages, then delete them; their names stay bound to their bytes."""
    _demand_reason(reason)
    place, name = Index(index, say), canonicalize_name(project)
    with _changing(place):
        old, found = _find(place, name, version)
        change = Change(place, base=base, now=now)
        change.project(structs.replace(old, files=tuple(one for one in old.files if one not in found)))
        return change.commit("remove", reason, found, drop=True)


def rollback(index: Path, number: int, *, now: int, base: str = "", say: Say) -> Action:
    """Bring every page back to what it was after action ``number``, by a new action.

    What was removed stays removed, and what was bound stays bound. PublishError when nothing would change.
    """
    place = Index(index, say)
    with _changing(place):
        done = tuple(place.history())
        if not 0 <= number < len(done):
            raise PublishError(
                f"there is no going back to action {number}",
                hint=f"name one from 0 to {len(done) - 1}; see 'retread index history'",
            )
        change, files = Change(place, base=base, now=now), []
        for then, current in _undone(place, done, number, say):
            change.project(then)
            files += [
                one for one in (*then.files, *current.files) if (one in then.files) != (one in current.files)
            ]
        if not files:
            raise PublishError(f"nothing changed since action {number}")
        return change.commit("rollback", f"to {number}", files)


def refresh(index: Path, *, now: int, base: str = "", say: Say) -> Action:
    """Make every page anew, for another address or by a newer retread."""
    place = Index(index, say)
    with _changing(place):
        change = Change(place, base=base, now=now)
        for channel in place.channels():
            for name in place.names(channel):
                change.project(_known(place, channel, name))
        return change.commit("refresh", "", ())


def history(index: Path) -> tuple[Action, ...]:
    """Return what was ever done to an index, the first action first."""
    place = Index(index)
    with place.reading():
        return tuple(place.history())


def check(index: Path, scratch: Path, policy: Policy | None = None) -> Checked:
    """Return every promise that an index breaks, each of them tested on the bytes; ``scratch`` is an empty folder."""
    return soundness.check(Index(index), scratch, policy)


class _Judged:
    """Wheels held against an index and against each other, in the order of their versions."""

    def __init__(self, index: Index, now: int) -> None:
        self.accepted: list[Candidate] = []
        self.known: list[str] = []
        self.listed: list[Hosted] = []
        self.ledgers: dict[tuple[str, str], Ledger] = {}
        self._index = index
        self._now = now
        self._times: dict[tuple[str, str], str] = {}

    def add(self, one: Candidate) -> Iterator[Fault]:
        """Take a wheel in, or yield why it cannot be."""
        hosted = one.hosted
        bound = self._index.bound(hosted.file)
        if bound not in {"", hosted.sha256}:
            hint = "raise the revision in the recipe and build again"
            yield Fault(f"{hosted.file}: this name is bound to other bytes for ever (sha256 {bound}): {hint}")
            return
        channel = revisions.parse(hosted.version).channel
        if bound and self._is_listed(channel, hosted):
            self.known.append(hosted.file)
            return
        key = (channel, hosted.project)
        ledger = self.ledgers.get(key) or self._index.ledger(*key)
        patches = revisions.patch_set(one.statement)
        fault = "" if bound else revisions.fault(ledger, hosted.version, patches)
        if fault:
            yield Fault(f"{hosted.file}: {fault}")
            return
        time = self._times.setdefault(key, later(self._now, ledger.latest))
        self.ledgers[key] = revisions.with_version(ledger, hosted.version, patches, time)
        self.accepted.append(one)
        self.listed.append(structs.replace(hosted, uploaded=time))

    def _is_listed(self, channel: str, hosted: Hosted) -> bool:
        project = self._index.project(channel, hosted.project)
        return any(one.file == hosted.file for one in project.files) if project else False


def _examine(
    wheels: Sequence[Path],
    policy: Policy | None,
    wants: Callable[[Statement], Proof],
    unproven: str,
    scratch: Path,
) -> tuple[list[Candidate], list[Fault]]:
    """Return the wheels that are sound and admitted, by version, and what is wrong with the others."""
    found: dict[str, Candidate] = {}
    faults = [] if wheels else [Fault("no wheel was named")]
    for wheel in wheels:
        if not wheel.exists():
            faults.append(Fault(f"{wheel}: there is no such file"))
            continue
        try:
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                one = candidate.read(wheel, Path(folder))
            revisions.parse(one.hosted.version)
        except RetreadError as error:
            faults += [Fault(text) for text in _told(wheel.name, error)]
            continue
        one, lacking = _admitted(one, policy, wants, unproven)
        faults += lacking
        other = found.setdefault(wheel.name, one)
        if other.hosted.sha256 != one.hosted.sha256:
            faults.append(Fault(f"{wheel.name} is named twice, with other bytes: {other.wheel} and {wheel}"))
    return sorted(found.values(), key=lambda one: (one.hosted.project, Version(one.hosted.version))), faults


def _admitted(
    one: Candidate, policy: Policy | None, wants: Callable[[Statement], Proof], unproven: str
) -> tuple[Candidate, list[Fault]]:
    """Return a wheel with what its evidence proves of it, or as unproven, and what stands against listing it."""
    hosted, lacking = one.hosted, [f"{one.hosted.file}: {doubt}" for doubt in one.doubts]
    try:
        found = _proof(one, policy, wants)
        hosted = structs.replace(hosted, tried=found.tried, triton=found.triton)
    except GateError as error:
        lacking += _told(hosted.file, error)
    if not lacking:
        return one._replace(hosted=hosted), []
    if not unproven:
        return one, [Fault(text, gate=True) for text in lacking]
    try:
        reason = (
            gate.admit_unproven(policy, hosted.file, hosted.sha256, unproven).unproven if policy else unproven
        )
    except GateError as error:
        return one, [Fault(text) for text in _told(hosted.file, error)]
    return one._replace(hosted=structs.replace(one.hosted, unproven=reason)), []


def _proof(one: Candidate, policy: Policy | None, wants: Callable[[Statement], Proof]) -> Admission:
    """Return what proves a wheel; GateError with all that lacks."""
    if policy is None:
        raise GateError("no policy says whose evidence counts", hint="name one, or give a reason")
    asked = one.proof or (wants(one.statement) if one.statement else candidate.NOTHING)
    return gate.demand(
        policy,
        one.hosted.file,
        one.hosted.sha256,
        capabilities=asked.gpu,
        triton=asked.triton,
        envelopes=one.beside.envelopes,
    )


def _told(name: str, error: RetreadError) -> list[str]:
    """Return an error as lines, each of which names the wheel."""
    message = error.message if name in error.message else f"{name}: {error.message}"
    lines = [f"{name}: {fault}" for fault in error.faults] or [message]
    return [f"{line}: {error.hint}" if error.hint and line == lines[-1] else line for line in lines]


def _refusal(faults: Sequence[Fault], wheels: int) -> RetreadError:
    kind = GateError if all(fault.gate for fault in faults) else PublishError
    what = "the wheel is refused" if wheels == 1 else f"of {wheels} wheels none is listed"
    hint = "'retread publish --allow-unproven REASON' lists it all the same" if kind is GateError else ""
    return kind(what, faults=[fault.text for fault in faults], hint=hint)


def _list(index: Index, judged: _Judged, unproven: str, base: str, now: int) -> Action:
    """Write what was accepted, and make it the index."""
    change = Change(index, base=base, now=now)
    for one, hosted in zip(judged.accepted, judged.listed, strict=True):
        _bring(change, one, hosted)
    for (channel, name), ledger in judged.ledgers.items():
        change.record(indexdir.ledger(channel, name), ledger)
        old = index.project(channel, name)
        new = [
            one
            for one in judged.listed
            if (revisions.parse(one.version).channel, one.project) == (channel, name)
        ]
        files = (*(old.files if old else ()), *new)
        change.project(Project(channel=channel, name=name, files=files))
    reason = unproven if any(one.unproven for one in judged.listed) else ""
    return change.commit("publish", reason, judged.listed)


def _bring(change: Change, one: Candidate, hosted: Hosted) -> None:
    """Put a wheel, its metadata, its evidence and the binding of its name below ``next``."""
    home = place(hosted.file, hosted.sha256)
    if durable.take(one.wheel, change.index.next / home) != hosted.sha256:
        raise PublishError(f"{one.wheel} was written while it was read", hint="publish it again")
    change.file(f"{home}{METADATA}", one.metadata)
    for name, data in one.beside.files.items():
        change.file(place(name, hosted.sha256), data)
    change.file(indexdir.binding(hosted.file), hosted.sha256.encode())


def _mark(
    index: Path, project: str, version: str, mark: str | None, *, why: str = "", now: int, base: str, say: Say
) -> Action:
    place, name = Index(index, say), canonicalize_name(project)
    with _changing(place):
        old, found = _find(place, name, version)
        changed = tuple(one for one in found if one.yanked != mark)
        if not changed:
            state = "not yanked" if mark is None else "yanked already, for this reason"
            raise PublishError(f"{name} {version} is {state}")
        files = tuple(structs.replace(one, yanked=mark) if one in changed else one for one in old.files)
        change = Change(place, base=base, now=now)
        change.project(structs.replace(old, files=files))
        return change.commit("unyank" if mark is None else "yank", mark or why, changed)


def _changing(index: Index) -> AbstractContextManager[None]:
    """Return the way to hold an index that is there."""
    if not index.exists and not index.journal.exists():
        raise PublishError(f"{index.root} holds no index", hint="'retread publish' makes one")
    return index.writing()


def _find(index: Index, name: str, version: str) -> tuple[Project, tuple[Hosted, ...]]:
    normal = metadata.normal_version(version)
    channel = revisions.parse(normal).channel
    found = find(index.project(channel, name), normal, name)
    return _known(index, channel, name), found


def _known(index: Index, channel: str, name: str) -> Project:
    found = index.project(channel, name)
    if found is None:
        raise PublishError(f"{channel} does not own the name {name}")
    return found


def _undone(index: Index, done: Sequence[Action], number: int, say: Say) -> Iterator[tuple[Project, Project]]:
    """Yield each project that was touched since action ``number``: as it was then, and as it is."""
    shots: dict[str, int] = {}
    for action in done[:number]:
        shots |= dict.fromkeys(action.projects, action.number)
    for one in sorted({one for action in done[number:] for one in action.projects}):
        channel, _, name = one.partition("/")
        then = index.at(shots[one], channel, name) if one in shots else None
        files = then.files if then else ()
        kept = tuple(file for file in files if (index.root / place(file.file, file.sha256)).is_file())
        for file in files:
            if file not in kept:
                say(f"{file.file} was removed since, and stays removed")
        yield Project(channel=channel, name=name, files=kept), _known(index, channel, name)


def _demand_reason(text: str) -> str:
    """Return a reason that fits on a line of a page; PublishError for another."""
    if not text.strip() or not text.isprintable() or len(text) > 500:
        raise PublishError("a reason is one line of text", hint="say why, in up to 500 characters")
    return text
