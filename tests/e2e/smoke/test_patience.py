"""Limits of time: what processors do for a process counts, whatever else the machine does meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from retread.smoke.runtime import harness, patience, runner
from retread.smoke.runtime.patience import Patience


class Machine:
    """A clock, and a process that gets ``share`` of a processor."""

    def __init__(self, share: float | None) -> None:
        self.now = 100.0
        self.worked: float | None = 3.0
        self.share = share

    def goes_on(self, seconds: float) -> None:
        self.now += seconds
        self.worked = (
            None if self.share is None or self.worked is None else self.worked + self.share * seconds
        )

    def patience(self, limit: float) -> Patience:
        return Patience(1, limit, clock=lambda: self.now, used=lambda _: self.worked)


@pytest.mark.parametrize(
    ("share", "seconds"),
    [
        (1.0, 60),
        (0.1, 600),  # nine others want the same processor
        (16.0, 60),  # a case on all cores has no less time than one on a single core
        (0.0, 60),  # a hang
        (0.01, 60),  # a hang with a thread that looks for something now and then
        (None, 60),  # nobody can tell
    ],
)
def test_a_limit_is_of_processor_time_and_a_hang_ends(share: float | None, seconds: float) -> None:
    machine = Machine(share)
    left = machine.patience(60)
    looks = 0
    while not left.look():
        machine.goes_on(left.pause)
        looks += 1
        assert looks < 10_000
    assert left.seconds == pytest.approx(seconds, abs=2)


def test_each_case_has_its_own_limit() -> None:
    machine = Machine(1.0)
    left = machine.patience(60)
    machine.goes_on(50)
    assert not left.look()
    left.anew(20)
    machine.goes_on(15)
    assert not left.look()
    assert (left.limit, left.left, left.seconds) == (20, 5, 15)


def test_what_ends_and_takes_its_time_along_gives_none_back() -> None:
    machine = Machine(1.0)
    left = machine.patience(60)
    machine.now, machine.worked = 110.0, 1.0
    left.look()
    assert left.left == 50, "it counts as a wait"


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[str]]:
    """Yield a process whose child computes, until that has used some time."""
    child = "import time\nwhile time.process_time() < 0.3: pass\nprint(1, flush=True)\ninput()"
    body = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", body], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.communicate("\n")


def test_the_time_of_children_that_run_counts(busy: subprocess.Popen[str]) -> None:
    found = patience.used(busy.pid)
    assert found is not None
    assert found >= 0.2


def test_of_a_process_that_is_gone_nobody_can_tell() -> None:
    assert patience.used(2**22 + 1) is None
    assert patience.used(os.getpid()) is not None


def test_a_program_is_run_to_its_end_or_to_its_limit() -> None:
    done = patience.run(
        [sys.executable, "-c", "import sys; print('out'); print('talk', file=sys.stderr)"], 60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "talk\n")
    with pytest.raises(subprocess.TimeoutExpired):
        patience.run([sys.executable, "-c", "import signal; signal.pause()"], 0.1)


def test_runner_and_harness_mean_the_same_signal() -> None:
    assert runner.STACK is harness.STACK
