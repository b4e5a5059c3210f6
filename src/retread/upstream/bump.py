"""A recipe carried to another release: its series with a verdict for each hunk, its pins, its proofs.

Nothing is written before every patch has its place, and then the recipe last: without it the rest is not looked at.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from packaging.version import InvalidVersion, Version

from retread.doors import durable, fs
from retread.doors.machine import Machine, code_digest, download
from retread.doors.net import catalogue, settings
from retread.doors.net.offers import Offer
from retread.doors.store import Kind, digest
from retread.errors import FetchError, SeriesError, UsageError
from retread.queue import header, order, pieces
from retread.queue.carry import Carrier, Wish
from retread.queue.desk import Desk
from retread.queue.fate import WORDS, Fate, PatchFate
from retread.queue.repository import Repository
from retread.queue.worktree import Worktree
from retread.recipe import files, proof, reading, workspace
from retread.recipe.model import Recipe
from retread.recipe.series import parse_series
from retread.recipe.workspace import Loaded
from retread.records import Record, Sha256
from retread.source import tree as source
from retread.source.records import SourceTree
from retread.source.trees import Trees
from retread.strict import near_miss
from retread.upstream import listing, outlook, rebase, renewal
from retread.upstream.listing import Listing
from retread.wheel import contents
from retread.wheel.facts import WheelFacts

_FIXED: Final = re.compile(r"fixed in (\S+) \(")


class Bumped(Record, frozen=True, kw_only=True):
    """What becomes of a recipe on another release."""

    schema: int
    recipe: str
    to: str
    file: str
    sha256: str
    proven: bool
    """Whether a recipe of that release pins it already."""
    patches: tuple[PatchFate, ...]
    range_diff: str
    """What became of each patch, as git range-diff shows it; nothing where every one is as it was, or one is open."""
    look_at: tuple[str, ...]
    """What the new base wheels lack of what the new recipe promises: a person decides what becomes of it."""
    written: tuple[str, ...]


class Release(NamedTuple):
    """Another release: its source, what the index offers of it, and its recipe, if there is one."""

    version: Version
    tree: SourceTree
    sdist: Offer
    offers: tuple[Offer, ...]
    known: Loaded | None


class Way(StrEnum):
    """What is done with a bump."""

    ONCE = "once"
    CHECK = "check"
    EDIT = "edit"
    CONTINUE = "continue"


class Request(NamedTuple):
    """What was asked for: the release, the decisions, where its commit is to be found, what to do."""

    to: str
    wish: Wish
    clone: str
    tag: str
    way: Way
    command: str
    """What is run after each patch of a rebase."""


class Bump(NamedTuple):
    """What was planned: the data, and the files to write."""

    data: Bumped
    folder: dict[str, bytes]


def bump(desk: Desk, request: Request) -> Bumped:
    """Carry a recipe to another release; what becomes of each patch is returned in any case, and whether it is written.

    With no open patch the new recipe, its series and its proofs are written. A release that has a recipe is only
    looked at. ``EDIT`` leaves open patches to a rebase in a worktree, ``CONTINUE`` takes what became of it.
    """
    loaded = desk.loaded()
    release = find(desk.machine, desk.root, loaded.recipe, request.to)
    with desk.held() as scratch:
        tree = Worktree(desk, scratch)
        _demand_way(tree, request)
        plan = carried(desk, loaded, release, request.wish, scratch)
        if request.way is Way.CONTINUE:
            plan = _solved(tree, loaded, release.tree, plan)
        left = any(one.open for one in plan.data.patches)
        if request.way is Way.EDIT and (left or request.command):
            rebase.begin(tree, loaded, release.tree, plan.data.patches, request.command)
            desk.machine.console.say(rebase.told(tree))
            return plan.data
        if left:
            return plan.data
        if any(one.fate is not Fate.CLEAN for one in plan.data.patches):
            shown = _compared(desk, loaded, release, plan.folder, scratch)
            plan = plan._replace(data=msgspec.structs.replace(plan.data, range_diff=shown))
        if request.way is Way.CHECK or release.known is not None:
            return plan.data
        new = _new_files(desk, loaded, release, request, scratch)
        recipe = reading.parse_recipe(new[_recipe_path(desk, release)], name=_name(desk, release))
        look_at = _look_at(desk, recipe, scratch)
        series = files.series(recipe)
        made = {**{f"{series}/{name}": data for name, data in plan.folder.items()}, **new}
        _write(desk, made)
        if request.way is Way.CONTINUE:
            fs.remove(tree.folder)
        return msgspec.structs.replace(plan.data, look_at=look_at, written=tuple(made))


def _demand_way(tree: Worktree, request: Request) -> None:
    """Raise UsageError for a second bump while one is under way, and for going on with none."""
    there = tree.state is not None
    if there and request.way in {Way.ONCE, Way.EDIT}:
        raise UsageError(
            f"a bump of {tree.desk.recipe.name} to {request.to} is under way in {tree.folder}",
            hint="go on with --continue, leave a patch out with --continue --skip PATCH --because TEXT, or --abort",
        )
    if request.way is Way.CONTINUE and not there:
        raise UsageError(f"no bump to {request.to} is under way", hint="begin one with --edit")


def _solved(tree: Worktree, loaded: Loaded, new: SourceTree, plan: Bump) -> Bump:
    gone = {one.name for one in plan.data.patches if not one.kept and not one.open}
    found, fates = rebase.solved(tree, loaded, new, plan.data.patches, gone)
    dropped = {one.name: one.reason for one in fates if one.name in gone}
    folder = pieces.folder(
        tree.repository, loaded.files, found, where=f"the series for {plan.data.to}", dropped=dropped
    )
    return Bump(msgspec.structs.replace(plan.data, patches=tuple(fates)), folder.files)


def abort(desk: Desk, to: str) -> str:
    """Remove the worktree of a bump and return its place; UsageError when there is none."""
    with desk.held() as scratch:
        tree = Worktree(desk, scratch)
        if tree.state is None:
            raise UsageError(f"no bump to {to} is under way")
        fs.remove(tree.folder)
        return str(tree.folder)


def demand_closed(data: Bumped) -> None:
    """Raise SeriesError that lists the patches about which somebody has to decide."""
    left = [f"{one.name}: {one.fate}" for one in data.patches if one.open]
    if left:
        raise SeriesError(
            f"{len(left)} patch(es) of {data.recipe} do not go to {data.to} by themselves; nothing was written",
            faults=left,
            hint="accept a verdict with --accept three-way:0002, leave a patch out with --skip 0002 --because TEXT, or "
            "solve it in a worktree with --edit",
        )


# The release.


def find(machine: Machine, root: Path, recipe: Recipe, to: str) -> Release:
    """Return a release of a recipe's project: as its own recipe pins it, else as the index has it."""
    try:
        version = Version(to)
    except InvalidVersion:
        raise UsageError(f"{to!r} is no version", hint="write it like --to 0.0.36") from None
    name = renewal.name(recipe, to)
    if name in workspace.recipes(root):
        known = workspace.load(root, name)
        pinned = known.recipe.sdist
        offer = Offer(pinned.file, version, frozenset(), pinned.sha256, yanked=False)
        return Release(version, Trees(known, machine).source, offer, (), known)
    offers = tuple(catalogue.offered(recipe.project, using=settings.settings(machine.environment)))
    sdist = next((one for one in offers if one.version == version and not one.tags), None)
    if sdist is None or not sdist.sha256:
        what = "no source archive of" if sdist is None else "no sha256 of"
        known_versions = sorted({one.version for one in offers if not one.tags})[-5:]
        raise FetchError(
            f"the index has {what} {recipe.project} {to}",
            hint=f"the newest that it has a source of are {', '.join(map(str, known_versions)) or 'none'}",
        )
    path = download(machine, recipe.project, sdist.file, sdist.sha256)
    key = digest("unproven", code_digest(), sdist.sha256)
    made = machine.store.make(Kind.TREES, key, lambda into: source.from_unproven(path, into))
    return Release(version, source.load(made), sdist, offers, None)


