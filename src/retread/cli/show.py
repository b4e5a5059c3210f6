"""How plans, wheels, audits and stores look in a terminal. Pure: records in, text out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from retread.arch import Arch
from retread.audit.report import AuditReport, Check
from retread.elf.facts import DEVICES, Facts, Format, LibraryFacts, Made, Module, Served, devices, served
from retread.elf.facts import lacking as without
from retread.errors import PlanError
from retread.queue.fate import Fate
from retread.recipe import platforms
from retread.recipe.plan import (
    Forecast,
    Plan,
    choose_lane,
    demand_possible,
    patched_version,
    purpose,
    pythons,
)
from retread.source.records import Applied
from retread.text import controls
from retread.text.tables import aligned, columns, middle, plain, wrapped
from retread.units import DAY, about, counted, size
from retread.version import CLANG, NVCC
from retread.wheel.facts import WheelFacts
from retread.wheel.statement import CompileStatement, SlimStatement, Statement, compiler_of

if TYPE_CHECKING:
    from retread.doors.store import Entry
    from retread.queue.graph import Graph
    from retread.queue.pieces import Altered
    from retread.recipe.model import Recipe, Target
    from retread.recipe.workspace import Loaded
    from retread.shared.remote import Listed
    from retread.toolkit.inquiry import ToolchainReport
    from retread.upstream.bump import Bumped
    from retread.upstream.first import First
    from retread.wheel.comparison import Comparison


_SHOWN: Final = 40
_SUBJECT: Final = 28
"""How much of a file's name a plan shows: both of its ends, with its version and its platform; JSON has all."""
_UNREAD: Final = 20


def plan(found: Plan) -> str:
    """Return a plan as a table."""
    rows = [
        ("stage", "state", "what", "decided by"),
        *(
            (
                step.stage,
                step.state,
                middle(step.subject, _SUBJECT),
                step.reason.removeprefix("changes with ").removeprefix("pinned by "),
            )
            for step in found.steps
        ),
    ]
    return "\n".join(
        [
            f"{found.recipe} {found.target} -> {found.wheel}",
            *purpose(found, found.python),
            *wrapped(f"lane: {found.lane} ({found.reason})", "", "  "),
            *_forecast(found.forecast),
            *aligned(rows),
        ]
    )


def _forecast(found: Forecast) -> Iterator[str]:
    """Yield what a build takes, what there is of it, and what this machine cannot have."""
    if found.seconds == 0:
        yield "time: next to none, since the finished wheel is in a store"
    else:
        yield f"time: {'its first compile here will show' if found.seconds is None else about(found.seconds)}"
        memory = "as many compiles at a time as fit" if found.memory is None else size(found.memory)
        yield f"memory: {memory}; {size(found.free_memory)} are free"
        yield f"disk: {size(found.disk)} at most; {size(found.free_disk)} are free"
    short = [("memory", found.memory or 0, found.free_memory), ("disk", found.disk, found.free_disk)]
    yield from (f"note: there may be too little {what}" for what, needs, free in short if needs > free)
    if found.lacks:
        yield "this machine cannot have:"
    for one in found.lacks:
        yield from wrapped(one, "  - ", "    ")


def series(name: str, applied: Sequence[Applied], touched: Sequence[str] = ()) -> str:
    """Return what became of each patch of a recipe, and what closes the overlay lane."""
    rows = [(one.name, str(one.verdict), one.detail) for one in applied] or [("(no patches)", "", "")]
    closed = [f"  no overlay: {one}" for one in touched]
    return "\n".join([name, *aligned(rows), *map(controls.line, closed)])


def altered(found: Altered) -> str:
    """Return what an action does to each patch of a series."""
    rows = [
        (one.name, str(one.state), f"was {one.was}" if one.was not in {"", one.name} else "")
        for one in found.patches
    ] or [("(no patches)", "", "")]
    return "\n".join([f"{found.recipe}: {found.action}", *aligned(rows)])


def graph(found: Graph) -> str:
    """Return which patch needs which, and what each touches; native inputs are marked."""
    lines = [found.recipe]
    for one in found.patches:
        needs = ", ".join(name[:4] for name in one.needs) or "no other"
        lines += [f"  {one.name}", f"    needs {needs}"]
        lines += [f"    touches {path}{' (native)' if path in one.native else ''}" for path in one.touches]
    return "\n".join(lines)


