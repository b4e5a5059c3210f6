"""Patches that several versions of a project share: one file, to which the folders of their series hold links.

``patches/PROJECT/shared/NAME.patch`` is the file, ``patches/PROJECT/VERSION/0001-NAME.patch`` the link: each series
names and numbers it as its own. Whatever writes a series makes a link of a file that has the bytes of a shared one, and
never writes through a link: a patch that is changed becomes a file of that version again, since the others' wheels name
its digest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from retread.doors import fs
from retread.errors import SeriesError

FOLDER: Final = "shared"
_TARGET: Final = re.compile(rf"\.\./{FOLDER}/[a-z0-9][a-z0-9._-]*\.patch")
_SHARED: Final = re.compile(rf"(patches/[^/]+)/{FOLDER}/([^/]+)")


def links(folder: Path) -> dict[str, str]:
    """Return name -> name of the shared patch, of the links in a series folder; SeriesError for one that leads away."""
    found = {path.name: str(path.readlink()) for path in fs.listed(folder) if path.is_symlink()}
    astray = [f"{name}: is a link to {to}" for name, to in found.items() if not _TARGET.fullmatch(to)]
    if astray:
        raise SeriesError(
            f"{folder.name}: the series has links that lead elsewhere than to shared patches",
            faults=astray,
            hint=f"a link leads to ../{FOLDER}/NAME.patch",
        )
    return {name: PurePosixPath(to).name for name, to in found.items()}


def targets(folder: Path) -> dict[bytes, str]:
    """Return bytes -> where a link of a series folder has to lead for them."""
    return {fs.read(path): f"../{FOLDER}/{path.name}" for path in fs.listed(folder.parent / FOLDER, ".patch")}


def others(folder: Path, name: str) -> list[str]:
    """Return the versions beside a series folder whose series share a patch of that name."""
    beside = [one for one in fs.listed(folder.parent) if one.is_dir() and one != folder]
    return sorted(one.name for one in beside if name in links(one).values())


def parted(folder: Path, after: Mapping[str, bytes]) -> Iterator[str]:
    """Yield what is to be told of shared patches that a series will not have any more."""
    kept = set(after.values())
    for name, shared in links(folder).items():
        if fs.read(folder / name) not in kept:
            rest = ", ".join(others(folder, shared)) or "no other version"
            yield f"{name} was shared with {rest}: {FOLDER}/{shared} stays as it is for them"


def spread(root: Path, changed: Iterable[str]) -> list[str]:
    """Return paths that changed, and for each shared patch the links to it, which changed with it."""
    found: dict[str, None] = {}
    for path in changed:
        found[path] = None
        if not (said := _SHARED.fullmatch(path)):
            continue
        for folder in (one for one in fs.listed(root / said[1]) if one.is_dir()):
            here = links(folder)
            found |= dict.fromkeys(
                f"{said[1]}/{folder.name}/{name}" for name in here if here[name] == said[2]
            )
    return list(found)
