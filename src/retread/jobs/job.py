"""A job, the file that carries jobs to engines, and what a job leaves. Pure.

An engine needs nothing but this: each job has a key, what it needs of a machine, and the keys that come before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from retread import canonical, limits, strict
from retread.arch import Arch
from retread.errors import EvidenceError, UsageError
from retread.fields import Digest, FileName
from retread.recipe.lane import Lane
from retread.records import Record, Sha256
from retread.smoke.level import Level
from retread.strict import near_miss

SCHEMA: Final = 1
NOT_OF_KEY: Final = {
    "key": "it is made of the others",
    "needs": "they change from machine to machine, and decide where and when it runs, not what comes out",
}
"""Fields of a job that its key does not hold -> why."""
_SHORT: Final = 8
"""Digits of a key by which it may be named: as many as git shows of a commit, and one more."""


MORE: Final = 2
"""How many times the memory a job has that is run again, since it was killed for memory."""


class Kind(StrEnum):
    """What a job does."""

    BUILD = "build"
    SMOKE = "smoke"


_AFTER: Final = {Kind.BUILD: 0, Kind.SMOKE: 1}
"""After how many jobs one comes: a trial takes the wheel of one build."""


class Needs(Record, frozen=True, kw_only=True):
    """What a job is to be given of a machine."""

    cores: Annotated[int, msgspec.Meta(ge=1)]
    memory_bytes: Annotated[int, msgspec.Meta(ge=1)]
    """At its peak, all its processes together."""
    seconds: Annotated[int, msgspec.Meta(ge=1)]
    """Wall time; an engine adds its own margin."""
    disk_bytes: Annotated[int, msgspec.Meta(ge=0)]
    """That come to the store, at most."""
    gpu: Arch | None
    """The compute capability that a GPU must have, like 9.0; None where there need be none."""
    processor: str
    """Of the machine that it runs on: ``x86_64``, ``aarch64``."""
    why: str = ""
    """Where memory and time come from: what was measured, or why it is that number."""


class Job(Record, frozen=True, kw_only=True):
    """A target's wheel for one Python to make, or to try: it may run anywhere, and twice, and does no harm."""

    key: Digest
    """SHA-256 of all other fields but ``needs``, which together decide the result."""
    kind: Kind
    name: FileName
    """Letters, digits, dots and dashes; the kind and the GPU are in it."""
    recipe: str
    target: str
    lane: Lane
    python: str
    platform: str
    """The one that the wheel is for: ``x86_64``, ``aarch64``, ``win_amd64``."""
    toolchain: str = ""
    """With which it compiles; empty for a lane that compiles nothing."""
    level: tuple[Level, ...] = ()
    """Of a trial: what is tried; empty for a build."""
    needs: Needs
    inputs: dict[str, str]
    """What goes in -> its digest: patches, archives, the lock, toolchains, the recipe's fields, retread's own code."""
    after: tuple[Digest, ...] = ()
    """Keys of the jobs that must be done before, whose results it takes."""


class JobFile(Record, frozen=True, kw_only=True):
    """What ``retread jobs --json`` prints: a job stands behind those that it takes results of."""

    schema: int
    jobs: tuple[Job, ...]


class Wheel(Record, frozen=True, kw_only=True):
    """A wheel that a job made or tried."""

    file: str
    sha256: Sha256
    size: int


class Result(Record, frozen=True, kw_only=True):
    """What a job left: ``result.json`` in the folder of its key."""

    schema: int
    key: Digest
    kind: Kind
    name: str
    code: int
    """The exit code of the command: 0, or what docs/reference/exit-codes.md says; 24 for one killed for memory."""
    wheels: tuple[Wheel, ...]
    """Those that it made or tried, which lie beside; none of one that failed."""
    cached: bool
    """Whether the wheel was in the store already: then ``seconds`` and ``memory_bytes`` tell nothing of its making."""
    seconds: float
    """Wall time."""
    memory_bytes: int
    """At the peak, as far as it was measured: of the largest process, or of a whole compile."""
    memory_limit_bytes: int | None
    """What it was held to; None where nothing was."""
    said: str
    """Why it failed; empty for one that is done."""


