"""A shared store: entries in a bucket or a folder that many machines see, believed by signature and by digest alone.

It never stands in the way: what it does not have, or has but nobody trusted vouches for, is made here; when it refuses
or does not answer, one note says so and the rest of the command does without it.
"""

from __future__ import annotations

import functools
import re
import shlex
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from retread import limits, variables
from retread.address import has_secret, shown
from retread.doors import clock, fs
from retread.doors.bucket import Bucket, MissingError, Object, is_bucket
from retread.doors.console import NOTE
from retread.doors.store import Kind
from retread.errors import GateError, PublishError, RetreadError, StoreError, ToolError, UsageError
from retread.evidence import signing
from retread.evidence.signing import Key, StrangerError
from retread.records import Record, Sha256
from retread.shared import claim as claims
from retread.shared import parcel
from retread.shared.claim import Claim, Place
from retread.units import DAY
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
_FORMS: Final = "s3://bucket/prefix, gs://bucket/prefix and file:///folder"
_TESTER: Final = "whom the policy names as tester, not as builder"
_ABSENT: Final = "it is not there"
_PARCEL: Final = re.compile(r"[0-9a-f]{64}")


class Means(NamedTuple):
    """What a machine brings."""

    trusted: tuple[Key, ...]
    """Whose claims are believed."""
    signer: Key | None
    """Who claims what is made here; None gives nothing to others."""
    say: Callable[[str], None]
    now: Callable[[], float] = clock.now
    testers: tuple[Key, ...] = ()
    """Whom the policy names for another role: they sign no entries."""


class Listed(NamedTuple):
    """An entry in a shared store."""

    kind: Kind
    key: str
    parcel: Sha256
    size: int
    """Bytes of its parcel; 0 where that is gone."""
    used: float
    """When it was given or taken last, to a day, in seconds since 1970 by the storage's clock."""


class Fault(Record, frozen=True):
    """What is wrong with an object of a shared store."""

    name: str
    why: str
    strangers: tuple[str, ...] = ()
    """The keys that signed it, where that is what is wrong."""
    who: str = ""
    """What the policy says of these keys."""

    def __str__(self) -> str:
        """Return it as people read it, with the name once."""
        return f"{self.name}: {self.why.removeprefix(self.name).strip(' :')}"


class _Believed(NamedTuple):
    claim: Claim
    signer: str
    envelope: bytes


class _GoneError(StoreError):
    """An object that was there a moment ago."""


class _TesterError(StrangerError):
    """What was signed by keys that the policy names, but not for this."""


class _BadError(StoreError):
    """A parcel that is not what is claimed."""


class Checked(Record, frozen=True, kw_only=True):
    """What is wrong with a shared store; nothing with a sound one."""

    address: str
    faults: tuple[Fault, ...]


def _opened(address: str, patience: float | None) -> Bucket:
    """Return the bucket or folder at an address; UsageError for one that is none."""
    if not (why := _obstacle(address)):
        try:
            return Bucket(address, patience=patience)
        except PublishError:
            why = "it is no address of a bucket"
    hint = f"there are {_FORMS}"
    if why == _ABSENT:
        hint = f"mount the disk that it is on, or make it: mkdir -p {shlex.quote(str(_folder(address)))}"
    raise UsageError(f"{shown(address)} cannot be opened: {why}", hint=hint)


def _obstacle(address: str) -> str:
    """Return why no shared store can be at an address, as far as nobody has to be asked."""
    scheme, slashes, _ = address.partition("://")
    if has_secret(address):
        return "it was given with a key or a password; the provider's environment says who may"
    if set(address) & {"?", "#"}:
        return "the address of a store has no '?' and no '#'"
    if not slashes:
        return f"a folder is written file://{address}" if address.startswith("/") else "it is no address"
    if scheme != "file":
        return "" if is_bucket(address) else f"no shared store is reached by {scheme}://"
    return _no_folder(address)


def _no_folder(address: str) -> str:
    path = _folder(address)
    if not address.startswith("file:///"):
        return "the address of a folder begins with file:///"
    if path == path.parent:
        return "it is the root of the disk"
    if path.is_dir():
        return ""
    return "it is no folder" if path.exists() else _ABSENT


def _folder(address: str) -> Path:
    return Path(unquote(urlsplit(address).path))


