"""An index in a bucket: its hidden state comes into a folder, the ordinary action runs there, what is new goes back.

Objects mirror the folder, but a bucket has no links: a state object holds where its link leads, a project's pages lie
where readers ask for them, and each action is an object that can be made only once, which is the commit point:

    files -> bundle of all the rest -> **action** -> hidden state, project pages, lists -> bundle removed

Whoever comes next finishes a bundle whose action is made, and removes the files of one whose action is not.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar
from zipfile import ZIP_DEFLATED, ZipFile

import msgspec

from retread import strict
from retread.doors import durable, fs
from retread.doors.bucket import DIGEST, Bucket
from retread.errors import PublishError, RetreadError, StoreError
from retread.evidence.gate import Policy
from retread.index.bucket import journal, mirror
from retread.index.bucket.journal import Decided
from retread.index.bucket.lease import LOCK, Lease, Times
from retread.index.bucket.mirror import Need
from retread.index.check import Checked
from retread.index.check import check as check_folder
from retread.index.folder import Action, Index, lies_in
from retread.index.headers import attributes
from retread.index.layout import place

T = TypeVar("T")
Say = Callable[[str], None]
_ACTION = "action.json"
_AT_ONCE = 4
"""Files that are uploaded at once, each in parts of a few megabytes."""


class Visit(NamedTuple):
    """A command's work on a bucket."""

    address: str
    scratch: Path
    """An empty folder."""
    say: Say
    times: Times = Times()


def act(visit: Visit, need: Need, run: Callable[[Path], T]) -> T:
    """Run an action of ``actions`` against a bucket: ``run`` gets a folder, of which ``need`` says what is read.

    StoreError when the storage refuses, PublishError when somebody else holds the index or it is not sound.
    """
    bucket = Bucket(visit.address, attributes)
    if need.new:
        _demand_outside(bucket)  # before anything is written, and that is the lock
    lease = Lease(bucket, visit.say, visit.times)
    with (
        lease.held(),
        durable.disk_errors(visit.scratch),
        tempfile.TemporaryDirectory(dir=visit.scratch) as name,
    ):
        remote, folder = _Remote(bucket, lease, Path(name), visit.say), Path(name) / "index"
        remote.recover()
        last = mirror.pull(bucket, need, folder, visit.say)
        before = mirror.stamps(folder)
        with _renamed(folder, bucket.address):
            done = run(folder)
        new = Index(folder).last()
        if new and (last is None or new.number > last.number):
            remote.push(folder, mirror.changed(folder, before), new)
        remote.clean(new.number if new else 0)
    return done


def history(address: str) -> tuple[Action, ...]:
    """Return what was ever done to an index, the first action first."""
    bucket = Bucket(address, attributes)
    found = tuple(journal.actions(bucket))
    if not found:
        raise journal.absent(bucket)
    return found


def check(visit: Visit, policy: Policy | None = None) -> Checked:
    """Return every promise that an index breaks; all of it is downloaded.

    It is begun again when the index changes meanwhile. PublishError where there is none.
    """
    bucket = Bucket(visit.address, attributes)
    for _ in range(3):
        with durable.disk_errors(visit.scratch), tempfile.TemporaryDirectory(dir=visit.scratch) as name:
            found = _checked(bucket, Path(name), policy, visit.say)
        if found:
            return found
        visit.say(f"{bucket.address} has changed: looking again")
    raise PublishError(f"{bucket.address} changes all the time", hint="do it again when nobody publishes")


def _checked(bucket: Bucket, scratch: Path, policy: Policy | None, say: Say) -> Checked | None:
    """Return what is wrong with an index; None when it changed while it was read."""
    folder, room = scratch / "index", scratch / "room"
    room.mkdir()
    before = journal.position(bucket)
    if not before.actions:
        raise journal.absent(bucket)
    faults = mirror.whole(bucket, folder, say)
    if journal.position(bucket) != before:
        return None
    with _renamed(folder, bucket.address):
        found = check_folder(folder, room, policy)
    return msgspec.structs.replace(found, faults=(*faults, *found.faults))


def _demand_outside(bucket: Bucket) -> None:
    """Raise PublishError where an index would begin inside another; what may not be read above it is passed over."""
    if bucket.facts(LOCK):
        return  # it was begun
    parts = bucket.address.split("/")
    for end in range(len(parts) - 1, parts.index("") + 1, -1):
        outer = Bucket("/".join(parts[:end]))
        found = None
        with suppress(StoreError):
            found = outer.facts(journal.action(1))
        if found:
            raise lies_in(bucket.address, outer.address)


