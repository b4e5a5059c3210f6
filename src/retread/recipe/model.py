"""Recipes and toolchain files: what to build, pinned so that it cannot mean two things.

Pure: bytes in, records or one report of every fault out.
"""

from __future__ import annotations

import msgspec

from retread.fields import Architecture, Commit, Cuda, Digest, FileName, Positive, Table, Text
from retread.recipe.trial import Smoke, Trial


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


def locked(target: Target) -> tuple[str, ...]:
    """Return what a target's lock pins: what its build requires, and what its wheel is tried with in a container."""
    build = target.build.requires if target.build else ()
    return build + (target.container.test_requires if target.container else ())
