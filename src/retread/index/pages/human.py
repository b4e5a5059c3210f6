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
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from packaging.specifiers import InvalidSpecifier

from retread import arch, pypa, units
from retread.arch import Arch
from retread.elf.facts import DEVICES, devices
from retread.index.listing import Hosted, Project
from retread.index.pages import simple
from retread.recipe import platforms
from retread.smoke.tally import Tried, Verdict, counts
from retread.text import markup
from retread.version import cuda
from retread.wheel.statement import PatchStatement

if TYPE_CHECKING:
    from markupsafe import Markup
    from packaging.version import Version

_DEVICES: Final = tuple(sorted((one for one in arch.FIRST_CUDA if not arch.parts(one)[2]), key=arch.sort_key))
"""Capabilities that GPUs have; those with a suffix are of code alone."""

_RELEASE: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})+")


Libraries = tuple[tuple[str, tuple[Arch, ...]], ...]
"""Library and what it has native code for, of each."""


class Wheel(NamedTuple):
    """A wheel as its project's page shows it: what it shares with many others is markup already."""

    one: Hosted
    address: str
    evidence: list[tuple[str, str]]
    """What tells each file that bears witness to it from the others, ``test-static.dsse.json``, and its address."""
    about: Markup
    """Whether it is proven, what it is for, and what it was made of."""
    content: Markup
    """Its native code, and how it was tried."""
    patches: Markup
    """Empty when its release says them for all its wheels."""


class Note(NamedTuple):
    """What speaks against some wheels of a release."""

    kind: str
    """``yanked`` or ``unproven``."""
    reason: str
    wheels: int


class Advice(NamedTuple):
    """What to copy in order to install one wheel from this index and from nowhere else."""

    version: str
    unproven: str
    failed: int
    """How many cases of its tests failed, of one that is unproven."""
    torch: str
    pip: str
    settings: str
    """Of uv, for pyproject.toml."""
    uv: str
    poetry: str


class Shop(NamedTuple):
    """How a project is installed from this index, whatever the version: what the lines to copy begin with."""

    address: str
    pip: str
    settings: str
    """Of uv, for pyproject.toml."""
    poetry: str


class Release(NamedTuple):
    """All wheels of a version."""

    version: str
    patches: Markup
    """Those that all of its wheels share; empty when they differ."""
    wheels: list[Wheel]
    states: list[str]
    """What some of its wheels are: ``yanked``, ``unproven``."""
    serves: Markup
    """Cells of the platforms, the ranges of torch and of Python, and the GPUs that its wheels are for."""
    advice: Advice | None
    """What to copy in order to install this version; None when all of it is yanked."""


class Reach(NamedTuple):
    """An architecture that a release has code for; ``everywhere`` unless some library of it lacks it."""

    name: Arch
    everywhere: bool


class Trait(NamedTuple):
    """What a channel's page says of a wheel, but for its name: many wheels share one."""

    platform: str
    cuda: str
    torch: str
    triton: tuple[str, ...]
    libraries: Libraries
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


def project_page(project: Project, *, base: str) -> bytes:
    """Return a project's page: lines to copy, then every wheel with what it holds, the newest version first."""
    shop, best = _shop(project, base), _best(project.files)
    return _render(
        "project.html",
        project=project,
        address=shop.address,
        advice=_lines(best, shop) if best else None,
        releases=[_release(version, files, shop) for version, files in _versions(project)],
    )


def channel_page(channel: str, projects: Sequence[Project], *, base: str) -> bytes:
    """Return a channel's page: every release of every project, by name, the newest version first."""
    ordered = sorted(projects, key=lambda one: one.name)
    offered = _offered(ordered)
    rows = [
        (
            project.name,
            [(version, _traits(tuple(map(_trait, files)), offered)) for version, files in _versions(project)],
        )
        for project in ordered
        if project.files
    ]
    every = {traits for _, releases in rows for _, traits in releases}
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
        channel=channel,
        address=_simple(channel, base),
        rows=[
            (name, [(version, _part("head", one), _part("cells", one)) for version, one in releases])
            for name, releases in rows
        ],
        empty=[project.name for project in ordered if not project.files],
        choices=choices,
    )


def front_page(channels: Sequence[str], *, base: str) -> bytes:
    """Return the page of the whole index: its channels, the newest CUDA first."""
    ordered = sorted(set(channels), key=_natural, reverse=True)
    return _render("front.html", channels=[(one, cuda(one), _simple(one, base)) for one in ordered])


def _part(macro: str, *arguments: Any) -> Markup:
    return markup.part("parts.html", macro, *arguments)


def _render(template: str, **view: Any) -> bytes:
    filters = (("size", units.size), ("csp_digest", _csp_digest), ("moment", _moment), ("anchor", _anchor))
    return markup.render(template, filters, **view).encode()


@functools.lru_cache(maxsize=4096)
def _anchor(version: str) -> str:
    """Return a version as the address of its section names it."""
    return quote(version)


def _csp_digest(script: str) -> str:
    """Return how a content security policy names a script that it allows."""
    return f"sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _moment(uploaded: str) -> str:
    """Return a time of PEP 700 as people read it: 2026-11-22 10:00 UTC."""
    return f"{uploaded[:16].replace('T', ' ')} UTC"


