"""Headers of patches as messages of commits, and back, word for word. Pure.

A commit's first line is the subject alone, so that git's listings stay short; below it stands whatever the header says
besides. A header whose message nobody changed is never written anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from retread.recipe.series import subject

SEPARATOR: Final = b"\n---\n"
_FIELD: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*:(?:[ \t]|$)")
_POSTMARK: Final = re.compile(r"From [0-9a-f]{40} ")
_COMMENTS: Final = "#;@!$%^&|~"
"""Signs that git may be told to begin its comments in messages with."""


class Parts(NamedTuple):
    """A header taken apart: raw fields by name, in order, each with its folded lines; and the text below."""

    fields: tuple[tuple[str, str], ...]
    text: str


def split(data: bytes) -> tuple[bytes, bytes]:
    """Return the header, which ends with a newline, and what follows the line ``---``."""
    head, separator, body = data.partition(SEPARATOR)
    return (head + b"\n", body) if separator else (data, b"")


def joined(head: bytes, diff: bytes) -> bytes:
    """Return a patch file."""
    return head.removesuffix(b"\n") + SEPARATOR + diff


def parts(head: str) -> Parts:
    """Take a header apart; the line that ``git format-patch`` begins with is no part of it."""
    lines = head.strip("\n").split("\n")
    if _POSTMARK.match(lines[0]):
        lines = lines[1:]
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if _FIELD.match(line):
            found.append((line.partition(":")[0], [line]))
        elif found and line[:1] in {" ", "\t"} and line.strip():
            found[-1][1].append(line)
        else:
            break
    text = "\n".join(lines[sum(len(raw) for _, raw in found) :])
    return Parts(tuple((name, "\n".join(raw)) for name, raw in found), text.strip("\n"))


def value(raw: str) -> str:
    """Return what a raw field says, on one line."""
    return " ".join(raw.partition(":")[2].split())


def message(head: bytes) -> str:
    """Return a header as the message of a commit: the subject, an empty line, the rest word for word."""
    found = parts(head.decode("utf-8", "replace"))
    first = next((subject(value(raw)) for name, raw in found.fields if name == "Subject"), "")
    rest = "\n".join(raw for name, raw in found.fields if name != "Subject")
    return "\n\n".join(filter(None, (first, rest, found.text))) + "\n"


def from_message(text: str, old: bytes | None) -> bytes:
    """Return the header that a commit's message makes: ``old`` itself if the message is still that one's."""
    if old is not None and _settled(message(old)) == _settled(text):
        return old
    first, _, rest = text.strip("\n").partition("\n\n")
    title = " ".join(first.split())
    line = f"Subject: {title}"
    if old is not None:
        found = parts(old.decode("utf-8", "replace")).fields
        kept = (raw for name, raw in found if name == "Subject" and subject(value(raw)) == title)
        line = next(kept, line)
    rest = rest.strip("\n")
    gap = "\n" if _FIELD.match(rest) else "\n\n"
    return (f"{line}{gap}{rest}" if rest else line).encode() + b"\n"


def with_fields(head: bytes, said: Sequence[str]) -> bytes:
    """Return a header in which fields say something else: each of ``said`` is ``Name: text``, and is added if new.

    ValueError for what is no field.
    """
    found = parts(head.decode("utf-8", "replace"))
    fields, text = list(found.fields), found.text
    for one in said:
        name, colon, told = (part.strip() for part in one.partition(":"))
        if not colon or not told or not _FIELD.match(f"{name}:"):
            raise ValueError(f"{one!r} is not 'Field: text'")
        raw = f"{name}: " + "\n ".join(line.strip() for line in told.split("\n") if line.strip())
        at = next((index for index, (known, _) in enumerate(fields) if known == name), None)
        text = _without(text, name)
        if at is None:
            fields.append((name, raw))
        else:
            fields[at] = (name, raw)
    return assembled(fields, text)


def assembled(fields: Iterable[tuple[str, str]], text: str) -> bytes:
    """Return a header of raw fields and a text, the subject first."""
    ordered = sorted(fields, key=lambda item: item[0] != "Subject")
    block = "\n".join(raw for _, raw in ordered)
    return "\n\n".join(filter(None, (block, text.strip("\n")))).encode() + b"\n"


def _without(text: str, name: str) -> str:
    """Return a text without the field that ``git format-patch`` leaves in it."""
    return re.sub(rf"^{re.escape(name)}:.*(?:\n[ \t]+.*)*\n?", "", text, flags=re.MULTILINE)


def ends_early(text: str) -> bool:
    """Say whether a message holds a line that would end its header."""
    return "---" in text.rstrip("\n").split("\n")


def comment_sign(messages: Iterable[str]) -> str:
    """Return a sign that no line of the messages begins with, so that an editor's run through git cuts none of them."""
    first = set(_signs(messages))
    return next((sign for sign in _COMMENTS if sign not in first), "#")


def _signs(messages: Iterable[str]) -> Iterator[str]:
    for text in messages:
        yield from (line[0] for line in text.split("\n") if line)


def _settled(text: str) -> str:
    """Return a message as git leaves it: no space at the ends of lines, at most one empty line."""
    lines = "\n".join(line.rstrip() for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines).strip("\n")
