"""``retread inspect``, ``audit``, ``graft``: what wheels and libraries hold."""

from __future__ import annotations

import argparse

from retread.cli import session


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
    from retread.audit import promise as audit_promise
    from retread.cli import show
    from retread.errors import UsageError
    from retread.recipe import workspace
    from retread.recipe.plan import choose_target, patched_version

    machine = session.machine(options)
    if options.target and not options.recipe:
        raise UsageError("--target names a target of a recipe; say --recipe too")
    promise, target = None, ""
    if options.recipe:
        loaded = workspace.load(session.root(options), options.recipe)
        name = choose_target(loaded.recipe, options.target)
        wanted = loaded.recipe.targets[name]
        called = patched_version(loaded.recipe, wanted)
        promise = audit_promise.promise(loaded.recipe, wanted, called)
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
    from retread.build.cubins import assembler, assembly
    from retread.cli import show
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
