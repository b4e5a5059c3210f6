"""Connections on which the head of an answer comes as a whole within the time of a request, or not at all.

The library's time counts anew with each byte that comes, so a server that sends a byte a minute in a header, or interim
answers without an end, would hold a command for years. The handshake of TLS is held to it by Python; for the body
``transfer`` keeps the pace.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from urllib3 import HTTPResponse


class Timely(HTTPAdapter):
    """What sends requests, to a server or by way of a proxy."""

    def init_poolmanager(self, *given: Any, **options: Any) -> None:
        """Make the pools of connections to servers."""
        super().init_poolmanager(*given, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Return the pools of connections to a proxy."""
        manager = super().proxy_manager_for(proxy, **options)
        if proxy.lower().startswith("http"):
            manager.pool_classes_by_scheme = _POOLS
        return manager


class _Reader(io.RawIOBase):
    """The bytes of a connection, which has a time for all of them until it is ``at_ease``."""

    def __init__(self, raw: io.RawIOBase, line: socket.socket) -> None:
        self._raw, self._line, self._time = raw, line, line.gettimeout()
        self._end = None if self._time is None else time.monotonic() + self._time

    def at_ease(self) -> None:
        """Let each piece have the whole time again."""
        self._end = None

    def readable(self) -> bool:
        """Say that it is."""
        return True

    def fileno(self) -> int:
        """Return the number of the connection."""
        return self._raw.fileno()

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        """Read what comes; TimeoutError when the time for all of it is over."""
        if self._end is None:
            return self._raw.readinto(buffer)
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._line.settimeout(left)
        try:
            return self._raw.readinto(buffer)
        finally:
            self._line.settimeout(self._time)

    def close(self) -> None:
        """Close what it reads."""
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer whose head, that of a proxy as well, has the time of the connection, as it is when it begins."""

    def __init__(self, sock: socket.socket, *given: Any, **options: Any) -> None:
        super().__init__(sock, *given, **options)
        self._reader = _Reader(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        self._reader.at_ease()


class _Connection(HTTPConnection):
    """A connection that closes an answer whose head urllib3 refuses after it was read: nobody else has it."""

    _answer: _Answer | None = None

    def response_class(self, *given: Any, **options: Any) -> _Answer:  # type: ignore[override]  # called as a class is
        """Return an answer that is not read yet."""
        self._answer = _Answer(*given, **options)
        return self._answer

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 does
        """Return the answer, with its head."""
        self._answer = None
        try:
            return super().getresponse()
        except BaseException:
            if self._answer:
                self._answer.close()
            raise
        finally:
            self._answer = None


class _SecureConnection(_Connection, HTTPSConnection):
    """The same with TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}
