"""What the recipes, the series and the usage files say that a user's environment is held against. Pure.

The package carries it as ``catalogue.json``, since whoever runs ``retread fit`` has no clone; a test holds that file to
the recipes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from retread import pypa, strict
from retread.arch import Arch
from retread.errors import RecipeError
from retread.fields import Architecture, FileName, Table, Text
from retread.fields import Cuda as CudaRelease
from retread.recipe import platforms
from retread.recipe.lane import LANES, Lane
from retread.recipe.model import Exemption, Recipe, Target
from retread.recipe.series import Patch
from retread.recipe.symptom import Symptom
from retread.records import Record, narrowed
from retread.version import patched

FOLDER: Final = "recipes/usage"
"""Where a workspace keeps its usage files, one for each project."""
_FIXED: Final = re.compile(r"fixed in (\S+) \(")
_NUMBER: Final = re.compile(r"^[0-9]{4}-|\.patch$")


class Measured(Table, frozen=True, kw_only=True):
    """What was measured on one class of GPUs, in sentences."""

    gpu: Architecture
    """The capability of the GPU that it was measured on."""
    says: Text
    """What was found, with the versions."""


class Call(Table, frozen=True, kw_only=True):
    """A part of a project's interface, and what torch has for it."""

    name: Text
    """Its dotted name, of which the last part counts wherever it is imported from; it may end in ``*``."""
    torch: str = ""
    """The range of torch that has the counterpart; empty when there is none."""
    instead: str = ""
    """The counterpart."""
    difference: Text
    """In what it differs, or why there is none."""


class Official(Table, frozen=True, kw_only=True):
    """A release on the package index, as its wheels are."""

    version: Text
    """Without a local part."""
    torch: Text
    """The range that its METADATA requires."""
    cuda: CudaRelease
    """The CUDA release that it was built with, or the oldest that it can be: the major part is the runtime's."""
    triton: str = ""
    """The Triton that its torch requires; empty where no fault depends on it."""
    wheels: tuple[FileName, ...]
    """Names of its wheels."""
    architectures: tuple[Architecture, ...] = ()
    """For which every module has machine code; empty where nobody looked."""
    ptx: tuple[Architecture, ...] = ()
    """For which every module has PTX."""


class Usage(Table, frozen=True, kw_only=True):
    """What is known of a project on the package index, and whether it is needed: ``recipes/usage/PROJECT.toml``."""

    project: Text
    """The project on the package index."""
    imports: tuple[Text, ...] = ()
    """Modules that users import; each is tried in a process of its own."""
    release: tuple[Official, ...] = ()
    """Its releases."""
    measured: tuple[Measured, ...] = ()
    """What is known of its speed beside torch alone."""
    call: tuple[Call, ...] = ()
    """Its interface; the name that explains most of what is written counts."""


class Except(Record, frozen=True, kw_only=True):
    """A library that does not carry its target's architectures, and why."""

    library: str
    architectures: tuple[Arch, ...]
    ptx: tuple[Arch, ...]
    reason: str


class Code(Record, frozen=True, kw_only=True, omit_defaults=True):
    """For which GPUs a target's wheels for one platform have code, and what else is another there."""

    architectures: tuple[Arch, ...]
    ptx: tuple[Arch, ...]
    requires: tuple[str, ...] | None = None
    """In the place of the target's."""
    note: str | None = None
    """In the place of the target's."""


