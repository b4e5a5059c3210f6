"""One job, run anywhere: by the ordinary command in a process of its own, its result whole in a folder or not there.

Two engines may run the same job at once, and one that was killed leaves nothing that counts: results are made beside
their place and moved in, and the first one stays.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from retread import limits, strict
from retread.build.pipeline import Built
from retread.compile.schedule import GIB, Cost
from retread.doors import fs
from retread.doors.machine import Machine
from retread.environment import host
from retread.errors import EvidenceError, HostError, OutOfMemoryError, PlanError, StoreError
from retread.evidence import beside
from retread.evidence.names import COMPILE
from retread.jobs import forecast, listing
from retread.jobs.job import SCHEMA, Job, Kind, Result, Wheel
from retread.jobs.launch import Ended, Launcher
from retread.recipe import platforms
from retread.recipe.lane import LANES
from retread.records import Sha256

RESULT: Final = "result.json"
LOG: Final = "log.txt"
FAILED: Final = ".failed"
"""What the name of a folder ends with in which a run lies that failed: its log, its result with the exit code."""
_NEW: Final = ".new-"
_SHARE: Final = 0.9
"""Of the memory that a job has, what its compilers may use together, as in ``lanes.source``."""
_KILLED: Final = (-9, 137)
_NO_MEMORY: Final = re.compile(
    r"ran out of memory|MemoryError|Cannot allocate memory|std::bad_alloc|was killed by SIGKILL"
    r"|Killed signal terminated|virtual memory exhausted"
)
"""What retread, Python, compilers and the C library say when there is no more of it; not a GPU's memory."""
_TAIL: Final = 12
"""Last lines of a run that tell why it failed."""
_ERROR: Final = "retread: "
"""What the line begins with that tells the error of a command."""


class Place(NamedTuple):
    """Where a job runs: the workspace, the machine, and how its command is started."""

    root: Path
    machine: Machine
    launcher: Launcher


def run_job(job: Job, out: Path, place: Place, *, again: bool = False) -> Result:
    """Run a job and return what it left in the folder of its key below ``out``; one that is done there is taken.

    A run that failed is kept beside, under its key with ``.failed``, and made again by the next call; ``again`` makes
    only one again that was killed for memory, or ended without a word. PlanError for a job of another state than the
    workspace is in, or whose results it takes are not there; StoreError where ``out`` cannot be written.
    """
    fs.demand_folder(out)
    if done := finished(job, out, place.machine):
        place.machine.console.say(f"{job.name} is done already: {out / job.key}")
        return done
    if (
        again
        and (last := _read(out / f"{job.key}{FAILED}" / RESULT))
        and last.code != OutOfMemoryError.exit_code
    ):
        place.machine.console.say(f"{job.name} failed before, and not for memory: it is not done again")
        return last
    if job.needs.processor != host.here():
        raise HostError(f"{job.name} is for {job.needs.processor}, and this machine is {host.here()}")
    listing.demand_current(place.machine, place.root, job)
    with _scratch(job, out) as scratch:
        before = _wheels_before(job, out, place.machine)
        with _staying(job, out, scratch):
            result = _run(job, scratch, before, place, out / job.key)
        if not result.code:
            listing.demand_current(place.machine, place.root, job)  # it may have changed meanwhile
            forecast.learn(
                place.machine,
                job.name,
                Cost(seconds=result.seconds, memory=result.memory_bytes),
                cached=result.cached,
            )
        fs.write(scratch / RESULT, msgspec.json.format(msgspec.json.encode(result)) + b"\n")
        return _kept(job, out, scratch, result, place.machine)


def finished(job: Job, out: Path, machine: Machine) -> Result | None:
    """Return the result of a job that is done, its wheels held to their digests; None for one that is not.

    A result that was damaged since is taken away, and said to be.
    """
    return _finished(job.key, job.name, out, machine)


def left(job: Job, out: Path) -> Result | None:
    """Return what a job left below ``out``, done or failed, as it says of itself; None where it left nothing."""
    return _read(out / job.key / RESULT) or _read(out / f"{job.key}{FAILED}" / RESULT)


def _finished(key: str, name: str, out: Path, machine: Machine) -> Result | None:
    folder = out / key
    result = _read(folder / RESULT)
    if (
        result
        and result.key == key
        and not result.code
        and all(_is_there(folder, one) for one in result.wheels)
    ):
        return result
    if folder.exists():
        machine.console.say(f"note: {folder} is not what {name} left: it is made again")
        _put_away(folder)
    return None


def files_of(key: str, out: Path) -> dict[str, bytes]:
    """Return the files that a job left below ``out``, done or failed: name -> bytes."""
    folder = out / key if (out / key).is_dir() else out / f"{key}{FAILED}"
    return {one.name: fs.read(one) for one in fs.listed(folder) if one.is_file()}


