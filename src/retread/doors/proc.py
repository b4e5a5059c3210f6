"""The one door to other programs: list arguments, explicit environment, whole process group ended on interrupt.

A program does not outlive this process either when that is killed (``warden``).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from retread.doors import warden
from retread.errors import ToolError

_TAIL = 12
"""Last lines of a program that failed: an error of a compiler with its notes, and still the message in sight."""
_PATIENCE = 20.0
"""Seconds for a program that was asked to end to put its things away; then it is killed."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What interrupts a command."""
_live: set[subprocess.Popen[str]] = set()
_stopping = threading.Event()
_stuck = threading.Event()


class Finished(NamedTuple):
    """What a program left: its exit code and its two outputs."""

    code: int
    stdout: str
    stderr: str


def find(program: str, *, why: str) -> Path:
    """Return the program's path, or raise ToolError that says what needs it.

    Programs that came with retread's own environment (uv, sccache) come before those of the PATH.
    """
    import shutil

    found = shutil.which(program, path=os.path.dirname(sys.executable)) or shutil.which(program)  # noqa: PTH120 - a link counts
    if not found:
        from retread.doors import extras

        line = extras.installs_program(program) or f"install {program} and run the same command again"
        raise ToolError(f"{program} is not installed; {why}", hint=line)
    return Path(found)


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    check: bool = True,
    limit: float | None = None,
) -> Finished:
    """Run ``command`` with ``env`` alone and return what it said.

    With ``check``, an exit code other than 0 raises ToolError with the command, the code and the last lines; so does a
    program that has not ended after ``limit`` seconds, which is killed.
    When this process is interrupted, the whole group of the program is killed before the interrupt goes on.
    """
    process = _start(command, env, cwd, subprocess.PIPE, subprocess.PIPE)
    with process, _watched(process):  # closes the pipes, whatever happens
        try:
            stdout, stderr = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise ToolError(f"{Path(command[0]).name} did not end within {limit:g} s") from None
    if check and process.returncode:
        raise ToolError(_failure(command, process.returncode, stdout + stderr))
    return Finished(process.returncode, stdout, stderr)


def run_heard(
    command: Sequence[str | Path], *, env: Mapping[str, str], heard: Callable[[str], None]
) -> tuple[int, str]:
    """Run ``command``, hand each line of its standard error to ``heard``; return its exit code and standard output.

    An interrupt asks it to end, so that it can remove what it made, and then kills the whole group, as in ``run``.
    """
    from concurrent.futures import ThreadPoolExecutor

    process = _start(command, env, None, subprocess.PIPE, subprocess.PIPE)
    with process, ThreadPoolExecutor(1) as pool, _watched(process), _asked(process):
        assert process.stderr is not None
        assert process.stdout is not None
        stdout = pool.submit(process.stdout.read)  # meanwhile, or a long report would fill the pipe
        for line in process.stderr:
            heard(line.rstrip("\n"))
        return process.wait(), stdout.result()


def run_logged(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    started: Callable[[int], None] = lambda _: None,
) -> int:
    """Run ``command`` with all that it says going to the file ``log``; return its exit code.

    ``started`` gets the process id. An interrupt kills the whole group, as in ``run``.
    """
    with log.open("a", encoding="utf-8") as stream:
        process = _start(command, env, cwd, stream, subprocess.STDOUT)
        with process, _watched(process):
            started(process.pid)
            return process.wait()


def _start(
    command: Sequence[str | Path],
    env: Mapping[str, str],
    cwd: Path | None,
    stdout: int | IO[str],
    stderr: int,
) -> subprocess.Popen[str]:
    try:
        with _put_off():
            process = subprocess.Popen(
                [os.fspath(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=dict(env),
                cwd=cwd,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            warden.note(process.pid)
            _live.add(process)
    except OSError as error:
        raise ToolError(f"{command[0]} could not be started: {error.strerror}") from None
    if _stopping.is_set():
        _kill(process)
    return process


@contextmanager
def _put_off() -> Iterator[None]:
    """Put interrupts off until the block ends: one between a program's start and its noting would leave it behind."""
    caught: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [one for one in _SIGNALS if callable(signal.getsignal(one))]
        before = {one: signal.signal(one, lambda number, _: caught.append(number)) for one in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for missed in caught[:1]:
            signal.raise_signal(missed)


@contextmanager
def _watched(process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill the whole group when the block is left by an exception."""
    try:
        yield
    except BaseException:
        _kill(process)
        process.wait()
        raise
    finally:
        _live.discard(process)
        warden.forget(process.pid)


@contextmanager
def _asked(process: subprocess.Popen[str]) -> Iterator[None]:
    """Ask a program to end, and wait for it, when the block is left by an exception."""
    warden.note_asked(process.pid)
    try:
        yield
    except BaseException:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)
        raise


def close() -> None:
    """Kill every program, and whatever a thread that outlived its pool still starts: this process is ending."""
    _stopping.set()
    _stop()


def give_up() -> None:
    """Say that something in this process does not end, so that the process has to end without waiting for it."""
    _stuck.set()


def is_stuck() -> bool:
    """Say whether something in this process does not end."""
    return _stuck.is_set()


@contextmanager
def stopping() -> Iterator[None]:
    """Kill every program that other threads wait for, and whatever they start while the block runs."""
    _stopping.set()
    try:
        _stop()
        yield
    finally:
        _stopping.clear()


def _stop() -> None:
    """Kill every program that is noted; ``_stopping`` says to whoever notes one meanwhile that it has to end."""
    for process in tuple(_live):
        _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _failure(command: Sequence[str | Path], code: int, output: str) -> str:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"
    tail = [f"    {line}" for line in output.strip().splitlines()[-_TAIL:]]
    return "\n".join([f"{Path(command[0]).name} {how}: {' '.join(map(str, command))}", *tail])
