"""An index behind a web server on 127.0.0.1: the small one, or a real one with the configuration that is shipped."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

CONFIGURATIONS = Path(__file__).parents[2] / "docs" / "serving"
HOME, LISTEN = "/srv/wheels", "127.0.0.1:8080"
"""The folder and the address that the configurations name."""
NGINX = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ }}
http {{
    log_format plain '$status $request_method $uri';
    access_log {folder}/access.log plain;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/index.conf;
}}
"""
SMALL = """
import sys
from pathlib import Path
from retread.index import serve as serving
serving.serve(Path(sys.argv[1]), port=int(sys.argv[2]), ready=lambda url: None)
"""


class Served(NamedTuple):
    """An index with an address."""

    host: str
    """Address and port."""
    log: Path
    """What nginx noted: a line ``200 GET /cu128/simple/demo/`` for each answer, with what was sent in the end."""

    @property
    def url(self) -> str:
        """The address of channel cu128, as installers are given it."""
        return f"http://{self.host}/cu128/simple/"

    def asked(self) -> list[str]:
        """Return the names of the files that were sent since the last time that somebody asked."""
        lines = self.log.read_text().splitlines()
        os.truncate(self.log, 0)
        return [line.rpartition("/")[2] for line in lines if line.startswith("2") and "/files/" in line]


Edit = Callable[[str], str]


@contextmanager
def small(root: Path, folder: Path) -> Iterator[Served]:
    """Serve an index by the server of retread itself."""
    host = _free()
    with _running([sys.executable, "-c", SMALL, str(root), host.partition(":")[2]], folder, host) as served:
        yield served


@contextmanager
def nginx(root: Path, folder: Path, edit: Edit = lambda text: text) -> Iterator[Served]:
    """Serve an index by nginx with the shipped configuration, changed by ``edit``."""
    host = _free()
    (folder / "index.conf").write_text(edit(_configuration("nginx.conf", root, host)))
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
    line = [_program("nginx", "nginx-light"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with _running(line, folder, host) as served:
        yield served


@contextmanager
def caddy(root: Path, folder: Path) -> Iterator[Served]:
    """Serve an index by Caddy with the shipped configuration."""
    host = _free()
    (folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + _configuration("Caddyfile", root, host))
    line = [
        _program("caddy", "caddy"),
        "run",
        "--adapter",
        "caddyfile",
        "--config",
        str(folder / "Caddyfile"),
    ]
    with _running(line, folder, host) as served:
        yield served


def _configuration(name: str, root: Path, host: str) -> str:
    text = (CONFIGURATIONS / name).read_text()
    assert text.count(HOME) == text.count(LISTEN) == 1
    return text.replace(HOME, str(root)).replace(LISTEN, host)


def _program(name: str, package: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if not found:
        pytest.skip(f"needs {name} (Debian: {package})")
    return found


def _free() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def _running(line: list[str], folder: Path, host: str) -> Iterator[Served]:
    """Run a server until the end of the block; it is stopped by its own process id."""
    environment = {**os.environ, "HOME": str(folder)}  # where Caddy keeps what it noted
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        environment.pop(name, None)
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(line, stdout=output, stderr=output, env=environment)
    try:
        _await(host, process, folder / "output")
        yield Served(host, folder / "access.log")
    finally:
        process.terminate()
        process.wait(30)


def _await(host: str, process: subprocess.Popen[bytes], output: Path) -> None:
    address, port = host.split(":")
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection((address, int(port)), 1).close()
        except OSError:
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.01)
        else:
            return
