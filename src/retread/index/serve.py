"""A small server for trying an index out, on the standard library alone: what the shipped configurations do, it does.

It is for one user at a desk. What serves others is a real web server; see docs/serving.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

from packaging.utils import canonicalize_name

from retread.errors import UsageError
from retread.index.folder import Index
from retread.index.headers import FOR_EVER, HTML, JSON, told
from retread.index.layout import CHANNEL, PAGES, SIMPLE

TEXT: Final = "text/html"
OFFERED: Final = (JSON, HTML, TEXT)
"""The types of an installer's page, the best first (PEP 691)."""

_LATEST: Final = {
    "application/vnd.pypi.simple.latest+json": JSON,
    "application/vnd.pypi.simple.latest+html": HTML,
}
_QUALITY: Final = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_BLOCK: Final = 1 << 18


class Found(NamedTuple):
    """What an address stands for: a file to send, or where to look instead."""

    path: Path
    kind: str = ""
    """Its content type; empty when the client takes none of those on offer."""
    keep: str = ""
    """How long it may be kept."""
    tag: str = ""
    """The ETag of a file whose bytes never change; others are hashed."""
    elsewhere: str = ""
    """The right address, when it was asked for by another."""
    varies: bool = False


class Part(NamedTuple):
    """Which bytes of a file are sent; ``length`` is that of the whole."""

    start: int
    end: int
    length: int

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return self.end - self.start == self.length


def serve(index: Path, host: str = "127.0.0.1", port: int = 0, *, ready: Callable[[str], None]) -> None:
    """Serve an index until interrupted; ``ready`` is told its address. Port 0 takes a free one.

    PublishError where there is no index, UsageError for an address that cannot be listened on.
    """
    Index(index).demand()
    kind = _Server6 if ":" in host else _Server
    try:
        server = kind((host, port), partial(_Handler, Path(os.path.realpath(index))))
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"cannot listen on {host} port {port}: {error}", hint="name another one; port 0 takes a free one"
        ) from None
    with server:
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{server.server_address[1]}/")
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def negotiate(accept: str) -> str:
    """Return which of the types on offer an Accept header asks for; nothing when it admits none of them.

    The highest q wins, then a type that is named, then JSON. A client that takes anything gets HTML.
    """
    asked = dict(_accepted(accept)) if accept.strip() else {"*/*": 1.0}
    best = max(OFFERED, key=lambda kind: _rank(kind, asked))
    return best if _rank(best, asked)[0] else ""


def _accepted(accept: str) -> Iterator[tuple[str, float]]:
    """Yield what an Accept header names, with its q; what is malformed is left out."""
    for one in accept.split(","):
        name, *parameters = (part.strip().lower() for part in one.split(";"))
        given = [part for part in parameters if part.startswith("q=")]
        quality = _QUALITY.fullmatch(given[0]) if given else None
        if quality or not given:
            yield _LATEST.get(name, name), float(quality[1]) if quality else 1.0


def _rank(kind: str, asked: dict[str, float]) -> tuple[float, bool, int]:
    if kind in asked:
        return asked[kind], True, -OFFERED.index(kind)
    group = f"{kind.partition('/')[0]}/*"
    return asked.get(group, asked.get("*/*", 0.0)), False, OFFERED.index(kind)


def find(root: Path, address: str, accept: str) -> Found | None:
    """Return what the path of an address stands for, or None; what is not part of an index is not there.

    Whether the file exists is not known yet.
    """
    path = unquote(address, errors="surrogateescape")
    parts = path.removeprefix("/").split("/")
    if not path.isprintable() or "\\" in path or any(part.startswith(".") for part in parts):
        return None
    match parts:
        case ["files", start, digest, name] if name and _DIGEST.fullmatch(digest) and digest[:2] == start:
            return _file(root, path.removeprefix("/"), digest)
        case [*channel, "" | "index.html"] if all(map(CHANNEL.fullmatch, channel[:1])) and len(channel) < 2:
            return _page(root, *channel, "index.html")
        case [channel] if CHANNEL.fullmatch(channel):
            return _redirect(root, channel)
        case [channel, "simple", *rest] if CHANNEL.fullmatch(channel) and len(rest) <= 2:
            return _simple(root, f"{channel}/{SIMPLE}", rest, accept)
    return None


def _simple(root: Path, home: str, rest: list[str], accept: str) -> Found | None:
    """Return what lies below a channel's ``simple``: the page of all its projects, or of one."""
    *name, file = rest or [""]
    if not rest or (not name and file and file not in PAGES):
        return _redirect(root, home, *rest)
    if name and canonicalize_name(name[0]) != name[0]:
        return _redirect(root, home, name[0])
    if file:
        return _page(root, home, *name, file) if file in PAGES else None
    kind = negotiate(accept)
    page = _page(root, home, *name, "index.json" if kind == JSON else "index.html")
    return page._replace(kind=page.kind if kind == TEXT else kind, varies=True)


