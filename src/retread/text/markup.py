"""How templates become pages: everything escaped, nothing undefined, no character that XML forbids. Pure."""

from __future__ import annotations

import functools
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from retread.smoke.junit import legal


def render(template: str, filters: Any = (), **view: Any) -> str:
    """Return a template of this package filled in; ``filters`` are pairs of a name and a function."""
    return legal(_environment(tuple(filters)).get_template(template).render(**view))


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
