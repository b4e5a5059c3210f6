"""Which object of a bucket is which file of an index's folder; makes the folder, or the part that is needed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from packaging.utils import InvalidWheelFilename, canonicalize_name

from retread import limits, pypa, units
from retread.doors import fs
from retread.doors.bucket import DIGEST, Bucket, Facts, Object
from retread.doors.console import NOTE
from retread.errors import PublishError, WheelError
from retread.index import layout
from retread.index.bucket import journal
from retread.index.bucket.lease import LOCK
from retread.index.folder import Action
from retread.index.headers import attributes
from retread.index.layout import FILES, HIDDEN, PAGES, SIMPLE, place
from retread.index.listing import Project
from retread.index.pages.every import CHANNEL_LIMIT
from retread.records import digest
from retread.version import CHANNEL, release
from retread.wheel import metadata

_FILES_AT_ONCE = 8
_OTHER_BYTES = f"its bytes are not those that were uploaded ({DIGEST} tells another digest, or none)"
_HISTORY = f"{HIDDEN}/history.jsonl"
_STATE = re.compile(rf"{re.escape(HIDDEN)}/state/({CHANNEL})/([^/]+)\.json")
_LINK = re.compile(rf"\.\./\.\./snapshots/(\d+)/({CHANNEL})/([^/]+)\.json")
_SHOT = re.compile(rf"{re.escape(HIDDEN)}/snapshots/\d+/({CHANNEL})/([^/]+)/([^/]+)")
_PAGE = re.compile(rf"({CHANNEL})/{SIMPLE}/([^/]+)/({'|'.join(map(re.escape, PAGES))})")
_LISTS = re.compile(rf"index\.html|{CHANNEL}/index\.html|{CHANNEL}/{SIMPLE}/index\.(html|json)")
_OWN = re.compile(
    rf"{FILES}/[0-9a-f]{{2}}/[0-9a-f]{{64}}/[^/]+|{re.escape(HIDDEN)}/"
    rf"(names/[0-9a-f]{{2}}/[^/]+|revisions/{CHANNEL}/[^/]+\.json|snapshots/\d+/{CHANNEL}/[^/]+\.json)"
)


class Need(NamedTuple):
    """What an action reads of an index."""

    files: tuple[str, ...] = ()
    """Names of wheels whose bindings it asks for."""
    projects: tuple[tuple[str, str], ...] = ()
    """Channel and name."""
    back: int | None = None
    """The action to which it goes back."""
    name: str = ""
    """A project of which every channel's list is read."""
    everything: bool = False
    new: bool = False
    """Whether it may be the first one."""


def of_wheels(wheels: Sequence[Path]) -> Need:
    """Return what publishing wheels reads."""
    projects = {found for wheel in wheels if (found := _project(wheel.name))}
    names = {name for wheel in wheels for name in _spellings(wheel.name)}
    return Need(tuple(sorted(names)), tuple(sorted(projects)), new=True)


def of_version(project: str, version: str) -> Need:
    """Return what yanking, unyanking or removing a version reads."""
    channel, name = layout.channel_of(metadata.normal_version(version)), canonicalize_name(project)
    return Need(projects=((channel, name),)) if channel else Need(name=name)


def back_to(number: int) -> Need:
    """Return what rolling back reads."""
    return Need(back=number)


EVERYTHING = Need(everything=True)
"""What refreshing reads."""


# Names.


def image(relative: str) -> str:
    """Return the object that a file or link of the folder is; nothing for one that has none."""
    if found := _SHOT.fullmatch(relative):
        return f"{layout.pages(found[1], found[2])}/{found[3]}"
    is_link = relative.count("/") == 2 and relative.split("/")[1] == SIMPLE and not _LISTS.fullmatch(relative)
    return "" if is_link or relative in {_HISTORY, LOCK} else relative


def content(path: Path) -> bytes:
    """Return what the object of a file or a link holds."""
    return os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()


def stage(name: str) -> int:
    """Return when an object is written: what pages name, hidden state, pages of projects, lists."""
    if name.startswith(f"{FILES}/"):
        return 0
    return 1 if name.startswith(f"{HIDDEN}/") else 2 if _PAGE.fullmatch(name) else 3


def is_listed(bucket: Bucket, file: str, sha256: str) -> bool:
    """Say whether a wheel with these bytes is on a page."""
    found = _project(file)
    project = _Part(bucket, Path()).current(*found) if found else None
    return any((one.file, one.sha256) == (file, sha256) for one in project.files) if project else False


# The part of it that an action needs.


