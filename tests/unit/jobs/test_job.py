"""Jobs as records: what their keys hold, how a file of them is read, and how one is named."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from msgspec.structs import replace

from retread.errors import EvidenceError, UsageError
from retread.jobs import job
from retread.jobs.job import Job, Kind, Needs
from retread.recipe.lane import Lane
from retread.records import Sha256
from retread.smoke.level import Level

NEEDS = Needs(cores=2, memory_bytes=1 << 30, seconds=300, disk_bytes=0, gpu=None, processor="x86_64")
BUILD = job.sealed(
    Job(
        key=Sha256(64 * "0"), kind=Kind.BUILD, name="build-demo", recipe="demo-1", target="cu128", lane=Lane.OVERLAY,
        python="3.9", platform="x86_64", needs=NEEDS, inputs={"a patch": 64 * "1"},
    )
)  # fmt: skip
SMOKE = job.sealed(
    replace(BUILD, kind=Kind.SMOKE, name="smoke-demo", level=(Level.STATIC,), inputs={}, after=(BUILD.key,))
)


def written(*jobs: Job) -> bytes:
    return msgspec.json.encode(job.write(jobs))


def test_a_file_of_jobs_is_read_as_it_was_written() -> None:
    assert job.parse(written(BUILD, SMOKE), name="jobs.json") == (BUILD, SMOKE)


def test_what_a_job_needs_is_no_part_of_its_key_and_all_else_is() -> None:
    assert job.sealed(replace(BUILD, needs=replace(NEEDS, memory_bytes=1))).key == BUILD.key
    others = {
        "python": "3.10",
        "inputs": {"a patch": 64 * "2"},
        "toolchain": "cuda-12.8",
        "platform": "aarch64",
    }
    keys = {job.sealed(replace(BUILD, **{name: value})).key for name, value in others.items()}
    assert len(keys | {BUILD.key}) == len(others) + 1


FAULTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "cut off": (lambda: written(BUILD, SMOKE)[:-40], "jobs.json is no job file, or was cut off"),
    "empty": (lambda: b"", "jobs.json is no job file, or was cut off"),
    "a list": (lambda: b"[]", "it has schema null, and this retread reads 1"),
    "newer": (lambda: b'{"schema": 2, "jobs": []}', "it has schema 2, and this retread reads 1"),
    "a key more": (lambda: b'{"schema": 1, "jobs": [], "job": 1}', "job: unknown key (did you mean 'jobs'?)"),
    "edited": (
        lambda: written(replace(BUILD, python="3.14")),
        "build-demo: its key is not that of its fields",
    ),
    "twice": (lambda: written(BUILD, BUILD), "build-demo: it is there twice"),
    "a trial of nothing": (
        lambda: written(job.sealed(replace(SMOKE, after=()))),
        "smoke-demo: a smoke comes after 1 jobs",
    ),
    "a path for a name": (
        lambda: written(job.sealed(replace(BUILD, name="../x"))),
        "jobs[0].name: expected a plain file name",
    ),
    "another order": (lambda: written(SMOKE, BUILD), "smoke-demo: it comes after"),
}


@pytest.mark.parametrize(("data", "said"), FAULTS.values(), ids=list(FAULTS))
def test_a_file_that_is_not_what_was_written_is_refused(data: Callable[[], bytes], said: str) -> None:
    with pytest.raises(EvidenceError) as caught:
        job.parse(data(), name="jobs.json")
    assert said in str(caught.value)
    assert "retread jobs --json" in caught.value.hint


def test_a_job_is_found_by_key_by_its_beginning_and_by_name() -> None:
    for word in (BUILD.key, BUILD.key[:8].upper(), "build-demo"):
        assert job.find([BUILD, SMOKE], word) == BUILD


@pytest.mark.parametrize(
    ("word", "said"),
    [("build-dmo", "did you mean 'build-demo'?"), (BUILD.key[:7], "has no job"), (64 * "f", "has no job")],
)
def test_an_unknown_job_is_refused_with_the_near_miss(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("?", "[?]")):
        job.find([BUILD, SMOKE], word)
