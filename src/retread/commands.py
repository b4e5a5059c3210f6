"""What each command does: options in, data on stdout, exit code out.

Everything heavy is imported by the command that needs it, so that an unchanged build answers at once.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retread.arch import Arch
    from retread.machine import Machine
    from retread.pipeline import Built, Job
    from retread.workspace import Loaded

DEFAULT_RECIPE = "xformers-0.0.35"


def _machine(options: argparse.Namespace) -> Machine:
    from retread.console import Console
    from retread.machine import Machine
    from retread.store import Store, default_root

    environment = dict(os.environ)
    console = Console(quiet=options.quiet)
    return Machine(Store(default_root(environment), waiting=console.say), console, environment)


def _root(options: argparse.Namespace) -> Path:
    from retread import workspace

    return options.root.absolute() if options.root else workspace.find_root(Path.cwd())


def _print_json(value: object) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value)).decode())


def build(options: argparse.Namespace) -> int:
    """Make the wheels that are asked for; stdout is their paths."""
    from retread import pipeline, workspace
    from retread.errors import PlanError, UsageError
    from retread.plan import Lane

    machine, root = _machine(options), _root(options)
    if options.all and (options.recipe or options.target):
        raise UsageError("--all builds every target of every recipe; leave recipe and --target out")
    lane = Lane(options.lane) if options.lane else None
    names = workspace.recipes(root) if options.all else options.recipe or [DEFAULT_RECIPE]
    jobs: list[Job] = []
    for name in names:
        loaded = workspace.load(root, name)
        for target in loaded.recipe.targets if options.all else [options.target]:
            try:
                found = pipeline.jobs(loaded, target, machine, lane=lane, use_git=options.source == "git")
            except PlanError as error:
                if not options.all:
                    raise
                machine.console.say(f"not built: {error}")
            else:
                jobs += [job for job, _, _ in found]
    built = [_built(job, options.out) for job in jobs]
    if options.json:
        _print_json(built)
    else:
        print("\n".join(one.path for one in built))
    return 0


def _built(job: Job, out: Path) -> Built:
    """Make one wheel and say what came out."""
    from retread import pipeline

    built = pipeline.build(job, out)
    state = "unchanged" if built.cached else "built"
    job.machine.console.say(f"{state}: {job.wheel}  {built.size:,} bytes  sha256 {built.sha256}")
    if job.target.note:
        job.machine.console.say(f"note: {job.target.note}")
    return built


def plan(options: argparse.Namespace) -> int:
    """Show what a build would do."""
    from retread import pipeline, render, workspace
    from retread.plan import Lane

    machine = _machine(options)
    loaded = workspace.load(_root(options), options.recipe or DEFAULT_RECIPE)
    lane = Lane(options.lane) if options.lane else None
    jobs = pipeline.jobs(loaded, options.target, machine, lane=lane, use_git=options.source == "git")
    plans = [job.plan(chosen, reason) for job, chosen, reason in jobs]
    if options.json:
        _print_json(plans)
    else:
        print("\n\n".join(render.plan(one) for one in plans))
    return 0


def patch_check(options: argparse.Namespace) -> int:
    """Try every patch of the series; SeriesError when one does not go in."""
    from retread import render, workspace
    from retread.errors import SeriesError
    from retread.model import Verdict

    machine, root = _machine(options), _root(options)
    found, bad = {}, []
    for name in options.recipe or workspace.recipes(root):
        loaded = workspace.load(root, name)
        job = _first_job(loaded, None, machine, use_git=options.source == "git")
        found[name] = job.try_series()
        fine = {Verdict.APPLIES, Verdict.OFFSET}
        bad += [
            f"{name}: {one.name}: {one.verdict} {one.detail}".strip()
            for one in found[name]
            if one.verdict not in fine
        ]
    if options.json:
        _print_json(found)
    else:
        print("\n".join(render.series(name, applied) for name, applied in found.items()))
    if bad:
        raise SeriesError(
            f"{len(bad)} patch(es) do not go in", faults=bad, hint="make them anew, or drop them from series"
        )
    return 0


def _first_job(loaded: Loaded, target: str | None, machine: Machine, *, use_git: bool = False) -> Job:
    """Return the job for the target's first base wheel, whatever the lane."""
    from retread import pipeline
    from retread.errors import PlanError
    from retread.plan import choose_target

    name = choose_target(loaded.recipe, target)
    bases = loaded.recipe.targets[name].base
    if not bases:
        raise PlanError(f"{loaded.recipe.name}: targets.{name}.base: no base wheel is pinned")
    return pipeline.Job(loaded, name, bases[0], machine, use_git=use_git)


