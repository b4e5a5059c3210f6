"""Which commits another source is made of, and their listings: from the proofs at hand, else from the repositories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urljoin

from retread.doors.machine import download
from retread.queue.desk import Desk
from retread.recipe import files, proof
from retread.recipe.model import Recipe, Submodule
from retread.source import tree as source
from retread.upstream import clue, listing
from retread.upstream.listing import Listing


def submodule(repository: str, top: Listing, path: str) -> Submodule:
    """Return a submodule of a commit; its address is empty where .gitmodules says none that git may be given."""
    written = top.addresses.get(path, "")
    address = urljoin(f"{repository}/", written) if written else ""
    return Submodule(
        path=path, repository=address if clue.is_address(address) else "", commit=top.submodules[path]
    )


class Commits:
    """The commits of a recipe's project and of its submodules."""

    def __init__(self, desk: Desk, place: str, scratch: Path) -> None:
        """``place`` is a clone or another address of the project's own repository; empty is the pinned one."""
        self.desk = desk
        near = Path(place)
        self.place = (
            (str(near.absolute()) if near.is_dir() else place) if place else desk.recipe.pin.repository
        )
        self._scratch = scratch
        self._environment = desk.machine.environment

    def top(self, references: Sequence[str]) -> Listing:
        """Return the first of ``references``, tags or a commit, that the project has."""
        repository = self.desk.recipe.pin.repository
        if known := self._known(repository, references[0]):
            return known
        found = listing.fetch(self.place, references, self._scratch, environment=self._environment)
        return self._known(repository, found.commit) or found

    def has(self, commit: str) -> bool:
        """Say whether the project's repository, or the clone, has a commit."""
        return listing.has(self.place, commit, self._scratch, environment=self._environment)

    def near(self, one: Submodule, commit: str) -> str:
        """Return where a submodule's commit is: in the clone at hand, else in its own repository.

        FetchError when neither can be asked, SourceError when it is nowhere.
        """
        inside = Path(self.place) / one.path
        if (inside / ".git").exists() and listing.has(
            str(inside), commit, self._scratch, environment=self._environment
        ):
            return str(inside)
        listing.fetch(one.repository, [commit], self._scratch, environment=self._environment)
        return one.repository

    def submodules(self, top: Listing, wanted: Iterable[Submodule]) -> dict[str, str]:
        """Return path -> commit of submodules; one that its repository has no more is left out.

        The commit of a submodule's submodule is in the listing of the outer one, and that is asked for only when the
        outer one is at another commit than before.
        """
        found: dict[str, str] = {}
        inside: dict[str, Mapping[str, str]] = {}
        some = sorted(wanted, key=lambda one: one.path)
        for one in some:
            outer = [other for other in some if one.path.startswith(f"{other.path}/")]
            if not outer:
                there, path = top.submodules, one.path
            elif (commit := found.get(outer[-1].path)) == outer[-1].commit:
                there, path = {one.path: one.commit}, one.path
            else:
                above, path = outer[-1], one.path.removeprefix(f"{outer[-1].path}/")
                if commit and above.path not in inside:
                    inside[above.path] = self._inner(above.repository, commit).submodules
                there = inside.get(above.path, {})
            if path in there:
                found[one.path] = there[path]
        return found

    def proofs(self, made: Recipe, top: Listing, proven: set[str]) -> dict[str, bytes]:
        """Return file -> proof of the pin, and of those submodules whose path is among ``proven``."""
        sdist = download(self.desk.machine, made.project, made.sdist.file, made.sdist.sha256)
        paths = source.paths(sdist)
        place = files.proof(made.pin.repository, top.commit)
        found = {place: top.data if top.pruned else proof.pruned(top.data, paths, name="proof")}
        for one in made.pin.submodules:
            if one.path not in proven:
                continue
            inner, below = self._inner(one.repository, one.commit), f"{one.path}/"
            inside = {name.removeprefix(below) for name in paths if name.startswith(below)}
            place = files.proof(one.repository, one.commit)
            found[place] = inner.data if inner.pruned else proof.pruned(inner.data, inside, name=place)
        return found

    def _inner(self, repository: str, commit: str) -> Listing:
        known = self._known(repository, commit)
        return known or listing.fetch(repository, [commit], self._scratch, environment=self._environment)

    def _known(self, repository: str, commit: str) -> Listing | None:
        """Return the listing that the workspace holds as a proof; it was recomputed."""
        place = self.desk.root / files.proof(repository, commit)
        if not listing.COMMIT.fullmatch(commit) or not place.is_file():
            return None
        data = place.read_bytes()
        found = proof.parse(data, name=place.name)
        return (
            Listing(found.commit, data, found.submodules(), pruned=True) if found.commit == commit else None
        )
