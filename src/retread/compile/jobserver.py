"""The one door through which a build's compiles start: it gives leave by memory and cores, and measures what they use.

Every compiler of a build asks here over a Unix socket before it starts (``inside/compiler.py``) and says how it ended.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from retread import strict
from retread.compile import schedule
from retread.compile.schedule import Budget, Cost, Unit

_SAMPLE_SECONDS = 0.5
"""Units run for seconds to minutes, and a sample reads some files of each process. Not measured against others."""
_LOW = 0.04
"""Below this share of the machine's memory the youngest compile is halted until there is twice as much again.

It has to be more than what the running compilers take between two samples, else the kernel kills one first, and little
enough never to be reached while the budget is kept. Not measured.
"""
SETTLE = 0.15
"""Seconds without a new unit after which the first may start: the longest goes first only if it is there. ninja starts
them 20 ms after each other on two cores, as long as a stand-in's Python takes to start (measured)."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CREDENTIALS = struct.Struct("3i")
"""What SO_PEERCRED tells: process, user, group."""


class Compiled(NamedTuple):
    """A unit that was compiled, what it cost, its object and the depfile of that."""

    unit: Unit
    cost: Cost
    output: Path
    depfile: Path
    folder: Path
    """Where the compiler ran, which its depfile's paths may start from."""


class Failed(NamedTuple):
    """A unit that did not compile: the command, its exit code and all that it said."""

    name: str
    command: tuple[str, ...]
    code: int
    said: str


class State(NamedTuple):
    """How far a build is: units done, running and waiting, seconds left if that can be told."""

    done: int
    running: tuple[str, ...]
    waiting: int
    left: float | None


class _Running:
    def __init__(self, unit: Unit, reserved: int) -> None:
        self.unit = unit
        self.reserved = reserved
        self.peak = 0
        self.processes: set[int] = set()
        self.started = time.monotonic()
        self.halted = False


class Jobserver:
    """Gives leave to compile while it is open.

    ``tree`` is the folder that units are named from, ``outside`` says where what a build names lies for this process.
    """

    def __init__(
        self,
        path: Path,
        *,
        tree: Path,
        budget: Budget,
        measures: Mapping[str, Cost],
        changed: Callable[[State], None] = lambda _: None,
        compiled: Callable[[Compiled], None] = lambda _: None,
        outside: Callable[[str], str] = str,
        settle: float = 0,
    ) -> None:
        self.compiled: list[Compiled] = []
        self.failed: list[Failed] = []
        self.peak = 0
        """Most bytes of memory that the build's processes held at one time."""
        self._path = path
        self._tree = tree
        self._budget = budget
        self._measures = measures
        self._changed = changed
        self._noted = compiled
        self._outside = outside
        self._settle = settle
        self._asked = 0.0
        self._lock = threading.Condition()
        self._waiting: dict[int, Unit] = {}
        self._running: dict[int, _Running] = {}
        self._count = 0
        self._closing = False
        self._roots: list[int] = []
        self._began = time.monotonic()
        self._listener = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> Jobserver:
        self._listener.bind(os.fspath(self._path))
        self._listener.listen(256)
        for work in (self._accept, self._measure):
            threading.Thread(target=work, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    @property
    def seconds(self) -> float:
        """Seconds since the build began."""
        return time.monotonic() - self._began

    def watch(self, pid: int) -> None:
        """Measure the memory of this process and of all that descend from it."""
        with self._lock:
            if pid and pid not in self._roots:
                self._roots.append(pid)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError), connection, connection.makefile("rw", encoding="utf-8") as talk:
            asked = strict.json(talk.readline())
            self.watch(_first_beside(_peer(connection)))  # in a container, it is below nothing of ours
            source = Path(asked["source"])
            name = str(source.relative_to(self._tree)) if source.is_relative_to(self._tree) else str(source)
            file = Path(self._outside(str(source)))
            size = file.stat().st_size if file.is_file() else 0
            unit = Unit(name=name, tool=asked["tool"], size=size)
            number = self._enter(unit)
            if number is None:
                _say(talk, "stop")
                return
            told = None
            with suppress(OSError, ValueError):  # a compiler that is gone still gives its place back
                _say(talk, "go")
                told = strict.json(talk.readline())
            self._leave(number, asked, told)
            _say(talk, "noted")

    def _enter(self, unit: Unit) -> int | None:
        """Wait until ``unit`` may start and return its number; None when the build has failed or is over."""
        with self._lock:
            self._count += 1
            number = self._count
            self._waiting[number] = unit
            self._asked = time.monotonic()
            self._admit()
            while number in self._waiting and not (self._closing or self.failed):
                if not self._lock.wait(None if self._is_settled() else self._settle):
                    self._admit()
            if self._waiting.pop(number, None) is not None:
                return None
            return number

    def _is_settled(self) -> bool:
        """Say whether the first units are all there, or one has started."""
        begun = self._running or self.compiled
        return bool(begun) or time.monotonic() - self._asked >= self._settle

    def _admit(self) -> None:
        """Let in what fits; the lock is held."""
        if self.failed or not self._is_settled():
            return
        reserved = [max(one.reserved, one.peak) for one in self._running.values()]
        chosen = schedule.admit(self._waiting.values(), reserved, self._budget, self._measures)
        for unit in chosen:
            number = next(key for key, one in self._waiting.items() if one is unit)
            del self._waiting[number]
            self._running[number] = _Running(unit, schedule.needed(unit, self._measures))
        if chosen:
            self._lock.notify_all()
        self._changed(self._state())

    def _leave(self, number: int, asked: Mapping[str, str], told: Mapping[str, Any] | None) -> None:
        with self._lock:
            running = self._running.pop(number)
            if told is None:  # the compiler was killed, with it the build
                self.failed.append(Failed(running.unit.name, (), -signal.SIGKILL, ""))
            elif told["code"]:
                self.failed.append(
                    Failed(running.unit.name, tuple(told["command"]), told["code"], told["said"])
                )
            else:
                one = Compiled(
                    running.unit,
                    Cost(seconds=told["seconds"], memory=running.peak),
                    Path(asked["output"]),
                    Path(asked["depfile"]),
                    Path(asked["folder"]),
                )
                try:
                    self._noted(one)
                    self.compiled.append(one)
                except OSError as error:  # nobody would know what its object was made of
                    self.failed.append(Failed(one.unit.name, tuple(told["command"]), 1, str(error)))
            self._admit()
            self._lock.notify_all()

    def _state(self) -> State:
        known = [self._measures.get(one.unit.name) for one in self.compiled]
        done = sum(one.seconds for one in known if one)
        remaining = [one.unit.name for one in self._running.values()] + [
            one.name for one in self._waiting.values()
        ]
        spent = time.monotonic() - self._began
        return State(
            done=len(self.compiled),
            running=tuple(one.unit.name for one in self._running.values()),
            waiting=len(self._waiting),
            left=schedule.left(remaining, done, spent, self._measures),
        )

    # Memory.

    def _measure(self) -> None:
        while not self._closing:
            with suppress(OSError):
                self._sample(_descendants(self._roots))
            time.sleep(_SAMPLE_SECONDS)

    def _sample(self, processes: Mapping[int, tuple[int, str]]) -> None:
        """Give each process to the unit that its command line, or its parent's, names; note the peaks."""
        with self._lock:
            stems = sorted(
                ((Path(one.unit.name).stem, one) for one in self._running.values()),
                key=lambda pair: len(pair[0]),
                reverse=True,
            )
            owners: dict[int, _Running] = {}
            held: dict[int, int] = {}
            total = 0
            for pid, (parent, line) in processes.items():
                memory = _resident(pid)
                total += memory
                owner = next((one for stem, one in stems if _names(line, stem)), owners.get(parent))
                if owner is not None:
                    owners[pid] = owner
                    held[id(owner)] = held.get(id(owner), 0) + memory
            self.peak = max(self.peak, total)
            for one in self._running.values():
                one.peak = max(one.peak, held.get(id(one), 0))
                one.processes = {pid for pid, owner in owners.items() if owner is one}
            self._relieve()

    def _relieve(self) -> None:
        """Halt the youngest compile while memory is nearly used up, and let it go on when there is room."""
        total, available = memory()
        order = sorted(self._running.values(), key=lambda one: one.started)
        active = [one for one in order if not one.halted]
        if available < total * _LOW and len(active) > 1:
            active[-1].halted = _signal(active[-1].processes, signal.SIGSTOP)
        elif available > total * _LOW * 2 or not active:
            for one in order:
                if one.halted:
                    _signal(one.processes, signal.SIGCONT)
                    one.halted = False
                    break


