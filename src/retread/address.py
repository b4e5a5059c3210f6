"""Addresses as people and records may see them: without user, password and query. Pure.

Every refusal (``errors``), line of talk (``doors.console``) and answer (``cli.session``) goes through ``shown``.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Compiled by re when they are first needed, and then kept by it: most commands show no address.
_AUTHORITY: Final = r"""(?x)
    ([A-Za-z][A-Za-z0-9+.-]+:/{1,3})      # a scheme; a path that was an address has one slash left
    (?:
        [^\s"<>/?#@:\[]*:(?!\d*(?:[\s"/?#]|$))[^\s"<>]*@   # a password, which may hold what ends a host elsewhere
        | [^\s"<>/?#]*@
    )"""
_LOGGED_IN: Final = r"^((?:[A-Za-z][A-Za-z0-9+.-]*:)?/*)[^\s/@:]*:(?!\d*(?:[\s/?#]|$))[^\s@]*@"
"""What begins as an address would behind its scheme, with a user and a password."""
_QUERY: Final = r"""(\b[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>?#]*)\?[^\s"'<>)\]]*"""
_LOGIN: Final = "ssh://"
"""Of this scheme, a user is no secret: ``ssh://git@host`` is how everybody writes it."""


def has_secret(address: str) -> bool:
    """Say whether an address brings a user or a password, but for the login of ssh."""
    return re.sub(_AUTHORITY, _without, address) != address


def shown(text: str) -> str:
    """Return a text, a command or an address as others may see it: what opens a door is taken out of each address."""
    if ":/" not in text:
        return text
    return re.sub(_QUERY, r"\1", re.sub(_AUTHORITY, _without, text))


def bare(address: str) -> str:
    """Return an address as ``shown`` shows it, also without a fragment: what names a place, and nothing else.

    A password is taken out also where the scheme, or its slashes, were forgotten.
    """
    return re.split(r"[?#]", re.sub(_LOGGED_IN, r"\1", shown(address)), maxsplit=1)[0]


def _without(found: re.Match[str]) -> str:
    scheme, login = found[1], found[0][len(found[1]) : -1]
    if scheme == _LOGIN and login and ":" not in login and "/" not in login:
        return found[0]
    return scheme


def shown_in(value: object) -> object:
    """Return data as JSON has it (tables, lists, texts, numbers) with every text as ``shown`` shows it."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return {name: shown_in(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [shown_in(one) for one in value]
    return value
