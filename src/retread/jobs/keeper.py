"""The program that stands between an engine's worker and a job: it holds the job to its limits, and leaves nothing.

Started by ``confine`` with this file's path, where retread need not be found; it reads an order from its standard
input, runs the job, and writes what became of it. While the job runs that input stays open: it ends when whoever holds
the other end is gone, however that came, and then the job does, too.

Two keepers are one above the other, both adopting what loses its parent. So nothing outlives the worker, nor either of
the two: if the lower is killed, the upper ends what it left; if the upper is killed, the kernel tells the lower.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import sys
import tempfile
import time
from contextlib import suppress

_SUBREAPER = 36
_DEATH_SIGNAL = 1
"""Of prctl(2): adopt orphans; which signal comes when the parent dies."""
_BEAT = 0.1
"""Seconds between two looks at the job's memory: one costs 0.1 ms for each of its processes."""
_DYING = 20.0
"""Seconds until killed processes have to be gone; one that waits for a disk or a driver takes its time."""
_FIRST_TO_GO = "900"
"""What the kernel's own killer prefers: processes of a job before the keeper and the worker."""
_STREAMS = ("stdout", "stderr")
_LENGTH = 8
"""Digits, hexadecimal, that say before the order how many bytes it has."""
_KIND = {"RssAnon", "RssShmem"}
"""What counts of a process: not its program's pages, which all that run it share and the kernel can drop."""

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Read an order and carry it out."""
    order = json.loads(_read(int(_read(_LENGTH), 16)))
    _libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    above = os.getpid()
    lower = os.fork()
    if not lower:
        _libc.prctl(_SUBREAPER, 1, 0, 0, 0)
        signal.signal(signal.SIGTERM, lambda *_: _leave())
        _libc.prctl(_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != above:
            os._exit(1)
        _keep(order)
    _, status = os.waitpid(lower, 0)
    end_all()
    os._exit(0 if status == 0 else 1)


def _keep(order: dict[str, object]) -> None:
    """Run the job and tell what became of it; end everything when the order's giver is gone."""
    began, before = time.monotonic(), _killed_here()
    held = _cores(int(order["cores"]))  # type: ignore[call-overload]
    group = _group(order)
    job = _start(order, group)
    peak, why, limit = 0, "", int(order["memory"])  # type: ignore[call-overload]
    code: int | None = None
    while code is None:
        code = _ended(job)
        peak = max(peak, used := sum(map(_memory, descendants(os.getpid()))))
        if used > limit:
            why = "memory"
            break
        if code is None and select.select([0], [], [], _BEAT)[0]:
            _leave()
    end_all()
    if not why and code and _killed_in(group):
        why, peak = "memory", max(peak, limit)  # the kernel looks more often
    elif not why and code and _killed_here() > before:
        why = "memory"
    _remove(group)
    for one in held:
        os.close(one)
    said = {"code": code, "why": why, "peak": peak, "seconds": time.monotonic() - began, "group": group}
    os.write(1, json.dumps(said).encode())
    os._exit(0)


def _read(size: int) -> bytes:
    """Read so many bytes of the order and none further: what follows has to be seen by ``select``."""
    found = b""
    while len(found) < size:
        if not (part := os.read(0, size - len(found))):
            os._exit(1)
        found += part
    return found


def _start(order: dict[str, object], group: str) -> int:
    """Start the job in a session of its own; it dies with the keeper, and goes first when the machine has no memory."""
    said = [os.open(str(order[name]), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600) for name in _STREAMS]
    words, variables = list(map(str, order["command"])), dict(order["environment"])  # type: ignore[call-overload]
    keeper = os.getpid()
    job = os.fork()
    if job:
        for one in said:
            os.close(one)
        return job
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _libc.prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != keeper:
            os._exit(1)
        with suppress(OSError):
            _put("/proc/self/oom_score_adj", _FIRST_TO_GO)
        if group:
            _put(f"{group}/cgroup.procs", "0")
        for source, target in zip((os.open(os.devnull, os.O_RDONLY), *said), (0, 1, 2), strict=True):
            os.dup2(source, target)
        os.chdir(str(order["folder"]))
        os.execvpe(words[0], words, variables)
    except OSError as error:
        os.write(2, f"{words[0]}: {error.strerror}\n".encode())
        os._exit(127)


