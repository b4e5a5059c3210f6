"""The one door to what PyPA's specifications spell: versions, ranges, requirements, names of files. Pure.

``packaging`` reads them; its time and its errors are only foreseeable for texts of a sensible length, so that nothing
else calls its parsers. What is too long is refused as what is malformed is, by the same exceptions, all ValueErrors.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from retread import limits

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
    from packaging.tags import Tag
    from packaging.utils import BuildTag, NormalizedName
    from packaging.version import Version

_PLAIN: Final = re.compile(
    r"(?:[A-Za-z0-9.]|_(?!_)){1,60}-\d{1,4}(?:\.\d{1,4}){0,4}(?:\.post\d{1,4})?(?:\+cu\d{1,4})?"
    r"-(?:cp|py)\d{1,3}-(?:cp\d{1,3}|abi3|none)-([a-z0-9_]{1,40}(?:\.[a-z0-9_]{1,40}){0,3})\.whl"
)
"""File names of wheels as nearly all are: what is so short and plain ``packaging`` takes, too."""


def version(text: str) -> Version:
    """Return a version; InvalidVersion when it is none."""
    from packaging.version import InvalidVersion, Version

    if len(text) > limits.VERSION:
        raise InvalidVersion(f"a version of {_characters(text, limits.VERSION)}")
    return Version(text)


def specifiers(text: str) -> SpecifierSet:
    """Return a version range; InvalidSpecifier when it is none."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    if len(text) > limits.RANGE or any(len(one) > limits.VERSION for one in text.split(",")):
        raise InvalidSpecifier(f"a version range of {_characters(text, limits.RANGE)}")
    return SpecifierSet(text)


def allows(wanted: SpecifierSet | str, found: str) -> bool:
    """Say whether a range allows a version, a pre-release too; False when either is none."""
    try:
        allowed = specifiers(wanted) if isinstance(wanted, str) else wanted
        return allowed.contains(version(found), prereleases=True)
    except ValueError:
        return False


def requirement(text: str) -> Requirement:
    """Return a requirement; InvalidRequirement when it is none."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.specifiers import InvalidSpecifier

    if len(text) > limits.REQUIREMENT:
        raise InvalidRequirement(f"a requirement of {_characters(text, limits.REQUIREMENT)}")
    try:
        found = Requirement(text)
        specifiers(str(found.specifier))
    except RecursionError:
        raise InvalidRequirement("a requirement that is nested too deeply") from None
    except InvalidSpecifier as error:
        raise InvalidRequirement(str(error)) from None
    return found


def wheel_name(file: str) -> tuple[NormalizedName, Version, BuildTag, frozenset[Tag]]:
    """Return project, version, build tag and tags of a wheel's file name; InvalidWheelFilename when it is none."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    parts = file.removesuffix(".whl").split("-")
    if len(file) > limits.FILE_NAME or any(len(part) > limits.VERSION for part in parts[1:2]):
        raise InvalidWheelFilename(f"a file name of {_characters(file, limits.FILE_NAME)}")
    if math.prod(part.count(".") + 1 for part in parts[-3:]) > limits.TAGS:
        raise InvalidWheelFilename(f"more than {limits.TAGS:,} tags")
    try:
        return parse_wheel_filename(file)
    except ValueError as error:
        raise InvalidWheelFilename(str(error)) from None


def wheel_platforms(file: str) -> frozenset[str]:
    """Return the platforms of a wheel's tags as its file name, a plain one, states them; else as ``wheel_name`` has it.

    Every build asks this of its base wheels, and importing what reads whole names takes longer than reading all else.
    """
    if found := _PLAIN.fullmatch(file):
        return frozenset(found[1].split("."))
    return frozenset(tag.platform for tag in wheel_name(file)[3])


def sdist_name(file: str) -> tuple[NormalizedName, Version]:
    """Return project and version of a source archive's file name; InvalidSdistFilename when it is none."""
    from packaging.utils import InvalidSdistFilename, parse_sdist_filename

    if len(file) > limits.FILE_NAME:
        raise InvalidSdistFilename(f"a file name of {_characters(file, limits.FILE_NAME)}")
    try:
        return parse_sdist_filename(file)
    except ValueError as error:
        raise InvalidSdistFilename(str(error)) from None


def _characters(text: str, limit: int) -> str:
    return f"{len(text):,} characters; {limit:,} are taken: {text[:40]!r}..."
