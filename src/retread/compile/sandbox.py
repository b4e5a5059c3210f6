"""Where a build runs and what it sees of the machine: walls on this one, or a container (``container``).

Either way its folders lie at fixed places, it has no network, and only the variables that it is given.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple, Protocol

from retread.compile import depot, room
from retread.compile.depot import Depot
from retread.compile.room import Layout
from retread.doors import fs, proc, walls
from retread.doors.proc import Finished
from retread.doors.walls import Seen, Walls
from retread.environment.host import Compiler, Python
from retread.records import Sha256

_BUILD = ("-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check")
_CACHE_VARIABLES = ("SCCACHE_", "AWS_", "GOOGLE_", "ACTIONS_", "ALIBABA_", "TENCENTCLOUD_", "RUST_LOG")
_OF_FOLDER = ("SCCACHE_DIR", "SCCACHE_CACHE_SIZE", "SCCACHE_CACHE_ZSTD_LEVEL", "SCCACHE_LOG", "RUST_LOG")
"""Those that are its own where a depot leads it to the shared cache: that has all keys."""
_OF_DEPOT = {
    "SCCACHE_MULTILEVEL_CHAIN": "disk,s3",
    "SCCACHE_MULTILEVEL_WRITE_ERROR_POLICY": "ignore",
    "SCCACHE_BUCKET": depot.BUCKET,
    "SCCACHE_REGION": "auto",
    "SCCACHE_S3_NO_CREDENTIALS": "true",
}
"""What leads it to the shared cache behind its own folder; the relay names the port. Whether anything may be put there
the depot decides: of a level that may be read alone, sccache counts an error for each object."""
_REMOTE = tuple(
    f"SCCACHE_{one}"
    for one in (
        "AZURE", "BUCKET", "CONF", "COS", "DIST", "ENDPOINT", "GCS", "GHA", "MEMCACHED", "OSS", "REDIS", "WEBDAV"
    )
)  # fmt: skip
"""Its variables that lead the cache to another machine."""
_SCRATCH = "/tmp"
_TMP, _VIEW = "tmp", "view"
"""Of the control folder: where a build's /tmp is put, and where this process finds it."""


class Cache(NamedTuple):
    """The compile cache that stands beside a build."""

    program: Path | None
    """sccache; None compiles without a cache."""
    folder: Path
    """Where it keeps what is compiled, unless the caller's variables lead it elsewhere."""
    anew: bool
    """Compile everything again and put it into the cache."""
    depot: Depot | None = None
    """The way to the cache that machines share, which is asked for what ``folder`` has not."""


class Work(NamedTuple):
    """One build: where its folders are, what it sees, and what stands beside it."""

    layout: Layout
    room: Path
    control: Path
    """A folder of this run alone, which the build sees under the same path."""
    variables: Mapping[str, str]
    """All that the build sees, but for PATH and PYTHONPATH."""
    cache: Cache
    caller: Mapping[str, str]
    """The caller's environment, of which the build sees nothing."""
    ahead: bool = False
    """Whether ninja may begin as it was called last: only files changed that were compiled in."""


class Sandbox(Protocol):
    """A place for builds."""

    def layout(
        self, at: Path, toolkit: Path, environment: Path, control: Path, target: Path | None = None
    ) -> Layout:
        """Return where a build will see the room ``at`` and the others; ``control`` is of this run alone.

        ``target`` is the root of the machine that is compiled for, where that is another.
        """

    def attempt(self, command: Sequence[str | Path], folders: Iterable[Path]) -> Finished:
        """Run a short command that sees ``folders`` where they are."""

    def command(self, work: Work) -> tuple[list[str | Path], dict[str, str]]:
        """Return the command that builds the wheel, and the environment that it is started with."""

    def started(self, control: Path, pid: int) -> None:
        """Hear which process was started with the command."""

    def outside(self, paths: Iterable[str], layout: Layout) -> dict[str, Sha256]:
        """Return the digests of files that were compiled in and that no other key covers."""

    def clear(self) -> None:
        """Remove what a run that ended in any way may have left running."""

    def failure(self, log: str) -> Exception | None:
        """Return the error of a step that only this kind of place has, if the log of a failed build tells one."""


