"""The way from a build's compile cache to the one that machines share: an S3 of two verbs, on a Unix socket.

sccache stands where the build does: behind walls, in a container, without a network. It talks to a port of its own
loopback, the relay (``inside/relay.py``) leads that to the socket, and only this process, outside, knows the address of
the shared cache and has its keys. So a cache that is gone or slow costs one wait and one note, in every lane.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from importlib import resources
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from types import TracebackType
from typing import Final, Self

from retread import limits
from retread.address import bare
from retread.doors import fs
from retread.doors.console import NOTE
from retread.doors.objects import Objects
from retread.errors import StoreError

BUCKET: Final = "shared"
"""What sccache takes the depot for."""
RELAY: Final = "relay.py"
_KEPT: Final = 64 << 20
"""Bytes of objects that are held for sccache, which asks twice for each: to use it, and for its folder."""
_PATH: Final = re.compile(rf"/{BUCKET}/([A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+){{0,8}})")
"""A key as sccache spells it: ``a/b/c/abc...``. Its trial of the storage, ``.sccache_check``, goes no further."""


class Depot:
    """Serves the shared cache on a socket, until the block ends."""

    def __init__(self, address: str, objects: Objects, say: Callable[[str], None], *, gives: bool) -> None:
        """Take the address, as it was named, and what is there; without ``gives``, nothing is put there."""
        self.where = bare(address)
        self.gives = gives
        self.taken = self.given = self.errors = 0
        self._objects = objects
        self._say = say
        self._takes = True
        self._lock = threading.Lock()
        self._again: dict[str, bytes] = {}

    def __enter__(self) -> Self:
        self._kept = ExitStack()
        self.folder = self._kept.enter_context(fs.temporary("depot"))
        relay = resources.files("retread.compile.inside").joinpath(RELAY)
        (self.folder / RELAY).write_bytes(relay.read_bytes())
        self._server = _Server(str(self.socket), _Handler)
        self._server.depot = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._kept.close()

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / "s"

    @property
    def relay(self) -> Path:
        """The program that leads a port to it: ``relay.py SOCKET PROGRAM``."""
        return self.folder / RELAY

    def get(self, name: str) -> bytes | None:
        """Return what the shared cache has; None where it has nothing, or does not answer."""
        if not self._takes:
            return None
        with self._lock:
            if (kept := self._again.pop(name, None)) is not None:
                return kept
        try:
            found = self._objects.get(name)
        except StoreError as error:
            with self._lock:
                self.errors += 1
                first, self._takes, self.gives = self._takes, False, False
            if first:
                self._say(f"    {NOTE} {error.message}; the rest is compiled without the shared cache")
            return None
        with self._lock:
            if found is not None:
                self.taken += 1
                if sum(map(len, self._again.values())) + len(found) > _KEPT:
                    self._again.clear()
                self._again[name] = found
        return found

    def put(self, name: str, data: bytes) -> None:
        """Give the shared cache what was compiled, if it takes it."""
        if not self.gives:
            return
        try:
            self._objects.put(name, data)
        except StoreError as error:
            with self._lock:
                self.errors += 1
                first, self.gives = self.gives, False
            if first:
                self._say(f"    {NOTE} {error.message}; what is compiled here is not given to others")
        else:
            with self._lock:
                self.given += 1


class _Server(ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    depot: Depot

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: the cache ended in the midst of a request, or was ended."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        name = _PATH.fullmatch(self.path)
        found = self.server.depot.get(name[1]) if name else None
        self._answer(404 if found is None else 200, found or b"")

    def do_HEAD(self) -> None:
        self._answer(404, b"")

    def do_PUT(self) -> None:
        length = int(self.headers.get("Content-Length") or -1)
        if not 0 <= length <= limits.CACHED:
            self.close_connection = True
            self._answer(413, b"")
            return
        data = self.rfile.read(length)
        if len(data) == length and (name := _PATH.fullmatch(self.path)):
            self.server.depot.put(name[1], data)
        self._answer(200, b"")

    def _answer(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("ETag", '"retread"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
