"""Jobs that are held to their limits: what they take, what they leave, and what is left of them when others are killed.

Real processes; what is killed here is what a machine without memory, an engine or an administrator kills.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retread.jobs import confine, keeper
from retread.jobs.job import Needs

_MIB = 1 << 20
_FAMILY = """
import os, subprocess, sys, time
subprocess.Popen(["sleep", "300"], start_new_session=True)
if not os.fork():
    os.setsid()
    if not os.fork():
        time.sleep(300)
    os._exit(0)
os.wait()
print(os.getpid(), file=sys.stderr, flush=True)
time.sleep(300)
"""
"""A job with a child in another session, and one that nobody is the parent of any more."""
_WORKER = """
import os, sys
from pathlib import Path
from retread.jobs import confine
limits = confine.Limits(1, 1 << 30)
with confine.confined(sys.argv[2:], limits, env=os.environ, folder=Path(sys.argv[1])) as job:
    job.wait(300)
"""


def _needs(memory: int = 256 * _MIB, cores: int = 1) -> Needs:
    return Needs(cores=cores, memory_bytes=memory, seconds=1, disk_bytes=0, gpu=None, processor="x86_64")


def _ran(code: str, needs: Needs) -> tuple[confine.Ended, list[str]]:
    said: list[str] = []
    run = confine.launcher(lambda _: None)
    ended = run([sys.executable, "-c", code], needs, env=dict(os.environ), heard=said.append)
    return ended, said


def _until(path: Path) -> None:
    end = time.monotonic() + 30
    while not (path.is_file() and path.read_text()):
        assert time.monotonic() < end, "the job did not start"
        time.sleep(0.01)


def _gone(pids: list[int]) -> bool:
    """Wait until processes are gone, and say whether they are; what nobody has buried yet is gone."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if not any(_runs(pid) for pid in pids):
            return True
        time.sleep(0.01)
    return False


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def test_a_job_says_what_it_says_and_ends_with_its_code() -> None:
    ended, said = _ran(
        "import sys, os; print(os.environ['MAX_JOBS'], len(os.sched_getaffinity(0)));"
        "print('one\\ntwo', file=sys.stderr); sys.exit(3)",
        _needs(memory=confine.GIB),
    )
    assert (ended.code, ended.stdout, said) == (3, "1 1\n", ["one", "two"])
    assert (ended.limit, ended.killed) == (confine.GIB, False)


def test_memory_is_that_of_all_processes_of_a_job_and_killing_for_it_is_told_from_other_deaths() -> None:
    """Each of three takes less than the job may have."""
    part = "import time; a = bytearray(60 << 20); time.sleep(300)"
    ended, _ = _ran(
        f"import subprocess, sys; [subprocess.Popen([sys.executable, '-c', {part!r}], start_new_session=True) "
        "for _ in range(3)]; import time; time.sleep(300)",
        _needs(memory=150 * _MIB),
    )
    assert ended.killed
    assert 150 * _MIB <= ended.memory < 250 * _MIB
    ended, _ = _ran("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", _needs())
    assert (ended.code, ended.killed) == (-signal.SIGKILL, False)


def test_two_jobs_are_bound_to_different_cores(tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core")
    code = [
        sys.executable,
        "-c",
        "import os, time; print(*os.sched_getaffinity(0), flush=True); time.sleep(300)",
    ]
    first, second = tmp_path / "1", tmp_path / "2"
    for one in (first, second):
        one.mkdir()
    limits = confine.Limits(1, confine.GIB)
    with (
        confine.confined(code, limits, env=os.environ, folder=first),
        confine.confined(code, limits, env=os.environ, folder=second),
    ):
        _until(first / "stdout")
        _until(second / "stdout")
    cores = [(one / "stdout").read_text().split() for one in (first, second)]
    assert [len(one) for one in cores] == [1, 1]
    assert cores[0] != cores[1]


@pytest.mark.parametrize("killed", ["worker", "upper keeper", "lower keeper"])
def test_nothing_survives_the_kill_of_whoever_runs_a_job(tmp_path: Path, killed: str) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(tmp_path), sys.executable, "-c", _FAMILY],
        stderr=subprocess.PIPE,
        text=True,
    )
    _until(tmp_path / "stderr")
    family = keeper.descendants(worker.pid)
    upper = family[0]
    assert len(family) == 5  # two keepers, the job, its child, the orphan
    lower = next(pid for pid in family if _parent(pid) == upper)
    os.kill({"worker": worker.pid, "upper keeper": upper, "lower keeper": lower}[killed], signal.SIGKILL)
    assert _gone(family)
    _, said = worker.communicate(timeout=30)
    if killed != "worker":
        assert "what held the job to its limits was killed" in said


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
