"""What a job will need: by what it took here before, or by a number that is said to be one.

A forecast is an engine's request: too little has the job killed, too much leaves a machine idle.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from retread.arch import Arch
from retread.compile import schedule
from retread.compile.measures import Measures
from retread.compile.schedule import GIB, Cost, Unit
from retread.doors import fs
from retread.doors.machine import Machine
from retread.jobs.job import Kind, Needs, named
from retread.recipe import files, platforms
from retread.recipe.lane import LANES, Lane
from retread.recipe.matrix import Entry
from retread.units import counted, size

_SPARE: Final = 1.5
"""What a job may take more than in the run before. Not measured: downloads differ, and so do machines."""
_ELSEWHERE: Final = 2
"""The same of what was compiled on another machine alone."""
_START: Final = 60
"""Seconds that every job is given beside: a slow disk, a store that somebody else holds."""
_SETUP: Final = 600
"""The same of a compile, whose toolkit and environment may have to be fetched first."""
_LEAST: Final = GIB
"""Bytes that every job is given: retread's own processes take 40 to 160 MB (docs/development/benchmarks.md), and an
engine's limit counts the page cache of what is written, too."""
_BASE: Final = GIB
"""Bytes for the build's Python and its linker, which run beside the compilers."""
_OVERLAY: Final = (2, 300, GIB, 2 * GIB)
"""Cores, seconds, memory and disk of a wheel for which nothing is compiled. The default recipe takes 35 s on two cores
with a fast network, 160 MB and 450 MB on the disk: the rest is for wheels and networks of other sizes."""
_LONGEST: Final = 6 * 3600
"""Seconds for a compile that was never measured: as long as GitHub lets a job run."""
_TRIAL: Final = (2, 1800, 8 * GIB, 11 * GIB)
"""The same of a trial: an environment with torch and its CUDA libraries has 7 GB, and 3 GB of downloads. Its memory was
not measured."""
_COMPILED: Final = 13 * GIB
"""Bytes on the disk of a compile with its environment, toolkit and room, as ``retread plan`` counts them."""


def of_build(
    machine: Machine, name: str, entry: Entry, cores: int, times: Mapping[str, float] = MappingProxyType({})
) -> Needs:
    """Return what it takes to make a wheel, with at most so many cores.

    ``times`` has the seconds that each unit of a compile took where its maintainer did it.
    """
    if LANES[entry.lane].compiles:
        return _of_compile(machine, entry, cores, times)
    guess = _guess(_OVERLAY, None, _builder(entry))
    guess = msgspec.structs.replace(guess, cores=min(guess.cores, cores))
    return _learned(
        _like_others(guess, machine, named(Kind.BUILD, entry.recipe, entry.target, "")), machine, name
    )


def of_trial(machine: Machine, name: str, gpu: Arch | None, platform: str) -> Needs:
    """Return what it takes to try a wheel, on a GPU or without one."""
    return _learned(_guess(_TRIAL, gpu, platform), machine, name)


def _builder(entry: Entry) -> str:
    """Return the processor of the machine that makes a wheel: an image runs on its own, all else is made on x86-64."""
    return entry.platform if entry.lane is Lane.CONTAINER else platforms.COMPILED[0]


def learn(machine: Machine, name: str, cost: Cost, *, cached: bool) -> None:
    """Keep what a job took on this machine; of one whose wheel was in the store, only what is more than was known."""
    Measures(_place(machine, name)).learn({name: cost}, cached=cached)


def _place(machine: Machine, name: str) -> Path:
    return machine.store.root / "measures" / "jobs" / f"{name}.json"


def _guess(numbers: tuple[int, int, int, int], gpu: Arch | None, processor: str) -> Needs:
    cores, seconds, memory, disk = numbers
    return Needs(
        cores=cores,
        memory_bytes=memory,
        seconds=seconds,
        disk_bytes=disk,
        gpu=gpu,
        processor=processor,
        why=f"never run here: {seconds} s and {size(memory)} are a guess with room",
    )


def _learned(guess: Needs, machine: Machine, name: str) -> Needs:
    """Return what a job took here, and half as much again; the guess where it never ran."""
    known = Measures(_place(machine, name)).known.get(name)
    return _given(guess, known, "the last run") if known else guess


def _like_others(guess: Needs, machine: Machine, beginning: str) -> Needs:
    """Return what the longest took here of the jobs whose names begin like this, where that is more than the guess:
    they are of the same target, for other Pythons and systems.
    """
    files = fs.listed(_place(machine, "").parent, ".json")
    costs = [
        one for file in files if file.name.startswith(beginning) for one in Measures(file).known.values()
    ]
    like = [_given(guess, one, "another job of its target") for one in costs]
    return max([guess, *like], key=lambda one: one.seconds)


def _given(guess: Needs, known: Cost, whose: str) -> Needs:
    return msgspec.structs.replace(
        guess,
        seconds=int(known.seconds * _SPARE) + _START,
        memory_bytes=max(_LEAST, int(known.memory * _SPARE)),
        why=f"{whose} here took {known.seconds:.0f} s and {size(known.memory)}; half as much again is given",
    )


def _of_compile(machine: Machine, entry: Entry, cores: int, times: Mapping[str, float]) -> Needs:
    """Return what the compilers took here, as many of the largest at a time as there are cores."""
    lock = Path(files.lock(entry.recipe, entry.target)).stem
    known = Measures(machine.store.root / "measures" / f"{lock}.json").known
    unseen = schedule.needed(Unit(name="", tool="nvcc", size=0), {})
    numbers = (cores, _LONGEST, cores * unseen + _BASE, _COMPILED)
    why = f"never compiled here: {size(unseen)} for each of {cores} compilers, and as long as GitHub allows"
    if times and not known:
        took = max(*times.values(), sum(times.values()) / cores, 0.0)
        numbers = (cores, int(took * _ELSEWHERE) + _SETUP, numbers[2], _COMPILED)
        units = counted(len(times), "unit")
        why = f"{units} took {took:.0f} s elsewhere: twice that, and {size(unseen)} for each compiler"
    if known:
        jobs = min(cores, len(known))
        spent = [one.seconds for one in known.values()]
        largest = sorted((int(one.memory * _SPARE) for one in known.values()), reverse=True)[:jobs]
        seconds = int(max(*spent, sum(spent) / jobs) * _SPARE) + _SETUP
        numbers = (jobs, seconds, max(_LEAST, sum(largest) + _BASE), _COMPILED)
        why = f"{counted(len(known), 'unit')} measured here; half as much again is given"
    return msgspec.structs.replace(_guess(numbers, None, _builder(entry)), why=why)
