"""Reading a recipe strictly. Pure: bytes in, a record or one report of every fault out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any, Final

from packaging.requirements import InvalidRequirement
from packaging.specifiers import InvalidSpecifier
from packaging.utils import InvalidWheelFilename, canonicalize_name
from packaging.version import InvalidVersion, Version

from retread import arch, pypa, strict
from retread.address import has_secret
from retread.arch import Arch
from retread.errors import RecipeError
from retread.fields import is_inside
from retread.recipe import platforms, trial, waiver
from retread.recipe.model import Build, Container, Pin, Recipe, Target
from retread.strict import count, toml
from retread.version import channel

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")
PLACEHOLDERS: Final = ("version", "architectures", "torch-architectures", "cuda-home", "site-packages")
"""What a variable of a build may hold in braces."""
OURS: Final = frozenset(
    (
        "PATH", "HOME", "TMPDIR", "LC_ALL", "TZ", "CC", "CXX", "CUDA_HOME", "CUDA_PATH", "MAX_JOBS",
        "SOURCE_DATE_EPOCH", "PYTHONPATH", "PYTHONHOME", "PYTHONHASHSEED", "GIT_DIR",
    )
)  # fmt: skip
"""Variables of a build that retread sets itself."""


def parse_recipe(data: bytes, *, name: str) -> Recipe:
    """Return the recipe in ``data``; RecipeError lists every fault with its key path."""
    table = toml(data, name)
    recipe, faults = strict.read(Recipe, table)
    faults += _recipe_faults(recipe, name) if recipe is not None else _faults_of_sound_targets(table)
    if recipe is None or faults:
        raise RecipeError(
            f"recipe {name} has {count(faults)}",
            faults=faults,
            hint="the schema is what 'retread recipe schema' prints",
        )
    return recipe


def _recipe_faults(recipe: Recipe, name: str) -> Iterator[str]:
    if recipe.name != name:
        yield f"name: is {recipe.name!r}, the file is {name}.toml"
    if not NAME.fullmatch(recipe.project):
        yield f"project: {recipe.project!r} is not a project name"
    yield from _version_faults(recipe)
    if not recipe.targets:
        yield "targets: none; a recipe needs at least one"
    yield from _source_faults(recipe)
    yield from _repository_faults(recipe.pin)
    paths = [submodule.path for submodule in recipe.pin.submodules]
    twice = strict.again(paths)
    for index, path in enumerate(paths):
        if index in twice:
            yield f"pin.submodules[{index}].path: {path!r} is listed twice"
        if path.startswith("/") or ".." in PurePosixPath(path).parts:
            yield f"pin.submodules[{index}].path: {path!r} leaves the source tree"
    yield from trial.suite_faults(recipe.smoke)
    for key, target in recipe.targets.items():
        for fault in _target_faults(key, target):
            yield f"targets.{key}.{fault}"


def _source_faults(recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong with where the source comes from: a commit, with an sdist or without, or a wheel."""
    root = recipe.source_root
    if recipe.source is None:
        if not recipe.pin.commit:
            sdist = recipe.sdist.file
            yield "pin: missing; " + (
                f"nothing says of which commit {sdist} is"
                if sdist
                else "neither a commit ([pin]) nor a wheel ([source]) stands for the source"
            )
        if not recipe.native_inputs:
            yield "native-inputs: missing; which files can change compiled code?"
        if root and not is_inside(root):
            yield f"source-root: {strict.shown(root)} leaves the source tree"
        if root:
            for key in (key for key, target in recipe.targets.items() if target.build):
                yield f"source-root: {strict.shown(root)}, and targets.{key}.build compiles at the top of the source"
        return
    for key, there in (("pin", recipe.pin.commit), ("sdist", recipe.sdist.file), ("source-root", root)):
        if there:
            yield f"{key}: with [source] a wheel stands for the source; drop one of the two"
    for key in (key for key, target in recipe.targets.items() if target.build):
        yield f"targets.{key}.build: nothing can be compiled of a wheel ([source])"


def _version_faults(recipe: Recipe) -> Iterator[str]:
    try:
        version = pypa.version(recipe.version)
    except InvalidVersion:
        yield f"version: {strict.shown(recipe.version)} is not a PEP 440 version"
        return
    if version.local:
        yield f"version: {strict.shown(recipe.version)} has a local part; that part is retread's to write"
        return
    if str(version) != recipe.version:
        yield f"version: {strict.shown(recipe.version)} is written {str(version)!r}"
    if recipe.source:
        yield from _base_faults(recipe, version, "source.wheel", recipe.source.wheel)
    for key, target in recipe.targets.items():
        for index, base in enumerate(target.base):
            yield from _base_faults(recipe, version, f"targets.{key}.base[{index}].file", base.file)


