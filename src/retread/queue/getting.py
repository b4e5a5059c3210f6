"""What is taken in, from wherever it was named: a file, standard input, an address, a commit."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from retread import limits
from retread.address import bare
from retread.doors import fs
from retread.doors.machine import Machine, downloaded
from retread.errors import FetchError, SeriesError, UsageError
from retread.queue import header, incoming
from retread.queue.incoming import Incoming, Read
from retread.queue.repository import Repository
from retread.queue.worktree import Worktree
from retread.records import Sha256

if TYPE_CHECKING:
    from retread.doors.net.download import Progress
    from retread.doors.net.settings import Settings
    from retread.queue.desk import Desk

_ADDRESS: Final = re.compile(r"https?://")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_FILE: Final = "patch"


def file(typed: str) -> Read:
    """Return the patches of a file, or of standard input (``-``)."""
    if typed == "-":
        data = sys.stdin.buffer.read(limits.PATCH + 1)
        if len(data) > limits.PATCH:
            raise SeriesError(f"standard input: larger than {limits.PATCH >> 20} MiB")
        return incoming.read(data, name="standard input")
    path = Path(typed)
    if not path.is_file():
        raise UsageError(f"there is no file {typed}")
    if path.stat().st_size > limits.PATCH:
        raise SeriesError(f"{typed}: larger than {limits.PATCH >> 20} MiB")
    return incoming.read(fs.read(path), name=path.name)


def anything(machine: Machine, typed: str, sha256: str) -> Read:
    """Return the patches of an address, a file or standard input; UsageError for a digest that pins no address."""
    if _ADDRESS.match(typed):
        return address(machine, typed, sha256)
    if sha256:
        raise UsageError("--sha256 pins an address, and none was typed")
    return file(typed)


def address(machine: Machine, typed: str, sha256: str) -> Read:
    """Return the patches at an address, whose bytes have to have the digest; FetchError for others, and without one."""
    from retread.doors.net import asking
    from retread.doors.net import download as net

    base, _, name = typed.rpartition("/")
    shown = bare(typed)
    if sha256 and not _SHA256.fullmatch(sha256):
        raise UsageError(f"{sha256!r} is no SHA-256", hint="it has 64 digits of 0-9 and a-f")

    def fetch(partial: Path, using: Settings, progress: Progress) -> None:
        wanted = asking.Wanted("", name, Sha256(sha256))
        net.fetch_from(base, name, wanted, partial, using=using, progress=progress)

    if sha256:
        path = downloaded(machine, _FILE, Sha256(sha256), fetch)
        found = incoming.read(path.read_bytes(), name=shown)
        origin = f"Origin: {shown} (sha256 {sha256})"
        return Read(tuple(_with_origin(one, origin) for one in found.patches), found.skipped)
    raise FetchError(
        f"{shown} is not pinned",
        hint="fetch it, read it, and say what you read: --sha256 with what 'sha256sum' prints; a server that gives "
        "other bytes is refused then",
    )


def _with_origin(one: Incoming, origin: str) -> Incoming:
    return one._replace(head=header.with_fields(one.head, [origin]))


def one(desk: Desk, typed: str, clone: Path | None) -> Incoming:
    """Return the one patch that was named: a file, standard input, or a commit; SeriesError for several."""
    if clone is None and (typed == "-" or Path(typed).is_file()):
        read = file(typed)
        if len(read.patches) != 1:
            raise SeriesError(
                f"{typed} holds {len(read.patches)} patches", hint="'retread patch import' takes in several"
            )
        return read.patches[0]
    with desk.machine.store.scratch() as scratch:
        return commit(desk, scratch, typed, clone)


def commit(desk: Desk, scratch: Path, typed: str, clone: Path | None) -> Incoming:
    """Return a commit of the worktree, or of another clone, as a patch; its message is the header.

    UsageError when there is no such commit, SeriesError for a merge.
    """
    if clone is not None and not clone.is_dir():
        raise UsageError(f"there is no folder {clone}")
    if clone is None:
        Worktree(desk, scratch).demand_state()
    folder = clone or desk.worktree
    git = Repository(folder, desk.machine.environment, scratch, bare=not (folder / ".git").exists())
    known = git.run("rev-parse", "--quiet", "--verify", "--end-of-options", f"{typed}^{{commit}}")
    if known.code:
        raise UsageError(
            f"{typed!r} is neither a file nor a commit of {git.folder}",
            hint="name a file with a diff, or the clone that has the commit with --clone",
        )
    found = git.one(known.stdout.strip())
    if len(found.parents) != 1:
        what = "a merge" if found.parents else "a root"
        raise SeriesError(f"{typed}: {what} of {git.folder}; a patch is what one commit changes in another")
    diff = git.diff(found.parents[0], found.id)
    if not diff:
        raise SeriesError(f"{typed}: changes nothing")
    text = header.from_message(found.message, None)
    if clone is not None:
        text += f"\nOrigin: commit {found.id}\n".encode()
    return incoming.read(text + b"---\n" + diff, name=f"commit {found.id[:12]}").patches[0]
