"""Recipes and toolchain files: what to build, pinned so that it cannot mean two things.

Pure: bytes in, records or one report of every fault out.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from retread.fields import Architecture, Commit, Cuda, Digest, FileName, Positive, Table, Text
from retread.prooflevel import ProofLevel
from retread.recipe import platforms
from retread.recipe.trial import Smoke, Trial
from retread.records import Sha256


class Submodule(Table, frozen=True, kw_only=True):
    """A submodule of the pinned commit, at the commit that the superproject's tree names."""

    path: Text
    """Where it lies in the source tree."""
    repository: Text
    """An address that git fetches from."""
    commit: Commit
    """The commit that the pinned tree names for it."""


class Pin(Table, frozen=True, kw_only=True):
    """Where the source comes from: a repository and a full commit, with its submodules."""

    repository: Text
    """An address that git fetches from, without a password."""
    commit: Commit
    """The commit whose tree the source has to be."""
    submodules: tuple[Submodule, ...] = ()
    """Every submodule, as the commit says."""


class Unproven(Table, frozen=True, kw_only=True):
    """Files of the sdist that no commit proof covers, allowed by name and with the reason."""

    paths: tuple[Text, ...]
    """Globs over the archive."""
    reason: Text
    """Why nobody has to prove them."""


class Sdist(Table, frozen=True, kw_only=True):
    """The source archive that stands for the pin."""

    file: FileName
    """Its name on the package index."""
    sha256: Digest
    """What its bytes have to be."""
    unproven: tuple[Unproven, ...] = ()
    """Anything else that is unproven is an error."""
    copies: dict[str, str] = msgspec.field(default_factory=dict)
    """Folder in the sdist -> the pinned folder of which its files are copies."""


NO_PIN: Final = Pin(repository="", commit="")
NO_SDIST: Final = Sdist(file="", sha256=Sha256(""))
"""What stands for a table that a recipe leaves out."""


class Source(Table, frozen=True, kw_only=True):
    """A wheel whose own files stand for the source, where there is no other: of that nothing is proven."""

    wheel: FileName
    """Its name on the package index."""
    sha256: Digest
    """What its bytes have to be."""


class Base(Table, frozen=True, kw_only=True):
    """A wheel whose compiled parts an overlay takes over."""

    file: FileName
    """Its name on the package index; one wheel is made of each."""
    sha256: Digest
    """What its bytes have to be."""


class Exemption(Table, frozen=True, kw_only=True):
    """A library that does not carry the target's architectures, what it carries instead, and why."""

    library: Text
    """Its path in the wheel."""
    architectures: tuple[Architecture, ...]
    """For which every module of it has machine code, no less and no more."""
    ptx: tuple[Architecture, ...] = ()
    """For which every module of it has PTX."""
    reason: Text
    """Why; the audit shows it."""


class Edit(Table, frozen=True, kw_only=True):
    """One replacement in a file that the base wheel's build generated; ``find`` must occur exactly once.

    ``{version}`` in ``replace`` stands for the new version.
    """

    file: Text
    """Its path in the wheel."""
    find: Text
    """What stands there exactly once."""
    replace: str
    """What is to stand there; ``{version}`` is the new version."""


class Build(Table, frozen=True, kw_only=True):
    """How the source lane compiles a target. What is not said here does not reach the build."""

    python: Text
    """Range of the Python versions that a wheel can be built for."""
    requires: tuple[Text, ...]
    """What the build environment holds; ``recipes/locks/`` pins it with everything below it by hash."""
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    """Variable -> value, in which these are replaced: ``{version}``, ``{architectures}``, ``{torch-architectures}``,
    ``{cuda-home}``, ``{site-packages}``. Nothing of the caller's environment comes in."""
    links: tuple[Text, ...] = ()
    """Projects of the lock whose headers are compiled in and whose libraries are linked: for another platform than
    this machine's, these are taken from that platform's wheels."""


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


class Platform(Table, frozen=True, kw_only=True):
    """What of a target is another for one platform; what is not said is the target's."""

    architectures: tuple[Architecture, ...] | None = None
    """In the place of the target's."""
    ptx: tuple[Architecture, ...] | None = None
    """In the place of the target's."""
    image: Text | None = None
    """The platform's image for the container lane, pinned by digest; without one it has no such lane."""
    generated: tuple[Text, ...] | None = None
    """In the place of the target's."""
    exempt: tuple[Exemption, ...] | None = None
    """In the place of the target's."""
    requires: tuple[Text, ...] | None = None
    """In the place of the target's."""
    note: str | None = None
    """In the place of the target's."""
    smoke: Trial | None = None
    """In the place of the target's."""


