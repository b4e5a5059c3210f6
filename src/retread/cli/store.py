"""``retread store``: show and prune it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, add_command, add_common

if TYPE_CHECKING:
    from retread.cli.options import Groups


class PruneOptions(Options):
    """What is typed after ``store prune``."""

    days: float
    keep: float | None
    """In GB."""


def add(groups: Groups) -> None:
    """Add the command and its actions."""
    store = add_command(groups, "store", "show or prune the store")
    actions = store.add_subparsers(dest="action", metavar="ACTION")
    add_common(store, store_list, Options)
    listed = add_command(actions, "list", "show what is in it (the default)")
    add_common(listed, store_list, Options)
    prune = add_command(actions, "prune", "remove rubbish and what was not used lately")
    prune.add_argument(
        "--days", type=float, default=30.0, help="keep what was used in the last DAYS days; default 30"
    )
    prune.add_argument(
        "--keep", type=float, metavar="GB", help="then remove the longest unused until GB are left"
    )
    add_common(prune, store_prune, PruneOptions)


def store_list(options: Options) -> int:
    """Show what the store holds."""
    from retread.cli import show
    from retread.doors import clock

    store = session.machine(options).store
    entries = store.entries()
    if options.json:
        session.print_json(
            [{"kind": one.kind, "key": one.key, "size": one.size, "used": one.used} for one in entries]
        )
    else:
        session.put(show.store(store.root, entries, store.beside(), now=clock.now()))
    return 0


def store_prune(options: PruneOptions) -> int:
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
        session.put(f"removed {len(gone)} entries, {size(freed)} in all")
    return 0
