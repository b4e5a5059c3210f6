"""What a wheel, its ``retread.json`` and its evidence say of the same thing, and whether they agree. Pure.

Each is signed, or written, by somebody else: a wheel that is called one thing and says another of itself would be
proven by what the other one has to show. So whatever is told in two places is held against each other, all in one way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from retread import pypa, version
from retread.errors import PublishError
from retread.evidence import statements
from retread.evidence.statements import Definition, Inheritance, Material, Provenance
from retread.records import Record, Sha256
from retread.smoke.report import SmokeReport
from retread.wheel import metadata
from retread.wheel.statement import Statement, compiler_of

FILE: Final = "the file name"
STATEMENT: Final = "retread.json"
NOTHING: Final = "nothing"
_DIGEST: Final = f"digest of {STATEMENT}"
_SHOWN: Final = 200


class Told(NamedTuple):
    """One fact, where it is told, and what it is there."""

    fact: str
    place: str
    value: str


def faults(told: Iterable[Told]) -> Iterator[str]:
    """Yield every fact of which two places say different things, with both: the first place that told it, and this."""
    first: dict[str, Told] = {}
    for one in told:
        known = first.setdefault(one.fact, one)
        if known.value != one.value:
            yield f"{one.fact}: {known.place} says {_shown(known.value)}, {one.place} says {_shown(one.value)}"


def of_name(file: str) -> Iterator[Told]:
    """Yield what the file name of a wheel tells; METADATA, WHEEL and .dist-info of a sound wheel say the same."""
    name = metadata.parse_name(file)
    yield Told("wheel", FILE, file)
    yield from of_version(FILE, name.project, name.version)


def of_statement(said: Statement, digest: Sha256) -> Iterator[Told]:
    """Yield what ``retread.json`` tells, which has this digest."""
    promise = f"{STATEMENT} (promise)"
    yield from of_version(STATEMENT, said.project, said.version)
    yield from of_version(promise, said.promise.project, said.promise.version)
    yield Told("channel", f"{promise}: CUDA {said.promise.cuda}", version.channel(said.promise.cuda))
    yield from _of_recipe(STATEMENT, said.project, said.version, said.recipe, said.target)
    yield Told("proof level", f"{STATEMENT}, by the commit and the archive that it names,", said.level.words)
    yield from _of_definition(STATEMENT, statements.definition(said))
    yield of_waivers(promise, said.promise.waived)
    yield Told(_DIGEST, "the wheel", digest)


def of_provenance(place: str, file: str, made: Provenance) -> Iterator[Told]:
    """Yield what a builder signed of the wheel called ``file``, in the envelope called ``place``."""
    name, asked = metadata.parse_name(file), made.build_definition.external_parameters
    yield from _of_recipe(place, name.project, name.version, asked.recipe, asked.target)
    yield from _of_definition(place, made.build_definition)
    byproducts = {one.name: one.digest.get("sha256", NOTHING) for one in made.run_details.byproducts}
    yield Told(_DIGEST, place, byproducts.get(STATEMENT, NOTHING))


def of_inheritance(place: str, said: Inheritance) -> Iterator[Told]:
    """Yield what a tester signed of this wheel's kernels: which have the machine code of a wheel that ran."""
    names = (*said.kernels, *said.others)
    yield from of_kernels(place, said.run.capability, said.kernels, names, said.without)


def of_kernels(
    place: str, capability: str, code: Mapping[str, str], names: Iterable[str], without: int
) -> Iterator[Told]:
    """Yield what kernels there are for a GPU: digests of the machine code of some, all by name, how many have none."""
    every = sorted(names)
    listed = hashlib.sha256("\n".join(every).encode()).hexdigest()
    told = f"{len(every)} with machine code (sha256 of their names {listed[:16]}), {without} without"
    yield Told(f"kernels on {capability}", place, told)
    for name, digest in code.items():
        yield Told(f"kernel {name} on {capability}", place, digest)