class Shared:
    """The shared store at an address, as the local store's ``elsewhere``."""

    def __init__(self, address: str, means: Callable[[], Means], *, patience: float | None = None) -> None:
        """Take an address, what gives a machine's means once they are needed, and how long an answer is waited for."""
        self.address = address
        self._patience = patience
        self._get_means = means
        self._silent = False
        self._refuses = False
        self._refused: Counter[str] = Counter()
        """Why claims were refused -> how many; each reason is told once, and how many there were at the end."""

    @functools.cached_property
    def _means(self) -> Means:
        return self._get_means()

    @functools.cached_property
    def _bucket(self) -> Bucket:
        with variables.named(variables.SHARED, {variables.SHARED: self.address}):
            return _opened(self.address, self._patience)

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
            return any(self._took(one, into, trusted) for one in self._claimed(kind, key))
        except StoreError as error:
            self._do_without(error)
        return False

    def has(self, kind: Kind, key: str) -> bool:
        """Say whether somebody trusted claims an entry; no parcel is fetched, and what is refused is told by ``take``.

        Who only asks is not stopped by a package that is not installed.
        """
        if kind not in KINDS or self._silent:
            return False
        try:
            return any(self._is_believed(one) for one in self._claimed(kind, key))
        except (StoreError, ToolError) as error:
            self._do_without(error)
        return False

    def lacks(self, kind: Kind, key: str) -> bool:
        """Say whether what is made here is given, and nobody who is trusted claims an entry.

        Only a note hangs on it: one that does not answer soon is believed to have it, and nothing is said.
        """
        gives = kind in KINDS and not self._silent and not self._refuses and self._means.signer is not None
        return gives and not self._aside.has(kind, key) and not self._aside._silent

    @functools.cached_property
    def _aside(self) -> Shared:
        """The same, for what is asked by the way."""
        quiet = self._means._replace(say=lambda _: None)
        return Shared(self.address, lambda: quiet, patience=limits.NOTED)

    def _claimed(self, kind: Kind, key: str) -> list[Object]:
        """Return what lies where the claims of an entry do, the newest first."""
        found = list(self._bucket.list(claims.folder(kind, key)))
        return sorted(found, key=lambda one: -one.modified)[: limits.CLAIMS]

    def _is_believed(self, one: Object) -> bool:
        at = claims.place(one.name)
        try:
            return at is not None and bool(self._believed(one, at, self._means.trusted))
        except (GateError, _GoneError):
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
        return (entry for _, entry in self._claims())

    def _claims(self) -> Iterator[tuple[Object, Listed]]:
        sizes = {one.name: one.size for one in self._bucket.list(claims.PARCELS)}
        found = [(one, at) for one in self._bucket.list(claims.ENTRIES) if (at := claims.place(one.name))]
        for one, at in sorted(found, key=lambda pair: pair[0].modified):
            yield one, Listed(*at, sizes.get(claims.parcel_name(at.parcel), 0), one.modified)

    def strangers(self) -> Iterator[tuple[Listed, tuple[str, ...]]]:
        """Yield each entry for which nobody trusted vouches, with the ids of the keys that its claim names.

        Every claim is fetched, no parcel is. One that cannot be read names nobody, and is left to ``faults``.
        """
        trusted = self._means.trusted
        for one, entry in self._claims():
            if one.size <= limits.CLAIM and (envelope := self._bucket.read(one.name)) is not None:
                with suppress(GateError):
                    signers = signing.signers(envelope, name=one.name)
                    if not _is_vouched(envelope, trusted, one.name):
                        yield entry, signers

    def trusts(self, begin: str) -> str:
        """Return the name of a trusted key whose id begins so, or nothing."""
        return next((one.name for one in self._means.trusted if one.id.startswith(begin)), "")

    def prune(self, *, unused_days: float, keep_bytes: int | None = None) -> list[Listed]:
        """Remove entries unused for longer, then the longest unused until the rest fits; return what went.

        The claim goes first: whoever finds one finds its parcel, or is at it already.
        """
        every = list(self.entries())
        limit = self._means.now() - unused_days * DAY
        total = sum({one.parcel: one.size for one in every}.values())
        users = Counter(one.parcel for one in every)
        gone = []
        for one in every:
            if int(one.used) <= limit or (keep_bytes is not None and total > keep_bytes):
                gone.append(self._drop(one, users))
                total -= gone[-1].size
        return gone

    def remove(self, wanted: Sequence[Listed]) -> list[Listed]:
        """Remove entries; return what went, each with the bytes that it freed."""
        users = Counter(one.parcel for one in self.entries())
        return [self._drop(one, users) for one in wanted]

    def _drop(self, one: Listed, users: Counter[Sha256]) -> Listed:
        """Remove an entry, and its parcel when no other claim has that; return it with the bytes that this freed."""
        self._bucket.remove(claims.name(one.kind, one.key, one.parcel))
        users[one.parcel] -= 1
        if users[one.parcel]:
            return one._replace(size=0)
        self._bucket.remove(claims.parcel_name(one.parcel))
        return one

    def sweep(self, *, days: float = ORPHAN_DAYS) -> int:
        """Remove what uploads left that broke off, after a day or after fewer ``days``; return how many bytes went.

        Who is at an upload meanwhile loses an entry: it is made again by whoever needs it.
        """
        before = self._means.now() - min(days, ORPHAN_DAYS) * DAY
        freed = sum(self._bucket.sweep(one, before) for one in (claims.ENTRIES, claims.PARCELS))
        claimed = {claims.parcel_name(one.parcel) for one in self.entries()}
        for one in self._bucket.list(claims.PARCELS):
            is_parcel = _PARCEL.fullmatch(one.name.removeprefix(f"{claims.PARCELS}/"))
            if is_parcel and one.name not in claimed and int(one.modified) <= before:
                self._bucket.remove(one.name)
                freed += one.size
        return freed

    def strays(self) -> Iterator[Object]:
        """Yield what lies among the claims and has the name of none."""
        yield from (one for one in self._bucket.list(claims.ENTRIES) if not claims.place(one.name))

    def remove_strays(self, wanted: Iterable[Object]) -> int:
        """Remove what ``strays`` yielded; return how many bytes went."""
        freed = 0
        for one in wanted:
            self._bucket.remove(one.name)
            freed += one.size
        return freed

    def faults(self) -> Iterator[Fault]:
        """Yield what is wrong with each claim and each parcel: everything is fetched."""
        trusted = self._means.trusted
        with fs.temporary("parcel") as folder:
            for one in self._bucket.list(claims.ENTRIES):
                at = claims.place(one.name)
                into = folder / "entry"
                into.mkdir()
                try:
                    if at is None:
                        raise GateError(f"{one.name} is the name of no claim")
                    self._fill(self._believed(one, at, trusted), into)
                except StrangerError as error:
                    yield Fault(one.name, error.message, error.keys, _who(error))
                except RetreadError as error:
                    yield Fault(one.name, error.message)
                fs.remove(into)

    def sum_up(self) -> None:
        """Say of how many entries only the first was told that it is refused."""
        for why, count in self._refused.items():
            if count > 1:
                self._means.say(
                    f"{NOTE} {count:,} entries of the shared store were refused; each {why.removeprefix('it ')}"
                )
        self._refused.clear()

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
            self._tell_refused(f"{at.kind}/{at.key[:16]}", one.name, error)
            return False
        if at.kind is not Kind.CUBINS:  # of which a library has hundreds
            self._means.say(f"    {at.kind} {at.key[:16]} comes from the shared store{_by(believed.signer)}")
        self._mark_used(one, believed)
        return True

    def _tell_refused(self, entry: str, name: str, error: GateError | _BadError) -> None:
        """Say that an entry is refused; of those that one builder signed, or that lack the same, the first alone."""
        why = error.message.replace(name, "").strip(" :")
        if isinstance(error, StrangerError):  # whose store has hundreds
            why = error.hint
        if isinstance(error, GateError):
            self._refused[why] += 1
        if self._refused[why] <= 1:
            aside = f" ({why})" if isinstance(error, StrangerError) else ""
            self._means.say(
                f"    {NOTE} the shared store's {entry} is refused: {error.message}{aside}; it is made here"
            )

    def _believed(self, one: Object, at: Place, trusted: Sequence[Key]) -> _Believed:
        if one.size > limits.CLAIM:
            raise GateError(f"{one.name} has {one.size:,} bytes; a claim has {limits.CLAIM:,} at most")
        envelope = self._bucket.read(one.name)
        if envelope is None:
            raise _GoneError(f"{one.name} is gone")
        try:
            return _Believed(*claims.read(envelope, at, trusted, name=one.name), envelope)
        except StrangerError as error:
            raise self._recognised(one.name, error) from None

    def _recognised(self, name: str, error: StrangerError) -> StrangerError:
        """Return the error about who signed a claim; of a tester it says so: the policy names that key."""
        testers = {one.id[:16]: f"{one.name} ({one.id[:16]})" for one in self._means.testers}
        named = [testers[one] for one in error.keys if one in testers]
        if not named:
            return error
        hint = f"it is signed by {', '.join(named)}, {_TESTER}"
        return _TesterError(f"{name} is signed by no builder", hint=hint, keys=named)

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
        if self._means.signer is None or self._refuses or one.modified > self._means.now() - USED_DAYS * DAY:
            return
        try:
            self._bucket.write(one.name, believed.envelope)
        except StoreError as error:
            self._keep_to_reading(error)

    def _do_without(self, error: RetreadError) -> None:
        self._silent = True
        self._means.say(f"    {NOTE} {error.message}; the rest is done without the shared store")

    def _keep_to_reading(self, error: StoreError) -> None:
        self._refuses = True
        self._means.say(f"    {NOTE} {error.message}; what is made here is not given to others")


def means(
    trusted: Sequence[Key], signer: Key | None, say: Callable[[str], None], testers: Sequence[Key] = ()
) -> Means:
    """Return a machine's means; who signs here is believed here."""
    own = () if signer is None or any(one.id == signer.id for one in trusted) else (signer,)
    return Means((*trusted, *own), signer, say, testers=tuple(testers))


def _is_vouched(envelope: bytes, trusted: Sequence[Key], name: str) -> bool:
    try:
        signing.verify(envelope, trusted, name=name)
    except GateError:
        return False
    return True


def _who(error: StrangerError) -> str:
    return _TESTER if isinstance(error, _TesterError) else "which no policy and no key here names"


def _by(signer: str) -> str:
    return f", signed by {signer}" if signer else ""