def _ended(job: int) -> int | None:
    """Return the job's exit code once it has ended, the number of a signal below zero; adopted processes are buried."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == job:
                return os.waitstatus_to_exitcode(status)
            if not pid:
                break
    return None


def _leave() -> None:
    """End the job, since nobody waits for it any more."""
    end_all()
    os._exit(1)


def end_all() -> None:
    """Kill all that came of this process, until nothing is left of it."""
    end = time.monotonic() + _DYING
    while time.monotonic() < end:
        for pid in descendants(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def descendants(root: int) -> list[int]:
    """Return all that came of a process and still runs, without itself."""
    found: list[int] = []
    waiting = [root]
    while waiting:
        tasks = f"/proc/{waiting.pop()}/task"
        with suppress(OSError):
            for task in os.listdir(tasks):
                with suppress(OSError):
                    children = [int(one) for one in _text(f"{tasks}/{task}/children").split()]
                    found += children
                    waiting += children
    return found


def _memory(pid: int) -> int:
    """Return the bytes of memory that a process holds for itself or shares with its likes."""
    with suppress(OSError):
        lines = [line.split() for line in _text(f"/proc/{pid}/status").splitlines()]
        return sum(int(words[1]) << 10 for words in lines if words and words[0].rstrip(":") in _KIND)
    return 0


def _cores(wanted: int) -> list[int]:
    """Bind this process and all that comes of it to so many cores that no other job has; return what holds them.

    A core is held by a lock that ends with its holder. Where all are held, because somebody promised more than there
    are, those are shared that there are.
    """
    every = sorted(os.sched_getaffinity(0))
    folder = f"{tempfile.gettempdir()}/retread-cores-{os.getuid()}"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    held: dict[int, int] = {}
    for core in every:
        if len(held) == wanted:
            break
        lock = os.open(f"{folder}/{core}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held[core] = lock
        except BlockingIOError:
            os.close(lock)
    shared = [core for core in every if core not in held][: max(0, wanted - len(held))]
    os.sched_setaffinity(0, [*held, *shared] or every)
    return list(held.values())


def _group(order: dict[str, object]) -> str:
    """Make a control group (version 2) with the job's limits and return its folder; nothing where none can be made.

    It is made beside the group that this process is in, or below it: where an administrator delegated one of the two.
    """
    root = str(order["groups"])
    with suppress(OSError, StopIteration):
        line = next(one for one in _text("/proc/self/cgroup").splitlines() if one.startswith("0::"))
        mine = line.removeprefix("0::").rstrip("/")
        for parent in dict.fromkeys((os.path.dirname(mine), mine)):
            made = f"{root}{parent.rstrip('/')}/retread-{os.getpid()}"
            if _make_group(made, int(order["memory"]), int(order["cores"])):  # type: ignore[call-overload]
                return made
    return ""


def _make_group(folder: str, memory: int, cores: int) -> bool:
    """Make one with the limits; False, and nothing left, where it cannot limit memory."""
    with suppress(OSError):
        _put(f"{os.path.dirname(folder)}/cgroup.subtree_control", "+memory +cpu")
    try:
        os.mkdir(folder)
    except OSError:
        return False
    try:
        if not os.path.exists(f"{folder}/memory.max"):
            raise FileNotFoundError(folder)
        _put(f"{folder}/memory.max", str(memory))
        _put(f"{folder}/memory.oom.group", "1")
        for name, value in (("memory.swap.max", "0"), ("cpu.max", f"{cores * 100_000} 100000")):
            with suppress(OSError):
                _put(f"{folder}/{name}", value)
    except OSError:
        _remove(folder)
        return False
    return True


def _remove(group: str) -> None:
    """Remove a group that nothing runs in any more."""
    if group:
        with suppress(OSError):
            os.rmdir(group)


def _killed_in(group: str) -> int:
    """Return how many processes of a group the kernel has killed for memory."""
    return _count(f"{group}/memory.events") if group else 0


def _killed_here() -> int:
    """Return how many processes of the machine the kernel has killed for memory since it started."""
    return _count("/proc/vmstat")


def _count(path: str) -> int:
    with suppress(OSError):
        return sum(int(line.split()[1]) for line in _text(path).splitlines() if line.startswith("oom_kill "))
    return 0


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()


def _put(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main()
