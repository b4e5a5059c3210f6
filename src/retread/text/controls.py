"""What a terminal or a browser would obey instead of showing: told as what it is, wherever text is shown. Pure.

Names and words come out of wheels, patches, index pages and servers' answers. Signs that move a cursor, colour what
follows, end a line or turn the direction of reading could make a message say something else.
"""

from __future__ import annotations

import re
from typing import Final

from retread import address

_TURNING: Final = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
"""Signs of Unicode that turn the direction of reading, end a line, or are not seen."""
_OBEYED: Final = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_TURNING}\ud800-\udfff]")
"""All but tab and line feed; halves of characters, too, which no stream takes."""
_FORBIDDEN: Final = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{_TURNING}\ud800-\udfff\ufffe\uffff]")
"""What XML 1.0 forbids, and what a browser would obey."""
_PLAIN: Final = bytes([*b"\t\n\r", *range(0x20, 0x7F)])


def shown(text: str) -> str:
    r"""Return a text as people may see it: no address with a password, signs that would be obeyed as ``\x1b``."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), address.shown(text))


def line(text: str) -> str:
    """Return a text as a part of one line: it ends none, and begins none."""
    return shown(text.replace("\n", "\\n").replace("\t", " "))


def escaped(document: str) -> str:
    """Return a JSON document with those signs escaped, which changes nothing of what it says."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def legal(text: str) -> str:
    """Return a text for HTML or XML, in which the replacement character stands for each such sign."""
    return encoded(text).decode()


def encoded(text: str) -> bytes:
    """Return a text for HTML or XML as UTF-8, in which the replacement character stands for each such sign."""
    data = text.encode("utf-8", "surrogatepass")
    # Most of a page is plain ASCII, which leaves no need to look at each character of it.
    rest = data.translate(None, _PLAIN).decode("utf-8", "surrogatepass")
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text).encode() if _FORBIDDEN.search(rest) else data
