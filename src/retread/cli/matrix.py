"""What the command does that plans a workflow's jobs: matrix."""

from __future__ import annotations

import argparse

from retread.cli import session


def matrix(options: argparse.Namespace) -> int:
    """Print the jobs for all recipes or for those that are named, or only for what changed since ``--base``."""
    import msgspec

    from retread.doors import git
    from retread.recipe import matrix, workspace

    root, machine = session.root(options), session.machine(options)
    runners = [session.architecture(word) for word in options.gpus.replace(",", " ").split()]
    loaded = [workspace.load(root, name) for name in options.recipe or workspace.recipes(root)]
    changed = git.changed(root, options.base, machine.environment) if options.base else None
    found = matrix.matrix([(one.recipe, one.patches) for one in loaded], changed, runners)
    if options.json:
        print(msgspec.json.encode(found).decode())  # in one line: a workflow's outputs take no more
    elif found.count:
        print(matrix.table(found, runners))
    if not found.count:
        machine.console.say(
            f"nothing of which a wheel is made changed since {options.base}"
            if options.base
            else "no recipes here"
        )
    return 0