def _page(root: Path, *parts: str) -> Found:
    return Found(root.joinpath(*parts), *told("/".join(parts)))


def _file(root: Path, name: str, digest: str) -> Found:
    """Return a wheel or what lies beside it; evidence may be replaced, the wheel and its metadata never."""
    found = _page(root, name)
    return found._replace(tag=f'"{digest}{found.path.suffix}"') if found.keep == FOR_EVER else found


def _redirect(root: Path, *parts: str) -> Found:
    """Return the way to the address of a page as PEP 503 has it: normalised, with a slash at its end."""
    home, *name = parts
    right = "/".join([home, *map(canonicalize_name, name)])
    return Found(root / right, elsewhere=f"/{quote(right)}/")


def part(asked: str, length: int) -> Part | None:
    """Return the bytes that a Range header asks for; None when the file has none of them.

    The whole file for what is not one range of bytes: so RFC 9110 wants it.
    """
    match = _RANGE.fullmatch(asked.strip())
    if not match or match[0] == "bytes=-":
        return Part(0, length, length)
    first, last = match[1], match[2]
    if not first:
        return Part(max(0, length - int(last)), length, length) if int(last) and length else None
    if last and int(last) < int(first):
        return Part(0, length, length)
    end = min(int(last) + 1, length) if last else length
    return Part(int(first), end, length) if int(first) < length else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing when a client goes away."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer waits 40 ms for an acknowledgement
    timeout = 60
    server_version = "retread"
    sys_version = ""
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(message)s: %(explain)s\n"

    def __init__(self, root: Path, *arguments: Any) -> None:
        self.root = root
        super().__init__(*arguments)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        """Answer as to GET, without the body."""
        self.do_GET()

    def do_GET(self) -> None:
        """Send what is asked for, unless the client has it."""
        accept = ",".join(self.headers.get_all("Accept", []))
        found = find(self.root, self.path.partition("?")[0], accept)
        if not found or not _is_there(self.root, found):
            self.send_error(404)
        elif found.elsewhere:
            self._head(301, {"Location": found.elsewhere, "Content-Length": "0"})
        elif not found.kind:
            self.send_error(406, explain=f"only as {', '.join(OFFERED)}")
        else:
            with found.path.open("rb") as stream:
                self._send(found, stream)

    def _send(self, found: Found, stream: BufferedReader) -> None:
        tag = found.tag or f'"{hashlib.file_digest(stream, "sha256").hexdigest()}"'
        kept = {"ETag": tag, "Cache-Control": found.keep}
        if found.varies:
            kept["Vary"] = "Accept"
        if _matches(self.headers.get("If-None-Match", ""), tag):
            self._head(304, kept)
            return
        length = os.fstat(stream.fileno()).st_size
        asked = self.headers.get("Range", "") if self.headers.get("If-Range", tag) == tag else ""
        sent = part(asked, length)
        if sent is None:
            self._head(416, {"Content-Range": f"bytes */{length}", "Content-Length": "0"})
            return
        said = {
            "Content-Type": found.kind,
            "Content-Length": str(sent.end - sent.start),
            "Accept-Ranges": "bytes",
        }
        if not sent.whole:
            said["Content-Range"] = f"bytes {sent.start}-{sent.end - 1}/{length}"
        self._head(200 if sent.whole else 206, {**kept, **said})
        if self.command != "HEAD":
            _copy(stream, self.wfile, sent)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "X-Content-Type-Options": "nosniff"}.items():
            self.send_header(name, value)
        self.end_headers()


def _is_there(root: Path, found: Found) -> bool:
    """Say whether a file is there, and within the index wherever links lead."""
    try:
        real = found.path.resolve(strict=True)
    except (OSError, ValueError, RuntimeError):  # gone, too long a name, a link in a circle
        return False
    right = real.is_dir() if found.elsewhere else real.is_file() and os.access(real, os.R_OK)
    return right and real.is_relative_to(root)


def _matches(asked: str, tag: str) -> bool:
    """Say whether If-None-Match names a tag, strong or weak."""
    return asked.strip() == "*" or tag in {one.strip().removeprefix("W/") for one in asked.split(",")}


def _copy(source: BufferedReader, target: BufferedIOBase, sent: Part) -> None:
    source.seek(sent.start)
    left = sent.end - sent.start
    while left and (data := source.read(min(left, _BLOCK))):
        target.write(data)
        left -= len(data)
