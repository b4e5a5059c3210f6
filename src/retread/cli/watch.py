"""``retread watch``: what a maintainer, or a workflow at night, runs to hear what is new upstream."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, add_command, add_common

if TYPE_CHECKING:
    from retread.cli.options import Groups


class WatchOptions(Options):
    """What is typed after ``watch``."""

    recipe: tuple[str, ...]
    no_jit: bool
    issue: Path | None


def add(groups: Groups) -> None:
    """Add the command."""
    command = add_command(groups, "watch")
    command.add_argument("recipe", nargs="*", help="default: all")
    command.add_argument(
        "--no-jit", action="store_true", help="compile no kernel under the newest torch and Triton"
    )
    command.add_argument(
        "--issue", type=Path, metavar="FILE", help="write the text of an issue there, as Markdown"
    )
    add_common(command, watch, WatchOptions)


def watch(options: WatchOptions) -> int:
    """Ask the package index what is new for recipes; the error for what could not be asked comes after the answers."""
    from retread.doors import fs
    from retread.upstream import issue, outlook, table
    from retread.upstream import watch as watching

    root = session.root(options)
    look = watching.Watch(root, session.machine(options), with_jit=not options.no_jit)
    names = dict.fromkeys(options.recipe or session.finished(options))
    found = outlook.outlook(look.look(names))
    if options.json:
        session.print_json(found)
    else:
        session.put(table.table(found))
    if options.issue:
        fs.write(options.issue, issue.text(found).encode())
    watching.demand(look.failures)
    return 0
