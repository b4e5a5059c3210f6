"""What an audit demands: the promise of a target held against what the wheel really has. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace
from packaging.utils import canonicalize_name

from retread import arch, pypa, units, version
from retread.arch import Arch
from retread.audit import manylinux, providers
from retread.audit.manylinux import dotted, glibc, glibc_limit
from retread.audit.report import Check
from retread.elf import facts as elf
from retread.elf.facts import Facts, Format, LibraryFacts, common, counted, linked_ptx
from retread.recipe import miscompiles
from retread.recipe.miscompiles import Miscompile
from retread.recipe.waiver import MISCOMPILE
from retread.version import CLANG
from retread.wheel.facts import WheelFacts, is_called_library
from retread.wheel.statement import Exempt, Promise, Statement, compiler_of

if TYPE_CHECKING:
    from packaging.requirements import Requirement

Broken = Collection[tuple[str, str]]
"""Rules that a wheel breaks, each with what breaks it; nothing for the wheel itself."""

_WINDOWS: Final = {"x86_64": "win_amd64", "aarch64": "win_arm64", "i686": "win32"}
"""The machine of a library -> the platform tag of the Windows that loads it."""


def audit(
    wheel: WheelFacts,
    promise: Promise | None,
    base: Mapping[str, LibraryFacts] | None = None,
    *,
    denied: Sequence[Miscompile] = (),
    broken: Broken | None = None,
) -> tuple[Check, ...]:
    """Return every check of the wheel: those of any wheel, and with a promise those of its target.

    ``base`` holds the base wheel's libraries: with it, new undefined symbols and new needed libraries are faults.
    ``broken`` is what the base wheel breaks: with it, a waiver covers nothing else.
    """
    checks = list(of_any(wheel, promise, denied))
    if promise:
        checks = list(_waived(checks, wheel, promise, broken))
        checks += _identity(wheel, promise)
        checks += _requirements(wheel, promise)
        for name, facts in wheel.every.items():
            checks += _architectures(name, facts, promise)
            checks += _run_path(name, facts, promise) if isinstance(facts, LibraryFacts) else ()
        checks += _named(wheel, promise)
    if wheel.statement:
        checks += _statement(wheel, wheel.statement)
        checks += _compiler(wheel, wheel.statement)
    if base is not None:
        for name, facts in wheel.libraries.items():
            checks += _against_base(name, facts, base.get(name))
        checks += [_missing("base", name, wheel.libraries) for name in base if name not in wheel.libraries]
    return tuple(checks)


def of_any(wheel: WheelFacts, promise: Promise | None, denied: Sequence[Miscompile]) -> Iterator[Check]:
    """Yield the checks of any wheel: what a waiver can be for."""
    yield from _soundness(wheel)
    yield from _generic(wheel, promise)
    yield from providers.checks(wheel, promise)
    for name, facts in wheel.every.items():
        yield from _miscompiles(name, facts, denied)


def place(check: Check, wheel: WheelFacts) -> tuple[str, str]:
    """Return which rule a check is of and what it looked at, the wheel itself without its name."""
    return check.check, "" if check.subject == wheel.file else check.subject


def _waived(
    checks: Iterable[Check], wheel: WheelFacts, promise: Promise, broken: Broken | None
) -> Iterator[Check]:
    """Yield the checks, those that fail and need not hold with the reason, and what became of the other waivers."""
    left = dict(promise.waived)
    for one in checks:
        known = one.check.startswith(MISCOMPILE) or broken is None or place(one, wheel) in broken
        reason = promise.waived.get(one.check, "") if not one.ok and known else ""
        if reason:
            left.pop(one.check, None)
        yield replace(one, waived=reason) if reason else one
    for rule, reason in left.items():
        stale = rule.startswith(MISCOMPILE)
        detail = f"the base wheel breaks it and this one does not: {reason}"
        if stale:
            detail = "stale: no code of the wheel is of it; take the waiver out"
        yield Check(check="waiver", subject=rule, ok=not stale, detail=detail)


def _miscompiles(name: str, facts: Facts, denied: Sequence[Miscompile]) -> Iterator[Check]:
    """Yield the known miscompiles that a file's machine code is of."""
    for made in facts.made:
        for one, found in miscompiles.hits(denied, made.cuda, made.sass):
            yield Check(
                check=one.name, subject=name, ok=False, detail=miscompiles.told(one, made.cuda, found)
            )


