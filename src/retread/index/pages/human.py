"""The pages of an index for people: what each wheel holds, why, and how it was tried. Pure: records in, bytes out.

They need nothing else, no network and no script; the channel's filter is there only where scripts run.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
import shlex
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from markupsafe import Markup, escape
from packaging.specifiers import InvalidSpecifier

from retread import arch, pypa, units
from retread.arch import Arch
from retread.elf.facts import DEVICES, devices
from retread.index.listing import Hosted, Project
from retread.index.pages import simple
from retread.prooflevel import ProofLevel
from retread.recipe import platforms
from retread.smoke.tally import Inherited, Tried, Verdict, counts
from retread.text import markup
from retread.version import cuda
from retread.wheel.statement import PatchStatement

if TYPE_CHECKING:
    from msgspec import UnsetType
    from packaging.version import Version

_DEVICES: Final = tuple(sorted((one for one in arch.FIRST_CUDA if not arch.parts(one)[2]), key=arch.sort_key))
"""Capabilities that GPUs have; those with a suffix are of code alone."""

_EXACT: Final = re.compile(r"-cp3([0-9]+)-cp3\1-")
"""In the name of a wheel that is for one version of Python."""
_NEAR: Final = 64
"""Releases that are remembered, with all of their wheels: those that are alike follow one another."""
_NOTHING: Final = Markup()
_RELEASE: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})+")


Libraries = tuple[tuple[str, tuple[Arch, ...]], ...]
"""Library and what it has native code for, of each."""


class Note(NamedTuple):
    """What speaks against some wheels of a release."""

    kind: str
    """``yanked`` or ``unproven``."""
    reason: str
    wheels: int


class Shop(NamedTuple):
    """How a project is installed from this index, whatever the version: what the lines to copy begin with."""

    address: str
    pip: str
    settings: str
    """Of uv, for pyproject.toml."""
    poetry: str


class Likeness(NamedTuple):
    """What a project's page says of a wheel that it can have in common with others."""

    yanked: str | None
    unproven: str
    platform: str
    cuda: str
    torch: str
    triton: tuple[str, ...]
    python: str
    """For which Python it is: the version that its name says alone, or the range that it asks for."""
    requires_python: str
    lane: str
    compiler: str
    commit: str
    source: ProofLevel | UnsetType
    waived: tuple[tuple[str, str], ...]
    libraries: Libraries
    tried: tuple[Tried, ...]
    inherited: tuple[Inherited, ...] | UnsetType
    evidence: tuple[str, ...]
    """What tells each file that bears witness to it from the others: ``test-static.dsse.json``."""
    patches: tuple[PatchStatement, ...]


@dataclass(frozen=True, eq=False)
class Kind:
    """All wheels that are alike: there is one for each likeness, so that asking which is which takes no time."""

    alike: Likeness
    card: markup.Form
    """What is said of each of them; of its holes one is for its patches."""


class Release(NamedTuple):
    """What a project's page says of a version."""

    row: Markup
    """For whom it is, in the table of all versions."""
    section: Markup
    """How it is installed, and each of its wheels."""


class Reach(NamedTuple):
    """An architecture that a release has code for, or a GPU; ``everywhere`` unless some library of it lacks it."""

    name: str
    everywhere: bool


class Trait(NamedTuple):
    """What a channel's page says of a wheel, but for its name: many wheels share one."""

    platform: str
    cuda: str
    torch: str
    triton: tuple[str, ...]
    code: tuple[tuple[Arch, ...], ...]
    """What each of its libraries has native code for."""
    tried: tuple[Tried, ...]
    yanked: str | None
    unproven: str


class Traits(NamedTuple):
    """A release as its channel's page shows it, but for its name, and the words that the filter compares."""

    wheels: int
    notes: tuple[Note, ...]
    platforms: tuple[str, ...]
    cuda: tuple[str, ...]
    torch: tuple[str, ...]
    triton: tuple[str, ...]
    reach: tuple[Reach, ...]
    tried: tuple[str, ...]
    """Where its GPU level ran without a failure."""
    admits: tuple[str, ...]
    """Those of the torch versions on offer that its range allows."""
    runs: tuple[Arch, ...]
    """Capabilities of the GPUs that its machine code runs on."""


class Row(NamedTuple):
    """The row of a channel's table that shows a release."""

    traits: Traits
    form: markup.Form


