"""``retread publish``, ``index``: list wheels in a private index, and look after it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from retread.cli import revoke, session
from retread.cli.options import (
    Options,
    add_action,
    add_address,
    add_command,
    add_common,
    add_policy,
    index_place,
    told,
)

if TYPE_CHECKING:
    from retread.cli.options import Groups
    from retread.index.actions import Published, Session
    from retread.index.admission import Terms
    from retread.index.bucket.mirror import Need
    from retread.index.folder import Action
    from retread.index.release import Release
    from retread.wheel.statement import Proof, Statement

T = TypeVar("T")
TRYING = "http://127.0.0.1:8000"
"""The address that pages name when nobody gave another: that of ``retread serve``."""


class IndexOptions(Options):
    """What every action on an index takes."""

    index: str
    """A folder or a bucket."""


class VariantsOptions(IndexOptions):
    """What is typed after ``index variants``."""

    out: Path


class PublishOptions(Options):
    """What is typed after ``publish``: an index of retread's, or one that others run."""

    wheel: tuple[Path, ...]
    index: str | None
    to: str | None
    pages: str
    evidence: Path | None
    allow_unproven: str | None
    base: str | None
    policy: Path | None
    release: Path | None


class ChangeOptions(IndexOptions):
    """What is typed after ``index yank`` and the others that change it; an action takes some of them."""

    action: str
    base: str | None
    project: str = ""
    release: str = ""
    reason: str | None = None
    number: int = 0


class CheckOptions(IndexOptions):
    """What is typed after ``index check``."""

    policy: Path | None


def add(groups: Groups) -> None:
    """Add the commands."""
    command = add_command(groups, "publish")
    command.add_argument("wheel", type=Path, nargs="+")
    place = command.add_mutually_exclusive_group(required=True)
    place.add_argument("--index", type=index_place, help="a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX")
    place.add_argument(
        "--to",
        metavar="NAME",
        type=told("the name of an index"),
        help="upload to an index that others run: a section of ~/.pypirc, or its address",
    )
    command.add_argument(
        "--pages", metavar="URL", default="", help="with --to: where its pages are; default: simple/ below it"
    )
    command.add_argument(
        "--evidence",
        type=Path,
        metavar="DIR",
        help="with --to: where envelopes are kept; default: beside the wheels",
    )
    command.add_argument(
        "--allow-unproven",
        metavar="REASON",
        type=told("a reason"),
        help="also without evidence; the page shows the reason",
    )
    command.add_argument(
        "--release", type=Path, metavar="PLAN", help="only whole: with each wheel that 'release plan' lists"
    )
    add_address(command)
    add_policy(command)
    add_common(command, publish, PublishOptions)

    actions = add_command(groups, "index").add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_versions(actions)
    _add_states(actions)
    history = _action(actions, "history", "show every action")
    add_common(history, index_history, IndexOptions)
    check = _action(actions, "check", "verify every promise from the bytes")
    add_common(check, index_check, CheckOptions)
    add_policy(check)
    described = _action(
        actions, "variants", "write what the draft of PEP 825 says of wheels, beside an index"
    )
    described.add_argument(
        "-o", "--out", type=Path, required=True, metavar="DIR", help="where PROJECT-VERSION-variants.json go"
    )
    add_common(described, index_variants, VariantsOptions)
    revoke.add_actions(actions)


def _add_versions(actions: Groups) -> None:
    """Add what is done to a version."""
    for name, text in (
        ("yank", "take a version from whoever does not ask for exactly it"),
        ("unyank", "undo that"),
        ("remove", "take a version and its files away; its names stay bound to its bytes"),
    ):
        command = _action(actions, name, text)
        command.add_argument("project", metavar="PROJECT")
        command.add_argument("release", metavar="VERSION")
        command.add_argument(
            "--reason",
            required=name != "unyank",
            type=told("a reason"),
            help="the pages and the history show it",
        )
        add_address(command)
        add_common(command, index_change, ChangeOptions)


def _add_states(actions: Groups) -> None:
    """Add what is done to the whole index."""
    rollback = _action(actions, "rollback", "go back to what the index was after an action")
    rollback.add_argument("number", type=int, metavar="NUMBER")
    refresh = _action(actions, "refresh", "make every page anew")
    for command in (rollback, refresh):
        add_address(command)
        add_common(command, index_change, ChangeOptions)


def _action(actions: Groups, name: str, text: str) -> argparse.ArgumentParser:
    command = add_action(actions, name, text)
    command.add_argument("index", type=index_place, help="a folder or a bucket")
    return command


