"""A repository of one's own: what ``retread init`` writes, whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import string
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple

from retread import strict
from retread.doors import fs
from retread.errors import UsageError
from retread.recipe import files, workspace
from retread.version import __version__

_TEMPLATES: Final = Path(__file__).parent / "templates"
_PLACES: Final = {
    "Makefile": "Makefile",
    "README.md": "README.md",
    "gitignore": ".gitignore",
    "index-policy.example.toml": "index-policy.example.toml",
}
"""Template -> where it goes."""
_WORKFLOW: Final = ("wheels.yml", ".github/workflows/wheels.yml")
_FOLDERS: Final = ("recipes", "patches", "index")
_PLACE: Final = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)@(?P<commit>[0-9a-f]{40})", re.ASCII)
_GITHUB: Final = re.compile(r"(?:git\+)?https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?", re.ASCII)


class _Template(string.Template):
    """A text with ``%%{names}`` to fill in: dollars are make's and the workflows'."""

    delimiter = "%%"


class Origin(NamedTuple):
    """Where on GitHub the retread is that a repository uses, by its commit."""

    repository: str
    commit: str


class Made(NamedTuple):
    """What was written."""

    folder: Path
    files: tuple[str, ...]
    """Below the folder."""
    origin: Origin | None
    """None where nobody knows it: there is no workflow then."""


def origin(typed: str) -> Origin | None:
    """Return where a retread is from, as typed, or as pip noted it of this one; UsageError for what is no place."""
    if not typed:
        return _installed()
    if not (found := _PLACE.fullmatch(typed)):
        raise UsageError(
            f"--retread {typed}: expected OWNER/REPOSITORY@COMMIT, with all 40 digits of the commit",
            hint="a workflow of another repository is called by its commit, since a tag can be moved",
        )
    return Origin(found["repository"], found["commit"])


def _installed() -> Origin | None:
    """Return what pip noted when it installed this retread from a repository on GitHub (PEP 610)."""
    try:
        noted = metadata.distribution("retread").read_text("direct_url.json") or "{}"
        said: Any = strict.json(noted.encode())
    except (metadata.PackageNotFoundError, ValueError):
        return None
    found = _GITHUB.fullmatch(said.get("url", ""))
    commit = said.get("vcs_info", {}).get("commit_id", "")
    return Origin(found[1], commit) if found and re.fullmatch("[0-9a-f]{40}", commit) else None


def make(folder: Path, origin: Origin | None, shipped: Path | None = None, recipe: str = "") -> Made:
    """Write a repository into a folder that is empty, or is not there yet; with a recipe of the workspace ``shipped``.

    UsageError for a folder that holds something, or a recipe that is not there.
    """
    with fs.naming(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is not empty", hint="name a folder that is, or one that is not there")
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _write(work, origin, shipped, recipe)
            work.chmod(0o777 & ~_umask())
            work.replace(folder)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    written = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return Made(folder, tuple(sorted(written)), origin)


def _umask() -> int:
    os.umask(umask := os.umask(0o022))
    return umask


def _write(work: Path, origin: Origin | None, shipped: Path | None, recipe: str) -> None:
    for name in _FOLDERS:
        (work / name).mkdir()
    said = {"recipe": recipe, "version": __version__, "requirement": f"retread=={__version__}"}
    places = dict(_PLACES)
    if origin:
        address = f"https://github.com/{origin.repository}"
        said |= {**origin._asdict(), "requirement": f"retread @ git+{address}@{origin.commit}"}
        places |= [_WORKFLOW]
    for name, place in places.items():
        text = fs.read(_TEMPLATES / name).decode()
        fs.write(work / place, _Template(text).substitute(said).encode())
    if shipped:
        for path in _parts(shipped, recipe):
            fs.write(work / path, fs.read(shipped / path))
    for name in ("recipes", "patches"):
        if not any((work / name).iterdir()):
            (
                work / name / ".gitkeep"
            ).touch()  # git knows no empty folders, and recipes/ is how retread finds the root


def _parts(root: Path, name: str) -> Iterator[str]:
    """Yield the files of a workspace that a recipe is made of and tried with, below its root."""
    recipe = workspace.load(root, name).recipe
    for path in dict.fromkeys(path for target in recipe.targets for path in files.inputs(recipe, target)):
        if path.startswith(files.OWN_TOOLCHAINS):
            continue  # retread brings them
        place = root / path
        if path.endswith("/"):
            yield from (f"{path}{one.name}" for one in fs.listed(place) if one.is_file())
        elif place.is_file():
            yield path