def sealed(job: Job) -> Job:
    """Return a job with the key that its fields give it."""
    return msgspec.structs.replace(job, key=key(job))


def key(job: Job) -> Sha256:
    """Return the key of a job: SHA-256 of the canonical JSON of all that decides its result."""
    table = msgspec.to_builtins(job)
    return Sha256(canonical.digest({name: value for name, value in table.items() if name not in NOT_OF_KEY}))


def with_memory(job: Job, count: int) -> Job:
    """Return a job that may take so many bytes of memory; it is the same job."""
    return msgspec.structs.replace(job, needs=msgspec.structs.replace(job.needs, memory_bytes=count))


def named(*words: str) -> str:
    """Return the name of a job: words with dashes, fit for a file."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", "-".join(words))


def write(jobs: Iterable[Job]) -> JobFile:
    """Return jobs as a file carries them."""
    return JobFile(schema=SCHEMA, jobs=tuple(jobs))


def parse(data: bytes, *, name: str) -> tuple[Job, ...]:
    """Return the jobs of a file; EvidenceError for one that is cut off, of another schema, or was edited.

    Each key is computed again, and each job that another comes after has to stand before it.
    """
    if len(data) > limits.JOBS:
        raise EvidenceError(f"{name}: {len(data):,} bytes; {limits.JOBS:,} are taken of a job file")
    hint = "write it anew: retread jobs --json"
    try:
        read = strict.json(data)
    except ValueError as error:
        raise EvidenceError(f"{name} is no job file, or was cut off: {error}", hint=hint) from None
    schema = read.get("schema") if isinstance(read, dict) else None
    if schema != SCHEMA:
        raise EvidenceError(
            f"{name}: it has schema {strict.shown(schema)}, and this retread reads {SCHEMA}", hint=hint
        )
    found, faults = strict.read(JobFile, read)
    if found is None:
        raise EvidenceError(f"{name} is no job file", faults=faults[: limits.NEAR_MISSES], hint=hint)
    if faults := list(_faults(found.jobs)):
        raise EvidenceError(
            f"{name} is not what 'retread jobs' wrote", faults=faults[: limits.NEAR_MISSES], hint=hint
        )
    return found.jobs


def _faults(jobs: Sequence[Job]) -> Iterable[str]:
    seen: dict[str, Job] = {}
    for one in jobs:
        if one.key != key(one):
            yield f"{one.name}: its key is not that of its fields"
        if one.key in seen:
            yield f"{one.name}: it is there twice"
        if len(one.after) != _AFTER[one.kind] or bool(one.level) != bool(one.after):
            yield f"{one.name}: a {one.kind} comes after {_AFTER[one.kind]} jobs, and a trial alone has levels"
        yield from (
            f"{one.name}: it comes after {before[:12]}, and no such build stands before it"
            for before in one.after
            if before not in seen or seen[before].kind is not Kind.BUILD
        )
        seen[one.key] = one


def find(jobs: Sequence[Job], word: str) -> Job:
    """Return the job that is named by its key, by eight digits of it or more, or by its name.

    UsageError with the near miss for one that is not there, or is not the only one.
    """
    found = [
        one for one in jobs if word == one.name or (len(word) >= _SHORT and one.key.startswith(word.lower()))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{word} is the beginning of {len(found)} keys: {', '.join(one.key for one in found)}"
        )
    known = [text for one in jobs for text in (one.key, one.name)]
    raise UsageError(
        f"the job file has no job {word!r}{near_miss(word, known)}",
        hint=f"'retread jobs' lists them; a key is typed by {_SHORT} digits or more, and is another"
        " after the recipes were edited",
    )