class Made(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One target of a recipe, as far as a user has to know it."""

    target: str
    cuda: str
    torch: str
    version: str
    """The patched wheel's: ``0.0.35+cu128.1``."""
    python: str
    """The range for which it can be compiled; empty for an overlay, whose base wheels' tags say it."""
    bases: tuple[str, ...]
    """Names of the official wheels that overlays are made of."""
    architectures: tuple[Arch, ...]
    ptx: tuple[Arch, ...]
    exempt: tuple[Except, ...]
    requires: tuple[str, ...]
    """Requirements beside or instead of the official wheel's."""
    note: str
    platforms: dict[str, Code] = msgspec.field(default_factory=dict)
    """Another platform that it can be compiled for, or has a base wheel for -> what it is there."""

    def on(self, platform: str) -> Made:
        """Return it as it is on a platform."""
        own = self.platforms.get(platform)
        said = (
            {key: value for key, value in msgspec.structs.asdict(own).items() if value is not None}
            if own
            else {}
        )
        return msgspec.structs.replace(self, **said)


class Release(Record, frozen=True, kw_only=True):
    """One recipe: an upstream release with its series and targets."""

    recipe: str
    project: str
    version: str
    faults: tuple[str, ...]
    """The faults that its series mends, by name."""
    made: tuple[Made, ...]


class Fault(Record, frozen=True, kw_only=True):
    """A fault of some releases that patches mend, told by the newest patch of its name."""

    name: str
    """A patch's name without number and suffix: ``vararg-set-source-on-any-triton``."""
    project: str
    subject: str
    breaks: str
    affects: str
    upstream: str
    releases: str
    """The range of upstream's releases that have it."""
    seen_as: tuple[Symptom, ...]


class Catalogue(Record, frozen=True, kw_only=True):
    """All of it."""

    schema: int
    releases: tuple[Release, ...]
    faults: tuple[Fault, ...]
    usage: tuple[Usage, ...]


def parse_usage(data: bytes, *, name: str) -> Usage:
    """Return a usage file; RecipeError lists every fault of it."""
    found, faults = strict.read(Usage, strict.toml(data, f"usage/{name}"))
    if found is None:
        raise RecipeError(f"usage/{name}.toml has {strict.count(faults)}", faults=faults)
    if found.project != name:
        raise RecipeError(f"usage/{name}.toml is about {found.project}; a file is called after its project")
    return found


def catalogue(series: Iterable[tuple[Recipe, Sequence[Patch]]], usage: Iterable[Usage]) -> Catalogue:
    """Return what recipes, each with its series, and usage files say.

    A patch for one compiler mends a fault of compiles, which nobody who installs a wheel meets.
    """
    ordered = sorted(series, key=lambda one: (one[0].project, pypa.version(one[0].version)))
    known = [(recipe, [one for one in patches if not one.only_with]) for recipe, patches in ordered]
    return Catalogue(
        schema=1,
        releases=tuple(_release(recipe, patches) for recipe, patches in known),
        faults=tuple(_faults(known)),
        usage=tuple(sorted(usage, key=lambda one: one.project)),
    )


def read(data: bytes) -> Catalogue:
    """Return the catalogue that a package carries."""
    return strict.decoded(data, Catalogue)


def write(found: Catalogue) -> bytes:
    """Return a catalogue as it is committed: the same for the same recipes."""
    return msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"


def name_of(patch: str) -> str:
    """Return a patch's name without number and suffix."""
    return _NUMBER.sub("", patch)


def has(fault: Fault, version: str) -> bool:
    """Say whether an upstream release has a fault; a local part of the version does not count."""
    return pypa.specifiers(fault.releases).contains(pypa.version(version).public, prereleases=True)


def _release(recipe: Recipe, patches: Sequence[Patch]) -> Release:
    return Release(
        recipe=recipe.name,
        project=recipe.project,
        version=recipe.version,
        faults=tuple(name_of(one.name) for one in patches),
        made=tuple(_made(recipe, name, target, patches) for name, target in recipe.targets.items()),
    )


def _made(recipe: Recipe, name: str, target: Target, patches: Sequence[Patch]) -> Made:
    overlay = LANES[Lane.OVERLAY].find(recipe, name, patches).own is not None
    return Made(
        target=name,
        cuda=target.cuda,
        torch=target.torch,
        version=patched(recipe.version, target.cuda, target.revision),
        python=target.build.python if target.build and not overlay else "",
        bases=tuple(base.file for base in target.base) if overlay else (),
        architectures=target.architectures,
        ptx=target.ptx,
        exempt=tuple(map(_except, target.exempt)),
        requires=target.requires,
        note=target.note,
        platforms={
            platform: Code(
                architectures=there.architectures, ptx=there.ptx, requires=own.requires, note=own.note
            )
            for platform, own in target.platforms.items()
            if overlay or platform in platforms.COMPILED
            for there in (target.on(platform),)
        },
    )


def _except(one: Exemption) -> Except:
    return narrowed(one, Except)


def _faults(known: Sequence[tuple[Recipe, Sequence[Patch]]]) -> Iterator[Fault]:
    found: dict[tuple[str, str], list[tuple[Recipe, Patch]]] = {}
    for recipe, patches in known:
        for patch in patches:
            found.setdefault((recipe.project, name_of(patch.name)), []).append((recipe, patch))
    for (project, name), carried in sorted(found.items()):
        newest = carried[-1][1]
        seen = {msgspec.json.encode(one): one for _, patch in carried for one in patch.seen_as}
        yield Fault(
            name=name,
            project=project,
            subject=newest.subject,
            breaks=newest.breaks,
            affects=newest.affects,
            upstream=newest.upstream,
            releases=_releases([one for one, _ in known if one.project == project], carried),
            seen_as=tuple(seen.values()),
        )


def _releases(all_of: Sequence[Recipe], carried: Sequence[tuple[Recipe, Patch]]) -> str:
    """Return the releases that have a fault: from the first whose series mends it to the fix, or to the last.

    The releases between those that have recipes are not known one by one: what is newer than one without the fault
    may have it. Where the oldest release with a recipe has it, older ones are taken to have it, too.
    """
    versions = [one.version for one in all_of]
    first, last = versions.index(carried[0][0].version), versions.index(carried[-1][0].version)
    fixed = _FIXED.match(carried[-1][1].upstream)
    parts = [f">{versions[first - 1]}"] if first else []
    if fixed:
        parts.append(f"<{fixed[1]}")
    elif last + 1 < len(versions):
        parts.append(f"<{versions[last + 1]}")
    return ",".join(parts)


def usage_of(found: Catalogue) -> Mapping[str, Usage]:
    """Return the usage files by project."""
    return {one.project: one for one in found.usage}
