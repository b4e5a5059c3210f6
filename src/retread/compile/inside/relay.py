"""Leads a port of the loopback to a Unix socket while the compile cache runs: ``relay.py SOCKET PROGRAM ARGUMENTS``.

The cache knows other machines by TCP alone, and where a build runs there is no network but the loopback.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading


def main() -> int:
    """Run the program with the port's address in SCCACHE_ENDPOINT, and return its exit code."""
    target, *command = sys.argv[1:]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        threading.Thread(target=_serve, args=(listening, target), daemon=True).start()
        environment = {**os.environ, "SCCACHE_ENDPOINT": f"http://127.0.0.1:{port}"}
        return subprocess.run(command, env=environment, check=False).returncode


def _serve(listening: socket.socket, target: str) -> None:
    while True:
        near, _ = listening.accept()
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(target)
        except OSError:
            near.close()
            far.close()
            continue
        for one, other in ((near, far), (far, near)):
            threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
    except OSError:
        pass
    for one in (source, sink):
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


if __name__ == "__main__":
    sys.exit(main())
