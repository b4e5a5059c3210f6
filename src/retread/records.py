"""The records that stages pass on, and the evidence they leave: frozen, keyword-only, ready for JSON."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import NewType

import msgspec

from retread.arch import Arch

Sha256 = NewType("Sha256", str)
"""64 lower-case hexadecimal digits."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every record: immutable, and strict when it is read from outside."""


class Module(Record, frozen=True, kw_only=True):
    """One fat binary of a library: the architectures for which it holds machine code, and those of its PTX."""

    index: int
    sass: tuple[Arch, ...]
    ptx: tuple[Arch, ...]


class LibraryFacts(Record, frozen=True, kw_only=True):
    """What a shared object holds and needs, read from its bytes."""

    machine: str
    """``x86_64`` or ``aarch64``."""
    needed: tuple[str, ...]
    run_path: tuple[str, ...]
    versions: tuple[str, ...]
    """Symbol versions it asks of others, sorted: ``GLIBC_2.17``, ``GLIBCXX_3.4.21``."""
    undefined: tuple[str, ...]
    """Dynamic symbols that it does not define itself, sorted, without weak ones."""
    modules: tuple[Module, ...]
    """Its fat binaries in file order; empty for a library without device code."""


class UnprovenFile(Record, frozen=True, kw_only=True):
    """A file of the source that no proof covers, and the reason that the recipe gives for it."""

    path: str
    reason: str


class Manifest(Record, frozen=True, kw_only=True):
    """What the pinned tree holds: path -> git's blob id, and which files were allowed by name."""

    commit: str
    time: int
    """The commit's time, seconds since 1970: the build's SOURCE_DATE_EPOCH."""
    files: dict[str, str]
    unproven: tuple[UnprovenFile, ...]


class SourceTree(Record, frozen=True, kw_only=True):
    """The pinned source on disk, read-only by agreement."""

    root: Path
    manifest: Manifest


class ChangeKind(StrEnum):
    """What a patch, or a series, does to a file."""

    ADD = "add"
    MODIFY = "modify"
    DELETE = "delete"


class Change(Record, frozen=True, kw_only=True):
    """One file that is touched, by its path in the source."""

    path: str
    kind: ChangeKind


class Verdict(StrEnum):
    """What became of a patch."""

    APPLIES = "applies"
    OFFSET = "applies at other lines"
    UPSTREAM = "already in the source"
    GONE = "target deleted"
    CONFLICT = "does not apply"


class Applied(Record, frozen=True, kw_only=True):
    """A patch of the series and what became of it."""

    name: str
    verdict: Verdict
    detail: str = ""


class PatchedTree(Record, frozen=True, kw_only=True):
    """The difference that the series makes: ``root`` holds the files that are added or modified."""

    root: Path
    changes: tuple[Change, ...]
    applied: tuple[Applied, ...]


class Exempt(Record, frozen=True, kw_only=True):
    """A library that does not carry the target's architectures, what it carries instead, and why."""

    library: str
    architectures: tuple[Arch, ...]
    ptx: tuple[Arch, ...]
    reason: str


class Promise(Record, frozen=True, kw_only=True):
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


class PatchStatement(Record, frozen=True, kw_only=True):
    """A patch of the series, as the wheel tells it."""

    name: str
    sha256: Sha256
    subject: str
    breaks: str
    affects: str
    upstream: str
    drop_when: str


class FileStatement(Record, frozen=True, kw_only=True):
    """A pinned file that the build started from."""

    file: str
    sha256: Sha256


class SubmoduleStatement(Record, frozen=True, kw_only=True):
    """A submodule of the pinned commit."""

    path: str
    repository: str
    commit: str


class ToolchainStatement(Record, frozen=True, kw_only=True):
    """The assembler that made the grafted code, and whether it makes the base's own code again."""

    name: str
    cuda: str
    ptxas: str
    """What ``ptxas --version`` says."""
    reproduced: bool | None
    """Whether assembling a module's PTX for an architecture that the base has gave the base's bytes; None: no such."""


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


class LibraryStatement(Record, frozen=True, kw_only=True):
    """One library before and after: architectures that every module has, those that were grafted, its modules."""

    modules: int
    before: tuple[Arch, ...]
    after: tuple[Arch, ...]
    ptx: tuple[Arch, ...]


class Statement(Record, frozen=True, kw_only=True):
    """``retread.json``: what went into the wheel and what it promises. Written into .dist-info."""

    schema: int
    tool: str
    recipe: str
    target: str
    project: str
    version: str
    lane: str
    repository: str
    commit: str
    submodules: tuple[SubmoduleStatement, ...]
    commit_time: int
    """Seconds since 1970; the time of every member of the wheel."""
    sdist: FileStatement
    base: FileStatement | None
    """The official wheel that compiled parts were taken from; None when they were compiled."""
    compiled: CompileStatement | None
    """How they were compiled; None when they were taken from ``base``."""
    series: tuple[PatchStatement, ...]
    toolchain: ToolchainStatement | None
    libraries: dict[str, LibraryStatement]
    promise: Promise


class WheelFacts(Record, frozen=True, kw_only=True):
    """What a wheel says and holds, every byte of it checked against RECORD."""

    file: str
    sha256: Sha256
    size: int
    project: str
    version: str
    tags: tuple[str, ...]
    requires: tuple[str, ...]
    members: int
    libraries: dict[str, LibraryFacts]
    statement: Statement | None
    """What retread wrote into it, for a wheel that it made."""


class Check(Record, frozen=True, kw_only=True):
    """One check of an audit: what was looked at, whether it holds, and what was found."""

    check: str
    subject: str
    ok: bool
    detail: str


class AuditReport(Record, frozen=True, kw_only=True):
    """Evidence: the audit of the wheel with this sha256."""

    schema: int
    wheel: str
    sha256: Sha256
    size: int
    target: str
    ok: bool
    checks: tuple[Check, ...]
