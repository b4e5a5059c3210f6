"""How an environment's report, and an explained error, look in a terminal. Pure: records in, text out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from retread.arch import Arch
from retread.elf.facts import DEVICES
from retread.fit.explain import Explained, Way
from retread.fit.report import Candidate, Finding, FitReport, UsageReport
from retread.text.tables import aligned, plain, wrapped
from retread.units import counted

_OTHER_TORCH: Final = re.compile(r"it is for torch (.*); .* is installed")
_PLACES: Final = 3
"""Places of a call that a line shows."""


def report(found: FitReport) -> str:
    """Return the whole report."""
    parts = [
        _head(found),
        _libraries(found),
        _findings("must change", [one for one in found.findings if one.fault]),
        _findings("good to know", [one for one in found.findings if not one.fault]),
        _candidates(found.candidates, {one.package: one.version for one in found.libraries}),
        _need(found),
        [found.verdict],
    ]
    return plain(line for part in parts if part for line in ["", *part]).strip("\n")


def line(found: FitReport) -> str:
    """Return the verdict alone."""
    return plain([found.verdict])


def _head(found: FitReport) -> list[str]:
    torch = f"torch {found.torch}" if found.torch else "no torch"
    triton = f", Triton {found.triton}" if found.triton else ""
    hardware = found.hardware
    lines = [f"{found.python.executable}: Python {found.python.version}, {torch}{triton}"]
    if hardware.gpus:
        driver = f", driver {hardware.driver} (CUDA {found.driver_cuda})" if hardware.driver else ""
        gpus = ", ".join(_device(gpu, hardware.names) for gpu in hardware.gpus)
        lines.append(f"GPU {gpus}{driver}, said by {hardware.source}")
    return lines


def _device(gpu: Arch, names: Sequence[str]) -> str:
    named = names[0] if len(names) == 1 else DEVICES.get(gpu, "")
    return f"{gpu} ({named})" if named else gpu


def _libraries(found: FitReport) -> list[str]:
    rows = []
    for one in found.libraries:
        served = "; ".join(f"{gpu}: {words}" for gpu, words in one.gpus.items())
        if not served:
            served = (
                f"native {' '.join(one.native) or 'nothing throughout'}; PTX {' '.join(one.ptx) or 'none'}"
            )
        rows.append((f"{one.package} {one.version}", one.library, served))
    return ["GPU code", *aligned(rows)] if rows else []


def _findings(title: str, found: Sequence[Finding]) -> list[str]:
    lines = []
    for one in found:
        lines += wrapped(f"{one.subject}: {one.says}", "  ", "    ")
        lines += wrapped(f"next: {one.next}", "    ", "      ") if one.next else []
    return [title, *lines] if lines else []


def _candidates(found: Sequence[Candidate], installed: Mapping[str, str]) -> list[str]:
    lines = ["wheels"] if found else []
    for one in (one for one in found if one.fits):
        gpus = "; ".join(f"{gpu}: {words}" for gpu, words in one.gpus.items())
        lines += wrapped(f"fits  {_named(one)}{f'  {gpus}' if gpus else ''}", "  ", "        ")
        lines += [line for patch in one.lacks for line in wrapped(f"lacks {patch}", "        ", "          ")]
    for told in _unfit([one for one in found if not one.fits]):
        lines += wrapped(f"no    {told}", "  ", "        ")
    best = next((one for one in found if one.fits), None)
    if best and installed.get(best.project) == best.version:
        return [*lines, "", f"{best.project} {best.version} is installed: no other wheel is better"]
    return [*lines, *(_take(best) if best else [])]


def _named(one: Candidate) -> str:
    made = ", which compiles" if one.compiles else ""
    return f"{one.project} {one.version} ({one.by}{made})"


def _unfit(found: Sequence[Candidate]) -> Iterator[str]:
    """Yield why each does not fit; those for another torch are one list, since there are many and the rest is moot."""
    elsewhere: dict[str, list[str]] = {}
    for one in found:
        match = _OTHER_TORCH.match(one.reasons[0]) if one.reasons else None
        if match:
            elsewhere.setdefault(f"{one.project} ({one.by})", []).append(f"{one.version} for {match[1]}")
        else:
            yield f"{_named(one)}: {'; '.join(one.reasons)}"
    yield from (f"for another torch: {name} {', '.join(versions)}" for name, versions in elsewhere.items())


def _take(best: Candidate) -> Iterator[str]:
    yield ""
    yield f"take {best.project} {best.version}; neither line can replace torch"
    if best.get:
        yield f"  make  {best.get}   (in a clone of retread; it writes dist/)"
    yield f"  pip   {best.pip}"
    yield f"  uv    {best.uv}"
    yield from wrapped(f"note: {best.note}", "  ", "    ") if best.note else []


def _need(found: FitReport) -> list[str]:
    lines = [line for one in found.need for line in wrapped(one, "  ", "    ")]
    for usage in found.usage:
        lines += _usage(usage)
    return ["is it needed?", *lines] if lines else []


def _usage(found: UsageReport) -> Iterable[str]:
    for one in found.used:
        places = ", ".join(one.places[:_PLACES])
        more = f" and {one.count - _PLACES} more" if one.count > _PLACES else ""
        yield from wrapped(f"{one.name}  ({places}{more})", "  ", "    ")
        instead = f"torch: {one.instead}; {one.difference}" if one.instead else one.difference
        yield from wrapped(instead, "      ", "        ")
    yield from (f"  not read: {one}" for one in found.unread[:_PLACES])
    if len(found.unread) > _PLACES:
        yield f"  not read: {len(found.unread) - _PLACES} more"
    read = f"{counted(found.files, 'file')} read"
    yield from wrapped(f"{found.says} ({read})", "  ", "    ")


def explained(found: Sequence[Explained]) -> str:
    """Return known faults, each with who has it and what to take."""
    lines: list[str] = []
    for one in found:
        lines += ["", *_explained(one)]
    return plain(lines[1:])


def _explained(one: Explained) -> Iterator[str]:
    yield from wrapped(f"{one.project}: {one.subject}" if one.project else one.subject, "", "  ")
    yield from wrapped(f"known by: {one.text}", "  ", "    ")
    yield from wrapped(f"breaks: {one.breaks}", "  ", "    ") if one.breaks else []
    yield from wrapped(f"who has it: {one.affects}", "  ", "    ")
    yield from wrapped(f"upstream: {one.upstream}", "  ", "    ") if one.upstream else []
    yield from wrapped(f"take: {one.take}", "  ", "    ")
    if one.ways:
        yield from aligned([("  for", "upstream's", "patched, by recipe and target"), *map(_way, one.ways)])


def _way(way: Way) -> tuple[str, ...]:
    made = f"{way.recipe} {way.target}{', compiled' if way.compiles else ''}" if way.recipe else "none"
    return (f"  torch {way.torch}", way.upstream or "none", made)
