"""What of the checks after a compile can be known before it: a compile takes minutes or hours, these no time.

What only the build decides (a version that setup.py computes, requirements that it reads, files that it makes) is seen
when the wheel is there.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import Final

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from retread import pypa, strict
from retread.recipe.model import Recipe, Target
from retread.recipe.native import matches

_SAYS_VERSION: Final = re.compile(r"BUILD_VERSION|PBR_VERSION|SETUPTOOLS_SCM_PRETEND_VERSION(_FOR_\w+)?")
"""Variables that are nothing but the version of what is built: PyTorch's convention, pbr's, setuptools-scm's."""


def of_recipe(recipe: Recipe, name: str) -> Iterator[str]:
    """Yield what of a target's recipe cannot hold for any wheel that is compiled, by its key path."""
    target, where = recipe.targets[name], f"targets.{name}"
    for variable, value in target.build.environment.items() if target.build else ():
        said = value.replace("{version}", recipe.version)
        if _SAYS_VERSION.fullmatch(variable) and not _same(said, recipe.version):
            yield f"{where}.build.environment.{variable}: {said!r} is not the recipe's version, {recipe.version}"
    if not any(_may_be_a_library(glob) for glob in target.generated):
        yield f"{where}.generated: no glob names a library, and a compile makes one: add '{recipe.project}/**.so'"
    for index, item in enumerate(target.exempt):
        if not matches(item.library, target.generated):
            yield f"{where}.exempt[{index}].library: {item.library} is nothing that 'generated' names"


def of_lock(target: Target, name: str, versions: Mapping[str, str]) -> Iterator[str]:
    """Yield the requirements of a target's wheel that do not allow what the lock has it compiled against."""
    wanted = {f"targets.{name}.torch": f"torch{target.torch}"} if target.torch else {}
    wanted |= {f"targets.{name}.requires[{index}]": text for index, text in enumerate(target.requires)}
    for where, text in wanted.items():
        one = pypa.requirement(text)
        locked = versions.get(canonicalize_name(one.name))
        if locked and not one.specifier.contains(locked, prereleases=True):
            yield f"{where}: {text!r} does not allow {one.name} {locked}, which it is compiled against (lock)"


def of_tree(
    recipe: Recipe, name: str, files: Collection[str], changed: Collection[str], text: Callable[[str], str]
) -> Iterator[str]:
    """Yield what the tree that is compiled says against the recipe: its version, and the files of its edits.

    ``changed`` are the paths that the series touches, ``text`` returns a file's content.
    """
    target = recipe.targets[name]
    for file, read in (("pyproject.toml", _of_pyproject), ("setup.cfg", _of_setup_cfg)):
        said = read(text(file)) if file in files else ""
        if said and not _same(said, recipe.version):
            yield f"{file}: its version is {said}, the recipe's {recipe.version}"
    edited: set[str] = set()  # what an edit finds in such a file is no longer the source's
    for index, edit in enumerate(target.edit):
        where = f"targets.{name}.edit[{index}]"
        if edit.file in changed:
            yield f"{where}: the series touches {edit.file}; change it in one way, by an edit or by a patch"
        elif matches(edit.file, target.generated):
            continue
        elif edit.file not in files:
            yield f"{where}: {edit.file} is neither in the source nor named by 'generated'"
        elif edit.file not in edited and (count := text(edit.file).count(edit.find)) != 1:
            yield f"{where}: {edit.find!r} stands {count} times in {edit.file}, not once"
        edited.add(edit.file)


def _may_be_a_library(glob: str) -> bool:
    """Say whether a glob can name a shared object: it says ``.so``, or nothing of how a name ends."""
    return ".so" in glob or ".so".endswith(re.split(r"[*?\]]", glob)[-1])


def _same(said: str, version: str) -> bool:
    try:
        return pypa.version(said) == pypa.version(version)
    except InvalidVersion:
        return False


def _of_pyproject(text: str) -> str:
    """Return the version that pyproject.toml states; nothing when the build computes it."""
    with suppress(ValueError):  # the build says it better
        table = strict.table(text).get("project", {})
        said = table.get("version") if isinstance(table, dict) else None
        return said if isinstance(said, str) else ""
    return ""


def _of_setup_cfg(text: str) -> str:
    """Return the version that setup.cfg states itself; nothing when it names where to look."""
    found = configparser.RawConfigParser(strict=False)
    with suppress(configparser.Error):
        found.read_string(text)
        said = found.get("metadata", "version", fallback="").strip()
        return "" if ":" in said else said
    return ""