def _faults_of_sound_targets(table: dict[str, Any]) -> Iterator[str]:
    """Look into those targets of a broken recipe that read well, so that one wrong key hides no other fault."""
    targets = table.get("targets")
    for key, value in targets.items() if isinstance(targets, dict) else ():
        target, _ = strict.read(Target, value)
        for fault in _target_faults(key, target) if target is not None else ():
            yield f"targets.{key}.{fault}"


def _repository_faults(pin: Pin) -> Iterator[str]:
    fields = {"pin.repository": pin.repository}
    fields |= {
        f"pin.submodules[{index}].repository": one.repository for index, one in enumerate(pin.submodules)
    }
    for field, address in fields.items():
        if address.startswith("-"):
            yield f"{field}: {address!r} is an option, not an address"
        elif has_secret(address):
            yield f"{field}: holds a password or a token; leave it to git's credential helper"


def _target_faults(key: str, target: Target) -> Iterator[str]:
    if not target.base and target.build is None:
        yield "base, build: neither is there, so no lane can make it"
    if target.build is not None:
        yield from _build_faults(target, target.build)
    yield from waiver.faults(target.waive)
    yield from _proving_faults(target)
    if target.container is not None:
        yield from _container_faults(target.container, target.build)
    if target.smoke is not None:
        yield from trial.faults(target.smoke, target.torch)
    yield from _platform_faults(target)
    expected = channel(target.cuda)
    if key != expected:
        yield f"cuda: {target.cuda} belongs to a target named {expected!r}"
    yield from _architecture_faults("architectures", target.architectures, target.cuda)
    yield from _architecture_faults("ptx", target.ptx, target.cuda)
    if not target.architectures:
        yield "architectures: none"
    yield from _some_faults(target)
    yield from _slim_faults(target)
    for index, exemption in enumerate(target.exempt):
        listed = f"exempt[{index}].architectures"
        yield from _architecture_faults(listed, exemption.architectures, target.cuda)
        yield from _architecture_faults(f"exempt[{index}].ptx", exemption.ptx, target.cuda)
    files = [base.file for base in target.base]
    for index in strict.again(files):
        yield f"base[{index}].file: {files[index]!r} is listed twice"
    try:
        pypa.specifiers(target.torch)
    except InvalidSpecifier:
        yield f"torch: {strict.shown(target.torch)} is not a version range like '>=2.10' or '==2.6.0'"
    else:
        yield from _torch_faults(target)
    yield from _requirement_faults("requires", target.requires)


def _platform_faults(target: Target) -> Iterator[str]:
    """Yield what is wrong with what a target says for single platforms."""
    there = []
    for base in target.base:
        with suppress(InvalidWheelFilename):  # told elsewhere
            there.append(platforms.of_wheel(base.file))
    for name, one in target.platforms.items():
        at = f"platforms.{name}"
        if target.build and name in platforms.COMPILED[1:]:
            yield from _architecture_faults(f"{at}.architectures", one.architectures or (), target.cuda)
            yield from _architecture_faults(f"{at}.ptx", one.ptx or (), target.cuda)
            if one.image is not None and not _is_pinned(one.image):
                yield f"{at}.image: {one.image!r} is not an image pinned by digest (NAME@sha256:...)"
        elif name not in there:
            known = f"there are {', '.join(dict.fromkeys(there))}" if there else "there is none"
            yield f"{at}: no base wheel is for it{strict.near_miss(name, there)}; {known}"
        elif not platforms.is_windows(name):
            yield f"{at}: the target itself says what its wheels for Linux hold"
        yield from _requirement_faults(f"{at}.requires", one.requires or ())
        for fault in trial.faults(one.smoke, target.torch) if one.smoke else ():
            yield f"{at}.{fault}"
        for index, exemption in enumerate(one.exempt or ()):
            listed = f"{at}.exempt[{index}]"
            yield from _architecture_faults(f"{listed}.architectures", exemption.architectures, target.cuda)
            yield from _architecture_faults(f"{listed}.ptx", exemption.ptx, target.cuda)


def _proving_faults(target: Target) -> Iterator[str]:
    if target.proving and not target.base:
        yield f"proving: {target.proving!r} has nothing to prove; it is for base wheels, of which there are none"
    if target.proving and target.proving == target.toolchain:
        yield f"proving: {target.proving!r} is the toolchain already; leave it out"


def _some_faults(target: Target) -> Iterator[str]:
    yield from _architecture_faults("some", target.some, target.cuda)
    for index, one in enumerate(target.some):
        if one in target.architectures:
            yield f"some[{index}]: {one} is in architectures already, which every module has"