def pull(bucket: Bucket, need: Need, folder: Path, say: Callable[[str], None]) -> Action | None:
    """Make a folder with what is needed of an index, and return its last action; None when there was none yet.

    PublishError where there is no index, unless it may be made.
    """
    done = journal.numbers(bucket)
    if not done:
        if need.new:
            return None
        raise journal.absent(bucket)
    part = _Part(bucket, folder)
    owned = part.names()
    last = journal.actions(bucket) if need.back is not None else [journal.of(bucket, done[-1])]
    part.put(_HISTORY, b"".join(msgspec.json.encode(one) + b"\n" for one in last))
    projects, back = {*need.projects, *(one for one in owned if one[1] == need.name)}, {}
    if need.back is not None and 0 <= need.back < len(last):
        back = _shots(last, need.back)
        projects |= {*back}
    shown = _shown(owned, need, projects)
    journal.each(part.bring, sorted({*shown, *(projects & {*owned})}))
    journal.each(part.keep, [layout.ledger(*one) for one in sorted(projects)])
    journal.each(part.keep, [layout.binding(file) for file in need.files])
    journal.each(
        part.note, [f"{channel}/index.html" for channel in sorted({channel for channel, _ in owned})]
    )
    if need.everything:
        for fault in journal.each(part.keep_evidence, part.unnoted):
            if fault:
                say(f"{NOTE} not noted: {fault}")
    journal.each(part.bring_back, [(shot, *one) for one, shot in back.items() if shot])
    return last[-1]


class _Part:
    """A folder that is filled from a bucket."""

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self._bucket, self._folder = bucket, folder
        self.unnoted: list[str] = []
        """The files beside wheels of which current models do not note the digests."""

    def names(self) -> list[tuple[str, str]]:
        """Return what is owned, channel and name, and let the folder know the names."""
        found = [
            match for one in self._bucket.list(f"{HIDDEN}/state") if (match := _STATE.fullmatch(one.name))
        ]
        for match in found:
            self._link(match[0], f"../../snapshots/0/{match[1]}/{match[2]}.json")
        return [(match[1], match[2]) for match in found]

    def current(self, channel: str, name: str) -> Project | None:
        """Return what a channel lists of a project."""
        shot = self.shot(channel, name)
        return self.model(shot, channel, name) if shot else None

    def shot(self, channel: str, name: str) -> int:
        """Return which action made the pages of a project; 0 where there are none."""
        state = layout.state(channel, name)
        if (data := self._bucket.read(state)) is None:
            return 0
        match = _LINK.fullmatch(data.decode("utf-8", "replace"))
        if not match or (match[2], match[3]) != (channel, name):
            raise PublishError(f"{self._bucket.address}/{state} is damaged", hint="put it back from a copy")
        return int(match[1])

    def model(self, shot: int, channel: str, name: str) -> Project:
        """Return what an action made of a project."""
        where = f"{layout.snapshot(shot, channel, name)}.json"
        found = journal.record(self._bucket, where, Project)
        if found is None:
            raise PublishError(f"{self._bucket.address}/{where} is missing", hint="put it back from a copy")
        return found

    def bring(self, one: tuple[str, str]) -> None:
        """Put the current model of a project into the folder."""
        if shot := self.shot(*one):
            self._link(layout.state(*one), f"../../snapshots/{shot}/{one[0]}/{one[1]}.json")
            for file in self._model(shot, *one).files:
                noted = file.evidence or {}
                self.unnoted += [place(name, file.sha256) for name in file.sidecars if name not in noted]

    def bring_back(self, one: tuple[int, str, str]) -> None:
        """Put an old model of a project into the folder, and empty files for those wheels of it that still are."""
        for file in self._model(*one).files:
            self.note(place(file.file, file.sha256))

    def keep(self, name: str) -> None:
        """Put a small object into the folder, if it is there."""
        if (data := self._bucket.read(name)) is not None:
            self.put(name, data)

    def keep_evidence(self, name: str) -> str:
        """Put what lies beside a wheel into the folder, if it is there, or return why it is not sound."""
        facts = self._bucket.facts(name)
        if facts is None:
            return ""
        if facts.size > limits.EVIDENCE:
            return f"{name} is larger than any evidence: over {limits.EVIDENCE >> 20} MiB"
        data = self._bucket.read(name) or b""
        if facts.attributes.get(DIGEST) != digest(data):
            return f"{name}: {_OTHER_BYTES}"
        self.put(name, data)
        return ""

    def note(self, name: str) -> None:
        """Put an empty file into the folder for an object that is there."""
        if self._bucket.facts(name):
            self.put(name, b"")

    def put(self, name: str, data: bytes) -> None:
        """Put a file into the folder."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def _model(self, shot: int, channel: str, name: str) -> Project:
        found = self.model(shot, channel, name)
        self.put(f"{layout.snapshot(shot, channel, name)}.json", msgspec.json.encode(found))
        return found

    def lead(self, channel: str, name: str, shot: int) -> None:
        """Make the links of a project."""
        self._link(layout.state(channel, name), f"../../snapshots/{shot}/{channel}/{name}.json")
        self._link(layout.pages(channel, name), f"../../{layout.snapshot(shot, channel, name)}")

    def _link(self, name: str, target: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)


def _shown(
    owned: Sequence[tuple[str, str]], need: Need, projects: set[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """Yield the projects that the pages of channels name which the action may write."""
    channels = {channel for channel, _ in projects}
    if need.everything or (need.new and not projects <= {*owned}):
        channels = {channel for channel, _ in owned}  # a new name is owned by every channel
    for channel in channels:
        names = [one for one in owned if one[0] == channel]
        yield from names[: CHANNEL_LIMIT + 1] if need.new else names


def _shots(done: Sequence[Action], number: int) -> dict[tuple[str, str], int]:
    """Return what was touched after action ``number``, and which action had made its pages until then, or 0."""
    found: dict[tuple[str, str], int] = {}
    for one in done[number:]:
        for text in one.projects:
            channel, _, name = text.partition("/")
            earlier = [old.number for old in done[:number] if text in old.projects]
            found[channel, name] = max(earlier, default=0)
    return found


# What an action made of it.


def stamps(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return every file and link of a folder, with what changes when it is written anew."""
    found = {}
    for where, folders, files in os.walk(folder):
        for name in (*files, *folders):
            path = Path(where) / name
            if name in files or path.is_symlink():
                told = path.lstat()
                found[str(path.relative_to(folder))] = (told.st_ino, told.st_mtime_ns, told.st_size)
    return found


