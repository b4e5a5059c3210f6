"""Where a recipe is carried to: a release as its own recipe pins it, or as the index has it; or a commit."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace
from packaging.version import InvalidVersion, Version

from retread import pypa
from retread.doors.machine import code_digest
from retread.doors.net import catalogue, settings
from retread.doors.net.offers import Offer
from retread.doors.store import Kind, digest
from retread.errors import FetchError, UsageError
from retread.queue import pieces
from retread.queue.desk import Desk
from retread.recipe import workspace
from retread.recipe.model import Recipe
from retread.recipe.workspace import Loaded
from retread.source import tree as source
from retread.source.records import SourceTree
from retread.source.trees import Trees, unproven
from retread.upstream import listing, renewal
from retread.upstream.commits import Commits

_COMMITISH: Final = re.compile(r"[0-9a-f]{7,39}")


class Release(NamedTuple):
    """Another source: of a release, what the index offers of it, and its recipe, if there is one; or of a commit."""

    title: str
    """The version, or the commit."""
    tree: SourceTree
    sdist: Offer | None
    """None of a commit."""
    offers: tuple[Offer, ...] = ()
    known: Loaded | None = None

    @property
    def version(self) -> Version | None:
        """The version, of a release."""
        return self.sdist.version if self.sdist else None

    @property
    def only_looked_at(self) -> bool:
        """Whether no recipe can be written: there is one, or there are no archive and wheels to pin."""
        return self.known is not None or self.sdist is None

    def references(self, tag: str) -> tuple[str, ...]:
        """Return under which names the release's commit may be known."""
        if self.known is not None:
            return (self.known.recipe.pin.commit,)
        if tag or self.version is None:
            return (tag or self.title,)
        return (f"refs/tags/v{self.title}", f"refs/tags/{self.title}")


def find(desk: Desk, loaded: Loaded, to: str, place: str, left_out: Collection[str]) -> Release:
    """Return a release of a recipe's project, or a commit of its repository or of the clone ``place``.

    Of a commit submodules are fetched that the series touches, but for the patches that are ``left_out``.
    UsageError for a recipe without a source archive, whose place that of another release could take.
    """
    commit = listing.COMMIT.fullmatch(to)
    if loaded.recipe.source or not (loaded.recipe.sdist.file or commit):
        raise UsageError(
            f"{loaded.recipe.name} has no source archive, so none of another release can take its place",
            hint=f"begin with 'retread recipe new {loaded.recipe.project}==VERSION', and take the patches over with "
            "'retread patch import'",
        )
    if commit:
        touched = pieces.paths(one for one in loaded.patches if one.name not in left_out)
        return _commit(desk, loaded.recipe, touched, to, place)
    try:
        version = pypa.version(to)
    except InvalidVersion:
        short = _COMMITISH.fullmatch(to)
        what = "a commit has 40 digits: 'git rev-parse' tells them" if short else "write it like --to 0.0.36"
        raise UsageError(f"{to!r} is neither a version nor a commit", hint=what) from None
    name = renewal.name(loaded.recipe, to)
    if name in workspace.recipes(desk.root):
        known = workspace.load(desk.root, name)
        pinned = known.recipe.sdist
        offer = Offer(pinned.file, version, frozenset(), pinned.sha256, yanked=False)
        return Release(str(version), Trees(known, desk.machine).source, offer, known=known)
    return _offered(desk, loaded.recipe, version)


def _offered(desk: Desk, recipe: Recipe, version: Version) -> Release:
    """Return a release as the index has it."""
    machine = desk.machine
    using = settings.settings(machine.environment)._replace(say=machine.console.say)
    offers = tuple(catalogue.offered(recipe.project, using=using))
    sdist = next((one for one in offers if one.version == version and not one.tags), None)
    if sdist is None or not sdist.sha256:
        what = "no source archive of" if sdist is None else "no sha256 of"
        known_versions = sorted({one.version for one in offers if not one.tags})[-5:]
        raise FetchError(
            f"the index has {what} {recipe.project} {version}",
            hint=f"the newest that it has a source of are {', '.join(map(str, known_versions)) or 'none'}",
        )
    return Release(str(version), unproven(machine, recipe.project, sdist.file, sdist.sha256), sdist, offers)


def _commit(desk: Desk, recipe: Recipe, touched: Collection[str], commit: str, place: str) -> Release:
    """Return a commit with those of its submodules in which a file is touched."""
    wanted = [
        one for one in recipe.pin.submodules if any(path.startswith(f"{one.path}/") for path in touched)
    ]
    with desk.machine.store.scratch() as scratch:
        commits = Commits(desk, place, scratch)
        inner = commits.submodules(commits.top([commit]), wanted)
        there = tuple(
            replace(one, commit=inner[one.path], repository=commits.near(one, inner[one.path]))
            for one in wanted
            if one.path in inner
        )
    pin = replace(recipe.pin, repository=commits.place, commit=commit, submodules=there)

    def build(into: Path) -> None:
        machine, aimed = desk.machine, replace(recipe, pin=pin)
        with machine.console.step(f"fetch {commit[:12]}"):
            source.from_git(aimed, into, environment=machine.environment, say=machine.console.say)

    key = digest("commit", code_digest(), commit, inner)
    return Release(commit, source.load(desk.machine.store.make(Kind.TREES, key, build)), None)
