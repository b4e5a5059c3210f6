"""The room of a build: a folder of the store that outlives it, and how the build sees it.

It holds the tree, the objects made of it, and a list of the finished ones with all that each was made of, so that the
next run, after an interrupt or a change, compiles only what is missing. Behind walls (``doors.walls``) the build sees
its folders at fixed places, and of the room what is its own: not the list, which says what is finished.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from retread import strict
from retread.compile.jobserver import Compiled
from retread.compile.schedule import Cost, Unit
from retread.doors import fs
from retread.environment.host import Compiler
from retread.recipe import native
from retread.recipe.proof import blob_id
from retread.records import Record

LOG = "build.log"
CACHE_LOG = "cache.log"
CACHE_STATS = "cache.json"
EXECUTED = "executed"
OUT = "out"
SOURCE = "source"
_UNITS = "units.jsonl"
PLACE = "/mnt/retread"
"""Where a build behind walls sees its folders, on every machine."""
_OWN = ("home", OUT)
"""Folders of the room that a build writes to, beside the tree."""
_TOOLS = ("bin", "host", "cuda", "trace")
"""Folders that it reads: stand-ins of the compilers, and what notes the Python files that run."""


class UnitFacts(Record, frozen=True, kw_only=True):
    """One compiled unit, what it cost, and what it was made of."""

    unit: Unit
    cost: Cost
    output: str
    made: int
    """Time of the object when it was finished, in nanoseconds since 1970; at any other time it is not that object."""
    read: tuple[str, ...]


class Layout(NamedTuple):
    """Where the folders of a build lie, seen from inside."""

    fixed: bool
    """Whether they lie at fixed places, behind walls."""
    source: str
    room: str
    toolkit: str
    environment: str
    binds: tuple[tuple[str, str, str], ...]
    target: str = ""
    """The root of the machine that is compiled for, where that is another."""

    @property
    def network(self) -> bool:
        """Whether a build can reach a network: a sandbox that fixes places was tried to cut it off, too."""
        return not self.fixed

    def outside(self, path: str) -> str:
        """Return where a path that the build named lies for this process."""
        for real, seen, _ in self.binds:
            if path == seen or path.startswith(f"{seen}/"):
                return real + path[len(seen) :]
        return path

    def written(self, path: str) -> tuple[BinaryIO, str]:
        """Open a file that the build says it wrote; return it and where it lies for this process.

        OSError for one that lies in no folder of the build's: whoever is behind walls must not have others read to it.
        """
        if not self.fixed:
            return open(path, "rb"), path  # noqa: PTH123
        for real, seen, mode in self.binds:
            if mode == "rw" and path.startswith(f"{seen}/"):
                below = path[len(seen) + 1 :]
                return fs.beneath(Path(real), below), f"{real}/{below}"
        raise FileNotFoundError(errno.ENOENT, "is in no folder of the build", path)


def is_known(room: Path, setting: str) -> bool:
    """Say whether something was compiled here with this setting before."""
    sign = room / "setting"
    return sign.is_file() and sign.read_text("utf-8") == setting and (room / _UNITS).is_file()


def enter(room: Path, setting: str, files: Mapping[str, str], get: Callable[[str], Path]) -> list[str]:
    """Make the room's tree hold ``files`` (path -> blob id), whose bytes and modes ``get`` knows, and nothing else.

    Only what differs is touched, and returned, so that what is compiled of the rest stays good. Objects of another
    ``setting`` go, and those of sources that are gone.
    """
    source, sign = room / SOURCE, room / "setting"
    for item in room.iterdir():
        if item.is_symlink():  # the last build's, and what is written here must not go where it leads
            item.unlink()
    if not sign.is_file() or sign.read_text("utf-8") != setting:
        for item in room.iterdir():
            fs.remove(item)
    source.mkdir(exist_ok=True)
    for name in (OUT, "bin", "host", "cuda", "trace", EXECUTED, LOG, CACHE_LOG, CACHE_STATS):
        fs.remove(room / name)
    for name in _OWN:
        (room / name).mkdir(exist_ok=True)
    (room / EXECUTED).touch()
    _clear(source, files)
    changed = []
    for path, blob in files.items():
        file = source / path
        if file.is_file() and not file.is_symlink() and blob_id(file.read_bytes()) == blob:
            continue
        changed.append(path)
        fs.remove(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        from_store = get(path)
        shutil.copyfile(from_store, file)
        shutil.copymode(from_store, file)
    _drop_stale(room)
    sign.write_text(setting, "utf-8")
    return changed


def _clear(source: Path, files: Mapping[str, str]) -> None:
    """Remove what the last build left beside the tree, but for its objects; no link stays, wherever it leads."""
    kept = source / "build"
    for folder, _, _ in os.walk(source):
        here = Path(folder)
        for name in os.listdir(here):  # noqa: PTH208
            if (here / name).is_symlink():
                (here / name).unlink()
    for folder, folders, names in os.walk(source):
        here = Path(folder)
        if here == kept:
            for name in [*folders, *names]:
                if not name.startswith("temp"):
                    fs.remove(kept / name)  # a linked library must not hide that a header changed
            folders.clear()
            continue
        for name in names:
            if str((here / name).relative_to(source)) not in files:
                (here / name).unlink()


def _drop_stale(room: Path) -> None:
    """Remove objects that may be half written, being on no list of finished ones, and those whose source is gone."""
    source = room / SOURCE
    good = {
        str(room / one.output)
        for one in units(room)
        if os.path.isabs(one.unit.name) or (source / one.unit.name).is_file()  # noqa: PTH117 - a path as the build saw it
    }
    for path in (source / "build").glob("temp*/**/*.o"):
        if str(path) not in good:
            path.unlink()


def units(room: Path) -> list[UnitFacts]:
    """Return the units whose objects are there as they were compiled last, of files that did not change since."""
    found: dict[str, UnitFacts] = {}
    with suppress(FileNotFoundError):
        for line in (room / _UNITS).read_bytes().splitlines():
            with suppress(ValueError):  # the last line of a killed run
                one = strict.decoded(line, UnitFacts)
                found[one.output] = one
    changed: dict[str, int] = {}
    return [one for one in found.values() if _is_whole(room, one) and not _is_older(one, changed)]


def _is_whole(room: Path, one: UnitFacts) -> bool:
    try:
        return (room / one.output).stat().st_mtime_ns == one.made
    except FileNotFoundError:
        return False


def _is_older(one: UnitFacts, changed: dict[str, int]) -> bool:
    """Say whether a file of this machine changed after the object was made, whatever date the file bears.

    ``changed`` keeps what was found of each file. What only the build sees is not looked at: its setting covers it.
    """
    for path in one.read:
        if path not in changed:
            try:
                changed[path] = os.stat(path).st_ctime_ns  # noqa: PTH116 - thousands of files
            except OSError:
                changed[path] = 0
        if changed[path] > one.made:
            return True
    return False


def note(room: Path, one: Compiled, layout: Layout) -> None:
    """Put a finished unit on the room's list, with every file that it was made of; OSError when it is not there."""
    read: list[str] = []
    with suppress(FileNotFoundError):
        stream, _ = layout.written(str(one.depfile))
        with stream:
            text = stream.read().decode("utf-8", "replace")
        read = [os.path.normpath(one.folder / path) for path in native.dependencies(text)]
    stream, output = layout.written(str(one.output))
    with stream:
        made = os.fstat(stream.fileno()).st_mtime_ns
    facts = UnitFacts(
        unit=one.unit,
        cost=Cost(seconds=round(one.cost.seconds, 3), memory=one.cost.memory),
        output=os.path.relpath(output, room),
        made=made,
        read=tuple(sorted(set(read))),
    )
    with (room / _UNITS).open("ab") as lines:
        # A line that was cut off before must not take this one in.
        lines.write(b"\n" + msgspec.json.encode(facts) + b"\n")


