"""Indexes that others run, on the loopback: devpi and pypiserver, real, and one that plays what goes wrong."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

BIN = Path(sys.executable).parent
USER, PASSWORD = "ci", "s3cret-word"
LOGIN = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"


class Other(NamedTuple):
    """An index that takes uploads of USER with PASSWORD."""

    upload: str
    pages: str


@contextmanager
def devpi(folder: Path) -> Iterator[Other]:
    """Run a devpi with one user and one index."""
    place = ["--serverdir", str(folder / "state")]
    subprocess.run(
        [BIN / "devpi-init", *place, "--root-passwd", "root", "--no-root-pypi"],
        capture_output=True,
        check=True,
    )
    port = _free()
    with _running(
        [BIN / "devpi-server", *place, "--host", "127.0.0.1", "--port", str(port), "--offline-mode"], port
    ):
        token = _put(port, "POST", "/+login", {"user": "root", "password": "root"})["result"]["password"]
        _put(port, "PUT", f"/{USER}", {"password": PASSWORD}, token)
        _put(port, "PUT", f"/{USER}/wheels", {"bases": [], "type": "stage", "volatile": True}, token)
        address = f"http://127.0.0.1:{port}/{USER}/wheels/"
        yield Other(address, f"{address}+simple/")


def _put(port: int, method: str, path: str, data: dict[str, Any], token: str = "") -> Any:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["X-Devpi-Auth"] = base64.b64encode(f"root:{token}".encode()).decode()
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    line.request(method, path, json.dumps(data), headers)
    answer = line.getresponse()
    said = answer.read()
    line.close()
    assert answer.status < 300, said
    return json.loads(said)


@contextmanager
def pypiserver(folder: Path, algorithm: str = "sha256") -> Iterator[Other]:
    """Run a pypiserver; uploads want a password."""
    (folder / "packages").mkdir(parents=True)
    secret = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    (folder / "htpasswd").write_text(f"{USER}:{{SHA}}{secret}\n")
    port = _free()
    line: list[str | Path] = [BIN / "pypi-server", "run", "--interface", "127.0.0.1", "--port", str(port)]
    line += ["--passwords", folder / "htpasswd", "--authenticate", "update", "--hash-algo", algorithm]
    with _running([*line, folder / "packages"], port):
        yield Other(f"http://127.0.0.1:{port}/", f"http://127.0.0.1:{port}/simple/")


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def _running(line: list[Any], port: int) -> Iterator[None]:
    """Run a server until the end of the block; it is stopped by its own process id."""
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(30)


class Played:
    """An index whose answers a test decides; it keeps the digest of each file that it took."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.hashes = True
        """Whether its pages give digests."""
        self.page_status = 200
        self.login = ""
        """The login that uploads need."""
        self.answers: list[int] = []
        """Statuses of the next uploads, 200 after them; what is refused is not kept."""
        self.taken = 0
        """Uploads that came."""
        self.place = ""
        """Where uploads and pages are sent on to."""
        self.gone_at = 0
        """The upload from which on every connection breaks."""
        self.seen: list[str] = []
        """Every login that came."""
        self.hold: Callable[[int], object] = lambda _: None
        """Called with the number of an upload before it is answered."""
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.played = self
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    @property
    def address(self) -> str:
        """Where uploads go."""
        return f"http://127.0.0.1:{self.server.server_port}/up/"

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class _Server(ThreadingHTTPServer):
    played: Played
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def parse_request(self) -> bool:
        """Read what is asked, or hang up."""
        played = self.server.played
        if played.gone_at and played.taken >= played.gone_at:
            self.close_connection = True
            return False
        return super().parse_request()

    def do_GET(self) -> None:
        """Show the page of a project."""
        played = self.server.played
        played.seen.append(self.headers.get("Authorization", ""))
        if played.place.startswith("http"):
            self._answer(302, location=played.place)
            return
        if played.page_status != 200:
            self._answer(played.page_status)
            return
        project = self.path.strip("/").rpartition("/")[2]
        links = [
            f'<a href="/f/{name}{f"#sha256={sha256}" if played.hashes else ""}">{name}</a>'
            for name, sha256 in played.files.items()
            if name.startswith(f"{project}-")
        ]
        self._answer(200 if links else 404, f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>")

    def do_POST(self) -> None:
        """Take a wheel."""
        played = self.server.played
        body = self.rfile.read(int(self.headers["Content-Length"]))
        played.taken += 1
        login = self.headers.get("Authorization", "")
        played.seen.append(login)
        played.hold(played.taken)
        if played.taken == played.gone_at:
            self.close_connection = True
            return
        status = played.answers.pop(0) if played.answers else 200
        if played.login and login != played.login:
            status = 401
        if played.place:
            self._answer(302, location=played.place)
            return
        if status == 200:
            [name] = re.findall(rb'name="content"; filename="([^"]+)"', body)
            [sha256] = re.findall(rb'name="sha256_digest"\r\n\r\n(\w{64})\r\n', body)
            played.files[name.decode()] = sha256.decode()
        self._answer(status, "")

    def _answer(self, status: int, text: str = "", location: str = "") -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(data)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(data)
