"""Which wheels an environment could take, and for each of the others why not. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from packaging.utils import canonicalize_name

from retread import pypa
from retread.arch import Arch
from retread.doors.net.offers import Offer
from retread.fit import conditions, serving
from retread.fit import obstacles as why
from retread.fit.catalogue import Catalogue, Made, Official, Release, Usage, has
from retread.fit.conditions import Appears
from retread.fit.environment import DESCRIBED, Environment
from retread.fit.report import Candidate
from retread.recipe import platforms

if TYPE_CHECKING:
    from packaging.version import Version

RETREAD, UPSTREAM, INDEX = "retread", "upstream", "the index"


class Listed(NamedTuple):
    """What an index, or a folder, offers of a project, and how it is written for pip."""

    project: str
    address: str
    """Of the index; empty for a folder."""
    offers: tuple[Offer, ...]
    places: Mapping[str, str]
    """File -> where it lies, for those of a folder."""


class _Case(NamedTuple):
    """A target, held against an environment."""

    environment: Environment
    release: Release
    made: Made
    base: str
    """The official wheel for this Python and machine."""
    reasons: tuple[str, ...]
    """Why ours does not fit."""


def candidates(environment: Environment, known: Catalogue, listed: Sequence[Listed]) -> tuple[Candidate, ...]:
    """Return every candidate for the projects that are installed, or for all that are for a torch; the best first.

    A wheel without torch fits anywhere: it is no advice to whoever has not got it.
    """
    installed = {one.name for one in environment.packages}
    projects = {one.project for one in known.releases}
    with_torch = {one.project for one in known.releases if any(made.torch for made in one.made)}
    wanted = projects & installed or with_torch
    found: list[Candidate] = []
    for release in (one for one in known.releases if one.project in wanted):
        found += (_ours(_case(environment, release, made), listed) for made in release.made)
    for usage in (one for one in known.usage if one.project in wanted):
        found += (_theirs(environment, known, usage, one) for one in usage.release)
    for index in listed:
        if index.project in wanted:
            found += _unknown(environment, known, index)
    return tuple(sorted(found, key=_rank, reverse=True))


def _rank(one: Candidate) -> tuple[bool, bool, int, int, Version]:
    """Return what makes a candidate better: it fits, nothing is compiled, native code, ours, then the newest."""
    native = sum(words.startswith("native") for words in one.gpus.values())
    origin = (UPSTREAM, INDEX, RETREAD).index(one.by)
    return (one.fits, not one.compiles, native, origin, pypa.version(one.version))


def _case(environment: Environment, release: Release, made: Made) -> _Case:
    made = made.on(environment.interpreter.here)
    base, reasons = why.fitting(made.bases, environment)
    return _Case(environment, release, made, base, (*reasons, *why.obstacles(environment, made)))


def _ours(case: _Case, listed: Sequence[Listed]) -> Candidate:
    environment, release, made, base, reasons = case
    gpus = why.gpus(environment, made)
    dark = _dark(gpus)
    index, file = _offered(case, listed) or (None, _file(release, made, base))
    what = _source(index, file, release.project, made.version) if index else [f"dist/{file}"]
    what += _beside(environment, made)
    return Candidate(
        project=release.project,
        version=made.version,
        by=RETREAD,
        recipe=release.recipe,
        target=made.target,
        file=file,
        compiles=not made.bases and index is None,
        fits=not reasons and not dark,
        reasons=(*reasons, *dark),
        lacks=(),
        gpus=gpus,
        get="" if index else _get(environment, release, made),
        pip=_pip(environment, what),
        uv=_uv(environment, what),
        note=made.note,
    )


def _get(environment: Environment, release: Release, made: Made) -> str:
    """Return the command that makes a target's wheel, in a clone; that for Windows is made on Linux."""
    here = environment.interpreter.here
    platform = "" if here == platforms.COMPILED[0] else f" PLATFORM={here}"
    return f"make wheel RECIPE={release.recipe} TARGET={made.target}{platform}"


def _file(release: Release, made: Made, base: str) -> str:
    """Return what a wheel of ours is called; a compiled one's tags are the compile's to say."""
    if base:
        return base.replace(f"-{release.version}-", f"-{made.version}-", 1)
    return f"{release.project}-{made.version}-*.whl"


