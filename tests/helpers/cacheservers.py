"""Compile caches that machines share, real ones on the loopback: a redis-server of Debian's, and moto's S3."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from standins import until
from tinycuda import Project

MADE = ("sccache", "work", "compiled", "bases", "wheels", "libraries", "cubins")
"""What of a store a second machine has not."""
REDIS = shutil.which("redis-server")
PASSWORD = "open-sesame"


class Redis(NamedTuple):
    """A server that wants a password."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        """What leads there, with the password."""
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    @property
    def shown(self) -> str:
        """The same without it."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> Any:
        """A client of the test's own."""
        import redis

        return redis.Redis.from_url(self.address)

    def keys(self) -> set[bytes]:
        """Return the names of all that it holds."""
        return set(self.client.keys())

    def stop(self) -> None:
        """End it, by its process."""
        self.process.kill()
        self.process.wait()


def forget(project: Project) -> None:
    """Leave of a machine what it downloaded and laid out, and nothing that it compiled."""
    for name in MADE:
        shutil.rmtree(project.store / name, ignore_errors=True)
    shutil.rmtree(project.root / "dist", ignore_errors=True)


@contextmanager
def redis(folder: Path) -> Iterator[Redis]:
    """Run a server that keeps nothing on the disk."""
    assert REDIS is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [REDIS, "--bind", "127.0.0.1", "--port", str(port), "--requirepass", PASSWORD]
    command += ["--save", "", "--dir", str(folder)]
    server = Redis(port, subprocess.Popen(command, stdout=subprocess.DEVNULL))
    try:
        until(lambda: _answers(port))
        yield server
    finally:
        server.stop()


def _answers(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def s3(bucket: str) -> Iterator[dict[str, str]]:
    """Run a server with an empty bucket, and yield the variables that lead to it."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        for method, path in (("POST", "/moto-api/reset"), ("PUT", f"/{bucket}")):
            asked = http.client.HTTPConnection(host, port)
            asked.request(method, path)
            asked.getresponse().read()
            asked.close()
        yield {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "AKIDMINE",
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "AWS_REGION": "us-east-1",
        }
    finally:
        server.stop()
