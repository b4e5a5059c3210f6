"""Stage *base*: the proof that a base wheel comes from the pin.

Its sha256 is the recipe's (the download saw to that), every hash in RECORD is right, and every file that it shares
with the pinned source is identical. What its build generated is allowed by name only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from retread.errors import BaseError
from retread.recipe.model import Recipe, Target, matches
from retread.recipe.proof import blob_id
from retread.records import LibraryFacts, Record, SourceTree
from retread.wheel import contents
from retread.wheel.wheelfile import Verified, Wheel

_FACTS = "base.json"
_SHOWN = 20


class ProvenBase(Record, frozen=True, kw_only=True):
    """A base wheel that is proven, and what it holds."""

    verified: Verified
    libraries: dict[str, LibraryFacts]
    proven: int
    """How many of its files are identical to the pinned source's."""
    generated: tuple[str, ...]
    """The others, each allowed by name."""


def prove(recipe: Recipe, target: Target, wheel: Path, source: SourceTree, into: Path) -> None:
    """Prove ``wheel`` against ``source`` and leave its facts in ``into``; BaseError lists every file that differs."""
    facts, verified = contents.examine(wheel, into)
    with Wheel(wheel) as opened:
        faults, generated, proven = _compare(opened, target, source.manifest.files)
    if facts.version != recipe.version:
        faults.insert(0, f"its version is {facts.version}, the recipe's {recipe.version}")
    if faults:
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise BaseError(
            f"{wheel.name} does not come from {recipe.pin.commit[:12]}: {len(faults)} fault(s)",
            faults=faults[:_SHOWN] + more,
            hint="pin the wheel of this very commit, or name files that its build wrote under 'generated'",
        )
    base = ProvenBase(verified=verified, libraries=facts.libraries, proven=proven, generated=tuple(generated))
    (into / _FACTS).write_bytes(msgspec.json.encode(base))


def load(entry: Path) -> ProvenBase:
    """Return what lies in a finished store entry."""
    return msgspec.json.decode((entry / _FACTS).read_bytes(), type=ProvenBase)


def _compare(wheel: Wheel, target: Target, files: Mapping[str, str]) -> tuple[list[str], list[str], int]:
    """Return (faults, generated files, number of proven files)."""
    faults, generated, proven = [], [], 0
    for entry in wheel.files:
        if entry.name.startswith(f"{wheel.dist_info}/"):
            continue
        if matches(entry.name, target.generated):
            generated.append(entry.name)
        elif entry.name not in files:
            faults.append(f"{entry.name}: not in the pinned source")
        elif blob_id(wheel.archive.read(entry.name)) != files[entry.name]:
            faults.append(f"{entry.name}: differs from the pinned source")
        else:
            proven += 1
    return faults, generated, proven
