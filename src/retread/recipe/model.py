"""Recipes and toolchain files: what to build, pinned so that it cannot mean two things.

Pure: bytes in, records or one report of every fault out.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from retread import arch, strict
from retread.arch import Arch
from retread.errors import PlanError, RecipeError
from retread.fields import (
    Architecture,
    Commit,
    Cuda,
    Digest,
    FileName,
    Positive,
    Table,
    Text,
    is_inside,
)
from retread.recipe import trial
from retread.recipe.trial import Smoke, Trial

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
CODE: Final = (
    ".c", ".cc", ".cpp", ".cxx", ".cu", ".cuh", ".h", ".hh", ".hpp", ".hxx", ".inl", ".inc", ".ipp", ".tpp", ".S", ".s"
)  # fmt: skip
"""Suffixes that make a file a native input whatever the globs say: it could stand in the way of an include."""


class Submodule(Table, frozen=True, kw_only=True):
    """A submodule of the pinned commit, at the commit that the superproject's tree names."""

    path: Text
    repository: Text
    commit: Commit


class Pin(Table, frozen=True, kw_only=True):
    """Where the source comes from: a repository and a full commit, with its submodules."""

    repository: Text
    commit: Commit
    submodules: tuple[Submodule, ...] = ()


class Unproven(Table, frozen=True, kw_only=True):
    """Files of the sdist that no commit proof covers, allowed by name and with the reason."""

    paths: tuple[Text, ...]
    reason: Text


class Sdist(Table, frozen=True, kw_only=True):
    """The source archive that stands for the pin."""

    file: FileName
    sha256: Digest
    unproven: tuple[Unproven, ...] = ()
    copies: dict[str, str] = msgspec.field(default_factory=dict)
    """Folder in the sdist -> the pinned folder of which its files are copies."""


class Base(Table, frozen=True, kw_only=True):
    """A wheel whose compiled parts an overlay takes over."""

    file: FileName
    sha256: Digest


class Exemption(Table, frozen=True, kw_only=True):
    """A library that does not carry the target's architectures, what it carries instead, and why."""

    library: Text
    architectures: tuple[Architecture, ...]
    ptx: tuple[Architecture, ...] = ()
    reason: Text


class Edit(Table, frozen=True, kw_only=True):
    """One replacement in a file that the base wheel's build generated; ``find`` must occur exactly once.

    ``{version}`` in ``replace`` stands for the new version.
    """

    file: Text
    find: Text
    replace: str


class Build(Table, frozen=True, kw_only=True):
    """How the source lane compiles a target. What is not said here does not reach the build."""

    python: Text
    """Range of the Python versions that a wheel can be built for."""
    requires: tuple[Text, ...]
    """What the build environment holds; ``recipes/locks/`` pins it with everything below it by hash."""
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    """Variable -> value, in which the names of ``PLACEHOLDERS`` in braces are replaced."""


class Container(Table, frozen=True, kw_only=True):
    """In what the container lane compiles a target."""

    image: Text
    """A manylinux image, pinned by digest."""
    platform: Text
    """The newest manylinux that the wheels may need: ``manylinux_2_28``."""
    pythons: tuple[Text, ...]
    """A wheel is made for each: ``3.12``; for one that serves every Python, the oldest."""
    test_requires: tuple[Text, ...] = ()
    """What the wheel needs to be tried, beside what the build environment holds."""


class Target(Table, frozen=True, kw_only=True):
    """One output of a recipe."""

    cuda: Cuda
    torch: Text
    revision: Positive
    architectures: tuple[Architecture, ...]
    ptx: tuple[Architecture, ...]
    base: tuple[Base, ...] = ()
    """Official wheels of the pinned commit, for the overlay lane."""
    build: Build | None = None
    """How to compile it, for the source lane."""
    container: Container | None = None
    """In what to compile it, for the container lane."""
    toolchain: Text = ""
    """Name of the file in ``recipes/toolchains/``: its ptxas assembles what the base lacks, its nvcc compiles."""
    note: str = ""
    generated: tuple[Text, ...] = ()
    """Files (globs) of the base wheel that its build made and no source holds."""
    exempt: tuple[Exemption, ...] = ()
    requires: tuple[Text, ...] = ()
    """Requirements that replace those of the same name in METADATA, or are added."""
    run_path: dict[str, tuple[Text, ...]] = msgspec.field(default_factory=dict)
    """Library (glob) -> run path entries."""
    edit: tuple[Edit, ...] = ()
    smoke: Trial | None = None
    """Under what its wheels are tried."""


