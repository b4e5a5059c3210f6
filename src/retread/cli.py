"""The command line: arguments in, exit code out. Only here does the process end and do words meet the terminal.

Everything heavy is imported by the command that needs it, so that ``--help`` and an unchanged build answer at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retread.arch import Arch
    from retread.machine import Machine
    from retread.pipeline import Built, Job
    from retread.workspace import Loaded

_EXIT_CODES = """\
exit codes:
  0 done   1 a bug   2 usage   3 recipe   4 source proof   5 patch series   6 plan   7 download   8 base wheel
  9 wheel format   10 ELF   11 fat binary   12 audit   13 store or disk   14 external program   130 interrupted

environment: RETREAD_STORE (default ~/.cache/retread); pip's and uv's own index settings are honoured
"""
_INTERRUPTED = 130
DEFAULT_RECIPE = "xformers-0.0.35"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="retread",
        description="Patched CUDA wheels, proven: a pinned commit and a patch series in, a wheel out.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    _add_build(commands)
    _add_patch(commands)
    _add_wheel_readers(commands)
    _add_graft(commands)
    _add_store(commands)
    _add_recipe(commands)
    completion = commands.add_parser("completion", help="print a completion script for a shell")
    completion.add_argument("shell", choices=["bash", "zsh", "tcsh"])
    completion.set_defaults(run=_completion)
    return top


def _add_build(commands: Any) -> None:
    for name, run, text in (
        ("build", _build, "make a target's wheels and put them under dist/; stdout is their paths"),
        ("plan", _plan, "show lane, stages and cache state of a build, with the reason for each"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "recipe", nargs="*" if name == "build" else "?", help=f"default: {DEFAULT_RECIPE}"
        )
        command.add_argument("--target", help="default: the recipe's first")
        command.add_argument("--lane", choices=["overlay", "source", "container"], help="force a lane")
        command.add_argument(
            "--source", choices=["sdist", "git"], default="sdist", help="where the source comes from"
        )
        if name == "build":
            command.add_argument("--all", action="store_true", help="every target of every recipe")
            command.add_argument("-o", "--out", type=Path, default=Path("dist"), help="default: dist/")
        _common(command, run)


def _add_patch(commands: Any) -> None:
    patch = commands.add_parser("patch", help="work on a recipe's patch series")
    actions = patch.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser("check", help="lint the series and try every patch on the pinned source")
    check.add_argument("recipe", nargs="*", help="default: all")
    check.add_argument(
        "--source", choices=["sdist", "git"], default="sdist", help="where the source comes from"
    )
    _common(check, _patch_check)


def _add_wheel_readers(commands: Any) -> None:
    inspect = commands.add_parser("inspect", help="show what a wheel holds and which GPUs it serves natively")
    inspect.add_argument("wheel", type=Path, help="a wheel, or a shared object")
    _common(inspect, _inspect)
    audit = commands.add_parser(
        "audit", help="hold a wheel to its target's promise; any wheel to the general rules"
    )
    audit.add_argument("wheel", type=Path)
    audit.add_argument("--recipe", help="hold it to this recipe instead of to what it says of itself")
    audit.add_argument("--target", help="default: the recipe's first")
    _common(audit, _audit)


def _add_graft(commands: Any) -> None:
    text = "add native code to any shared object with fat binaries, assembled from the PTX in it"
    graft = commands.add_parser("graft", help=text, description=text)
    graft.add_argument("library", type=Path)
    graft.add_argument("--arch", action="append", required=True, help="like 10.0; may be given again")
    graft.add_argument("--toolchain", default="cuda-12.8", help="default: cuda-12.8")
    graft.add_argument(
        "-o", "--out", type=Path, required=True, help="where to write it; may be the library itself"
    )
    _common(graft, _graft)


def _add_store(commands: Any) -> None:
    store = commands.add_parser("store", help="show or prune the store")
    actions = store.add_subparsers(dest="action", metavar="ACTION")
    _common(store, _store_list)
    _common(actions.add_parser("list", help="show what is in it (the default)"), _store_list)
    prune = actions.add_parser("prune", help="remove rubbish and what was not used lately")
    prune.add_argument(
        "--days", type=float, default=30.0, help="keep what was used in the last DAYS days; default 30"
    )
    prune.add_argument(
        "--keep", type=float, metavar="GB", help="then remove the longest unused until GB are left"
    )
    _common(prune, _store_prune)


def _add_recipe(commands: Any) -> None:
    recipe = commands.add_parser("recipe", help="recipes: list, check, schema")
    actions = recipe.add_subparsers(dest="action", metavar="ACTION", required=True)
    _common(actions.add_parser("list", help="show recipes and their targets"), _recipe_list)
    check = actions.add_parser("check", help="read recipes strictly and report every fault")
    check.add_argument("recipe", nargs="*", help="default: all")
    _common(check, _recipe_check)
    schema = actions.add_parser("schema", help="print the JSON Schema of a recipe, or of what --json prints")
    schema.add_argument(
        "of",
        nargs="?",
        default="recipe",
        choices=["recipe", "plan", "build", "audit", "inspect", "statement"],
    )
    _common(schema, _recipe_schema)


def _common(command: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    command.set_defaults(run=run)
    command.add_argument("--json", action="store_true", help="print data as JSON")
    command.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors on stderr")
    command.add_argument(
        "--root", type=Path, help="the folder with recipes/ and patches/; default: found upwards"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    code = run(arguments)
    if code == _INTERRUPTED:
        from retread import proc

        proc.close()
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every expected failure is one message on stderr."""
    from retread.errors import RetreadError

    top = parser()
    options = top.parse_args(arguments)
    if options.version:
        from retread.version import __version__

        print(f"retread {__version__}")
        return 0
    if not options.command:
        top.print_help(sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = int(options.run(options))
        sys.stdout.flush()
        return code
    except RetreadError as error:
        _complain(f"retread: {error.kind}: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _complain("retread: interrupted; what was finished is kept, the same command goes on from there")
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _complain(text: str) -> None:
    from retread.console import Console

    Console().fail(text)


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


def _build(options: argparse.Namespace) -> int:
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


def _plan(options: argparse.Namespace) -> int:
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


def _patch_check(options: argparse.Namespace) -> int:
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


def _inspect(options: argparse.Namespace) -> int:
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


def _audit(options: argparse.Namespace) -> int:
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


def _graft(options: argparse.Namespace) -> int:
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


def _store_list(options: argparse.Namespace) -> int:
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


def _store_prune(options: argparse.Namespace) -> int:
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


def _recipe_list(options: argparse.Namespace) -> int:
    from retread import workspace

    root = _root(options)
    loaded = [workspace.load(root, name).recipe for name in workspace.recipes(root)]
    if options.json:
        _print_json(loaded)
        return 0
    for recipe in loaded:
        print(f"{recipe.name:<24} {', '.join(recipe.targets):<14} {recipe.summary}")
    return 0


def _recipe_check(options: argparse.Namespace) -> int:
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


def _recipe_schema(options: argparse.Namespace) -> int:
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


def _completion(options: argparse.Namespace) -> int:
    import shtab

    print(shtab.complete(parser(), options.shell))
    return 0
