"""``retread build``, ``plan``, ``reproduce``: make a target's wheels, say what that would do, make one again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import engines, session
from retread.cli.options import (
    DEFAULT_RECIPE,
    Options,
    Source,
    add_command,
    add_common,
    add_source,
    some,
    told,
    words,
)
from retread.recipe.lane import Lane

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from retread.build.pipeline import Built, Job
    from retread.cli.options import Groups
    from retread.errors import PlanError
    from retread.lanes.lane import Wish
    from retread.recipe.workspace import Loaded


class CompileOptions(Options):
    """What a lane that compiles is told."""

    python: str | None
    jobs: int | None
    memory: float | None
    """In GiB."""
    no_cache: bool
    image: str | None


class PlanOptions(CompileOptions):
    """What is typed after ``plan``."""

    recipe: str | None
    target: str | None
    platform: str | None
    lane: Lane | None
    source: Source
    repository: str
    toolchain: str | None


class BuildOptions(CompileOptions):
    """What is typed after ``build``."""

    recipe: tuple[str, ...]
    target: str | None
    platform: str | None
    lane: Lane | None
    source: Source
    repository: str
    toolchain: str | None
    all: bool
    out: Path
    on: str | None


class ReproduceOptions(CompileOptions):
    """What is typed after ``reproduce``."""

    wheel: Path
    cold: bool


def add(groups: Groups) -> None:
    """Add the commands."""
    command = add_command(groups, "build")
    command.add_argument("recipe", nargs="*", help=f"default: {DEFAULT_RECIPE}")
    _add_choices(command)
    command.add_argument("--all", action="store_true", help="every target of every recipe, for each platform")
    command.add_argument("-o", "--out", type=Path, default=Path("dist"), help="default: dist/")
    engines.add_on(command)
    add_common(command, build, BuildOptions)

    command = add_command(groups, "plan")
    command.add_argument("recipe", nargs="?", help=f"default: {DEFAULT_RECIPE}")
    _add_choices(command)
    add_common(command, plan, PlanOptions)

    command = add_command(groups, "reproduce")
    command.add_argument("wheel", type=Path)
    command.add_argument(
        "--cold",
        action="store_true",
        help="use nothing that was made before: no cache, only pinned downloads",
    )
    _add_compiling(command)
    add_common(command, reproduce, ReproduceOptions)


def _add_choices(command: argparse.ArgumentParser) -> None:
    """Add what decides which wheel is made of a recipe, and how."""
    command.add_argument("--target", type=told("a target"), help="default: the recipe's first")
    command.add_argument("--lane", choices=words(Lane), help="force a lane")
    command.add_argument(
        "--platform",
        metavar="NAME",
        type=told("a platform"),
        help="like win_amd64, for which the target has a base wheel, or aarch64; default: x86_64",
    )
    add_source(command)
    command.add_argument(
        "--repository",
        metavar="CLONE",
        default="",
        help="where git finds the source, in the place of the address that the recipe pins",
    )
    command.add_argument(
        "--toolchain",
        metavar="NAME",
        type=told("a toolchain"),
        help="compile with this one of the target's toolchains",
    )
    _add_compiling(command)


def _add_compiling(command: argparse.ArgumentParser) -> None:
    """Add what a lane that compiles is told."""
    command.add_argument(
        "--python", help="the Python that the wheel is for: a version, for the source lane also a path"
    )
    command.add_argument(
        "--jobs", type=int, metavar="N", help="compile N units at a time; default: the cores"
    )
    command.add_argument(
        "--memory", type=some, metavar="GIB", help="for all compilers; default: what is free"
    )
    command.add_argument("--no-cache", action="store_true", help="compile without sccache")
    command.add_argument("--image", metavar="NAME", help="container lane: an image of this machine's")


def build(options: BuildOptions) -> int:
    """Make the wheels that are asked for; stdout is their paths."""
    from retread.errors import UsageError

    if options.all and (options.recipe or options.target):
        raise UsageError("--all builds every target of every recipe; leave recipe and --target out")
    built = _build_on(options, options.on) if options.on else _build_here(options)
    if options.json:
        session.print_json(built)
    else:
        session.put("\n".join(one.path for one in built))
    return 0


def _build_on(options: BuildOptions, engine: str) -> list[Built]:
    """Make the wheels on an engine's machines."""
    engines.demand_none("build", options)
    _wish(options)
    names = (
        session.finished(options)
        if options.all
        else tuple(dict.fromkeys(options.recipe or (DEFAULT_RECIPE,)))
    )
    return engines.build(options, engine, _wanted(options, names), options.out)


def _wanted(options: BuildOptions, names: Sequence[str]) -> engines.Wanted:
    return engines.Wanted(
        names, options.all, options.target, options.lane, options.platform, options.python, options.jobs,
        options.toolchain,
    )  # fmt: skip