class Recipe(Table, frozen=True, kw_only=True):
    """A pinned upstream commit, the series on it and its targets."""

    name: Text
    project: Text
    version: Text
    summary: Text
    pin: Pin
    sdist: Sdist
    native_inputs: tuple[Text, ...]
    """Globs over the source; a file that one matches can change compiled code."""
    targets: dict[str, Target]
    smoke: Smoke = Smoke()
    """How the finished wheels are tried."""


class Part(Table, frozen=True, kw_only=True):
    """One pinned file of a toolchain, for the machines that it runs on: a wheel, or one of NVIDIA's archives."""

    component: Text
    """What people call it."""
    machine: Text
    package: str = ""
    """The project on the package index; or:"""
    path: str = ""
    """The file's place below the toolchain's ``redistributables``."""
    file: FileName
    sha256: Digest
    ptxas: str = ""
    """Path of ptxas inside the part, if this is the part from which overlays take it."""
    folder: str = ""
    """The folder of the part that becomes the toolkit's root; without one it is no piece of the toolkit."""


class Toolchain(Table, frozen=True, kw_only=True):
    """Parts of a CUDA toolkit of exactly one release."""

    name: Text
    cuda: Cuda
    ptx_isa: Cuda
    """The newest PTX ISA that its ptxas reads."""
    redistributables: str = ""
    """The address below which parts with a ``path`` lie."""
    part: tuple[Part, ...]
    links: dict[str, str] = msgspec.field(default_factory=dict)
    """Symlinks of the finished tree: path -> target, relative to the link's folder."""


def parse_recipe(data: bytes, *, name: str) -> Recipe:
    """Return the recipe in ``data``; RecipeError lists every fault with its key path."""
    table = _toml(data, name)
    recipe, faults = strict.read(Recipe, table)
    faults += _recipe_faults(recipe, name) if recipe is not None else _faults_of_sound_targets(table)
    if recipe is None or faults:
        raise RecipeError(
            f"recipe {name} has {_count(faults)}",
            faults=faults,
            hint="the schema is what 'retread recipe schema' prints",
        )
    return recipe


def parse_toolchain(data: bytes, *, name: str) -> Toolchain:
    """Return the toolchain in ``data``; RecipeError lists every fault with its key path."""
    toolchain, faults = strict.read(Toolchain, _toml(data, name))
    if toolchain is not None:
        faults = list(_toolchain_faults(toolchain, name))
    if toolchain is None or faults:
        raise RecipeError(f"toolchain {name} has {_count(faults)}", faults=faults)
    return toolchain


def part_for(toolchain: Toolchain, machine: str) -> Part:
    """Return the part that holds this machine's ptxas; PlanError when there is none."""
    found = [part for part in toolchain.part if part.ptxas]
    return _for_machine(toolchain, found, machine, "part")[0]


def toolkit_parts(toolchain: Toolchain, machine: str) -> tuple[Part, ...]:
    """Return the pieces of this machine's CUDA toolkit; PlanError when there are none."""
    found = [part for part in toolchain.part if part.folder]
    return _for_machine(toolchain, found, machine, "toolkit")


def _for_machine(toolchain: Toolchain, parts: list[Part], machine: str, what: str) -> tuple[Part, ...]:
    found = tuple(part for part in parts if part.machine == machine)
    if not found:
        has = ", ".join(dict.fromkeys(part.machine for part in parts)) or "none at all"
        raise PlanError(f"toolchain {toolchain.name} has no {what} for {machine} machines, only for {has}")
    return found


def locked(target: Target) -> tuple[str, ...]:
    """Return what a target's lock pins: what its build requires, and what its wheel is tried with in a container."""
    build = target.build.requires if target.build else ()
    return build + (target.container.test_requires if target.container else ())


