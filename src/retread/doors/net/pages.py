"""An index's page of a project, HTML or JSON, from its bytes: pypi-simple reads it, within limits."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

from retread import limits, strict

if TYPE_CHECKING:
    from pypi_simple import ProjectPage as Page

_JSON: Final = "application/vnd.pypi.simple.v1+json"
_BROKEN: Final = (
    ValueError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    RecursionError,
    OverflowError,
)
"""What pypi-simple, and the parsers below it, raise of pages that are none."""
_HTML: Final = ("text/html", "application/vnd.pypi.simple.v1+html")


def read(body: bytes, kind: str, address: str, project: str) -> Page:
    """Return the page; ``kind`` is its Content-Type. ValueError for one that cannot be read, or has too many links.

    Each tag of HTML, and each table of JSON, takes some kB of memory however short it is written. The errors' texts
    hold nothing of the page: an address in it may be secret.
    """
    media = kind.partition(";")[0].strip().lower()
    if media != _JSON and media not in _HTML:
        raise ValueError("it is neither HTML nor JSON")
    if body.count(b"{" if media == _JSON else b"<") > limits.LINKS * 4:
        raise ValueError(f"it has more than {limits.LINKS:,} links")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a newer minor version, which changes nothing that is read
            return _read(body, media, address, project)
    except _BROKEN as error:
        raise ValueError(type(error).__name__) from None


def _read(body: bytes, media: str, address: str, project: str) -> Page:
    from bs4.builder import ParserRejectedMarkup
    from pypi_simple import ProjectPage, UnsupportedRepoVersionError

    try:
        if media == _JSON:
            return ProjectPage.from_json_data(strict.json(body), address)
        return ProjectPage.from_html(project, body.decode("utf-8", "replace"), address)
    except (ParserRejectedMarkup, UnsupportedRepoVersionError) as error:
        raise ValueError(str(error)) from None