def of_waivers(place: str, waived: Mapping[str, str]) -> Told:
    """Return which rules a wheel was not held to, and why, as they are told in a place."""
    said = ", ".join(f"{rule} ({reason})" for rule, reason in sorted(waived.items()))
    return Told("waived rules", place, said or NOTHING)


def of_report(place: str, report: SmokeReport) -> Iterator[Told]:
    """Yield what a smoke report tells of its wheel."""
    yield Told("wheel", place, report.wheel)
    yield from of_version(place, report.project, report.version)
    yield from (Told("recipe", place, report.recipe), Told("target", place, report.target))


def of_recipe(place: str, project: str, upstream: str) -> Iterator[Told]:
    """Yield what a recipe tells of every wheel that is made by it."""
    yield Told("project", place, canonicalize_name(project))
    yield Told("upstream version", place, metadata.normal_version(upstream))


def of_version(place: str, project: str, text: str) -> Iterator[Told]:
    """Yield what a project and a version of it tell: also the upstream version and the channel."""
    yield Told("project", place, canonicalize_name(project))
    found = _normal(text)
    yield Told("version", place, found)
    with suppress(PublishError, InvalidVersion):  # it belongs to no channel, and is refused for that
        release = version.release(found)
        yield Told("upstream version", place, release.upstream)
        yield Told("channel", place, release.channel)
        yield Told("compiler of device code", place, release.compiler)


def _of_recipe(place: str, project: str, text: str, recipe: str, target: str) -> Iterator[Told]:
    """Yield which recipe and target are told, and of what they are by their names."""
    yield from (Told("recipe", place, recipe), Told("target", place, target))
    if version.cuda(target):
        yield Told("channel", f"{place}: target {target}", target)
    upstream, called = _normal(text).partition("+")[0], _release(recipe, canonicalize_name(project))
    if called and not f"{upstream}.".startswith(f"{called}."):  # demo-1 may be the recipe of 1.2
        yield Told("upstream version", f"{place}: recipe {recipe}", called)


def _release(recipe: str, project: str) -> str:
    """Return the release that a recipe is called after, normalised: 1.2 of demo-1.2; nothing for another name."""
    for dash in re.finditer("-", recipe):
        if canonicalize_name(recipe[: dash.start()]) == project:
            with suppress(InvalidVersion):
                return str(pypa.version(recipe[dash.end() :].partition("-")[0]))
    return ""


def _of_definition(place: str, made: Definition) -> Iterator[Told]:
    asked, means = made.external_parameters, made.internal_parameters
    yield Told("recipe", place, asked.recipe)
    yield Told("target", place, asked.target)
    yield Told("lane", place, asked.lane)
    yield Told("proof level", place, asked.source.words)
    yield Told("tool", place, means.tool)
    yield Told("commit time", place, str(means.source_date_epoch))
    yield from _of_part("toolchain", place, means.toolchain)
    yield from _of_part("compile", place, means.compiled)
    if means.compiled:
        yield Told("compiler of device code", place, compiler_of(means.compiled))
    sources = made.resolved_dependencies
    yield Told("sources", place, ", ".join(sorted(one.name or "the commit" for one in sources)))
    for one in sources:
        yield Told(f"source {one.name}" if one.name else "commit", place, _digests(one))
        yield Told(f"address of {one.name or 'the commit'}", place, one.uri or NOTHING)


def _of_part(fact: str, place: str, part: Record | None) -> Iterator[Told]:
    yield Told(fact, place, "there" if part else NOTHING)
    for name, value in (msgspec.structs.asdict(part) if part else {}).items():
        yield Told(f"{fact} ({name})", place, msgspec.json.encode(value, order="sorted").decode())


def _digests(one: Material) -> str:
    return ", ".join(sorted(one.digest.values())) or NOTHING


def _normal(text: str) -> str:
    try:
        return str(pypa.version(text))
    except InvalidVersion:
        return text


def _shown(value: str) -> str:
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
