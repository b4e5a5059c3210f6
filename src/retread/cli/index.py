"""What the commands of the private index do: keys, attest, publish, index, serve, audit-lock."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from retread.cli import session

if TYPE_CHECKING:
    from retread.evidence.gate import Policy
    from retread.evidence.signing import Key
    from retread.index.actions import Published, Session
    from retread.index.bucket.mirror import Need
    from retread.index.folder import Action
    from retread.wheel.statement import Proof, Statement

T = TypeVar("T")
POLICY = "index-policy.toml"
TRYING = "http://127.0.0.1:8000"
"""The address that pages name when nobody gave another: that of ``retread serve``."""


def key_new(options: argparse.Namespace) -> int:
    """Make a key pair; stdout is its public line, as a policy wants it."""
    from retread.evidence import keyfiles

    made = keyfiles.new(options.folder, options.name)
    session.machine(options).console.say(
        f"made {options.folder / made.name}.key, for you alone, and {made.name}.pub"
    )
    _print_keys(options, [made])
    return 0


def key_list(options: argparse.Namespace) -> int:
    """Show the keys of a folder."""
    from retread.evidence import keyfiles

    _print_keys(options, list(keyfiles.every(options.folder)))
    return 0


def _print_keys(options: argparse.Namespace, found: list[Key]) -> None:
    from retread.evidence import signing

    if options.json:
        session.print_json([{"name": key.name, "id": key.id, "key": signing.line(key)} for key in found])
    else:
        told = (f'# {key.id}\nname = "{key.name}"\nkey = "{signing.line(key)}"' for key in found)
        print("\n".join(told) or "no keys")


def attest(options: argparse.Namespace) -> int:
    """Sign what is known of a wheel; stdout is the envelopes, which lie beside it."""
    from retread.doors import fs
    from retread.errors import UsageError
    from retread.evidence import attest as attesting

    if not options.builder and not options.tester:
        raise UsageError(
            "name a key: --builder KEY signs how it was built, --tester KEY what its tests found"
        )
    wheel, made = session.existing(options.wheel), dict[Path, bytes]()
    if options.builder:
        with session.machine(options).store.scratch() as scratch:
            made |= attesting.provenance(wheel, options.builder, finished=int(time.time()), scratch=scratch)
    if options.tester:
        made |= attesting.results(wheel, options.tester)
    for place, envelope in made.items():  # all or none
        fs.write(place, envelope)
    if options.json:
        session.print_json([str(one) for one in made])
    else:
        print("\n".join(map(str, made)))
    return 0


def publish(options: argparse.Namespace) -> int:
    """List wheels in an index, all or none; stdout is the files that are listed."""
    from retread.index import actions
    from retread.index.admission import Terms
    from retread.index.bucket import mirror

    wheels = [session.existing(wheel) for wheel in options.wheel]
    terms = Terms(_policy(options), options.allow_unproven or "", _wants(options))

    def act(here: Session, scratch: Path) -> Published:
        here = here._replace(base=here.base or _base(here.root))
        return actions.publish(here, wheels, terms, scratch)

    done = _acting(options, mirror.of_wheels(wheels), act)
    if options.json:
        session.print_json(done)
    elif done.listed:
        print("\n".join(one.file for one in done.listed))
    return 0


def _wants(options: argparse.Namespace) -> Callable[[Statement], Proof]:
    """Return what asks a recipe by what its wheels are proven; those of an older retread do not say it themselves."""
    from retread.audit.promise import proof
    from retread.errors import GateError, UsageError
    from retread.recipe import workspace

    def wants(said: Statement) -> Proof:
        try:
            targets = workspace.load(session.root(options), said.recipe).recipe.targets
        except UsageError as error:
            raise GateError(
                f"nothing says what it has to be tried on: {error.message}", hint=error.hint
            ) from None
        if said.target not in targets:
            raise GateError(
                f"nothing says what it has to be tried on: {said.recipe} has no target {said.target}"
            )
        return proof(targets[said.target])

    return wants


def _policy(options: argparse.Namespace) -> Policy | None:
    """Return the policy that is named, or the workspace's, if it has one."""
    from retread.errors import UsageError
    from retread.evidence import gate

    path = options.policy
    if path is None:
        try:
            path = session.root(options) / POLICY
        except UsageError:  # an index is looked at from anywhere
            return None
        if not path.is_file():
            return None
    return gate.parse_policy(session.existing(path).read_bytes(), name=path.name)


def _base(folder: Path) -> str:
    """Return the address that an index's pages named last."""
    from retread.index.folder import Index

    last = Index(folder).last()
    return last.base if last and last.base else TRYING