def of_file(name: str, facts: Facts) -> Iterator[Check]:
    """Yield the checks of a file that lies in no wheel."""
    yield _readable(name, facts)
    if isinstance(facts, LibraryFacts):
        yield from _paths(name, facts)


def _readable(name: str, facts: Facts) -> Check:
    """Say what GPU code a file holds, or what of it cannot be read."""
    modules = len(facts.modules) + len(facts.relocatable)
    detail = (
        f"{units.counted(modules, 'module')}, {units.counted(sum(one.count for one in facts.kernels), 'kernel')}"
        if modules
        else "none"
    )
    detail = f"cannot be read: {'; '.join(facts.unread[:3])}" if facts.unread else detail
    return Check(check="GPU code", subject=name, ok=not facts.unread, detail=detail)


def _soundness(wheel: WheelFacts) -> Iterator[Check]:
    """Yield that every byte is RECORD's, and what is wrong with the wheel though it can be read."""
    if not any(fault.check == "record" for fault in wheel.faults):
        detail = f"{wheel.members} members, every hash right"
        yield Check(check="record", subject=wheel.file, ok=True, detail=detail)
    for fault in wheel.faults:
        yield Check(check=fault.check, subject=fault.subject, ok=False, detail=fault.detail)
    for name, facts in wheel.every.items():
        if facts.unread or not isinstance(facts, LibraryFacts):
            yield _readable(name, facts)


def _generic(wheel: WheelFacts, promise: Promise | None) -> Iterator[Check]:
    """Yield the rules of any library: its machine, what it asks of the system, that it names no folder of a builder."""
    platforms = {tag.rpartition("-")[2] for tag in wheel.tags}
    limit = glibc_limit(platforms)
    own = {posixpath.basename(name) for name in wheel.libraries}
    for check in machines(wheel):
        yield check
        name, facts = check.subject, wheel.libraries[check.subject]
        if limit:
            yield from _system(name, facts, limit, own)
        if any(platform.startswith("musllinux_") for platform in platforms):
            yield from _musl(name, facts)
        yield from _paths(name, facts, promise)


def machines(wheel: WheelFacts) -> Iterator[Check]:
    """Yield of each library whether the machines of the wheel's tags load it."""
    platforms = {tag.rpartition("-")[2] for tag in wheel.tags}
    for name, facts in wheel.libraries.items():
        fits = all(_is_for(facts, platform) for platform in platforms)
        if not fits and not (is_called_library(name) and wheel.loads(facts)):
            continue  # a program for another machine is data of this one's
        kind = f"Windows, {facts.machine}" if facts.format is Format.PE else facts.machine
        yield Check(
            check="machine", subject=name, ok=fits, detail=f"{kind}, tags {', '.join(sorted(platforms))}"
        )


def _is_for(facts: LibraryFacts, platform: str) -> bool:
    """Say whether a library is loaded by the system of a platform tag."""
    if facts.format is Format.PE:
        return platform == _WINDOWS.get(facts.machine)
    return platform.endswith(f"_{facts.machine}") and not platform.startswith("win")


def _paths(name: str, facts: LibraryFacts, promise: Promise | None = None) -> Iterator[Check]:
    """Yield that a library names folders which nobody promised: only the machine that built it has them."""
    wanted = {one for path in promise.run_path.values() for one in path} if promise else set()
    absolute = [one for one in (*facts.needed, *facts.run_path) if one.startswith("/") and one not in wanted]
    if absolute:
        detail = f"names folders of the machine that built it: {', '.join(absolute)}"
        yield Check(check="paths", subject=name, ok=False, detail=detail)


