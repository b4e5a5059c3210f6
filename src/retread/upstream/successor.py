"""The next release's recipe: its pins, its proofs, and what its wheels and its archive hold otherwise than before."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from retread.doors.machine import download
from retread.errors import SourceError
from retread.queue.desk import Desk
from retread.recipe import amending, files, proof, reading, workspace
from retread.recipe.model import Base, Recipe, Submodule, Target
from retread.recipe.toolchain import Toolchain
from retread.recipe.workspace import Loaded
from retread.source import tree as source
from retread.source.records import SourceTree
from retread.upstream import clue, commits, draft, drift, opened, renewal
from retread.upstream.commits import Commits
from retread.upstream.draft import Found, Read
from retread.upstream.drift import Held, Side
from retread.upstream.listing import Listing
from retread.upstream.release import Release


class Made(NamedTuple):
    """What is to be written of a new recipe."""

    series: str
    """Where its series is to lie."""
    files: dict[str, bytes]
    """Its proofs, and its text last."""
    adjusted: tuple[str, ...]
    look_at: tuple[str, ...]


def make(desk: Desk, loaded: Loaded, release: Release, *, place: str, tag: str, scratch: Path) -> Made:
    """Return a release's recipe and proofs; SourceError when the archive is not the commit."""
    assert release.sdist is not None
    assert release.version is not None
    recipe, name = loaded.recipe, renewal.name(loaded.recipe, release.title)
    tags = release.references(tag)
    repository = Commits(desk, place, scratch)
    with desk.machine.console.step(f"find {tags[0].removeprefix('refs/tags/')}") as step:
        top = repository.top(tags)
        step.detail = top.commit[:12]
    wheels = renewal.wheels(recipe, release.offers, release.version)
    inner = repository.submodules(top, recipe.pin.submodules)
    facts = renewal.Facts(release.title, top.commit, release.sdist, inner, wheels)
    old = (desk.root / files.recipe_file(recipe.name)).read_text("utf-8")
    came = _came(recipe, top, release.tree)
    text = _with_submodules(renewal.text(old, recipe, facts), came)
    found = [*renewal.steps(recipe, wheels), *_drift(desk, loaded, release, facts, scratch)]
    taken = renewal.taken(text, name, found)
    made = reading.parse_recipe(taken.text.encode(), name=name)
    proven = {one.path for one in recipe.pin.submodules if one.commit in loaded.proofs}
    proofs = repository.proofs(made, top, {*proven, *(one.path for one in came)})
    _prove(repository, made, proofs, scratch)
    told = tuple(f"pin.submodules: +{one.path}" for one in came)
    text_file = {files.recipe_file(name): taken.text.encode()}
    return Made(files.series(made), {**proofs, **text_file}, (*told, *taken.adjusted), taken.look_at)


def _came(recipe: Recipe, top: Listing, tree: SourceTree) -> list[Submodule]:
    """Return the submodules that are new and of which the archive holds files, as far as their address is known."""
    known = {one.path for one in recipe.pin.submodules}
    held = {
        path
        for path in top.submodules
        if path not in known and any(one.startswith(f"{path}/") for one in tree.manifest.files)
    }
    found = (commits.submodule(recipe.pin.repository, top, path) for path in sorted(held))
    return [one for one in found if one.repository]


def _with_submodules(text: str, came: Iterable[Submodule]) -> str:
    for one in came:
        values = {"path": one.path, "repository": one.repository, "commit": one.commit}
        text = amending.with_table(text, "[pin.submodules]", values, below="pin")
    return text