def native_glob(path: str, globs: tuple[str, ...]) -> str:
    """Return why a file is a native input: the glob that matches it, or ``*.cuh`` for one with a suffix of code."""
    suffix = PurePosixPath(path).suffix
    return matches(path, globs) or (f"*{suffix}" if suffix in CODE else "")


def matches(path: str, globs: tuple[str, ...]) -> str:
    """Return the first glob that matches ``path``, or nothing; ``**`` and ``*`` both cross folders."""
    return next((glob for glob in globs if fnmatchcase(path, glob.replace("**", "*"))), "")


def _toolchain_faults(toolchain: Toolchain, name: str) -> Iterator[str]:
    if toolchain.name != name:
        yield f"name: is {toolchain.name!r}, the file is {name}.toml"
    base = toolchain.redistributables
    if base and not re.fullmatch(r"https?://[^/@?#]+/([^?#]*/)?", base):
        yield "redistributables: is not an http address that ends with a slash and holds no password"
    with_ptxas: dict[str, int] = {}
    files: dict[tuple[str, str, str], int] = {}
    for index, part in enumerate(toolchain.part):
        for fault in _part_faults(toolchain, part):
            yield f"part[{index}]{fault}"
        first = files.setdefault((part.machine, part.file, part.folder), index)
        if first != index:
            yield f"part[{index}].file: {part.file!r} is part[{first}] already"
        if part.ptxas and with_ptxas.setdefault(part.machine, index) != index:
            yield f"part[{index}].ptxas: part[{with_ptxas[part.machine]}] has ptxas for {part.machine} already"
    for link, target in toolchain.links.items():
        aim = posixpath.normpath(posixpath.join(posixpath.dirname(link), target))
        if not is_inside(link):
            yield f'links."{link}": leaves the toolkit'
        elif not target or aim.startswith(("/", "..")):
            yield f'links."{link}": its target {target!r} leaves the toolkit'


def _part_faults(toolchain: Toolchain, part: Part) -> Iterator[str]:
    if bool(part.package) == bool(part.path):
        given = "both package and path" if part.path else "neither package nor path"
        yield f": {given}; a part is either on a package index or below redistributables"
    if part.path:
        if not toolchain.redistributables:
            yield ".path: the toolchain has no redistributables, below which it could lie"
        if not is_inside(part.path):
            yield f".path: {part.path!r} leaves the redistributables"
        if part.path.rpartition("/")[2] != part.file:
            yield f".file: is {part.file!r}, the path ends with {part.path.rpartition('/')[2]!r}"
    ending = ".tar.xz" if part.path else ".whl"
    if not part.file.endswith(ending):
        yield f".file: {part.file!r} does not end with {ending}"
    if part.ptxas and part.path:
        yield ".ptxas: it is taken out of a wheel; a part with a path is none"
    for key, value in (("ptxas", part.ptxas), ("folder", part.folder)):
        if value and not is_inside(value):
            yield f".{key}: {value!r} leaves the part"
    if not part.ptxas and not part.folder:
        yield ": neither folder nor ptxas; the part would serve nothing"


