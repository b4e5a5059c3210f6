"""Columns and wrapped lines for a terminal; nothing in them can move its cursor. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from retread.text import controls

WIDTH: Final = 80
"""Of a terminal that nobody widened: what people read is not wider, but for what is there to be copied."""


def columns(
    heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, text: Sequence[int] = (0,)
) -> Iterator[str]:
    """Yield rows below their heads; columns of ``text`` begin together, the others end together."""
    rows = [tuple(map(controls.line, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows) if rows else ():
        cells = (
            cell.ljust(width) if column in text else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "    " + "  ".join(cells)


def markdown(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows, the first of them heads, as a Markdown table whose columns begin together in a terminal, too."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "| " + " | ".join("-" * width for width in widths) + " |", *lines[1:]])


def wrapped(text: str, first: str, rest: str | None = None) -> list[str]:
    """Break a sentence into lines, but no word: ids and paths are there to be copied."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=first if rest is None else rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def cut(text: str, width: int = 44) -> str:
    """Return a text that is at most ``width`` long, with dots where it was cut."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def middle(text: str, width: int) -> str:
    """Return a text that is at most ``width`` long, with dots where it was cut: names differ at both of their ends."""
    if len(text) <= width:
        return text
    head = (width - 3) * 2 // 3
    return f"{text[:head]}...{text[len(text) - (width - 3 - head) :]}"


def plain(lines: Iterable[str]) -> str:
    """Join lines, each of which stays one."""
    return "\n".join(controls.line(line).rstrip() for line in lines)


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return rows as indented lines, columns as wide as their widest cells; a last cell that is too long goes below."""
    rows = [tuple(map(controls.line, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in rows), strict=True)]
    lines = []
    for *cells, last in rows:
        head = "  " + "".join(f"{cell:<{width}}  " for cell, width in zip(cells, widths, strict=True))
        fits = len(head) + len(last) <= WIDTH
        lines += [f"{head}{last}".rstrip()] if fits else [head.rstrip(), *wrapped(last, "        ")]
    return lines