def project_page(project: Project, *, base: str) -> bytes:
    """Return a project's page: lines to copy, then every wheel with what it holds, the newest version first."""
    shop, best = _shop(project, base), _best(project.files)
    releases = list[Release]()
    for version, files in _versions(project):
        other = _best(files) if best and version != best.version else None
        releases.append(_release(version, files, other, shop, opened=not releases))
    return _render(
        "project.html",
        {"rows": [one.row for one in releases], "sections": [one.section for one in releases]},
        project=project,
        best=best,
        failed=_failed(best) if best else 0,
        lines=markup.fill(_form("lines", shop=shop, torch=best.torch), wanted=_wanted(best)) if best else "",
        releases=len(releases),
    )


def channel_page(channel: str, projects: Sequence[Project], *, base: str) -> bytes:
    """Return a channel's page: every release of every project, by name, the newest version first."""
    ordered = sorted(projects, key=lambda one: one.name)
    offered = _offered(ordered)
    rows = [
        (
            project.name,
            [(version, _row(tuple(map(_trait, files)), offered)) for version, files in _versions(project)],
        )
        for project in ordered
        if project.files
    ]
    every = {row.traits for _, releases in rows for _, row in releases}
    admitted = {one for row in every for one in row.admits}
    runs = {one for row in every for one in row.runs}
    choices = {
        "torch": [one for one in reversed(offered) if one in admitted],
        "cuda": sorted({one for row in every for one in row.cuda}, key=_natural, reverse=True),
        "platform": sorted({one for row in every for one in row.platforms}, key=_commonness),
        "gpu": [one for one in _DEVICES if one in runs],
    }
    return _render(
        "channel.html",
        {"rows": itertools.chain.from_iterable(_rows(*one) for one in rows)},
        channel=channel,
        address=_simple(channel, base),
        releases=len(rows),
        empty=[project.name for project in ordered if not project.files],
        choices=choices,
    )


def front_page(channels: Sequence[str], *, base: str) -> bytes:
    """Return the page of the whole index: its channels, the newest CUDA first."""
    ordered = sorted(set(channels), key=_natural, reverse=True)
    return _render("front.html", {}, channels=[(one, cuda(one), _simple(one, base)) for one in ordered])


def _form(macro: str, **given: Any) -> markup.Form:
    return markup.form("parts.html", macro, **given)


def _render(template: str, long: Mapping[str, Iterable[Markup]], **view: Any) -> bytes:
    return markup.page(template, (("csp_digest", _csp_digest),), long, **view)


@functools.lru_cache(maxsize=4096)
def _anchor(version: str) -> Markup:
    """Return a version as the address of its section names it."""
    return escape(quote(version))


def _csp_digest(script: str) -> str:
    """Return how a content security policy names a script that it allows."""
    return f"sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


@functools.lru_cache(maxsize=1024)
def _moment(uploaded: str) -> Markup:
    """Return a time of PEP 700 as people read it, 2026-11-22 10:00 UTC: all wheels of a publish have the same."""
    told = f"{uploaded[:16].replace('T', ' ')} UTC"
    return markup.fill(_form("moment"), uploaded=uploaded, told=told)


def _simple(channel: str, base: str) -> str:
    return f"{base.rstrip('/')}/{channel}/simple/"


@functools.lru_cache(maxsize=4096)
def _natural(text: str) -> tuple[list[tuple[int, str]], str]:
    """Return what texts with numbers in them are sorted by, so that 12.10 comes after 12.9."""
    parts = re.split(r"([0-9]+)", text)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], text


def _versions(project: Project) -> Iterator[tuple[str, list[Hosted]]]:
    """Return each version of a project with its wheels, the newest one first."""
    return reversed(simple.releases(project).items())


def _likeness(one: Hosted) -> Likeness:
    exact, begin = _EXACT.search(one.file), f"{one.file}."
    return Likeness(
        yanked=one.yanked,
        unproven=one.unproven,
        platform=one.platform,
        cuda=one.cuda,
        torch=one.torch,
        triton=one.triton,
        python=f"3.{exact[1]}" if exact else one.requires_python or "any",
        requires_python=one.requires_python,
        lane=one.lane,
        compiler=one.compiler,
        commit=one.commit,
        source=one.source,
        waived=tuple(one.waived.items()) if one.waived else (),
        libraries=tuple(one.libraries.items()),
        tried=one.tried,
        inherited=one.inherited,
        evidence=tuple(name.removeprefix(begin) for name in one.sidecars),
        patches=one.patches,
    )


