"""Stage *base*: the proof that a base wheel comes from the pin.

Its sha256 is the recipe's (the download saw to that), every hash in RECORD is right, and every file that it shares
with the pinned source is identical; a text of a wheel for Windows may have the line ends that git writes there. What
its build generated is allowed by name only.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from retread import strict
from retread.doors.store import Kind
from retread.errors import BaseError, first
from retread.lanes.lane import Origin, ProvenBase
from retread.recipe import lfs
from retread.recipe.model import Recipe
from retread.recipe.native import matches
from retread.source import ends
from retread.source.records import SourceTree
from retread.units import counted

if TYPE_CHECKING:
    from retread.wheel.wheelfile import Wheel

_FACTS = "base.json"


def prove(
    wheel: Path,
    source: SourceTree,
    into: Path,
    *,
    recipe: Recipe,
    generated: tuple[str, ...],
    waived: Collection[str] = (),
) -> None:
    """Prove ``wheel`` against ``source`` and leave its facts in ``into``; BaseError lists every file that differs.

    ``recipe`` says its version, and where in the source its files lie, ``generated`` the globs of files that its build
    made, ``waived`` rules that it may break. A lane's key of the proof holds all of it.
    """
    from retread.wheel import contents
    from retread.wheel.wheelfile import Wheel

    facts, verified = contents.examine(wheel, into, waived=waived)
    with Wheel(wheel, waived=waived) as opened:
        faults, made, proven, crlf = _compare(opened, generated, source, recipe, windows=facts.windows)
    if facts.version != recipe.version:
        faults.insert(0, f"its version is {facts.version}, the recipe's {recipe.version}")
    if faults:
        raise BaseError(
            f"{wheel.name} does not come from {source.manifest.commit[:12] or 'the source'}: "
            f"{counted(len(faults), 'fault')}",
            faults=first(faults),
            hint="pin the wheel of this very commit, or name files that its build wrote under 'generated'",
        )
    base = ProvenBase(verified=verified, facts=facts, proven=proven, generated=tuple(made), crlf=crlf)
    (into / _FACTS).write_bytes(msgspec.json.encode(base))


def load(entry: Path) -> ProvenBase:
    """Return what lies in a finished store entry."""
    return strict.decoded((entry / _FACTS).read_bytes(), ProvenBase)


def _compare(
    wheel: Wheel, allowed: tuple[str, ...], source: SourceTree, recipe: Recipe, *, windows: bool
) -> tuple[list[str], list[str], int, bool]:
    """Return (faults, generated files, number of proven files, whether some have the line ends of Windows)."""
    faults, generated, proven, crlf = [], [], 0, False
    files = source.manifest.files
    for entry in wheel.files:
        if entry.name.startswith(f"{wheel.dist_info}/"):
            continue
        if matches(entry.name, allowed):
            generated.append(entry.name)
        elif (path := recipe.in_source(entry.name)) not in files:
            faults.append(f"{entry.name}: not in the pinned source")
        else:
            content = wheel.archive.read(entry.name)
            plain = ends.stored(content) if windows else content
            if lfs.is_file(content, files[path]):
                proven += 1
            elif lfs.is_file(plain, files[path]):
                proven, crlf = proven + 1, True
            else:
                faults.append(f"{entry.name}: {_difference(content, source.root / path)}")
    return faults, generated, proven, crlf


def _difference(data: bytes, path: Path) -> str:
    """Return how a file of the wheel is not the source's, or not the one that the source's pointer stands for."""
    with path.open("rb") as stream:
        pointer = lfs.parse(stream.read(lfs.LARGEST + 1))
    if pointer is None:
        return "differs from the pinned source"
    return f"the source's LFS pointer says {pointer}; the wheel's file has {lfs.of(data)}"


def proven(origin: Origin, tree: SourceTree) -> ProvenBase:
    """Return the proof of a base wheel against ``tree``, from the store if it is there."""
    goal = origin.goal

    def build(into: Path) -> None:
        wheel = origin.wheel()
        with goal.machine.console.step("prove the base wheel") as step:
            prove(
                wheel,
                tree,
                into,
                recipe=goal.recipe,
                generated=goal.target.generated,
                waived=goal.waived,
            )
            step.detail = f"{load(into).proven} files are the source's"

    return load(goal.machine.store.make(Kind.BASES, origin.key, build))
