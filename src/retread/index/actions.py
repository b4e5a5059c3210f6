"""What changes an index, in order: wheels are read and judged, all of them, before the first one is listed."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from msgspec import UNSET, structs
from packaging.utils import canonicalize_name

from retread.doors import cores, durable
from retread.doors.console import NOTE
from retread.doors.cores import Beside
from retread.errors import PublishError, RetreadError
from retread.evidence import beside
from retread.index import admission, layout, revisions
from retread.index.admission import Fault, Terms
from retread.index.candidate import Candidate
from retread.index.change import Change, find, later
from retread.index.folder import Action, Index
from retread.index.layout import METADATA, place
from retread.index.listing import Hosted, Project
from retread.index.revisions import Ledger
from retread.records import Record, digest
from retread.wheel import metadata

Say = Callable[[str], None]


class Session(NamedTuple):
    """Who changes an index: which, when, under which address, and whom it tells."""

    root: Path
    now: int
    """Seconds since 1970."""
    say: Say
    base: str = ""
    """The address of the index as consumers write it; empty for that which its pages named last."""

    def change(self, index: Index) -> Change:
        """Return a change of the index, which is held."""
        return Change(index, base=self.base, now=self.now)


class Published(Record, frozen=True, kw_only=True):
    """What a publish did."""

    action: Action | None
    """None when every wheel was listed already."""
    listed: tuple[Hosted, ...]
    known: tuple[str, ...]
    """Wheels that were listed already, with the same bytes."""


def publish(session: Session, wheels: Sequence[Path], terms: Terms, scratch: Path) -> Published:
    """List wheels with their evidence: all of them, or none when one is refused; ``scratch`` is an empty folder.

    GateError when evidence is all that lacks, else PublishError, each with every fault of every wheel.
    """
    if terms.unproven:
        admission.demand_reason(terms.unproven)
    index = Index(session.root, session.say)
    index.demand_room()
    with tempfile.TemporaryDirectory(dir=scratch) as room:
        candidates, faults = admission.examine(wheels, terms, Path(room))
        if faults and not index.exists:
            raise admission.refusal(faults, len(wheels), terms.policy)  # and no folder is made
        with index.writing():
            judged = _Judged(index, session.now)
            for one in candidates:
                faults += judged.add(one)
            if faults:
                raise admission.refusal(faults, len(wheels), terms.policy)
            for file in judged.known:
                session.say(f"{file}: listed already, with the same bytes")
            for file in judged.differing:
                session.say(
                    f"{NOTE} {file}: what lies beside it is not the evidence that was published with it, and was not "
                    "taken: to have it listed, remove the version and publish it again"
                )
            action = _list(session.change(index), judged, terms.unproven) if judged.accepted else None
            for note in admission.notes(judged.accepted):
                session.say(note)
    return Published(action=action, listed=tuple(judged.listed), known=tuple(judged.known))


def yank(session: Session, project: str, version: str, reason: str) -> Action:
    """Mark the wheels of a version so that resolvers pass them over unless they are asked for exactly."""
    return _mark(session, project, version, admission.demand_reason(reason), yanked=True)


def unyank(session: Session, project: str, version: str, reason: str = "") -> Action:
    """Take the mark away again; ``reason`` is for the history."""
    return _mark(session, project, version, reason, yanked=False)


def remove(session: Session, project: str, version: str, reason: str) -> Action:
    """Take the wheels of a version off the pages, then delete them; their names stay bound to their bytes."""
    admission.demand_reason(reason)
    with _held(session) as index:
        old, found = _find(index, project, version)
        change = session.change(index)
        gone = {one.file for one in found}
        change.project(structs.replace(old, files=tuple(one for one in old.files if one.file not in gone)))
        return change.commit("remove", reason, found, drop=True)


def rollback(session: Session, number: int) -> Action:
    """Bring every page back to what it was after action ``number``, by a new action.

    What was removed stays removed, and what was bound stays bound. PublishError when nothing would change.
    """
    with _held(session) as index:
        done = tuple(index.history())
        if not 0 <= number < len(done):
            raise PublishError(
                f"there is no going back to action {number}",
                hint=f"{_goals(len(done))}; see 'retread index history'",
            )
        change, files = session.change(index), list[Hosted]()
        for then, current in _undone(index, done, number):
            change.project(then)
            files += _differing(then, current)
        if not files:
            raise PublishError(f"nothing changed since action {number}")
        return change.commit("rollback", f"to {number}", files)


def _goals(actions: int) -> str:
    """Return to what an index of so many actions can go back."""
    before = "what it was before its first action, without wheels"
    return f"name 0, {before}: there is nothing else" if actions == 1 else f"name one from 0 to {actions - 1}"


def _differing(then: Project, current: Project) -> Iterator[Hosted]:
    """Yield the wheels of each that the other has not, or not as they are."""
    for one, other in ((then, current), (current, then)):
        known = {file.file: file for file in other.files}
        yield from (file for file in one.files if known.get(file.file) != file)


def refresh(session: Session) -> Action:
    """Make every page anew, for another address or by a newer retread; digests that it did not note yet are noted.

    What is not sound is not noted, and named: once its digest is noted, nothing else counts as published.
    """
    with _held(session) as index:
        change = session.change(index)
        for channel in index.channels():
            for name in index.names(channel):
                old = _known(index, channel, name)
                change.project(structs.replace(old, files=tuple(_noted(index, one) for one in old.files)))
        return change.commit("refresh", "", ())


def _noted(index: Index, one: Hosted) -> Hosted:
    """Return a wheel with the digests of the files beside it that are sound; of one that is gone, a check tells."""
    noted = one.evidence or {}
    found = dict(noted)
    for name in (name for name in one.sidecars if name not in noted):
        try:
            found[name] = digest(beside.sound(index.root / place(one.file, one.sha256), one.sha256, name))
        except FileNotFoundError:
            pass
        except RetreadError as error:
            index.say(f"{NOTE} not noted: {error.message.replace(f'{index.root}/', '')}")
    return structs.replace(one, evidence=found or UNSET)


def history(root: Path) -> tuple[Action, ...]:
    """Return what was ever done to an index, the first action first."""
    index = Index(root)
    with index.reading():
        return tuple(index.history())


class _Judged:
    """Wheels held against an index and against each other, in the order of their versions."""

    def __init__(self, index: Index, now: int) -> None:
        self.accepted: list[Candidate] = []
        self.known: list[str] = []
        self.differing: list[str] = []
        """Those of them that other evidence lies beside than was published."""
        self.listed: list[Hosted] = []
        self.ledgers: dict[tuple[str, str], Ledger] = {}
        self._index = index
        self._now = now
        self._times: dict[tuple[str, str], str] = {}
        self._taken: set[str] = set()
        """Names of the wheels that were accepted."""
        self._new: defaultdict[tuple[str, str], list[Hosted]] = defaultdict(list)
        self._there: dict[tuple[str, str], dict[str, Hosted]] = {}
        """Channel and name -> the wheels that are listed there before, by name."""

    def add(self, one: Candidate) -> Iterator[Fault]:
        """Take a wheel in, or yield why it cannot be."""
        hosted = one.hosted
        if other := self._spelled(hosted.file):
            yield Fault(
                f"{hosted.file}: {other} is the same wheel, its tags in another order: publish it as that"
            )
            return
        bound = self._index.bound(hosted.file)
        if bound not in {"", hosted.sha256}:
            hint = "raise the revision in the recipe and build again"
            yield Fault(f"{hosted.file}: this name is bound to other bytes for ever (sha256 {bound}): {hint}")
            return
        channel = hosted.channel
        if bound and (listed := self._listed(channel, hosted)):
            self.known.append(hosted.file)
            if _differs(hosted, listed):
                self.differing.append(hosted.file)
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
        self._taken.add(hosted.file)
        self._new[key].append(self.listed[-1])

    def new(self, channel: str, name: str) -> Sequence[Hosted]:
        """Return what is accepted of a project."""
        return self._new[channel, name]

    def _spelled(self, file: str) -> str:
        """Return another name of the same wheel that was ever listed, or is now; nothing when there is none."""
        others = [one for one in metadata.parse_name(file).spellings if one != file]
        return next((one for one in others if one in self._taken or self._index.bound(one)), "")

    def _listed(self, channel: str, hosted: Hosted) -> Hosted | None:
        key = (channel, hosted.project)
        if key not in self._there:
            project = self._index.project(*key)
            self._there[key] = {one.file: one for one in project.files} if project else {}
        return self._there[key].get(hosted.file)


def _differs(now: Hosted, listed: Hosted) -> bool:
    """Say whether evidence lies beside a wheel that was not published with it; of older models the names are known."""
    noted = listed.evidence or {}
    return any(
        name not in listed.sidecars or noted.get(name, digest) != digest
        for name, digest in (now.evidence or {}).items()
    )


def _list(change: Change, judged: _Judged, unproven: str) -> Action:
    """Write what was accepted, and make it the index; the wheels are hashed once more while the pages are made."""
    wheels = [
        (one, hosted, change.index.staged(place(hosted.file, hosted.sha256)))
        for one, hosted in zip(judged.accepted, judged.listed, strict=True)
    ]
    with Beside(lambda: cores.spread(_take, wheels)) as taken:
        for one, hosted, _ in wheels:
            _bring(change, one, hosted)
        for (channel, name), ledger in judged.ledgers.items():
            change.record(layout.ledger(channel, name), ledger)
            old = change.index.project(channel, name)
            files = (*(old.files if old else ()), *judged.new(channel, name))
            change.project(Project(channel=channel, name=name, files=files))
        taken.result()
    reason = unproven if any(one.unproven for one in judged.listed) else ""
    return change.commit("publish", reason, judged.listed)


def _take(wheel: tuple[Candidate, Hosted, Path]) -> None:
    """Put a wheel where it is staged; PublishError when it is no longer what was judged."""
    one, hosted, path = wheel
    if durable.take(one.taken, path) != hosted.sha256:
        raise PublishError(f"{one.wheel} was written while it was read", hint="publish it again")


def _bring(change: Change, one: Candidate, hosted: Hosted) -> None:
    """Stage a wheel's metadata, its evidence and the binding of its name."""
    home = place(hosted.file, hosted.sha256)
    change.file(f"{home}{METADATA}", one.metadata)
    for name, data in one.beside.files.items():
        change.file(place(name, hosted.sha256), data)
    change.file(layout.binding(hosted.file), hosted.sha256.encode())


