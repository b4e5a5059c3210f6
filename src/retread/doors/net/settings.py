"""Which index is asked, and how: pip's and uv's own settings."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from retread.doors import proc
from retread.errors import ToolError

_TRUE = {"1", "true", "t", "yes", "y", "on"}
_UV_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*=")
"""uv's addresses may stand behind a name: ``internal=https://...``."""


class Settings(NamedTuple):
    """Where the user has packages from: index addresses in order, local folders, a CA bundle."""

    indexes: tuple[str, ...]
    folders: tuple[Path, ...]
    verify: str | bool
    say: Callable[[str], None] = lambda _: None
    """What hears that a server is asked again."""


def settings(environment: Mapping[str, str]) -> Settings:
    """Return the user's own settings: uv's and pip's variables first, then pip's configuration, then the default."""
    configured = _pip_configuration(tuple(sorted(environment.items())))
    first = (
        environment.get("UV_DEFAULT_INDEX")
        or environment.get("UV_INDEX_URL")
        or configured.get("index-url", "")
    )
    more = environment.get("UV_INDEX", "").split() + environment.get("UV_EXTRA_INDEX_URL", "").split()
    more += configured.get("extra-index-url", "").split()
    indexes = [_UV_NAME.sub("", address) for address in (first or _default_index(), *more)]
    links = (
        environment.get("UV_FIND_LINKS", "").replace(",", " ").split()
        + configured.get("find-links", "").split()
    )
    offline = any(
        value.lower() in _TRUE
        for value in (environment.get("UV_OFFLINE", ""), configured.get("no-index", ""))
    )
    return Settings(
        indexes=() if offline else tuple(dict.fromkeys(address for address in indexes if address)),
        folders=tuple(folder_of(link) for link in links if "://" not in link or link.startswith("file:")),
        verify=environment.get("REQUESTS_CA_BUNDLE")
        or environment.get("SSL_CERT_FILE")
        or configured.get("cert")
        or True,
    )


def _default_index() -> str:
    from pypi_simple import PYPI_SIMPLE_ENDPOINT

    return str(PYPI_SIMPLE_ENDPOINT)


@functools.lru_cache
def _pip_configuration(environment: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return pip's settings without their section: its files as pip itself reads them, then its variables.

    The variables count where pip is not installed, too.
    """
    command = [sys.executable, "-m", "pip", "config", "list"]
    said = ""
    with suppress(ToolError):
        said = proc.run(command, env=dict(environment), check=False).stdout
    found: dict[str, str] = {}
    for wanted in ("global", "install", "download"):
        for line in said.splitlines():
            name, _, value = line.partition("=")
            section, _, key = name.partition(".")
            if section == wanted:
                with suppress(ValueError, SyntaxError):
                    found[key] = str(ast.literal_eval(value)).replace("\n", " ").strip()
    for name, value in environment:
        if name.startswith("PIP_"):
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value.strip()
    return found


def folder_of(link: str) -> Path:
    """Return the folder that a link without a server names."""
    return Path(unquote(urlsplit(link).path)) if link.startswith("file:") else Path(link)
