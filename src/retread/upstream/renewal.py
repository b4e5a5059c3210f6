"""The recipe of the next release, made of the last one's text, so that its comments and its order stay. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

from msgspec.structs import replace

from retread import pypa
from retread.doors.net.offers import Offer
from retread.errors import FetchError, RecipeError
from retread.recipe import amending, plan, platforms, reading
from retread.recipe.model import Recipe, Target
from retread.upstream.drift import Change, Edit, Found, Rename, Step, Table

if TYPE_CHECKING:
    from packaging.tags import Tag
    from packaging.version import Version

_TABLE: Final = r"^\[\[{}\]\]\n(?:[^\[#\n].*\n)*\n*"
"""A table of a list in a recipe's text, with the empty lines below it."""


def name(recipe: Recipe, version: str) -> str:
    """Return what the new recipe is called."""
    return f"{recipe.project}-{version}"


class Wheels(NamedTuple):
    """What becomes of a recipe's base wheels."""

    found: Mapping[str, Offer]
    """Base wheel of the old recipe -> the new release's."""
    gone: Mapping[str, tuple[str, ...]]
    """Target -> base wheels for which the new release has none."""
    more: Mapping[str, tuple[Offer, ...]]
    """Target -> wheels for further Pythons, of targets that have one of each so far."""


class Facts(NamedTuple):
    """What the next release is: version, commit, archive, commits of the submodules that it has, wheels for wheels."""

    version: str
    commit: str
    sdist: Offer
    submodules: Mapping[str, str]
    wheels: Wheels


def wheels(recipe: Recipe, offers: Sequence[Offer], version: Version) -> Wheels:
    """Return for each base wheel of a recipe the one of another release that stands for it.

    It has the same tags or a superset of platforms; where there is none, it serves the same Pythons on such a platform,
    as one wheel of the stable ABI serves those that had one each. FetchError where a target is left that has no base
    wheel and is not compiled.
    """
    found: dict[str, Offer] = {}
    gone: dict[str, tuple[str, ...]] = {}
    more: dict[str, tuple[Offer, ...]] = {}
    for at, target in recipe.targets.items():
        for base in target.base:
            _, old, _, tags = pypa.wheel_name(base.file)
            there = [one for one in offers if _is(one, version, old) and one.sha256]
            fits = [one for one in there if one.tags & tags] or [one for one in there if _serves(one, tags)]
            if fits:
                found[base.file] = max(fits, key=lambda one: (len(one.tags & tags), one.version))
            else:
                gone[at] = (*gone.get(at, ()), base.file)
        more[at] = tuple(_further(target, offers, version, {one.file for one in found.values()}))
    lost = [at for at, some in gone.items() if len(some) == len(recipe.targets[at].base)]
    if any(recipe.targets[at].build is None for at in lost):
        raise FetchError(
            f"{recipe.project} {version} lacks base wheels",
            faults=[
                f"{one}: {version} has no wheel for that Python and platform"
                for at in lost
                for one in gone[at]
            ],
            hint="make the recipe by hand: a target without a base wheel needs a [build] table",
        )
    return Wheels(found, gone, {at: some for at, some in more.items() if some})


def _closed(target: Target, gone: Collection[str]) -> list[str]:
    """Return the platforms of a target that it is not made for any more, when these base wheels are gone."""
    left = replace(target, base=tuple(one for one in target.base if one.file not in gone))
    compiled = platforms.COMPILED if target.build else ()
    return [
        one
        for one in target.made_for
        if one not in compiled and not any(platforms.of_base(base.file) == one for base in left.base)
    ]


def _further(
    target: Target, offers: Sequence[Offer], version: Version, taken: Collection[str]
) -> Iterator[Offer]:
    """Yield the wheels that no old one stands for, of a target that has every wheel of the old release so far."""
    names = [pypa.wheel_name(one.file) for one in target.base]
    there = {tag.platform for _, _, _, tags in names for tag in tags}
    for old in {old for _, old, _, _ in names}:
        fits = [one for one in offers if not one.yanked and any(tag.platform in there for tag in one.tags)]
        if {one.file for one in fits if one.version == old} <= {one.file for one in target.base}:
            yield from (
                one for one in fits if _is(one, version, old) and one.sha256 and one.file not in taken
            )