# The series.


def carried(desk: Desk, loaded: Loaded, release: Release, wish: Wish, scratch: Path) -> Bump:
    """Return what becomes of each patch of a series on another release, and the series that those make that pass."""
    repository = desk.repository(scratch)
    old = desk.trees(loaded).source
    touched = pieces.paths(loaded.patches)
    bases = repository.base(old, touched), repository.base(release.tree, touched)
    stack = pieces.stacked(repository, bases[0], loaded.files)
    fixed = {patch.name: _is_fixed(patch.upstream, release.version) for patch in loaded.patches}
    carrier = Carrier(repository, bases, _renames(repository, old, release.tree), fixed.__getitem__)
    found = carrier.carry(stack, wish)
    kept = [one.piece for one in found if one.piece is not None]
    dropped = {one.fate.name: one.fate.reason for one in found if not one.fate.kept and not one.fate.open}
    where = f"the series for {release.version}"
    folder = pieces.folder(repository, loaded.files, kept, where=where, dropped=dropped).files
    data = Bumped(
        schema=1,
        recipe=desk.recipe.name,
        to=str(release.version),
        file=release.sdist.file,
        sha256=release.sdist.sha256,
        proven=release.known is not None,
        patches=tuple(one.fate for one in found),
        range_diff="",
        look_at=(),
        written=(),
    )
    return Bump(data, folder)


