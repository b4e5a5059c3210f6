"""A release: the wheels that it must have, as the recipes say, and what a set of wheels lacks of it. Pure.

A wheel is known by what its recipe makes of it, not by its bytes: a plan stands before anything is built.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec
from packaging.utils import canonicalize_name

from retread import strict
from retread.arch import Arch
from retread.audit import promise
from retread.errors import PublishError, first
from retread.recipe import plan, platforms
from retread.recipe.lane import LANES, Bases, Lane
from retread.recipe.matrix import Entry
from retread.recipe.model import Base, Recipe, Target
from retread.records import Record, Sha256, narrowed
from retread.smoke.level import Level
from retread.version import NVCC
from retread.wheel import metadata
from retread.wheel.statement import FileStatement, Promise, Statement, SubmoduleStatement

if TYPE_CHECKING:
    from retread.recipe.workspace import Loaded

SCHEMA: Final = 1


class Definition(Record, frozen=True, kw_only=True):
    """What recipe and wheel both say of how the wheel is made: its digest is the recipe's digest of a plan."""

    recipe: str
    target: str
    project: str
    version: str
    repository: str
    commit: str
    submodules: tuple[SubmoduleStatement, ...]
    sdist: FileStatement | None
    base: FileStatement | None
    """None where its compiled parts are compiled."""
    series: tuple[tuple[str, Sha256], ...]
    """Each patch with its digest, in order."""
    promise: Promise

    @property
    def digest(self) -> Sha256:
        """SHA-256 of it."""
        return Sha256(hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest())


class Made(Record, frozen=True, kw_only=True):
    """One way in which a wheel can be made: by a compiler, which its version names."""

    version: str
    local: str
    """The local part of the version: ``cu128.1``."""
    digest: Sha256
    """The recipe's: of pin, series, base wheel and promise, as ``retread.json`` in the wheel says them."""


class Required(Record, frozen=True, kw_only=True):
    """How far a wheel has to be proven."""

    levels: tuple[Level, ...]
    gpu: tuple[Arch, ...]
    """Capabilities on which the gpu level has to pass."""
    triton: tuple[str, ...]
    """Versions under which the jit level has to pass."""


class Planned(Record, frozen=True, kw_only=True):
    """A wheel that a release must have."""

    job: str
    """The name of the job that makes it: 'retread matrix' has it."""
    command: str
    """What makes it by hand."""
    wheel: str
    """Its file name, as far as it is known before it is made: ``*`` stands for the tags of a compiled one."""
    name: str
    """The project, normalised."""
    version: str
    local: str
    """The local part of the version."""
    tags: str
    """``py39-none-manylinux_2_28_x86_64``; empty where the compile decides them."""
    recipe: str
    digest: Sha256
    """The recipe's, as far as it is of this wheel."""
    target: str
    python: Annotated[str, msgspec.Meta(pattern=r"^3\.\d{1,3}$")]
    platform: str
    lane: Lane
    evidence: Required
    instead: tuple[Made, ...] = ()
    """Wheels that may stand in its place: of another of the target's toolchains, which the version tells."""

    @property
    def ways(self) -> tuple[Made, ...]:
        """Every way in which it can be made, the preferred one first."""
        return (Made(version=self.version, local=self.local, digest=self.digest), *self.instead)

    def way(self, file: str) -> Made | None:
        """Return how a wheel of this name would be this one, or None when it is another."""
        found = metadata.parse_name(file)
        made = next((one for one in self.ways if one.version == found.version), None)
        if made is None or found.project != self.name:
            return None
        if self.tags:
            wanted = metadata.parse_name(self.wheel).tags
            return made if metadata.expand_tags(found.tags) == metadata.expand_tags(wanted) else None
        is_here = platforms.of_base(file) == self.platform
        return made if is_here and plan.serves(file, self.python) else None


class Release(Record, frozen=True, kw_only=True):
    """All wheels of a release: it is published with each of them and no other, or not at all."""

    schema: int
    wheels: tuple[Planned, ...]


class Given(NamedTuple):
    """A wheel that is there: its file name, and what it says of itself if it could be read."""

    file: str
    statement: Statement | None = None


def planned(jobs: Iterable[Entry], known: Mapping[str, Loaded]) -> Release:
    """Return the release that has what the ``jobs`` make; ``known`` are the recipes by name."""
    wheels = [one for entry in jobs for one in _wheels(entry, known[entry.recipe])]
    return Release(schema=SCHEMA, wheels=tuple(wheels))


def parse(data: bytes, *, name: str) -> Release:
    """Read a plan; PublishError with every fault."""
    try:
        table = strict.document(data, SCHEMA)
    except strict.NewerError as error:
        raise PublishError(f"{name} has {error}", hint=_HINT) from None
    except ValueError as error:
        raise PublishError(f"{name} is no plan of a release: {error}", hint=_HINT) from None
    found, faults = strict.read(Release, table)
    if found is None:
        raise PublishError(f"{name} is no plan of a release", faults=first(faults), hint=_HINT)
    if not found.wheels:
        raise PublishError(f"{name} plans no wheel", hint=_HINT)
    for one in found.wheels:
        metadata.parse_name(one.wheel.replace("-*_", "-py3-none-") if not one.tags else one.wheel)
    return found