@functools.lru_cache(maxsize=1024)
def _kind(alike: Likeness) -> Kind:
    evidence = tuple((name, simple.coded(name)) for name in alike.evidence)
    return Kind(alike, _form("card", alike=alike, failed=_failed(alike), evidence=evidence))


@functools.lru_cache(maxsize=_NEAR)
def _served(kinds: tuple[Kind, ...]) -> markup.Form:
    """Return the row of a version in the table of versions: for whom its wheels are."""
    alike = [kind.alike for kind in kinds]
    machines = {one.platform for one in alike}
    code = frozenset(code for one in alike for _, code in one.libraries if code)
    return _form(
        "served",
        platforms=_by(machines, _commonness),
        torch=tuple(dict.fromkeys(one.torch for one in alike)),
        python=_by({one.python for one in alike}, _natural),
        gpus=_gpus(frozenset(machines), code),
    )


def _release(version: str, files: list[Hosted], best: Hosted | None, shop: Shop, *, opened: bool) -> Release:
    """Return what is said of a version, with the lines that install its best wheel unless they stand elsewhere."""
    kinds = tuple([_kind(_likeness(one)) for one in files])
    section, same = _section(kinds, shop, best and best.torch, opened=opened)
    cards = [_card(one, kind, () if same else one.patches) for one, kind in zip(files, kinds, strict=True)]
    name, wanted = escape(version), _wanted(best) if best else ""
    return Release(
        row=markup.fill(_served(kinds), version=name, anchor=_anchor(version)),
        section=markup.fill(section, version=name, wanted=wanted, cards=markup.joined(cards)),
    )


@functools.lru_cache(maxsize=_NEAR)
def _section(
    kinds: tuple[Kind, ...], shop: Shop, asked: str | None, *, opened: bool
) -> tuple[markup.Form, bool]:
    """Return the section of a version but for its cards, and whether it says the patches, which all wheels share.

    ``asked`` is the range of torch that its best wheel asks for; None where no lines are to be copied.
    """
    alike = [kind.alike for kind in kinds]
    same = all(one.patches == alike[0].patches for one in alike)
    states = (
        ("yanked", any(one.yanked is not None for one in alike)),
        ("unproven", any(one.unproven for one in alike)),
    )
    form = _form(
        "release",
        states=tuple(kind for kind, some in states if some),
        opened=opened,
        shop=shop,
        asked=asked,
        wheels=len(alike),
        torch=alike[0].torch,
        series=alike[0].patches if same else (),
    )
    return form, same


def _card(one: Hosted, kind: Kind, patches: tuple[PatchStatement, ...]) -> Markup:
    return markup.fill(
        kind.card,
        address=simple.address(one.file, one.sha256),
        file=one.file,
        moment=_moment(one.uploaded),
        size=units.size(one.size),
        sha256=one.sha256,
        patches=markup.fill(_form("patches", series=patches)) if patches else _NOTHING,
    )


def _by(found: set[str], key: Callable[[str], Any]) -> tuple[str, ...]:
    return tuple(sorted(found, key=key))


def _commonness(platform: str) -> tuple[int, str]:
    """Return what platforms are sorted by: those of Linux first."""
    known = platforms.COMPILED
    return known.index(platform) if platform in known else len(known), platform


@functools.lru_cache(maxsize=1024)
def _gpus(machines: frozenset[str], libraries: frozenset[tuple[Arch, ...]]) -> tuple[Reach, ...]:
    """Return the GPUs that one of the machines can have and some library has native code for."""
    asked = {device for machine in machines for device in devices(machine)}
    runs = {
        device: [any(arch.runs(one, device) for one in code) for code in libraries]
        for device in DEVICES
        if device in asked
    }
    return tuple(
        Reach(f"{DEVICES[device]} ({device})", all(each)) for device, each in runs.items() if any(each)
    )


def _failed(one: Hosted | Likeness | Trait) -> int:
    """Return how many cases failed of a wheel that is listed all the same."""
    return sum(run.failed for run in one.tried) if one.unproven else 0


def _failing(count: int) -> str:
    return f"{count} of its tests FAILED; " if count else ""


