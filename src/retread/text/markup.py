"""How templates become pages: everything escaped, nothing undefined, no sign that a browser obeys. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, Final, NewType

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from retread.text.controls import encoded, legal

_LONGEST: Final = 200
"""Characters of others' words that a page shows at a time."""
_KEPT: Final = 1024
"""Forms that are kept, some kB each."""
_HOLES: Final = re.compile("<hole ([a-z0-9]+)>")
"""What stands in a page for what is filled in later: nothing that is escaped looks like it."""
Form = NewType("Form", tuple[str, ...])
"""A part of a page with holes: text and names of holes by turns, text first and last.

What many wheels share is rendered once, and each of them fills in what is its own. Measured: a template that loops
over a project's wheels took 53 us for each, of which 15 us were for escaping and for wrapping what was escaped
already; this takes 31 us.
"""


def render(template: str, filters: Any = (), **view: Any) -> str:
    """Return a template of this package filled in; ``filters`` are pairs of a name and a function."""
    return legal(_rendered(template, filters, view))


def page(template: str, filters: Any, long: Mapping[str, Iterable[Markup]], **view: Any) -> bytes:
    """Return a template of this package filled in; where it shows a name of ``long``, its parts follow one another.

    They are put together once and last of all, since a template copies what it shows several times.
    """
    pieces = _form(_rendered(template, filters, view | {name: _hole(name) for name in long}))
    parts = (long[one] if index % 2 else (one,) for index, one in enumerate(pieces))
    return encoded("".join(chain.from_iterable(parts)))


@functools.lru_cache(maxsize=_KEPT, typed=True)
def form(template: str, macro: str, **given: Any) -> Form:
    """Return what a macro makes of arguments that can be hashed, made once for the same ones.

    It has a hole for each argument that is not given: the macro shows that one as it is, and asks nothing about it.
    Equal arguments must look alike: nothing in a tuple may be escaped already.
    """
    made = getattr(_environment(()).get_template(template).module, macro)
    return _form(made(**given, **{name: _hole(name) for name in made.arguments if name not in given}))


def fill(form: Form, **values: Any) -> Markup:
    """Return a form with its holes filled, everything escaped that is not markup."""
    shown = {name: one if type(one) is Markup else escape(one) for name, one in values.items()}
    pieces = list(form)
    pieces[1::2] = [shown[name] for name in form[1::2]]
    return Markup("".join(pieces))


def joined(parts: Iterable[Markup]) -> Markup:
    """Return parts of a page one after the other."""
    return Markup("".join(parts))


def _hole(name: str) -> Markup:
    return Markup(f"<hole {name}>")


def _form(text: str) -> Form:
    return Form(tuple(_HOLES.split(text)))


def _rendered(template: str, filters: Any, view: Mapping[str, Any]) -> str:
    return _environment(tuple(filters)).get_template(template).render(**view)


@functools.cache
def _environment(filters: tuple[tuple[str, Any], ...]) -> Environment:
    made = Environment(
        loader=PackageLoader("retread.text", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,  # else each part of each page asks the disk whether its template has changed
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