def _theirs(environment: Environment, known: Catalogue, usage: Usage, release: Official) -> Candidate:
    """Return an official release; what it has of the faults that patches mend counts where else it would fit."""
    file, reasons = why.fitting(release.wheels, environment)
    reasons += why.of_official(environment, release)
    gpus = why.gpus(environment, release)
    reasons += _dark(gpus)
    broken, lacks = _faults(environment, known, usage.project, release.version)
    what = [f"{usage.project}=={release.version}"]
    return Candidate(
        project=usage.project,
        version=release.version,
        by=UPSTREAM,
        recipe="",
        target="",
        file=file,
        compiles=False,
        fits=not reasons and not broken,
        reasons=tuple(reasons or broken),
        lacks=tuple(lacks),
        gpus=gpus,
        pip=_pip(environment, what),
        uv=_uv(environment, what),
    )


def _faults(
    environment: Environment, known: Catalogue, project: str, version: str
) -> tuple[list[str], list[str]]:
    """Return what of a release is broken here, and which patches it lacks that matter for some code."""
    broken, lacks = list[str](), list[str]()
    for fault in known.faults:
        if fault.project == project and has(fault, version):
            appears = conditions.fault(fault, None, environment)
            if appears is Appears.YES:
                broken.append(f"here {fault.breaks.rstrip('.')}")
            elif appears is Appears.PERHAPS:
                lacks.append(f"{fault.subject} (when {conditions.needs(fault)})")
    return broken, lacks


def _dark(gpus: Mapping[Arch, str]) -> list[str]:
    return [f"capability {gpu}: {words}" for gpu, words in gpus.items() if not serving.runs(words)]


def _unknown(environment: Environment, known: Catalogue, index: Listed) -> Iterator[Candidate]:
    """Yield the wheels of an index that no recipe makes: their names alone say what they are."""
    ours = {made.version for one in known.releases if one.project == index.project for made in one.made}
    served = why.supported(environment.interpreter)
    for version in dict.fromkeys(str(one.version) for one in index.offers if one.tags):
        if version in ours:
            continue
        wheels = [one for one in index.offers if one.tags and str(one.version) == version]
        fitting = [one for one in wheels if one.tags & served and not one.yanked]
        reasons = [] if fitting else [_yanked_or_tags(wheels, environment)]
        reasons.append(
            "no recipe here makes it: which torch and GPUs it is for is not known without the wheel"
        )
        file = (fitting or wheels)[0].file
        what = _source(index, file, index.project, version)
        yield Candidate(
            project=index.project,
            version=version,
            by=INDEX,
            recipe="",
            target="",
            file=file,
            compiles=False,
            fits=False,
            reasons=tuple(reasons),
            lacks=(),
            gpus={},
            pip=_pip(environment, what),
            uv=_uv(environment, what),
        )


def _yanked_or_tags(wheels: Sequence[Offer], environment: Environment) -> str:
    if all(one.yanked for one in wheels):
        return "it is yanked"
    return why.wrong_tags([one.file for one in wheels], environment.interpreter)


def _offered(case: _Case, listed: Sequence[Listed]) -> tuple[Listed, str] | None:
    """Return the index that offers a target's wheel for this Python and machine, and the wheel."""
    served = why.supported(case.environment.interpreter)
    for index in listed:
        if canonicalize_name(index.project) == canonicalize_name(case.release.project):
            for one in index.offers:
                if str(one.version) == case.made.version and one.tags & served and not one.yanked:
                    return index, one.file
    return None


def _beside(environment: Environment, made: Made) -> Iterator[str]:
    """Yield what a wheel requires beside torch and is not here: the line installs no requirements by itself."""
    for text in made.requires:
        wanted = pypa.requirement(text)
        there = environment.version(wanted.name)
        if wanted.name != "torch" and not (there and why.within(there, str(wanted.specifier))):
            yield text


def _source(index: Listed, file: str, project: str, version: str) -> list[str]:
    if file in index.places:
        return [index.places[file]]
    return ["--index-url", index.address, f"{project}=={version}"]


def _pip(environment: Environment, what: Sequence[str]) -> str:
    python = environment.interpreter.executable
    usual = environment.version("pip") or python == DESCRIBED
    pip = [python, "-m", "pip"] if usual else ["python3", "-m", "pip", "--python", python]
    return _line([*pip, "install", "--no-deps", *what])


def _uv(environment: Environment, what: Sequence[str]) -> str:
    python = environment.interpreter.executable
    where = [] if python == DESCRIBED else ["--python", python]
    return _line(["uv", "pip", "install", *where, "--no-deps", *what])


def _line(words: Sequence[str]) -> str:
    """Return a line for a shell, which completes the name of a wheel that is not made yet."""
    return " ".join(word if word.endswith("-*.whl") else shlex.quote(word) for word in words)