def publish(options: PublishOptions) -> int:
    """List wheels in an index, all or none; stdout is the files that are listed."""
    from retread.doors.console import NOTE
    from retread.index import actions
    from retread.index.admission import Terms
    from retread.index.bucket import mirror

    wheels = [session.existing(wheel) for wheel in options.wheel]
    _demand_fitting(options)
    policy = session.policy(options, options.policy)
    terms = Terms(policy, options.allow_unproven or "", _wants(options), _plan(options))
    if options.to is not None:
        return _upload(options, wheels, terms)

    def act(here: Session, scratch: Path) -> Published:
        base = here.base or _base(here.root)
        done = actions.publish(here._replace(base=base or TRYING), wheels, terms, scratch)
        if done.action and not base:
            here.say(
                f"{NOTE} no --base was given: the pages name {TRYING}, which is this machine alone; before others "
                f"install from here, 'retread index refresh {options.index} --base URL' lets them name its address"
            )
        return done

    done = _acting(options, mirror.of_wheels(wheels), act)
    if options.json:
        session.print_json(done)
    elif done.listed:
        session.put("\n".join(one.file for one in done.listed))
    return 0


def _demand_fitting(options: PublishOptions) -> None:
    """Raise UsageError for an option that says something of the other kind of index."""
    from retread.errors import UsageError

    wrong = {"--base": options.base} if options.to is not None else {
        "--pages": options.pages, "--evidence": options.evidence,
    }  # fmt: skip
    for name, value in wrong.items():
        if value:
            hint = "an index that others run names its own address" if name == "--base" else "leave it out"
            raise UsageError(
                f"{name} is not for {'--to' if options.to is not None else '--index'}", hint=hint
            )


def _upload(options: PublishOptions, wheels: list[Path], terms: Terms) -> int:
    """Upload wheels to an index that others run; stdout is the files that it did not have."""
    from retread.doors import fs
    from retread.doors.net.upload import Remote
    from retread.index import upload

    if options.evidence is not None:
        fs.demand_folder(options.evidence)
    machine = session.machine(options)
    pages = f"{_address(options.pages, '--pages').rstrip('/')}/" if options.pages else ""
    remote = Remote(options.to or "", pages, machine.console.say)
    with machine.store.scratch() as scratch:
        done = upload.upload(
            remote,
            wheels,
            terms,
            scratch,
            evidence=options.evidence,
            say=machine.console.say,
            step=machine.console.step,
        )
    if options.json:
        session.print_json(done)
    elif done.uploaded:
        session.put("\n".join(one.file for one in done.uploaded))
    return 0


def _plan(options: PublishOptions) -> Release | None:
    """Return the plan of the release that is published, if it is one."""
    from retread.doors import fs
    from retread.index import release

    if options.release is None:
        return None
    return release.parse(fs.read(session.existing(options.release)), name=str(options.release))


def _wants(options: Options) -> Callable[[Statement], Proof]:
    """Return what asks a recipe by what its wheels are proven; those of an older retread do not say it themselves."""
    from packaging.utils import InvalidWheelFilename

    from retread.audit.promise import proof
    from retread.errors import GateError, RetreadError
    from retread.evidence import agreement
    from retread.recipe import platforms, workspace
    from retread.wheel import statement

    def wants(said: Statement) -> Proof:
        try:
            named = statement.recipe(said, "write one: 'retread recipe new'")
            recipe = workspace.load(session.root(options), named).recipe
        except RetreadError as error:  # its own fault: what the others lack is told as well
            raise GateError(
                f"nothing says what it has to be tried on: {error.message}", hint=error.hint
            ) from None
        if said.target not in recipe.targets:
            raise GateError(
                f"nothing says what it has to be tried on: {said.recipe} has no target {said.target}"
            )
        ours = agreement.of_recipe(f"recipe {recipe.name}", recipe.project, recipe.version)
        if wrong := [
            *agreement.faults((*agreement.of_version(agreement.STATEMENT, said.project, said.version), *ours))
        ]:
            raise GateError(f"recipe {recipe.name} is not of this wheel", faults=wrong)
        target = recipe.targets[said.target]
        try:
            return proof(target.on(platforms.of_wheel(said.base.file)) if said.base else target)
        except InvalidWheelFilename as error:
            raise GateError(f"{agreement.STATEMENT}: its base is no wheel: {error}") from None

    return wants


def _base(folder: Path) -> str:
    """Return the address that an index's pages named last; nothing when they named none."""
    from retread.index.folder import Index

    last = Index(folder).last()
    return last.base if last else ""


