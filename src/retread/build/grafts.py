"""What is to become of a library and what became of it, as records: nothing here reads or writes one.

Who takes a library from the store, as most builds do, imports this and not what makes it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from retread import arch, strict
from retread.arch import Arch
from retread.elf.facts import LibraryFacts, Mode, counted
from retread.recipe.model import Target
from retread.records import Record
from retread.wheel.members import Deflated, Member, Verified

if TYPE_CHECKING:
    from retread.wheel.contents import Known
    from retread.wheel.zipwriter import Written

FACTS: Final = "library.json"
CONTENT: Final = "library.deflate"
"""What lies in a library's store entry."""


class Slim(Record, frozen=True, kw_only=True):
    """What a library is to keep."""

    keep: tuple[Arch, ...]
    """The GPUs that it is to serve as before, by capability."""
    drop_ptx: bool
    """Whether PTX that none of them needs goes, too."""
    compress: Mode | None
    """How all images are packed anew; None leaves them as they are."""


class Request(Record, frozen=True, kw_only=True):
    """What one library of the base wheel is to get; () and None leave things as they are."""

    member: str
    architectures: tuple[Arch, ...] = ()
    run_path: tuple[str, ...] | None = None
    slim: Slim | None = None
    """What of it is to stay, at last."""


class Proof(Record, frozen=True, kw_only=True):
    """Whether a library's machine code comes out of its own PTX again, byte for byte, and by which ptxas."""

    reproduced: bool | None
    """None when no module has both for one architecture."""
    cuda: str = ""
    """The release that made that machine code, as it tells; nothing when it does not."""
    by: str = ""
    """What tells it."""
    ptxas: str = ""
    """What the ptxas says of itself that made it again, or was the last to be tried."""


class Grafted(Record, frozen=True, kw_only=True):
    """A library that is ready for the wheel: its facts, and its content as deflated bytes."""

    facts: LibraryFacts
    deflated: Deflated
    proof: Proof
    driver: str = ""
    """The CUDA release of the oldest driver that unpacks the images of a slim one; nothing where each does."""
    whole: int = 0
    """How many modules of a slim one nothing could be taken from, though they run something."""


def of_target(target: Target) -> Slim | None:
    """Return what a recipe's target asks for; None where that is nothing. PTX goes where it promises none."""
    if not target.slim:
        return None
    mode = Mode(target.compress) if target.compress else None
    return Slim(keep=target.slim, drop_ptx=not target.ptx, compress=mode)


def wanted(facts: LibraryFacts, architectures: Sequence[Arch]) -> tuple[Arch, ...]:
    """Return the architectures that at least one module lacks, but for modules that run nothing."""
    modules = counted(facts.modules)
    lacking = {one for module in modules for one in architectures if one not in module.sass}
    return tuple(sorted(lacking, key=arch.sort_key))


def load(entry: Path) -> tuple[Grafted, Path]:
    """Return what lies in a finished store entry, and the file of deflated bytes."""
    return strict.decoded((entry / FACTS).read_bytes(), Grafted), entry / CONTENT


def known(
    verified: Verified,
    libraries: Mapping[str, LibraryFacts],
    grafted: Mapping[str, Grafted],
    written: Written,
) -> Known:
    """Return what an audit of what was ``written`` need not do again.

    That is to inflate a wheel's members and the libraries that were made from it, and to read what was just written.
    """
    from retread.wheel.contents import Known

    raw = {member.name: member.raw_sha256 for member in verified.members}
    read = {raw[name]: facts for name, facts in libraries.items()}
    made = []
    for name, one in grafted.items():
        deflated = one.deflated
        read[deflated.raw_sha256] = one.facts
        made.append(
            Member(
                name=name,
                method=zlib.DEFLATED,
                crc=deflated.crc,
                size=deflated.size,
                compressed_size=deflated.compressed_size,
                sha256=deflated.sha256,
                raw_sha256=deflated.raw_sha256,
                executable=True,
            )
        )
    return Known(members=(*verified.members, *made), libraries=read, scan=written.scan)
