"""The series file and the numbers of its patches when patches come, go and move. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from retread.errors import SeriesError, UsageError
from retread.queue import header
from retread.recipe.series import NAME
from retread.strict import near_miss

SERIES: Final = "series"
_SLUG: Final = 56
"""Characters of a name that is made of a subject: with its number and suffix it fits a column of a terminal."""


class Named(NamedTuple):
    """A patch of the new series: what it was called, if it was there, and what it is called."""

    was: str
    name: str


def read(files: Mapping[str, bytes]) -> str:
    """Return the series file of a folder."""
    return files[SERIES].decode("utf-8", "surrogateescape")


def written(text: str) -> bytes:
    """Return a series file's bytes."""
    return text.encode("utf-8", "surrogateescape")


def names(text: str) -> list[str]:
    """Return the names that a series file lists."""
    return [name for name in (line.split("#", 1)[0].strip() for line in text.splitlines()) if name]


def numbered(order: Sequence[str], before: Sequence[str]) -> list[Named]:
    """Return the patches of ``order`` with their new names.

    They are numbered from 0001 when one came, went or moved; else every name stays as it is.
    """
    if list(order) == list(before):
        return [Named(name, name) for name in order]
    there = set(before)
    return [
        Named(name if name in there else "", f"{number:04}-{name[5:]}")
        for number, name in enumerate(order, start=1)
    ]


def relisted(text: str, patches: Sequence[Named], dropped: Mapping[str, str]) -> str:
    """Return a series file with other patches; comments stay with the patch that they stand above, or beside.

    Those above the first patch stay on top. ``dropped`` maps a name to the reason, which takes its place.
    """
    if [one.was for one in patches] == names(text) and all(one.was == one.name for one in patches):
        return text
    top, above, beside, end = _parsed(text, dropped)
    lines = list(top)
    for one in patches:
        lines += above.get(one.was, [])
        lines.append(one.name + beside.get(one.was, ""))
    return "".join(f"{line}\n" for line in [*lines, *end])


def _parsed(
    text: str, dropped: Mapping[str, str]
) -> tuple[list[str], dict[str, list[str]], dict[str, str], list[str]]:
    top: list[str] | None = None
    above: dict[str, list[str]] = {}
    beside: dict[str, str] = {}
    waiting: list[str] = []
    for line in text.splitlines():
        name = line.split("#", 1)[0].strip()
        if not name:
            waiting.append(line)
            continue
        if top is None:
            top, waiting = waiting, []
        if name in dropped:
            waiting = [*waiting, f"# {name[5:]} was dropped: {' '.join(dropped[name].split())}"]
            continue
        above[name], waiting = waiting, []
        beside[name] = line[line.index(name) + len(name) :].rstrip()
    return (waiting if top is None else top), above, beside, ([] if top is None else waiting)


def slug(subject: str) -> str:
    """Return a patch's name that is made of its subject, with number 0000."""
    words = re.sub(r"[^a-z0-9.]+", "-", subject.lower()).strip("-.")
    if len(words) > _SLUG:
        words = words[: _SLUG + 1].rpartition("-")[0] or words[:_SLUG]
    return f"0000-{words.strip('-.') or 'patch'}.patch"


def wanted(name: str, known: Iterable[str]) -> str:
    """Return the name of a new patch as it was typed: ``what-it-does``, or with number and suffix; it gets a number.

    UsageError for what is no name, and for one that is taken.
    """
    bare = re.sub(r"^[0-9]{4}-", "", name.removesuffix(".patch"))
    full = f"0000-{bare}.patch"
    if not NAME.fullmatch(full):
        raise UsageError(
            f"{name!r} is not a patch's name", hint="write it like what-it-does: a-z, 0-9, dot, dash"
        )
    taken = next((one for one in known if one[5:] == full[5:]), "")
    if taken:
        raise UsageError(f"the name {bare} is taken: {taken}", hint="choose another name")
    return full


def incoming(name: str, head: bytes, known: Iterable[str]) -> str:
    """Return the name of a patch that is taken in: the one that was typed, else one made of its subject."""
    if name:
        return wanted(name, known)
    made = slug(header.message(head).partition("\n")[0])
    return wanted(made[5:], known)


def found(typed: str, known: Sequence[str], *, recipe: str) -> str:
    """Return the patch that was typed: its number, its name, or its name without number or suffix; else UsageError."""
    bare = typed.removesuffix(".patch")
    fits = [
        one for one in known if bare in {one[:4], one.removesuffix(".patch"), one[5:].removesuffix(".patch")}
    ]
    fits = fits or [one for one in known if bare.isdigit() and int(bare) == int(one[:4])]
    if len(fits) == 1:
        return fits[0]
    if len(fits) > 1:
        raise UsageError(f"{typed!r} is more than one patch of {recipe}: {', '.join(fits)}")
    raise UsageError(
        f"{recipe} has no patch {typed!r}{near_miss(typed, known)}",
        hint=f"its patches are {', '.join(known) or 'none'}",
    )


def demand_distinct(wanted_names: Iterable[str]) -> None:
    """Raise SeriesError when two new patches would have one name."""
    seen: set[str] = set()
    for name in wanted_names:
        if name in seen:
            raise SeriesError(
                f"two patches would be called {name}", hint="give one another subject, or a name"
            )
        seen.add(name)
