"""The pages that installers read, PEP 503 HTML and PEP 691 JSON of one model. Pure: records in, bytes out.

Complete as of API version 1.4: yanks (PEP 592), metadata beside the wheel (658, 714), versions, sizes and times (700),
project status (792). Whatever order the files come in, the bytes are the same.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from retread import pypa
from retread.index.layout import place
from retread.index.listing import Hosted, Project

if TYPE_CHECKING:
    from packaging.version import Version

API_VERSION: Final = "1.4"
"""Of the simple repository API: the first one with a project status."""

STATUS: Final = "active"
"""Of every project (PEP 792): a wheel that must not be used is yanked or revoked by itself."""

_PLAIN: Final = re.compile("[A-Za-z0-9_.~+/-]*")
"""What an address has as it is, and the plus."""

UP: Final = "../../../"
"""From a project's page to the folder of the index."""


def simple_html(project: Project) -> bytes:
    """Return a project's page as PEP 503 asks."""
    status = _meta("pypi:project-status", STATUS)
    return _html(f"Links for {project.name} ({project.channel})", map(_anchor, _ordered(project)), status)


def simple_json(project: Project) -> bytes:
    """Return a project's page as PEP 691 asks."""
    files = _ordered(project)
    return _json(
        {
            "meta": {"api-version": API_VERSION},
            "project-status": {"status": STATUS},
            "name": project.name,
            "versions": list(dict.fromkeys(one.version for one in files)),
            "files": [_entry(one) for one in files],
        }
    )


def root_html(channel: str, names: Sequence[str]) -> bytes:
    """Return the list of a channel's projects, of all names that it owns, as PEP 503 asks."""
    links = (f'<a href="{quote(name, safe="")}/">{escape(name)}</a><br>' for name in sorted(set(names)))
    return _html(f"Projects of {channel}", links)


def root_json(channel: str, names: Sequence[str]) -> bytes:
    """Return the list of a channel's projects, of all names that it owns, as PEP 691 asks."""
    # Keys with an underscore are the server's own: this one tells an administrator what was served.
    meta = {"api-version": API_VERSION, "_channel": channel}
    return _json({"meta": meta, "projects": [{"name": name} for name in sorted(set(names))]})


def address(file: str, sha256: str) -> str:
    """Return the address of a file, relative to a project's page, percent-encoded: ``+`` is written ``%2B``."""
    # A plus is all that a wheel's name has to be encoded: quote() takes far longer for that.
    where = place(file, sha256)
    coded = where if _PLAIN.fullmatch(where) else quote(where, safe="/+", errors="replace")
    return UP + coded.replace("+", "%2B")


def order(version: str) -> tuple[Version, str]:
    """Return what versions are sorted by: PEP 440, then the text."""
    return _parsed(version), version


@functools.lru_cache(maxsize=4096)
def _parsed(version: str) -> Version:
    return pypa.version(version)


def _ordered(project: Project) -> list[Hosted]:
    return sorted(project.files, key=lambda one: (order(one.version), one.file))


def _entry(one: Hosted) -> dict[str, Any]:
    metadata = {"sha256": one.metadata_sha256}
    entry: dict[str, Any] = {
        "filename": one.file,
        "url": address(one.file, one.sha256),
        "hashes": {"sha256": one.sha256},
        "size": one.size,
        "upload-time": one.uploaded,
        "core-metadata": metadata,
        # The name that was in use before PEP 714. The third one, without "data-", makes an old pip stumble.
        "data-dist-info-metadata": metadata,
        # An empty reason would read as "not yanked".
        "yanked": False if one.yanked is None else one.yanked or True,
    }
    if one.requires_python:
        entry["requires-python"] = one.requires_python
    return entry


def _anchor(one: Hosted) -> str:
    metadata = f"sha256={escape(one.metadata_sha256)}"
    attributes = f' data-core-metadata="{metadata}" data-dist-info-metadata="{metadata}"'
    if one.requires_python:
        attributes += f' data-requires-python="{escape(one.requires_python)}"'
    if one.yanked is not None:
        attributes += f' data-yanked="{escape(one.yanked)}"'
    link = f"{address(one.file, one.sha256)}#sha256={escape(one.sha256)}"
    return f'<a href="{link}"{attributes}>{escape(one.file)}</a><br>'


def _html(title: str, links: Iterable[str], extra: str = "") -> bytes:
    title = escape(title)
    head = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"{_meta('pypi:repository-version', API_VERSION)}{extra}<title>{title}</title>\n</head>\n"
    )
    body = "\n".join([f"<body>\n<h1>{title}</h1>", *links, "</body>\n</html>\n"])
    return (head + body).encode("utf-8", "replace")


def _meta(name: str, content: str) -> str:
    return f'<meta name="{name}" content="{content}">\n'


def _json(page: dict[str, Any]) -> bytes:
    return json.dumps(page, separators=(",", ":")).encode() + b"\n"
