"""What each command does: options in, data on stdout, exit code out.

Everything heavy is imported by the command that needs it, so that an unchanged build answers at once.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import session

if TYPE_CHECKING:
    from retread.build.pipeline import Built, Job
    from retread.doors.machine import Machine, ToolchainReport
    from retread.lanes.source import Wish
    from retread.recipe.model import Toolchain

DEFAULT_RECIPE = "xformers-0.0.35"


def build(options: argparse.Namespace) -> int:
    """Make the wheels that are asked for; stdout is their paths."""
    from retread.build import pipeline
    from retread.errors import PlanError, UsageError
    from retread.recipe import workspace
    from retread.recipe.plan import Lane

    machine, root = session.machine(options), session.root(options)
    if options.all and (options.recipe or options.target):
        raise UsageError("--all builds every target of every recipe; leave recipe and --target out")
    lane, wish = Lane(options.lane) if options.lane else None, _wish(options)
    names = workspace.recipes(root) if options.all else options.recipe or [DEFAULT_RECIPE]
    jobs: list[Job] = []
    for name in names:
        loaded = workspace.load(root, name)
        for target in loaded.recipe.targets if options.all else [options.target]:
            try:
                found = pipeline.jobs(
                    loaded, target, machine, lane=lane, use_git=options.source == "git", wish=wish
                )
            except PlanError as error:
                if not options.all:
                    raise
                machine.console.say(f"not built: {error}")
            else:
                jobs += found
    built = []
    for job in jobs:
        try:
            built.append(_built(job, options.out))
        except PlanError as error:  # a toolkit that this machine cannot have is seen here
            if not options.all:
                raise
            machine.console.say(f"not built: {error}")
    if options.json:
        session.print_json(built)
    else:
        print("\n".join(one.path for one in built))
    return 0


def _wish(options: argparse.Namespace) -> Wish:
    from retread.errors import UsageError
    from retread.lanes.source import Wish

    if options.jobs is not None and options.jobs < 1:
        raise UsageError("--jobs: a build needs at least one")
    memory = int(options.memory * 2**30) if options.memory is not None else None
    if memory is not None and memory <= 0:
        raise UsageError("--memory: a build needs some")
    return Wish(
        python=options.python,
        jobs=options.jobs,
        memory=memory,
        cache=not options.no_cache,
        image=options.image,
    )


def _built(job: Job, out: Path) -> Built:
    """Make one wheel and say what came out."""
    from retread.build import pipeline

    built = pipeline.build(job, out)
    state = "unchanged" if built.cached else "built"
    job.machine.console.say(f"{state}: {Path(built.path).name}  {built.size:,} bytes  sha256 {built.sha256}")
    if job.target.note:
        job.machine.console.say(f"note: {job.target.note}")
    return built


def reproduce(options: argparse.Namespace) -> int:
    """Make a wheel again from what it says of itself, and say how far the two agree; AuditError when they do not."""
    from retread.build import pipeline
    from retread.cli import show

    machine = session.machine(options)
    wheel = session.existing(options.wheel)
    with machine.store.scratch() as scratch:
        found = pipeline.reproduce(session.root(options), wheel, machine, scratch, wish=_wish(options))
    if options.json:
        session.print_json(found)
    else:
        print(show.comparison(found))
    pipeline.demand_same(found)
    return 0


def plan(options: argparse.Namespace) -> int:
    """Show what a build would do."""
    from retread.build import pipeline
    from retread.cli import show
    from retread.recipe import workspace
    from retread.recipe.plan import Lane

    machine = session.machine(options)
    loaded = workspace.load(session.root(options), options.recipe or DEFAULT_RECIPE)
    lane = Lane(options.lane) if options.lane else None
    jobs = pipeline.jobs(
        loaded, options.target, machine, lane=lane, use_git=options.source == "git", wish=_wish(options)
    )
    plans = [job.plan() for job in jobs]
    if options.json:
        session.print_json(plans)
    else:
        print("\n\n".join(show.plan(one) for one in plans))
    return 0


def patch_check(options: argparse.Namespace) -> int:
    """Try every patch of the series; SeriesError when one does not go in."""
    from retread.cli import show
    from retread.errors import SeriesError
    from retread.recipe import workspace
    from retread.records import Verdict
    from retread.source.trees import Trees

    machine, root = session.machine(options), session.root(options)
    found, bad = {}, []
    for name in options.recipe or workspace.recipes(root):
        loaded = workspace.load(root, name)
        found[name] = Trees(loaded, machine, use_git=options.source == "git").try_series()
        fine = {Verdict.APPLIES, Verdict.OFFSET}
        bad += [
            f"{name}: {one.name}: {one.verdict} {one.detail}".strip()
            for one in found[name]
            if one.verdict not in fine
        ]
    if options.json:
        session.print_json(found)
    else:
        print("\n".join(show.series(name, applied) for name, applied in found.items()))
    if bad:
        raise SeriesError(
            f"{len(bad)} patch(es) do not go in", faults=bad, hint="make them anew, or drop them from series"
        )
    return 0


def inspect(options: argparse.Namespace) -> int:
    """Show what a wheel or a shared object holds."""
    from retread.cli import show
    from retread.elf import library as elf
    from retread.wheel import contents

    machine = session.machine(options)
    if contents.is_library(options.wheel.name):
        library = elf.read(session.existing(options.wheel))
        if options.json:
            session.print_json(library)
        else:
            print("\n".join(show.library(options.wheel.name, library)))
        return 0
    with machine.store.scratch() as scratch:
        facts, _ = contents.examine(session.existing(options.wheel), scratch)
    if options.json:
        session.print_json(facts)
    else:
        print(show.wheel(facts))
    return 0


def audit(options: argparse.Namespace) -> int:
    """Hold a wheel to a promise; AuditError when it breaks it."""
    from retread.audit import audit
    from retread.build import pipeline, statement
    from retread.cli import show
    from retread.errors import UsageError
    from retread.recipe import workspace
    from retread.recipe.plan import choose_target

    machine = session.machine(options)
    if options.target and not options.recipe:
        raise UsageError("--target names a target of a recipe; say --recipe too")
    promise, target = None, ""
    if options.recipe:
        loaded = workspace.load(session.root(options), options.recipe)
        name = choose_target(loaded.recipe, options.target)
        called = pipeline.patched_version(loaded, name)
        promise = statement.promise(loaded.recipe, loaded.recipe.targets[name], called)
        target = f"{loaded.recipe.name} {name}"
    with machine.store.scratch() as scratch:
        report = audit.audit(session.existing(options.wheel), scratch, promise=promise, target=target)
    if options.json:
        session.print_json(report)
    else:
        print(show.audit(report))
    audit.demand(report)
    return 0


def graft(options: argparse.Namespace) -> int:
    """Add native code to a shared object."""
    from retread.build import graft
    from retread.cli import show
    from retread.doors.machine import assembler, assembly
    from retread.elf import library as elf
    from retread.errors import FatbinError
    from retread.recipe import workspace

    machine = session.machine(options)
    old, wanted, new = (
        session.existing(options.library),
        [session.architecture(text) for text in options.arch],
        options.out,
    )
    facts = elf.read(old)
    if not facts.modules:
        raise FatbinError(f"{old} holds no GPU code; there is nothing to graft on")
    missing = graft.wanted(facts, wanted)
    if not missing:
        machine.console.say(f"{old.name} has {' '.join(wanted)} already; it is copied as it is")
    toolchain = workspace.load_toolchain(session.root(options), options.toolchain) if missing else None
    tool = assembler(machine, toolchain) if toolchain else None
    with machine.console.step(f"graft {' '.join(missing) or 'nothing'} into {old.name}") as step:
        graft.graft(
            old,
            new,
            architectures=missing,
            run_path=None,
            assembly=assembly(machine, tool) if tool else None,
            progress=lambda done, total: step.progress(done, total, "B"),
        )
    facts = elf.read(new)
    if options.json:
        session.print_json(facts)
    else:
        print("\n".join(show.library(str(new), facts)))
    return 0


def store_list(options: argparse.Namespace) -> int:
    """Show what the store holds."""
    from retread.cli import show

    store = session.machine(options).store
    entries = store.entries()
    if options.json:
        session.print_json(
            [{"kind": one.kind, "key": one.key, "size": one.size, "used": one.used} for one in entries]
        )
    else:
        print(show.store(store.root, entries, store.beside(), now=time.time()))
    return 0


def store_prune(options: argparse.Namespace) -> int:
    """Remove rubbish, and what was not used lately."""
    from retread.units import size

    machine = session.machine(options)
    rubbish = machine.store.sweep()
    keep = int(options.keep * 1e9) if options.keep is not None else None
    gone = machine.store.prune(unused_days=options.days, keep_bytes=keep)
    freed = rubbish + sum(one.size for one in gone)
    if options.json:
        session.print_json({"removed": [one.key for one in gone], "freed": freed})
    else:
        print(f"removed {len(gone)} entries, {size(freed)} in all")
    return 0


def _toolchains(options: argparse.Namespace) -> list[Toolchain]:
    from retread.recipe import workspace

    root = session.root(options)
    return [workspace.load_toolchain(root, name) for name in options.name or workspace.toolchains(root)]


def toolchain_list(options: argparse.Namespace) -> int:
    """Show toolchains, what they are made of, and which lie in the store."""
    from retread.doors.machine import part_reports, report, stored_toolkit
    from retread.errors import PlanError

    machine = session.machine(options)
    reports = []
    for toolchain in _toolchains(options):
        try:
            found, parts = stored_toolkit(machine, toolchain), part_reports(toolchain)
        except PlanError as error:
            reports.append(report(toolchain, (), None, obstacles=[error.message]))
        else:
            reports.append(report(toolchain, parts, found))
    _show_toolchains(options, reports)
    return 0


def toolchain_get(options: argparse.Namespace) -> int:
    """Put toolkits into the store; stdout is their paths."""
    from retread.doors.machine import part_reports, report, toolkit

    machine = session.machine(options)
    reports = []
    for toolchain in _toolchains(options):
        found = toolkit(machine, toolchain)
        machine.console.say(f"{toolchain.name}: {found.version} ({found.origin})")
        reports.append(report(toolchain, part_reports(toolchain), found))
    if options.json:
        session.print_json(reports)
    else:
        print("\n".join(one.root for one in reports))
    return 0


def toolchain_check(options: argparse.Namespace) -> int:
    """Say where toolkits come from, and try those that can be had; PlanError when one cannot."""
    from retread.doors.machine import ways
    from retread.errors import PlanError

    machine, toolchains = session.machine(options), _toolchains(options)
    reports = [_checked(machine, toolchain) for toolchain in toolchains]
    _show_toolchains(options, reports)
    faults = [f"{one.name}: {obstacle}" for one in reports for obstacle in one.obstacles]
    if faults:
        lacking = [one.name for one in reports if one.obstacles]
        hints = [ways(one) for one in toolchains if one.name in lacking and one.redistributables]
        raise PlanError(
            f"this machine cannot have {', '.join(lacking)}", faults=faults, hint=hints[0] if hints else ""
        )
    return 0


def _checked(machine: Machine, toolchain: Toolchain) -> ToolchainReport:
    from retread.doors.machine import inquire, report, toolkit, try_toolkit
    from retread.errors import RetreadError, StoreError

    parts, obstacles = inquire(machine, toolchain)
    if obstacles:
        return report(toolchain, parts, None, obstacles=obstacles)
    try:
        found = toolkit(machine, toolchain)
        tried = try_toolkit(machine, found)
    except StoreError:
        raise
    except RetreadError as error:
        said = "; ".join((error.message, *error.faults))
        return report(toolchain, parts, None, obstacles=[said])
    return report(toolchain, parts, found, tried=tried)


def _show_toolchains(options: argparse.Namespace, reports: list[ToolchainReport]) -> None:
    from retread.cli import show

    if options.json:
        session.print_json(reports)
    else:
        print("\n".join(show.toolchain(one) for one in reports) or "there are no toolchains")


def recipe_list(options: argparse.Namespace) -> int:
    """Show recipes and their targets."""
    from retread.recipe import workspace

    root = session.root(options)
    loaded = [workspace.load(root, name).recipe for name in workspace.recipes(root)]
    if options.json:
        session.print_json(loaded)
        return 0
    for recipe in loaded:
        print(f"{recipe.name:<24} {', '.join(recipe.targets):<14} {recipe.summary}")
    return 0


def recipe_check(options: argparse.Namespace) -> int:
    """Read recipes strictly; the error lists every fault."""
    from retread.errors import RecipeError, RetreadError
    from retread.recipe import workspace

    root = session.root(options)
    faults: list[str] = []
    kinds: set[type[RetreadError]] = set()
    for name in options.recipe or workspace.recipes(root):
        try:
            loaded = workspace.load(root, name)
            if loaded.recipe.pin.commit not in loaded.proofs:
                raise RecipeError(f"there is no proof of {loaded.recipe.pin.commit[:12]} in recipes/commits/")
        except RetreadError as error:
            faults += [f"{name}: {fault}" for fault in error.faults or (error.message,)]
            kinds.add(type(error))
    if faults:
        kind = kinds.pop() if len(kinds) == 1 else RecipeError
        raise kind(f"{len(faults)} fault(s)", faults=faults)
    print('{"faults": []}' if options.json else "sound: recipes, series, toolchains and proofs")
    return 0


def recipe_lock(options: argparse.Namespace) -> int:
    """Lock the build environments of targets; stdout is the files that were written."""
    from retread.doors import fs
    from retread.doors.net import download
    from retread.environment import venv
    from retread.recipe import workspace
    from retread.recipe.model import locked
    from retread.recipe.plan import choose_target

    machine, root = session.machine(options), session.root(options)
    written = []
    for name in options.recipe or workspace.recipes(root):
        recipe = workspace.load(root, name).recipe
        for target in [choose_target(recipe, options.target)] if options.target else recipe.targets:
            build = recipe.targets[target].build
            if build is None:
                continue
            path = workspace.lock_path(root, recipe.name, target)
            with machine.console.step(f"lock {path.stem}"), machine.store.scratch() as scratch:
                text = venv.resolve(
                    locked(recipe.targets[target]),
                    build.python,
                    settings=download.settings(machine.environment),
                    environment=machine.environment,
                    scratch=scratch,
                )
            fs.write(path, text.encode())
            written.append(str(path))
    if options.json:
        session.print_json(written)
    else:
        print("\n".join(written))
    return 0


def recipe_schema(options: argparse.Namespace) -> int:
    """Print the JSON Schema of a recipe, or of what ``--json`` prints."""
    from retread import records, strict
    from retread.build import pipeline
    from retread.compile import stage as compilation
    from retread.doors import machine
    from retread.recipe import matrix, plan
    from retread.recipe import model as recipe
    from retread.smoke import report, run
    from retread.upstream import outlook
    from retread.wheel import comparison

    kinds = {
        "recipe": recipe.Recipe,
        "plan": list[plan.Plan],
        "build": list[pipeline.Built],
        "audit": records.AuditReport,
        "inspect": records.WheelFacts,
        "statement": records.Statement,
        "toolchain": list[machine.ToolchainReport],
        "compile": compilation.CompileFacts,
        "compare": comparison.Comparison,
        "smoke": report.SmokeReport,
        "evidence": run.Evidence,
        "matrix": matrix.Matrix,
        "watch": outlook.Outlook,
    }
    session.print_json(strict.schema(kinds[options.of]))
    return 0