def faults(release: Release, given: Sequence[Given]) -> Iterator[str]:
    """Yield what stands between the wheels that are given and the release: missing, extra, of another recipe."""
    taken: dict[str, Planned] = {}
    for one in given:
        wanted = next((two for two in release.wheels if two.way(one.file)), None)
        if wanted is None:
            yield f"{one.file}: it is not in the plan of the release: take it away, or make the plan anew"
            continue
        other = next((file for file, two in taken.items() if two is wanted and file != one.file), "")
        if other:
            yield f"{one.file}: {other} is that wheel of the release already: take one of them away"
            continue
        taken[one.file] = wanted
        made = wanted.way(one.file)
        if made and one.statement and definition_of(one.statement).digest != made.digest:
            yield (
                f"{one.file}: it is not of the recipe that the release was planned by (its digest is not "
                f"{made.digest[:12]}...): build it again with '{wanted.command}', or make the plan anew"
            )
    for two in release.wheels:
        if not any(one is two for one in taken.values()):
            yield f"{two.wheel} is missing: the job {two.job} makes it, or '{two.command}'"


def definition_of(said: Statement) -> Definition:
    """Return what a wheel says of how it was made."""
    return Definition(
        recipe=said.recipe,
        target=said.target,
        project=canonicalize_name(said.project),
        version=said.version,
        repository=said.repository,
        commit=said.commit,
        submodules=said.submodules,
        sdist=said.sdist,
        base=said.base,
        series=tuple((one.name, one.sha256) for one in said.series),
        promise=said.promise,
    )


_HINT: Final = "make it anew: 'retread release plan --out FILE'"


def _wheels(entry: Entry, loaded: Loaded) -> Iterator[Planned]:
    """Yield the wheels of a job: one of each base wheel, or the one that is compiled."""
    target = loaded.recipe.on(entry.platform).targets[entry.target]
    if LANES[entry.lane].compiles:
        yield _planned(entry, loaded, target, None)
        return
    for base in target.base:
        if entry.python in Bases((base,)).pythons():
            yield _planned(entry, loaded, target, base)


def _planned(entry: Entry, loaded: Loaded, target: Target, base: Base | None) -> Planned:
    """Return a wheel of a job; ``target`` is what the job's platform has of it."""
    recipe = loaded.recipe
    compilers = [loaded.toolchains[one].compiler for one in target.toolchains] if base is None else [""]
    made = [
        _made(loaded.compiled_by(one), entry.target, target, base, one) for one in dict.fromkeys(compilers)
    ]
    best, proof = made[0], promise.proof(target)
    name = canonicalize_name(recipe.project)
    based = metadata.parse_name(base.file).with_version(best.version) if base else None
    needed = [Level.STATIC, *([Level.JIT] if target.torch else []), *([Level.GPU] if proof.gpu else [])]
    return Planned(
        job=entry.name,
        command=_command(entry),
        wheel=based.file_name if based else f"{name.replace('-', '_')}-{best.version}-*_{entry.platform}.whl",
        name=name,
        version=best.version,
        local=best.local,
        tags=based.tags if based else "",
        recipe=recipe.name,
        digest=best.digest,
        target=entry.target,
        python=entry.python,
        platform=entry.platform,
        lane=entry.lane,
        evidence=Required(levels=tuple(needed), gpu=proof.gpu, triton=proof.triton),
        instead=tuple(made[1:]),
    )


def _made(loaded: Loaded, name: str, target: Target, base: Base | None, compiler: str) -> Made:
    recipe = loaded.recipe
    version = plan.patched_version(recipe, target, compiler or NVCC)
    made = _definition(recipe, name, target, base, version)
    series = tuple((one.name, one.sha256) for one in loaded.patches)
    digest = msgspec.structs.replace(made, series=series).digest
    return Made(version=version, local=version.partition("+")[2], digest=digest)


def _definition(recipe: Recipe, name: str, target: Target, base: Base | None, version: str) -> Definition:
    return Definition(
        recipe=recipe.name,
        target=name,
        project=canonicalize_name(recipe.project),
        version=version,
        repository=recipe.pin.repository,
        commit=recipe.pin.commit,
        submodules=narrowed(recipe.pin.submodules, tuple[SubmoduleStatement, ...]),
        sdist=narrowed(recipe.sdist, FileStatement) if recipe.sdist.file else None,
        base=FileStatement(file=base.file, sha256=base.sha256) if base else None,
        series=(),
        promise=promise.promise(recipe, target, version),
    )


def _command(entry: Entry) -> str:
    other = f" --platform {entry.platform}" if entry.platform != platforms.COMPILED[0] else ""
    return f"retread build {entry.recipe} --target {entry.target} --lane {entry.lane} --python {entry.python}{other}"
