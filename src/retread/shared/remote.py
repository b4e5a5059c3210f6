"""A shared store: entries in a bucket or a folder that many machines see, believed by signature and by digest alone.

It never stands in the way: what it does not have, or has but nobody trusted vouches for, is made here; when it refuses
or does not answer, one note says so and the rest of the command does without it.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from retread import limits
from retread.address import shown
from retread.doors import clock, fs
from retread.doors.bucket import Bucket, MissingError, Object, is_bucket
from retread.doors.console import NOTE
from retread.doors.store import Kind
from retread.errors import GateError, PublishError, RetreadError, StoreError, UsageError
from retread.evidence.signing import Key
from retread.records import Sha256
from retread.shared import claim as claims
from retread.shared import parcel
from retread.shared.claim import Claim, Place
from retread.version import __version__

KINDS: Final = frozenset(
    {
        Kind.DOWNLOADS, Kind.TREES, Kind.BASES, Kind.TOOLCHAINS, Kind.TOOLKITS, Kind.ENVIRONMENTS, Kind.COMPILED,
        Kind.CUBINS, Kind.LIBRARIES, Kind.WHEELS,
    }
)  # fmt: skip
"""What is shared. A patched tree is not: applying a series takes less time than fetching what came of it."""
USED_DAYS: Final = 1.0
"""An entry that is taken is marked as used when its mark is older: a small object a day, however often it is taken."""
ORPHAN_DAYS: Final = 1.0
"""A parcel without a claim is somebody's upload, or what is left of one that broke off; none takes a day."""
_DAY: Final = 86_400.0


class Means(NamedTuple):
    """What a machine brings."""

    trusted: tuple[Key, ...]
    """Whose claims are believed."""
    signer: Key | None
    """Who claims what is made here; None gives nothing to others."""
    say: Callable[[str], None]
    now: Callable[[], float] = clock.now


class Listed(NamedTuple):
    """An entry in a shared store."""

    kind: Kind
    key: str
    parcel: Sha256
    size: int
    """Bytes of its parcel; 0 where that is gone."""
    used: float
    """When it was given or taken last, to a day, in seconds since 1970 by the storage's clock."""


class _Believed(NamedTuple):
    claim: Claim
    signer: str
    envelope: bytes


class _GoneError(StoreError):
    """An object that was there a moment ago."""


class _BadError(StoreError):
    """A parcel that is not what is claimed."""


def _is_folder(address: str) -> bool:
    path = Path(unquote(urlsplit(address).path))
    return address.startswith("file:///") and path.is_dir() and path != path.parent


