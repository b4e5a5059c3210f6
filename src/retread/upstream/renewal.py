"""The recipe of the next release, made of the last one's text, so that its comments and its order stay. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from retread import pypa
from retread.doors.net.offers import Offer
from retread.errors import FetchError
from retread.recipe.model import Recipe, Target
from retread.wheel.facts import WheelFacts

if TYPE_CHECKING:
    from packaging.version import Version


class Facts(NamedTuple):
    """What the next release is: version, commit, archive, commits of the submodules by path, wheels for wheels."""

    version: str
    commit: str
    sdist: Offer
    submodules: Mapping[str, str]
    wheels: Mapping[str, Offer]
    """Base wheel of the old recipe -> the new release's."""
    torch: Mapping[str, str]
    """Target -> the one torch that the new wheel requires, for targets of one torch."""


def name(recipe: Recipe, version: str) -> str:
    """Return what the new recipe is called."""
    return f"{recipe.project}-{version}"


def wheels(recipe: Recipe, offers: Sequence[Offer], version: Version) -> dict[str, Offer]:
    """Return for each base wheel of a recipe the one of another release with the same tags or a superset of platforms.

    FetchError names those that the release has not.
    """
    found: dict[str, Offer] = {}
    lacking: list[str] = []
    for base in (one for target in recipe.targets.values() for one in target.base):
        _, old, _, tags = pypa.wheel_name(base.file)
        fits = [one for one in offers if one.tags & tags and _is(one, version, old) and one.sha256]
        if fits:
            found[base.file] = max(fits, key=lambda one: (len(one.tags & tags), one.version))
        else:
            lacking.append(f"{base.file}: {version} has no wheel with these tags")
    if lacking:
        raise FetchError(
            f"{recipe.project} {version} lacks base wheels",
            faults=lacking,
            hint="make the recipe by hand: a target without a base wheel needs a [build] table",
        )
    return found


def _is(one: Offer, version: Version, old: Version) -> bool:
    """Say whether a wheel is the release's, with the local part that the old one had."""
    return one.version.public == version.public and one.version.local == old.local


def one_torch(target: Target, wheel: WheelFacts) -> str:
    """Return the one torch that a wheel requires, where the target is made for one, too; else nothing."""
    wanted = [one.specifier for one in map(pypa.requirement, wheel.requires) if one.name.lower() == "torch"]
    pins = [item for some in wanted for item in some]
    if not target.torch.startswith("==") or len(pins) != 1 or pins[0].operator != "==":
        return ""
    return pins[0].version


def text(old: str, recipe: Recipe, facts: Facts) -> str:
    """Return the recipe's text with everything that pins another release; revisions begin with 1 again."""
    swaps = {
        recipe.pin.commit: facts.commit,
        recipe.sdist.sha256: facts.sdist.sha256,
        recipe.sdist.file: facts.sdist.file,
    }
    swaps |= {one.commit: facts.submodules.get(one.path, one.commit) for one in recipe.pin.submodules}
    for target in recipe.targets.values():
        for base in target.base:
            swaps |= {base.sha256: facts.wheels[base.file].sha256, base.file: facts.wheels[base.file].file}
    made = re.compile("|".join(map(re.escape, sorted(swaps, key=len, reverse=True)))).sub(
        lambda found: swaps[found[0]], old
    )
    for at, torch in facts.torch.items():
        before = re.escape(recipe.targets[at].torch.removeprefix("==").strip())
        made = re.sub(rf'^torch = "(==)?{before}"', rf'torch = "\g<1>{torch}"', made, flags=re.MULTILINE)
    lines = {"name": name(recipe, facts.version), "version": facts.version}
    for key, value in lines.items():
        made = re.sub(rf'^{key} = "[^"]*"', f'{key} = "{value}"', made, count=1, flags=re.MULTILINE)
    made = re.sub(
        r'^(summary = "[^"]*?)' + re.escape(recipe.version),
        rf"\g<1>{facts.version}",
        made,
        flags=re.MULTILINE,
    )
    return re.sub(r"^revision = [0-9]+", "revision = 1", made, flags=re.MULTILINE)
