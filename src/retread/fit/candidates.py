"""Which wheels an environment could take, and for each of the others why not. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from retread.doors.net.offers import Offer
from retread.fit import conditions, serving
from retread.fit import obstacles as why
from retread.fit.catalogue import Catalogue, Fault, Made, Release, has
from retread.fit.conditions import Appears
from retread.fit.environment import Environment
from retread.fit.report import Candidate

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
    """Why neither it nor ours fits."""


def candidates(environment: Environment, known: Catalogue, listed: Sequence[Listed]) -> tuple[Candidate, ...]:
    """Return every candidate for the projects that are installed, or for all that are known; the best first."""
    installed = {one.name for one in environment.packages}
    projects = {one.project for one in known.releases}
    wanted = projects & installed or projects
    found: list[Candidate] = []
    for release in (one for one in known.releases if one.project in wanted):
        for made in release.made:
            found += _of_target(_case(environment, release, made), known.faults, listed)
    for index in listed:
        if index.project in wanted:
            found += _unknown(environment, known, index)
    return tuple(sorted(found, key=_rank, reverse=True))


def _rank(one: Candidate) -> tuple[bool, bool, int, int, Version]:
    """Return what makes a candidate better: it fits, nothing is compiled, native code, ours, then the newest."""
    native = sum(words.startswith("native") for words in one.gpus.values())
    origin = (UPSTREAM, INDEX, RETREAD).index(one.by)
    return (one.fits, not one.compiles, native, origin, Version(one.version))


def _case(environment: Environment, release: Release, made: Made) -> _Case:
    base, reasons = why.base(made, environment)
    return _Case(environment, release, made, base, (*reasons, *why.obstacles(environment, made)))


def _of_target(case: _Case, faults: Sequence[Fault], listed: Sequence[Listed]) -> Iterator[Candidate]:
    yield _ours(case, listed)
    if case.made.bases and not any(why.name_of(one) == "torch" for one in case.made.requires):
        yield _theirs(case, faults)


def _ours(case: _Case, listed: Sequence[Listed]) -> Candidate:
    environment, release, made, base, reasons = case
    gpus = why.gpus(environment, made)
    dark = [f"capability {gpu}: {words}" for gpu, words in gpus.items() if not serving.runs(words)]
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
        get="" if index else f"make wheel RECIPE={release.recipe} TARGET={made.target}",
        pip=_pip(environment, what),
        uv=_uv(environment, what),
        note=made.note,
    )


def _file(release: Release, made: Made, base: str) -> str:
    """Return what a wheel of ours is called; a compiled one's tags are the compile's to say."""
    if base:
        return base.replace(f"-{release.version}-", f"-{made.version}-", 1)
    return f"{release.project}-{made.version}-*.whl"


def _theirs(case: _Case, faults: Sequence[Fault]) -> Candidate:
    """Return the official wheel that an overlay is made of: it lacks what the series mends."""
    environment, release, made, base, reasons = case
    if why.brings_runtime(made):  # ours does; nothing of the official wheel's requirements was changed by it
        reasons = (*reasons, *why.other_cuda(environment, made))
    lacks: list[str] = []
    for fault in faults:
        if fault.project == release.project and has(fault, release.version):
            appears = conditions.fault(fault, None, environment)
            if appears is Appears.YES:
                reasons = (*reasons, f"here {fault.breaks}")
            elif appears is Appears.PERHAPS:
                lacks.append(f"{fault.subject} (when {conditions.needs(fault)})")
    what = [f"{release.project}=={release.version}"]
    return Candidate(
        project=release.project,
        version=release.version,
        by=UPSTREAM,
        recipe=release.recipe,
        target=made.target,
        file=base,
        compiles=False,
        fits=not reasons,
        reasons=reasons,
        lacks=tuple(lacks),
        gpus={},
        pip=_pip(environment, what),
        uv=_uv(environment, what),
    )


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
        wanted = Requirement(text)
        there = environment.version(wanted.name)
        if wanted.name != "torch" and not (there and why.within(there, str(wanted.specifier))):
            yield text


def _source(index: Listed, file: str, project: str, version: str) -> list[str]:
    if file in index.places:
        return [index.places[file]]
    return ["--index-url", index.address, f"{project}=={version}"]


def _pip(environment: Environment, what: Sequence[str]) -> str:
    return _line([environment.interpreter.executable, "-m", "pip", "install", "--no-deps", *what])


def _uv(environment: Environment, what: Sequence[str]) -> str:
    return _line(["uv", "pip", "install", "--python", environment.interpreter.executable, "--no-deps", *what])


def _line(words: Sequence[str]) -> str:
    """Return a line for a shell, which completes the name of a wheel that is not made yet."""
    return " ".join(word if word.endswith("-*.whl") else shlex.quote(word) for word in words)