def _say(talk: IO[str], word: str) -> None:
    print(word, file=talk, flush=True)


def _names(line: str, stem: str) -> bool:
    """Say whether a command line names a file of this stem: ``.../stem.cu``, ``stem.compute_90.ptx``."""
    return re.search(rf"(?:^|[/\s=]){re.escape(stem)}\.", line) is not None


def _signal(processes: set[int], number: signal.Signals) -> bool:
    for pid in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    return bool(processes)


def memory() -> tuple[int, int]:
    """Return (all, available) bytes of memory of this machine, or of the control group that this process is in."""
    found = {}
    for line in Path("/proc/meminfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name in {"MemTotal", "MemAvailable"}:
            found[name] = int(value.split()[0]) * 1024
    total, available = found["MemTotal"], found["MemAvailable"]
    for limit_file, used_file in _GROUPS:
        with suppress(OSError, ValueError):
            limit = int(Path(limit_file).read_text("utf-8"))
            if limit < total:
                used = int(Path(used_file).read_text("utf-8"))
                total, available = limit, min(available, limit - used)
    return total, available


_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def _peer(connection: socket.socket) -> int:
    """Return the process at the other end of a Unix socket, as this one's namespace numbers it; 0 when it does not."""
    asked = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(asked)[0])


def _first_beside(pid: int) -> int:
    """Return the first process of the deeper namespace that a process is in; 0 when it is in this one's own."""
    depth = len(_status(os.getpid())[1])
    parent, numbers = _status(pid)
    if len(numbers) <= depth:
        return 0
    while parent and len(_status(parent)[1]) >= len(numbers):
        pid, (parent, _) = parent, _status(parent)
    return pid


def _status(pid: int) -> tuple[int, list[str]]:
    """Return a process's parent and its number in each namespace, outermost first; (0, []) when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    except OSError:
        return 0, []
    found = dict(line.split(":", 1) for line in lines)
    return int(found["PPid"]), found["NSpid"].split()


def _descendants(roots: Sequence[int]) -> dict[int, tuple[int, str]]:
    """Return pid -> (parent, command line) of processes and all below them, parents before children."""
    found: dict[int, tuple[int, str]] = {}
    queue = [(root, 0) for root in reversed(roots)]
    while queue:
        pid, parent = queue.pop()
        if pid in found:
            continue
        with suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            found[pid] = (parent, line)
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError):
                queue += [(int(child), pid) for child in children.read_text("utf-8").split()]
    return found


def _resident(pid: int) -> int:
    with suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/statm").read_text("utf-8").split()[1]) * _PAGE
    return 0
