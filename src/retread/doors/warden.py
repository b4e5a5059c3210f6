"""What ends the programs of a process that was killed: nothing of retread runs then, so a shell waits for that moment.

The *warden* is told of each program when it starts and when it has ended, through a pipe. The pipe ends with this
process, however that came; then the warden ends what still runs, each with its whole group, as an interrupt does. A
death signal (prctl(2)) would not do: it reaches the first process of a program alone, and comes when the thread ends
that started it.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

_SHELL: Final = "/bin/sh"
_PROGRAM: Final = Path(__file__).with_name("warden.sh")


class _Line:
    """The pipe to this process's warden; a fork has none of its parent's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._end: int | None = None

    def tell(self, how: str, pid: int) -> None:
        """Write a line; a warden that is gone, or cannot be started, is done without."""
        with suppress(OSError, NotImplementedError), self._lock:
            if self._end is None:
                self._end = _started()
            os.write(self._end, f"{how} {pid}\n".encode())

    def drop(self) -> None:
        """Let go of the pipe, in a new process: it would keep the warden of its parent waiting."""
        self._lock = threading.Lock()
        if self._end is not None:
            os.close(self._end)
            self._end = None


_line: Final = _Line()
os.register_at_fork(after_in_child=_line.drop)


def note(pid: int) -> None:
    """Have the group that a process leads killed, should this process die first."""
    _line.tell("+", pid)


def note_asked(pid: int) -> None:
    """Have a process that is noted asked to end first, so that it can put its things away."""
    _line.tell("?", pid)


def forget(pid: int) -> None:
    """Take back what was noted of a process, which has ended."""
    _line.tell("-", pid)


def _started() -> int:
    """Start a warden, in a session of its own, and return the end of the pipe that it is told through."""
    read, write = os.pipe()
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.posix_spawn(
            _SHELL,
            [_SHELL, str(_PROGRAM)],
            {"PATH": "/usr/bin:/bin"},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, read, 0),
                (os.POSIX_SPAWN_DUP2, nowhere, 1),
                (os.POSIX_SPAWN_DUP2, nowhere, 2),
            ],
            setsid=True,
        )
    except BaseException:
        os.close(write)
        raise
    finally:
        os.close(read)
        os.close(nowhere)
    return write
