"""A Ray cluster: where it is, how it is reached or started, and that what is there is one.

Everything that is Ray's is imported where it is used: it takes a second.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from retread import limits
from retread.compile import jobserver
from retread.doors import cores, extras, fs, proc
from retread.doors.machine import Machine
from retread.errors import HostError, UsageError
from retread.smoke.runtime.patience import no_longer_than

SCHEME: Final = "ray"
_PORT, _PORTS = 6379, 1 << 16
"""Of a head, where nobody chose another; and how many there are."""
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a client of HTTP/2 begins with, and its settings (RFC 9113, 3.4); a head speaks gRPC, and answers with its."""
_TOKEN: Final = "RAY_AUTH_TOKEN"
"""The variable with the token that clusters ask for (docs.ray.io/en/latest/ray-security/token-auth.html)."""
_ANY: Final = "auto"
"""The address of whatever cluster this machine is a node of."""
_MODE: Final = "RAY_AUTH_MODE"
_DOWN: Final = 10.0
"""Seconds for Ray to let go of a cluster, which it may not when that is gone."""
_LOOK: Final = 0.05
"""Seconds between two looks whether what was killed is gone."""
_ROOM: Final = "retread-cluster-"


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
    if not colon and where not in {"", _ANY}:
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
    with _hushed(), nullcontext("") if where.text else _room() as folder:
        try:
            title = f"reach {where.title}" if where.text else "start Ray"
            with machine.console.step(title), machine.console.apart():
                _init(ray, where, folder)
            try:
                yield
            finally:
                _shut_down(ray)
        except KeyboardInterrupt:
            proc.give_up()  # half started or half ended, Ray's threads break an orderly end of the process
            raise


@contextmanager
def _room() -> Iterator[str]:
    """Yield a new folder for a cluster of this machine's; afterwards nothing of either is left, however far Ray came.

    Folders of processes that are gone are removed. It is not in the store: the path of a socket has 107 bytes at most.
    """
    with fs.own_folder(Path(tempfile.gettempdir()), _ROOM) as folder:
        try:
            yield str(folder)
        finally:
            _end_all(str(folder))


def _end_all(folder: str) -> None:
    """End the processes of Ray's that are at work in a folder: its agents would run on for a minute after all else."""
    end = time.monotonic() + _DOWN
    while (left := _at_work(folder)) and time.monotonic() < end:
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_LOOK)


def _at_work(folder: str) -> list[int]:
    """Return the processes of this user's that work in a folder: their command lines name it, or they hold files of it.

    Ray's agents give themselves another name, which is all that their command lines have then.
    """
    found = []
    for one in fs.listed(Path("/proc")):
        if one.name.isdigit() and int(one.name) != os.getpid():
            with suppress(OSError):
                mine = one.stat().st_uid == os.getuid()
                if mine and (folder.encode() in (one / "cmdline").read_bytes() or _holds(one, folder)):
                    found.append(int(one.name))
    return found


def _holds(process: Path, folder: str) -> bool:
    for one in fs.listed(process / "fd"):
        with suppress(OSError):  # closed meanwhile
            if one.readlink().is_relative_to(folder):
                return True
    return False


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

    UsageError for a file that cannot be read or has no token in it, and where one is demanded and there is none. Ray
    reads the variables when it is imported; without one it would write a token for its own cluster into the home.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")  # what fails is told here, and once
    if not where.text:
        os.environ[_TOKEN] = secrets.token_hex(32)
        os.environ[_MODE] = "token"
        return
    named = os.environ.get(f"{_TOKEN}_PATH")
    file = Path(named or "~/.ray/auth_token").expanduser()
    if os.environ.get(_TOKEN) or _has_text(file):
        os.environ.setdefault(_MODE, "token")
    elif named:
        there = (
            "has no token in it"
            if file.is_file() and os.access(file, os.R_OK)
            else "is no file that can be read"
        )
        raise UsageError(f"{_TOKEN}_PATH: {named} {there}", hint="name the file with the cluster's token")
    elif os.environ.get(_MODE) == "token":
        hint = f"name the file with the cluster's, {_TOKEN}_PATH=FILE, or unset {_MODE}"
        raise UsageError(f"{_MODE}=token: there is no token in {file}", hint=hint)


def _has_text(file: Path) -> bool:
    with suppress(OSError):
        return bool(file.read_bytes().strip())
    return False


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise extras.missing("ray", "--on ray needs the package ray") from None
    return ray


def _init(ray: Any, where: Address, folder: str) -> None:
    """Join a cluster, or start one that has what this machine has."""
    if why := absence(where.text) if where.text else "":  # Ray would ask again for minutes
        hint = "check the address; a head is started with: ray start --head"
        raise HostError(f"{where.title}: {why}", hint=hint)
    own = {"address": where.text} if where.text else {"address": "local", **_of_this_machine(folder)}
    before = signal.getsignal(signal.SIGTERM)
    try:
        with no_longer_than(limits.JOIN):
            if where.text:
                _demand_welcome(where)
            ray.init(**own, logging_level="ERROR", log_to_driver=False, namespace="retread")
    except SystemExit:  # Ray's answer to a SIGTERM while it starts
        raise KeyboardInterrupt from None
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        raise _refusal(where, error) from None
    finally:
        signal.signal(signal.SIGTERM, before)  # Ray takes it for itself, and would end without a word


def _refusal(where: Address, error: BaseException) -> HostError:
    """Return what is told of an error with which Ray did not start, or did not let this machine in."""
    told = first_line(error)
    if not where.text:
        return HostError(f"Ray cannot be started here: {told}")
    if "AuthToken" in f"{error}{error.__cause__}":
        said, mode = "this machine has none or another", os.environ.get(_MODE, "token")
        hint = f"name a file with it, {_TOKEN}_PATH=FILE; on the head that is ~/.ray/auth_token"
        if mode != "token":
            said, hint = f"this machine shows none, since {_MODE} is {mode!r}", f"unset {_MODE}"
        return HostError(f"{where.title}: the cluster asks for a token, and {said}", hint=hint)
    if "Version mismatch" in str(error):
        return HostError(
            f"{where.title}: {' '.join(str(error).split())[:300]}",
            hint="run retread in a Python that has the cluster's version, and its Ray's",
        )
    return HostError(
        f"{where.title}: there is no cluster that this machine is a node of ({told})",
        hint="start one here: ray start --head, or name the address of its head"
        if where.text == _ANY
        else f"make it one: ray start --address={where.text} --num-cpus=0",
    )


def _demand_welcome(where: Address) -> None:
    """Raise, at once, what Ray says of another token, and of a machine that is no node: it asks for 20 and for 60 s."""
    from ray.exceptions import RayError

    try:
        from ray._private.services import canonicalize_bootstrap_address, find_node_ids
        from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
    except ImportError:  # no part of what Ray promises: without them it says the same, later
        return
    address = canonicalize_bootstrap_address(where.text)
    if address is None or (why := absence(address)):  # that of a cluster which was is noted for a while
        raise ConnectionError(why if address else "no raylet runs here")
    try:
        every = GcsClient(address=address).get_all_node_info(timeout=limits.HEAD)
    except RayError as error:
        raise ConnectionError(str(error)) from None
    if not find_node_ids() & {one.hex() for one in every}:
        raise ConnectionError("no raylet of it runs here")


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
