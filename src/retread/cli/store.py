"""``retread store``: show and prune it."""

from __future__ import annotations

import argparse
import time

from retread.cli import session


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