def inspect(options: argparse.Namespace) -> int:
    """Show what a wheel or a shared object holds."""
    from retread import contents, elf, render

    machine = _machine(options)
    if contents.is_library(options.wheel.name):
        library = elf.read(_existing(options.wheel))
        if options.json:
            _print_json(library)
        else:
            print("\n".join(render.library(options.wheel.name, library)))
        return 0
    with machine.store.scratch() as scratch:
        facts, _ = contents.examine(_existing(options.wheel), scratch)
    if options.json:
        _print_json(facts)
    else:
        print(render.wheel(facts))
    return 0


def audit(options: argparse.Namespace) -> int:
    """Hold a wheel to a promise; AuditError when it breaks it."""
    from retread import render, statement, workspace
    from retread.errors import UsageError
    from retread.stages import audit

    machine = _machine(options)
    if options.target and not options.recipe:
        raise UsageError("--target names a target of a recipe; say --recipe too")
    promise, target = None, ""
    if options.recipe:
        loaded = workspace.load(_root(options), options.recipe)
        job = _first_job(loaded, options.target, machine)
        promise, target = (
            statement.promise(job.recipe, job.target, job.version),
            f"{loaded.recipe.name} {job.name}",
        )
    with machine.store.scratch() as scratch:
        report = audit.audit(_existing(options.wheel), scratch, promise=promise, target=target)
    if options.json:
        _print_json(report)
    else:
        print(render.audit(report))
    audit.demand(report)
    return 0


def graft(options: argparse.Namespace) -> int:
    """Add native code to a shared object."""
    from retread import elf, render, workspace
    from retread.errors import FatbinError
    from retread.machine import assembler, assembly
    from retread.stages import graft

    machine = _machine(options)
    old, wanted, new = _existing(options.library), [_arch(text) for text in options.arch], options.out
    facts = elf.read(old)
    if not facts.modules:
        raise FatbinError(f"{old} holds no GPU code; there is nothing to graft on")
    missing = graft.wanted(facts, wanted)
    if not missing:
        machine.console.say(f"{old.name} has {' '.join(wanted)} already; it is copied as it is")
    toolchain = workspace.load_toolchain(_root(options), options.toolchain) if missing else None
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
        _print_json(facts)
    else:
        print("\n".join(render.library(str(new), facts)))
    return 0


def _arch(text: str) -> Arch:
    from retread import arch
    from retread.errors import UsageError
    from retread.strict import near_miss

    if text not in arch.FIRST_CUDA:
        raise UsageError(f"no GPU has the architecture {text!r}{near_miss(text, arch.FIRST_CUDA)}")
    return arch.parse(text)


def _existing(file: Path) -> Path:
    from retread.errors import UsageError

    if not file.is_file():
        raise UsageError(f"there is no file {file}")
    return file


def store_list(options: argparse.Namespace) -> int:
    """Show what the store holds."""
    from retread import render

    store = _machine(options).store
    entries = store.entries()
    if options.json:
        _print_json(
            [{"kind": one.kind, "key": one.key, "size": one.size, "used": one.used} for one in entries]
        )
    else:
        print(render.store(store.root, entries, now=time.time()))
    return 0


def store_prune(options: argparse.Namespace) -> int:
    """Remove rubbish, and what was not used lately."""
    from retread.units import size

    machine = _machine(options)
    rubbish = machine.store.sweep()
    keep = int(options.keep * 1e9) if options.keep is not None else None
    gone = machine.store.prune(unused_days=options.days, keep_bytes=keep)
    freed = rubbish + sum(one.size for one in gone)
    if options.json:
        _print_json({"removed": [one.key for one in gone], "freed": freed})
    else:
        print(f"removed {len(gone)} entries, {size(freed)} in all")
    return 0


def recipe_list(options: argparse.Namespace) -> int:
    """Show recipes and their targets."""
    from retread import workspace

    root = _root(options)
    loaded = [workspace.load(root, name).recipe for name in workspace.recipes(root)]
    if options.json:
        _print_json(loaded)
        return 0
    for recipe in loaded:
        print(f"{recipe.name:<24} {', '.join(recipe.targets):<14} {recipe.summary}")
    return 0


def recipe_check(options: argparse.Namespace) -> int:
    """Read recipes strictly; the error lists every fault."""
    from retread import workspace
    from retread.errors import RecipeError, RetreadError

    root = _root(options)
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


def recipe_schema(options: argparse.Namespace) -> int:
    """Print the JSON Schema of a recipe, or of what ``--json`` prints."""
    from retread import model, pipeline, plan, recipe, strict

    kinds = {
        "recipe": recipe.Recipe,
        "plan": list[plan.Plan],
        "build": list[pipeline.Built],
        "audit": model.AuditReport,
        "inspect": model.WheelFacts,
        "statement": model.Statement,
    }
    _print_json(strict.schema(kinds[options.of]))
    return 0