def _notes(files: Iterable[Hosted | Trait]) -> tuple[Note, ...]:
    yanked = Counter(one.yanked for one in files if one.yanked is not None)
    unproven = Counter(f"{_failing(_failed(one))}{one.unproven}" for one in files if one.unproven)
    counted = (("yanked", yanked), ("unproven", unproven))
    return tuple(Note(kind, reason, count) for kind, found in counted for reason, count in found.items())


def _shop(project: Project, base: str) -> Shop:
    address, source = _simple(project.channel, base), f"retread-{project.channel}"
    add = f"poetry source add --priority=explicit {shlex.quote(source)} {shlex.quote(address)}"
    return Shop(
        address=address,
        pip=f"pip install --index-url {shlex.quote(address)}",
        settings=_settings(project.name, source, address),
        poetry=f"{add}\npoetry add --source {shlex.quote(source)}",
    )


def _best(files: Iterable[Hosted]) -> Hosted | None:
    """Return the newest wheel, preferring what is proven and final; None when all are yanked."""
    return max((one for one in files if one.yanked is None), key=_merit, default=None)


def _wanted(one: Hosted) -> str:
    """Return how an installer is asked for the version of a wheel, as a shell takes it."""
    return shlex.quote(f"{one.project}=={one.version}")


def _merit(one: Hosted) -> tuple[bool, bool, Version, str, str]:
    version = simple.parsed(one.version)
    return not one.unproven, not version.is_prerelease, version, one.version, one.file


def _settings(project: str, source: str, address: str) -> str:
    # A JSON string is a TOML string, too.
    name, url = json.dumps(source), json.dumps(address)
    index = f"[[tool.uv.index]]\nname = {name}\nurl = {url}\nexplicit = true\n"
    return f"{index}\n[tool.uv.sources]\n{project} = {{ index = {name} }}"


def _rows(project: str, releases: Iterable[tuple[str, Row]]) -> Iterator[Markup]:
    """Yield the rows of a channel's table that say what the releases of a project are."""
    name, page = escape(project), escape(f"simple/{quote(project)}/page.html")
    for version, row in releases:
        yield markup.fill(row.form, page=page, project=name, anchor=_anchor(version), version=version)


def _trait(one: Hosted) -> Trait:
    return Trait(
        platform=one.platform,
        cuda=one.cuda,
        torch=one.torch,
        triton=one.triton,
        code=tuple(one.libraries.values()),
        tried=one.tried,
        yanked=one.yanked,
        unproven=one.unproven,
    )


@functools.lru_cache(maxsize=4096)
def _row(files: tuple[Trait, ...], offered: tuple[str, ...]) -> Row:
    """Return the row of a release with such wheels."""
    libraries = [set(code) for one in files for code in one.code]
    found = tuple(sorted(set().union(*libraries), key=arch.sort_key))
    tried = {
        run.where
        for one in files
        for run in one.tried
        if run.level == "gpu" and counts(run).verdict is Verdict.PASSED
    }
    traits = Traits(
        wheels=len(files),
        notes=_notes(files),
        platforms=_by({one.platform for one in files}, _commonness),
        cuda=_by({one.cuda for one in files}, _natural),
        torch=_by({one.torch for one in files}, _natural),
        triton=_by({version for one in files for version in one.triton}, _natural),
        reach=tuple(Reach(one, all(one in code for code in libraries)) for one in found),
        tried=tuple(sorted(tried)),
        admits=_by({one for file in files for one in _admitted(file.torch, offered)}, _natural),
        runs=_devices(found),
    )
    return Row(traits, _form("row", one=traits))


@functools.lru_cache(maxsize=1024)
def _devices(found: tuple[Arch, ...]) -> tuple[Arch, ...]:
    return tuple(device for device in _DEVICES if any(arch.runs(code, device) for code in found))


def _offered(projects: Iterable[Project]) -> tuple[str, ...]:
    """Return the torch versions that ranges and tests name, ascending: what a reader can choose from."""
    files = [one for project in projects for one in project.files]
    texts = {one.torch for one in files} | {run.torch for one in files for run in one.tried}
    named = (pypa.version(found) for text in sorted(texts) for found in _RELEASE.findall(text))
    return tuple(map(str, sorted(dict.fromkeys(named))))


@functools.lru_cache(maxsize=1024)
def _admitted(text: str, offered: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of some versions that a range allows; none for a text that is no range."""
    try:
        return tuple(pypa.specifiers(text).filter(offered, prereleases=True))
    except InvalidSpecifier:
        return ()
