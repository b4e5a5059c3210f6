"""What the command does that a maintainer, or a workflow at night, runs to hear what is new upstream: watch."""

from __future__ import annotations

import argparse

from retread.cli import session


def watch(options: argparse.Namespace) -> int:
    """Ask the package index what is new for recipes; the error for what could not be asked comes after the answers."""
    from retread.doors import fs
    from retread.recipe import workspace
    from retread.upstream import issue, outlook, table
    from retread.upstream import watch as watching

    root = session.root(options)
    look = watching.Watch(root, session.machine(options), with_jit=not options.no_jit)
    names = dict.fromkeys(options.recipe or workspace.recipes(root))
    found = outlook.outlook(look.look(names))
    if options.json:
        session.print_json(found)
    else:
        print(table.table(found))
    if options.issue:
        fs.write(options.issue, issue.text(found).encode())
    watching.demand(look.failures)
    return 0
