"""Stage *base*: the proof that a base wheel comes from the pin.

Its sha256 is the recipe's (the download saw to that), every hash in RECORD is right, and every file that it shares
with the pinned source is identical. What its build generated is allowed by name only.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from retread import strict
from retread.doors.store import Kind
from retread.errors import BaseError, first
from retread.lanes.lane import Origin, ProvenBase
from retread.recipe import lfs
from retread.recipe.model import Recipe
from retread.recipe.native import matches
from retread.source.records import SourceTree
from retread.wheel import contents
from retread.wheel.wheelfile import Wheel

_FACTS = "base.json"


def prove(wheel: Path, source: SourceTree, into: Path, *, recipe: Recipe, generated: tuple[str, ...]) -> None:
    """Prove ``wheel`` against ``source`` and leave its facts in ``into``; BaseError lists every file that differs.

    ``recipe`` says its version, and where in the source its files lie, ``generated`` the globs of files that its build
    made. A lane's key of the proof holds all of it.
    """
    facts, verified = contents.examine(wheel, into)
    with Wheel(wheel) as opened:
        faults, made, proven = _compare(opened, generated, source, recipe)
    if facts.version != recipe.version:
        faults.insert(0, f"its version is {facts.version}, the recipe's {recipe.version}")
    if faults:
        raise BaseError(
            f"{wheel.name} does not come from {source.manifest.commit[:12] or 'the source'}: {len(faults)} fault(s)",
            faults=first(faults),
            hint="pin the wheel of this very commit, or name files that its build wrote under 'generated'",
        )
    base = ProvenBase(verified=verified, libraries=facts.libraries, proven=proven, generated=tuple(made))
    (into / _FACTS).write_bytes(msgspec.json.encode(base))


def load(entry: Path) -> ProvenBase:
    """Return what lies in a finished store entry."""
    return strict.decoded((entry / _FACTS).read_bytes(), ProvenBase)


def _compare(
    wheel: Wheel, allowed: tuple[str, ...], source: SourceTree, recipe: Recipe
) -> tuple[list[str], list[str], int]:
    """Return (faults, generated files, number of proven files)."""
    faults, generated, proven = [], [], 0
    files = source.manifest.files
    for entry in wheel.files:
        if entry.name.startswith(f"{wheel.dist_info}/"):
            continue
        if matches(entry.name, allowed):
            generated.append(entry.name)
        elif (path := recipe.in_source(entry.name)) not in files:
            faults.append(f"{entry.name}: not in the pinned source")
        elif not lfs.is_file(data := wheel.archive.read(entry.name), files[path]):
            faults.append(f"{entry.name}: {_difference(data, source.root / path)}")
        else:
            proven += 1
    return faults, generated, proven


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
            prove(wheel, tree, into, recipe=goal.recipe, generated=goal.target.generated)
            step.detail = f"{load(into).proven} files are the source's"

    return load(goal.machine.store.make(Kind.BASES, origin.key, build))
