"""What ``retread fit`` says of an environment: findings, how GPUs are served, candidates, usage. Pure."""

from __future__ import annotations

from retread.arch import Arch
from retread.fit.environment import Hardware, Import, Interpreter
from retread.records import Record


class Finding(Record, frozen=True, kw_only=True):
    """Something about the environment that a user has to know."""

    kind: str
    """``torch``, ``triton``, ``requirement``, ``metadata``, ``library``, ``symbol``, ``gpu``, ``driver``, ``import``;
    ``patch`` is a fault that a patch of a series mends."""
    package: str
    """Empty when it is about no package."""
    subject: str
    fault: bool
    """Whether something must change; else it is good to know."""
    says: str
    next: str = ""
    """What to do."""


class Served(Record, frozen=True, kw_only=True):
    """A library with GPU code, and how each GPU runs it."""

    package: str
    version: str
    library: str
    modules: int
    native: tuple[Arch, ...]
    """For which every module has machine code."""
    ptx: tuple[Arch, ...]
    gpus: dict[Arch, str]
    """GPU -> ``native, tuned for it``, ``native``, ``by JIT from PTX (...)`` or ``NO CODE``."""


class Candidate(Record, frozen=True, kw_only=True):
    """A wheel that the environment might take."""

    project: str
    version: str
    by: str
    """``retread``, ``upstream`` or ``the index``."""
    recipe: str
    target: str
    file: str
    """Its name, as far as it is known; an ending in ``*`` is what a compile adds."""
    compiles: bool
    """Whether making it compiles."""
    fits: bool
    reasons: tuple[str, ...]
    """Why it does not fit."""
    lacks: tuple[str, ...]
    """Patches that it does not have, and when that matters."""
    gpus: dict[Arch, str]
    """As in ``Served``; empty where nobody knows without the wheel."""
    get: str = ""
    """The command that makes it, in a clone of retread; empty for one that can be installed as it is."""
    pip: str = ""
    """The line that installs it and cannot replace torch."""
    uv: str = ""
    note: str = ""


class Used(Record, frozen=True, kw_only=True):
    """A part of a project's interface that code uses, and what torch has for it."""

    name: str
    places: tuple[str, ...]
    """``file.py:12``, at most 20 of them."""
    count: int
    instead: str
    """The counterpart in the installed torch; empty when it has none."""
    difference: str


class UsageReport(Record, frozen=True, kw_only=True):
    """What a folder of code uses of a project."""

    project: str
    files: int
    """How many files were read."""
    unread: tuple[str, ...]
    """Files that could not be read, each with why."""
    used: tuple[Used, ...]
    says: str
    """Whether the project is needed, in a sentence."""


class FitReport(Record, frozen=True, kw_only=True):
    """All of it: what ``retread fit --json`` prints."""

    schema: int
    fits: bool
    """Whether nothing has to change."""
    verdict: str
    """The same in one line."""
    python: Interpreter
    torch: str
    """Its version with the CUDA that it is built for; empty when it is not installed."""
    triton: str
    hardware: Hardware
    driver_cuda: str
    """The CUDA release of the driver; empty when the driver is not known."""
    findings: tuple[Finding, ...]
    libraries: tuple[Served, ...]
    imports: tuple[Import, ...]
    candidates: tuple[Candidate, ...]
    """The best first."""
    need: tuple[str, ...]
    """Whether the projects are needed: what was measured."""
    usage: tuple[UsageReport, ...]
