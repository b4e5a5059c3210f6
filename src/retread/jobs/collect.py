"""The wheels of jobs that are done, each once and with all that is known of it: what its build and its trials left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retread.doors import fs
from retread.doors.machine import Machine
from retread.errors import EvidenceError
from retread.jobs import run
from retread.jobs.job import Job
from retread.records import Sha256


def collect(jobs: Sequence[Job], out: Path, into: Path, machine: Machine) -> list[Path]:
    """Put the wheels of the jobs that are done below ``out`` into a folder, with their evidence; return where they lie.

    EvidenceError, before anything is put there, where two jobs left a wheel of the same name with other bytes.
    """
    done = [(one, result) for one in jobs if (result := run.finished(one, out, machine))]
    known: dict[str, tuple[str, Sha256]] = {}
    for one, result in done:
        for wheel in result.wheels:
            name, sha256 = known.setdefault(wheel.file, (one.name, wheel.sha256))
            if sha256 != wheel.sha256:
                raise EvidenceError(f"{wheel.file} of {one.name} has other bytes than that of {name}")
    for one, result in done:
        for wheel in result.wheels:
            for path in fs.listed(out / one.key):
                if path.name.startswith(wheel.file):
                    fs.place(path, into / path.name)
    return [into / name for name in known]