def _address(text: str | None, option: str = "--base") -> str:
    """Return the address that was given, or nothing; UsageError for one that must not stand on a page."""
    from urllib.parse import urlsplit

    from retread.errors import UsageError

    if text is None:
        return ""
    try:
        found = urlsplit(text)
        _ = found.port  # ValueError for one that is none
        is_address = found.scheme in {"http", "https"} and bool(found.hostname)
    except ValueError:
        is_address = False
    if not is_address or not text.isascii() or not text.isprintable() or set(text) & set(" \"'<>\\`"):
        raise UsageError(
            f"{option}: {text!r} is not the address of an index", hint="give one like https://wheels.example"
        )
    if "@" in found.netloc or found.query or found.fragment:
        raise UsageError(
            f"{option}: pages name the address, so it has no user, password, '?' or '#'",
            hint="consumers keep their password in .netrc or a keyring",
        )
    return text


def _acting(options: PublishOptions | ChangeOptions, need: Need, act: Callable[[Session, Path], T]) -> T:
    """Run an action on an index: a folder as it is, a bucket by the part that the action needs."""
    from retread.doors import bucket, clock
    from retread.index import actions
    from retread.index.bucket import remote

    base = _address(options.base)
    machine = session.machine(options)
    place = options.index or ""
    here = actions.Session(Path(place), clock.now(), machine.console.say, base=base)
    with machine.store.scratch() as scratch:
        room = scratch / "room"
        room.mkdir()
        if not bucket.is_bucket(place):
            return act(here, room)
        visit = remote.Visit(place, scratch, here.say)
        return remote.act(visit, need, lambda folder: act(here._replace(root=folder), room))


def index_change(options: ChangeOptions) -> int:
    """Yank, unyank or remove a version, go back to an action, or make every page anew; stdout says what was done."""
    need, change = _change(options)
    _print_actions(options, [_acting(options, need, lambda here, _: change(here))])
    return 0


def _change(options: ChangeOptions) -> tuple[Need, Callable[[Session], Action]]:
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


def index_variants(options: VariantsOptions) -> int:
    """Write ``<project>-<version>-variants.json`` for what an index lists; stdout is their paths."""
    from retread.doors import bucket, fs
    from retread.errors import UsageError
    from retread.index import variants
    from retread.index.folder import Index

    if bucket.is_bucket(options.index):
        hint = "copy the bucket into a folder and name that"
        raise UsageError("index variants reads a folder, not a bucket", hint=hint)
    index, made = Index(Path(options.index)), dict[str, bytes]()
    with index.reading():
        for channel in index.channels():
            for name in index.names(channel):
                if project := index.project(channel, name):
                    made |= variants.files(project)
    options.out.mkdir(parents=True, exist_ok=True)
    paths = [options.out / name for name in sorted(made)]
    for path in paths:
        fs.write(path, made[path.name])
    if options.json:
        session.print_json(paths)
    elif paths:
        session.put("\n".join(map(str, paths)))
    session.machine(options).console.say("note: PEP 825 is a draft; no installer of today reads these files")
    return 0


def index_history(options: IndexOptions) -> int:
    """Show what was ever done to an index."""
    from retread.doors import bucket
    from retread.index import actions
    from retread.index.bucket import remote

    index = options.index
    done = remote.history(index) if bucket.is_bucket(index) else actions.history(Path(index))
    _print_actions(options, list(done))
    return 0


def _print_actions(options: Options, done: list[Action]) -> None:
    if options.json:
        session.print_json(done)
        return
    for one in done:
        what = ", ".join(dict.fromkeys(file.file for file in one.files)) or ", ".join(one.projects)
        session.put(
            f"{one.number:>5}  {one.time[:19]}  {one.action:<9} {what}{f'  ({one.reason})' if one.reason else ''}"
        )


def index_check(options: CheckOptions) -> int:
    """Verify every promise of an index from its bytes; PublishError with each that is broken."""
    from retread.doors import bucket, clock
    from retread.errors import PublishError
    from retread.index.bucket import remote
    from retread.index.check import check
    from retread.units import counted

    machine, policy = session.machine(options), session.policy(options, options.policy)
    with machine.store.scratch() as scratch, machine.console.step(f"check {options.index}") as step:
        if bucket.is_bucket(options.index):
            found = remote.check(remote.Visit(options.index, scratch, machine.console.say), policy)
        else:
            found = check(Path(options.index), scratch, policy, clock.now())
        step.detail = f"{counted(found.projects, 'project')}, {counted(found.files, 'file')}"
        step.mark = "failed" if found.faults else "ok"
    if options.json:
        session.print_json(found)
    elif not found.faults:
        held = (
            counted(found.actions, "action"),
            counted(found.projects, "project"),
            counted(found.files, "file"),
        )
        session.put(f"sound: {', '.join(held)}, {found.size:,} bytes")
    if found.faults:
        raise PublishError(
            f"{options.index} is not sound",
            faults=found.faults,
            hint="put back from a copy what was changed, and find out who may write there; pages alone "
            f"'retread index refresh {options.index}' makes anew",
        )
    return 0
