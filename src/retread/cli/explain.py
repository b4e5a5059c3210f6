"""``retread explain``: which known fault an error message belongs to, and what to take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from retread.cli import session
from retread.cli.fit import catalogue
from retread.cli.options import Options, add_command, add_common

if TYPE_CHECKING:
    from retread.cli.options import Groups

_BLOCK = 1 << 22
"""Bytes of a log that are looked into at a time."""


class ExplainOptions(Options):
    """What is typed after ``explain``."""

    text: tuple[str, ...]


def add(groups: Groups) -> None:
    """Add the command."""
    command = add_command(groups, "explain")
    command.add_argument(
        "text", nargs="*", metavar="ERROR", help="its text; default: a log on standard input"
    )
    add_common(command, explain, ExplainOptions, waits=True)


def explain(options: ExplainOptions) -> int:
    """Say which known faults a text holds; FitError when it holds none."""
    from retread.errors import FitError
    from retread.fit import explain as explaining
    from retread.fit import table

    text = " ".join(options.text).encode("utf-8", "surrogateescape")
    blocks = iter((text,)) if options.text else _blocks(sys.stdin.buffer, explaining.OVERLAP)
    found = explaining.explain(catalogue(options), blocks)
    if options.json:
        session.print_json(found)
    elif found:
        session.put(table.explained(found))
    if not found:
        raise FitError(
            "no fault that is known here has this text",
            hint="give the whole message, as it stands in the log; 'retread fit' reads the environment itself",
        )
    return 0


def _blocks(stream: BinaryIO, overlap: int) -> Iterator[bytes]:
    """Yield a log in blocks, each with the end of the one before it."""
    kept = b""
    while block := stream.read(_BLOCK):
        yield kept + block
        kept = (kept + block)[-overlap:]
