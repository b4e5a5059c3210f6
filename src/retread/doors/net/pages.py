"""An index's page of a project, HTML or JSON, from its bytes: pypi-simple reads it, within limits."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

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
    from pypi_simple import DistributionPackage, ProjectPage, RepositoryPage, UnsupportedRepoVersionError

    try:
        if media == _JSON:
            return ProjectPage.from_json_data(_named(strict.json(body)), address)
        page = RepositoryPage.from_html(body.decode("utf-8", "replace"), address)
        links = [one for one in page.links if len(one.text) <= limits.FILE_NAME]
        return ProjectPage(
            project=project,
            packages=[DistributionPackage.from_link(one, project) for one in links],
            repository_version=page.repository_version,
            last_serial=None,
            versions=None,
            tracks=page.tracks,
            alternate_locations=page.alternate_locations,
            status=page.status,
            status_reason=page.status_reason,
        )
    except (ParserRejectedMarkup, UnsupportedRepoVersionError) as error:
        raise ValueError(str(error)) from None


def _named(data: Any) -> Any:
    """Leave files out whose names no file has: to see what they are called takes quadratic time, in HTML as well."""
    files = data.get("files") if isinstance(data, dict) else None
    if not isinstance(files, list):
        return data
    return {**data, "files": [one for one in files if not _is_endless(one)]}


def _is_endless(file: Any) -> bool:
    name = file.get("filename") if isinstance(file, dict) else None
    return isinstance(name, str) and len(name) > limits.FILE_NAME
