"""How templates become pages: everything escaped, nothing undefined, no sign that a browser obeys. Pure."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from retread.text.controls import legal


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


def utc(started: int) -> str:
    """Return seconds since 1970 as ISO 8601; the number itself when no calendar reaches there."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=started)
    except OverflowError:
        return str(started)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