def bumped(found: Bumped) -> str:
    """Return what becomes of each patch and hunk on another release."""
    lines = [f"{found.recipe} to {found.to}: {found.file}"]
    for one in found.patches:
        state = "open" if one.open else "kept" if one.kept else "left out"
        reason = f" ({one.reason})" if one.reason else ""
        lines.append(f"  {one.name}: {one.fate}, {state}{reason}")
        rows = [
            (f"{hunk.path}:{hunk.line}", f"hunk {hunk.hunk}", f"{hunk.fate} {hunk.detail}".strip())
            for hunk in one.hunks
        ]
        lines += [f"  {line}" for line in aligned(rows)] if one.fate is not Fate.CLEAN and rows else []
        lines += [f"      | {line}" for hunk in one.hunks for line in hunk.upstream.splitlines()]
    lines += ["", *found.range_diff.splitlines()] if found.range_diff else []
    lines += [f"taken over: {one}" for one in found.adjusted]
    lines += [f"look at {one}" for one in found.look_at]
    return plain(
        [
            *lines,
            *(f"written: {path}" for path in found.written),
            *(f"commit: {one}" for one in found.commits),
        ]
    )


def first_recipe(found: First) -> str:
    """Return what a first recipe was made of, what it leaves to a person, and the files."""
    lines = [f"{found.recipe}: {found.sdist or 'no source archive'}, {', '.join(found.wheels) or 'no wheel'}"]
    lines += found.told
    lines += [f"{one.target}: {one.lane or 'no'} lane ({one.why})" for one in found.lanes]
    lines = [line for one in lines for line in wrapped(one, "", "  ")]
    lines += [line for one in found.notes for line in wrapped(f"note: {one}", "", "  ")]
    lines += [f"left to you: {one}" for one in found.open]
    return plain([*lines, *(f"written: {path}" for path in found.written)])


def wheel(facts: WheelFacts) -> str:
    """Return what a wheel holds: libraries with their architectures, and how each GPU is served."""
    lines = [
        f"{facts.file}  {size(facts.size)}  sha256 {facts.sha256}",
        f"requires: {', '.join(facts.requires) or 'nothing'}",
    ]
    if facts.statement:
        made = facts.statement
        lines.append(f"made by {made.tool}: {_made_of(made)}")
        lines += list(_compiled(made.compiled)) if made.compiled else []
        lines += [f"  {patch.name}: {patch.subject} (upstream: {patch.upstream})" for patch in made.series]
        lines += [_slimmed(made.slim)] if made.slim else []
        lines += [f"note: {made.promise.note}"] if made.promise.note else []
        lines += [f"waived: {rule}: {reason}" for rule, reason in made.promise.waived.items()]
    for name, found in facts.every.items():
        lines += ["", *library(name, found)]
    if not facts.libraries:
        lines += ["", "no shared objects"]
    lines += ["", *not_read(facts.unread)] if facts.unread else []
    return "\n".join([*lines, *_noted(facts)])


def _made_of(said: Statement) -> str:
    if said.recipe:
        commit = f", commit {said.commit[:12]}" if said.commit else ""
        return f"{said.recipe} {said.target}, lane {said.lane}{commit}; {said.level.words}"
    base = f" {said.base.file} (sha256 {said.base.sha256[:12]})" if said.base else ""
    return f"of the wheel{base} alone, whose source is not proven"


def _slimmed(said: SlimStatement) -> str:
    ptx = ", PTX taken out" if said.drop_ptx else ""
    packed = f", packed for {said.compress}" if said.compress else ""
    driver = f", needs a driver of CUDA {said.driver} or newer" if said.driver else ""
    return f"  slim: for {' '.join(said.keep)}{ptx}{packed}{driver}"


def _compiled(said: CompileStatement) -> Iterator[str]:
    """Yield what made the device code, and that it is not NVIDIA's compiler where it is not."""
    if not said.device:
        yield f"compiled with {said.toolkit}"
        return
    device = said.device
    other = "" if compiler_of(said) == NVCC else ", in nvcc's place: this is not what nvcc makes"
    yield f"device code compiled by {device.compiler}{other}"
    yield f"  assembled by {device.assembler}, packed by {device.container}; headers of {device.headers}"


def _noted(facts: WheelFacts) -> Iterator[str]:
    """Yield what is wrong with a wheel; 'audit' judges it."""
    if facts.faults:
        yield ""
    for one in facts.faults:
        yield f"note: {one.check}: {one.subject}: {one.detail}"


def not_read(unread: Mapping[str, str]) -> Iterator[str]:
    """Yield the members that may hold code and were not looked into, 20 at most."""
    yield "not looked into:"
    for name, reason in islice(unread.items(), _UNREAD):
        yield f"  {name}: {reason}"
    if len(unread) > _UNREAD:
        yield f"  and {len(unread) - _UNREAD} more"


