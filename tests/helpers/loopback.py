"""A package index on 127.0.0.1 that can be told to fail in every way a real one does."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

JSON = "application/vnd.pypi.simple.v1+json"


class Request(NamedTuple):
    """What a client asked for, and what it was answered."""

    path: str
    range: str
    status: int
    method: str = "GET"


class Index:
    """Files by project, served as PEP 503 and PEP 691 pages; the fields are the knobs."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.index = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self.reset()
        self._thread.start()

    def reset(self) -> None:
        """Return to an empty, well-behaved index."""
        self.files: dict[str, dict[str, bytes]] = {}
        """Project -> file -> content."""
        self.mirror: dict[str, bytes] = {}
        """Path below /mirror/ -> content."""
        self.log: list[Request] = []
        self.kinds = {"json", "html"}
        """The kinds of page that are served."""
        self.pages: dict[str, bytes] = {}
        """Project -> a page to serve instead of the right one, as JSON."""
        self.ranges = True
        self.truncate: dict[str, int] = {}
        """File -> bytes after which the connection closes, every time."""
        self.drop_once: dict[str, int] = {}
        """File -> bytes after which the connection closes, once."""
        self.status: dict[str, int] = {}
        """Path -> the status that it is answered with."""
        self.passing: dict[str, list[tuple[int, str]]] = {}
        """Path -> statuses that it is answered with first, each once, with what Retry-After says."""
        self.wrong: dict[str, bytes] = {}
        """File -> content that is served instead; pages state the right digest."""
        self.digests: dict[str, str] = {}
        """File -> the sha256 that pages state; "" states none."""
        self.stall: dict[str, int] = {}
        """File -> bytes after which nothing more comes until ``released``."""
        self.stalled = threading.Event()
        self.released = threading.Event()
        self.secret = ""
        """``user:password`` that every request must bring."""
        self.absolute = False
        """Whether pages link to files by their full address, without credentials."""

    @property
    def host(self) -> str:
        """Address and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The index address that clients are given."""
        return f"http://{self.host}/simple/"

    @property
    def mirror_url(self) -> str:
        """The address below which the mirror's files lie."""
        return f"http://{self.host}/mirror/"

    def stop(self) -> None:
        """Stop serving and close the port."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def asked_for(self, file: str) -> list[Request]:
        """Return the requests for a file's bytes."""
        return [one for one in self.log if one.path == f"/files/{file}"]

    def content(self, file: str) -> bytes | None:
        """Return a file's right content."""
        return next((files[file] for files in (*self.files.values(), self.mirror) if file in files), None)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    index: Index

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a client goes away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer waits 40 ms for an acknowledgement
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        index = self.server.index
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        if index.secret and base64.b64decode(given).decode() != index.secret:
            self._answer(401, b"who are you?")
        elif index.passing.get(self.path):
            status, after = index.passing[self.path].pop(0)
            self._answer(status, b"not now", **({"Retry_After": after} if after else {}))
        elif self.path in index.status:
            self._answer(index.status[self.path], b"no")
        elif self.path.startswith("/simple/"):
            self._page(self.path.removeprefix("/simple/").strip("/"))
        elif self.path.startswith("/mirror/"):
            self._file(self.path.removeprefix("/mirror/"))
        elif self.path.startswith("/files/"):
            self._file(self.path.removeprefix("/files/").replace("%2B", "+"))
        else:
            self._answer(404, b"nothing here")

    def _answer(self, status: int, body: bytes, kind: str = "text/plain", **headers: str) -> None:
        index = self.server.index
        index.log.append(Request(self.path, self.headers.get("Range", ""), status, self.command))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _page(self, project: str) -> None:
        index = self.server.index
        if project in index.pages:
            self._answer(200, index.pages[project], JSON)
            return
        if project not in index.files:
            self._answer(404, b"no such project")
            return
        base = f"http://{index.host}" if index.absolute else "../.."
        rows = [(name, f"{base}/files/{name.replace('+', '%2B')}", self._digest(name, data))
                for name, data in index.files[project].items()]  # fmt: skip
        if "json" in index.kinds and ("json" in self.headers.get("Accept", "") or "html" not in index.kinds):
            files = [{"filename": name, "url": url, "hashes": {"sha256": sha256} if sha256 else {}}
                     for name, url, sha256 in rows]  # fmt: skip
            page = {"meta": {"api-version": "1.0"}, "name": project, "files": files}
            self._answer(200, json.dumps(page).encode(), JSON)
            return
        links = "".join(f'<a href="{html.escape(url)}{f"#sha256={sha256}" if sha256 else ""}">{name}</a><br>'
                        for name, url, sha256 in rows)  # fmt: skip
        self._answer(200, f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html")

    def _digest(self, name: str, data: bytes) -> str:
        return self.server.index.digests.get(name, hashlib.sha256(data).hexdigest())

    def _file(self, name: str) -> None:
        index = self.server.index
        data = index.wrong.get(name, index.content(name))
        if data is None:
            self._answer(404, b"no such file")
            return
        start = 0
        asked = self.headers.get("Range", "")
        if asked and index.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self._answer(416, b"", Content_Range=f"bytes */{len(data)}")
                return
        status = 206 if start else 200
        index.log.append(Request(self.path, asked, status, self.command))
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        with suppress(BrokenPipeError, ConnectionResetError):
            self._send(name, data[start:])

    def _send(self, name: str, body: bytes) -> None:
        index = self.server.index
        cut = index.drop_once.pop(name, index.truncate.get(name, len(body)))
        if name in index.stall:
            self.wfile.write(body[: index.stall[name]])
            index.stalled.set()
            index.released.wait()
            body = body[index.stall[name] :]
        self.wfile.write(body[:cut])
        self.close_connection = cut < len(body)


Knob = Callable[[Index], None]
