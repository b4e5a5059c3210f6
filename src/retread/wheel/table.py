"""What patched wheels hold, a row for each library, from what they say of themselves. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from retread.arch import Arch
from retread.errors import WheelError
from retread.records import Record
from retread.wheel.facts import WheelFacts


class Row(Record, frozen=True, kw_only=True):
    """One library of a patched wheel; architectures are those that every module has."""

    recipe: str
    target: str
    python: str
    """The Python of the wheel's name: ``py39``."""
    torch: str
    """The versions that it is promised for: ``>=2.10``; empty for a wheel that is made for none."""
    library: str
    exempt: bool
    modules: int
    before: tuple[Arch, ...]
    """Native code of the official wheel."""
    after: tuple[Arch, ...]
    ptx: tuple[Arch, ...]


def rows(facts: WheelFacts) -> list[Row]:
    """Return the rows of a wheel; WheelError for one that says nothing of itself."""
    said = facts.statement
    if said is None:
        raise WheelError(f"{facts.file} was not made by retread", hint="'retread inspect' shows any wheel")
    exempt = {one.library for one in said.promise.exempt}
    return [
        Row(
            recipe=said.recipe,
            target=said.target,
            python=facts.file.split("-")[-3],
            torch=said.promise.torch,
            library=library,
            exempt=library in exempt,
            modules=found.modules,
            before=found.before,
            after=found.after,
            ptx=found.ptx,
        )
        for library, found in said.libraries.items()
    ]


def markdown(found: Iterable[Row]) -> str:
    """Return the rows as a Markdown table; what was added is bold."""
    head = ["recipe, target", "Python", "torch", "library", "modules", "native before", "native after", "PTX"]
    lines: list[Sequence[str]] = [head, ["---"] * len(head), *map(_cells, found)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: Row) -> Sequence[str]:
    return (
        f"{row.recipe} {row.target}",
        row.python,
        f"torch{row.torch}" if row.torch else "none",
        f"`{row.library}`" + (" (exempt)" if row.exempt else ""),
        str(row.modules),
        " ".join(row.before),
        " ".join(one if one in row.before else f"**{one}**" for one in row.after),
        " ".join(row.ptx) or "none",
    )