def library(name: str, facts: Facts) -> Iterable[str]:
    """Return the lines that show one file: its architectures, and how each GPU is served."""
    yield f"{name}  ({_kind(facts)})"
    if isinstance(facts, LibraryFacts) and facts.run_path:
        yield f"  run path: {':'.join(facts.run_path)}"
    yield from (f"  cannot be read: {one}" for one in facts.unread[:_UNREAD])
    if not facts.modules and not facts.relocatable:
        yield "  no GPU code in what was read" if facts.unread else "  no GPU code"
        return
    yield from _modules(facts.modules, "module")
    yield from _modules(facts.relocatable, "relocatable module")
    yield from map(_made, facts.made)
    machine = facts.machine if isinstance(facts, LibraryFacts) else ""
    found = {device: served(facts, device) for device in devices(machine)}
    if not any(one.kernels for one in found.values()):
        yield "  no kernels"
        return
    for verdict, words in (("native", "native code"), ("jit", "by JIT from PTX"), ("none", "NO CODE")):
        those = [device for device, one in found.items() if one.verdict == verdict]
        if those:
            yield f"  {words:<16} {_devices(those)}"
        if verdict == "jit":
            yield from _parts(found)


def _kind(facts: Facts) -> str:
    if isinstance(facts, LibraryFacts):
        return f"Windows, {facts.machine}" if facts.format is Format.PE else facts.machine
    return facts.kind


def _parts(found: Mapping[Arch, Served]) -> Iterator[str]:
    """Yield the GPUs that have code for some kernels only, those with the same numbers in one line."""
    parts: dict[Served, list[Arch]] = {}
    for device, one in found.items():
        if one.verdict == "part":
            parts.setdefault(one, []).append(device)
    for one, those in parts.items():
        some = one.native + one.jit
        numbers = f"{some:,} of {one.kernels:,} kernels, {one.modules:,} of {one.of_modules:,} modules"
        jit = f", {one.jit:,} of them by JIT" if one.jit else ""
        yield f"  {'IN PART':<16} {_devices(those)}: {numbers}{jit}"


def _devices(found: Iterable[Arch]) -> str:
    return ", ".join(f"{device} ({DEVICES[device]})" for device in found)


def _modules(modules: Sequence[Module], what: str) -> Iterator[str]:
    """Yield the modules, those for the same architectures in one line; of some of them nothing runs."""
    kinds: dict[tuple[tuple[Arch, ...], tuple[Arch, ...]], list[Module]] = {}
    for module in modules:
        kinds.setdefault((module.sass, module.ptx), []).append(module)
    for (sass, ptx), found in kinds.items():
        code = f"native {' '.join(sass) or 'nothing'}; PTX {' '.join(ptx) or 'none'}"
        if not sass and not ptx:
            code = "code that is linked when it is loaded, for no GPU yet"
        idle = sum(module.kernels == 0 for module in found)
        yield f"  {counted(len(found), what)}: {code}" + (f"; {idle:,} without kernels" if idle else "")


def _made(one: Made) -> str:
    """Return which CUDA made some of a file's code, and what tells it."""
    code = [f"native {' '.join(one.sass)}"] if one.sass else []
    code += [f"PTX {' '.join(one.ptx)}"] if one.ptx else []
    return f"  made by CUDA {one.cuda}: {'; '.join(code)} ({one.by})"


def lacking(facts: Mapping[str, Facts], device: Arch) -> Iterator[str]:
    """Yield the names of the kernels that a GPU has no code for, by file."""
    for name, one in facts.items():
        if one.modules or one.relocatable:
            found = without(one, device)
            yield from ("", f"{name}: {counted(len(found), 'kernel')} without code for {device}")
            yield from (f"  {kernel if kernel.isprintable() else ascii(kernel)}" for kernel in found)


def audit(report: AuditReport) -> str:
    """Return an audit as a table and its verdict."""
    rows = [
        (mark, check, middle(subject, _SUBJECT), detail)
        for mark, check, subject, detail in _grouped(report.checks)
    ]
    if report.target:
        verdict = f"the promise of {report.target} {'holds' if report.ok else 'DOES NOT HOLD'}"
    else:
        verdict = f"the rules of {report.held} {'hold' if report.ok else 'DO NOT HOLD'}"
    verdict += " for what was read" if report.unread and report.ok else ""
    unread = not_read(report.unread) if report.unread else ()
    return "\n".join([*aligned(rows), *unread, f"{report.wheel}: {verdict}"])