def _simple(channel: str, base: str) -> str:
    return f"{base.rstrip('/')}/{channel}/simple/"


@functools.lru_cache(maxsize=4096)
def _natural(text: str) -> tuple[list[tuple[int, str]], str]:
    """Return what texts with numbers in them are sorted by, so that 12.10 comes after 12.9."""
    parts = re.split(r"([0-9]+)", text)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], text


def _versions(project: Project) -> Iterator[tuple[str, list[Hosted]]]:
    """Yield each version of a project with its wheels, the newest one first."""
    files = sorted(project.files, key=lambda one: one.file)
    files.sort(key=lambda one: simple.order(one.version), reverse=True)
    for version, wheels in itertools.groupby(files, key=lambda one: one.version):
        yield version, list(wheels)


def _release(version: str, files: list[Hosted], shop: Shop) -> Release:
    first = files[0]
    same = all(one.patches == first.patches for one in files)
    best = _best(files)
    states = (
        ("yanked", any(one.yanked is not None for one in files)),
        ("unproven", any(one.unproven for one in files)),
    )
    return Release(
        version=version,
        patches=_part("patches", first.patches if same else ()),
        wheels=[_wheel(one, () if same else one.patches) for one in files],
        states=[kind for kind, some in states if some],
        serves=_part(
            "serves",
            _by({one.platform for one in files}, _commonness),
            tuple(dict.fromkeys(one.torch for one in files)),
            _by({_python(one) for one in files}, _natural),
            _gpus(
                frozenset(one.platform for one in files),
                frozenset(code for one in files for code in one.libraries.values() if code),
            ),
        ),
        advice=_lines(best, shop) if best else None,
    )


def _wheel(one: Hosted, patches: tuple[PatchStatement, ...]) -> Wheel:
    about = (
        one.platform,
        one.cuda,
        one.torch,
        one.triton,
        one.requires_python,
        one.lane,
        one.compiler,
        one.commit,
    )
    return Wheel(
        one=one,
        address=simple.address(one.file, one.sha256),
        evidence=[
            (name.removeprefix(f"{one.file}."), simple.address(name, one.sha256)) for name in one.sidecars
        ],
        about=_part("about", one.yanked, one.unproven, _failed(one), *about),
        content=_part("content", tuple(one.libraries.items()), one.tried),
        patches=_part("patches", patches),
    )


def _by(found: set[str], key: Callable[[str], Any]) -> tuple[str, ...]:
    return tuple(sorted(found, key=key))


def _commonness(platform: str) -> tuple[int, str]:
    """Return what platforms are sorted by: those of Linux first."""
    known = platforms.COMPILED
    return known.index(platform) if platform in known else len(known), platform


def _python(one: Hosted) -> str:
    """Return for which Python a wheel is: the version that its name says alone, or the range that it asks for."""
    exact = re.search(r"-cp3([0-9]+)-cp3\1-", one.file)
    return f"3.{exact[1]}" if exact else one.requires_python or "any"


@functools.lru_cache(maxsize=1024)
def _gpus(machines: frozenset[str], libraries: frozenset[tuple[Arch, ...]]) -> tuple[str, ...]:
    """Return the GPUs that one of the machines can have and every library has native code for; none without one."""
    asked = {device for machine in machines for device in devices(machine)}
    return tuple(
        f"{name} ({device})"
        for device, name in DEVICES.items()
        if device in asked
        and libraries
        and all(any(arch.runs(one, device) for one in code) for code in libraries)
    )


def _failed(one: Hosted | Trait) -> int:
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


def _lines(best: Hosted, shop: Shop) -> Advice:
    wanted = shlex.quote(f"{best.project}=={best.version}")
    return Advice(
        version=best.version,
        unproven=best.unproven,
        failed=_failed(best),
        torch=best.torch,
        pip=f"{shop.pip} {wanted}",
        settings=shop.settings,
        uv=f"uv add {wanted}",
        poetry=f"{shop.poetry} {wanted}",
    )


def _merit(one: Hosted) -> tuple[bool, bool, tuple[Version, str], str]:
    key = simple.order(one.version)
    return not one.unproven, not key[0].is_prerelease, key, one.file


def _settings(project: str, source: str, address: str) -> str:
    # A JSON string is a TOML string, too.
    name, url = json.dumps(source), json.dumps(address)
    index = f"[[tool.uv.index]]\nname = {name}\nurl = {url}\nexplicit = true\n"
    return f"{index}\n[tool.uv.sources]\n{project} = {{ index = {name} }}"


def _trait(one: Hosted) -> Trait:
    return Trait(
        platform=one.platform,
        cuda=one.cuda,
        torch=one.torch,
        triton=one.triton,
        libraries=tuple(one.libraries.items()),
        tried=one.tried,
        yanked=one.yanked,
        unproven=one.unproven,
    )


@functools.lru_cache(maxsize=4096)
def _traits(files: tuple[Trait, ...], offered: tuple[str, ...]) -> Traits:
    """Return what is said of a release with such wheels."""
    libraries = [set(code) for one in files for _, code in one.libraries]
    found = tuple(sorted(set().union(*libraries), key=arch.sort_key))
    tried = {
        run.where
        for one in files
        for run in one.tried
        if run.level == "gpu" and counts(run).verdict is Verdict.PASSED
    }
    return Traits(
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