def _system(name: str, facts: LibraryFacts, limit: tuple[int, ...], own: Collection[str]) -> Iterator[Check]:
    """Yield whether a library asks no more of glibc than the oldest system of the tags has, and what of libstdc++.

    The wheel may bring its own libstdc++.
    """
    newest, allowed = max(map(glibc, facts.versions), default=()), dotted(limit)
    detail = f"needs glibc {dotted(newest) or 'of any age'}, the tag allows {allowed}"
    yield Check(check="glibc", subject=name, ok=newest <= limit, detail=detail)
    bundled = any(one in own for one in facts.needed if one.startswith("libstdc++.so."))
    beyond = [] if bundled else manylinux.libstdcxx(facts.versions, limit)
    if beyond:
        detail = f"needs {', '.join(beyond)}, newer than manylinux_{'_'.join(map(str, limit))} has"
        yield Check(check="libstdc++", subject=name, ok=False, detail=detail)


def _musl(name: str, facts: LibraryFacts) -> Iterator[Check]:
    """Yield whether a library of a musllinux wheel is linked to musl."""
    glibcs = [one for one in facts.versions if one.startswith("GLIBC_")]
    glibcs += [one for one in facts.needed if one == "libc.so.6" or one.startswith("ld-linux-")]
    detail = (
        f"asks for {', '.join(glibcs[:3])}, which is glibc's" if glibcs else "asks for nothing of glibc's"
    )
    yield Check(check="musl", subject=name, ok=not glibcs, detail=detail)


def _identity(wheel: WheelFacts, promise: Promise) -> Iterator[Check]:
    ok = (wheel.project, wheel.version) == (promise.project, promise.version)
    yield Check(
        check="version",
        subject=f"{promise.project} {promise.version}",
        ok=ok,
        detail="is the wheel's" if ok else f"the wheel is {wheel.project} {wheel.version}",
    )


def _statement(wheel: WheelFacts, said: Statement) -> Iterator[Check]:
    """Check that the wheel's own statement is of this wheel: its version, its libraries."""
    found = {
        name: (len(facts.modules), *common(facts))
        for name, facts in wheel.libraries.items()
        if name in said.libraries or (is_called_library(name) and wheel.loads(facts))
    }
    told = {name: (one.modules, one.after, one.ptx) for name, one in said.libraries.items()}
    wrong = sorted(name for name in found.keys() | told.keys() if found.get(name) != told.get(name))
    if (canonicalize_name(said.project), said.version) != (wheel.project, wheel.version):
        wrong.insert(0, f"{said.project} {said.version}")
    detail = f"not what the wheel holds: {', '.join(wrong)}" if wrong else "agrees with what the wheel holds"
    yield Check(check="statement", subject="retread.json", ok=not wrong, detail=detail)


def _compiler(wheel: WheelFacts, said: Statement) -> Iterator[Check]:
    """Hold a compiled wheel's version, its statement and the names in its libraries to one compiler of device code."""
    if said.compiled is None:
        return
    told, named = compiler_of(said.compiled), version.compiler(wheel.version)
    yield Check(
        check="compiler",
        subject=wheel.version,
        ok=named == told,
        detail=f"the version is of {named}'s, {told} compiled the device code",
    )
    for name, facts in wheel.libraries.items():
        if facts.modules and facts.compilers:
            clang = [one for one in facts.compilers if elf.CLANG in one]
            allowed = told == CLANG or elf.CLANG in said.compiled.compiler
            yield Check(
                check="compiler",
                subject=name,
                ok=bool(clang) if told == CLANG else allowed or not clang,
                detail=f"names {', '.join(clang) or 'no clang'}; {told} compiled the device code",
            )


def _requirements(wheel: WheelFacts, promise: Promise) -> Iterator[Check]:
    torch = [f"torch{promise.torch}"] if promise.torch else []
    wanted = [pypa.requirement(text) for text in (*torch, *promise.requires)]
    present = {pypa.requirement(text) for text in wheel.requires}
    for item in {str(item): item for item in wanted}.values():
        rivals = [one for one in present if _same_thing(one, item)]
        ok = rivals == [item]
        said = ", ".join(
            text for text in wheel.requires if _project(pypa.requirement(text)) == _project(item)
        )
        yield Check(
            check="requires",
            subject=str(item),
            ok=ok,
            detail="in METADATA" if ok else f"METADATA says {said or 'nothing of it'}",
        )


