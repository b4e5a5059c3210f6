"""What each command does: options in, data on stdout, exit code out.

Everything heavy is imported by the command that needs it, so that an unchanged build answers at once.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.session import DEFAULT_RECIPE

if TYPE_CHECKING:
    from retread.build.pipeline import Built, Job
    from retread.lanes.lane import Wish


def build(options: argparse.Namespace) -> int:
    """Make the wheels that are asked for; stdout is their paths."""
    from retread.build import pipeline
    from retread.errors import PlanError, UsageError
    from retread.recipe import workspace
    from retread.recipe.lane import Lane

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
    from retread.lanes.lane import Wish

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
    job.goal.machine.console.say(
        f"{state}: {Path(built.path).name}  {built.size:,} bytes  sha256 {built.sha256}"
    )
    if job.goal.target.note:
        job.goal.machine.console.say(f"note: {job.goal.target.note}")
    return built


def reproduce(options: argparse.Namespace) -> int:
    """Make a wheel again from what it says of itself, and say how far the two agree; AuditError when they do not."""
    from retread.build import reproduce as build_reproduce
    from retread.cli import show

    machine = session.machine(options)
    wheel = session.existing(options.wheel)
    with machine.store.scratch() as scratch:
        found = build_reproduce.reproduce(session.root(options), wheel, machine, scratch, wish=_wish(options))
    if options.json:
        session.print_json(found)
    else:
        print(show.comparison(found))
    build_reproduce.demand_same(found)
    return 0


def plan(options: argparse.Namespace) -> int:
    """Show what a build would do."""
    from retread.build import pipeline
    from retread.cli import show
    from retread.recipe import workspace
    from retread.recipe.lane import Lane

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
