"""Which revisions of a release were ever published, and of which patches: a higher number is another set of them. Pure.

A resolver takes the highest revision. So a lower one would be published for nobody, and two that differ in nothing
would make people install again for nothing. What was published once is bound for ever, also after it was removed.
"""

from __future__ import annotations

from msgspec import structs

from retread import arch
from retread.arch import Arch
from retread.records import Record, Sha256
from retread.version import Release, release
from retread.wheel.statement import Statement


class PatchSet(Record, frozen=True, kw_only=True):
    """What a revision stands for."""

    series: tuple[Sha256, ...]
    commit: str
    lane: str
    architectures: tuple[Arch, ...]


class Ledger(Record, frozen=True, kw_only=True):
    """What a channel ever published of a project."""

    latest: str
    """The newest upload time that was given out: the next is later, whatever the clock says."""
    versions: dict[str, PatchSet | None]
    """None for a wheel that does not say what it was made of."""


EMPTY = Ledger(latest="", versions={})


def patch_set(said: Statement | None) -> PatchSet | None:
    """Return what a wheel says it was made of."""
    if said is None:
        return None
    return PatchSet(
        series=tuple(patch.sha256 for patch in said.series),
        commit=said.commit,
        lane=said.lane,
        architectures=said.promise.architectures or _given(said),
    )


def _given(said: Statement) -> tuple[Arch, ...]:
    """Return what the libraries of a wheel have that promises none: one that was made of another wheel alone."""
    found = {one for library in said.libraries.values() for one in library.after}
    return tuple(sorted(found, key=arch.sort_key))


def fault(ledger: Ledger, version: str, patches: PatchSet | None) -> str:
    """Say why ``version`` cannot be published of ``patches``, or return nothing."""
    new = release(version)
    peers = {
        old.revision: ledger.versions[name] for name in ledger.versions if _is_peer(old := release(name), new)
    }
    if not peers:
        return ""
    highest = max(peers)
    if new.revision in peers:
        differing = _difference(peers[new.revision], patches)
        return f"{version} is bound to another {differing}: use revision {highest + 1}" if differing else ""
    if new.revision < highest:
        return f"revision {highest} of {new.upstream} is published already: use revision {highest + 1}"
    if patches is not None and not _difference(peers[highest], patches):
        return f"revision {highest} has the same patches, commit, lane and architectures: publish that one"
    return ""


def with_version(ledger: Ledger, version: str, patches: PatchSet | None, uploaded: str) -> Ledger:
    """Return the ledger after ``version`` was published."""
    versions = {**ledger.versions, version: patches}
    return structs.replace(ledger, versions=versions, latest=max(ledger.latest, uploaded))


def _is_peer(old: Release, new: Release) -> bool:
    return old._replace(revision=0) == new._replace(revision=0)


def _difference(old: PatchSet | None, new: PatchSet | None) -> str:
    """Say in what two sets differ; nothing when they are the same."""
    if old is None or new is None:
        return "" if old is new else "origin (one of the two has no statement)"
    fields = [name for name in PatchSet.__struct_fields__ if getattr(old, name) != getattr(new, name)]
    return " and ".join(fields)