def _acting(options: argparse.Namespace, need: Need, act: Callable[[Session, Path], T]) -> T:
    """Run an action on an index: a folder as it is, a bucket by the part that the action needs."""
    from retread.index import actions
    from retread.index.bucket import remote, storage

    machine = session.machine(options)
    here = actions.Session(
        Path(options.index), int(time.time()), machine.console.say, base=options.base or ""
    )
    with machine.store.scratch() as scratch:
        room = scratch / "room"
        room.mkdir()
        if not storage.is_bucket(options.index):
            return act(here, room)
        visit = remote.Visit(options.index, scratch, here.say)
        return remote.act(visit, need, lambda folder: act(here._replace(root=folder), room))


def index_change(options: argparse.Namespace) -> int:
    """Yank, unyank or remove a version, go back to an action, or make every page anew; stdout says what was done."""
    need, change = _change(options)
    _print_actions(options, [_acting(options, need, lambda here, _: change(here))])
    return 0


def _change(options: argparse.Namespace) -> tuple[Need, Callable[[Session], Action]]:
    """Return what the change that was asked for reads of an index, and the change."""
    from retread.index import actions
    from retread.index.bucket import mirror

    match options.action:
        case "rollback":
            return mirror.back_to(options.number), lambda here: actions.rollback(here, options.number)
        case "refresh":
            return mirror.EVERYTHING, actions.refresh
    change = {"yank": actions.yank, "unyank": actions.unyank, "remove": actions.remove}[options.action]
    project, version, reason = options.project, options.release, options.reason or ""
    need = mirror.of_version(project, version)
    return need, lambda here: change(here, project, version, reason)


def index_history(options: argparse.Namespace) -> int:
    """Show what was ever done to an index."""
    from retread.index import actions
    from retread.index.bucket import remote, storage

    index = options.index
    done = remote.history(index) if storage.is_bucket(index) else actions.history(Path(index))
    _print_actions(options, list(done))
    return 0


def _print_actions(options: argparse.Namespace, done: list[Action]) -> None:
    if options.json:
        session.print_json(done)
        return
    for one in done:
        what = ", ".join(dict.fromkeys(file.file for file in one.files)) or ", ".join(one.projects)
        print(
            f"{one.number:>5}  {one.time[:19]}  {one.action:<9} {what}{f'  ({one.reason})' if one.reason else ''}"
        )


def index_check(options: argparse.Namespace) -> int:
    """Verify every promise of an index from its bytes; PublishError with each that is broken."""
    from retread.errors import PublishError
    from retread.index.bucket import remote, storage
    from retread.index.check import check

    machine, policy = session.machine(options), _policy(options)
    with machine.store.scratch() as scratch, machine.console.step(f"check {options.index}") as step:
        if storage.is_bucket(options.index):
            found = remote.check(remote.Visit(options.index, scratch, machine.console.say), policy)
        else:
            found = check(Path(options.index), scratch, policy)
        step.detail = f"{found.projects} projects, {found.files} files"
    if options.json:
        session.print_json(found)
    elif not found.faults:
        print(
            f"sound: {found.actions} actions, {found.projects} projects, {found.files} files, {found.size:,} bytes"
        )
    if found.faults:
        raise PublishError(f"{options.index} is not sound", faults=found.faults)
    return 0


def index_revoke(options: argparse.Namespace) -> int:
    """Put a version on the signed list of what must not be used; stdout is the list's path."""
    from retread.index import revoke

    index = Path(options.index)
    place = revoke.revoke(
        index,
        revoke.Wanted(options.project, options.release, options.sha256, options.reason, options.advice),
        options.key,
        now=int(time.time()),
    )
    print(place)
    return 0


def serve(options: argparse.Namespace) -> int:
    """Serve an index, for trying it out, until interrupted."""
    from retread.index import serve as serving

    console = session.machine(options).console

    def ready(address: str) -> None:
        console.say(
            f"serving {options.index} at {address}; for trying it out: docs/serving says how to serve it really"
        )
        print(address, flush=True)

    serving.serve(options.index, options.host, options.port, ready=ready)
    return 0


def audit_lock(options: argparse.Namespace) -> int:
    """Hold a lock file, or an environment, against revocations and yanks; RevokedError with what must not be used."""
    from retread.index import revocations, revoke

    machine = session.machine(options)
    locked = revoke.locked(options.file)
    known = revoke.of_folder(Path(options.index), _policy(options))
    if not known.verified:
        machine.console.say(
            "note: no policy says whose list counts, so its signature was not checked (--policy)"
        )
    findings = revocations.check(locked, known.revocations, known.files)
    if options.json:
        session.print_json(findings)
    else:
        print(
            "\n".join(map(revocations.tell, findings)) or f"{len(locked)} locked, nothing revoked or yanked"
        )
    revocations.demand(findings, strict=options.strict)
    return 0