class _Remote:
    """A bucket that is held for an action."""

    def __init__(self, bucket: Bucket, lease: Lease, scratch: Path, say: Say) -> None:
        self._bucket, self._lease, self._scratch, self._say = bucket, lease, scratch, say

    def recover(self) -> None:
        """Finish the action that an earlier holder decided."""
        for name in journal.bundles(self._bucket):
            decided = journal.decided(self._bucket, journal.number(name))
            if decided and decided.bundle == name:
                self._say(f"finishing action {decided.action.number}, which was interrupted")
                self._apply(decided, self._fetched(name))

    def push(self, folder: Path, changed: Sequence[str], action: Action) -> None:
        """Make what an action changed in a folder the bucket's."""
        files = [one for one in changed if mirror.stage(one) == 0]
        small = {image: one for one in changed if one not in files and (image := mirror.image(one))}
        name = f"{journal.STAGED}/{action.number:08}-{secrets.token_hex(8)}.zip"
        bundle = self._scratch / "bundle.zip"
        with ZipFile(bundle, "w", ZIP_DEFLATED) as archive:
            archive.writestr(_ACTION, msgspec.json.encode(action))
            for image, one in sorted(small.items()):
                archive.writestr(image, mirror.content(folder / one))
        try:
            self._lease.demand()
            self._bucket.write(name, bundle)
            self._upload(folder, files)
            self._commit(Decided(action=action, bundle=name))
        except StoreError as error:
            hint = f"nothing of it is listed; {error.hint or 'do it again when the storage answers'}"
            raise StoreError(error.message, hint=hint) from None
        self._apply(Decided(action=action, bundle=name), bundle)

    def clean(self, last: int) -> None:
        """Remove what was uploaded for actions that were never decided, now that they never can be."""
        try:
            for name in journal.bundles(self._bucket):
                if journal.number(name) <= last:
                    with ZipFile(self._fetched(name)) as archive:
                        action = strict.decoded(archive.read(_ACTION), Action)
                    self._forget(action)
                    self._remove(name)
        except StoreError as error:
            self._say(f"{error.message}: the next change clears up")

    def _fetched(self, name: str) -> Path:
        path = self._scratch / secrets.token_hex(8)
        self._bucket.fetch(name, path)
        return path

    def _upload(self, folder: Path, files: Sequence[str]) -> None:
        """Upload files that are not there yet."""

        def upload(one: str) -> None:
            digest, size = fs.sha256(folder / one), (folder / one).stat().st_size
            if one.endswith(".whl") and digest != one.split("/")[2]:
                raise PublishError(f"{one} was written while it was read", hint="publish it again")
            there = self._bucket.facts(one)
            if not there or (there.size, there.attributes.get(DIGEST)) != (size, digest):
                self._lease.demand()
                self._bucket.write(one, folder / one, digest)

        journal.each(upload, files, _AT_ONCE)

    def _commit(self, decided: Decided) -> None:
        """Make the action's object; when the answer is lost, see whether it was made."""
        name, data = journal.action(decided.action.number), msgspec.json.encode(decided)
        self._lease.demand()
        refused: StoreError | None = None
        try:
            made = self._bucket.create(name, data)
        except StoreError as error:
            made, refused = None, error
        if made:
            return
        try:
            found = self._bucket.read(name)
        except StoreError:
            hint = "do it again: that finds out, and finishes it"
            raise PublishError(f"{self._bucket.address}/{name} may be written, or not", hint=hint) from None
        if found != data:
            raise refused or PublishError(
                f"somebody else was first to change {self._bucket.address}", hint="do it again"
            )

    def _apply(self, decided: Decided, bundle: Path) -> None:
        """Put everything in its place; done again, it goes on where it was."""
        action = decided.action
        try:
            with ZipFile(bundle) as archive:
                names = [one for one in archive.namelist() if one != _ACTION]
                for stage in range(1, 4):
                    batch = [one for one in names if mirror.stage(one) == stage]
                    journal.each(lambda one: self._write(one, archive.read(one)), batch)
            if action.action == "remove":
                self._forget(action)
            self._remove(decided.bundle)
        except StoreError as error:
            hint = f"action {action.number} is decided: the next change finishes it, once the storage lets it"
            raise StoreError(error.message, hint=hint) from None

    def _forget(self, action: Action) -> None:
        """Remove the bytes of wheels that are not listed."""
        for one in action.files:
            home = place(one.file, one.sha256)
            if not mirror.is_listed(self._bucket, one.file, one.sha256):
                for inside in tuple(self._bucket.list(home.rpartition("/")[0])):
                    self._remove(inside.name)

    def _write(self, name: str, data: bytes) -> None:
        self._lease.demand()
        self._bucket.write(name, data)

    def _remove(self, name: str) -> None:
        self._lease.demand()
        self._bucket.remove(name)


@contextmanager
def _renamed(folder: Path, address: str) -> Iterator[None]:
    """Let errors tell of the bucket, not of the folder that stands for it."""
    try:
        yield
    except RetreadError as error:
        local = (str(folder), os.path.realpath(folder))
        if not any(one in str(error) for one in local):
            raise
        texts = [error.message, error.hint, *error.faults]
        for one in local:
            texts = [text.replace(one, address) for text in texts]
        raise type(error)(texts[0], hint=texts[1], faults=texts[2:]) from None