def _mark(session: Session, project: str, version: str, reason: str, *, yanked: bool) -> Action:
    with _held(session) as index:
        old, found = _find(index, project, version)
        mark = reason if yanked else None
        changed = tuple(one for one in found if one.yanked != mark)
        if not changed:
            state = "yanked already, for this reason" if yanked else "not yanked"
            raise PublishError(f"{old.name} {version} is {state}")
        names = {one.file for one in changed}
        files = tuple(structs.replace(one, yanked=mark) if one.file in names else one for one in old.files)
        change = session.change(index)
        change.project(structs.replace(old, files=files))
        return change.commit("yank" if yanked else "unyank", reason, changed)


@contextmanager
def _held(session: Session) -> Iterator[Index]:
    """Hold an index that is there."""
    index = Index(session.root, session.say)
    if not index.journal.exists():
        index.demand()
    with index.writing():
        yield index


def _find(index: Index, project: str, version: str) -> tuple[Project, tuple[Hosted, ...]]:
    """Return a project of the index and those of its wheels that are of a version; PublishError without any."""
    name, normal = canonicalize_name(project), metadata.normal_version(version)
    channel = layout.channel_of(normal)
    found = find(index.project(channel, name) if channel else _everywhere(index, name), normal, name)
    return _known(index, channel, name), found


