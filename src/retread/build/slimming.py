"""A whole wheel for the GPUs of one fleet, made of another wheel alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from retread.arch import Arch
from retread.build import alone, slim
from retread.build.grafts import Grafted, Request, Slim
from retread.elf.facts import LibraryFacts
from retread.records import Record, Sha256
from retread.wheel.facts import WheelFacts

if TYPE_CHECKING:
    from retread.doors.console import Console

CHANNEL: Final = "slim"
"""How the local version begins where the wheel has none."""


class Change(Record, frozen=True, kw_only=True):
    """One library before and after; sizes are those of the file, installed."""

    before: int
    after: int
    lost: tuple[Arch, ...]
    """GPUs, of those that people ask about, that find less code than before."""
    jit: tuple[Arch, ...]
    """GPUs that had machine code, and compile PTX now."""
    whole: int
    """Modules of which nothing could be taken: of relocatable code, or outside of section .nv_fatbin."""


class Slimmed(Record, frozen=True, kw_only=True):
    """A wheel for fewer GPUs, where it lies, and what became of its libraries."""

    path: str
    sha256: Sha256
    before: int
    """Bytes of the old wheel."""
    size: int
    audit: str
    """Path of the audit's evidence."""
    driver: str
    """The CUDA release of the oldest driver that unpacks its code; empty: any that runs it."""
    libraries: dict[str, Change]
    left: dict[str, str]
    """Libraries that stay as they are -> why."""
    notes: tuple[str, ...]


def give(
    path: Path, out: Path, wish: Slim, *, local: str | None, limit: int = 0, console: Console
) -> Slimmed:
    """Write the wheel ``path`` with what ``wish`` keeps into the folder ``out``, and its audit beside it.

    ``local`` is its local version, by default ``slim.1``, or one that follows the wheel's own; ``limit`` how many bytes
    it may have, if it is not 0. Raises as ``slim.wanted`` and ``alone.make`` do; nothing is written then.
    """
    edit = alone.Edit(
        channel=CHANNEL,
        requests=lambda facts: _requests(facts, wish),
        title=lambda request: f"slim {request.member}",
        undone="can be made smaller",
        slim=wish,
        limit=limit,
    )
    made = alone.make(path, out, edit, local=local, console=console)
    before = made.base.libraries
    return Slimmed(
        path=str(made.path),
        sha256=made.report.sha256,
        before=made.base.size,
        size=made.report.size,
        audit=str(made.audit),
        driver=made.said.slim.driver if made.said.slim else "",
        libraries={
            name: _change(before[name], one, made.sizes[name], wish) for name, one in made.libraries.items()
        },
        left=made.left,
        notes=made.notes,
    )


def _change(before: LibraryFacts, made: Grafted, size: int, wish: Slim) -> Change:
    fate = slim.fate(before, made.facts, wish.keep)
    return Change(before=size, after=made.deflated.size, lost=fate.lost, jit=fate.jit, whole=made.whole)


def _requests(facts: WheelFacts, wish: Slim) -> list[Request]:
    return [Request(member=name, slim=wish) for name in slim.wanted(facts, wish)]
