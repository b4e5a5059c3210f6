"""Whether an index keeps its promises: everything is read again from its bytes and held against the model."""

from __future__ import annotations

import os
import posixpath
import re
import tempfile
from collections.abc import Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from msgspec import structs

from retread import strict
from retread.errors import RetreadError
from retread.evidence import gate
from retread.evidence.gate import Policy
from retread.index import candidate, layout, revoke
from retread.index.admission import demand, sifted
from retread.index.candidate import Candidate
from retread.index.folder import Action, Index
from retread.index.layout import FILES, HIDDEN, METADATA, SIMPLE, place
from retread.index.listing import Hosted, Project
from retread.index.pages import every
from retread.records import Record
from retread.wheel import metadata

_HREF = re.compile(r'href="([^"#]+)')
_KNOWN = {"history.jsonl", "lock", "names", "revisions", "snapshots", "state"}


class Checked(Record, frozen=True, kw_only=True):
    """What a check went through, and every promise that it found broken."""

    actions: int
    projects: int
    files: int
    size: int
    """Bytes of the wheels."""
    faults: tuple[str, ...]


class _Here(NamedTuple):
    place: Index
    done: tuple[Action, ...]
    wrote: Mapping[str, Action]
    """``cu128/demo`` -> the action that wrote its pages last."""
    policy: Policy | None
    scratch: Path


def check(root: Path, scratch: Path, policy: Policy | None = None, now: int | None = None) -> Checked:
    """Return every promise that an index breaks, each of them tested on the bytes; ``scratch`` is an empty folder.

    ``now``, in seconds since 1970, is what the policy's age of the revocation list is held against.
    Writers are kept out meanwhile. PublishError where there is no index.
    """
    index = Index(root)
    with index.reading():
        done = tuple(index.history())
        wrote = {
            one: action for action in sorted(done, key=lambda one: one.number) for one in action.projects
        }
        here = _Here(index, done, wrote, policy, scratch)
        faults = [*_leftovers(index), *_history(here.done)]
        projects, files, size = 0, 0, 0
        names = {channel: tuple(index.names(channel)) for channel in index.channels()}
        for channel, some in names.items():
            for name in some:
                projects += 1
                project = index.project(channel, name)
                assert project
                faults += _project(here, channel, name, project)
                files += len(project.files)
                size += sum(one.size for one in project.files)
        faults += [*_lists(here, names), *_bindings(here), *_doubles(here), *_strays(here)]
        faults += _revocations(here, now)
    return Checked(actions=len(here.done), projects=projects, files=files, size=size, faults=tuple(faults))


def _leftovers(index: Index) -> Iterator[str]:
    if index.journal.exists():
        yield "an action was interrupted: the next change finishes it"
    extra = set(os.listdir(index.hidden)) - _KNOWN - {"next", index.journal.name}  # noqa: PTH208
    yield from (f"{HIDDEN}/{name} is not the index's" for name in sorted(extra))
    if index.next.exists():
        yield f"{HIDDEN}/next is left over: the next change removes it"


def _history(done: tuple[Action, ...]) -> Iterator[str]:
    for number, action in enumerate(done, start=1):
        if action.number != number:
            yield f"history: line {number} is action {action.number}"
        if number > 1 and action.time <= done[number - 2].time:
            yield f"history: action {number} is not later than the one before"


def _project(here: _Here, channel: str, name: str, project: Project) -> Iterator[str]:
    where = f"{channel}/{name}"
    action = here.wrote.get(where)
    shot = layout.snapshot(action.number if action else 0, channel, name)
    yield from _link(here.place, layout.pages(channel, name), shot)
    yield from _link(here.place, layout.state(channel, name), f"{shot}.json")
    if (project.channel, project.name) != (channel, name):
        yield f"{where}: its model is of {project.channel}/{project.name}"
    if action is None:
        yield f"{where}: no action wrote it"
        return
    made = every.project(project, base=action.base)
    yield from _same(here.place.root, layout.pages(channel, name), made)
    yield from _addresses(here.place.root, f"{channel}/{SIMPLE}/{name}")
    ledger = here.place.ledger(channel, name)
    for one in project.files:
        yield from (f"{where}: {one.file}: {fault}" for fault in _wheel(here, project, one))
        if one.version not in ledger.versions:
            yield f"{where}: {one.file}: its version is not noted as published"
        if one.uploaded > ledger.latest:
            yield f"{where}: {one.file}: it is newer than what was published last"


