"""What an audit demands: the promise of a target held against what the wheel really has. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from packaging.requirements import Requirement

from retread import arch
from retread.arch import Arch
from retread.model import Check, Exempt, LibraryFacts, Promise, WheelFacts


def common(facts: LibraryFacts) -> tuple[tuple[Arch, ...], tuple[Arch, ...]]:
    """Return (machine code, PTX): the architectures that every module of the library has."""
    if not facts.modules:
        return (), ()
    sass = set.intersection(*(set(module.sass) for module in facts.modules))
    ptx = set.intersection(*(set(module.ptx) for module in facts.modules))
    return tuple(sorted(sass, key=arch.sort_key)), tuple(sorted(ptx, key=arch.sort_key))


def audit(
    wheel: WheelFacts, promise: Promise | None, base: Mapping[str, LibraryFacts] | None = None
) -> tuple[Check, ...]:
    """Return every check of the wheel: those of any wheel, and with a promise those of its target.

    ``base`` holds the base wheel's libraries: with it, new undefined symbols and new needed libraries are faults.
    """
    checks = [
        Check(
            check="record", subject=wheel.file, ok=True, detail=f"{wheel.members} members, every hash right"
        ),
        *_generic(wheel),
    ]
    if promise:
        checks += _requirements(wheel, promise)
        for name, facts in wheel.libraries.items():
            checks += _architectures(name, facts, promise)
            checks += _run_path(name, facts, promise)
        checks += _named(wheel, promise)
    for name, facts in (wheel.libraries if base is not None else {}).items():
        checks += _against_base(name, facts, (base or {}).get(name))
    return tuple(checks)


def _generic(wheel: WheelFacts) -> Iterator[Check]:
    machines = {tag.rpartition("-")[2] for tag in wheel.tags}
    limit = _glibc_limit(machines)
    for name, facts in wheel.libraries.items():
        fits = any(machine.endswith(facts.machine) for machine in machines)
        yield Check(
            check="machine",
            subject=name,
            ok=fits,
            detail=f"{facts.machine}, tags {', '.join(sorted(machines))}",
        )
        newest = max(
            (_numbers(version) for version in facts.versions if version.startswith("GLIBC_2")), default=(0,)
        )
        shown = ".".join(map(str, newest))
        if limit:
            allowed = ".".join(map(str, limit))
            yield Check(
                check="glibc",
                subject=name,
                ok=newest <= limit,
                detail=f"needs glibc {shown}, the tag allows {allowed}",
            )


def _glibc_limit(platforms: Iterable[str]) -> tuple[int, ...]:
    """Return the oldest glibc that the platform tags promise to run on, or () when they promise none."""
    aliases = {"manylinux2014": (2, 17), "manylinux2010": (2, 12), "manylinux1": (2, 5)}
    found: list[tuple[int, ...]] = []
    for platform in platforms:
        if match := re.match(r"manylinux_(\d+)_(\d+)_", platform):
            found.append((int(match[1]), int(match[2])))
        found += [version for alias, version in aliases.items() if platform.startswith(f"{alias}_")]
    return min(found, default=())


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _requirements(wheel: WheelFacts, promise: Promise) -> Iterator[Check]:
    wanted = [Requirement(text) for text in (f"torch{promise.torch}", *promise.requires)]
    present = {
        (item.name.lower(), str(item.marker), item.specifier) for item in map(Requirement, wheel.requires)
    }
    for item in {str(item): item for item in wanted}.values():
        ok = (item.name.lower(), str(item.marker), item.specifier) in present
        said = ", ".join(
            text for text in wheel.requires if Requirement(text).name.lower() == item.name.lower()
        )
        yield Check(
            check="requires",
            subject=str(item),
            ok=ok,
            detail="in METADATA" if ok else f"METADATA says {said}",
        )


def _architectures(name: str, facts: LibraryFacts, promise: Promise) -> Iterator[Check]:
    if not facts.modules:
        return
    exempt = next((item for item in promise.exempt if item.library == name), None)
    sass = set(exempt.architectures if exempt else promise.architectures)
    ptx = set(exempt.ptx if exempt else promise.ptx)
    yield _held("sass", name, sass, [(module.index, set(module.sass)) for module in facts.modules], exempt)
    yield _held("ptx", name, ptx, [(module.index, set(module.ptx)) for module in facts.modules], exempt)


def _held(
    check: str, name: str, wanted: set[Arch], modules: list[tuple[int, set[Arch]]], exempt: Exempt | None
) -> Check:
    faults = []
    for index, found in modules:
        lacks, more = wanted - found, found - wanted
        words = [f"lacks {_list(lacks)}"] * bool(lacks) + [
            f"has {_list(more)}, which is not promised"
        ] * bool(more)
        if words:
            faults.append(f"module {index} {' and '.join(words)}")
    if faults:
        detail = f"{len(faults)} of {len(modules)} modules: " + "; ".join(faults[:3])
        return Check(check=check, subject=name, ok=False, detail=detail)
    reason = f" (exempt: {exempt.reason})" if exempt else ""
    detail = f"{_list(wanted)} in {len(modules)} of {len(modules)} modules{reason}"
    return Check(check=check, subject=name, ok=True, detail=detail)


def _list(values: Iterable[Arch]) -> str:
    return " ".join(sorted(values, key=arch.sort_key)) or "nothing"


def _run_path(name: str, facts: LibraryFacts, promise: Promise) -> Iterator[Check]:
    for glob, wanted in promise.run_path.items():
        if fnmatchcase(name, glob):
            ok = facts.run_path == wanted
            yield Check(check="run path", subject=name, ok=ok, detail=":".join(facts.run_path) or "none")


def _named(wheel: WheelFacts, promise: Promise) -> Iterator[Check]:
    """Check that every library that the promise names is there."""
    for item in promise.exempt:
        if item.library not in wheel.libraries:
            yield Check(check="exempt", subject=item.library, ok=False, detail="no such library in the wheel")
    for glob in promise.run_path:
        if not any(fnmatchcase(name, glob) for name in wheel.libraries):
            yield Check(check="run path", subject=glob, ok=False, detail="no such library in the wheel")


def _against_base(name: str, facts: LibraryFacts, base: LibraryFacts | None) -> Iterator[Check]:
    if base is None:
        yield Check(check="base", subject=name, ok=False, detail="the base wheel has no such library")
        return
    for check, ours, theirs in (
        ("undefined symbols", set(facts.undefined), set(base.undefined)),
        ("needed libraries", set(facts.needed), set(base.needed)),
    ):
        new = sorted(ours - theirs)
        detail = f"none new against the base ({len(ours)})" if not new else f"new: {', '.join(new[:5])}"
        yield Check(check=check, subject=name, ok=not new, detail=detail)
