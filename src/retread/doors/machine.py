"""The machine that a build runs on: its doors, and the pinned tools that it gets for itself and keeps in the store."""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
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


class Machine(NamedTuple):
    """The doors that a build goes through: the store, the terminal, the environment."""

    store: Store
    console: Console
    environment: Mapping[str, str]


@functools.cache
def code_digest() -> str:
    """Return a digest of that part of retread's own code that decides bytes: what it makes is void when it changes."""
    root, found = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(_programs(root)):
        content = path.read_bytes()
        found.update(f"{path.relative_to(root)}\n{len(content)}\n".encode() + content)
    return found.hexdigest()


def _programs(root: Path) -> Iterator[Path]:
    for one in map(root.joinpath, code.DECIDING):
        found = one.rglob("*") if one.is_dir() else (one,)
        yield from (path for path in found if code.decides(path.relative_to(root).as_posix()))


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
        from retread.doors.net import settings

        using = settings.settings(machine.environment)._replace(say=machine.console.say)
        partial = machine.store.partial(sha256)
        with machine.console.step(f"fetch {file}") as step:
            fetch(partial, using, lambda done, total: step.progress(done, total, "B"))
            shutil.move(partial, into / file)
            step.detail = size((into / file).stat().st_size)

    return machine.store.make(Kind.DOWNLOADS, sha256, build) / file
