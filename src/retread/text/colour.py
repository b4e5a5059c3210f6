"""Where a terminal shows colour, and which words get one: ok, failed, note and error. Pure: values in, text out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Colour(StrEnum):
    """What may be said of colour with ``--color``."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


_END: Final = "\x1b[0m"
_PAINT: Final = {"ok": "\x1b[32m", "failed": "\x1b[1;31m", "note": "\x1b[33m", "error": "\x1b[1;31m"}
_MARKS: Final = re.compile(
    r"^(?P<error>retread: [a-z]+:)"
    r"|^ *(?P<note>note:)"
    r"|^ *(?P<failed>FAILED|FAIL\b)|(?<= )(?P<verdict>DOES NOT HOLD|DO NOT HOLD|SMOKE TESTS FAILED|NOT PROVEN)"
    r"|^ *(?P<ok>ok\b)",
    re.MULTILINE,
)
"""The words by which a reader looks for what became of something, where tables and messages have them."""


def wanted(asked: Colour, environment: Mapping[str, str], *, terminal: bool) -> bool:
    """Say whether to colour what goes to a stream.

    What was typed comes first, then NO_COLOR and FORCE_COLOR (no-color.org, force-color.org: set and not empty), then
    whether the stream is a terminal that shows more than text.
    """
    if asked is not Colour.AUTO:
        return asked is Colour.ALWAYS
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return terminal and environment.get("TERM") != "dumb"


def painted(text: str, kind: str) -> str:
    """Return a word in the colour of its kind: ``ok``, ``failed``, ``note`` or ``error``."""
    return f"{_PAINT[kind]}{text}{_END}"


def marked(text: str) -> str:
    """Return lines with their marks coloured."""

    def paint(found: re.Match[str]) -> str:
        kind = found.lastgroup or "failed"
        word = found[kind]
        before = found[0].removesuffix(word)
        return before + painted(word, "failed" if kind == "verdict" else kind)

    return _MARKS.sub(paint, text)