def _compared(
    desk: Desk, loaded: Loaded, release: Release, folder: Mapping[str, bytes], scratch: Path
) -> str:
    """Return how the new series differs from the old one, for whoever reviews it."""
    repository = desk.repository(scratch)
    ranges = []
    for tree, series in ((desk.trees(loaded).source, loaded.files), (release.tree, folder)):
        touched = pieces.paths(parse_series(series, where="the series"))
        base = head = repository.commit(repository.base(tree, touched), None, "base", time=0)
        for one in pieces.stacked(repository, repository.tree_of(base), series):
            head = repository.commit(one.after, head, header.message(one.head), time=0)
        if head == base:
            return ""  # git compares no empty ranges, and there is nothing to see
        ranges.append(f"{base}..{head}")
    return repository.ask("range-diff", "--no-color", *ranges)


def _renames(
    repository: Repository, old: SourceTree, new: SourceTree
) -> functools.partial[Mapping[str, str]]:
    """Return what finds renamed files when it is asked; that needs both sources whole."""

    @functools.cache
    def find_them() -> Mapping[str, str]:
        return repository.renamed(repository.base(old), repository.base(new))

    return functools.partial(find_them)


def _is_fixed(upstream: str, version: Version) -> bool:
    found = _FIXED.match(upstream)
    with suppress(InvalidVersion):
        return bool(found) and Version(found[1] if found else "") <= version
    return False


def wish(names: list[str], recipe: str, accept: Mapping[str, Fate], skip: Mapping[str, str]) -> Wish:
    """Return decisions by the patches' names; UsageError for a patch that is not there."""
    return Wish(
        {order.found(one, names, recipe=recipe): fate for one, fate in accept.items()},
        {order.found(one, names, recipe=recipe): reason for one, reason in skip.items()},
    )


def accepted(typed: Iterable[str]) -> dict[str, Fate]:
    """Return which verdict is accepted of which patch, as typed; UsageError for what is no such pair."""
    found = {}
    for one in typed:
        word, _, patch = one.partition(":")
        if word not in WORDS or not patch:
            raise UsageError(
                f"{one!r} accepts nothing{near_miss(word, WORDS)}",
                hint=f"write it like three-way:0002; kinds are {', '.join(WORDS)}; a conflict is for a person to solve",
            )
        found[patch] = WORDS[word]
    return found


# The new recipe.


def _name(desk: Desk, release: Release) -> str:
    return renewal.name(desk.recipe, str(release.version))


def _recipe_path(desk: Desk, release: Release) -> str:
    return files.recipe_file(_name(desk, release))


def _new_files(
    desk: Desk, loaded: Loaded, release: Release, request: Request, scratch: Path
) -> dict[str, bytes]:
    """Return the new recipe's proofs and its text, last; SourceError when the archive is not the commit."""
    recipe, version = loaded.recipe, str(release.version)
    tags = (request.tag,) if request.tag else (f"refs/tags/v{version}", f"refs/tags/{version}")
    environment = desk.machine.environment
    with desk.machine.console.step(f"find {tags[0].removeprefix('refs/tags/')}") as step:
        top = listing.fetch(request.clone or recipe.pin.repository, tags, scratch, environment=environment)
        step.detail = top.commit[:12]
    wheels = renewal.wheels(recipe, release.offers, release.version)
    commits = {one.path: top.submodules.get(one.path, one.commit) for one in recipe.pin.submodules}
    torch = dict(_torch(desk, recipe, wheels, scratch))
    facts = renewal.Facts(version, top.commit, release.sdist, commits, wheels, torch)
    old = (desk.root / files.recipe_file(recipe.name)).read_text("utf-8")
    text = renewal.text(old, recipe, facts).encode()
    made = reading.parse_recipe(text, name=_name(desk, release))
    proofs = dict(_proofs(desk, loaded, made, top, scratch))
    sdist = download(desk.machine, recipe.project, release.sdist.file, release.sdist.sha256)
    parsed = {one.commit: one for one in (proof.parse(data, name=path) for path, data in proofs.items())}
    with desk.machine.console.step("prove the source"):
        (scratch / "proven").mkdir()
        source.from_sdist(made, sdist, parsed, scratch / "proven")
    return {**proofs, _recipe_path(desk, release): text}


