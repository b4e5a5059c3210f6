"""``retread store``: show it, prune it, take entries out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from retread.cli import session
from retread.cli.options import Options, add_action, add_command, add_common, amount, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from retread.cli.options import Groups
    from retread.doors.store import Entry
    from retread.shared.remote import Fault, Listed, Shared

_SHARED = "the store that RETREAD_SHARED names"
_DIGITS = 8
"""So many of a key, or more, are what somebody means."""
Kept = TypeVar("Kept", "Entry", "Listed")
"""An entry of one of both stores."""


class ListOptions(Options):
    """What is typed after ``store list``."""

    shared: bool


class PruneOptions(ListOptions):
    """What is typed after ``store prune``."""

    days: float
    keep: float | None
    """In GB."""


class RemoveOptions(ListOptions):
    """What is typed after ``store remove``."""

    entry: tuple[str, ...]
    by: tuple[str, ...]


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
    remove = add_action(actions, "remove", "take entries out of it, whenever they were used")
    remove.add_argument(
        "entry",
        nargs="*",
        metavar="ENTRY",
        help="KIND/KEY, or a key alone; of a key the first eight digits do",
    )
    remove.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="KEYID",
        type=told("the id of a key"),
        help="with --shared: instead, all that this key signed, which nobody trusts; eight digits of its id do",
    )
    remove.add_argument("--shared", action="store_true", help=_SHARED)
    add_common(remove, store_remove, RemoveOptions)
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
    keep = int(options.keep * 1e9) if options.keep is not None else None
    gone: Sequence[Entry | Listed]
    if options.shared:
        shared = session.shared(options)
        gone = shared.prune(unused_days=options.days, keep_bytes=keep)
        rubbish = shared.sweep(days=options.days)
    else:
        store = session.machine(options).store
        rubbish = store.sweep() + store.drop_beside(unused_days=options.days)
        gone = store.prune(unused_days=options.days, keep_bytes=keep)
    return _removed(options, [*map(_name, gone)], rubbish + sum(one.size for one in gone))


def store_remove(options: RemoveOptions) -> int:
    """Take entries out of the store, or of the shared one; UsageError, and nothing went, when one is not there."""
    from retread.errors import UsageError

    if bool(options.entry) == bool(options.by):
        raise UsageError("name entries, or with --by who signed them: one of the two")
    if options.by and not options.shared:
        raise UsageError("--by is for --shared: nobody signs what is in the own store")
    if options.by:
        return _remove_signed(options)
    if options.shared:
        return _remove_shared(options)
    store = session.machine(options).store
    entries = store.entries()
    gone = {one.path: one for text in options.entry for one in _chosen(text, entries)}
    for one in gone.values():
        store.discard(one.kind, one.key)
    return _removed(options, [*map(_name, gone.values())], sum(one.size for one in gone.values()))


def _remove_shared(options: RemoveOptions) -> int:
    from retread.shared import claim as claims

    shared = session.shared(options)
    entries, strays = list(shared.entries()), {one.name: one for one in shared.strays()}
    wanted: dict[str, Listed] = {}
    for text in options.entry:
        at = claims.place(text)  # 'store check' names it so
        found = [one for one in entries if one[:3] == at] or (
            [] if text in strays else _chosen(text, entries, "store list --shared")
        )
        wanted |= {claims.name(*one[:3]): one for one in found}
    gone = shared.remove([*wanted.values()])
    others = [strays[text] for text in dict.fromkeys(options.entry) if text in strays]
    freed = shared.remove_strays(others) + sum(one.size for one in gone)
    return _removed(options, [*map(_name, gone), *(one.name for one in others)], freed)


def _remove_signed(options: RemoveOptions) -> int:
    """Take all out of the shared store that keys signed which nobody trusts; say what goes."""
    from retread.shared import claim as claims

    shared = session.shared(options)
    for begin in options.by:
        _demand_stranger(shared, begin)
    found = list(shared.strangers())
    wanted: dict[str, Listed] = {}
    for begin in options.by:
        key = _signer(begin, [key for _, keys in found for key in keys])
        wanted |= {claims.name(*one[:3]): one for one, keys in found if key in keys}
    gone = shared.remove([*wanted.values()])
    if not options.json:
        session.put("\n".join(dict.fromkeys(map(_name, gone))))
    return _removed(options, [*map(_name, gone)], sum(one.size for one in gone))


def _demand_stranger(shared: Shared, begin: str) -> None:
    """Raise UsageError for what does not name a key, and for one that is trusted here."""
    from retread.errors import UsageError

    if len(begin) < _DIGITS:
        raise UsageError(f"--by: {begin!r} names no key: eight digits of its id are wanted, or more")
    if name := shared.trusts(begin):
        hint = "take it out of the policy before what it signed; single entries go by their keys"
        raise UsageError(f"--by: {begin} is {name}, who is trusted here", hint=hint)


def _signer(begin: str, keys: Sequence[str]) -> str:
    """Return the one key whose id begins so; UsageError where there is none, or several."""
    from retread.errors import UsageError, first

    found = sorted({key for key in keys if key.startswith(begin)})
    if not found:
        hint = "'retread store check' shows whose entries are refused"
        raise UsageError(f"--by: no entry there is signed by {begin}", hint=hint)
    if len(found) > 1 and begin not in found:
        hint = "type more of the id"
        raise UsageError(
            f"--by: {begin} is the beginning of {len(found)} keys",
            faults=first([one[:64] for one in found]),
            hint=hint,
        )
    return begin if begin in found else found[0]


def _chosen(text: str, entries: Sequence[Kept], shows: str = "store list") -> list[Kept]:
    """Return the entries of the key that a text names; UsageError where it names none, or several.

    ``shows`` is the command that shows them.
    """
    from retread.doors.store import Kind
    from retread.errors import UsageError, first
    from retread.strict import near_miss

    kind, _, key = text.rpartition("/")
    if kind and kind not in {*Kind}:
        raise UsageError(
            f"{text!r} is of no kind that a store has{near_miss(kind, map(str, Kind))}",
            hint=f"there are {', '.join(Kind)}",
        )
    if len(key) < _DIGITS:
        raise UsageError(f"{text!r} names no entry: eight digits of its key are wanted, or more")
    found = [one for one in entries if one.key.startswith(key) and kind in {"", one.kind}]
    names = sorted({_name(one) for one in found})
    if not names:
        raise UsageError(f"there is no entry {text!r}", hint=f"'retread {shows}' shows every key with --json")
    if len(names) > 1:
        hint = "type more of the key, or its kind before it"
        raise UsageError(f"{text!r} is the beginning of {len(names)} entries", faults=first(names), hint=hint)
    return found


def _name(one: Entry | Listed) -> str:
    """Return how an entry is called where it is typed."""
    return f"{one.kind}/{one.key}"


def _removed(options: Options, names: Sequence[str], freed: int) -> int:
    """Say what went, each once; of a shared store one has as many claims as machines gave it, which ``list`` counts."""
    from retread.doors.store import Removed
    from retread.units import counted, size

    found = Removed(removed=tuple(dict.fromkeys(names)), freed=freed)
    if options.json:
        session.print_json(found)
    else:
        claims = f" ({counted(len(names), 'claim')})" if len(names) > len(found.removed) else ""
        session.put(f"removed {counted(len(found.removed), 'entry')}{claims}, {size(freed)} in all")
    return 0


def store_check(options: Options) -> int:
    """Show what is wrong with the shared store; 13 when something is."""
    from retread.errors import StoreError, first
    from retread.shared.remote import Checked

    machine, shared = session.machine(options), session.shared(options)
    with machine.console.step(f"check {shared.address}") as step:
        faults = list(shared.faults())
        step.mark = "failed" if faults else "ok"
    if options.json:
        session.print_json(Checked(address=shared.address, faults=tuple(faults)))
        return StoreError.exit_code if faults else 0
    if faults:
        raise StoreError(
            f"{shared.address} holds what nobody should take",
            faults=first([*_told(faults)]),
            hint="it is refused wherever it is asked for; take it away ('retread store remove --shared ENTRY', or "
            "'--by KEYID' for all that a key signed), and find out who may write there",
        )
    session.put(
        f"{shared.address}: all that is claimed there is signed by somebody who is trusted, and whole"
    )
    return 0


def _told(faults: Sequence[Fault]) -> Iterator[str]:
    """Yield each fault; of what strangers signed, how many there are of each."""
    groups: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for one in faults:
        if one.strangers:
            groups.setdefault((one.strangers, one.who), []).append(one.name)
        else:
            yield str(one)
    for (keys, who), names in groups.items():
        more = f", and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"{names[0]}{more}: signed by {', '.join(keys)}, {who}"