def _link(index: Index, relative: str, target: str) -> Iterator[str]:
    path = index.root / relative
    expected = os.path.relpath(target, Path(relative).parent)
    if not path.is_symlink() or str(path.readlink()) != expected:
        yield f"{relative} does not lead to {expected}"
    elif not path.exists():
        yield f"{relative} leads nowhere"


def _same(root: Path, folder: str, made: Mapping[str, bytes]) -> Iterator[str]:
    for file, data in made.items():
        path = root / folder / file
        name = path.relative_to(root)
        try:
            if path.is_symlink():
                yield f"{name} is a link: what an index serves are plain files"
            elif path.read_bytes() != data:
                yield f"{name} is not the page that the model gives ('retread index refresh' makes it anew)"
        except OSError:
            yield f"{name} is missing"


def _addresses(root: Path, folder: str) -> Iterator[str]:
    """Yield every address on a project's pages below which there is no file."""
    try:
        page = strict.json((root / folder / "index.json").read_bytes())
        found = {one["url"] for one in page["files"]}
        found |= {f"{one['url']}{METADATA}" for one in page["files"]}
        html = (root / folder / "index.html").read_text("utf-8")
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield f"{folder}: a page cannot be read: {type(error).__name__}"
        return
    found |= {unescape(one) for one in _HREF.findall(html)}
    for one in sorted(found):
        path = posixpath.normpath(posixpath.join(folder, unquote(one)))
        if not (path.startswith(f"{FILES}/") and (root / path).is_file()):
            yield f"{folder} names {one}, which is not there"


def _wheel(here: _Here, project: Project, one: Hosted) -> Iterator[str]:
    """Yield what is wrong with a wheel: it is read as if it were published again."""
    wheel = here.place.root / place(one.file, one.sha256)
    for path in (wheel, wheel.with_name(f"{one.file}{METADATA}")):
        if path.is_symlink():
            yield f"{path.name} is a link: what an index serves are plain files"
    try:
        with tempfile.TemporaryDirectory(dir=here.scratch) as folder:
            found = candidate.read(wheel, Path(folder))
        channel = found.hosted.channel
        sidecar = wheel.with_name(f"{one.file}{METADATA}").read_bytes()
    except RetreadError as error:
        yield f"{error.message}{': ' if error.faults else ''}{'; '.join(error.faults)}"
        return
    except OSError as error:
        yield f"cannot read {error.filename}: {error.strerror}"
        return
    sound, wrong = sifted(found, here.policy)
    yield from wrong
    yield from _beside(wheel, one, found.hosted)
    admitted = _admitted(here, one, sound)
    yield from admitted if isinstance(admitted, tuple) else _differing(one, admitted)
    if (channel, found.hosted.project) != (project.channel, project.name):
        yield f"it belongs to {channel}/{found.hosted.project}"
    if sidecar != found.metadata:
        yield f"the sidecar {METADATA} is not its METADATA"
    if here.place.bound(one.file) != one.sha256:
        yield "its name is not bound to its bytes"
    if not one.unproven:
        yield from found.doubts


def _beside(wheel: Path, one: Hosted, read: Hosted) -> Iterator[str]:
    """Yield what lies beside a wheel and was not put there, what was and is gone, and what was and is another now."""
    listed = {*one.sidecars, f"{one.file}{METADATA}"}
    there = {name for name in os.listdir(wheel.parent) if name.startswith(f"{one.file}.")}  # noqa: PTH208
    yield from (f"{name!a} lies beside it, and no publish put it there" for name in sorted(there - listed))
    yield from (f"{name} was published with it, and is missing" for name in sorted(listed - there))
    noted, now = one.evidence or {}, read.evidence or {}
    yield from (
        f"{name} has other bytes than were published with it"
        for name in sorted(now)
        if name in listed and noted.get(name, now[name]) != now[name]
    )


def _differing(one: Hosted, read: Hosted) -> Iterator[str]:
    fields = set(Hosted.__struct_fields__) - {"uploaded", "yanked", "unproven", "sidecars", "evidence"}
    wrong = sorted(field for field in fields if getattr(read, field) != getattr(one, field))
    if wrong:
        yield f"its bytes and its evidence say otherwise of its {', '.join(wrong)}"


