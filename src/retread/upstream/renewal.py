"""The recipe of the next release, made of the last one's text, so that its comments and its order stay. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from retread import pypa
from retread.doors.net.offers import Offer
from retread.errors import FetchError
from retread.recipe import plan
from retread.recipe.model import Recipe, Target
from retread.wheel.facts import WheelFacts

if TYPE_CHECKING:
    from packaging.tags import Tag
    from packaging.version import Version

_TABLE: Final = r"^\[\[{}\]\]\n(?:[^\[#\n].*\n)*\n*"
"""A table of a list in a recipe's text, with the empty lines below it."""


class Facts(NamedTuple):
    """What the next release is: version, commit, archive, commits of the submodules that it has, wheels for wheels."""

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
    """Return for each base wheel of a recipe the one of another release that stands for it.

    It has the same tags or a superset of platforms; where there is none, it serves the same Pythons on such a platform,
    as one wheel of the stable ABI serves those that had one each. FetchError names those that the release has not.
    """
    found: dict[str, Offer] = {}
    lacking: list[str] = []
    for base in (one for target in recipe.targets.values() for one in target.base):
        _, old, _, tags = pypa.wheel_name(base.file)
        there = [one for one in offers if _is(one, version, old) and one.sha256]
        fits = [one for one in there if one.tags & tags] or [one for one in there if _serves(one, tags)]
        if fits:
            found[base.file] = max(fits, key=lambda one: (len(one.tags & tags), one.version))
        else:
            lacking.append(f"{base.file}: {version} has no wheel for that Python and platform")
    if lacking:
        raise FetchError(
            f"{recipe.project} {version} lacks base wheels",
            faults=lacking,
            hint="make the recipe by hand: a target without a base wheel needs a [build] table",
        )
    return found


def _serves(one: Offer, tags: frozenset[Tag]) -> bool:
    """Say whether a wheel serves the Pythons of these tags, on one of their platforms."""
    named = re.findall(r"cp3(\d+)", " ".join(tag.interpreter for tag in tags))
    platforms = {tag.platform for tag in one.tags} & {tag.platform for tag in tags}
    return bool(named and platforms) and all(plan.serves(one.file, f"3.{minor}") for minor in named)


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
    gone = [one.path for one in recipe.pin.submodules if one.path not in facts.submodules]
    for target in recipe.targets.values():
        for base in target.base:
            swaps |= {base.sha256: facts.wheels[base.file].sha256, base.file: facts.wheels[base.file].file}
    made = re.compile("|".join(map(re.escape, sorted(swaps, key=len, reverse=True)))).sub(
        lambda found: swaps[found[0]], _without(old, gone)
    )
    for at in recipe.targets:
        made = _each_once(made, f"targets.{at}.base")
    for at, torch in facts.torch.items():
        made = _with_torch(made, at, recipe.targets[at].torch.removeprefix("==").strip(), torch)
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


def _with_torch(text: str, target: str, old: str, new: str) -> str:
    """Return a recipe's text in which one target is for another torch, and is tried with it."""
    tables = re.split(r"^(?=\[)", text, flags=re.MULTILINE)
    for at, table in enumerate(tables):
        if table.partition("\n")[0] in {f"[targets.{target}]", f"[targets.{target}.smoke]"}:
            made = re.sub(
                rf'^torch = "(==)?{re.escape(old)}"', rf'torch = "\g<1>{new}"', table, flags=re.MULTILINE
            )
            tables[at] = made.replace(f'"torch=={old}"', f'"torch=={new}"')
    return "".join(tables)


def _without(text: str, gone: Sequence[str]) -> str:
    """Return a recipe's text without the submodules of these paths."""

    def kept(table: re.Match[str]) -> str:
        return "" if any(f'path = "{path}"\n' in table[0] for path in gone) else table[0]

    return re.sub(_TABLE.format(r"pin\.submodules"), kept, text, flags=re.MULTILINE)


def _each_once(text: str, name: str) -> str:
    """Return a recipe's text in which a list has no table twice: one wheel may stand for several."""
    seen: set[str] = set()

    def once(table: re.Match[str]) -> str:
        again = table[0].strip() in seen
        seen.add(table[0].strip())
        return "" if again else table[0]

    return re.sub(_TABLE.format(re.escape(name)), once, text, flags=re.MULTILINE)
