"""How long a process may take: by the time that processors work for it, so that a busy machine fails nothing.

A clock on the wall counts what other programs do, too: the same case would pass on a quiet machine and fail on a full
one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

LOOK = 1.0
"""Seconds between two looks at a process: often enough for limits of minutes, and a look reads a few files."""
_ASLEEP = 0.05
"""A process that uses less than this part of the time waits for something: all of the time counts then, or a hang would
never end. A library's idle threads use less; a process that wants a processor gets more, unless twenty share each."""
_TICKS = float(os.sysconf("SC_CLK_TCK")) if hasattr(os, "sysconf") else 100.0
APART: dict[str, Any] = (
    {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    if sys.platform == "win32"
    else {"start_new_session": True}
)
"""A process that Ctrl-C at the terminal does not reach: who started it ends it."""
TEXT: dict[str, Any] = {"text": True, "encoding": "utf-8", "errors": "replace"}
"""What a dying process says may be no text at all."""


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what takes longer; 0 is as long as it likes, and so is all on Windows, without alarms."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError(f"it was still at work after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def used(pid: int) -> float | None:
    """Return the seconds that processors worked for a process and all below it; None when nobody can tell.

    See ``man 5 proc_pid_stat``, fields 14 to 17: its own time and that of children that ended. Windows does not tell.
    """
    found, queue = None, [pid]
    while queue:
        one = queue.pop()
        try:
            with open(f"/proc/{one}/stat", encoding="utf-8", errors="replace") as stream:
                fields = stream.read().rpartition(")")[2].split()
            found = (found or 0.0) + sum(map(int, fields[11:15])) / _TICKS
            for thread in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{thread}/children", encoding="utf-8") as stream:
                    queue += map(int, stream.read().split())
        except (OSError, ValueError):
            continue  # it ended meanwhile, or this kernel does not say whose child a process is
    return found


class Patience:
    """What is left of a limit, in seconds, for what a process does next.

    Of the time between two looks that of the processors counts, but no more than has passed, since a case may use
    many; and all that has passed where the process waited.
    """

    def __init__(
        self,
        pid: int,
        limit: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[int], float | None] = used,
    ) -> None:
        self._pid = pid
        self._clock = clock
        self._used = used
        self.anew(limit)

    def anew(self, limit: float) -> None:
        """Begin to count for another limit."""
        self.limit = self.left = limit
        self.began = self._seen = self._clock()
        self._worked = self._used(self._pid)

    def look(self) -> bool:
        """Count what was used since the last look; say whether the limit is used up."""
        now, worked = self._clock(), self._used(self._pid)
        passed, spent = now - self._seen, None
        if worked is not None and self._worked is not None:
            spent = max(0.0, worked - self._worked)
        self.left -= passed if spent is None or spent < passed * _ASLEEP else min(spent, passed)
        self._seen, self._worked = now, worked
        return self.left <= 0

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        return min(LOOK, max(self.left, 0.01))

    @property
    def seconds(self) -> float:
        """Seconds on the wall since the limit began."""
        return self._clock() - self.began


def run(command: Sequence[str], limit: float, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return what it said; TimeoutExpired when the limit is used up.

    It ends with all that it started, which would go on, and write into its folder.
    """
    pipes: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    with subprocess.Popen(command, **APART, **pipes, **TEXT, **options) as process:
        patience = Patience(process.pid, limit)
        try:
            while True:
                try:
                    out, said = process.communicate(timeout=patience.pause)
                    return subprocess.CompletedProcess(command, process.returncode, out, said)
                except subprocess.TimeoutExpired:
                    if patience.look():
                        raise subprocess.TimeoutExpired(command, limit) from None
        finally:
            kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process that leads a session, with all that it started.

    Windows has no sessions of that kind: there, its own program ends a process with those below it.
    """
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        with suppress(OSError):
            command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        process.kill()
