"""One job, run by its key: what it leaves, twice, at once, killed, and where nothing can be left."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retread.jobs import job
from tinycuda import BUILT, FILES, OPS, Project, diff, names, ops

BUILD = "build-tiny-1.0-cu128-py3.9"


class Jobs:
    """A project with its job file."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.file = project.root / "jobs.json"
        self.out = project.root / "out"
        self.list()

    def list(self) -> None:
        """Write the job file."""
        self.file.write_text(self.project.run("jobs", "--json").out)
        self.key = job.find(job.parse(self.file.read_bytes(), name="jobs.json"), BUILD).key

    def arguments(self, *more: str) -> tuple[str, ...]:
        """Return what runs the build."""
        return ("run-job", self.key, "--jobs", str(self.file), "--out", str(self.out), *more)

    def run(self, *more: str) -> Any:
        """Run the build."""
        return self.project.run(*self.arguments(*more))


@pytest.fixture
def jobs(project: Project) -> Jobs:
    return Jobs(project)


def test_a_job_leaves_its_result_whole_and_a_second_run_takes_it(jobs: Jobs) -> None:
    done = jobs.run("--json")
    assert done.code == 0, done
    result = json.loads(done.out)
    assert (result["name"], result["code"], result["cached"]) == (BUILD, 0, False)
    assert [one["file"] for one in result["wheels"]] == [BUILT]
    assert result["memory_bytes"] > 10_000_000
    assert names(jobs.out) == [jobs.key]
    assert names(jobs.out / jobs.key) == ["log.txt", "result.json", BUILT, f"{BUILT}.audit.json"]
    log = (jobs.out / jobs.key / "log.txt").read_text()
    assert "seal the wheel" in log
    assert str(jobs.out / jobs.key / BUILT) in log
    assert ".new-" not in log + done.err

    again = jobs.run()
    assert (again.code, again.wheel) == (0, jobs.out / jobs.key / BUILT)
    assert again.err == f"{BUILD} is done already: {jobs.out / jobs.key}\n"
    assert jobs.project.build().code == 0
    assert jobs.project.built.read_bytes() == again.wheel.read_bytes()


def test_two_engines_on_one_job_file_leave_one_result(jobs: Jobs) -> None:
    engines = [jobs.project.start(*jobs.arguments("--json")) for _ in range(2)]
    results = [jobs.project.finish(one) for one in engines]
    assert [one.code for one in results] == [0, 0], results
    assert len({json.dumps(json.loads(one.out)["wheels"]) for one in results}) == 1
    assert names(jobs.out) == [jobs.key]


def test_a_damaged_result_is_made_again(jobs: Jobs) -> None:
    assert jobs.run().code == 0
    wheel = jobs.out / jobs.key / BUILT
    wheel.unlink()
    wheel.write_bytes(b"half")
    again = jobs.run()
    assert again.code == 0
    assert "is not what build-tiny-1.0-cu128-py3.9 left: it is made again" in again.err
    assert wheel.stat().st_size > 1000


def test_a_job_of_a_recipe_that_changed_since_is_refused_by_name(jobs: Jobs) -> None:
    jobs.project.series(diff(OPS, FILES[OPS], ops(VALUE_3=31)))
    refused = jobs.run()
    assert refused.code == 6
    assert f"{BUILD}: tiny-1.0 is not what it was when the job file was written" in refused.err
    assert "patches/tinycuda/1.0/0001-change.patch was changed" in refused.err
    assert not jobs.out.exists()
    jobs.list()
    assert jobs.run().code == 0


REFUSALS: dict[str, tuple[Callable[[Jobs], object], int, str]] = {
    "unknown key": (lambda jobs: setattr(jobs, "key", 64 * "f"), 2, "the job file has no job 'ffff"),
    "no file": (lambda jobs: jobs.file.unlink(), 2, "there is no file"),
    "truncated": (lambda jobs: os.truncate(jobs.file, 700), 17, "is no job file, or was cut off"),
    "a file in the way": (lambda jobs: jobs.out.write_text(""), 13, "a file is in the way"),
    "a target that is gone": (
        lambda jobs: jobs.project.edit_recipe("[targets.cu128]", "[targets.cu129]"),
        3,
        "recipe",
    ),
}


@pytest.mark.parametrize(("spoil", "code", "said"), REFUSALS.values(), ids=list(REFUSALS))
def test_what_cannot_be_run_is_refused(
    jobs: Jobs, spoil: Callable[[Jobs], object], code: int, said: str
) -> None:
    spoil(jobs)
    refused = jobs.run()
    assert refused.code == code, refused
    assert said in refused.err
    assert not jobs.out.is_dir()


def test_a_folder_that_nobody_may_write_to_is_a_message(jobs: Jobs) -> None:
    jobs.out = Path("/sys/retread")
    refused = jobs.run()
    assert refused.code == 13
    assert "cannot write /sys/retread: " in refused.err


def test_a_job_that_fails_leaves_its_log_beside_and_is_made_again(jobs: Jobs) -> None:
    served = dict(jobs.project.index.files["tinycuda"])
    jobs.project.index.files["tinycuda"].clear()
    failed = jobs.run()
    assert failed.code == 7, failed
    assert f"{BUILD} failed with exit code 7; its log lies in {jobs.out / jobs.key}.failed" in failed.err
    assert names(jobs.out) == [f"{jobs.key}.failed"]
    assert names(jobs.out / f"{jobs.key}.failed") == ["log.txt", "result.json"]
    jobs.project.index.files["tinycuda"].update(served)
    kept = jobs.run("--retry")
    assert kept.code == 7, kept
    assert jobs.run().code == 0
    assert names(jobs.out) == [jobs.key]


def test_a_job_that_is_killed_for_memory_says_so_and_is_retried_with_twice_as_much(jobs: Jobs) -> None:
    killed = jobs.run("--memory", "0.01")
    assert killed.code == 24, killed
    assert killed.err.splitlines()[-2:] == [
        f"retread: memory: {BUILD} was killed for memory at 0.01 GiB", "  next: give it more: --memory GIB",
    ]  # fmt: skip
    assert names(jobs.out) == [f"{jobs.key}.failed"]
    listed = jobs.project.run("jobs", "--jobs", "jobs.json", "--results", "out")
    assert listed.code == 6
    assert f"{BUILD}: failed with exit code 24: killed for memory at 0.01 GiB" in listed.err
    again = jobs.run("--retry", "--json")
    assert again.code == 0, again
    assert json.loads(again.out)["memory_limit_bytes"] == 2 << 30


def test_a_run_that_is_killed_leaves_nothing_that_counts(jobs: Jobs) -> None:
    process = jobs.project.start(*jobs.arguments())
    while not list(jobs.out.glob(".new-*/in/log.txt")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (jobs.out / jobs.key).exists()
    assert jobs.run().code == 0
    assert names(jobs.out) == [jobs.key]