def _prove(commits: Commits, made: Recipe, proofs: Mapping[str, bytes], scratch: Path) -> None:
    """Hold the release's archive to its commit; SourceError says what may be wrong when it is another's."""
    machine, pinned = commits.desk.machine, commits.desk.recipe.pin.commit
    sdist = download(machine, made.project, made.sdist.file, made.sdist.sha256)
    parsed = {one.commit: one for one in (proof.parse(data, name=path) for path, data in proofs.items())}
    into = scratch / "proven"
    into.mkdir()
    try:
        with machine.console.step("prove the source"):
            source.from_sdist(made, sdist, parsed, into)
    except SourceError as error:
        hint = "the tag may have moved since the archive was made: name the commit that it was made of with --tag; or "
        if not commits.has(pinned):
            hint = (
                f"{commits.place} has not the commit {pinned[:12]} that {commits.desk.recipe.name} pins: is it the "
                "right repository? or "
            )
        raise SourceError(error.message, faults=error.faults, hint=hint + error.hint) from None


# What it holds.


class _Look(NamedTuple):
    """One release, of which wheels are read."""

    desk: Desk
    recipe: Recipe
    version: str
    tree: SourceTree
    toolchains: Sequence[Toolchain]
    scratch: Path


def _drift(
    desk: Desk, loaded: Loaded, release: Release, facts: renewal.Facts, scratch: Path
) -> Iterator[drift.Found]:
    """Yield what the release's wheels and archive hold otherwise than the pinned ones."""
    recipe = loaded.recipe
    toolchains = [workspace.load_toolchain(desk.root, one) for one in workspace.toolchains(desk.root)]
    now = _Look(desk, recipe, release.title, release.tree, toolchains, scratch)
    was = now._replace(version=recipe.version, tree=desk.trees(loaded).source)
    new = {
        name: [facts.wheels.found[one.file] for one in target.base if one.file in facts.wheels.found]
        for name, target in recipe.targets.items()
    }
    bases = {
        name: tuple({one.file: Base(file=one.file, sha256=one.sha256) for one in some}.values())
        for name, some in new.items()
    }
    old = {name: target.base for name, target in recipe.targets.items()}
    yield from drift.drift(recipe, _side(was, old), _side(now, bases))


def _side(look: _Look, bases: Mapping[str, tuple[Base, ...]]) -> Side:
    """Return what a release holds; a wheel that several targets take is read once."""
    read = {base.file: _held(look, base) for some in bases.values() for base in some}
    drafted = next((one.inputs for one in read.values()), None) or _drafted(look, None, "", ()).native_inputs
    return Side(
        version=look.version,
        source=look.tree.manifest.files,
        inputs=drafted,
        builds_with=opened.builds_with(opened.text(look.tree, "pyproject.toml")),
        targets={name: [read[one.file] for one in some] for name, some in bases.items()},
    )


def _held(look: _Look, base: Base) -> Held:
    path = download(look.desk.machine, look.recipe.project, base.file, base.sha256)
    folder = look.scratch / "wheel"
    folder.mkdir(exist_ok=True)
    edited = {edit.file for target in look.recipe.targets.values() for edit in target.edit}
    with look.desk.machine.console.step(f"read {base.file}"):
        read, texts = opened.wheel(path, folder, edited)
    if not any(one.modules for one in read.facts.libraries.values()):
        nothing = Target(cuda="", torch="", revision=1, architectures=(), ptx=())
        inputs = _drafted(look, None, "", ()).native_inputs
        return Held(read.facts, nothing, inputs, frozenset(read.files), texts)
    made = _drafted(look, read, texts["METADATA"], (base,))
    (target,) = made.targets.values()
    return Held(read.facts, target, made.native_inputs, frozenset(read.files), texts)


def _drafted(look: _Look, read: Read | None, metadata: str, bases: tuple[Base, ...]) -> Recipe:
    """Return the recipe that 'recipe new' would make of the release."""
    found = Found(
        project=look.recipe.project,
        version=look.version,
        said=clue.said(metadata),
        wheel=read,
        bases=bases,
        sdist=look.recipe.sdist,
        source=look.tree.manifest.files,
        builds_with=(),
        pin=look.recipe.pin,
        proven=True,
        toolchains=look.toolchains,
        machine=platform.machine(),
    )
    return draft.draft(found).recipe