def _grouped(checks: Iterable[Check]) -> Iterator[tuple[str, str, str, str]]:
    """Yield checks; those that say the same of several files are one, which names the first and counts the others."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for one in checks:
        mark = "FAIL" if one.fails else "waived" if one.waived else "ok"
        detail = f"{one.detail} ({one.waived})" if one.waived else one.detail
        found.setdefault((mark, one.check, detail), []).append(one.subject)
    for (mark, check, detail), (first, *others) in found.items():
        if mark == "ok" and others:
            yield mark, check, f"{1 + len(others)} files", f"{detail} ({first} and {len(others)} more)"
        else:
            yield from ((mark, check, one, detail) for one in (first, *others))


def comparison(found: Comparison) -> str:
    """Return what two wheels have in common, and at most 40 differences, those that matter first."""
    lines = [f"{found.tier}: {found.tier.meaning}"]
    ordered = sorted(found.differences, key=lambda one: not one.runs)
    rows = [
        ("matters" if one.runs else "harmless", one.member or "archive", str(one.kind), one.detail)
        for one in ordered[:_SHOWN]
    ]
    lines += aligned(rows) if rows else []
    more = len(ordered) - _SHOWN
    return "\n".join([*lines, f"  and {more} more"] if more > 0 else lines)


def toolchain(report: ToolchainReport) -> str:
    """Return a toolchain's parts, where they come from as far as that was asked, and what became of the toolkit."""
    state = f"{report.version} in {report.root} ({report.origin})" if report.root else "not in the store"
    if report.obstacles:
        state = "cannot be had here"
    if report.architectures:
        state += f", compiles for {' '.join(report.architectures)}"
    rows = [
        (one.component, one.file, f"cannot be had: {one.obstacle}" if one.obstacle else one.origin)
        for one in report.parts
    ]
    return "\n".join(
        [f"{report.name}  CUDA {report.cuda} for {report.machine}: {state}", *(aligned(rows) if rows else [])]
    )


def store(
    place: Path | str, entries: Sequence[Entry | Listed], beside: Mapping[str, int], *, now: float
) -> str:
    """Return the rooms of a store with their sizes; ``now`` is in seconds since 1970, as the entries' times are."""
    kinds: dict[str, tuple[int, int]] = {}
    for entry in entries:
        count, total = kinds.get(entry.kind, (0, 0))
        kinds[entry.kind] = (count + 1, total + entry.size)
    rows = [(kind, counted(count, "entry"), size(total)) for kind, (count, total) in sorted(kinds.items())]
    rows += [(name, "", size(held)) for name, held in sorted(beside.items())]
    total = sum(entry.size for entry in entries) + sum(beside.values())
    rows.append(("all", counted(len(entries), "entry"), size(total)))
    recent = sum(entry.used > now - DAY for entry in entries)
    return "\n".join([f"{place}  ({recent} used in the last day)", *aligned(rows)])


def recipes(
    loaded: Sequence[Loaded],
    wheels: Collection[str] = (),
    opened: Mapping[str, Sequence[str]] = MappingProxyType({}),
    wanted: Callable[[Target], bool] = lambda _: True,
) -> str:
    """Return recipes with their summaries; for whom each target is on each platform, how it is made, whether it was.

    ``wheels`` are the names of those that were made here; ``opened`` are recipes with what is left to fill in;
    ``wanted`` says which targets, as a platform has them, are shown.
    """
    heads = ("target", "platform", "torch", "Python", "GPUs", "lane", "built here")
    made = {("-".join(one.split("-")[:2]), platforms.of_base(one)) for one in wheels if one.endswith(".whl")}
    rows = [list(_targets(one, made, wanted)) for one in loaded]
    lines = columns(heads, [row for each in rows for row in each], text=range(len(heads)))
    found = [next(lines, "")] if any(rows) else []
    for one, each in zip(loaded, rows, strict=True):
        found += [f"{one.recipe.name}  {one.recipe.summary}", *islice(lines, len(each))]
    for name, faults in opened.items():
        found += [f"{name}  open, nothing is built of it", *(f"  {fault}" for fault in faults)]
    return plain(found)


def _targets(
    loaded: Loaded, made: Collection[tuple[str, str]], wanted: Callable[[Target], bool]
) -> Iterator[tuple[str, ...]]:
    """Yield a row for each target on each platform; ``made`` are the beginnings and platforms of finished wheels."""
    for platform, name in ((one, name) for name, of in loaded.recipe.targets.items() for one in of.made_for):
        there = loaded._replace(recipe=loaded.recipe.on(platform))
        target = there.recipe.targets[name]
        if wanted(target):
            yield (
                name,
                platform,
                target.torch or "none",
                " ".join(pythons(target)),
                " ".join(target.architectures),
                _lane(there, name, platform),
                "yes" if any((one, platform) in made for one in _names(there.recipe, target)) else "no",
            )


def _names(recipe: Recipe, target: Target) -> set[str]:
    """Return how the names of a target's wheels begin, whoever compiled them."""
    project = recipe.project.replace("-", "_")
    return {f"{project}-{patched_version(recipe, target, one)}" for one in (NVCC, CLANG)}


def _lane(loaded: Loaded, target: str, platform: str) -> str:
    """Return the lane that a build of the target takes, or that the series closes every one."""
    try:
        lane = choose_lane(loaded.recipe, target, loaded.patches, None).lane
        demand_possible(loaded.recipe, target, lane, platform)
        return lane
    except PlanError:
        return "none: closed by the series"
