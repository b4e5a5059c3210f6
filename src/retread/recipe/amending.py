"""A recipe's text with single values changed, so that comments, order and the rest of the lines stay. Pure.

A place is a table's heading (``targets.cu128``; nothing for the top), which table of that name it is, and a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from retread import strict
from retread.recipe import writing

Value = str | int | tuple[str, ...] | dict[str, Any]


class Place(NamedTuple):
    """Where a value stands."""

    table: str
    key: str
    at: int = 0
    """Of a list of tables: which one."""


def amended(text: str, place: Place, value: Value | None) -> str:
    """Return the text with another value at a place, or without that key; LookupError where it cannot stand.

    What is one table may be written as a key with a value in braces.
    """
    chunks = _chunks(text)
    inner = f"{place.table}.{place.key}"
    if any(_heading(one) == inner for one in chunks):
        text = without(text, inner)
        return with_table(text, inner, value, below=place.table) if isinstance(value, dict) else text
    if not any(_heading(one) == place.table for one in chunks):
        return _in_braces(text, chunks, place, value)
    at = _found(chunks, place.table, place.at)
    body = chunks[at].rstrip("\n")
    lines = body.splitlines()
    first, last = _span(lines, place.key)
    if value is not None:
        lines[first:last] = _written(place.key, value, lines[first:last])
    else:
        del lines[_above(lines, first) : last]
    if place.table and not any(True for _ in _keys(lines)):
        return without(text, place.table, place.at)
    chunks[at] = "\n".join(lines) + chunks[at][len(body) :]
    return "".join(chunks)


def _in_braces(text: str, chunks: Sequence[str], place: Place, value: Value | None) -> str:
    """Return the text with another value in a table that is written as a key, or is not there yet."""
    outer, _, key = place.table.rpartition(".")
    lines = chunks[_found(chunks, outer, 0)].splitlines()
    held = next((found[key] for _, _, found in _keys(lines) if key in found), None)
    if held is None and value is not None:
        return with_table(text, place.table, {place.key: value}, below=outer)
    if not isinstance(held, dict):
        raise LookupError(place.table)
    left = {**held, place.key: value}
    made = {
        name: tuple(one) if isinstance(one, list) else one for name, one in left.items() if one is not None
    }
    return amended(text, Place(outer, key), made or None)


def without(text: str, table: str, index: int = 0) -> str:
    """Return the text without a table and the comment right above it; LookupError where there is none."""
    chunks = _chunks(text)
    at = _found(chunks, table, index)
    end = re.search(r"(?<=\n\n)(?:#.*\n)+\Z", chunks[at])
    kept = end[0] if end else ""  # it is about the next table
    before = re.sub(r"(?<=\n\n)(?:#.*\n)+\Z", "", chunks[at - 1]) if at else ""
    chunks[at] = kept
    if at:
        chunks[at - 1] = before
    return "".join(chunks).rstrip("\n") + "\n"


def without_below(text: str, table: str) -> str:
    """Return the text without a table and all those below it, as far as there are any."""
    for heading in map(_heading, _chunks(text)):
        if f"{heading}.".startswith(f"{table}."):
            text = without(text, heading)
    return text


def renamed(text: str, table: str, name: str) -> str:
    """Return the text in which a table, and those below it, have another name."""
    return re.sub(rf"^(\[+){re.escape(table)}(?=[.\]])", rf"\g<1>{name}", text, flags=re.MULTILINE)


def with_table(text: str, table: str, values: Mapping[str, Value], *, below: str) -> str:
    """Return the text with one more table, behind the last one that is ``below`` or in it; in ``[ ]`` it is of a list.

    LookupError where there is none.
    """
    chunks = _chunks(text)
    inside = [at for at, one in enumerate(chunks) if (_heading(one) + ".").startswith(f"{below}.")]
    if not inside:
        raise LookupError(below)
    same = [at for at in inside if _heading(chunks[at]) == table.strip("[]")]
    at = (same or inside)[-1]
    made = [f"[{table}]", *(line for key, value in values.items() for line in writing.lines(key, value))]
    body = chunks[at].rstrip("\n")
    comment = re.search(r"\n\n(?:#.*\n?)+\Z", body)  # it is about the next table
    cut = comment.start() if comment else len(body)
    chunks[at] = body[:cut] + "\n\n" + "\n".join(made) + (chunks[at][cut:] if comment else "\n\n")
    return "".join(chunks).rstrip("\n") + "\n"


def _chunks(text: str) -> list[str]:
    """Return the top of a text, and each table with what stands below it."""
    return re.split(r"^(?=\[)", text, flags=re.MULTILINE)


def _heading(chunk: str) -> str:
    return re.sub(r"\s*(#.*)?$", "", chunk.partition("\n")[0]).strip("[]") if chunk.startswith("[") else ""


def _found(chunks: Sequence[str], table: str, index: int) -> int:
    there = [at for at, one in enumerate(chunks) if _heading(one) == table]
    if index >= len(there):
        raise LookupError(f"{table}[{index}]")
    return there[index]


def _span(lines: Sequence[str], key: str) -> tuple[int, int]:
    """Return the first line of a key's value, and the one behind it; both the end of the keys for one that is new."""
    end = 1 if lines and lines[0].startswith("[") else 0
    for first, last, keys in _keys(lines):
        if key in keys:
            return first, last
        end = last
    return end, end


def _keys(lines: Sequence[str]) -> Iterator[tuple[int, int, Mapping[str, object]]]:
    """Yield of each key of a table its lines, and the key with its value."""
    first = 1 if lines and lines[0].startswith("[") else 0
    while first < len(lines):
        last = first + 1
        if lines[first].strip() and not lines[first].lstrip().startswith("#"):
            while last < len(lines) and _read(lines[first:last]) is None:
                last += 1
            yield first, last, _read(lines[first:last]) or {}
        first = last


def _read(lines: Sequence[str]) -> Mapping[str, object] | None:
    try:
        return strict.table("\n".join(lines))
    except ValueError:
        return None


def _above(lines: Sequence[str], first: int) -> int:
    """Return where the comment right above a line begins."""
    while first and lines[first - 1].startswith("#"):
        first -= 1
    return first


def _written(key: str, value: Value, old: Sequence[str]) -> list[str]:
    """Return the lines of a key; of a list with a line for each member, the lines of those stay that are in it."""
    if isinstance(value, tuple) and len(old) > 1:
        made = [old[0], *_members(value, old[1:-1]), old[-1]]
        found = (_read(made) or {}).get(key)
        if isinstance(found, list) and sorted(found) == sorted(value):
            return made
    comment = re.search(r"\s+#[^\"']*$", old[0]) if len(old) == 1 else None
    written = writing.lines(key, value)
    return [*written[:-1], written[-1] + (comment[0] if comment else "")]


def _members(value: tuple[str, ...], old: Sequence[str]) -> Iterator[str]:
    there: set[str] = set()
    for line in old:
        table = _read(["x = [", line, "]"]) or {}
        held = table.get("x")
        some = [one for one in held if isinstance(one, str)] if isinstance(held, list) else []
        if not some or any(one in value for one in some):
            there.update(some)
            yield line
    yield from (f"  {writing.shown(one)}," for one in value if one not in there)
