"""Stage *compile*: a wheel of the tree with its native changes, by exactly the tools and variables that were named.

The build runs in a room of the store that outlives it, so that what was compiled before an interrupt is there for the
next run. Behind walls the room's folders lie at fixed places and there is no network. What was read while
compiling is held against the recipe's native inputs at the end: only then may the result stand for its digest.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from retread import arch, strict
from retread.compile import room
from retread.compile.cross import Cross
from retread.compile.depot import Depot
from retread.compile.jobserver import SETTLE, Failed, Jobserver, State
from retread.compile.room import LOG, Layout
from retread.compile.sandbox import Cache, Sandbox, Work
from retread.compile.schedule import Budget, Cost
from retread.doors import fs, proc
from retread.environment import host
from retread.environment.host import Compiler, Python
from retread.errors import CompileError, RecipeError, StoreError, first
from retread.recipe import native
from retread.recipe.model import Build, Recipe, Target
from retread.records import Record, Sha256
from retread.toolkit import clang
from retread.units import counted

FACTS = "compile.json"
_SEEDS = (12, 9)
"""The first CUDA release whose nvcc takes a seed for the names that it makes up."""


class Order(NamedTuple):
    """Everything that decides what comes out of a compile."""

    recipe: Recipe
    target: Target
    build: Build
    """The target's own."""
    files: Mapping[str, str]
    """Path -> blob id of the tree that is compiled."""
    native_digest: str
    setting: str
    """Digest of all that is not a file of the tree; objects of another setting are thrown away."""
    time: int
    toolkit: Path
    """Root of the CUDA toolkit."""
    compiler: Compiler
    python: Python
    environment: Path
    """The build environment, a folder with bin/ and lib/."""
    cross: Cross | None = None
    """The machine that is compiled for, where that is another than this."""


class Means(NamedTuple):
    """What decides how fast and where it is compiled, not what comes out."""

    room: Path
    budget: Budget
    measures: Mapping[str, Cost]
    cache: Cache
    caller: Mapping[str, str]
    """The caller's environment, of which the cache's server alone gets its own variables."""
    sandbox: Sandbox
    """Where it runs."""
    file: Callable[[str], Path]
    """Path in the tree -> a file with its bytes and mode."""
    changed: Callable[[State], None]


class UnitReport(Record, frozen=True, kw_only=True):
    """One compiled unit: wall seconds, and bytes of memory at its peak."""

    name: str
    tool: str
    seconds: float
    memory: int


class CacheFacts(Record, frozen=True, kw_only=True):
    """What the compile cache did. None of it is evidence: the audit reads the wheel's own bytes."""

    hits: int
    misses: int
    errors: int = 0
    """What it could not read or write, and was compiled, or not kept."""
    where: str = ""
    """The cache that machines share, without what opens it; empty where there was this machine's folder alone."""
    taken: int = 0
    """Objects that came from there; a hit of nvcc's takes several."""
    given: int = 0
    """Objects that were put there."""


class CompileFacts(Record, frozen=True, kw_only=True):
    """Evidence: how a wheel was compiled."""

    schema: int
    wheel: str
    sha256: Sha256
    native_digest: str
    units: tuple[UnitReport, ...]
    """The slowest first."""
    compiled: int
    """How many of the units this run compiled; the others were there from an interrupted one."""
    seconds: float
    peak: int
    """Most bytes of memory that the whole build held."""
    jobs: int
    network: bool
    """Whether the build could have reached a network: where its sandbox gave it none of its own."""
    fixed: bool
    """Whether the build's folders lay at their fixed places. The other side of ``network``, since a sandbox that may
    mount may also cut off, and is asked for both at once; the two stay apart for whoever reads one."""
    cache: CacheFacts | None
    """None where it was compiled without one."""
    read: tuple[str, ...]
    """Files of the tree that were compiled in or run while building; native inputs have to name each of them."""
    outside: dict[str, Sha256]
    """Files of the machine itself that were compiled in, like the C library's headers."""


def load(entry: Path) -> CompileFacts:
    """Return the facts that lie in a finished store entry."""
    return strict.decoded((entry / FACTS).read_bytes(), CompileFacts)


def still_true(facts: CompileFacts) -> bool:
    """Say whether the machine's own files that were compiled in are what they were."""
    for path, digest in facts.outside.items():
        try:
            if fs.sha256(Path(path)) != digest:
                return False
        except OSError:
            return False
    return True


