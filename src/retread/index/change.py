"""One action of an index in the making: the pages of what it touches and of nothing else, then all at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from retread.doors import durable
from retread.errors import PublishError
from retread.index import layout
from retread.index.folder import Action, Index, Touched
from retread.index.layout import HIDDEN, SIMPLE, place
from retread.index.listing import Hosted, Project
from retread.index.pages import every
from retread.records import Record

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


class Change:
    """What is staged until ``commit``; the caller holds ``Index.writing()``."""

    def __init__(self, index: Index, *, base: str, now: int) -> None:
        last = index.last()
        self.index = index
        self.number = last.number + 1 if last else 1
        self.base = base or (last.base if last else "")
        self.time = later(now, last.time if last else "")
        self._written: dict[tuple[str, str], Project] = {}
        """Channel and name -> the project as it will be."""
        self._new: set[tuple[str, str]] = set()
        """Those that their channel did not own."""

    def record(self, relative: str, record: Record) -> None:
        """Write a record to its place in the index."""
        self.file(relative, msgspec.json.encode(record))

    def file(self, relative: str, data: bytes) -> None:
        """Write a file to its place in the index."""
        durable.put(self.index.staged(relative), data)

    def project(self, project: Project) -> None:
        """Write the pages of a project and point to them."""
        channel, name = project.channel, project.name
        self._written[channel, name] = project
        if not self.index.owns(channel, name):
            self._new.add((channel, name))
        shot = layout.snapshot(self.number, channel, name)
        self.record(f"{shot}.json", project)
        for file, data in every.project(project, base=self.base).items():
            self.file(f"{shot}/{file}", data)
        durable.point(self.index.staged(layout.pages(channel, name)), f"../../{shot}")
        short = shot.removeprefix(f"{HIDDEN}/")
        durable.point(self.index.staged(layout.state(channel, name)), f"../../{short}.json")

    def commit(
        self, action: str, reason: str, files: Sequence[Hosted], *, drop: bool = False, serial: int = 0
    ) -> Action:
        """Write the lists and make all of it the index; with ``drop`` the files' bytes go.

        ``serial`` is that of the revocation list among it.
        """
        for project in tuple(self._empty()):
            self.project(project)
        channels = tuple(self._lists(always=action != "publish"))
        everything = sorted({*self.index.channels(), *channels, *(one for one, _ in self._written)})
        self._pages("", every.front(everything, base=self.base))
        made = Action(
            number=self.number,
            time=self.time,
            action=action,
            reason=reason,
            base=self.base,
            files=tuple(dict.fromkeys(Touched(file=one.file, sha256=one.sha256) for one in files)),
            projects=tuple(sorted(f"{channel}/{name}" for channel, name in self._written)),
            channels=channels,
            serial=serial,
        )
        gone = sorted({place(one.file, one.sha256).rpartition("/")[0] for one in files}) if drop else ()
        self.index.commit(made, gone)
        return made

    def _empty(self) -> Iterator[Project]:
        """Yield an empty project for each name of the index that a channel does not own yet.

        Who asks one channel for what only another has must not get a public project of that name.
        """
        old = self.index.channels()
        new = {channel for channel, _ in self._written} - set(old)
        fresh = {name for _, name in self._new}
        known = set(self.index.names(old[0])) if old and new else set()
        for channel in (*old, *sorted(new)):
            for name in sorted(fresh | known if channel in new else fresh):
                if (channel, name) not in self._written and not self.index.owns(channel, name):
                    yield Project(channel=channel, name=name, files=())

    def _lists(self, *, always: bool) -> Iterator[str]:
        """Write the pages of the channels that are touched; yield those whose page for people is among them."""
        for channel in sorted({channel for channel, _ in self._written}):
            added = [name for one, name in self._new if one == channel]
            if added:
                names = sorted({*self.index.names(channel), *added})
                self._pages(f"{channel}/{SIMPLE}/", every.root(channel, names))
            first = not (self.index.root / channel / "index.html").exists()
            projects = self._listed(channel, always=always or first)
            if projects is None:
                self.index.say(
                    f"{channel} is large: 'retread index refresh' brings its page for people up to date"
                )
            else:
                self._pages(f"{channel}/", every.channel(channel, projects, base=self.base))
                yield channel

    def _listed(self, channel: str, *, always: bool) -> list[Project] | None:
        """Return the projects of a channel as they will be; None for a channel too large to be shown each time."""
        names = sorted({*self.index.names(channel), *(name for one, name in self._written if one == channel)})
        if len(names) > every.CHANNEL_LIMIT and not always:
            return None
        found, files = [], 0
        for name in names:
            project = self._written.get((channel, name)) or self.index.project(channel, name)
            assert project, name
            found.append(project)
            files += max(1, len(project.files))
            if files > every.CHANNEL_LIMIT and not always:
                return None
        return found

    def _pages(self, where: str, made: Mapping[str, bytes]) -> None:
        """Write pages, but for those that are there already."""
        for file, data in made.items():
            path = self.index.root / where / file
            if path.is_symlink() or not path.is_file() or path.read_bytes() != data:
                self.file(f"{where}{file}", data)


def later(now: int, last: str) -> str:
    """Return the time ``now`` (seconds since 1970) as PEP 700 writes it, or the first moment after ``last``.

    PublishError when ``last`` is no time that another follows.
    """
    told = datetime.fromtimestamp(now, UTC)
    try:
        if last:
            told = max(told, datetime.strptime(last, _FORMAT).replace(tzinfo=UTC) + timedelta(microseconds=1))
    except (ValueError, OverflowError):
        raise PublishError(
            f"the index says that its last action was at {last!r}, after which nothing can be",
            hint="its records were changed: restore the index from a copy",
        ) from None
    return told.strftime(_FORMAT)


def find(project: Project | None, version: str, name: str) -> tuple[Hosted, ...]:
    """Return the wheels of a version; PublishError when there is none."""
    files = project.files if project else ()
    found = tuple(one for one in files if one.version == version)
    if not found:
        raise PublishError(
            f"{name} {version} is not listed", hint=f"listed are: {_versions(files) or 'none of it'}"
        )
    return found


def _versions(files: Iterable[Hosted]) -> str:
    return ", ".join(dict.fromkeys(one.version for one in files))
