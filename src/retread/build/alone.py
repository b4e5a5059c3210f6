"""A whole wheel made of another one alone: no recipe, no source, and so no proof of its source.

An edit says what its libraries get. One that cannot get it stays as it is, and is named with the reason. The same
wheel, edit and assembler give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from retread import pypa, units, version
from retread.arch import Arch
from retread.audit import audit
from retread.build import graft, grafts, seal, statement
from retread.build.graft import Means, Tool
from retread.build.grafts import Grafted, Request, Slim
from retread.build.seal import Sealed
from retread.doors import fs
from retread.elf import release
from retread.errors import UNREADABLE, FatbinError, PlanError, UsageError
from retread.evidence.names import AUDIT
from retread.prooflevel import NO_TIME, ProofLevel
from retread.recipe.waiver import READ
from retread.records import Record, Sha256
from retread.version import __version__
from retread.wheel import contents
from retread.wheel.metadata import SIGNATURES, WheelName
from retread.wheel.statement import FileStatement, Promise, Statement
from retread.wheel.wheelfile import Wheel

if TYPE_CHECKING:
    from retread.audit.report import AuditReport, Check
    from retread.doors.console import Console
    from retread.wheel.facts import WheelFacts
    from retread.wheel.members import Verified

LANE: Final = "wheel"
"""What stands in the place of a lane: no recipe has it."""
_REPLACED: Final = "another wheel of this name was there, and was replaced"
NOTE: Final = "made from another wheel alone: its source is not proven"


class Given(Record, frozen=True, kw_only=True):
    """A wheel with more native code, where it lies, and what it got."""

    path: str
    sha256: Sha256
    size: int
    audit: str
    """Path of the audit's evidence."""
    grafted: tuple[str, ...]
    """The libraries that got code."""
    left: dict[str, str]
    """Libraries that stay as they are though they lack an architecture -> why."""
    notes: tuple[str, ...]


class Edit(NamedTuple):
    """What is done to the libraries of a wheel."""

    channel: str
    """How the local version begins where the wheel has none: ``cu128``."""
    requests: Callable[[WheelFacts], Sequence[Request]]
    """What each library gets; PlanError when none gets anything."""
    title: Callable[[Request], str]
    """What a step of it is called."""
    undone: str
    """What is said of the wheel when no library can get it: ``can get 10.0``."""
    tool: Tool | None = None
    """What assembles, where that is needed."""
    slim: Slim | None = None
    limit: int = 0
    """Bytes that the new wheel may have; 0: any number."""


class Made(NamedTuple):
    """The new wheel, where it lies, and what became of the old one's libraries."""

    path: Path
    report: AuditReport
    audit: Path
    base: WheelFacts
    said: Statement
    libraries: Mapping[str, Grafted]
    sizes: Mapping[str, int]
    """Bytes of each before."""
    left: dict[str, str]
    """Libraries that stay as they are though something is asked for them -> why."""
    notes: tuple[str, ...]


class _Work(NamedTuple):
    """The wheel that it is made of, with what, and where there is room for it."""

    wheel: Wheel
    means: Means | None
    scratch: Path
    console: Console


class _Base(NamedTuple):
    """The wheel that all is made of."""

    wheel: Wheel
    facts: WheelFacts
    verified: Verified


def give(
    path: Path, out: Path, architectures: Sequence[Arch], tool: Tool, *, local: str | None, console: Console
) -> Given:
    """Write the wheel ``path`` with native code for ``architectures`` into the folder ``out``, and its audit beside it.

    ``local`` is its local version, by default like ``cu128.1``, or one that follows the wheel's own. UsageError for one
    that is none; PlanError when no library lacks an architecture; FatbinError, with the reason for each, when none can
    get one; AuditError when the new wheel breaks a rule that the old one does not. Nothing is written then.
    """
    edit = Edit(
        channel=version.channel(tool.cuda),
        requests=lambda facts: _lacking(facts, architectures),
        title=lambda request: f"graft {' '.join(request.architectures)} into {request.member}",
        undone=f"can get {' '.join(dict.fromkeys(architectures))}",
        tool=tool,
    )
    made = make(path, out, edit, local=local, console=console)
    return Given(
        path=str(made.path),
        sha256=made.report.sha256,
        size=made.report.size,
        audit=str(made.audit),
        grafted=tuple(made.libraries),
        left=made.left,
        notes=made.notes,
    )


