"""``retread inspect``, ``audit``, ``compare``, ``graft``: what wheels and libraries hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, add_command, add_common, told

if TYPE_CHECKING:
    from retread.build.graft import Tool
    from retread.cli.options import Groups
    from retread.doors.machine import Machine


class InspectOptions(Options):
    """What is typed after ``inspect``."""

    wheel: tuple[Path, ...]
    table: bool
    resources: bool
    beside: Path | None
    gpu: tuple[str, ...]


class AuditOptions(Options):
    """What is typed after ``audit``."""

    wheel: Path
    recipe: str | None
    target: str | None


class CompareOptions(Options):
    """What is typed after ``compare``."""

    first: Path
    second: Path
    kernels: bool


class GraftOptions(Options):
    """What is typed after ``graft``."""

    library: Path
    arch: tuple[str, ...]
    local: str | None
    toolchain: str
    out: Path


def add(groups: Groups) -> None:
    """Add the commands."""
    command = add_command(groups, "inspect")
    command.add_argument("wheel", type=Path, nargs="+", help="a wheel, or any file that may hold GPU code")
    command.add_argument(
        "--table", action="store_true", help="patched wheels as a Markdown table, a row for each library"
    )
    command.add_argument(
        "--resources",
        action="store_true",
        help="registers, local and shared memory of each kernel; one with GMMA or TMA may have no local memory",
    )
    command.add_argument(
        "--beside",
        type=Path,
        metavar="FILE",
        help="with --resources: compare with this wheel's, or another file's",
    )
    command.add_argument(
        "--gpu",
        action="append",
        default=[],
        metavar="CC",
        help="name the kernels that a GPU like 9.0 has no code for (with --json: all); may be given again",
    )
    add_common(command, inspect, InspectOptions)

    command = add_command(groups, "audit")
    command.add_argument("wheel", type=Path)
    command.add_argument("--recipe", help="hold it to this recipe instead of to what it says of itself")
    command.add_argument("--target", type=told("a target"), help="default: the recipe's first")
    add_common(command, audit, AuditOptions)

    command = add_command(groups, "compare")
    command.add_argument("first", type=Path)
    command.add_argument("second", type=Path)
    command.add_argument(
        "--kernels",
        action="store_true",
        help="only which kernels have the same machine code, by architecture",
    )
    add_common(command, compare, CompareOptions)

    _add_graft(groups)


def _add_graft(groups: Groups) -> None:
    command = add_command(groups, "graft")
    command.add_argument("library", type=Path, help="a library, or a wheel, of which all is grafted")
    command.add_argument("--arch", action="append", required=True, help="like 10.0; may be given again")
    command.add_argument(
        "--local",
        metavar="VERSION",
        type=told("a version"),
        help="local version of the new wheel; default: cu128.1 of the toolchain's CUDA, or the wheel's own and .1",
    )
    command.add_argument("--toolchain", default="cuda-12.8", help="default: cuda-12.8")
    command.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        help="where to write it: a file, which may be the library itself; of a wheel, a folder",
    )
    add_common(command, graft, GraftOptions)


def inspect(options: InspectOptions) -> int:
    """Show what a wheel, or any other file with GPU code, holds, or a table of patched wheels."""
    from retread.cli import show
    from retread.errors import UsageError
    from retread.wheel import contents
    from retread.wheel.facts import WheelFacts

    if options.beside and not options.resources:
        raise UsageError("--beside compares what kernels take; say --resources, too")
    if sum(map(bool, (options.table, options.resources, options.gpu))) > 1:
        raise UsageError("--table, --resources and --gpu show different things; say one of them")
    devices = [session.architecture(text) for text in options.gpu]
    if options.table:
        return _inspect_table(options)
    if len(options.wheel) > 1:
        raise UsageError("inspect shows one file; say --table for a table of patched wheels")
    if options.resources:
        return _inspect_resources(options)
    [file] = options.wheel
    with session.scratch(options) as scratch:
        found = contents.read(session.existing(file), scratch, names=bool(devices))
    if options.json:
        session.print_json(found)
        return 0
    every = found.every if isinstance(found, WheelFacts) else {file.name: found}
    session.put(
        show.wheel(found) if isinstance(found, WheelFacts) else "\n".join(show.library(file.name, found))
    )
    for device in devices:
        session.put("\n".join(show.lacking(every, device)))
    return 0


def _inspect_table(options: InspectOptions) -> int:
    from retread.wheel import contents, table

    found = list[table.Row]()
    for wheel in map(session.existing, options.wheel):
        with session.scratch(options) as scratch:
            facts = contents.facts(wheel, scratch)
        found += table.rows(facts)
    if options.json:
        session.print_json(found)
    else:
        session.put(table.markdown(found))
    return 0


def _inspect_resources(options: InspectOptions) -> int:
    """Show what each kernel takes; AuditError when one spills that must not."""
    from retread.audit import resources
    from retread.cli import usage
    from retread.doors import fs
    from retread.wheel import contents

    file = session.existing(options.wheel[0])
    beside = session.existing(options.beside) if options.beside else None
    with session.scratch(options) as scratch:
        found = resources.report(
            file.name,
            fs.sha256(file),
            contents.kernels(file, scratch),
            beside=beside.name if beside else "",
            beside_sha256=fs.sha256(beside) if beside else "",
            others=contents.kernels(beside, scratch) if beside else None,
        )
    if options.json:
        session.print_json(found)
    else:
        session.put(usage.text(found))
    resources.demand(found)
    return 0


def audit(options: AuditOptions) -> int:
    """Hold a wheel to a promise; AuditError when it breaks it."""
    from retread.audit import audit
    from retread.audit import promise as audit_promise
    from retread.binary import files
    from retread.cli import show
    from retread.errors import UsageError
    from retread.recipe import platforms, workspace
    from retread.recipe.plan import choose_target, patched_version

    file = session.existing(options.wheel)
    if options.target and not options.recipe:
        raise UsageError("--target names a target of a recipe; say --recipe too")
    if options.recipe and not files.is_wheel(file):
        raise UsageError(f"{file} is no wheel; a recipe says what its wheels hold")
    promise, target = None, ""
    if options.recipe:
        loaded = workspace.load(session.root(options), options.recipe)
        name = choose_target(loaded.recipe, options.target)
        wanted = loaded.recipe.targets[name].on(platforms.of_wheel(file.name))
        called = patched_version(loaded.recipe, wanted)
        promise = audit_promise.promise(loaded.recipe, wanted, called)
        target = f"{loaded.recipe.name} {name}"
    with session.scratch(options) as scratch:
        report = audit.audit(file, scratch, promise=promise, target=target)
    if options.json:
        session.print_json(report)
    else:
        session.show(show.audit(report), options)
    audit.demand(report)
    return 0


def compare(options: CompareOptions) -> int:
    """Show how far two wheels agree; AuditError when what is installed of them can behave differently."""
    from retread.cli import show
    from retread.wheel import comparison

    first, second = session.existing(options.first), session.existing(options.second)
    if options.kernels:
        return _compare_kernels(options, first, second)
    with session.scratch(options) as scratch:
        found = comparison.compare(first, second, scratch)
    if options.json:
        session.print_json(found)
    else:
        session.put(show.comparison(found))
    comparison.demand_same(found, "the two can behave differently")
    return 0


def _compare_kernels(options: CompareOptions, first: Path, second: Path) -> int:
    """Show which kernels of two wheels, of different machines perhaps, have the same machine code."""
    from retread.text.tables import columns
    from retread.wheel import sameness

    with session.scratch(options) as scratch:
        found = sameness.compare(first, second, scratch)
    if options.json:
        session.print_json(found)
        return 0
    heads = ("code for", "the same", "other code", "only in first", "only in second")
    rows = [
        (one.architecture, *(str(len(names)) for names in (one.same, one.other, one.first, one.second)))
        for one in found
    ]
    session.put("\n".join(columns(heads, rows)))
    return 0


def graft(options: GraftOptions) -> int:
    """Add native code to a shared object, or to all of a wheel."""
    from retread.binary import files
    from retread.errors import UsageError

    if files.is_wheel(session.existing(options.library)):
        return _graft_wheel(options)
    if options.local is not None:
        raise UsageError("--local names a wheel's version; a library has none")
    return _graft_library(options)


def _graft_library(options: GraftOptions) -> int:
    from retread.binary import files
    from retread.build import graft, grafts
    from retread.errors import FatbinError

    machine = session.machine(options)
    old, new = options.library, options.out
    files.demand_read(old)
    facts = files.library(old).read(old)
    if not facts.modules:
        raise FatbinError(f"{old} holds no GPU code; there is nothing to graft on")
    wanted = [session.architecture(text) for text in options.arch]
    missing = grafts.wanted(facts, wanted)
    if not missing:
        machine.console.say(f"note: {old.name} has {' '.join(wanted)} already; it is copied as it is")
    means = _tool(options, machine).ready() if missing else None
    with machine.console.step(f"graft {' '.join(missing) or 'nothing'} into {old.name}") as step:
        proof = graft.graft(
            old,
            new,
            architectures=missing,
            run_path=None,
            means=means,
            progress=lambda done, total: step.progress(done, total, "B"),
            facts=facts,
        )
    from retread.cli import show

    if means and (told := graft.told(proof, means.assembly.ptxas)):
        machine.console.say(f"note: {old.name}: {told}")
    facts = files.library(new).read(new)
    if options.json:
        session.print_json(facts)
    else:
        session.put("\n".join(show.library(str(new), facts)))
    return 0


def _graft_wheel(options: GraftOptions) -> int:
    from retread.build import alone

    machine = session.machine(options)
    wanted = [session.architecture(text) for text in options.arch]
    tool = _tool(options, machine)
    made = alone.give(
        options.library, options.out, wanted, tool, local=options.local, console=machine.console
    )
    for name, why in made.left.items():
        machine.console.say(f"note: {name} stays as it is: {why}")
    for note in made.notes:
        machine.console.say(f"note: {note}")
    if options.json:
        session.print_json(made)
    else:
        session.put(made.path)
    return 0


def _tool(options: GraftOptions, machine: Machine) -> Tool:
    """Return the toolchain that the options name; UsageError, PlanError when its ptxas is not for an architecture."""
    from retread.build import proving
    from retread.build.cubins import assembler, assembly
    from retread.build.graft import Means, Tool
    from retread.recipe import miscompiles, workspace

    root = session.workspace_or_none(options)
    toolchain, others = workspace.load_toolchain(root, options.toolchain), workspace.every_toolchain(root)
    asked = [session.architecture(text) for text in options.arch]
    proving.demand_known(toolchain, others, asked)
    miscompiles.demand_none(miscompiles.KNOWN, toolchain.cuda, asked, what=toolchain.name)

    def ready() -> Means:
        program = assembly(machine, assembler(machine, toolchain))
        proving.demand_right(program.ptxas, asked)
        return Means(program, proving.found(machine, others, toolchain))

    return Tool(toolchain.name, toolchain.cuda, ready)