def _toml(data: bytes, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # TOML and UTF-8 errors, and numbers that are too long
        raise RecipeError(f"{name}.toml is not TOML: {error}") from None


def _count(faults: list[str]) -> str:
    return "a fault" if len(faults) == 1 else f"{len(faults)} faults"


def _recipe_faults(recipe: Recipe, name: str) -> Iterator[str]:
    if recipe.name != name:
        yield f"name: is {recipe.name!r}, the file is {name}.toml"
    if not NAME.fullmatch(recipe.project):
        yield f"project: {recipe.project!r} is not a project name"
    yield from _version_faults(recipe)
    if not recipe.targets:
        yield "targets: none; a recipe needs at least one"
    yield from _repository_faults(recipe.pin)
    paths = [submodule.path for submodule in recipe.pin.submodules]
    for index, path in enumerate(paths):
        if paths.index(path) != index:
            yield f"pin.submodules[{index}].path: {path!r} is listed twice"
        if path.startswith("/") or ".." in PurePosixPath(path).parts:
            yield f"pin.submodules[{index}].path: {path!r} leaves the source tree"
    yield from trial.suite_faults(recipe.smoke)
    for key, target in recipe.targets.items():
        for fault in _target_faults(key, target):
            yield f"targets.{key}.{fault}"


def _version_faults(recipe: Recipe) -> Iterator[str]:
    try:
        version = Version(recipe.version)
    except InvalidVersion:
        yield f"version: {recipe.version!r} is not a PEP 440 version"
        return
    if version.local:
        yield f"version: {recipe.version!r} has a local part; that part is retread's to write"
        return
    if str(version) != recipe.version:
        yield f"version: {recipe.version!r} is written {str(version)!r}"
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
        elif re.match(r"[a-z+]+://[^/@]*:[^/@]*@", address):
            yield f"{field}: holds a password; leave it to git's credential helper"


def _target_faults(key: str, target: Target) -> Iterator[str]:
    if not target.base and target.build is None:
        yield "base, build: neither is there, so no lane can make it"
    if target.build is not None:
        yield from _build_faults(target, target.build)
    if target.container is not None:
        yield from _container_faults(target.container, target.build)
    if target.smoke is not None:
        yield from trial.faults(target.smoke, target.torch)
    expected = "cu" + target.cuda.replace(".", "")
    if key != expected:
        yield f"cuda: {target.cuda} belongs to a target named {expected!r}"
    yield from _architecture_faults("architectures", target.architectures, target.cuda)
    yield from _architecture_faults("ptx", target.ptx, target.cuda)
    if not target.architectures:
        yield "architectures: none"
    for index, exemption in enumerate(target.exempt):
        listed = f"exempt[{index}].architectures"
        yield from _architecture_faults(listed, exemption.architectures, target.cuda)
        yield from _architecture_faults(f"exempt[{index}].ptx", exemption.ptx, target.cuda)
    files = [base.file for base in target.base]
    for index, file in enumerate(files):
        if files.index(file) != index:
            yield f"base[{index}].file: {file!r} is listed twice"
    try:
        SpecifierSet(target.torch)
    except InvalidSpecifier:
        yield f"torch: {target.torch!r} is not a version range like '>=2.10' or '==2.6.0'"
    yield from _requirement_faults("requires", target.requires)


def _requirement_faults(field: str, values: tuple[str, ...]) -> Iterator[str]:
    for index, text in enumerate(values):
        try:
            Requirement(text)
        except InvalidRequirement as error:
            yield f"{field}[{index}]: {text!r}: {str(error).splitlines()[0]}"


def _build_faults(target: Target, build: Build) -> Iterator[str]:
    if not target.toolchain:
        yield "toolchain: missing; a build needs the one whose nvcc compiles"
    try:
        SpecifierSet(build.python)
    except InvalidSpecifier:
        yield f"build.python: {build.python!r} is not a version range like '>=3.10,<3.14'"
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
    if not re.fullmatch(r"[a-z0-9][a-z0-9./:_-]*@sha256:[0-9a-f]{64}", container.image):
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


def _allows(wanted: str, version: str) -> bool:
    try:
        return SpecifierSet(wanted).contains(version)
    except InvalidSpecifier:
        return True  # told elsewhere


def _architecture_faults(field: str, values: tuple[Arch, ...], cuda: str) -> Iterator[str]:
    release = tuple(int(part) for part in cuda.split("."))
    for index, value in enumerate(values):
        first = arch.FIRST_CUDA[value]
        if release < first:
            yield f"{field}[{index}]: {value} needs CUDA {first[0]}.{first[1]} or newer, the target says {cuda}"
        if values.index(value) != index:
            yield f"{field}[{index}]: {value} is listed twice"


def _base_faults(recipe: Recipe, version: Version, field: str, file: str) -> Iterator[str]:
    try:
        project, found, _, _ = parse_wheel_filename(file)
    except InvalidWheelFilename as error:
        yield f"{field}: {error}"
        return
    if project != canonicalize_name(recipe.project) or found != version:
        yield f"{field}: {file!r} is not a wheel of {recipe.project} {recipe.version}"
