"""A project's first recipe: its release on the index is read, its commit looked for, and all is written or nothing."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from packaging.requirements import InvalidRequirement
from packaging.tags import platform_tags, sys_tags
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from retread import pypa
from retread.doors.machine import Machine, download
from retread.doors.net import catalogue, offers, settings
from retread.doors.net.offers import Offer
from retread.errors import FetchError, PlanError, RetreadError, SourceError, UsageError
from retread.recipe import files, plan, proof, workspace, writing
from retread.recipe.model import Base, Pin, Sdist, Submodule, Unproven
from retread.recipe.native import matches
from retread.records import Record, Sha256
from retread.source.trees import unproven
from retread.units import counted
from retread.upstream import clue, commits, draft, listing, opened, written
from retread.upstream.clue import Said
from retread.upstream.draft import Draft, Found, Read
from retread.upstream.listing import Listing

_SCHEMA: Final = "docs/schemas/recipe.json"
_SETUPTOOLS: Final = ("PKG-INFO", "setup.cfg", "*.egg-info/*")
_SERIES: Final = (
    b"# The patches of this release in their order, one name a line: 'retread patch new' adds one.\n"
)


class Lane(Record, frozen=True, kw_only=True):
    """How a target is made, and why."""

    target: str
    lane: str
    """Empty where no lane is possible yet."""
    why: str


class First(Record, frozen=True, kw_only=True):
    """What a first recipe was made of, and what it leaves to a person."""

    schema: int
    recipe: str
    sdist: str
    wheels: tuple[str, ...]
    repository: str
    commit: str
    """What is believed to be the release's; empty where nothing says it."""
    told: tuple[str, ...]
    """Where repository and commit come from, and how far they are confirmed."""
    lanes: tuple[Lane, ...]
    notes: tuple[str, ...]
    """What remains possible where something is missing."""
    open: tuple[str, ...]
    """What 'recipe check' says of it: the fields that were left empty, and what else is missing."""
    written: tuple[str, ...]


class Asked(NamedTuple):
    """What was asked for."""

    project: str
    """Normalised."""
    version: Version
    repository: str
    """An address that was given; empty to take the project's own word."""
    every: bool
    """Whether the wheels of every Python are pinned."""


class Look(NamedTuple):
    """One look at a release: through which doors, for which workspace, at what."""

    machine: Machine
    root: Path
    wanted: Asked
    scratch: Path


class Origin(NamedTuple):
    """Where the source is believed to come from, its proofs, and how that was found."""

    pin: Pin
    unproven: tuple[Unproven, ...]
    proofs: Mapping[str, bytes]
    told: tuple[str, ...]
    source: Mapping[str, str] = MappingProxyType({})
    """Path -> blob id of the commit, where there is no archive that would say it."""


def asked(typed: str, repository: str, *, every: bool) -> Asked:
    """Return what ``PROJECT==VERSION`` asks for; UsageError when it is something else."""
    hint = "write it like 'retread recipe new demo==1.0'"
    try:
        one = pypa.requirement(typed)
        pins = list(one.specifier)
        version = pypa.version(pins[0].version) if len(pins) == 1 else None
    except (InvalidRequirement, InvalidVersion):
        raise UsageError(f"{typed[:80]!r} is no project and version", hint=hint) from None
    if version is None or pins[0].operator != "==" or one.extras or one.marker or one.url:
        raise UsageError(f"{typed[:80]!r} does not name one version of a project", hint=hint)
    if version.local:
        raise UsageError(f"{version} has a local part; that part is retread's to write", hint=hint)
    return Asked(canonicalize_name(one.name), version, clue.asked(repository) if repository else "", every)


def first(machine: Machine, root: Path, wanted: Asked) -> First:
    """Write the first recipe of a project's release, an empty series and what proofs can be had; return what it says.

    UsageError when there is one already, FetchError for what the index has not, PlanError where there is no GPU code;
    nothing is written then.
    """
    offered = _offered(machine, wanted)
    wanted = wanted._replace(version=offered[0].version)  # 1.0 and 1.0.0 are one release; upstream spells it
    name = f"{wanted.project}-{wanted.version}"
    _demand_new(root, files.recipe_file(name))
    sdist, wheels = _chosen(offered, wanted)
    with machine.store.scratch() as scratch:
        found, origin = _found(Look(machine, root, wanted, scratch), sdist, wheels)
    made = draft.draft(found)
    series = f"{files.series(made.recipe)}/series"
    made_files = {**origin.proofs, series: _SERIES, files.recipe_file(name): _text(root, made)}
    _demand_new(root, files.recipe_file(name))
    written.put(root, written.lacking(root, made_files, kept=[series]))
    return First(
        schema=1,
        recipe=name,
        sdist=found.sdist.file,
        wheels=tuple(one.file for one in found.bases),
        repository=found.pin.repository,
        commit=found.pin.commit,
        told=origin.told,
        lanes=tuple(_lane(made, target) for target in made.recipe.targets),
        notes=made.notes,
        open=tuple(workspace.faults(root, name)),
        written=tuple(made_files),
    )


