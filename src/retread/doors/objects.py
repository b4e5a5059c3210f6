"""Small objects by name on another machine, in Redis or in a bucket: what the compile caches of many machines share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from retread import limits
from retread.address import has_secret, shown
from retread.doors import bucket, extras
from retread.errors import StoreError, UsageError

if TYPE_CHECKING:
    from redis import Redis

_REDIS: Final = ("redis", "rediss")
_FORMS: Final = "redis://host:6379/0, rediss:// with TLS, s3://bucket/prefix or gs://bucket/prefix"
_CONNECT, _ANSWER = 3.0, 10.0
"""Seconds. An object of 50 MB comes within 5 s from a Redis behind 100 Mbit/s; most have some kB."""


class Objects(Protocol):
    """A place for objects; StoreError, naming the place, when it refuses or does not answer."""

    def get(self, name: str) -> bytes | None:
        """Return an object; None where there is none."""

    def put(self, name: str, data: bytes) -> None:
        """Put an object in the place of another."""


def at(address: str) -> Objects:
    """Return the place at an address; UsageError for one that is none."""
    if urlsplit(address).scheme in _REDIS:
        return _InRedis(address)
    if not bucket.is_bucket(address) or has_secret(address):
        why = "holds a key or a password" if has_secret(address) else "is no cache that can be opened"
        raise UsageError(f"{shown(address)} {why}", hint=f"name one like {_FORMS}")
    return _InBucket(address)


class _InBucket:
    """Objects in S3 or GCS; who may, the provider's environment says."""

    def __init__(self, address: str) -> None:
        self._bucket = bucket.Bucket(address)

    def get(self, name: str) -> bytes | None:
        return self._bucket.read(name, most=limits.CACHED)

    def put(self, name: str, data: bytes) -> None:
        self._bucket.write(name, data)


class _InRedis:
    """Objects in Redis, each under its name behind ``retread/``; the address may bring user and password."""

    def __init__(self, address: str) -> None:
        try:
            from redis import Redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ModuleNotFoundError:
            raise extras.missing("redis", f"{shown(address)} needs the package redis") from None
        self._address = shown(address).rstrip("/")
        try:
            self._redis: Redis = Redis.from_url(
                address,
                socket_connect_timeout=_CONNECT,
                socket_timeout=_ANSWER,
                retry=Retry(NoBackoff(), 1),  # a connection that the other side closed meanwhile
            )
        except ValueError:
            raise UsageError(f"{self._address} is no Redis", hint=f"name one like {_FORMS}") from None

    def get(self, name: str) -> bytes | None:
        from redis.exceptions import RedisError

        try:
            found = self._redis.get(f"retread/{name}")
        except RedisError as error:
            raise self._told("read", name, error) from None
        assert found is None or isinstance(found, bytes)
        return found

    def put(self, name: str, data: bytes) -> None:
        from redis.exceptions import RedisError

        try:
            self._redis.set(f"retread/{name}", data)
        except RedisError as error:
            raise self._told("write", name, error) from None

    def _told(self, what: str, name: str, error: Exception) -> StoreError:
        from redis import exceptions

        why = "no answer, or one that breaks off"
        silent = isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError)
        if not silent or isinstance(error, exceptions.AuthenticationError):
            why = f"it answers {(str(error) or 'an error').splitlines()[0][:100]}"
        return StoreError(f"cannot {what} {self._address}/{name}: {why}")