def _serves(one: Offer, tags: frozenset[Tag]) -> bool:
    """Say whether a wheel serves the Pythons of these tags, on one of their platforms."""
    named = re.findall(r"cp3(\d+)", " ".join(tag.interpreter for tag in tags))
    shared = {tag.platform for tag in one.tags} & {tag.platform for tag in tags}
    return bool(named and shared) and all(plan.serves(one.file, f"3.{minor}") for minor in named)


def _is(one: Offer, version: Version, old: Version) -> bool:
    """Say whether a wheel is the release's, with the local part that the old one had."""
    return one.version.public == version.public and one.version.local == old.local


class Taken(NamedTuple):
    """A recipe's text with what it took over, in words, and what it did not."""

    text: str
    adjusted: tuple[str, ...]
    look_at: tuple[str, ...]


def steps(recipe: Recipe, wheels: Wheels) -> Iterator[Found]:
    """Yield what becomes of base wheels beside those that stand for others."""
    for at, files in wheels.gone.items():
        closed = _closed(recipe.targets[at], files)
        for platform in closed:
            lacks = f"targets.{at}: the release has no wheel for {platform}, so the target is not made for it any more"
            yield (
                f"{lacks}: compile it, with a [build] table, or promise it no more"
                if platform in platforms.COMPILED
                else f"{lacks}, and what the recipe said for it is left out: nothing compiles for that platform"
            )
        for file in files:
            if platforms.of_base(file) not in closed:
                yield (
                    f"targets.{at}.base: nothing stands for {file}, so it is left out: compile the target for that "
                    "Python, or make it no more"
                )
    for at, some in wheels.more.items():
        for one in some:
            table = Table(f"[targets.{at}.base]", {"file": one.file, "sha256": one.sha256}, f"targets.{at}")
            yield Step(f"targets.{at}.base: +{one.file}", (table,))


def taken(text: str, name: str, found: Iterable[Found]) -> Taken:
    """Return the recipe's text with what it takes over; a step that would make it unsound is a question."""
    took: list[str] = []
    left: list[str] = []
    for one in found:
        if isinstance(one, str):
            left.append(one)
            continue
        try:
            made = functools.reduce(_edited, one.edits, text)
            reading.parse_recipe(made.encode(), name=name)
        except RecipeError as error:
            left.append(f"{one.words}, but then {'; '.join(error.faults)}")
        except LookupError:
            left.append(f"{one.words}, but it is not seen where that stands")
        else:
            text = made
            took.append(one.words)
    return Taken(text, tuple(took), tuple(left))


def _edited(text: str, edit: Edit) -> str:
    match edit:
        case Rename():
            return amending.renamed(text, edit.table, edit.name)
        case Table():
            return amending.with_table(text, edit.name, edit.values, below=edit.below)
        case Change(place, value) if place.key:
            return amending.amended(text, place, value)
        case Change(place):
            return amending.without(text, place.table, place.at)
        case _ as never:
            assert_never(never)


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
            if new := facts.wheels.found.get(base.file):
                swaps |= {base.sha256: new.sha256, base.file: new.file}
    made = re.compile("|".join(map(re.escape, sorted(swaps, key=len, reverse=True)))).sub(
        lambda found: swaps[found[0]], _without(old, gone)
    )
    for at, target in recipe.targets.items():
        for index, base in reversed(list(enumerate(target.base))):
            if base.file in facts.wheels.gone.get(at, ()):
                made = amending.without(made, f"targets.{at}.base", index)
        made = _each_once(made, f"targets.{at}.base")
        for platform in _closed(target, facts.wheels.gone.get(at, ())):
            made = amending.without_below(made, f"targets.{at}.platforms.{platform}")
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
