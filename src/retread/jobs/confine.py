"""A job held to its limits on a machine that others use: memory, cores, and an end of all that came of it.

Engines book memory and cores and limit neither, and what a killed worker had started runs on. So each job runs below a
*keeper* (``keeper``), which enforces both, and ends with the worker whatever became of that.

**Memory** is that of all processes of a job together. A control group of version 2 holds it where one is delegated:
the kernel kills the whole group, and says so. Elsewhere the keeper adds up what the processes hold ten times a second,
and kills them when it is too much. Resource limits do not do: they bind each process alone, while a build has as many
as cores; and whoever meets one may say anything. Of a small unit of CUDA 12.8, ``RLIMIT_AS`` of 60 MB leaves nvcc's
"Segmentation fault", ``RLIMIT_DATA`` of 60 MB an exit code 1 and "catastrophic error: out of memory", as of any error
in the source; and torch with CUDA reserves more addresses than any machine has memory. The sum is late by a tenth of a
second; the kernel's own killer stands behind it, and takes the job before the keeper.

**Cores**: the job is bound to cores that no other job of this user holds; in a control group it has their time only.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from retread import strict
from retread.compile.schedule import GIB
from retread.errors import ToolError
from retread.jobs.job import Needs
from retread.jobs.launch import Ended, Launcher
from retread.records import Record

_KEEPER: Final = Path(__file__).with_name("keeper.py")
_GROUPS: Final = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
"""Where control groups of version 2 are found: alone, or beside those of version 1."""
_UNIT: Final = 2 * GIB
"""Memory of one compile, as builds that ask for MAX_JOBS are told: the largest unit of the default recipe has 2.5 GB,
most are far below."""
_BEAT: Final = 1.0
"""Seconds between two beats of a job that runs."""
_PATIENCE: Final = 30.0
"""Seconds for a keeper to end all that came of its job; it takes 20 itself before it gives up."""


class Limits(NamedTuple):
    """What a job is held to: cores, and bytes of memory of all its processes together."""

    cores: int
    memory: int

    def variables(self) -> dict[str, str]:
        """Return what builds are told that ask the environment how many compiles may run at a time."""
        return {"MAX_JOBS": str(max(1, min(self.cores, self.memory // _UNIT)))}


class Why(StrEnum):
    """Why a job ended."""

    ENDED = ""
    """By itself, or by what somebody else did to it."""
    MEMORY = "memory"
    """It was killed since it needed more memory than it was given, or than there was."""


class Fate(Record, frozen=True, kw_only=True):
    """What became of a job."""

    code: int | None
    """Its exit code, a signal's number below zero; None where the keeper ended it."""
    why: Why
    peak: int
    """Bytes of memory, as often as they were looked at."""
    seconds: float
    group: str
    """The control group that held it; empty where there was none."""


class Confined:
    """A job that runs."""

    def __init__(self, keeper: subprocess.Popen[bytes]) -> None:
        self._keeper = keeper

    def wait(self, seconds: float) -> Fate | None:
        """Return what became of it, or None when it still runs after so many seconds.

        ToolError when the keeper itself was killed; of the job nothing is left then.
        """
        out = self._keeper.stdout
        assert out is not None
        if not select.select([out], [], [], seconds)[0]:
            return None
        said = out.read()
        self._keeper.wait()
        if not said:
            raise ToolError("what held the job to its limits was killed, and the job with it")
        return strict.decoded(said, Fate)

    def close(self) -> None:
        """End the job and all that came of it, if it still runs."""
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        with suppress(OSError):
            self._keeper.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._keeper.wait(_PATIENCE)
        self._keeper.stdout.close()


class Said:
    """A file that grows while it is read, line by line."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._stream = path.open("rb")
        self._rest = b""

    def __enter__(self) -> Said:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def lines(self, *, end: bool = False) -> list[str]:
        """Return the lines that came since; at the ``end`` also one that has none."""
        *whole, self._rest = (self._rest + self._stream.read()).split(b"\n")
        if end and self._rest:
            whole.append(self._rest)
        return [one.decode("utf-8", "replace") for one in whole]


@contextmanager
def confined(
    command: Sequence[str | Path], limits: Limits, *, env: Mapping[str, str], folder: Path
) -> Iterator[Confined]:
    """Run ``command`` with ``env`` alone, below a keeper; what it says goes to ``stdout`` and ``stderr`` in a folder.

    When the block is left, or this process is gone, however that came, nothing of it runs any more.
    """
    order = {
        "command": [os.fspath(one) for one in command],
        "environment": {**env, **limits.variables()},
        "folder": _here(),
        "stdout": os.fspath(folder / "stdout"),
        "stderr": os.fspath(folder / "stderr"),
        "cores": limits.cores,
        "memory": limits.memory,
        "groups": next((one for one in reversed(_GROUPS) if Path(one, "cgroup.procs").exists()), _GROUPS[0]),
    }
    keeper = subprocess.Popen(
        [sys.executable, "-I", "-S", _KEEPER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    job = Confined(keeper)
    try:
        assert keeper.stdin is not None
        told = msgspec.json.encode(order)
        with suppress(BrokenPipeError):  # killed already, which waiting for it tells
            keeper.stdin.write(b"%08x" % len(told) + told)
            keeper.stdin.flush()
        yield job
    finally:
        job.close()


def _here() -> str:
    """Return the folder that this process is in, or the root where that is gone: a job names all its own from there."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return "/"


def launcher(beat: Callable[[str], None], scratch: Path | None = None) -> Launcher:
    """Return a way to run the commands of a job confined to what it needs; what they say lies in ``scratch``.

    ``beat`` gets the last line that was said, every second; what it raises ends the job.
    """

    def launch(
        command: Sequence[str | Path], needs: Needs, *, env: Mapping[str, str], heard: Callable[[str], None]
    ) -> Ended:
        limits, last = Limits(needs.cores, needs.memory_bytes), ""
        with tempfile.TemporaryDirectory(prefix=".said-", dir=scratch) as name:
            folder = Path(name)
            with confined(command, limits, env=env, folder=folder) as job, Said(folder / "stderr") as said:
                while (fate := job.wait(_BEAT)) is None:
                    for last in said.lines():
                        heard(last)
                    beat(last)
                for last in said.lines(end=True):
                    heard(last)
            code = 128 + signal.SIGKILL if fate.code is None else fate.code
            stdout = (folder / "stdout").read_text("utf-8", "replace")
        return Ended(code, stdout, fate.peak, limits.memory, fate.why is Why.MEMORY)

    return launch