def _text(root: Path, made: Draft) -> bytes:
    schema = f"../{_SCHEMA}" if (root / _SCHEMA).is_file() else ""
    return writing.text(made.recipe, made.remarks, schema=schema).encode()


def _lane(made: Draft, target: str) -> Lane:
    if made.unfit and made.recipe.targets[target].base:
        return Lane(target=target, lane="", why=made.unfit)
    try:
        chosen = plan.choose_lane(made.recipe, target, (), None)
    except PlanError as error:
        return Lane(target=target, lane="", why="; ".join(error.faults))
    base = made.recipe.targets[target].base
    why = f"{counted(len(base), 'base wheel')} pinned, {chosen.reason}" if base else chosen.reason
    return Lane(target=target, lane=chosen.lane, why=why)


# The index.


def _offered(machine: Machine, wanted: Asked) -> list[Offer]:
    """Return what the index has of the release, without what was yanked."""
    with machine.console.step(f"ask the index for {wanted.project}"):
        using = settings.settings(machine.environment)._replace(say=machine.console.say)
        every = catalogue.offered(wanted.project, using=using)
    found = [one for one in every if one.version == wanted.version]
    newest = sorted({one.version for one in every if not one.yanked and not one.version.local})[-5:]
    hint = f"the newest releases are {', '.join(map(str, newest)) or 'none'}"
    if not found:
        raise FetchError(f"the index has no {wanted.project} {wanted.version}", hint=hint)
    kept = [one for one in found if not one.yanked]
    if not kept:
        raise FetchError(f"{wanted.project} {wanted.version} was yanked", hint=hint)
    unsigned = [one.file for one in kept if not one.sha256]
    if unsigned:
        raise FetchError(
            f"the index states no sha256 of {unsigned[0]}", hint="use an index whose pages state digests"
        )
    return kept


def _chosen(found: list[Offer], wanted: Asked) -> tuple[Offer | None, list[Offer]]:
    """Return the source archive and the wheels for this machine, the one to be read first; FetchError without any."""
    sdist = next((one for one in found if not one.tags), None)
    here = {"any", *platform_tags()}
    fits = [one for one in found if any(tag.platform in here for tag in one.tags)]
    best = offers.fitting(fits, wanted.version, list(sys_tags())) or max(
        fits, key=lambda one: one.file, default=None
    )
    if best is None and sdist is None:
        raise FetchError(
            f"{wanted.project} {wanted.version} has neither a source archive nor a wheel for this machine",
            faults=sorted(one.file for one in found),
        )
    others = [one for one in fits if one != best and wanted.every]
    return sdist, [one for one in (best, *others) if one is not None]


# What it holds.


def _found(look: Look, sdist: Offer | None, wheels: list[Offer]) -> tuple[Found, Origin]:
    wanted = look.wanted
    tree = unproven(look.machine, wanted.project, sdist.file, sdist.sha256) if sdist else None
    held = tree.manifest.files if tree else {}
    read, texts = _read(look, wheels[0]) if wheels else (None, {})
    _demand_code(wanted, read, held)
    said = clue.said(texts.get("METADATA") or opened.text(tree, "PKG-INFO"))
    origin = _origin(look, said, texts, held)
    found = Found(
        project=wanted.project,
        version=str(wanted.version),
        said=said,
        wheel=read,
        bases=tuple(
            Base(file=one.file, sha256=one.sha256) for one in sorted(wheels, key=lambda one: one.file)
        ),
        sdist=Sdist(
            file=sdist.file if sdist else "",
            sha256=sdist.sha256 if sdist else Sha256(""),
            unproven=origin.unproven,
        ),
        source=held or origin.source,
        builds_with=opened.builds_with(opened.text(tree, "pyproject.toml")),
        pin=origin.pin,
        proven=bool(origin.proofs),
        toolchains=[workspace.load_toolchain(look.root, one) for one in workspace.toolchains(look.root)],
        machine=platform.machine(),
    )
    return found, origin


def _read(look: Look, offer: Offer) -> tuple[Read, dict[str, str]]:
    """Return what a wheel holds, and those of its texts that say where it comes from."""
    path = download(look.machine, look.wanted.project, offer.file, offer.sha256)
    with look.machine.console.step(f"read {offer.file}"):
        return opened.wheel(path, look.scratch)