def _build_here(options: BuildOptions) -> list[Built]:
    """Make the wheels on this machine, one after the other."""
    from retread.build import choice
    from retread.errors import PlanError
    from retread.recipe import plan as recipe_plan
    from retread.recipe import workspace

    session.demand_shared()
    machine, root, before = session.machine(options), session.root(options), session.readings(options)
    wish = _wish(options, options.toolchain)
    names = (
        session.finished(options, before)
        if options.all
        else tuple(dict.fromkeys(options.recipe or (DEFAULT_RECIPE,)))
    )
    every = [workspace.load(root, name, before) for name in names]
    if options.all:
        recipe_plan.demand_known(options.platform, [loaded.recipe for loaded in every])
    jobs: list[Job] = []
    for loaded, target, platform in _asked(options, every):
        try:
            jobs += choice.jobs(
                loaded,
                target,
                machine,
                lane=options.lane,
                use_git=options.source is Source.GIT,
                clone=options.repository,
                wish=wish._replace(platform=platform),
            )
        except PlanError as error:
            if not options.all:
                raise
            machine.console.say(f"note: not built: {_for(platform, error)}")
    try:
        choice.demand_used(wish, [job.origin.lane for job in jobs], choice.others(jobs, options.platform))
    except PlanError as error:
        if not options.all:
            raise
        machine.console.say(f"note: {error.message}")
    built = []
    for job in jobs:
        try:
            built.append(_built(job, options.out))
        except PlanError as error:  # a toolkit that this machine cannot have is seen here
            if not options.all:
                raise
            machine.console.say(f"note: not built: {_for(job.goal.platform, error)}")
    if built:
        return built
    if jobs:
        raise PlanError("nothing was built", hint="the notes above say why")
    raise engines.nothing_left(machine, every, _wanted(options, names))


def _asked(options: BuildOptions, every: Iterable[Loaded]) -> Iterator[tuple[Loaded, str | None, str]]:
    """Yield each recipe with a target and a platform that wheels are asked for; no platform is this machine's."""
    for loaded in every:
        if not options.all:
            yield loaded, options.target, options.platform or ""
            continue
        for name, target in loaded.recipe.targets.items():
            for platform in target.made_for:
                if options.platform in {None, platform}:
                    yield loaded, name, platform


def _for(platform: str, error: PlanError) -> str:
    """Return why something is not built, and for which platform, where that does not go without saying."""
    from retread.recipe import platforms

    return str(error) if platform in {"", platforms.COMPILED[0]} else f"for {platform}: {error}"


def _wish(options: CompileOptions, toolchain: str | None = None) -> Wish:
    from retread.errors import UsageError
    from retread.lanes.lane import Wish
    from retread.recipe import plan as recipe_plan

    if options.python is not None:
        recipe_plan.demand_python(options.python)

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
        toolchain=toolchain,
    )


def _built(job: Job, out: Path) -> Built:
    """Make one wheel and say what came out."""
    from retread.build import pipeline
    from retread.cli import outcome

    built = pipeline.build(job, out)
    say = job.goal.machine.console.say
    for line in outcome.lines(built):
        say(line)
    if job.goal.target.note:
        say(f"note: {job.goal.target.note}")
    return built


def reproduce(options: ReproduceOptions) -> int:
    """Make a wheel again from what it says of itself, and say how far the two agree; AuditError when they do not."""
    from retread.build import reproduce as build_reproduce
    from retread.cli import show
    from retread.wheel import comparison

    session.demand_shared()
    machine = session.machine(options)
    wheel = session.existing(options.wheel)
    with machine.store.scratch() as scratch:
        wish = _wish(options)._replace(cold=options.cold)
        found = build_reproduce.reproduce(session.root(options), wheel, machine, scratch, wish=wish)
    if options.json:
        session.print_json(found)
    else:
        session.put(show.comparison(found))
    comparison.demand_same(
        found,
        "what is made today can behave differently",
        hint="build with the recipe, series, tools and retread that retread.json in the wheel names",
    )
    return 0


def plan(options: PlanOptions) -> int:
    """Show what a build would do."""
    from retread.build import choice
    from retread.cli import show
    from retread.recipe import workspace

    session.demand_shared()
    machine = session.machine(options)
    before = session.readings(options)
    loaded = workspace.load(session.root(options), options.recipe or DEFAULT_RECIPE, before)
    wish = _wish(options, options.toolchain)._replace(platform=options.platform or "")
    jobs = choice.jobs(
        loaded,
        options.target,
        machine,
        lane=options.lane,
        use_git=options.source is Source.GIT,
        clone=options.repository,
        wish=wish,
    )
    choice.demand_used(wish, [job.origin.lane for job in jobs], choice.others(jobs, options.platform))
    plans = [job.plan() for job in jobs]
    if options.json:
        session.print_json(plans)
    else:
        session.put("\n\n".join(show.plan(one) for one in plans))
    return 0