def _everywhere(index: Index, name: str) -> Project:
    """Return what all channels list of a project."""
    some = (index.project(channel, name) for channel in index.channels())
    return Project(channel="", name=name, files=tuple(file for one in some if one for file in one.files))


def _known(index: Index, channel: str, name: str) -> Project:
    found = index.project(channel, name)
    if found is None:
        raise PublishError(f"{channel} does not own the name {name}")
    return found


def _undone(index: Index, done: Sequence[Action], number: int) -> Iterator[tuple[Project, Project]]:
    """Yield each project that was touched since action ``number``: as it was then, and as it is."""
    shots: dict[str, int] = {}
    published = {one.file for action in done[number:] if action.action == "publish" for one in action.files}
    for action in done[:number]:
        shots |= dict.fromkeys(action.projects, action.number)
    for one in sorted({one for action in done[number:] for one in action.projects}):
        channel, _, name = one.partition("/")
        then = index.at(shots[one], channel, name) if one in shots else None
        files = then.files if then else ()
        current = _known(index, channel, name)
        today, kept = {file.file: file for file in current.files}, []
        for file in files:
            if (index.root / place(file.file, file.sha256)).is_file():
                kept.append(_again(file, today.get(file.file), published=file.file in published))
            else:
                index.say(f"note: {file.file} was removed since, and stays removed")
        yield Project(channel=channel, name=name, files=tuple(kept)), current


def _again(then: Hosted, today: Hosted | None, *, published: bool) -> Hosted:
    """Return a wheel as an old action listed it, by the evidence that lies beside it now.

    ``published`` says whether it was published again since, which may have brought other evidence: where it is not
    listed today, nothing notes that.
    """
    if today:
        return structs.replace(today, yanked=then.yanked)
    return structs.replace(then, evidence=UNSET) if published else then
