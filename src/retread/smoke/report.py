"""The smoke report: what became of every case, on which machine, under which torch, bound to one wheel."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from retread.records import Record, Sha256
from retread.smoke.level import Level

SCHEMA = 1


class Outcome(StrEnum):
    """What became of a case; one that could not run is skipped, never passed."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Fault(Record, frozen=True, kw_only=True):
    """How a case failed."""

    type: str
    """The exception's class; ``SIGSEGV`` and the like when the process died; ``Timeout``."""
    message: str
    where: str
    """The innermost line in the wheel's own files: ``package/x.py:12 in f``; empty when nobody knows."""
    kernel: str
    """The Triton kernel or torch operator that was being launched; empty when nobody knows."""
    stack: str


class Taken(Record, frozen=True, kw_only=True):
    """When a case was tried whose result was taken from the store, since nothing that it depends on has changed."""

    when: int
    """Seconds since 1970."""
    wheel: Sha256
    """The wheel that was tried."""
    kit: Sha256
    """Digest of the manifest of the kit that tried it."""


class Case(Record, frozen=True, kw_only=True):
    """One case and what became of it."""

    id: str
    suite: str
    outcome: Outcome
    seconds: float
    reason: str = ""
    """Why it failed or was skipped; one line."""
    note: str = ""
    """What a reader should know of a case that passed: smaller sizes, for one."""
    numbers: dict[str, float | int | str | bool | None] = msgspec.field(default_factory=dict)
    libraries: tuple[str, ...] = ()
    """Members of the wheel that it calls into."""
    fault: Fault | None = None
    again: Fault | None = None
    """How it failed when it ran alone with CUDA_LAUNCH_BLOCKING=1; None when it was not run again, or passed."""
    taken: Taken | None = None
    """Set when it was not run: its result was taken from the store."""
    parts: dict[str, float] = msgspec.field(default_factory=dict)
    """Of its seconds, how many it imported and compiled, and before them started its process (``--durations``)."""


class Gpu(Record, frozen=True, kw_only=True):
    """A GPU that the tests ran on."""

    name: str
    capability: str
    memory: int
    """Bytes."""
    free: int
    """Bytes that were free at the start."""


class Surroundings(Record, frozen=True, kw_only=True):
    """Under what the cases of a run ran."""

    python: str
    platform: str
    torch: str
    """Version; empty when there is none."""
    torch_cuda: str
    """The CUDA release that torch was built with; empty for a build without CUDA."""
    triton: str
    packages: dict[str, str]
    """What the wheel requires and what was there."""
    driver: str
    driver_cuda: str
    """The newest CUDA that the driver serves."""
    gpus: tuple[Gpu, ...]
    outside: str = ""
    """Which promise this torch is outside of, when that was allowed (``--any-torch``)."""
    emulator: str = ""
    """What ran the other machine's programs, like ``qemu-aarch64 7.2.22``; empty for a run on such a machine itself."""


class Run(Record, frozen=True, kw_only=True):
    """One level under one torch and Triton."""

    level: Level
    started: int
    """Seconds since 1970."""
    seconds: float
    surroundings: Surroundings
    cases: tuple[Case, ...]
    untouched: tuple[str, ...]
    """Libraries of the wheel that no case called into."""
    unable: str = ""
    """Why the level could not run at all on this machine; there are no cases then."""


class SmokeReport(Record, frozen=True, kw_only=True):
    """Evidence: what the smoke tests found of the wheel with this sha256."""

    schema: int
    wheel: str
    sha256: Sha256
    project: str
    version: str
    recipe: str
    target: str
    kit: Sha256
    """Digest of the kit's manifest: wheel, suites and runner by their hashes."""
    ok: bool
    """What its maker took of the cases: whether one passed and none failed. Readers count the cases (``tally``)."""
    runs: tuple[Run, ...]
    only: str = "*"
    """Which cases were asked for, by a pattern of ids; what is not ``*`` is a part of a test, and no evidence."""
    digest: Sha256
    """Of everything above; a report that was edited does not bear it."""