def make(order: Order, means: Means, into: Path) -> frozenset[str]:
    """Compile the tree and leave the wheel, the log and the facts in ``into``; return the units that were compiled now.

    CompileError says which unit failed and how; StoreError when the disk is full; RecipeError when something was
    compiled in that no native input names. What was compiled stays in the room for the next run.
    """
    place, sandbox = means.room, means.sandbox
    sandbox.clear()
    if not room.is_known(place, order.setting):
        _try_tools(order, means)
    last = {path for one in room.units(place) for path in one.read}
    changed = room.enter(place, order.setting, order.files, means.file)
    with fs.temporary("compile") as control:
        try:
            target = order.cross.root if order.cross else None
            layout = sandbox.layout(place, order.toolkit, order.environment, control, target)
            tools = room.put_tools(place, order.toolkit, order.environment, order.compiler, layout)
            if order.cross:
                order.cross.put_settings(place)
            (control / "control.json").write_bytes(
                msgspec.json.encode(_control(order, means, layout, control, tools))
            )
            with Jobserver(
                control / "s",
                tree=Path(layout.source),
                budget=means.budget,
                measures=means.measures,
                changed=means.changed,
                compiled=lambda one: room.note(place, one, layout),
                outside=layout.outside,
                settle=SETTLE,
            ) as server:
                ahead = bool(last) and {f"{layout.source}/{path}" for path in changed} <= last
                command, env = sandbox.command(_work(order, means, layout, control, ahead=ahead))

                def started(pid: int) -> None:
                    sandbox.started(control, pid)
                    server.watch(pid)

                code = proc.run_logged(command, env=env, cwd=place, log=place / LOG, started=started)
            if code or server.failed:
                raise _failure(order, means, code, server.failed, server.peak)
            _collect(order, means, layout, server, into)
            return frozenset(one.unit.name for one in server.compiled)
        finally:
            sandbox.clear()


def _try_tools(order: Order, means: Means) -> None:
    """Compile next to nothing for every architecture, so that a machine that cannot do it says so at once."""
    source, target = means.room / "try.cu", order.target
    source.write_text("__global__ void retread_try() {}\n", "utf-8")
    codes = [(one, "sm") for one in target.architectures] + [(one, "compute") for one in target.ptx]
    command: list[str | Path] = [order.toolkit / "bin" / "nvcc", "-ccbin", order.compiler.cxx, "-c", source]
    command += ["--threads", "0"]  # as many architectures at a time as there are cores
    for one, kind in codes:
        name = arch.sm(one).removeprefix("sm_")
        command += ["-gencode", f"arch=compute_{name},code={kind}_{name}"]
    folders = (means.room, order.toolkit)
    done = means.sandbox.attempt([*command, "-o", means.room / "try.o"], folders=folders)
    if done.code:
        said = done.stdout + done.stderr
        hint = "a recipe builds for what its target's CUDA knows"
        if "unsupported GNU version" in said or "unsupported compiler" in said:
            hint = "install an older g++ beside it and name it: CXX=g++-13 CC=gcc-13"
        raise CompileError(
            f"{order.recipe.name}: CUDA {target.cuda} and {order.compiler.version} do not compile an empty kernel:"
            f" {_first_error(said)}",
            hint=hint,
        )
    if clang.stands_in(order.toolkit):
        clang.demand(
            order.toolkit, means.room, lambda command: means.sandbox.attempt(command, folders=folders)
        )


# What the build is told.


def _control(
    order: Order, means: Means, layout: Layout, control: Path, tools: Mapping[str, str]
) -> dict[str, object]:
    """Return what the compilers' stand-ins have to know."""
    seed = means.cache.program is None and tuple(map(int, order.target.cuda.split("."))) >= _SEEDS
    apart = (
        {} if layout.source.startswith(f"{layout.room}/") else {layout.source: f"/retread/room/{room.SOURCE}"}
    )
    return {
        "socket": str(control / "s"),
        "tools": tools,
        "hosts": {name: path for name, path in tools.items() if name != "nvcc"},
        "bin": f"{layout.room}/bin",
        "launcher": [str(means.cache.program)] if means.cache.program else [],
        "prefixes": {
            layout.room: "/retread/room",
            layout.toolkit: "/retread/toolkit",
            layout.environment: "/retread/environment",
            **({layout.target: "/retread/target"} if layout.target else {}),
            **apart,
        },
        **({"replaced": order.cross.replaced(layout, order.python)} if order.cross else {}),
        "seed": seed,
        "stepwise": ["nvcc"] if clang.stands_in(order.toolkit) else [],
    }