def _admitted(here: _Here, one: Hosted, found: Candidate) -> Hosted | tuple[str, ...]:
    """Return a wheel as its bytes and its evidence tell it, or what the evidence lacks.

    What was tried is believed without a policy, which says whose word counts.
    """
    if one.unproven:
        return found.hosted
    if here.policy is None:
        wrong = tuple(gate.contradictions(found.hosted.file, found.told, found.beside.envelopes))
        return wrong or structs.replace(
            found.hosted, tried=one.tried, triton=one.triton, inherited=one.inherited
        )
    try:
        admission = demand(
            found, here.policy
        )  # its recipe was asked when it was published, and is nowhere here
    except RetreadError as error:
        return error.faults or (error.message,)
    return candidate.proven(found.hosted, admission)


def _lists(here: _Here, names: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    index, owned = here.place, {name for some in names.values() for name in some}
    for channel, some in names.items():
        yield from (
            f"{channel} does not own {name}, another channel does" for name in sorted(owned - {*some})
        )
        yield from _same(index.root, f"{channel}/{SIMPLE}", every.root(channel, some))
        yield from _channel(here, channel, some)
    if here.done:
        yield from _same(index.root, "", every.front(sorted(names), base=here.done[-1].base))


def _channel(here: _Here, channel: str, names: tuple[str, ...]) -> Iterator[str]:
    """Check a channel's page for people; that of a large channel may be older than the last publish."""
    touching = [one for one in here.done if any(name.startswith(f"{channel}/") for name in one.projects)]
    written = [one for one in touching if channel in one.channels]
    if not written:
        return
    if written[-1] is touching[-1]:
        projects = [project for name in names if (project := here.place.project(channel, name))]
        made = every.channel(channel, projects, base=written[-1].base)
        yield from _same(here.place.root, channel, made)
    elif not (here.place.root / channel / "index.html").is_file():
        yield f"{channel}/index.html is missing"


def _bindings(here: _Here) -> Iterator[str]:
    published = [action for action in here.done if action.action == "publish"]
    for file, sha256 in sorted({(one.file, one.sha256) for action in published for one in action.files}):
        if here.place.bound(file) != sha256:
            yield f"{file} was published with sha256 {sha256}, but is not bound to it"


def _revocations(here: _Here, now: int | None) -> Iterator[str]:
    try:
        revoke.current(here.place, here.policy, now)
    except RetreadError as error:
        yield f"{error.message}{': ' if error.faults else ''}{'; '.join(error.faults)}"


def _doubles(here: _Here) -> Iterator[str]:
    """Yield each wheel that is listed under two names: resolvers take either, and only one was tried."""
    seen: dict[tuple[str, str, frozenset[str]], str] = {}
    for channel in here.place.channels():
        for name in here.place.names(channel):
            for one in project.files if (project := here.place.project(channel, name)) else ():
                parts = metadata.parse_name(one.file)
                first = seen.setdefault((parts.project, parts.version, parts.tag_set), one.file)
                if first != one.file:
                    yield f"{channel}/{name}: {first} and {one.file} are one wheel by two names"


def _strays(here: _Here) -> Iterator[str]:
    """Yield what lies among the files that no action put there, or that should be gone."""
    alive: set[tuple[str, str]] = set()
    for action in here.done:
        touched = {(one.file, one.sha256) for one in action.files}
        if action.action == "publish":
            alive |= touched
        elif action.action == "remove":
            alive -= touched
    homes = {place(file, sha256).rpartition("/")[0]: file for file, sha256 in alive}
    for folder in sorted((here.place.root / FILES).glob("*/*")):
        where = str(folder.relative_to(here.place.root))
        if where not in homes:
            yield f"{where} is not the index's"
        elif os.path.realpath(folder) != str(folder):
            yield f"{where} is a link, or lies behind one: what an index serves are plain files"
        elif folder.is_dir():  # what is called after the wheel is held against what the index says of it
            others = [name for name in os.listdir(folder) if not f"{name}.".startswith(f"{homes[where]}.")]  # noqa: PTH208
            yield from (f"{where}/{name!s} is not the index's" for name in sorted(others))
    for file, sha256 in sorted(alive):
        if not (here.place.root / place(file, sha256)).is_file():
            yield f"{place(file, sha256)} is missing"
    for number in sorted(os.listdir(here.place.hidden / "snapshots")):  # noqa: PTH208
        if not number.isdecimal() or not 1 <= int(number) <= len(here.done):
            yield f"{HIDDEN}/snapshots/{number} is of no action"