def take(job: Job, files: Mapping[str, bytes], out: Path, machine: Machine) -> Result:
    """Keep below ``out`` what a job left on another machine, and return its result, as ``run_job`` does.

    EvidenceError when it is not the job's, or its wheels are not those that the result names.
    """
    with _scratch(job, out) as scratch:
        _lay_down(files, scratch)
        result = _read(scratch / RESULT)
        if (
            result is None
            or result.key != job.key
            or not all(_is_there(scratch, one) for one in result.wheels)
        ):
            raise EvidenceError(f"{job.name}: what came back of it is not what it left")
        return _kept(job, out, scratch, result, machine)


def put(files: Mapping[str, bytes], folder: Path) -> None:
    """Put what a job left elsewhere into the folder of its key, for the jobs after it."""
    with fs.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _lay_down(files, folder)


def _lay_down(files: Mapping[str, bytes], folder: Path) -> None:
    for name, data in files.items():
        path = folder / Path(name).name
        fs.write(path, data)
        if path.suffix == ".whl":
            path.chmod(0o444)  # as where it was made: what lies under several names is one file


def give(key: str, wheel: Path, out: Path) -> None:
    """Let a wheel count as what the job of that key left below ``out``."""
    made = Wheel(file=wheel.name, sha256=fs.sha256(wheel), size=wheel.stat().st_size)
    result = Result(
        schema=SCHEMA, key=Sha256(key), kind=Kind.BUILD, name=wheel.name, code=0, wheels=(made,), cached=True,
        seconds=0.0, memory_bytes=0, memory_limit_bytes=None, said="",
    )  # fmt: skip
    if _read(out / key / RESULT) != result:
        put({wheel.name: fs.read(wheel), RESULT: msgspec.json.encode(result)}, out / key)


def forget_others(job: Job, sha256: Sha256, out: Path) -> None:
    """Remove what a job left below ``out`` if it was not of the wheel with this digest, and what a failed run did."""
    result = _read(out / job.key / RESULT)
    if result and sha256 not in {one.sha256 for one in result.wheels}:
        _put_away(out / job.key)
    _put_away(out / f"{job.key}{FAILED}")


def _is_there(folder: Path, wheel: Wheel) -> bool:
    path = folder / wheel.file
    return path.is_file() and path.stat().st_size == wheel.size and fs.sha256(path) == wheel.sha256


def _read(path: Path) -> Result | None:
    """Return a result; None where there is none, or none that can be read."""
    with suppress(OSError, ValueError):
        if path.stat().st_size <= limits.RESULT:
            return strict.decoded(path.read_bytes(), Result)
    return None


def _run(job: Job, scratch: Path, before: Sequence[Path], place: Place, final: Path) -> Result:
    """Run the commands of a job, and return what came of it; what they say of their folder names the final one."""
    said: list[str] = []

    def heard(line: str) -> None:
        line = line.replace(str(scratch), str(final))
        said.append(line)
        log.write(f"{line}\n")
        place.machine.console.say(line)

    clock = time.monotonic()
    ended = Ended(0, "", 0)
    with (scratch / LOG).open("w", encoding="utf-8", errors="replace") as log:
        for command in _commands(job, scratch, before, place.root):
            ended = place.launcher(command, job.needs, env=place.machine.environment, heard=heard)
            log.write(ended.stdout.replace(str(scratch), str(final)))
            if ended.code:
                break
    code, why = _judged(job, ended, said)
    if not code and (why := _wrong_gpu(job, scratch)):
        code = HostError.exit_code
    wheels = [
        Wheel(file=one.name, sha256=fs.sha256(one), size=one.stat().st_size)
        for one in fs.listed(scratch, ".whl")
    ]
    return Result(
        schema=SCHEMA,
        key=job.key,
        kind=job.kind,
        name=job.name,
        code=code,
        wheels=() if code else tuple(wheels),
        cached=not code and job.kind is Kind.BUILD and all(one.cached for one in _built(ended.stdout)),
        seconds=round(time.monotonic() - clock, 1),
        memory_bytes=max(ended.memory, _peak(scratch)),
        memory_limit_bytes=ended.limit,
        said=why.replace(str(final), f"{final}{FAILED}"),
    )


def _built(stdout: str) -> list[Built]:
    return strict.decoded(stdout, list[Built])


def _commands(job: Job, scratch: Path, before: Sequence[Path], root: Path) -> Iterator[list[str | Path]]:
    """Yield the commands of a job: of a trial, one for each wheel."""
    retread: list[str | Path] = [sys.executable, "-m", "retread"]
    whose: list[str | Path] = ["--target", job.target, "--root", root]
    if job.kind is Kind.BUILD:
        compiles = LANES[job.lane].compiles
        native = job.platform == platforms.COMPILED[0]
        yield [
            *retread, "build", job.recipe, *whose, "--lane", job.lane, "--python", job.python, "--json",
            *([] if native else ["--platform", job.platform]),
            *(["--toolchain", job.toolchain] if job.toolchain else []),
            *(["--jobs", str(job.needs.cores)] if compiles else []),
            *(["--memory", f"{job.needs.memory_bytes * _SHARE / GIB:.3f}"] if compiles else []),
            "--out", scratch,
        ]  # fmt: skip
    for wheel in before:
        fs.place(wheel, scratch / wheel.name)
        levels = [word for one in job.level for word in ("--level", one)]
        yield [*retread, "smoke", scratch / wheel.name, "--recipe", job.recipe, *whose, *levels]


