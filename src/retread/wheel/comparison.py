"""What differs between two wheels, and whether it can change what they do.

A wheel that is built again seldom has the same bytes: archives, build ids, paths and tool names get in the way. So
libraries are compared by their parts (``binary.difference``), and everything else by its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from retread import limits, strict
from retread.binary import difference
from retread.elf.difference import first_difference, listed, sizes, union
from retread.errors import UNREADABLE, AuditError, first
from retread.records import Record, Sha256
from retread.wheel import contents
from retread.wheel.members import Verified
from retread.wheel.statement import STATEMENT
from retread.wheel.wheelfile import Wheel

_ABSENT: Final = object()


class Tier(StrEnum):
    """How much two wheels have in common, from best to worst."""

    IDENTICAL = "identical"
    SAME_CONTENTS = "same contents"
    SAME_CODE = "same code"
    DIFFERENT = "different"

    @property
    def meaning(self) -> str:
        """What the tier says, in one line for people."""
        return _MEANINGS[self]


_MEANINGS: Final = {
    Tier.IDENTICAL: "the same bytes",
    Tier.SAME_CONTENTS: "every file has the same bytes; only the archives around them differ",
    Tier.SAME_CODE: "libraries differ in parts that do not run, and nothing else does",
    Tier.DIFFERENT: "what is installed can behave differently",
}


class What(StrEnum):
    """What kind of thing differs."""

    FIRST = "only in first"
    SECOND = "only in second"
    CONTENT = "content"
    SECTION = "section"
    SYMBOL = "symbol"
    CUBIN = "cubin"
    ARCHIVE = "archive"


class Difference(Record, frozen=True, kw_only=True):
    """One difference; ``runs`` says whether it can change what the wheel does."""

    member: str
    """Empty for the archive itself."""
    kind: What
    detail: str
    runs: bool


class Side(Record, frozen=True, kw_only=True):
    """One of the two wheels."""

    file: str
    sha256: Sha256


class Comparison(Record, frozen=True, kw_only=True):
    """Evidence: what the wheels with these sha256 have in common, and every difference, by member."""

    schema: int
    first: Side
    second: Side
    tier: Tier
    differences: tuple[Difference, ...]


def compare(first: Path, second: Path, scratch: Path) -> Comparison:
    """Return what differs between two wheels; ``scratch`` is an empty folder on a disk with room for two members.

    Raises WheelError when one of them is not a sound wheel.
    """
    with Wheel(first) as one, Wheel(second) as two:
        left = one.verify()
        right = two.verify(left.members)
        found: tuple[Difference, ...] = ()
        if left.sha256 != right.sha256:
            found = tuple(_members((one, left), (two, right), scratch)) or tuple(_archives(left, right))
    return Comparison(
        schema=1,
        first=Side(file=first.name, sha256=left.sha256),
        second=Side(file=second.name, sha256=right.sha256),
        tier=_tier(found),
        differences=found,
    )


def _tier(found: Sequence[Difference]) -> Tier:
    if any(one.runs for one in found):
        return Tier.DIFFERENT
    if any(one.kind is not What.ARCHIVE for one in found):
        return Tier.SAME_CODE
    return Tier.SAME_CONTENTS if found else Tier.IDENTICAL


def _archives(one: Verified, two: Verified) -> Iterator[Difference]:
    """Yield how archives of the same contents differ."""
    right = {member.name: member for member in two.members}
    pairs = [(member, right[member.name]) for member in one.members]
    packed = [a.name for a, b in pairs if (a.method, a.raw_sha256) != (b.method, b.raw_sha256)]
    modes = [a.name for a, b in pairs if a.executable != b.executable]
    found = [f"compression of {listed(packed)}"] if packed else []
    found += [f"executable bit of {listed(modes)}"] if modes else []
    found += ["order"] if [a.name for a in one.members] != [b.name for b in two.members] else []
    for detail in found or ["times, attributes or folders"]:
        yield Difference(member="", kind=What.ARCHIVE, detail=detail, runs=False)


def _members(one: tuple[Wheel, Verified], two: tuple[Wheel, Verified], scratch: Path) -> list[Difference]:
    """Return how the contents differ; RECORD follows from the others and is named only when it is alone."""
    left = {member.name: member.sha256 for member in one[1].members}
    right = {member.name: member.sha256 for member in two[1].members}
    found: list[Difference] = []
    for name in sorted(left.keys() | right.keys()):
        if name not in left or name not in right:
            kind = What.FIRST if name in left else What.SECOND
            found.append(Difference(member=name, kind=kind, detail="", runs=True))
        elif left[name] != right[name]:
            found += _member(one[0], two[0], name, scratch)
    records = {f"{wheel.dist_info}/RECORD" for wheel, _ in (one, two)}
    return [each for each in found if each.member not in records] or found


def _member(one: Wheel, two: Wheel, name: str, scratch: Path) -> list[Difference]:
    """Return how one member that both have differs."""
    paths = [
        contents.unpack(wheel, wheel.archive.by_name[name], scratch / side)
        for wheel, side in ((one, "first"), (two, "second"))
    ]
    try:
        if name == f"{one.dist_info}/{STATEMENT}":
            return _statements(name, *paths)
        if difference.comparable(*paths):
            return _libraries(name, *paths)
        return [Difference(member=name, kind=What.CONTENT, detail=_content(*paths), runs=True)]
    finally:
        for path in paths:
            path.unlink()


def _content(first: Path, second: Path) -> str:
    """Say where two files differ: the line for text, the byte for the rest."""
    lengths = sizes(first.stat().st_size, second.stat().st_size)
    if max(first.stat().st_size, second.stat().st_size) > limits.COMPARED:
        return lengths
    one, two = first.read_bytes(), second.read_bytes()
    if _is_text(one) and _is_text(two):
        lines = first_difference(one.splitlines(keepends=True), two.splitlines(keepends=True))
        return f"from line {lines + 1} on"
    return f"{lengths}, differ from byte {first_difference(one, two)}"


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode("utf-8")
    except UnicodeDecodeError:
        return False


def _statements(member: str, first: Path, second: Path) -> list[Difference]:
    """Return which values of two retread.json differ."""
    try:
        one, two = (strict.json(path.read_bytes()) for path in (first, second))
    except ValueError:
        return [Difference(member=member, kind=What.CONTENT, detail=_content(first, second), runs=True)]
    keys = list(_keys(one, two, ""))
    detail = listed(keys) if keys else "the same values, written in another way"
    return [Difference(member=member, kind=What.CONTENT, detail=detail, runs=bool(keys))]


def _keys(one: Any, two: Any, path: str) -> Iterator[str]:
    """Yield the path of every value that differs: ``series[0].sha256``."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in union(one, two):
            step = f".{key}" if key.isidentifier() else f'["{key}"]'
            yield from _keys(one.get(key, _ABSENT), two.get(key, _ABSENT), path + step)
    elif isinstance(one, list) and isinstance(two, list):
        for index, (a, b) in enumerate(zip_longest(one, two, fillvalue=_ABSENT)):
            yield from _keys(a, b, f"{path}[{index}]")
    elif type(one) is not type(two) or one != two:
        yield path.removeprefix(".")


def _libraries(member: str, first: Path, second: Path) -> list[Difference]:
    """Return how two libraries differ; when they cannot be read as such, their content does."""
    try:
        found = difference.compare(first, second)
    except UNREADABLE:
        return [Difference(member=member, kind=What.CONTENT, detail=_content(first, second), runs=True)]
    return [Difference(member=member, kind=What(one.part), detail=one.detail, runs=one.runs) for one in found]


def demand_same(found: Comparison, why: str, *, hint: str = "") -> None:
    """Raise AuditError, with ``why`` and what matters, when what is installed of the two can behave differently."""
    if found.tier is Tier.DIFFERENT:
        told = [
            ": ".join(filter(None, (one.member, one.kind, one.detail)))
            for one in found.differences
            if one.runs
        ]
        raise AuditError(f"{found.first.file}: {why}", faults=first(told), hint=hint)
