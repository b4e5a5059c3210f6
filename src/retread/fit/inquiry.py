"""From what was typed to what is said: the catalogue, the environment, the index, the code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from retread.arch import Arch
from retread.doors import fs
from retread.fit import catalogue, code, described, hardware, imports, judge, listing, survey
from retread.fit.catalogue import Catalogue
from retread.fit.environment import Environment, Hardware
from retread.fit.report import FitReport
from retread.lockfile import readers
from retread.recipe import workspace

PACKAGED = "catalogue.json"


def packaged() -> Catalogue:
    """Return the catalogue that came with retread."""
    return catalogue.read(resources.files("retread.fit").joinpath(PACKAGED).read_bytes())


def of_workspace(root: Path) -> Catalogue:
    """Return what a workspace's recipes, series and usage files say; RecipeError, SeriesError for what is wrong."""
    left = workspace.unfinished(root)
    loaded = [workspace.load(root, name) for name in workspace.recipes(root) if name not in left]
    usage = [
        catalogue.parse_usage(fs.read(path), name=path.stem)
        for path in fs.listed(root / catalogue.FOLDER, ".toml")
    ]
    return catalogue.catalogue([(one.recipe, one.patches) for one in loaded], usage)


class Lock(NamedTuple):
    """A lock file in the place of an environment: for which Python and platform it is read."""

    path: Path
    python: str
    platform: str


def fit_lock(
    known: Catalogue,
    environment: Mapping[str, str],
    lock: Lock,
    *,
    gpus: Sequence[Arch] = (),
    driver: str = "",
    index: str = "",
    folder: Path | None = None,
) -> FitReport:
    """Return what is said of the environment that a lock file describes; nothing of this machine counts.

    UsageError for a file that is no lock, and as ``described`` raises; the rest as ``fit``.
    """
    python = described.interpreter(lock.python, lock.platform)
    hardware = Hardware(
        gpus=tuple(dict.fromkeys(gpus)),
        driver=driver,
        source="the options" if gpus else "of a lock file's machine nobody knows its GPU",
    )
    pins = readers.read(fs.read(lock.path), name=lock.path.name)
    found = described.environment(pins, python, hardware, name=lock.path.name)
    listed = listing.listed(index, known, environment) if index else ()
    usage = [code.look(folder, one, found.version("torch")) for one in known.usage] if folder else []
    return judge.judge(found, known, listed=listed, usage=usage)


def fit(
    known: Catalogue,
    environment: Mapping[str, str],
    *,
    python: Path | None,
    gpus: Sequence[Arch] = (),
    driver: str = "",
    index: str = "",
    folder: Path | None = None,
    tries: bool = True,
) -> FitReport:
    """Return what is said of an environment; ``tries`` says whether the projects' modules are imported.

    UsageError for a Python, a folder or an index that is not there, FetchError for an index that does not answer.
    """
    program = survey.python(python, environment)
    listed = listing.listed(index, known, environment) if index else ()
    read = survey.survey(program, environment)
    there = {one.name for one in read.packages}
    modules = [module for one in known.usage if one.project in there for module in one.imports]
    found = Environment(
        interpreter=read.interpreter,
        packages=read.packages,
        torch_cuda=read.torch_cuda,
        hardware=hardware.hardware(program, environment, gpus=gpus, driver=driver),
        imports=imports.tried(program, modules, environment) if tries else (),
    )
    usage = [code.look(folder, one, found.version("torch")) for one in known.usage] if folder else []
    return judge.judge(found, known, listed=listed, usage=usage)
