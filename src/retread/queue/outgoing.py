"""A series given back to upstream: as git's mails, or with Debian's headers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.header import Header
from email.utils import formataddr, formatdate, parseaddr
from enum import StrEnum
from pathlib import Path
from typing import Final

from retread.doors import fs
from retread.errors import UsageError
from retread.queue import header, order
from retread.queue.desk import Desk
from retread.queue.pieces import Piece

_POSTMARK: Final = "From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001"
"""What git writes with ``--zero-commit``: commits of ours are nobody else's."""
_AUTHOR: Final = re.compile(r"[^<>\n]+ <[^<>\s]+>")
_FIXED: Final = re.compile(r"fixed in (\S+) \(([0-9a-f]+)\)")


class Form(StrEnum):
    """How patches are written for others."""

    MBOX = "mbox"
    DEP3 = "dep3"


def export(desk: Desk, typed: Sequence[str], form: Form, author: str) -> list[tuple[str, bytes]]:
    """Return patches of a series with their names; UsageError when nobody says who wrote them.

    The author is the patch's own ``From`` or ``Author``, else ``author`` (``NAME <MAIL>``).
    """
    if author and not _AUTHOR.fullmatch(author):
        raise UsageError(f"{author!r} is no author", hint="write it like --author 'Jo Doe <jo@example.org>'")
    loaded = desk.loaded()
    with desk.held() as scratch:
        repository, source, _, stack = desk.stack(loaded, scratch)
        names = [one.name for one in stack]
        wanted = {order.found(one, names, recipe=desk.recipe.name) for one in typed} or set(names)
        chosen = [one for one in stack if one.name in wanted]
        diffs = [repository.diff(one.before, one.after) for one in chosen]
    if form is Form.DEP3:
        return [(one.name, _dep3(one.head, diff)) for one, diff in zip(chosen, diffs, strict=True)]
    return [
        (one.name, _mail(one, diff, _title(number, len(chosen)), author, source.manifest.time))
        for number, (one, diff) in enumerate(zip(chosen, diffs, strict=True), start=1)
    ]


def save(found: Sequence[tuple[str, bytes]], form: Form, place: Path) -> None:
    """Write one mbox, or a folder with a file for each patch and the list that quilt reads."""
    if form is Form.MBOX:
        fs.write(place, b"".join(data for _, data in found))
        return
    for name, data in found:
        fs.write(place / name, data)
    fs.write(place / order.SERIES, "".join(f"{name}\n" for name, _ in found).encode())


def _title(number: int, count: int) -> str:
    return f"[PATCH {number}/{count}]" if count > 1 else "[PATCH]"


def _mail(one: Piece, diff: bytes, title: str, author: str, time: int) -> bytes:
    """Return a mail as ``git am`` and ``retread patch import`` take it."""
    found = header.parts(one.head.decode("utf-8", "replace"))
    own = next((header.value(raw) for name, raw in found.fields if name in {"From", "Author"}), author)
    if not own:
        raise UsageError(
            f"{one.name}: nobody says who wrote it",
            hint="say it with --author 'NAME <MAIL>', or in a field From",
        )
    skipped = {"From", "Author", "Date", "Subject"}
    subject, fields = header.message(one.head).partition("\n")[0], found.fields
    block = "\n".join(raw for name, raw in fields if name not in skipped)
    lines = [_POSTMARK, f"From: {formataddr(parseaddr(own))}", f"Date: {formatdate(time)}"]
    lines.append(f"Subject: {title} {_encoded(subject)}")
    lines += [
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=UTF-8",
        "Content-Transfer-Encoding: 8bit",
    ]
    text = "\n\n".join(filter(None, (block, found.text)))
    return "\n".join([*lines, "", text, "---", ""]).encode() + diff + b"-- \nretread\n\n"


def _encoded(text: str) -> str:
    return text if text.isascii() else Header(text, "utf-8", header_name="Subject").encode()


def _dep3(head: bytes, diff: bytes) -> bytes:
    """Return a patch with Debian's fields before the house's own, which stay word for word."""
    found = header.parts(head.decode("utf-8", "replace"))
    said = {name: header.value(raw) for name, raw in found.fields}
    skipped = {"Subject", "Forwarded", "Applied-Upstream", "Bug"}
    lines = [f"Subject: {header.message(head).partition(chr(10))[0]}", *_life(said.get("Upstream", ""))]
    lines += [raw for name, raw in found.fields if name not in skipped]
    text = f"\n\n{found.text}" if found.text else ""
    return ("\n".join(lines) + text + "\n---\n").encode() + diff


def _life(upstream: str) -> list[str]:
    """Return Debian's fields of what a patch's ``Upstream`` says."""
    if fixed := _FIXED.match(upstream):
        return [f"Applied-Upstream: {fixed[1]}, commit:{fixed[2]}"]
    where = upstream.removeprefix("reported as ").partition(";")[0].strip()
    if where == upstream or upstream.startswith("not reported"):
        return ["Forwarded: no"]
    return [f"Bug: {where}", "Forwarded: yes"]