def _wheels_before(job: Job, out: Path, machine: Machine) -> list[Path]:
    """Return the wheels of the jobs that a job comes after; PlanError when one of them is not done."""
    found = []
    for key in job.after:
        result = _finished(key, f"the job before {job.name}", out, machine)
        if result is None:
            raise PlanError(
                f"{job.name}: the job that it comes after has left nothing in {out}",
                faults=[f"not done: {key}"],
                hint="run that one first; docs/guides/many-machines.md has the order",
            )
        found += [out / key / one.file for one in result.wheels]
    return found


def _judged(job: Job, ended: Ended, said: Sequence[str]) -> tuple[int, str]:
    """Return the exit code of a job, and why it failed; a command that was killed for memory has a code of its own."""
    if not ended.code:
        return 0, ""
    tail = "\n".join(said[-_TAIL:])
    if ended.killed or ended.code in _KILLED or _NO_MEMORY.search(tail):
        given = (ended.limit or job.needs.memory_bytes) / GIB
        held = "killed for memory at" if ended.limit else "killed for memory, and was to take no more than"
        return OutOfMemoryError.exit_code, f"{held} {given:.3g} GiB"
    return ended.code if ended.code > 0 else 128 - ended.code, _error(said)


def _error(said: Sequence[str]) -> str:
    """Return the error that a command ended with, without its advice to who typed it; without one its last lines."""
    began = max((at for at, line in enumerate(said) if line.startswith(_ERROR)), default=None)
    if began is None:
        return "\n".join(said[-_TAIL:])
    first, *more = said[began:]
    return "\n".join([first.removeprefix(_ERROR), *(one for one in more if not one.startswith("  next: "))])


def _wrong_gpu(job: Job, scratch: Path) -> str:
    """Return why a trial says nothing of the GPU that it is for: it ran on another; nothing otherwise."""
    if job.needs.gpu is None:
        return ""
    wheels = fs.listed(scratch, ".whl")
    runs = [run for wheel in wheels for one in beside.evidence(wheel).reports for run in one.runs]
    there = {gpu.capability for run in runs for gpu in run.surroundings.gpus}
    if job.needs.gpu in there:
        return ""
    return f"it is for a GPU {job.needs.gpu}, and ran where there is {', '.join(sorted(there)) or 'none'}"


def _peak(scratch: Path) -> int:
    """Return the bytes that the compile of a wheel held at its peak, all its processes together; 0 where none was."""
    peaks = [0]
    for path in fs.listed(scratch, COMPILE):
        with suppress(OSError, ValueError, KeyError, TypeError):
            peaks.append(int(strict.json(path.read_bytes())["peak"]))
    return max(peaks)


@contextmanager
def _staying(job: Job, out: Path, scratch: Path) -> Iterator[None]:
    """Raise StoreError when what a job writes to is removed in the block: what it left then is not all."""
    gone = StoreError(
        f"{out} was removed, or what lay in it, while {job.name} ran there", hint="run the same command again"
    )
    try:
        yield
    except FileNotFoundError:
        if scratch.exists():
            raise
        raise gone from None
    if not (scratch / LOG).is_file():
        raise gone


@contextmanager
def _scratch(job: Job, out: Path) -> Iterator[Path]:
    """Yield an empty folder of this process's own below ``out``, which is made where there is none."""
    with fs.disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        with fs.own_folder(out, f"{_NEW}{job.key[:16]}-") as path:
            yield path


def _kept(job: Job, out: Path, scratch: Path, result: Result, machine: Machine) -> Result:
    """Move a run to its place and return what lies there: of two that were done at once, the first."""
    failed = out / f"{job.key}{FAILED}"
    if result.code:
        _put_away(failed)
        with suppress(OSError):  # another run that failed was as quick
            scratch.rename(failed)
        return result
    try:
        scratch.rename(out / job.key)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        first = finished(job, out, machine)
        if first is None:
            raise EvidenceError(
                f"{out / job.key}: something else lies where {job.name} is to leave its result"
            ) from None
        return first
    _put_away(failed)
    return result


def _put_away(folder: Path) -> None:
    """Remove a folder; nobody sees half of it."""
    aside = folder.with_name(f"{_NEW}gone-{folder.name[:16]}-{os.getpid()}")
    with suppress(FileNotFoundError):
        folder.rename(aside)
        fs.remove(aside)
