"""Conflicts that a person solved once: three texts in, one out, kept by the texts' blob ids. Pure.

The key is the conflict alone, not the file around it, as in git's rerere: so it is found again in the next release,
where the file is another one. But nothing is merged: all three texts have to be the same, byte by byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from retread import strict
from retread.errors import SeriesError
from retread.recipe.proof import blob_id
from retread.records import Record

MARKER: Final = 61
"""Signs in a line that marks a conflict: no text has such lines of its own."""
_CONFLICT: Final = re.compile(
    rb"^<{%d} ours\r?\n(.*?)^\|{%d} base\r?\n(.*?)^={%d}\r?\n(.*?)^>{%d} theirs\r?\n" % ((MARKER,) * 4),
    re.MULTILINE | re.DOTALL,
)


class Key(NamedTuple):
    """The blob ids of a conflict's texts: the source's own, what the patch was made for, what the patch makes.

    Where one of the three has no such file, the texts are whole files, and that one's id is empty.
    """

    ours: str
    base: str
    theirs: str


class Resolution(Record, frozen=True, kw_only=True):
    """A conflict and what a person made of it, as it is kept."""

    schema: int
    ours: str
    base: str
    theirs: str
    path: str
    """Where it was solved; it counts elsewhere too."""
    patch: str
    result: str | None
    """The text that took their place; null where the file went."""

    @property
    def key(self) -> Key:
        """By what it is found."""
        return Key(self.ours, self.base, self.theirs)


Solved = Mapping[Key, bytes | None]
"""What was made of conflicts; None where the file went."""


class Merged(NamedTuple):
    """A file merged by git: what stands between the conflicts, one piece more than conflicts, and their keys."""

    between: tuple[bytes, ...]
    conflicts: tuple[Key, ...]


def read(files: Mapping[str, bytes]) -> dict[Key, bytes | None]:
    """Return what is known, of a folder with one file for each resolution; SeriesError for what is none."""
    found: dict[Key, bytes | None] = {}
    for name, data in files.items():
        try:
            one = strict.decoded(data, Resolution)
        except msgspec.DecodeError as error:
            raise SeriesError(
                f"resolutions/{name}: {error}", hint="remove it: the conflict is asked for again"
            ) from None
        found[one.key] = None if one.result is None else one.result.encode()
    return found


def parted(text: bytes) -> Merged:
    """Take apart what ``git merge-file --diff3`` wrote with markers of this length."""
    parts = _CONFLICT.split(text)
    keys = (Key(*map(blob_id, parts[at : at + 3])) for at in range(1, len(parts), 4))
    return Merged(tuple(parts[::4]), tuple(keys))


def applied(merged: Merged, known: Solved) -> bytes | None:
    """Return the file with every conflict solved as before; None when one is not known."""
    texts = [text for key in merged.conflicts if (text := known.get(key)) is not None]
    return _joined(merged.between, texts) if len(texts) == len(merged.conflicts) else None


def learned(merged: Merged, final: bytes) -> dict[Key, bytes]:
    """Return what was made of each conflict in the file as it became.

    Nothing when the file was changed elsewhere too, or when it cannot be said where a conflict's text ends: what is
    taken again has to make this very file.
    """
    first, last = merged.between[0], merged.between[-1]
    if not final.startswith(first) or not final[len(first) :].endswith(last):
        return {}
    rest = final[len(first) : len(final) - len(last)]
    texts = []
    for between in merged.between[1:-1]:
        text, found, after = rest.partition(between)
        if not found or between in after:
            return {}
        texts.append(text)
        rest = after
    texts.append(rest)
    pairs = list(zip(merged.conflicts, texts, strict=True)) if merged.conflicts else []
    known = dict(pairs)
    return known if all(known[key] == text for key, text in pairs) and _is_whole(texts) else {}


def files(known: Solved, path: str, patch: str) -> dict[str, bytes]:
    """Return name -> bytes of the files that keep resolutions; those that are no text are left out."""
    made = {}
    for key, result in known.items():
        try:
            text = None if result is None else result.decode()
        except UnicodeDecodeError:
            continue
        one = Resolution(schema=1, **key._asdict(), path=path, patch=patch, result=text)
        name = "-".join(identity[:12] or "none" for identity in key)
        made[f"{name}.json"] = msgspec.json.format(msgspec.json.encode(one)) + b"\n"
    return made


def _is_whole(texts: Iterable[bytes]) -> bool:
    """Say whether each text is of whole lines, so that it fits between others."""
    return all(not text or text.endswith(b"\n") for text in texts)


def _joined(between: Sequence[bytes], texts: Sequence[bytes]) -> bytes:
    return between[0] + b"".join(text + after for text, after in zip(texts, between[1:], strict=True))
