"""``retread index revoke``, ``audit-lock``: say what must not be used, and find it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, add_action, add_command, add_common, add_policy, index_place, told

if TYPE_CHECKING:
    from retread.cli.options import Groups


class RevokeOptions(Options):
    """What is typed after ``index revoke``."""

    index: str
    project: str
    release: str | None
    sha256: str | None
    reason: str
    advice: str
    key: Path


class RenewOptions(Options):
    """What is typed after ``index renew``."""

    index: str
    key: Path


class AuditLockOptions(Options):
    """What is typed after ``audit-lock``."""

    file: Path
    index: str
    strict: bool
    policy: Path | None


def add(groups: Groups) -> None:
    """Add the command."""
    command = add_command(groups, "audit-lock")
    command.add_argument(
        "file", type=Path, help="uv.lock, pylock.toml, poetry.lock, requirements, or a venv's folder"
    )
    command.add_argument("--index", type=index_place, required=True, help="the index's folder")
    command.add_argument(
        "--strict", action="store_true", help="a yank is an error, too, and what could not be compared"
    )
    add_policy(command)
    add_common(command, audit_lock, AuditLockOptions)


def add_actions(actions: Groups) -> None:
    """Add what an index can do: revoke, renew."""
    command = add_action(actions, "revoke", "put a version on the signed list of what must not be used")
    command.add_argument("index", type=index_place, help="a folder")
    command.add_argument("project")
    command.add_argument("release", nargs="?", metavar="VERSION", help="default: every version")
    command.add_argument("--sha256", help="only the file with this digest")
    command.add_argument("--reason", type=told("a reason"), required=True)
    command.add_argument("--advice", type=told("an advice"), required=True, help="what to use instead")
    command.add_argument("--key", type=Path, required=True, help="a builder's key of the policy")
    add_common(command, index_revoke, RevokeOptions, json=False)
    command = add_action(actions, "renew", "sign the list again, so that it is not too old for a policy")
    command.add_argument("index", type=index_place, help="a folder")
    command.add_argument("--key", type=Path, required=True, help="a builder's key of the policy")
    add_common(command, index_renew, RenewOptions, json=False)


def index_renew(options: RenewOptions) -> int:
    """Sign the list again, as it is, with the next serial number and today's date; stdout is the list's path."""
    from retread.doors import clock
    from retread.index import revoke

    session.put(revoke.renew(Path(options.index), options.key, now=clock.now()))
    return 0


def index_revoke(options: RevokeOptions) -> int:
    """Put a version on the signed list of what must not be used; stdout is the list's path."""
    from retread.doors import clock
    from retread.index import revoke

    index = Path(options.index)
    place = revoke.revoke(
        index,
        revoke.Wanted(options.project, options.release, options.sha256, options.reason, options.advice),
        options.key,
        now=clock.now(),
    )
    session.put(place)
    return 0


def audit_lock(options: AuditLockOptions) -> int:
    """Hold a lock file, or an environment, against revocations and yanks; RevokedError with what must not be used."""
    from retread.doors import clock
    from retread.index import revocations, revoke

    machine = session.machine(options)
    locked = revoke.locked(options.file)
    policy = session.policy(options, options.policy)
    known = revoke.of_folder(Path(options.index), policy, clock.now())
    if not known.verified:
        machine.console.say(
            "note: no policy says whose list counts, so its signature was not checked (--policy)"
        )
    locked, unchecked = revocations.compared(locked, known.files, revoke.hashed(Path(options.index)))
    findings = revocations.check(locked, known.revocations, known.files)
    if unchecked and not options.strict:
        machine.console.say(f"note: not compared, {len(unchecked)} of {len(locked)}: {'; '.join(unchecked)}")
    if options.json:
        session.print_json(findings)
    else:
        rest = f", {len(unchecked)} not compared" if unchecked else ""
        session.put(
            "\n".join(map(revocations.tell, findings))
            or f"{len(locked)} locked, nothing revoked or yanked{rest}"
        )
    revocations.demand(findings, strict=options.strict, unchecked=unchecked)
    return 0
