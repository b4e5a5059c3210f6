"""What the index that a user names offers: a folder of wheels, a private index on disk, or an address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from retread.address import bare
from retread.doors.net import catalogue as net
from retread.doors.net import offers, settings
from retread.doors.net.offers import Offer
from retread.errors import FetchError, UsageError
from retread.fit.candidates import Listed
from retread.fit.catalogue import Catalogue
from retread.index import layout
from retread.index.folder import Index


def listed(where: str, known: Catalogue, environment: Mapping[str, str]) -> tuple[Listed, ...]:
    """Return what there is of every project that the catalogue knows.

    UsageError for a folder that is not there, FetchError for an index that does not answer or has none of them.
    """
    projects = sorted({one.project for one in known.releases})
    if "://" not in where or where.startswith("file:"):
        folder = settings.folder_of(where)
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}", hint="--index takes a folder, or an address")
        index = Index(folder)
        return tuple(_on_disk(index, projects) if index.exists else _folder(folder, projects))
    channels = sorted({made.target for one in known.releases for made in one.made})
    return tuple(_asked(where, channels, projects, environment))


def _folder(folder: Path, projects: Iterable[str]) -> Iterator[Listed]:
    files = sorted(path for path in folder.iterdir() if path.suffix == ".whl")
    for project in projects:
        found = {path: offer for path in files if (offer := offers.read(path.name, project))}
        yield Listed(project, "", tuple(found.values()), {path.name: str(path) for path in found})


def _on_disk(index: Index, projects: Iterable[str]) -> Iterator[Listed]:
    for project in projects:
        found: dict[str, Offer] = {}
        places: dict[str, str] = {}
        for channel in index.channels():
            there = index.project(channel, project)
            for one in there.files if there else ():
                offer = offers.read(one.file, project, sha256=one.sha256, yanked=one.yanked is not None)
                if offer:
                    found[one.file] = offer
                    places[one.file] = str(index.root / layout.place(one.file, one.sha256))
        yield Listed(project, "", tuple(found.values()), places)


def _asked(
    address: str, channels: Iterable[str], projects: Iterable[str], environment: Mapping[str, str]
) -> Iterator[Listed]:
    """Yield what an address offers: as the simple index that it is, or as the base of one for each channel."""
    base = settings.settings(environment)
    for project in projects:
        said: list[str] = []
        found: list[Listed] = []
        for index in (address, *(f"{address.rstrip('/')}/{one}/{layout.SIMPLE}/" for one in channels)):
            try:
                offered = net.offered(project, using=base._replace(indexes=(index,), folders=()))
            except FetchError as error:
                said += error.faults or (error.message,)
                continue
            found.append(Listed(project, bare(index), tuple(offered), {}))
            if index == address:
                break
        if not found:
            raise FetchError(
                f"the index has nothing of {project}",
                faults=said,
                hint="name its simple index (ADDRESS/cu128/simple/), or a folder of wheels",
            )
        yield from found
