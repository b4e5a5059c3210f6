"""The pages that installers read, PEP 503 HTML and PEP 691 JSON of one model. Pure: records in, bytes out.

Complete as of API version 1.4: yanks (PEP 592), metadata beside the wheel (658, 714), versions, sizes and times (700),
project status (792). Whatever order the files come in, the bytes are the same.
"""

from __future__ import annotations

import functools
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from html import escape
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

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
    links = (_anchor(one) for files in releases(project).values() for one in files)
    return _html(f"Links for {project.name} ({project.channel})", links, status)


def simple_json(project: Project) -> bytes:
    """Return a project's page as PEP 691 asks."""
    found = releases(project)
    return _json(
        {
            "meta": {"api-version": API_VERSION},
            "project-status": {"status": STATUS},
            "name": project.name,
            "versions": list(found),
            "files": [_entry(one) for files in found.values() for one in files],
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
    return UP + coded(place(file, sha256))


def coded(path: str) -> str:
    """Return a path, or what an address ends with, percent-encoded."""
    # A plus is all that a wheel's name has to be encoded: quote() takes far longer for that.
    plain = path if _PLAIN.fullmatch(path) else quote(path, safe="/+", errors="replace")
    return plain.replace("+", "%2B")


def releases(project: Project) -> dict[str, list[Hosted]]:
    """Return each version of a project with its wheels by name, in the order of versions: PEP 440, then the text."""
    found = defaultdict[str, list[Hosted]](list)
    for one in sorted(project.files, key=attrgetter("file")):
        found[one.version].append(one)
    return {version: found[version] for version in sorted(sorted(found), key=parsed)}


@functools.lru_cache(maxsize=4096)
def parsed(version: str) -> Version:
    """Return a version as what versions are sorted by."""
    return pypa.version(version)


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
    r"""Return a page as JSON of printable ASCII alone: all else is written ``\u00fc``."""
    with suppress(UnicodeEncodeError):  # half of a character
        made = msgspec.json.encode(page)
        if made.isascii() and b"\x7f" not in made:
            return made + b"\n"
    return (
        json.dumps(page, separators=(",", ":")).encode() + b"\n"
    )  # as much for what is plain, in eight times as long