class Target(Table, frozen=True, kw_only=True):
    """One output of a recipe."""

    cuda: Cuda
    """The CUDA release; the target's name follows from it: 12.8 is ``cu128``."""
    torch: Text = ""
    """The range that the wheel requires; left out where it requires none."""
    revision: Positive
    """Counts our own releases: 1 in ``0.0.35+cu128.1``. It grows when anything changes that users get."""
    architectures: tuple[Architecture, ...]
    """For which every module of every library has machine code, no less and no more."""
    some: tuple[Architecture, ...] = ()
    """For which some modules have machine code beside, and others not: projects that choose them for each source."""
    ptx: tuple[Architecture, ...]
    """For which every module of every library has PTX."""
    slim: tuple[Architecture, ...] = ()
    """GPUs of the fleet that it is for: code that none of them runs goes, and PTX, too, where ``ptx`` is empty."""
    compress: Literal["", "speed", "balance", "size"] = ""
    """How the images of a slim wheel are packed anew, as nvcc's ``--compress-mode``; left out: they stay."""
    base: tuple[Base, ...] = ()
    """Official wheels of the pinned commit, for the overlay lane."""
    build: Build | None = None
    """How to compile it, for the source lane."""
    container: Container | None = None
    """In what to compile it, for the container lane."""
    toolchain: Text = ""
    """Name of a toolchain, retread's own or a file in ``recipes/toolchains/``: its ptxas assembles what the base lacks,
    its compiler compiles."""
    proving: Text = ""
    """Name of the toolchain whose ptxas built the base wheels, where that is another CUDA release than the target's: it
    has to make their own machine code again from their PTX, byte for byte."""
    fallback: Text = ""
    """Name of the toolchain that compiles where the machine cannot have the first; the wheel's version says so."""
    note: str = ""
    """A sentence that users must see."""
    generated: tuple[Text, ...] = ()
    """Files (globs) of the base wheel that its build made and no source holds."""
    exempt: tuple[Exemption, ...] = ()
    """Libraries that hold something else; the audit holds them to that."""
    waive: dict[str, Text] = msgspec.field(default_factory=dict)
    """Rule of any wheel that the base wheel breaks itself, as the audit names it -> the reason to take it all the same.
    A rule that the base does not break is an error."""
    requires: tuple[Text, ...] = ()
    """Requirements that replace those of the same name in METADATA, or are added."""
    run_path: dict[str, tuple[Text, ...]] = msgspec.field(default_factory=dict)
    """Library (glob) -> run path entries."""
    edit: tuple[Edit, ...] = ()
    """Replacements in files that the base wheel's build generated."""
    smoke: Trial | None = None
    """Under what its wheels are tried."""
    platforms: dict[str, Platform] = msgspec.field(default_factory=dict)
    """Platform that is compiled for, like ``aarch64``, or of a base wheel that is not Linux's, like ``win_amd64`` ->
    what is another for it."""

    def on(self, platform: str) -> Target:
        """Return the target as one platform has it: its own base wheels, and no run path on Windows."""
        own = self.platforms.get(platform, Platform())
        said = {name: value for name, value in msgspec.structs.asdict(own).items() if value is not None}
        image = said.pop("image", "")
        if self.container and platform in self.platforms:
            said |= {"container": msgspec.structs.replace(self.container, image=image) if image else None}
        said |= {"run_path": {}} if platforms.is_windows(platform) else {}
        base = tuple(one for one in self.base if platforms.of_base(one.file) == platform)
        return msgspec.structs.replace(self, **said, base=base, platforms={})

    @property
    def made_for(self) -> tuple[str, ...]:
        """The platforms that there are wheels of it for: that of compiles, those of base wheels, and those it names."""
        compiled = platforms.COMPILED[:1] if self.build else ()
        return tuple(
            dict.fromkeys((*compiled, *(platforms.of_base(one.file) for one in self.base), *self.platforms))
        )

    @property
    def toolchains(self) -> tuple[str, ...]:
        """The toolchains that it names, the one to be preferred first."""
        return tuple(filter(None, (self.toolchain, self.fallback)))

    @property
    def every_toolchain(self) -> tuple[str, ...]:
        """The same, and the one that proves its base wheels."""
        return (*self.toolchains, *filter(None, (self.proving,)))


class Recipe(Table, frozen=True, kw_only=True):
    """A pinned upstream commit, the series on it and its targets."""

    name: Text
    """The file's name."""
    project: Text
    """The project on the package index."""
    version: Text
    """The upstream release; the series is in ``patches/PROJECT/VERSION/``."""
    summary: Text
    """One line, for lists."""
    pin: Pin = NO_PIN
    """The source: a commit."""
    sdist: Sdist = NO_SDIST
    """The archive that stands for the pin; without one the commit is fetched from its repository."""
    source: Source | None = None
    """The wheel that stands for the source, in the place of pin and sdist."""
    source_root: Text = ""
    """The folder of the source in which the wheel's files lie, where that is not its top: ``python``."""
    native_inputs: tuple[Text, ...] = ()
    """Globs over the source: files that can change compiled code. What has a suffix of C, C++ or CUDA counts, too.

    A patch on one forbids the overlay lane; a compile proves that none is missing. Needed with a pin.
    """
    targets: dict[str, Target]
    """One for each CUDA release, under its name: ``cu128``."""
    smoke: Smoke = Smoke()
    """How the finished wheels are tried."""

    @property
    def level(self) -> ProofLevel:
        """How far the source is proven."""
        if self.source:
            return ProofLevel.WHEEL
        return ProofLevel.PROVEN if self.sdist.file else ProofLevel.REPOSITORY

    def in_wheel(self, path: str) -> str:
        """Return where the wheel has a file of the source; nothing for one outside of the source's root."""
        if not self.source_root:
            return path
        below = f"{self.source_root}/"
        return path.removeprefix(below) if path.startswith(below) else ""

    def in_source(self, path: str) -> str:
        """Return where the source has a file of the wheel."""
        return f"{self.source_root}/{path}" if self.source_root else path

    def on(self, platform: str) -> Recipe:
        """Return the recipe as one platform has it."""
        targets = {name: target.on(platform) for name, target in self.targets.items()}
        return msgspec.structs.replace(self, targets=targets)


def locked(target: Target) -> tuple[str, ...]:
    """Return what a target's lock pins: what its build requires, and what its wheel is tried with in a container."""
    build = target.build.requires if target.build else ()
    return build + (target.container.test_requires if target.container else ())