class Walled:
    """Builds on this machine, behind walls where it has any."""

    def __init__(self, python: Python, compiler: Compiler, environment: Mapping[str, str]) -> None:
        self._python = python
        self._compiler = compiler
        self._environment = environment

    def layout(
        self, at: Path, toolkit: Path, environment: Path, control: Path, target: Path | None = None
    ) -> Layout:
        """Return the fixed places, or the real ones where there are no walls."""
        if walls.absence(self._environment):
            return room.layout(at, toolkit, environment, target)
        (control / _TMP).mkdir()
        return room.fixed(at, toolkit, environment, str(control / _VIEW), target)

    def attempt(self, command: Sequence[str | Path], folders: Iterable[Path]) -> Finished:
        """Run a command as it is."""
        path = f"/usr/bin:/bin:{Path(self._python.executable).parent}"
        return proc.run(command, env={"PATH": path, "LC_ALL": "C"}, check=False)

    def command(self, work: Work) -> tuple[list[str | Path], dict[str, str]]:
        """Return the way behind the walls and what is built there; the environment is the compile cache's alone."""
        layout = work.layout
        bins = (
            f"{layout.room}/bin",
            f"{layout.room}/cuda/bin",
            f"{layout.environment}/bin",
            "/usr/bin",
            "/bin",
        )
        seen = {**work.variables, "PATH": ":".join(bins), "PYTHONPATH": f"{layout.room}/trace"}
        build = [
            f"{layout.environment}/bin/python",
            *_BUILD,
            "--outdir",
            f"{layout.room}/{room.OUT}",
            layout.source,
        ]
        if work.ahead:
            note = work.variables["RETREAD_NINJA"]
            build = [f"{layout.environment}/bin/python", "-IS", f"{layout.room}/bin/ahead", note, *build]
        enter = str(resources.files("retread.compile.inside").joinpath("enter.sh"))
        inner = ["env", "-i", *(f"{name}={value}" for name, value in sorted(seen.items())), *build]
        cache, outer = str(work.cache.program or "-"), _of_cache(work)
        relay = self._relay(work)
        if not layout.fixed:
            return ["sh", enter, "-", "0", cache, shlex.join(relay), "--", *inner], outer
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        command = ["unshare", *user, "--mount", "--propagation", "private", "--"]
        command += ["sh", enter, str(work.control / _TMP), str(walls.limit()), cache]
        mine = self._seen(work)
        return [
            *command,
            shlex.join([*_of_server(work, mine, outer).command(), *relay]),
            "--",
            *("env", "-i"),  # what leads behind the walls is seen there, with its variables
            *Walls(mine, folder=layout.room).command(),
            *inner,
        ], outer

    def _relay(self, work: Work) -> list[str]:
        """Return the words before the compile cache's server that lead it to the shared one."""
        if work.cache.program is None or work.cache.depot is None:
            return []
        return [self._python.executable, "-I", str(work.cache.depot.relay), str(work.cache.depot.socket)]

    def _seen(self, work: Work) -> tuple[Seen, ...]:
        """Return what a build and its compile cache see of this machine: the build's folders, and its tools."""
        own = [Seen(real, at, mode == "rw") for real, at, mode in work.layout.binds if at != _SCRATCH]
        tools: list[str | Path] = [self._python.prefix, *walls.hops(self._python.executable)]
        for one in (self._compiler.c, self._compiler.cxx):
            folder = Path(one).parent
            tools.append(folder.parent if folder.name == "bin" else one)
        tools += [work.cache.program] if work.cache.program else []
        scratch = [
            Seen(str(work.control / _TMP), _SCRATCH, True),
            Seen(str(work.control), str(work.control), True),
        ]
        return (*scratch, *walls.readable(tools), *own)

    def started(self, control: Path, pid: int) -> None:
        """Lead to the build's own /tmp, which only its processes see."""
        if (control / _TMP).is_dir():
            (control / _VIEW).symlink_to(f"/proc/{pid}/root{control / _TMP}")

    def outside(self, paths: Iterable[str], layout: Layout) -> dict[str, Sha256]:
        """Return the digests of this machine's own files, like the C library's headers."""
        places = (layout.room, layout.toolkit, layout.environment, layout.target, self._python.prefix)
        own = tuple(f"{one}/" for one in places if one)
        return {
            path: fs.sha256(Path(path)) for path in paths if not path.startswith(own) and Path(path).is_file()
        }

    def clear(self) -> None:
        """Do nothing: what runs behind walls ends with them."""

    def failure(self, log: str) -> Exception | None:
        """Return nothing: only the build itself can fail."""
        return None


def cache_variables(work: Work, given: Mapping[str, str]) -> dict[str, str]:
    """Return what the compile cache's server is told; ``given`` may say where it keeps things, and how much."""
    return {
        "SCCACHE_DIR": str(work.cache.folder),
        "SCCACHE_CACHE_SIZE": "20G",
        **given,
        **(_OF_DEPOT if work.cache.depot else {}),
        "SCCACHE_IDLE_TIMEOUT": "0",
        "SCCACHE_DIRECT": "false",  # every unit is preprocessed, which tells what it was made of
        "SCCACHE_SERVER_UDS": str(work.control / "cache"),
    }


def remote(caller: Mapping[str, str]) -> str:
    """Return the first of sccache's own variables that leads its cache to another machine, or nothing."""
    return min((name for name in caller if name.startswith(_REMOTE)), default="")


def _of_server(work: Work, seen: tuple[Seen, ...], variables: Mapping[str, str]) -> Walls:
    """Return what the compile cache's server sees: what the build does, its own folder, a network if it needs one.

    The build sees nothing of it but its socket: neither its keys nor what it keeps, which later builds believe.
    """
    if work.cache.program is None:
        return Walls(())
    folder = Path(variables["SCCACHE_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    files = [value for value in variables.values() if value.startswith("/") and Path(value).is_file()]
    shared = work.cache.depot
    network = shared is None and bool(remote(variables))
    own = [folder, *([shared.folder] if shared else [])]
    return Walls(
        (*seen, *walls.readable(files), *(Seen(str(one), str(one), True) for one in own)), network=network
    )


def _of_cache(work: Work) -> dict[str, str]:
    passed = _OF_FOLDER if work.cache.depot else _CACHE_VARIABLES
    given = {name: value for name, value in work.caller.items() if name.startswith(passed)}
    return {
        **cache_variables(work, given),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C",
        "RETREAD_CACHE_LOG": str(work.room / room.CACHE_LOG),
        "RETREAD_CACHE_STATS": str(work.room / room.CACHE_STATS),
    }
