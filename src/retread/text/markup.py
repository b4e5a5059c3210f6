"""How templates become pages: everything escaped, nothing undefined, no sign that a browser obeys. Pure."""

from __future__ import annotations

import functools
import re
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from retread.text.controls import legal

_LONGEST: Final = 200
"""Characters of others' words that a page shows at a time."""
_KEPT: Final = 1024
"""Parts of pages that are kept, some kB each."""


def render(template: str, filters: Any = (), **view: Any) -> str:
    """Return a template of this package filled in; ``filters`` are pairs of a name and a function."""
    return legal(_environment(tuple(filters)).get_template(template).render(**view))


@functools.lru_cache(maxsize=_KEPT, typed=True)
def part(template: str, macro: str, *arguments: Any) -> Markup:
    """Return what a macro of a template makes of arguments that can be hashed, made once for the same ones.

    Equal arguments must look alike: nothing in a tuple may be escaped already.
    """
    made: Markup = getattr(_environment(()).get_template(template).module, macro)(*arguments)
    return made


@functools.cache
def _environment(filters: tuple[tuple[str, Any], ...]) -> Environment:
    made = Environment(
        loader=PackageLoader("retread.text", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= dict(filters)
    return made


def code(words: str) -> Markup:
    """Return words as a code span on one line, whatever they hold; cut after 200 characters.

    Source: CommonMark, code spans: as many backticks before and after as never follow one another inside.
    """
    shown = "".join(char if char.isprintable() else " " for char in words)
    shown = " ".join(shown.split()) or "-"
    shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
    fence = (max(map(len, re.findall("`+", shown)), default=0) + 1) * "`"
    space = " " if "`" in shown else ""
    return Markup(f"{fence}{space}{shown}{space}{fence}")
