"""The one door to other programs: list arguments, explicit environment, whole process group ended on interrupt."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from retread.errors import ToolError

_TAIL = 12
_live: set[subprocess.Popen[str]] = set()
_stopping = threading.Event()


class Finished(NamedTuple):
    """What a program left: its exit code and its two outputs."""

    code: int
    stdout: str
    stderr: str


def find(program: str, *, why: str) -> Path:
    """Return the program's path, or raise ToolError that says what needs it."""
    found = shutil.which(program)
    if not found:
        raise ToolError(
            f"{program} is not installed; {why}", hint=f"install {program} and run the same command again"
        )
    return Path(found)


def run(
    command: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path | None = None, check: bool = True
) -> Finished:
    """Run ``command`` with ``env`` alone and return what it said.

    With ``check``, an exit code other than 0 raises ToolError with the command, the code and the last lines.
    When this process is interrupted, the whole group of the program is killed before the interrupt goes on.
    """
    try:
        process = subprocess.Popen(
            [os.fspath(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            cwd=cwd,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise ToolError(f"{command[0]} could not be started: {error.strerror}") from None
    _live.add(process)
    if _stopping.is_set():
        _kill(process)
    with process:  # closes the pipes, whatever happens
        try:
            stdout, stderr = process.communicate()
        except BaseException:
            _kill(process)
            process.wait()
            raise
        finally:
            _live.discard(process)
    if check and process.returncode:
        raise ToolError(_failure(command, process.returncode, stdout + stderr))
    return Finished(process.returncode, stdout, stderr)


def stop_all() -> None:
    """Kill every program that other threads of this process still wait for."""
    for process in tuple(_live):
        _kill(process)


def close() -> None:
    """Kill every program, and whatever a thread that outlived its pool still starts: this process is ending."""
    _stopping.set()
    stop_all()


@contextmanager
def stopping() -> Iterator[None]:
    """Kill every program that other threads wait for, and whatever they start while the block runs."""
    _stopping.set()
    try:
        stop_all()
        yield
    finally:
        _stopping.clear()


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _failure(command: Sequence[str | Path], code: int, output: str) -> str:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"
    tail = [f"    {line}" for line in output.strip().splitlines()[-_TAIL:]]
    return "\n".join([f"{Path(command[0]).name} {how}: {' '.join(map(str, command))}", *tail])
