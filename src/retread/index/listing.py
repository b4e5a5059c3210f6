"""What a private index lists: channels, projects, files, each with all that a page says of it."""

from __future__ import annotations

import functools

from msgspec import UNSET, UnsetType
from packaging.utils import InvalidWheelFilename

from retread.arch import Arch
from retread.prooflevel import ProofLevel
from retread.recipe import platforms
from retread.records import Record, Sha256
from retread.smoke.tally import Inherited, Tried
from retread.version import release
from retread.wheel.statement import PatchStatement


class Hosted(Record, frozen=True, kw_only=True):
    """One wheel as the index lists it."""

    file: str
    sha256: Sha256
    size: int
    project: str
    """Normalised."""
    version: str
    uploaded: str
    """When it was published, UTC, as PEP 700 writes it: ``2026-11-22T10:00:00.000000Z``."""
    requires_python: str
    metadata_sha256: Sha256
    """Of the sidecar ``<file>.metadata``, which is the wheel's METADATA."""
    yanked: str | None
    """The reason for which it was yanked; None while it is not."""
    unproven: str
    """The reason for which it was let in without evidence; empty for one that is proven."""
    sidecars: tuple[str, ...]
    """Names of the evidence files beside it: ``<file>.provenance.dsse.json`` and the like."""
    cuda: str
    torch: str
    """Range, like ``>=2.10``."""
    triton: tuple[str, ...]
    """Versions under which the jit level passed."""
    lane: str
    commit: str
    libraries: dict[str, tuple[Arch, ...]]
    """Library -> architectures for which every module of it has native code."""
    patches: tuple[PatchStatement, ...]
    tried: tuple[Tried, ...]
    compiler: str = ""
    """What compiled its device code, where that is not nvcc: ``Debian clang 22.1.8``."""
    source: ProofLevel | UnsetType = UNSET
    """How far its source is proven, where it is not proven whole; not written otherwise."""
    waived: dict[str, str] | UnsetType = UNSET
    """Rules that it was not held to, each with the reason; not written where there are none."""
    inherited: tuple[Inherited, ...] | UnsetType = UNSET
    """What ran of other wheels and holds for kernels of this one; not written where there is nothing."""
    evidence: dict[str, Sha256] | UnsetType = UNSET
    """The digest of each of ``sidecars``; not written where there are none, nor by a retread that did not note them.

    A refresh notes those that are sound: of the others there is none.
    """

    @property
    def channel(self) -> str:
        """The channel of its version; PublishError for one that belongs to none."""
        return release(self.version).channel

    @property
    def platform(self) -> str:
        """The machines that it is for, as recipes name them; ``any`` for one without code."""
        return _platform("-".join(self.file.rsplit("-", 3)[-3:]))


@functools.lru_cache(maxsize=1024)
def _platform(tags: str) -> str:
    """Return the machines of the tags that a file name ends with: many wheels have the same."""
    try:
        return platforms.of_wheel(f"any-1-{tags}")
    except InvalidWheelFilename:
        return "unknown"


class Project(Record, frozen=True, kw_only=True):
    """A name that a channel owns, with its files; without files its page is empty, so that nothing falls through."""

    channel: str
    """``cu128``."""
    name: str
    """Normalised."""
    files: tuple[Hosted, ...]