def make(path: Path, out: Path, edit: Edit, *, local: str | None, console: Console) -> Made:
    """Write the wheel ``path`` with its libraries edited into the folder ``out``, and its audit beside it.

    Raises as the edit does, and as ``give``; PlanError when it is larger than it may be. Nothing is written then.
    """
    _demand_out(out)
    with fs.temporary("scratch") as scratch, Wheel(path, waived=READ) as wheel:
        with console.step(f"read {path.name}"):
            base = _Base(wheel, *contents.look(wheel, scratch))
        name = renamed(wheel.name, edit.channel, local)
        requests = edit.requests(base.facts)
        means = edit.tool.ready() if edit.tool else None
        libraries, left = _edited(_Work(wheel, means, scratch, console), requests, edit)
        said = _statement(base, name, libraries, (edit, means))
        with console.step("seal the wheel"):
            sealed = _sealed(base, name, libraries, said, scratch)
        made = sealed.path
        _demand_size(made, edit.limit)
        with console.step("audit the wheel"):
            report, broken = _audited(sealed, base, libraries, said, scratch)
        data = msgspec.json.format(msgspec.json.encode(report)) + b"\n"
        out.mkdir(parents=True, exist_ok=True)
        replaced = fs.place(made, out / made.name)
        fs.write(out / f"{made.name}{AUDIT}", data)
        return Made(
            path=out / made.name,
            report=report,
            audit=out / f"{made.name}{AUDIT}",
            base=base.facts,
            said=said,
            libraries={member: one for member, (_, one) in libraries.items()},
            sizes={member: wheel.archive.by_name[member].size for member in libraries},
            left=left,
            notes=(*_notes(base, libraries, means), *broken, *([_REPLACED] if replaced else [])),
        )


def _demand_out(out: Path) -> None:
    """Raise UsageError for a folder that is called like a wheel, StoreError for a file in its place."""
    if out.suffix == ".whl" and not out.is_dir():
        raise UsageError(
            f"--out: {out} is called like a wheel, and names the folder for it",
            hint="the wheel's name is the old one's with another local version, which --local says",
        )
    fs.demand_folder(out)


def _demand_size(made: Path, limit: int) -> None:
    size = made.stat().st_size
    if limit and size > limit:
        raise PlanError(
            f"{made.name} has {size:,} bytes, {size - limit:,} more than the {limit:,} that it may"
        )


def renamed(old: WheelName, channel: str, local: str | None) -> WheelName:
    """Return the new wheel's name: another local version, and no build tag, which counts builds of the old version."""
    before = pypa.version(old.version)
    text = local if local is not None else f"{before.local or channel}.1"
    try:
        new = pypa.version(f"{before.public}+{text}")
    except InvalidVersion:
        hint = "letters, digits and dots, like cu128.1"
        raise UsageError(f"--local: {text!r} is no local version", hint=hint) from None
    if new <= before:
        raise UsageError(
            f"--local: {new} does not follow {before}, so that no installer would prefer it",
            hint=f"say one that sorts after it, like --local {before.local}.1",
        )
    return msgspec.structs.replace(old.with_version(str(new)), build="")


def _lacking(facts: WheelFacts, asked: Sequence[Arch]) -> list[Request]:
    """Return for each library the architectures that it lacks; PlanError when none does."""
    wanted = {name: grafts.wanted(one, asked) for name, one in facts.libraries.items() if one.modules}
    lacking = [Request(member=name, architectures=some) for name, some in wanted.items() if some]
    if not lacking:
        held = f"has {' '.join(asked)} in all of its code already" if wanted else "holds no GPU code"
        raise PlanError(f"{facts.file} {held}; there is nothing to graft")
    return lacking


def _edited(
    work: _Work, requests: Sequence[Request], edit: Edit
) -> tuple[dict[str, tuple[Path, Grafted]], dict[str, str]]:
    """Return library -> (its deflated bytes, its facts), and library -> why it stays as it is."""
    made, left, hint = dict[str, tuple[Path, Grafted]](), dict[str, str](), ""
    for number, request in enumerate(requests):
        into = work.scratch / str(number)
        into.mkdir()
        try:
            made[request.member] = _member(work, request, into, edit.title(request))
        except UNREADABLE as error:
            left[request.member] = error.message.removeprefix(f"{request.member}: ")
            hint = hint or error.hint
    if not made:
        faults = [f"{name}: {why}" for name, why in left.items()]
        raise FatbinError(f"no library of {work.wheel.path.name} {edit.undone}", faults=faults, hint=hint)
    return made, left


