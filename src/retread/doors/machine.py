"""The machine that a build runs on: its doors, and the pinned tools that it gets for itself and keeps in the store."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from retread import code
from retread.doors.console import Console
from retread.doors.store import Kind, Store, digest
from retread.records import Sha256
from retread.units import size

if TYPE_CHECKING:
    from retread.doors.net.download import Progress
    from retread.doors.net.settings import Settings


_ROOT = Path(__file__).parents[1]
"""Where retread's own code lies."""


class Machine(NamedTuple):
    """The doors that a build goes through: the store, the terminal, the environment."""

    store: Store
    console: Console
    environment: Mapping[str, str]


@functools.cache
def code_digest() -> str:
    """Return a digest of that part of retread's own code that decides bytes: what it makes is void when it changes."""
    return files_digest(sorted(_programs(str(_ROOT))))


def files_digest(names: Iterable[str]) -> str:
    """Return a digest of some files of retread's own, by their paths below its folder."""
    root, found = str(_ROOT), hashlib.sha256()
    for name in names:
        with open(f"{root}/{name}", "rb", buffering=0) as stream:  # noqa: PTH123 - as in _programs
            content = stream.read()
        found.update(f"{name}\n{len(content)}\n".encode() + content)
    return found.hexdigest()


def _programs(root: str) -> Iterator[str]:
    """Yield what decides, below ``root``. Every build asks, and pathlib would take more time than all the reading."""
    yield from (one for one in code.DECIDING if not one.endswith("/") and code.is_deciding_program(one))
    folders = [one for one in code.DECIDING if one.endswith("/")]
    while folders:
        folder = folders.pop()
        with os.scandir(f"{root}/{folder}") as there:
            for one in there:
                path = f"{folder}{one.name}"
                if one.is_dir(follow_symlinks=False):
                    folders.append(f"{path}/")
                elif code.is_deciding_program(path):
                    yield path


def installed(names: Sequence[str]) -> dict[str, str]:
    """Return the version of each of some packages beside retread; nothing of one that is not installed.

    Their folders are called after it. importlib.metadata knows other ways to be installed, too, and is asked where one
    of them lies in another: to import it takes longer than all the rest of a build that changes nothing.
    """
    wanted, found = {_plain(name): name for name in names}, dict.fromkeys(names, "")
    for folder in reversed(sys.path):
        try:
            there = os.listdir(folder or ".")  # noqa: PTH208 - as in _programs
        except NotADirectoryError:
            return _told(names)  # a zip
        except OSError:
            continue
        for one in there:
            stem, _, kind = one.rpartition(".")
            name, _, version = stem.partition("-")
            if kind in {"dist-info", "egg-info"} and _plain(name) in wanted:
                if kind != "dist-info" or not version:
                    return _told(names)
                found[wanted[_plain(name)]] = version
    return found


def _told(names: Sequence[str]) -> dict[str, str]:
    """Return what importlib.metadata says of packages."""
    from importlib import metadata

    found = dict.fromkeys(names, "")
    for name in found:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


@functools.cache
def essence_digest(programs: tuple[str, ...]) -> str:
    """Return a digest of what some files of retread's own do; comments and docstrings are no part of it."""
    root = Path(__file__).parents[1]
    return digest("essence", [(one, code.essence(one, (root / one).read_text("utf-8"))) for one in programs])


def download(machine: Machine, project: str, file: str, sha256: Sha256) -> Path:
    """Return a pinned file of a project, downloading it when the store has it not."""

    def fetch(partial: Path, using: Settings, progress: Progress) -> None:
        from retread.doors.net import asking
        from retread.doors.net import download as net

        net.fetch(asking.Wanted(project, file, sha256), partial, using=using, progress=progress)

    return downloaded(machine, file, sha256, fetch)


def downloaded(
    machine: Machine, file: str, sha256: Sha256, fetch: Callable[[Path, Settings, Progress], None]
) -> Path:
    """Return a pinned file from the store; ``fetch`` completes it when the store has it not."""

    def build(into: Path) -> None:
        import shutil

        from retread.doors.net import settings

        using = settings.settings(machine.environment)._replace(say=machine.console.say)
        partial = machine.store.partial(sha256)
        with machine.console.step(f"fetch {file}") as step:
            fetch(partial, using, lambda done, total: step.progress(done, total, "B"))
            shutil.move(partial, into / file)
            step.detail = size((into / file).stat().st_size)

    return machine.store.make(Kind.DOWNLOADS, sha256, build) / file