def _work(order: Order, means: Means, layout: Layout, control: Path, *, ahead: bool = False) -> Work:
    given = native.environment(
        order.recipe,
        order.target,
        order.build,
        cuda_home=f"{layout.room}/cuda",
        site_packages=f"{layout.environment}/lib/python{order.python.number}/site-packages",
    )
    variables = given | {
        "HOME": f"{layout.room}/home",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "CC": f"{layout.room}/bin/gcc",
        "CXX": f"{layout.room}/bin/g++",
        "CUDA_HOME": f"{layout.room}/cuda",
        "CUDA_PATH": f"{layout.room}/cuda",
        "MAX_JOBS": str(_WINDOW),
        "SOURCE_DATE_EPOCH": str(order.time),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "GIT_DIR": os.devnull,
        "RETREAD_CONTROL": str(control / "control.json"),
        "RETREAD_EXECUTED": f"{layout.room}/{room.EXECUTED}",
        "RETREAD_NINJA": f"{layout.room}/home/ninja.json",
        "RETREAD_REAL_NINJA": f"{layout.environment}/bin/ninja",
        "SCCACHE_SERVER_UDS": str(control / "cache"),
        # Its server asks each client; what the server itself was started with counts for nothing.
        **({"SCCACHE_RECACHE": "1"} if means.cache.anew else {}),
        **(order.cross.variables() if order.cross else {}),
    }
    return Work(
        layout=layout,
        room=means.room,
        control=control,
        variables=variables,
        cache=means.cache,
        caller=means.caller,
        ahead=ahead,
    )


_WINDOW = 64
"""Compilers that may wait for leave at a time; the longest of them goes first.

Only what waits can be put in order, so it is more than the units of the shipped recipes (13:
docs/guides/container.md). One that waits holds 6 MB of its own (measured: the stand-in's imports under Python 3.11), 64
of them less than 400 MB.
"""


# What came out.


def _collect(order: Order, means: Means, layout: Layout, server: Jobserver, into: Path) -> None:
    place = means.room
    wheels = list((place / room.OUT).glob("*.whl"))
    if any(wheel.is_symlink() for wheel in wheels):  # what it leads to is not the build's
        raise CompileError(
            f"{order.recipe.name}: the build made a link in the place of a wheel", hint=_seen(place)
        )
    if len(wheels) != 1:
        raise CompileError(
            f"{order.recipe.name}: the build made {len(wheels)} wheels, not one", hint=_seen(place)
        )
    units = sorted(room.units(place), key=lambda one: one.cost.seconds, reverse=True)
    if blind := [one.unit.name for one in units if not one.read]:
        raise CompileError(
            f"{order.recipe.name}: no pass of the compiler told what {blind[0]} was made of",
            hint="the build names a host compiler of its own to nvcc (-ccbin); leave that to CXX",
        )
    read = {path for one in units for path in one.read}
    with suppress(FileNotFoundError):
        read |= set((place / room.EXECUTED).read_text("utf-8").splitlines())
    if order.cross and (wrong := order.cross.strangers(read, layout, order.python)):
        raise CompileError(
            f"{order.recipe.name}: {counted(len(wrong), 'header')} of {host.here()} got into what is for "
            f"{order.cross.machine}",
            faults=first(wrong),
            hint="name the project that they are of under build.links, and leave include paths of this machine out",
        )
    inside = f"{layout.source}/"
    mine = sorted({path[len(inside) :] for path in read if path.startswith(inside)} & order.files.keys())
    demand_covered(order.recipe, order.files, mine)
    wheel = into / wheels[0].name
    shutil.move(wheels[0], wheel)
    shutil.copyfile(place / LOG, into / LOG)
    facts = CompileFacts(
        schema=1,
        wheel=wheel.name,
        sha256=fs.sha256(wheel),
        native_digest=order.native_digest,
        units=tuple(
            UnitReport(
                name=one.unit.name, tool=one.unit.tool, seconds=one.cost.seconds, memory=one.cost.memory
            )
            for one in units
        ),
        compiled=len(server.compiled),
        seconds=round(server.seconds, 1),
        peak=server.peak,
        jobs=means.budget.jobs,
        network=layout.network,
        fixed=layout.fixed,
        cache=_cache_facts(place, means.cache.depot),
        read=tuple(mine),
        outside=means.sandbox.outside(sorted(read), layout),
    )
    (into / FACTS).write_bytes(msgspec.json.encode(facts))


