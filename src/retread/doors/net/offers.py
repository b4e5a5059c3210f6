"""What indexes offer of a project: files whose names are those of its sdists and wheels, by version. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
)

from retread import pypa
from retread.records import Sha256

if TYPE_CHECKING:
    from packaging.tags import Tag
    from packaging.version import Version

_FILE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SDIST: Final = ".tar.gz"
"""The one ending of source archives that PEP 625 knows."""


class Offer(NamedTuple):
    """An sdist or a wheel that an index page, or a folder, names."""

    file: str
    version: Version
    tags: frozenset[Tag]
    """Empty for an sdist."""
    sha256: Sha256
    """Empty when the page states none."""
    yanked: bool


class Newest(NamedTuple):
    """The newest source archive of a project, or the wheel that stands for it, and what is newer but has none."""

    sdist: Offer
    without_source: tuple[Version, ...]


def read(file: str, project: str, *, sha256: str = "", yanked: bool = False) -> Offer | None:
    """Return the offer of a file; None for one that is not an sdist or a wheel of the project by its name."""
    if not _FILE.fullmatch(file):
        return None
    tags: frozenset[Tag] = frozenset()
    try:
        if file.endswith(_SDIST):
            name, version = pypa.sdist_name(file)
        else:
            name, version, _, tags = pypa.wheel_name(file)
    except (InvalidSdistFilename, InvalidWheelFilename):
        return None
    if name != canonicalize_name(project):
        return None
    return Offer(file, version, tags, Sha256(sha256 if _DIGEST.fullmatch(sha256) else ""), yanked)


def newest_source(offers: Iterable[Offer]) -> Newest | None:
    """Return the newest release that has a source archive; None when no release has one.

    A release is no pre-release and not yanked. A version with a local part is somebody's own build, not upstream's.
    """
    upstream = [one for one in offers if _is_released(one) and not one.version.local]
    sources = [one for one in upstream if not one.tags]
    if not sources:
        return None
    best = max(sources, key=lambda one: one.version)
    newer = {one.version for one in upstream if one.version > best.version}
    return Newest(best, tuple(sorted(newer)))


def newest_wheel(offers: Iterable[Offer], tags: Iterable[Tag]) -> str:
    """Return the newest release that has a wheel for one of ``tags``, without its local part; nothing without one."""
    served = set(tags)
    found = [one.version for one in offers if _is_released(one) and one.tags & served]
    return max(found).public if found else ""


def fitting(offers: Iterable[Offer], version: Version, tags: Sequence[Tag]) -> Offer | None:
    """Return the wheel of a version that stands first for ``tags``, the best of which come first; None without one."""
    wheels = [one for one in offers if one.version == version and one.tags and not one.yanked]
    return next((one for tag in tags for one in wheels if tag in one.tags), None)


def _is_released(offer: Offer) -> bool:
    return not offer.yanked and not offer.version.is_prerelease