def _member(work: _Work, request: Request, into: Path, title: str) -> tuple[Path, Grafted]:
    with work.console.step(title) as step:
        graft.graft_member(
            work.wheel,
            request,
            into,
            means=work.means,
            progress=lambda done, total: step.progress(done, total, "B"),
        )
        grafted, content = grafts.load(into)
        if request.slim:
            before, after = work.wheel.archive.by_name[request.member].size, grafted.deflated.size
            step.detail = f"{units.size(before)} become {units.size(after)}"
            if after >= before:
                raise FatbinError(f"it would become no smaller: {before:,} bytes become {after:,}")
    return content, grafted


def _statement(
    base: _Base, name: WheelName, libraries: Mapping[str, tuple[Path, Grafted]], by: tuple[Edit, Means | None]
) -> Statement:
    """Return what the wheel says of itself: of which wheel it was made, and that nothing is known of its source.

    ``by`` is the edit, and what assembled for it.
    """
    edit, means = by
    tool, wish = edit.tool, edit.slim
    after = {member: grafted.facts for member, (_, grafted) in libraries.items()}
    found = {
        member: statement.library(before, after.get(member, before))
        for member, before in base.facts.libraries.items()
    }
    project = canonicalize_name(name.project)
    return Statement(
        schema=1,
        tool=f"retread {__version__}",
        recipe="",
        target="",
        project=project,
        version=name.version,
        lane=LANE,
        repository="",
        commit="",
        submodules=(),
        commit_time=NO_TIME,
        sdist=None,
        base=FileStatement(file=base.facts.file, sha256=base.facts.sha256),
        compiled=None,
        series=(),
        toolchain=statement.toolchain(
            tool.name, tool.cuda, means.assembly.ptxas, [one.proof for _, one in libraries.values()]
        )
        if tool and means
        else None,
        libraries=found,
        promise=Promise(
            project=project,
            version=name.version,
            cuda=_cuda(name.version) or (tool.cuda if tool else _built(base.facts)),
            torch="",
            architectures=(),
            ptx=(),
            exempt=(),
            requires=(),
            run_path={},
            note=NOTE,
        ),
        source=ProofLevel.WHEEL,
        slim=statement.slim(wish, [one.driver for _, one in libraries.values()]) if wish else None,
    )


def _built(facts: WheelFacts) -> str:
    """Return the CUDA release that built most of a wheel, as its code tells; nothing where it does not."""
    return release.builder(one for each in facts.libraries.values() for one in each.made)


def _cuda(text: str) -> str:
    """Return the CUDA release that a version's local part is called after: 12.8 of 1.0+cu128.1; else nothing."""
    return version.cuda(re.split(r"\W", pypa.version(text).local or "")[0])


def _sealed(
    base: _Base, name: WheelName, libraries: Mapping[str, tuple[Path, Grafted]], said: Statement, into: Path
) -> Sealed:
    deflated = {member: (path, one.deflated) for member, (path, one) in libraries.items()}
    return seal.renew(base.wheel, base.verified, name=name, libraries=deflated, statement=said, into=into)


def _audited(
    made: Sealed, base: _Base, libraries: Mapping[str, tuple[Path, Grafted]], said: Statement, scratch: Path
) -> tuple[AuditReport, tuple[str, ...]]:
    """Return the new wheel's audit, and what it says of rules that the old wheel breaks as well."""
    before = base.facts.libraries
    grafted = {name: one for name, (_, one) in libraries.items()}
    known = grafts.known(base.verified, before, grafted, made.written)
    report = audit.audit(made.path, scratch, promise=said.promise, base=before, known=known)
    old = audit.broken(base.facts, None)
    broken = [one for one in report.checks if not one.ok and (one.check, one.subject) in old]
    audit.demand(report, but=broken)
    mended = [f"{one.subject}: {one.detail}" for one in base.facts.faults if one.check in READ]
    return report, (
        *map(_broken, broken),
        *(f"the old wheel was wrong, and the new one is not: {one}" for one in mended),
    )


def _broken(check: Check) -> str:
    return f"the wheel that it is made of breaks a rule, too: {check.check}: {check.subject}: {check.detail}"


def _notes(base: _Base, libraries: Mapping[str, tuple[Path, Grafted]], means: Means | None) -> list[str]:
    ptxas = means.assembly.ptxas if means else ""
    proofs = {name: graft.told(one.proof, ptxas) for name, (_, one) in libraries.items()}
    notes = [NOTE, *(f"{name}: {words}" for name, words in proofs.items() if words)]
    gone = [one for one in SIGNATURES if f"{base.verified.dist_info}/{one}" in base.wheel.archive.by_name]
    return [*notes, *(f"{one} is gone: no signature outlives a change" for one in gone)]