def demand_covered(recipe: Recipe, files: Mapping[str, str], read: Iterable[str]) -> None:
    """Raise RecipeError when code was made of files that no native input names: a patch on one would not reach it."""
    missing = native.uncovered(read, files, recipe)
    if missing:
        raise RecipeError(
            f"{recipe.name}: native-inputs leaves out {counted(len(missing), 'file')} that the build compiles or runs",
            faults=first(missing),
            hint="add them: a patch on one would be served with stale code",
        )


def _cache_facts(place: Path, depot: Depot | None) -> CacheFacts | None:
    try:
        said = strict.json((place / room.CACHE_STATS).read_bytes())
        stats, where = said["stats"], str(said.get("cache_location", ""))
    except (OSError, ValueError, KeyError):
        return None
    errors = sum(stats.get(name, 0) for name in ("cache_timeouts", "cache_read_errors", "cache_write_errors"))
    own = "" if where.startswith("Local disk") else where.partition(",")[0].lower()
    return CacheFacts(
        hits=sum(stats["cache_hits"]["counts"].values()),
        misses=sum(stats["cache_misses"]["counts"].values()),
        errors=errors + (depot.errors if depot else 0),
        where=depot.where if depot else own,
        taken=depot.taken if depot else 0,
        given=depot.given if depot else 0,
    )


# What went wrong.

_ERROR = re.compile(
    r"\b(?:fatal )?error\b\s*[:#]|\bfatal\s*:|: error |Error: |undefined reference", re.IGNORECASE
)
_NO_NETWORK = re.compile(
    r"name resolution|Network is unreachable|Could not resolve host|No address associated|ENETUNREACH"
    r"|Failed to establish a new connection|Missing dependencies"
)
_NOT_OURS = re.compile(r"Exec format error|cannot execute binary file|qemu-\w+(-static)?: Could not open")
_NO_MEMORY = re.compile(
    r"Killed signal terminated|died due to signal 9|out of memory|virtual memory exhausted|Memory allocation failure"
    r"|instance of 'std::bad_alloc'|Cannot allocate memory"
)


def _seen(place: Path) -> str:
    return f"the whole log is {place / LOG}"


def _failure(order: Order, means: Means, code: int, failed: list[Failed], peak: int) -> Exception:
    """Return the error that a failed build deserves: the first unit that failed and its first error."""
    place, name = means.room, order.recipe.name
    log = (place / LOG).read_text("utf-8", "replace")
    said = failed[0].said if failed else log
    if "No space left on device" in said:
        return StoreError(
            f"{name}: the disk is full while compiling in {place}",
            hint="make room, or point RETREAD_STORE to another disk; what is compiled stays. If it was the build's own"
            " /tmp, which holds a quarter of the memory: give it fewer jobs (--jobs)",
        )
    if order.cross and _NOT_OURS.search(said):
        return CompileError(
            f"{name}: the build ran a program of {order.cross.machine}, which this machine cannot run",
            faults=[next(line.strip() for line in said.splitlines() if _NOT_OURS.search(line))],
            hint=f"what a build runs has to be made for {host.here()}; {_seen(place)}",
        )
    if failed:
        unit = failed[0]
        if unit.code in {-9, 137} or _NO_MEMORY.search(unit.said):
            held = f"{peak / 2**30:.1f} GiB in all"
            return CompileError(
                f"{name}: {unit.name} ran out of memory; the build held {held} at its peak",
                hint="give the build fewer jobs (--jobs 1) or a smaller budget (--memory); what is compiled stays."
                f" {_seen(place)}",
            )
        return CompileError(
            f"{name}: {unit.name} does not compile: {_first_error(unit.said)}",
            faults=[f"command: {' '.join(unit.command)}"],
            hint=_seen(place),
        )
    if special := means.sandbox.failure(log):
        return special
    hint = _seen(place)
    if _NO_NETWORK.search(log):
        hint = f"a build has no network: lock what it wants (build.requires) or patch it out; {hint}"
    return CompileError(
        f"{name}: the build failed with exit code {code}: {_first_error(log, last=True)}", hint=hint
    )


def _first_error(said: str, *, last: bool = False) -> str:
    """Return the first line that tells an error; with ``last``, of a log whose errors end in a traceback, the last."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.search(line)]
    if errors:
        return errors[-1 if last else 0]
    return lines[-1] if lines else "it said nothing"
