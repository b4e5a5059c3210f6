"""``retread store``: show and prune it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, add_action, add_command, add_common, amount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from retread.cli.options import Groups
    from retread.doors.store import Entry
    from retread.shared.remote import Listed

_SHARED = "the store that RETREAD_SHARED names"


class ListOptions(Options):
    """What is typed after ``store list``."""

    shared: bool


class PruneOptions(ListOptions):
    """What is typed after ``store prune``."""

    days: float
    keep: float | None
    """In GB."""


def add(groups: Groups) -> None:
    """Add the command and its actions."""
    store = add_command(groups, "store")
    actions = store.add_subparsers(dest="action", metavar="ACTION")
    add_common(store, store_own, Options)
    listed = add_action(actions, "list", "show what is in it (the default)")
    listed.add_argument("--shared", action="store_true", help=_SHARED)
    add_common(listed, store_list, ListOptions)
    prune = add_action(actions, "prune", "remove rubbish and what was not used lately")
    prune.add_argument(
        "--days", type=amount, default=30.0, help="keep what was used in the last DAYS days; default 30"
    )
    prune.add_argument(
        "--keep", type=amount, metavar="GB", help="then remove the longest unused until GB are left"
    )
    prune.add_argument("--shared", action="store_true", help=_SHARED)
    add_common(prune, store_prune, PruneOptions)
    check = add_action(actions, "check", "fetch all of the shared store, and hold it to its signatures")
    add_common(check, store_check, Options)


def store_list(options: ListOptions) -> int:
    """Show what the store holds, or the shared one."""
    from retread.cli import show
    from retread.doors import clock

    if not options.shared:
        return store_own(options)
    found = list(session.shared(options).entries())
    if options.json:
        session.print_json([one._asdict() for one in found])
    else:
        session.put(show.store(session.shared(options).address, found, {}, now=clock.now()))
    return 0


def store_own(options: Options) -> int:
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

    keep = int(options.keep * 1e9) if options.keep is not None else None
    if options.shared:
        rubbish, gone = 0, _names(session.shared(options).prune(unused_days=options.days, keep_bytes=keep))
    else:
        store = session.machine(options).store
        rubbish = store.sweep() + store.drop_beside(unused_days=options.days)
        gone = _names(store.prune(unused_days=options.days, keep_bytes=keep))
    freed = rubbish + sum(gone.values())
    if options.json:
        session.print_json({"removed": [*gone], "freed": freed})
    else:
        session.put(f"removed {len(gone)} entries, {size(freed)} in all")
    return 0


def store_check(options: Options) -> int:
    """Show what is wrong with the shared store; 13 when something is."""
    from retread.errors import StoreError

    machine, shared = session.machine(options), session.shared(options)
    with machine.console.step(f"check {shared.address}"):
        faults = list(shared.faults())
    if options.json:
        session.print_json({"address": shared.address, "faults": faults})
        return StoreError.exit_code if faults else 0
    if faults:
        raise StoreError(
            f"{shared.address} holds what nobody should take",
            faults=faults,
            hint="it is refused by itself wherever it is asked for; remove it, and find out who may write there",
        )
    session.put(
        f"{shared.address}: all that is claimed there is signed by somebody who is trusted, and whole"
    )
    return 0


def _names(gone: Sequence[Entry | Listed]) -> dict[str, int]:
    """Return key -> size of entries that went."""
    return {one.key: one.size for one in gone}