class Shared:
    """The shared store at an address, as the local store's ``elsewhere``."""

    def __init__(self, address: str, means: Callable[[], Means]) -> None:
        """Take an address, and what gives a machine's means once they are needed."""
        self.address = address
        self._get_means = means
        self._silent = False
        self._refuses = False
        self._told: set[str] = set()
        """Why claims were refused, each once."""

    @functools.cached_property
    def _means(self) -> Means:
        return self._get_means()

    @functools.cached_property
    def _bucket(self) -> Bucket:
        try:
            if not is_bucket(self.address) and not _is_folder(self.address):
                raise PublishError(self.address)
            return Bucket(self.address)
        except PublishError:
            hint = "name one like s3://bucket/prefix, or file:///folder that is there"
            raise UsageError(f"RETREAD_SHARED: {shown(self.address)} cannot be opened", hint=hint) from None

    def demand(self) -> None:
        """Raise UsageError for an address that cannot be opened, or for a key or a policy that is not there.

        Nobody is asked: one that does not answer stands in nobody's way.
        """
        _ = self._bucket, self._means

    def take(self, kind: Kind, key: str, into: Path) -> bool:
        """Fill an empty folder with an entry that somebody trusted claims; say which claims are refused, and why."""
        if kind not in KINDS or self._silent:
            return False
        trusted = self._means.trusted
        try:
            folder = claims.folder(kind, key)
            for name in self._bucket.strange(folder):
                self._means.say(
                    f"    {NOTE} the shared store's {folder}/{name} is no plain file; it is passed over"
                )
            found = list(self._bucket.list(folder))
            for one in sorted(found, key=lambda one: -one.modified)[: limits.CLAIMS]:
                if self._took(one, into, trusted):
                    return True
        except StoreError as error:
            self._do_without(error)
        return False

    def give(self, kind: Kind, key: str, entry: Path, scratch: Path) -> None:
        """Give an entry that was made here: its parcel first, and then the claim, without which it is not there."""
        if kind not in KINDS or self._silent or self._refuses:
            return
        signer = self._means.signer
        if signer is None:
            return
        file = scratch / "parcel"
        try:
            with fs.disk_errors(scratch):
                sha256, size = parcel.pack(entry, file)
            if size > limits.PARCEL:
                return
            made = int(self._means.now())
            claim = Claim(
                schema=claims.SCHEMA, kind=kind, key=key, parcel=sha256, size=size, retread=__version__, made=made
            )  # fmt: skip
            self._bucket.write(claims.parcel_name(sha256), file)
            self._bucket.write(claims.name(kind, key, sha256), claims.write(claim, signer))
        except StoreError as error:
            self._keep_to_reading(error)

    def entries(self) -> Iterator[Listed]:
        """Yield what is claimed, believed or not, the longest unused first."""
        sizes = {one.name: one.size for one in self._bucket.list(claims.PARCELS)}
        found = [(one, at) for one in self._bucket.list(claims.ENTRIES) if (at := claims.place(one.name))]
        for one, at in sorted(found, key=lambda pair: pair[0].modified):
            yield Listed(*at, sizes.get(claims.parcel_name(at.parcel), 0), one.modified)

    def prune(self, *, unused_days: float, keep_bytes: int | None = None) -> list[Listed]:
        """Remove entries unused for longer, then the longest unused until the rest fits; return what went.

        The claim goes first: whoever finds one finds its parcel, or is at it already.
        """
        every = list(self.entries())
        limit = self._means.now() - unused_days * _DAY
        total = sum({one.parcel: one.size for one in every}.values())
        gone, kept = [], set()
        for one in every:
            if int(one.used) <= limit or (keep_bytes is not None and total > keep_bytes):
                self._bucket.remove(claims.name(one.kind, one.key, one.parcel))
                total -= one.size
                gone.append(one)
            else:
                kept.add(claims.parcel_name(one.parcel))
        dropped = {claims.parcel_name(one.parcel) for one in gone}
        for parcel_ in self._bucket.list(claims.PARCELS):
            old = parcel_.modified < self._means.now() - ORPHAN_DAYS * _DAY
            if parcel_.name not in kept and (parcel_.name in dropped or old):
                self._bucket.remove(parcel_.name)
        return gone

    def faults(self) -> Iterator[str]:
        """Yield what is wrong with each claim and each parcel: everything is fetched."""
        trusted = self._means.trusted
        with tempfile.TemporaryDirectory(prefix="retread-parcel-") as folder:
            for one in self._bucket.list(claims.ENTRIES):
                at = claims.place(one.name)
                into = Path(folder) / "entry"
                into.mkdir()
                try:
                    if at is None:
                        raise GateError(f"{one.name} is the name of no claim")
                    self._fill(self._believed(one, at, trusted), into)
                except RetreadError as error:
                    yield f"{one.name}: {error.message}"
                fs.remove(into)

    def _took(self, one: Object, into: Path, trusted: Sequence[Key]) -> bool:
        at = claims.place(one.name)
        if at is None:
            return False
        try:
            believed = self._believed(one, at, trusted)
            self._fill(believed, into)
        except _GoneError:
            return False  # pruned meanwhile
        except (GateError, _BadError) as error:
            for path in into.iterdir():
                fs.remove(path)
            why = error.message.replace(one.name, "")
            if why not in self._told:  # a stranger's store has hundreds of entries
                told = (
                    f"the shared store's {at.kind}/{at.key[:16]} is refused: {error.message}; it is made here"
                )
                self._means.say(f"    {NOTE} {told}")
            if isinstance(error, GateError):
                self._told.add(why)
            return False
        if at.kind is not Kind.CUBINS:  # of which a library has hundreds
            self._means.say(f"    {at.kind} {at.key[:16]} comes from the shared store{_by(believed.signer)}")
        self._mark_used(one, believed)
        return True

    def _believed(self, one: Object, at: Place, trusted: Sequence[Key]) -> _Believed:
        if one.size > limits.CLAIM:
            raise GateError(f"{one.name} has {one.size:,} bytes; a claim has {limits.CLAIM:,} at most")
        envelope = self._bucket.read(one.name)
        if envelope is None:
            raise _GoneError(f"{one.name} is gone")
        return _Believed(*claims.read(envelope, at, trusted, name=one.name), envelope)

    def _fill(self, believed: _Believed, into: Path) -> None:
        """Fetch a parcel, hold it to its claim, and unpack it."""
        claim = believed.claim
        name = claims.parcel_name(claim.parcel)
        facts = self._bucket.facts(name)
        if facts is None:
            raise _GoneError(f"{name} is gone")
        if facts.size != claim.size:
            raise _BadError(f"its parcel has {facts.size:,} bytes, claimed are {claim.size:,}")
        with tempfile.TemporaryDirectory(prefix="retread-parcel-", dir=into.parent) as folder:
            file = Path(folder) / "parcel"
            try:
                self._bucket.fetch(name, file, most=claim.size)
            except MissingError as error:
                raise _GoneError(error.message) from None
            if fs.sha256(file) != claim.parcel:
                raise _BadError("its parcel holds other bytes than are claimed")
            try:
                parcel.unpack(file, into)
            except StoreError as error:
                raise _BadError(error.message) from None
        if claim.kind in claims.SELF_EVIDENT:
            held = list(into.iterdir())
            if (
                len(held) != 1
                or not held[0].is_file()
                or held[0].is_symlink()
                or fs.sha256(held[0]) != claim.key
            ):
                raise _BadError("it is not the file whose SHA-256 is its key")

    def _mark_used(self, one: Object, believed: _Believed) -> None:
        if self._means.signer is None or self._refuses or one.modified > self._means.now() - USED_DAYS * _DAY:
            return
        try:
            self._bucket.write(one.name, believed.envelope)
        except StoreError as error:
            self._keep_to_reading(error)

    def _do_without(self, error: StoreError) -> None:
        self._silent = True
        self._means.say(f"    {NOTE} {error.message}; the rest is done without the shared store")

    def _keep_to_reading(self, error: StoreError) -> None:
        self._refuses = True
        self._means.say(f"    {NOTE} {error.message}; what is made here is not given to others")


def means(trusted: Sequence[Key], signer: Key | None, say: Callable[[str], None]) -> Means:
    """Return a machine's means; who signs here is believed here."""
    own = () if signer is None or any(one.id == signer.id for one in trusted) else (signer,)
    return Means((*trusted, *own), signer, say)


def _by(signer: str) -> str:
    return f", signed by {signer}" if signer else ""
