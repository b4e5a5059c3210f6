"""The kit: one file that tries a wheel on a machine that has only Python and torch.

A zip that Python runs: the wheel, the suites, the small wheels that the target needs beside torch, the runner, and the
libraries that the runner stands on (installer, packaging). Its manifest names every file by its SHA-256.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import msgspec

from retread import canonical, strict
from retread.arch import Arch
from retread.doors import fs
from retread.errors import RecipeError
from retread.recipe.model import Recipe
from retread.recipe.trial import Trial
from retread.records import Record, Sha256
from retread.wheel.facts import WheelFacts
from retread.wheel.statement import Promise

MANIFEST = "kit.json"
SCHEMA = 1
_TIME = (1980, 1, 1, 0, 0, 0)
_EVERY = ("package.py", "native.py")
"""The suites of every wheel."""
_BOTH = ("fatbins.py", "patience.py")
"""What the runner and those suites stand on."""
_SUPPORT = ("harness.py", "witness.py", "stopwatch.py", *_EVERY, *_BOTH)
"""What lies beside the suites of a project."""
_LIBRARIES = ("installer", "packaging")


class Manifest(Record, frozen=True, kw_only=True):
    """``kit.json``: the wheel, what it promises, what the suites are told, and every file of the kit."""

    schema: int
    wheel: str
    sha256: Sha256
    project: str
    version: str
    recipe: str
    target: str
    cuda: str
    torch: str
    architectures: tuple[Arch, ...]
    ptx: tuple[Arch, ...]
    requires: tuple[str, ...]
    libraries: tuple[str, ...]
    suites: tuple[str, ...]
    imports: dict[str, str]
    commands: tuple[str, ...]
    expect: dict[str, tuple[str, ...]]
    files: dict[str, Sha256]
    digest: Sha256
    """Of everything above; a manifest that was edited does not bear it."""


class Parts(NamedTuple):
    """What a kit is made of, but for the wheel: how it is tried, and what is promised of it."""

    recipe: Recipe
    target: str
    promise: Promise
    programs: Mapping[str, bytes]
    """The suites and what lies beside them, by name."""
    runtime: tuple[Path, ...]
    """The small wheels that the target needs beside torch."""


def suites(recipe: Recipe, root: Path) -> dict[str, bytes]:
    """Return the recipe's suites and the Python files beside them; RecipeError for one that is not there."""
    found: dict[str, bytes] = {}
    for index, name in enumerate(recipe.smoke.suites):
        path = root / name
        if not path.is_file():
            raise RecipeError(f"recipe {recipe.name}: smoke.suites[{index}]: there is no {name}")
        found |= {beside.name: beside.read_bytes() for beside in sorted(path.parent.glob("*.py"))}
    for name in _SUPPORT:
        if name in found:
            raise RecipeError(
                f"recipe {recipe.name}: a file named {name} lies beside its suites; that one is retread's"
            )
    return found


def write(path: Path, parts: Parts, wheel: tuple[Path, WheelFacts] | None = None) -> Manifest:
    """Write a kit to ``path``; the same inputs give the same bytes.

    ``wheel`` is the one to try and what was read of it. Without one the kit is for a wheel that is made where there is
    no retread: it is told which by ``--wheel``.
    """
    manifest, wheels = _blank(parts), parts.runtime
    if wheel:
        place, facts = wheel
        manifest, wheels = _filled(manifest, facts), (place, *wheels)
    files = {f"wheels/{one.name}": one.read_bytes() for one in wheels}
    files |= {f"suites/{name}": data for name, data in parts.programs.items()}
    files |= dict(_runner())
    manifest = _sealed(manifest, files)
    files[MANIFEST] = msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"))
    with fs.sibling(path) as temporary:
        _pack(temporary, files)
        temporary.chmod(0o755)
    return manifest


def _blank(parts: Parts) -> Manifest:
    recipe, promise = parts.recipe, parts.promise
    trial = recipe.targets[parts.target].smoke or Trial()
    return Manifest(
        schema=SCHEMA,
        wheel="",
        sha256=Sha256(""),
        project=recipe.project,
        version="",
        recipe=recipe.name,
        target=parts.target,
        cuda=promise.cuda,
        torch=promise.torch,
        architectures=promise.architectures,
        ptx=promise.ptx,
        requires=(),
        libraries=(),
        suites=(*_EVERY, *(PurePosixPath(name).name for name in recipe.smoke.suites)),
        imports=recipe.smoke.imports,
        commands=recipe.smoke.commands,
        expect={**recipe.smoke.expect, **trial.expect},
        files={},
        digest=Sha256(""),
    )


def _filled(blank: Manifest, facts: WheelFacts) -> Manifest:
    return msgspec.structs.replace(
        blank,
        wheel=facts.file,
        sha256=facts.sha256,
        project=facts.project,
        version=facts.version,
        requires=facts.requires,
        libraries=tuple(facts.libraries),
    )


def _sealed(manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
    listed = {name: Sha256(hashlib.sha256(data).hexdigest()) for name, data in files.items()}
    made = msgspec.structs.replace(manifest, files=listed)
    sealed = Sha256(canonical.digest(strict.json(msgspec.json.encode(made))))
    return msgspec.structs.replace(made, digest=sealed)


def digest(path: Path) -> Sha256:
    """Return the digest of a kit's manifest: what reports bear."""
    with zipfile.ZipFile(path) as archive:
        return Sha256(hashlib.sha256(archive.read(MANIFEST)).hexdigest())


def _pack(path: Path, files: Mapping[str, bytes]) -> None:
    path.write_bytes(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(path, "a") as archive:
        for name, data in sorted(files.items()):
            info = zipfile.ZipInfo(name, _TIME)
            info.external_attr = 0o100644 << 16
            wheel = name.startswith("wheels/")
            info.compress_type = zipfile.ZIP_STORED if wheel else zipfile.ZIP_DEFLATED
            archive.writestr(info, data)


def _runner() -> Iterator[tuple[str, bytes]]:
    """Yield the runner's files under the names that its imports have, the libraries' and what the suites stand on."""
    own = resources.files("retread")
    yield "retread/__init__.py", b""
    yield "retread/smoke/__init__.py", b""
    for name in ("arch.py", "canonical.py"):
        yield f"retread/{name}", own.joinpath(name).read_bytes()
    for one in own.joinpath("smoke", "runtime").iterdir():
        if one.name.endswith(".py"):
            if one.name in _SUPPORT:
                yield f"suites/{one.name}", one.read_bytes()
            if one.name not in _SUPPORT or one.name in _BOTH:
                folder = "" if one.name == "__main__.py" else "retread/smoke/runtime/"
                yield f"{folder}{one.name}", one.read_bytes()
    for library in _LIBRARIES:
        yield from _modules(resources.files(library), library)


def _modules(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for one in folder.iterdir():
        if one.is_dir():
            yield from _modules(one, f"{path}/{one.name}")
        elif one.name.endswith(".py"):
            yield f"{path}/{one.name}", one.read_bytes()
