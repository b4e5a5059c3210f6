"""A Ray cluster: where it is, how it is reached or started, and that what is there is one.

Everything that is Ray's is imported where it is used: it takes a second.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Final, NamedTuple

from retread import limits
from retread.compile import jobserver
from retread.doors import cores, proc
from retread.doors.machine import Machine
from retread.errors import HostError, ToolError, UsageError

SCHEME: Final = "ray"
_PORT, _PORTS = 6379, 1 << 16
"""Of a head, where nobody chose another; and how many there are."""
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a client of HTTP/2 begins with, and its settings (RFC 9113, 3.4); a head speaks gRPC, and answers with its."""
_TOKEN: Final = "RAY_AUTH_TOKEN"
"""The variable with the token that clusters ask for (docs.ray.io/en/latest/ray-security/token-auth.html)."""
_DOWN: Final = 10.0
"""Seconds for Ray to let go of a cluster, which it may not when that is gone."""


class Address(NamedTuple):
    """Where a cluster is: nothing for one that is started for these jobs alone."""

    text: str

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return f"ray://{self.text}" if self.text else "ray"


def address(text: str) -> Address:
    """Return what ``--on`` names; UsageError for what is neither ``ray`` nor ``ray://ADDRESS``."""
    scheme, _, rest = text.partition("://")
    if scheme != SCHEME or (text != SCHEME and not rest):
        raise UsageError(
            f"--on {text}: only Ray is known",
            hint="--on ray starts a cluster of this machine; --on ray://HOST:6379 takes one that runs",
        )
    where = rest.rstrip("/")
    host, colon, port = where.rpartition(":")
    if not colon and where and where != "auto":
        return Address(f"{where}:{_PORT}")
    if colon and not (host and port.isdigit() and 0 < int(port) < _PORTS):
        raise UsageError(f"--on {text}: that is no address", hint=f"one is ray://HOST:{_PORT}")
    return Address(where)


def first_line(error: BaseException) -> str:
    """Return the line that tells most of an error of Ray's: of one in a task the last."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1 if type(error).__name__.startswith("RayTaskError") else 0].strip()[:200]


@contextmanager
def joined(where: Address, machine: Machine) -> Iterator[None]:
    """Be on a cluster in the block, or start one for it, which goes with it.

    UsageError for a token that cannot be read, ToolError without Ray, HostError when there is no cluster.
    """
    _have_token(where)
    ray = _ray()
    with _hushed():
        with machine.console.step(f"reach {where.title}" if where.text else "start Ray"):
            folder = "" if where.text else _room()
            try:
                _init(ray, where, folder)
            except BaseException:
                shutil.rmtree(folder or "/nonexistent", ignore_errors=True)
                raise
        try:
            yield
        finally:
            _shut_down(ray)
            if folder:
                shutil.rmtree(folder, ignore_errors=True)


def _room() -> str:
    """Return a new folder for a cluster of this machine's, and remove those of processes that are gone.

    It is not in the store: the path of a socket has 107 bytes at most.
    """
    for one in Path(tempfile.gettempdir()).glob("retread-ray-*-*"):
        owner = one.name.split("-")[2]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(one, ignore_errors=True)  # what is another user's stays
    return tempfile.mkdtemp(prefix=f"retread-ray-{os.getpid()}-")


@contextmanager
def _hushed() -> Iterator[None]:
    """Let nobody but retread's own terminal say anything: Ray tells on standard output, which is data, what it sees."""
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        yield


def _have_token(where: Address) -> None:
    """Have Ray show a token to a cluster, where there is one; a cluster of this machine has a new one.

    UsageError for a file that cannot be read. Ray reads the variables when it is imported; without one it would write
    a token for its own cluster into the home.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")  # what fails is told here, and once
    if not where.text:
        os.environ[_TOKEN] = secrets.token_hex(32)
        os.environ["RAY_AUTH_MODE"] = "token"
        return
    named = os.environ.get(f"{_TOKEN}_PATH")
    file = Path(named or "~/.ray/auth_token").expanduser()
    if os.environ.get(_TOKEN) or (file.is_file() and os.access(file, os.R_OK)):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    elif named:
        hint = "name the file with the cluster's token"
        raise UsageError(f"{_TOKEN}_PATH: {named} is no file that can be read", hint=hint)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise ToolError("--on ray needs the package ray", hint="pip install 'retread[ray]'") from None
    return ray


def _init(ray: Any, where: Address, folder: str) -> None:
    """Join a cluster, or start one that has what this machine has."""
    if why := absence(where.text) if where.text else "":  # Ray would ask again for minutes
        hint = "check the address; a head is started with: ray start --head"
        raise HostError(f"{where.title}: {why}", hint=hint)
    own = {"address": where.text} if where.text else {"address": "local", **_of_this_machine(folder)}
    before = signal.getsignal(signal.SIGTERM)
    try:
        with _within(limits.PROBE):
            ray.init(**own, logging_level="ERROR", log_to_driver=False, namespace="retread")
    except SystemExit:  # Ray's answer to a SIGTERM while it starts
        raise KeyboardInterrupt from None
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        told = first_line(error)
        if not where.text:
            raise HostError(f"Ray cannot be started here: {told}") from None
        if "AuthToken" in str(error.__cause__):
            raise HostError(
                f"{where.title}: the cluster asks for a token, and this machine has none or another",
                hint=f"name a file with it, {_TOKEN}_PATH=FILE; on the head that is ~/.ray/auth_token",
            ) from None
        raise HostError(
            f"{where.title}: there is no cluster that this machine is a node of ({told})",
            hint=f"make it one: ray start --address={where.text} --num-cpus=0",
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)  # Ray takes it for itself, and would end without a word


def absence(address: str) -> str:
    """Return why nobody is at the address of a head; nothing where somebody is, or no port is named."""
    name, _, port = address.rpartition(":")
    if not port.isdigit():
        return ""
    try:
        with socket.create_connection((name.strip("[]"), int(port)), timeout=limits.CONNECT) as line:
            if os.environ.get("RAY_USE_TLS") == "1":  # what it says is for those who have its certificate
                return ""
            line.sendall(_PREFACE)
            answer = line.recv(9)
    except TimeoutError:
        return f"what is at {address} does not answer as Ray does"
    except OSError as error:
        return f"nobody is at {address}: {error.strerror or error}"
    return "" if answer[3:4] == b"\x04" else f"what is at {address} does not answer as Ray does"


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block when it takes longer: Ray looks for ever for the node that it is on."""

    def late(*_: object) -> None:
        raise TimeoutError(f"Ray found none in {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _of_this_machine(folder: str) -> dict[str, Any]:
    os.environ.setdefault(
        "RAY_worker_niceness", "0"
    )  # Ray's 15 would make builds slower than they are without it
    return {
        "num_cpus": cores.count(),
        "_memory": jobserver.memory()[1],
        "_temp_dir": folder,
        "include_dashboard": False,
    }


def _shut_down(ray: Any) -> None:
    """Let go of the cluster, whose own processes end if they were started here.

    That hangs when the head is gone: Ray would wait for a minute, and end this process with an exit code of its own.
    """
    ending = threading.Thread(target=ray.shutdown, daemon=True)
    ending.start()
    ending.join(_DOWN)
    if ending.is_alive():
        proc.give_up()