def _same_thing(one: Requirement, other: Requirement) -> bool:
    """Say whether two requirements speak of the same project with the same extras under the same condition."""
    keys = [(_project(item), frozenset(item.extras), str(item.marker or "")) for item in (one, other)]
    return keys[0] == keys[1]


def _project(item: Requirement) -> str:
    return canonicalize_name(item.name)


def _architectures(name: str, facts: Facts, promise: Promise) -> Iterator[Check]:
    exempt = next((item for item in promise.exempt if item.library == name), None)
    if not facts.modules and not exempt:
        return
    if not (exempt or promise.architectures or promise.ptx):
        return  # it was made of another wheel alone; what it got is in its statement, which is checked, too
    sass = set(exempt.architectures if exempt else promise.architectures)
    ptx = set(exempt.ptx if exempt else promise.ptx)
    # What nvcc's link step adds runs nothing, and so lacks nothing.
    modules = counted(facts.modules)
    some = set() if exempt else set(promise.some)
    yield _held(
        "sass", name, sass, [(module.index, set(module.sass) - (some - sass)) for module in modules], exempt
    )
    linked = linked_ptx(facts)
    yield _held("ptx", name, ptx, [(module.index, {*module.ptx, *linked}) for module in modules], exempt)


def _held(
    check: str, name: str, wanted: set[Arch], modules: list[tuple[int, set[Arch]]], exempt: Exempt | None
) -> Check:
    faults = []
    for index, found in modules:
        lacks, more = wanted - found, found - wanted
        words = [f"lacks {_list(lacks)}"] if lacks else []
        words += [f"has {_list(more)}, which is not promised"] if more else []
        if words:
            faults.append(f"module {index} {' and '.join(words)}")
    if not modules and wanted:
        return Check(check=check, subject=name, ok=False, detail=f"no GPU code, promised is {_list(wanted)}")
    if faults:
        detail = f"{len(faults)} of {len(modules)} modules: " + "; ".join(faults[:3])
        return Check(check=check, subject=name, ok=False, detail=detail)
    reason = f" (exempt: {exempt.reason})" if exempt else ""
    detail = f"{_list(wanted)} in {len(modules)} of {len(modules)} modules{reason}"
    return Check(check=check, subject=name, ok=True, detail=detail)


def _list(values: Iterable[Arch]) -> str:
    ordered = sorted(values, key=arch.sort_key)
    return " ".join(ordered) or "nothing"


def _run_path(name: str, facts: LibraryFacts, promise: Promise) -> Iterator[Check]:
    wanted = next((path for glob, path in promise.run_path.items() if fnmatchcase(name, glob)), None)
    if wanted is not None:
        ok = facts.run_path == wanted
        yield Check(check="run path", subject=name, ok=ok, detail=":".join(facts.run_path) or "none")


def _named(wheel: WheelFacts, promise: Promise) -> Iterator[Check]:
    """Check that every library that the promise names is there."""
    for item in promise.exempt:
        if item.library not in wheel.every:
            yield _missing("exempt", item.library, wheel.libraries)
    for glob in promise.run_path:
        if not any(fnmatchcase(name, glob) for name in wheel.libraries):
            yield _missing("run path", glob, wheel.libraries)
    if promise.architectures and not any(facts.modules for facts in wheel.every.values()):
        yield Check(check="sass", subject=wheel.file, ok=False, detail="no library has GPU code")


def _missing(check: str, name: str, there: Iterable[str]) -> Check:
    detail = f"no such library in the wheel, which has {', '.join(sorted(there)) or 'none'}"
    return Check(check=check, subject=name, ok=False, detail=detail)


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
    modules = f"{len(facts.modules)} modules, {len(base.modules)} in the base"
    yield Check(check="modules", subject=name, ok=len(facts.modules) == len(base.modules), detail=modules)