def _slim_faults(target: Target) -> Iterator[str]:
    yield from _architecture_faults("slim", target.slim, target.cuda)
    for index, one in enumerate(target.slim):
        if one[-1] in "af":
            yield f"slim[{index}]: no GPU has the capability {one}; say {one[:-1]}"
    for index, one in enumerate(target.architectures):
        if target.slim and not any(arch.runs(one, each) for each in target.slim):
            yield f"architectures[{index}]: {one} is taken out, since no GPU of slim runs it"
    if target.compress and not target.slim:
        yield "compress: it packs what is slim; say for which GPUs"


def _torch_faults(target: Target) -> Iterator[str]:
    """Yield each requirement that asks for another torch than the target: the wheel could hold one of the two only."""
    wanted = pypa.requirement(f"torch{target.torch}") if target.torch else None
    for index, text in enumerate(target.requires):
        try:
            one = pypa.requirement(text)
        except InvalidRequirement:
            continue  # told elsewhere
        if canonicalize_name(one.name) == "torch" and not one.extras and not one.marker and one != wanted:
            other = f"another torch than the target's, {strict.shown(target.torch)}"
            none = "a torch, and the target names none: say its range under 'torch'"
            yield f"requires[{index}]: {strict.shown(text)} is {other if wanted else none}"


def _requirement_faults(field: str, values: tuple[str, ...]) -> Iterator[str]:
    for index, text in enumerate(values):
        try:
            pypa.requirement(text)
        except InvalidRequirement as error:
            yield f"{field}[{index}]: {strict.shown(text)}: {str(error).splitlines()[0]}"


def _build_faults(target: Target, build: Build) -> Iterator[str]:
    if not target.toolchain:
        yield "toolchain: missing; a build needs the one whose nvcc compiles"
    elif target.fallback == target.toolchain:
        yield f"fallback: {target.fallback!r} is the toolchain already; name one that can be had where that cannot"
    try:
        pypa.specifiers(build.python)
    except InvalidSpecifier:
        yield f"build.python: {strict.shown(build.python)} is not a version range like '>=3.10,<3.14'"
    yield from _requirement_faults("build.requires", build.requires)
    for name, value in build.environment.items():
        if name in OURS or name.startswith(("RETREAD_", "SCCACHE_")):
            yield f"build.environment.{name}: is retread's to set"
        for found in re.findall(r"\{([^{}]*)\}", value):
            if found not in PLACEHOLDERS:
                near = strict.near_miss(found, PLACEHOLDERS)
                yield f"build.environment.{name}: there is no {{{found}}}{near}; known are {', '.join(PLACEHOLDERS)}"
    if any("{torch-architectures}" in value for value in build.environment.values()):
        for one in target.ptx:
            if one not in target.architectures:
                yield f"ptx: torch's list cannot say PTX for {one} without its machine code; add it to architectures"


def _container_faults(container: Container, build: Build | None) -> Iterator[str]:
    if build is None:
        yield "build: missing; the container lane compiles as it says"
    if not _is_pinned(container.image):
        yield f"container.image: {container.image!r} is not an image pinned by digest (NAME@sha256:...)"
    if not re.fullmatch(r"manylinux_2_[0-9]{1,3}", container.platform):
        yield f"container.platform: {container.platform!r} is not like 'manylinux_2_28'"
    yield from _requirement_faults("container.test-requires", container.test_requires)
    if not container.pythons:
        yield "container.pythons: none"
    for index, python in enumerate(container.pythons):
        if not re.fullmatch(r"3\.[0-9]{1,2}", python):
            yield f"container.pythons[{index}]: {python!r} is not like '3.12'"
        elif build and not _allows(build.python, f"{python}.99"):
            yield f"container.pythons[{index}]: {python} is outside of build.python, {build.python}"


def _is_pinned(image: str) -> bool:
    return re.fullmatch(r"[a-z0-9][a-z0-9./:_-]*@sha256:[0-9a-f]{64}", image) is not None


def _allows(wanted: str, version: str) -> bool:
    try:
        return pypa.specifiers(wanted).contains(version)
    except InvalidSpecifier:
        return True  # told elsewhere


def _architecture_faults(field: str, values: tuple[Arch, ...], cuda: str) -> Iterator[str]:
    release, twice = tuple(int(part) for part in cuda.split(".")), strict.again(values)
    for index, value in enumerate(values):
        first = arch.FIRST_CUDA[value]
        if release < first:
            yield f"{field}[{index}]: {value} needs CUDA {first[0]}.{first[1]} or newer, the target says {cuda}"
        if index in twice:
            yield f"{field}[{index}]: {value} is listed twice"


def _base_faults(recipe: Recipe, version: Version, field: str, file: str) -> Iterator[str]:
    try:
        project, found, _, _ = pypa.wheel_name(file)
    except InvalidWheelFilename as error:
        yield f"{field}: {error}"
        return
    if project != canonicalize_name(recipe.project) or found != version:
        yield f"{field}: {file!r} is not a wheel of {recipe.project} {recipe.version}"
