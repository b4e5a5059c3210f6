"""What a wheel says of itself: the records of ``retread.json`` in its .dist-info. Pure."""

from __future__ import annotations

from typing import Final

from msgspec import field

from retread.arch import Arch
from retread.errors import UsageError
from retread.prooflevel import ProofLevel
from retread.records import Record, Sha256
from retread.version import CLANG, NVCC

STATEMENT: Final = "retread.json"
"""What a wheel's own statement is called, in its .dist-info."""


class Exempt(Record, frozen=True, kw_only=True):
    """A library that does not carry the target's architectures, what it carries instead, and why."""

    library: str
    architectures: tuple[Arch, ...]
    ptx: tuple[Arch, ...]
    reason: str


class Proof(Record, frozen=True, kw_only=True):
    """What has to pass before the wheel counts as proven, beside the static level and the jit level."""

    gpu: tuple[Arch, ...]
    """Capabilities of the GPUs on which the gpu level has to pass."""
    triton: tuple[str, ...]
    """Versions under which the jit level has to pass; under any when there are none."""


class Promise(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What a target promises of its wheels; the audit holds the wheel to it."""

    project: str
    version: str
    cuda: str
    torch: str
    architectures: tuple[Arch, ...]
    ptx: tuple[Arch, ...]
    exempt: tuple[Exempt, ...]
    requires: tuple[str, ...]
    run_path: dict[str, tuple[str, ...]]
    note: str
    proof: Proof | None = None
    """What the wheel has to be proven by; None in a wheel of a retread that did not say it yet."""
    waived: dict[str, str] = field(default_factory=dict)
    """Rule of any wheel that it may break, as its base does -> the reason; not written where there are none."""
    some: tuple[Arch, ...] = ()
    """For which some modules have machine code beside; not written where there are none."""


class PatchStatement(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A patch of the series, as the wheel tells it."""

    name: str
    sha256: Sha256
    subject: str
    breaks: str
    affects: str
    upstream: str
    drop_when: str
    offsets: tuple[str, ...] = ()
    """Hunks that did not go in at their own lines, and where they did; not written where there are none."""


class FileStatement(Record, frozen=True, kw_only=True):
    """A pinned file that the build started from."""

    file: str
    sha256: Sha256


class SubmoduleStatement(Record, frozen=True, kw_only=True):
    """A submodule of the pinned commit."""

    path: str
    repository: str
    commit: str


class ToolchainStatement(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The assembler that made the grafted code, and whether the base's own code was made again."""

    name: str
    cuda: str
    ptxas: str
    """What ``ptxas --version`` says."""
    reproduced: bool | None
    """Whether assembling a module's PTX for an architecture that the base has gave the base's bytes; None: no such."""
    proven_by: str = ""
    """The ptxas that gave them, where it is another than ``ptxas``: that of the CUDA release that built the base."""


class DeviceTools(Record, frozen=True, kw_only=True):
    """What made the device code of a library that was compiled, each as it says of itself."""

    compiler: str
    """``nvcc 12.8.93``, or ``Debian clang 22.1.8 (1~deb13u5)``."""
    assembler: str
    """``ptxas 12.8.93``."""
    headers: str
    """``CUDA 12.8``."""
    container: str
    """What packed the fat binaries: ``fatbinary 13.0.88``."""


class CompileStatement(Record, frozen=True, kw_only=True):
    """With what the source lane compiled: every tool and variable that decides the code."""

    native_digest: str
    """Of every native input, tool, variable and locked requirement; the compile's evidence bears it, too."""
    toolkit: str
    """Like ``nvcc 13.0, V13.0.88``."""
    toolkit_digest: str
    toolkit_origin: str
    """``pinned parts`` or ``system``."""
    compiler: str
    """The first line of the C++ compiler's ``--version``."""
    python: str
    lock: str
    """SHA-256 of the lock of the build environment."""
    requires: tuple[str, ...]
    environment: dict[str, str]
    """The recipe's variables as it says them."""
    image: str = ""
    """Name and digest of the image, of a wheel of the container lane."""
    toolchain: str = ""
    """The toolchain's name; empty in a wheel of a retread that did not say it yet, as is the next."""
    device: DeviceTools | None = None
    compiler_digest: str = ""
    """SHA-256 of the C++ compiler's programs and, of one for another machine, of the libraries that it links."""
    system: str = ""
    """Of a compile for another machine, that one's name and the digest of what is pinned of it."""


class LibraryStatement(Record, frozen=True, kw_only=True):
    """One library before and after: architectures that every module has, those that were grafted, its modules."""

    modules: int
    before: tuple[Arch, ...]
    after: tuple[Arch, ...]
    ptx: tuple[Arch, ...]


class SlimStatement(Record, frozen=True, kw_only=True):
    """What was taken out of the libraries, and how what stayed was packed."""

    keep: tuple[Arch, ...]
    """GPUs that run what they ran before, by capability."""
    drop_ptx: bool
    """Whether PTX went that none of them needs."""
    compress: str
    """``speed``, ``balance`` or ``size``, as nvcc's ``--compress-mode``; empty: as it was."""
    driver: str
    """The CUDA release of the oldest driver that unpacks it: ``12.4`` for zstd; empty: any that runs the code."""


class Statement(Record, frozen=True, kw_only=True, omit_defaults=True):
    """``retread.json``: what went into the wheel and what it promises. Written into .dist-info."""

    schema: int
    tool: str
    recipe: str
    """Empty, as is its target, where it was made of another wheel without any."""
    target: str
    project: str
    version: str
    lane: str
    repository: str
    commit: str
    """Empty, as is the repository, where nobody knows of which it was made."""
    submodules: tuple[SubmoduleStatement, ...]
    commit_time: int
    """Seconds since 1970; the time of every member of the wheel."""
    sdist: FileStatement | None
    """None where no archive of upstream's was held to the commit."""
    base: FileStatement | None
    """The official wheel that compiled parts were taken from; None when they were compiled."""
    compiled: CompileStatement | None
    """How they were compiled; None when they were taken from ``base``."""
    series: tuple[PatchStatement, ...]
    toolchain: ToolchainStatement | None
    libraries: dict[str, LibraryStatement]
    promise: Promise
    source: ProofLevel = ProofLevel.PROVEN
    """How far the source is proven; written where it is not proven whole."""
    packed: FileStatement | None = None
    """The archive that the repository's commit was packed into, where upstream has none."""
    slim: SlimStatement | None = None
    """What was taken out of its libraries; not written where nothing was."""

    @property
    def level(self) -> ProofLevel:
        """How far the source is proven, by what is named of it."""
        if not self.commit:
            return ProofLevel.WHEEL
        return ProofLevel.PROVEN if self.sdist else ProofLevel.REPOSITORY

    @property
    def is_for_no_torch(self) -> bool:
        """Say whether its recipe promises that it requires no torch; of one without a recipe nobody says so."""
        return bool(self.recipe) and not self.promise.torch


def compiler_of(said: CompileStatement) -> str:
    """Return what compiled the device code: ``nvcc`` or ``clang``."""
    told = said.device.compiler if said.device else said.toolkit
    return NVCC if told.startswith(f"{NVCC} ") else CLANG


def recipe(said: Statement, hint: str) -> str:
    """Return the recipe that a wheel names; UsageError, with ``hint``, for one that was made of another wheel alone."""
    if not said.recipe:
        raise UsageError(
            f"{said.project} {said.version} was made of another wheel, without a recipe", hint=hint
        )
    return said.recipe