def _torch(
    desk: Desk, recipe: Recipe, wheels: Mapping[str, Offer], scratch: Path
) -> Iterator[tuple[str, str]]:
    """Yield the torch of each target that is for one, as its new base wheel says it."""
    for name, target in recipe.targets.items():
        for base in target.base:
            new = wheels[base.file]
            found = renewal.one_torch(target, _held(desk, new.file, new.sha256, scratch))
            if found:
                yield name, found


def _held(desk: Desk, file: str, sha256: Sha256, scratch: Path) -> WheelFacts:
    """Return what a wheel of upstream's holds."""
    path = download(desk.machine, desk.recipe.project, file, sha256)
    folder = scratch / "wheel"
    folder.mkdir(exist_ok=True)
    with desk.machine.console.step(f"read {file}"):
        return contents.examine(path, folder)[0]


def _look_at(desk: Desk, made: Recipe, scratch: Path) -> tuple[str, ...]:
    """Return where the new wheels differ from what the recipe's targets promise."""
    return tuple(
        f"targets.{name}: {lack}"
        for name, target in made.targets.items()
        for base in target.base
        for lack in outlook.lacks(target, _held(desk, base.file, base.sha256, scratch))
    )


def _proofs(desk: Desk, loaded: Loaded, made: Recipe, top: Listing, scratch: Path) -> list[tuple[str, bytes]]:
    """Return the proofs of the pin and of those submodules of which the old recipe had one."""
    sdist = download(desk.machine, made.project, made.sdist.file, made.sdist.sha256)
    paths = source.paths(sdist)
    found = [(files.proof(made.pin.repository, top.commit), proof.pruned(top.data, paths, name="proof"))]
    before = {one.path: one.commit for one in loaded.recipe.pin.submodules}
    for one in made.pin.submodules:
        if before[one.path] not in loaded.proofs:
            continue
        path = files.proof(one.repository, one.commit)
        if (desk.root / path).is_file():
            found.append((path, (desk.root / path).read_bytes()))
            continue
        inner = listing.fetch(one.repository, [one.commit], scratch, environment=desk.machine.environment)
        below = f"{one.path}/"
        inside = {name.removeprefix(below) for name in paths if name.startswith(below)}
        found.append((path, proof.pruned(inner.data, inside, name=path)))
    return found


def _write(desk: Desk, made: Mapping[str, bytes]) -> None:
    """Write new files, the recipe last; a file that is there already is the same, or in the way."""
    root = desk.root
    there = {path for path in made if (root / path).exists()}
    other = [path for path in sorted(there) if (root / path).read_bytes() != made[path]]
    if other:
        raise UsageError(f"{', '.join(other)}: there already; nothing was written", hint="move it away")
    begun = _written(desk)  # by a process that was killed
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in made.items()}
    new = {path: found for path, found in digests.items() if path not in there or begun.get(path) == found}
    with durable.disk_errors(root):
        durable.folder(desk.written.parent)
        durable.replace(desk.written, msgspec.json.encode(new))
        for path in (one for one in new if one not in there):
            durable.remove(root / f"{path}.new")
            durable.write(root / f"{path}.new", made[path])
            durable.move(root / f"{path}.new", root / path)


def _written(desk: Desk) -> dict[str, str]:
    """Return path -> SHA-256 of what the last bump wrote."""
    with suppress(FileNotFoundError):
        return msgspec.json.decode(desk.written.read_bytes(), type=dict[str, str])
    return {}


def undo(desk: Desk) -> list[str]:
    """Remove the files that the last bump to this release wrote, the recipe first; return them.

    SeriesError, and nothing is removed, when one of them changed since.
    """
    with desk.held(), durable.disk_errors(desk.root):
        known = _written(desk)
        if not known:
            raise UsageError("there is nothing to undo")
        there = [path for path in reversed(known) if (desk.root / path).is_file()]
        changed = [
            path
            for path in there
            if hashlib.sha256((desk.root / path).read_bytes()).hexdigest() != known[path]
        ]
        if changed:
            raise SeriesError(
                f"{', '.join(changed)} changed since the bump; nothing was removed",
                hint="git knows what is new",
            )
        for path in there:
            durable.remove(desk.root / path)
        for folder in {(desk.root / path).parent for path in there}:
            if not any(folder.iterdir()):
                durable.remove(folder)
        durable.remove(desk.written)
        return there
