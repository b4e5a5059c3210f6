"""Runs the cases of a suite, many in one process, each with its limit; one that dies takes no other with it."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import IO, Any

from retread.smoke.runtime import patience
from retread.smoke.runtime.ledger import FRESH
from retread.smoke.runtime.patience import APART, TEXT, Patience

Table = dict[str, Any]
START = 180.0
"""Seconds of processor time until the first case of a process must have begun: imports."""
ALIKE = 12
"""When the first so many cases of a process all failed for one reason, the others are not tried."""
AGAIN = 12
"""So many failing cases are run again, alone, each with a reason of its own; more would say the same."""
_GRACE = 10.0
"""Seconds in which a process must end that has nothing more to say."""
_TAIL = 6000
_LISTED = {"case", "level", "limit", "alone", "env", "libraries"}
_OUTCOMES = {"passed", "failed", "skipped"}
STACK = getattr(signal, "SIGUSR2", None)
"""The harness answers it with where every thread is; it lies beside the suites, out of reach of imports. None where the
system has no such signal: Windows."""
_BYTE = 255
"""The highest exit code of POSIX; Windows has faults beyond it, which people know as 0xc0000005."""
_KILLED = 9
"""SIGKILL, which Windows does not name."""
_LAST_WORDS = 5.0
"""Seconds in which a process that is to be killed may write down where it is; it takes milliseconds."""


class Suite:
    """A program that lists and runs cases, and the environment that it runs in."""

    def __init__(self, path: str, environment: Mapping[str, str], folder: str) -> None:
        self.path = path
        self.name = os.path.splitext(os.path.basename(path))[0]
        self.environment = dict(environment)
        self.folder = folder
        self._live: set[subprocess.Popen[str]] = set()
        self._stopping = threading.Event()

    def cases(self, level: str) -> tuple[list[Table], Table | None]:
        """Return the cases of a level, or one failed case that says why the suite could not tell."""
        command = [sys.executable, self.path, "list"]
        try:
            done = patience.run(command, START, env=self.environment, cwd=self.folder)
            code, said, talk = done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired as error:
            code, said, talk = -_KILLED, "", f"no list within {error.timeout:.0f} s of processor time"
        found = [one for one in map(_table, said.split("\n")) if "case" in one]
        if code:
            return [], self._failed("list", _died(code, talk), 0.0)
        if not all(one.keys() >= _LISTED for one in found) or (said.strip() and not found):
            message = f"what it printed is not a list of cases: {said.strip()[:200]}"
            return [], self._failed("list", _fault("List", message, said[-_TAIL:]), 0.0)
        return [one for one in found if one["level"] == level], None

    def again(self, one: Table, failed: Table) -> None:
        """Run a failed case alone with CUDA_LAUNCH_BLOCKING=1 and write into it what that named."""
        results: list[Table] = []
        self.batch([one], {**one["env"], "CUDA_LAUNCH_BLOCKING": "1"}, results.append)
        failed["again"] = results[0]["fault"]
        if results[0]["outcome"] == "passed":
            failed["note"] = _joined(
                failed["note"], "it passed when it ran alone with CUDA_LAUNCH_BLOCKING=1"
            )

    def batch(self, cases: Sequence[Table], more: Mapping[str, str], ended: Callable[[Table], None]) -> None:
        """Run cases in one process, and in a fresh one what is left when that dies or hangs."""
        left = {one["case"]: one for one in cases}
        reasons: list[str] = []
        while left:
            before = len(left)
            with closing(self._process(dict(left), more)) as results:
                for result in results:
                    if self._stopping.is_set():
                        return
                    listed = left.pop(result["id"])
                    result["libraries"] = listed["libraries"]
                    ended(result)
                    reasons.append(result["reason"] if result["outcome"] == "failed" else "")
                    if _alike(reasons):
                        break
            if _alike(reasons):
                self._give_up(left, reasons[0], ended)
                return
            if len(left) == before:
                raise AssertionError("a process that ended no case")

    def stop(self) -> None:
        """Kill every process that other threads wait for, and whatever they still start."""
        self._stopping.set()
        for process in tuple(self._live):
            patience.kill(process)

    def _process(self, cases: Mapping[str, Table], more: Mapping[str, str]) -> Generator[Table, None, None]:
        """Start one process and yield the results that it gives; the last may be of a case that ended it."""
        waiting = list(cases)
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as talk,
            self._started(waiting, more, talk) as process,
        ):
            lines = _lines(process.stdout)
            current, start, left, reads = "", 0.0, Patience(process.pid, START), FRESH
            while True:
                try:
                    line = lines.get(timeout=left.pause)
                except queue.Empty:
                    if not left.look():
                        continue
                    _tell_stack(process, talk)
                    patience.kill(process)
                    message = f"no end within {left.limit:.0f} s of processor time"
                    yield self._failed(
                        current or waiting[0], _fault("Timeout", message, _tail(talk)), left.seconds
                    )
                    return
                if line is None:
                    break
                if line["event"] == "begin" and line["case"] in waiting:
                    start = left.seconds if len(waiting) == len(cases) else 0.0
                    current = line["case"]
                    left.anew(cases[current]["limit"])
                elif line["case"] == current and line.get("outcome") in _OUTCOMES:
                    waiting.remove(current)
                    reads = reads.more(read := line.get("read"))
                    asked = read.get("asked") if read else None  # which counts for this case alone
                    if "parts" in line and start:
                        line["parts"] = {"start": round(start, 4), **line["parts"]}
                    yield {**self._result(line), "reads": reads.more(asked) if asked else reads}
                    current = ""
                    left.anew(START)
                    if not waiting:
                        break
            code = _code(process)
            if waiting and (current or code not in {0, 3} or len(waiting) == len(cases)):
                yield self._failed(current or waiting[0], _died(code, _tail(talk)), left.seconds)

    @contextmanager
    def _started(
        self, names: Sequence[str], more: Mapping[str, str], talk: IO[str]
    ) -> Iterator[subprocess.Popen[str]]:
        with tempfile.TemporaryFile("w+", encoding="utf-8") as asked:  # a pipe could be full
            asked.write("\n".join(names) + "\n")
            asked.seek(0)
            process = subprocess.Popen(
                [sys.executable, self.path, "run"],
                stdin=asked,
                stdout=subprocess.PIPE,
                stderr=talk,
                env={**self.environment, **more},
                cwd=self.folder,
                **APART,
                **TEXT,
            )
        self._live.add(process)
        try:
            if self._stopping.is_set():
                patience.kill(process)
            yield process
        finally:
            patience.kill(process)
            process.wait()
            self._live.discard(process)

    def _result(self, line: Table) -> Table:
        return {
            "id": line["case"],
            "suite": self.name,
            "outcome": line["outcome"],
            "seconds": float(line.get("seconds", 0.0)),
            "reason": line.get("reason", ""),
            "note": line.get("note", ""),
            "numbers": _plain(line.get("numbers", {})),
            "libraries": [],
            "fault": line.get("error"),
            "again": None,
            "digests": dict(line.get("digests") or {}),
            **({"parts": _plain(line["parts"])} if line.get("parts") else {}),
        }

    def _give_up(self, left: Mapping[str, Table], reason: str, ended: Callable[[Table], None]) -> None:
        why = f"not tried: the first {ALIKE} cases failed alike: {reason}"
        for name in left:
            ended(self.untried(name, why))

    def untried(self, name: str, why: str) -> Table:
        """Return the result of a case that was not tried."""
        return self._result({"case": name, "outcome": "skipped", "seconds": 0.0, "reason": why})

    def _failed(self, name: str, fault: Table, seconds: float) -> Table:
        line = {"case": name, "outcome": "failed", "seconds": round(seconds, 4)}
        line |= {"reason": f"{fault['type']}: {fault['message']}".splitlines()[0], "error": fault}
        return self._result(line)


def matching(cases: Sequence[Table], pattern: str) -> list[Table]:
    """Return the cases whose id a pattern like ``attention/*`` matches."""
    from fnmatch import fnmatchcase

    return [one for one in cases if fnmatchcase(one["case"], pattern)]


def _alike(reasons: Sequence[str]) -> bool:
    """Say whether the first cases all failed for one reason; nothing is the reason of a case that did not fail."""
    return len(reasons) == ALIKE and reasons[0] != "" and len(set(reasons)) == 1


def _lines(stream: IO[str] | None) -> queue.Queue[Table | None]:
    """Return a queue that a thread fills with the lines of a process; None is the end."""
    found: queue.Queue[Table | None] = queue.Queue()

    def read() -> None:
        assert stream is not None
        with stream:
            for line in stream:
                table = _table(line)
                if {"event", "case"} <= table.keys():
                    found.put(table)
        found.put(None)

    threading.Thread(target=read, daemon=True).start()
    return found


def _table(line: str) -> Table:
    """Return a line of JSON; nothing for noise, or for what a killed process left of a line."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _code(process: subprocess.Popen[str]) -> int:
    """Return the exit code of a process that has said all; one that does not end by itself is killed."""
    try:
        return process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        patience.kill(process)
        return process.wait()


def _tell_stack(process: subprocess.Popen[str], talk: IO[str]) -> None:
    """Let a process write its stack to ``talk``, as the harness does when it is asked to; another one dies of it."""
    if STACK is None:
        return
    before = os.fstat(talk.fileno()).st_size
    with suppress(ProcessLookupError):
        os.kill(process.pid, STACK)
    end = time.monotonic() + _LAST_WORDS
    size = before
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
        size, last = os.fstat(talk.fileno()).st_size, size
        if size == last > before:
            return


def _died(code: int, talk: str) -> Table:
    if code < 0:
        return _fault(_signal(-code), "the process died of it", talk)
    said = [line for line in talk.strip().splitlines() if line.strip()]
    number = f"{code:#x}" if code > _BYTE else str(code)
    return _fault(
        "Exit", f"the process ended with code {number}: {said[-1] if said else 'it said nothing'}", talk
    )


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "SIGKILL" if number == _KILLED else f"signal {number}"


def _fault(kind: str, message: str, stack: str) -> Table:
    return {"type": kind, "message": message, "where": "", "kernel": "", "stack": stack}


def _tail(talk: IO[str]) -> str:
    talk.seek(0)
    return talk.read()[-_TAIL:]


def _plain(numbers: Mapping[str, Any]) -> Table:
    """Return numbers as a report has them: what is infinite, no number or a list becomes a text."""
    return {
        name: value
        if value is None
        or isinstance(value, (bool, int, str))
        or (isinstance(value, float) and value - value == 0)
        else str(value)
        for name, value in numbers.items()
    }


def _joined(*texts: str) -> str:
    return "; ".join(text for text in texts if text)