def _demand_code(wanted: Asked, read: Read | None, held: Mapping[str, str]) -> None:
    """Raise PlanError where neither a wheel nor a source has GPU code: no recipe is made of such."""
    what = f"{wanted.project} {wanted.version}"
    if read and not any(one.modules for one in read.facts.libraries.values()):
        other = " in libraries; what it has is told by 'retread inspect'" if read.facts.code else ""
        raise PlanError(
            f"{what}: {read.facts.file} holds no GPU code{other}",
            hint="name a release, or an index, whose wheels hold some",
        )
    if not read and not draft.holds_cuda(held):
        raise PlanError(
            f"{what}: there is no wheel for this machine, and the source archive holds no CUDA code"
        )


# The commit.


def _origin(look: Look, said: Said, texts: Mapping[str, str], held: Mapping[str, str]) -> Origin:
    """Return where the source comes from, as far as that is said, and confirmed where the repository can be reached."""
    asked_for = look.wanted.repository
    address, label = (asked_for, "") if asked_for else clue.repository(said.addresses)
    named, file = clue.commit({name: text for name, text in texts.items() if name != "METADATA"})
    how = f"as the metadata says under {label!r}" if label else "as asked"
    told = (
        f"repository: {address}, {how}"
        if address
        else "repository: the metadata names none; --repository says it"
    )
    guess = [f"commit: {named}, as the wheel's {file} says"] if named else []
    unproven = _by_setuptools(held)
    plain = Origin(Pin(repository=address, commit=named), unproven, {}, (told, *guess))
    if not address:
        return plain
    tags = (named,) if named else clue.tags(str(look.wanted.version))
    try:
        with look.machine.console.step(f"look for the commit in {address}"):
            top = listing.fetch(address, tags, look.scratch, environment=look.machine.environment)
        return _confirmed(look, plain, top, held)
    except RetreadError as error:
        how = "make its listing in a clone, for 'retread recipe proof' (docs/guides/recipes.md)"
        how = f"; {how}" if held else ""
        return plain._replace(told=(*plain.told, f"not confirmed: {error.message}{how}"))


def _by_setuptools(held: Mapping[str, str]) -> tuple[Unproven, ...]:
    found = tuple(glob for glob in _SETUPTOOLS if any(matches(path, (glob,)) for path in held))
    return (Unproven(paths=found, reason="written by setuptools while it made the archive"),) if found else ()


def _confirmed(look: Look, plain: Origin, top: Listing, held: Mapping[str, str]) -> Origin:
    """Return the origin with the commit's proofs; SourceError where the archive holds nothing of the commit's."""
    entries = {path: one.id for path, one in proof.parse(top.data, name="the listing").entries.items()}
    proofs = {files.proof(plain.pin.repository, top.commit): proof.pruned(top.data, held, name="the listing")}
    submodules = [commits.submodule(plain.pin.repository, top, path) for path in top.submodules]
    for one in submodules:
        found = _inner(look, one, held)
        if found is not None:
            entries |= {f"{one.path}/{path}": entry.id for path, entry in found.entries.items()}
            proofs[files.proof(one.repository, one.commit)] = found.data
    same = {path for path, blob in held.items() if entries.get(path) == blob}
    if held and not same:
        raise SourceError(f"{top.commit[:12]} holds no file of the archive")
    rest = sorted(path for path in held if path not in same and not matches(path, _SETUPTOOLS))
    more = (Unproven(paths=tuple(rest), reason=""),) if rest else ()
    pin = Pin(repository=plain.pin.repository, commit=top.commit, submodules=tuple(submodules))
    if not held:
        how = f"found: {top.commit[:12]} has the release's tag, and git fetches it: there is no archive"
        return Origin(pin, (), {}, (*plain.told, how), entries)
    how = f"confirmed: {len(same)} of {len(held)} files of the archive are those of {top.commit[:12]}"
    return Origin(pin, (*plain.unproven, *more), proofs, (*plain.told, how))


class _Inner(NamedTuple):
    entries: Mapping[str, proof.Entry]
    data: bytes


def _inner(look: Look, one: Submodule, held: Mapping[str, str]) -> _Inner | None:
    """Return the listing of a submodule of which the archive holds files; None where it cannot be had."""
    below = f"{one.path}/"
    inside = {path.removeprefix(below) for path in held if path.startswith(below)}
    if not inside or not one.repository:
        return None
    try:
        found = listing.fetch(
            one.repository, [one.commit], look.scratch, environment=look.machine.environment
        )
    except (FetchError, SourceError) as error:
        look.machine.console.say(f"note: {one.path}: {error.message}")
        return None
    entries = proof.parse(found.data, name=one.path).entries
    return _Inner(entries, proof.pruned(found.data, inside, name=one.path))


def _demand_new(root: Path, path: str) -> None:
    if (root / path).exists():
        raise UsageError(
            f"{path} is there already; nothing was written",
            hint="'retread recipe bump' carries it to another release; to begin anew, move it away",
        )