def changed(folder: Path, before: Mapping[str, tuple[int, int, int]]) -> list[str]:
    """Return the files and links of a folder that are new or were written anew."""
    return sorted(name for name, told in stamps(folder).items() if before.get(name) != told)


# All of it.


def whole(bucket: Bucket, folder: Path, say: Callable[[str], None]) -> list[str]:
    """Make the folder that a bucket is, with every byte, and return what is wrong with the objects themselves."""
    objects = [one for one in bucket.list("") if not one.name.startswith((f"{journal.ACTIONS}/", LOCK))]
    say(f"reading {units.counted(len(objects), 'object')}, {units.size(sum(one.size for one in objects))}")
    (folder / HIDDEN / "snapshots").mkdir(parents=True)
    part = _Part(bucket, folder)
    part.put(_HISTORY, b"".join(msgspec.json.encode(one) + b"\n" for one in journal.actions(bucket)))
    owned = part.names()
    shots = dict(zip(owned, journal.each(lambda one: part.shot(*one), owned), strict=True))
    for (channel, name), shot in shots.items():
        part.lead(channel, name, shot)
    rest = [one for one in objects if not _STATE.fullmatch(one.name)]
    found = journal.each(lambda one: [*_fetched(bucket, one, folder, shots)], rest, _FILES_AT_ONCE)
    return [fault for some in found for fault in some]


def _fetched(
    bucket: Bucket, one: Object, folder: Path, shots: Mapping[tuple[str, str], int]
) -> Iterator[str]:
    """Put an object where it is in the folder; yield what is wrong with it."""
    where, page = one.name, _PAGE.fullmatch(one.name)
    if one.name.startswith(f"{journal.STAGED}/"):
        yield f"{one.name}: an action goes on, or was interrupted: the next change finishes it"
        return
    if page and (page[1], page[2]) in shots:
        shot = shots[page[1], page[2]]
        where = f"{layout.snapshot(shot, page[1], page[2])}/{page[3]}"
    elif page or not (_LISTS.fullmatch(one.name) or _OWN.fullmatch(one.name)) or ".." in one.name.split("/"):
        if one.name.startswith((f"{HIDDEN}/", f"{FILES}/", "cu")):
            yield f"{one.name} is not the index's"
        return
    yield from _differing(one.name, folder / where, bucket.fetch(one.name, folder / where))


def _differing(name: str, path: Path, facts: Facts) -> Iterator[str]:
    for header, value in attributes(name).items():
        if facts.attributes.get(header) != value:
            yield f"{name}: its {header} is {facts.attributes.get(header, 'not set')}, not {value}"
    if name.startswith(f"{FILES}/") and facts.attributes.get(DIGEST) != fs.sha256(path):
        yield f"{name}: {_OTHER_BYTES}"


def _spellings(file: str) -> tuple[str, ...]:
    """Return every name of the same wheel; the name alone for one that cannot be listed."""
    try:
        return (file, *metadata.parse_name(file).spellings)
    except WheelError:
        return (file,)


def _project(file: str) -> tuple[str, str] | None:
    """Return channel and project of a wheel's name; None for one that cannot be listed."""
    try:
        name, version, *_ = pypa.wheel_name(file)
        return release(str(version)).channel, name
    except (InvalidWheelFilename, PublishError):
        return None
