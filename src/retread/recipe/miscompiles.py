"""Known miscompiles: which releases of CUDA gave wrong code for which architectures, by whose report.

The list is part of retread. Plans, grafts and audits ask it, each of what it knows: a target of its toolchain, a graft
of its ptxas, an audit of what machine code says of itself. Pure; ``workspace`` reads the list.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Annotated

import msgspec

from retread import strict
from retread.arch import Arch
from retread.errors import PlanError, RecipeError
from retread.fields import Architecture, Table, Text
from retread.recipe.waiver import MISCOMPILE, key
from retread.strict import count, toml

Release = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9]{1,2}\.[0-9]{1,2}(\.[0-9]{1,4})?$(?!\n)",
        description="a version of ptxas, like 13.2 or 13.2.51",
    ),
]


class Miscompile(Table, frozen=True, kw_only=True):
    """Releases whose machine code for some architectures was wrong."""

    name: Text
    """The rule that it breaks: ``miscompile-`` and a word."""
    since: Release
    """The first that is known to be wrong."""
    fixed: Release | None = None
    """The first that is right again."""
    architectures: tuple[Architecture, ...] = ()
    """For which it is wrong; all of them when there are none."""
    what: Text
    """What was wrong."""
    instead: Text
    """What to do."""
    source: tuple[Text, ...]
    """Where it was reported."""


class _File(Table, frozen=True, kw_only=True):
    entry: tuple[Miscompile, ...]


def parse(data: bytes) -> tuple[Miscompile, ...]:
    """Return a list of known miscompiles; RecipeError lists every fault with its key path."""
    found, faults = strict.read(_File, toml(data, "miscompiles"))
    for index, one in enumerate(found.entry if found else ()):
        if not one.name.startswith(MISCOMPILE):
            faults.append(f"entry[{index}].name: {one.name!r} does not begin with {MISCOMPILE!r}")
        if not one.source:
            faults.append(f"entry[{index}].source: none; who reported it?")
        if one.fixed and _parts(one.fixed) <= _parts(one.since):
            faults.append(f"entry[{index}].fixed: {one.fixed} does not follow {one.since}")
    if found is None or faults:
        raise RecipeError(f"the list of known miscompiles has {count(faults)}", faults=faults)
    return found.entry


def hits(
    denied: Iterable[Miscompile], cuda: str, architectures: Iterable[Arch]
) -> Iterator[tuple[Miscompile, tuple[Arch, ...]]]:
    """Yield the entries that code of a release for some architectures is of, each with these of them.

    ``cuda`` is a release, or a build of one where that is known; a release counts when all of its builds are of it.
    """
    wanted = tuple(architectures)
    for one in denied:
        found = tuple(each for each in wanted if not one.architectures or each in one.architectures)
        if found and _covers(one, cuda):
            yield one, found


def told(one: Miscompile, cuda: str, architectures: Iterable[Arch]) -> str:
    """Return an entry's text for code of a release for some architectures."""
    return f"{' '.join(architectures)} by CUDA {cuda}: {one.what} ({', '.join(one.source)}); {one.instead}"


def demand_none(
    denied: Iterable[Miscompile],
    cuda: str,
    architectures: Collection[Arch],
    *,
    what: str,
    waived: Mapping[str, str] | None = None,
    target: str = "",
) -> None:
    """Raise PlanError when code of a release for these architectures is known to be wrong, and nobody waived it.

    ``what`` is made, for messages; ``target`` is the recipe's, if there is one.
    """
    found = [one for one in hits(denied, cuda, architectures) if one[0].name not in (waived or {})]
    if found:
        first = found[0][0].name
        raise PlanError(
            f"{what}: CUDA {cuda} is known to miscompile",
            faults=[f"{one.name}: {told(one, cuda, some)}" for one, some in found],
            hint=f'where it does not matter, say why: {key(target, first)} = "reason"'
            if target
            else "a recipe can waive it with a reason",
        )


def _covers(one: Miscompile, cuda: str) -> bool:
    """Say whether all that a version can be lies between the first wrong and the first right one."""
    low = _parts(cuda)
    high = (*low, *(9999,) * (3 - len(low)))
    return _parts(one.since) <= low and (one.fixed is None or high < _parts(one.fixed))


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