def layout(room: Path, toolkit: Path, environment: Path, target: Path | None = None) -> Layout:
    """Return where a build without walls sees its folders: where they are."""
    return Layout(False, f"{room}/{SOURCE}", str(room), str(toolkit), str(environment), (), str(target or ""))


def fixed(room: Path, toolkit: Path, environment: Path, tmp: str, target: Path | None = None) -> Layout:
    """Return where a build behind walls sees its folders; ``tmp`` is where its /tmp lies for this process."""
    binds = [(f"{room}/{name}", f"{PLACE}/room/{name}", "rw") for name in (SOURCE, *_OWN, EXECUTED)]
    binds += [(f"{room}/{name}", f"{PLACE}/room/{name}", "ro") for name in _TOOLS]
    binds += [(str(toolkit), f"{PLACE}/toolkit", "ro"), (str(environment), f"{PLACE}/environment", "ro")]
    binds += [(str(target), f"{PLACE}/target", "ro")] if target else []
    binds += [(tmp, "/tmp", "rw")]
    return Layout(
        True,
        f"{PLACE}/room/{SOURCE}",
        f"{PLACE}/room",
        f"{PLACE}/toolkit",
        f"{PLACE}/environment",
        tuple(binds),
        f"{PLACE}/target" if target else "",
    )


def put_tools(
    room: Path, toolkit: Path, environment: Path, compiler: Compiler, layout: Layout
) -> dict[str, str]:
    """Put stand-ins of the compilers and of ninja, and a view of the toolkit with a stand-in of nvcc, into the room.

    Returns the name of each compiler and what it runs: nvcc itself, for the host's compilers a script before them.
    """
    (room / "bin").mkdir()
    ahead = _program("ahead.py", layout)
    for name in ("ahead", *(["ninja"] if (environment / "bin" / "ninja").exists() else [])):
        _put(room / "bin" / name, ahead)
    text = _program("compiler.py", layout)
    (room / "cuda" / "bin").mkdir(parents=True)
    for name in os.listdir(toolkit):  # noqa: PTH208 - names are wanted
        if name != "bin":
            (room / "cuda" / name).symlink_to(f"{layout.toolkit}/{name}")
    for name in os.listdir(toolkit / "bin"):  # noqa: PTH208
        if name != "nvcc":
            (room / "cuda" / "bin" / name).symlink_to(f"{layout.toolkit}/bin/{name}")
    tools = {"nvcc": f"{layout.toolkit}/bin/nvcc"}
    (room / "host").mkdir()
    before = resources.files("retread.compile.inside").joinpath("host.sh").read_text("utf-8")
    for names, path in ((("gcc", "cc"), compiler.c), (("g++", "c++"), compiler.cxx)):
        _put(room / "host" / names[0], before.replace("@REAL@", path).replace("@DIGEST@", compiler.digest))
        tools |= dict.fromkeys(names, f"{layout.room}/host/{names[0]}")
    for name in tools:
        _put(room / ("cuda/bin" if name == "nvcc" else "bin") / name, text)
    (room / "trace").mkdir()
    trace = resources.files("retread.compile.inside").joinpath("trace.py").read_bytes()
    (room / "trace" / "sitecustomize.py").write_bytes(trace)
    return tools


def _program(name: str, layout: Layout) -> str:
    """Return a program of ``inside`` that the build's own Python runs."""
    script = resources.files("retread.compile.inside").joinpath(name).read_text("utf-8")
    return f"#!{layout.environment}/bin/python -IS\n{script}"


def _put(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    path.chmod(0o755)
