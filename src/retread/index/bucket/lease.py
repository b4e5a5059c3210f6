"""Who may change an index in a bucket: one at a time, and not for ever."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from retread import strict
from retread.doors.bucket import Bucket, Found
from retread.errors import PublishError, StoreError
from retread.records import Record

if TYPE_CHECKING:
    from obstore import UpdateVersion


LOCK = ".retread/lock"


class _Held(Record, frozen=True, kw_only=True):
    """What the lock object says."""

    holder: str
    """Empty while nobody holds it."""
    token: str
    count: int
    lifetime: float
    """Seconds after which it is free when nothing is heard of the holder."""


_FREE = _Held(holder="", token="", count=0, lifetime=0)


class Times(NamedTuple):
    """How long things take, in seconds. No clock is compared with another machine's."""

    lifetime: float = 120
    margin: float = 50
    """What is left of the lifetime when the holder stops writing: longer than any small request lasts."""
    patience: float = 900
    """For how long a second publisher waits."""


class Lease:
    """The right to change an index: taken, renewed by a thread of its own, and given back."""

    def __init__(self, bucket: Bucket, say: Callable[[str], None], times: Times) -> None:
        self._bucket, self._say, self._times = bucket, say, times
        self._told = f"{socket.gethostname()}, process {os.getpid()}"
        self._token = secrets.token_hex(16)
        self._count = 0
        self._mark: UpdateVersion = {}
        self._renewed = 0.0
        self._lost = False
        self._done = threading.Event()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it; a second publisher waits for the first, and says so. PublishError when that takes too long."""
        thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        try:
            self._take()
            thread.start()
            yield
        finally:
            self._done.set()
            if thread.ident:
                thread.join()
            self._release()

    def demand(self) -> None:
        """Raise StoreError unless it is ours for longer than a request lasts."""
        left = self._renewed + self._times.lifetime - self._times.margin - _clock()
        if self._lost or left < 0:
            raise StoreError(
                f"{self._bucket.address} could not be held: nothing more is written",
                hint="do it again; what was decided is finished then",
            )

    def _take(self) -> None:
        seen: UpdateVersion | None = None
        since = begun = _clock()
        while True:
            start, found = _clock(), self._bucket.look(LOCK)
            other = _held(found.data) if found else _FREE
            if found and found.mark != seen:
                if seen is None and other.holder:
                    self._say(f"waiting for {other.holder}, which changes {self._bucket.address}")
                seen, since = found.mark, start
            if self._claim(found, other, silent=start - since):
                return
            if start - begun > self._times.patience:
                what = f"{other.holder or 'somebody'} is changing {self._bucket.address}"
                raise PublishError(what, hint="do it again when that is done")
            self._done.wait(min(2, self._times.lifetime / 10))

    def _claim(self, found: Found | None, other: _Held, *, silent: float) -> bool:
        """Take it if it is free, or if nothing was heard of its holder for its lifetime; say whether it is ours."""
        if found and other.token == self._token:
            self._mark = found.mark  # by a call whose answer was lost
            return True
        if other.holder and silent <= other.lifetime:
            return False
        if other.holder:
            self._say(f"nothing was heard of {other.holder} for {silent:.0f} s: taking over")
        self._renewed = _clock()
        text = self._text()
        self._mark = (
            self._bucket.swap(LOCK, text, found.mark) if found else self._bucket.create(LOCK, text)
        ) or {}
        return bool(self._mark)

    def _keep(self) -> None:
        """Renew it until it is given back; a refusal is tried again, for as long as there is time."""
        while not self._done.wait(self._times.lifetime / 6) and not self._lost:
            with suppress(StoreError):
                start = _clock()
                if mark := self._bucket.swap(LOCK, self._text(), self._mark):
                    self._mark, self._renewed = mark, start
                    continue
                found = self._bucket.look(LOCK)
                if found and _held(found.data).token == self._token:
                    self._mark = found.mark  # of a call whose answer was lost, so it is not known when
                else:
                    self._lost = True

    def _release(self) -> None:
        try:
            found = self._bucket.look(LOCK)
            if found and _held(found.data).token == self._token:
                self._bucket.swap(LOCK, self._text(""), found.mark)
        except (StoreError, PublishError) as error:
            self._say(f"{error.message}: the next change waits for {self._times.lifetime:.0f} s")

    def _text(self, holder: str | None = None) -> bytes:
        self._count += 1
        told = self._told if holder is None else holder
        token = self._token if told else ""
        return msgspec.json.encode(
            _Held(holder=told, token=token, count=self._count, lifetime=self._times.lifetime)
        )


def _held(data: bytes) -> _Held:
    try:
        return strict.decoded(data, _Held)
    except ValueError:
        raise PublishError(f"{LOCK} is not a lock of retread's", hint="remove that object") from None


def _clock() -> float:
    """Return seconds that also pass while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
