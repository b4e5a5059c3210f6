"""Wheels into an index that others run: judged by the same gate, uploaded, and looked for on its pages afterwards.

Such an index takes wheels one by one. So what is there before is looked at first: what has the same bytes is done,
other bytes under a name refuse all. Whatever ends an upload early, the same command completes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from retread import units
from retread.doors import fs
from retread.doors.net import asking
from retread.doors.net.upload import Listing, Remote
from retread.errors import PublishError, RetreadError
from retread.index import admission
from retread.index.admission import Terms
from retread.index.candidate import Candidate
from retread.records import Record, Sha256

Say = Callable[[str], None]
Step = Callable[[str], AbstractContextManager[object]]


class Sent(Record, frozen=True, kw_only=True):
    """A wheel that is there."""

    file: str
    sha256: Sha256


class Uploaded(Record, frozen=True, kw_only=True):
    """What an upload did; every wheel is listed with its SHA-256."""

    schema: int
    to: str
    """The index's address, without credentials."""
    uploaded: tuple[Sent, ...]
    known: tuple[Sent, ...]
    """Wheels that were there before, with the same bytes."""
    evidence: str
    """The folder in which envelopes and reports lie, or folders: the index has none of them."""


class _Place(NamedTuple):
    """An index, and the wheels that have to be there."""

    remote: Remote
    candidates: Sequence[Candidate]


class _State(NamedTuple):
    """What of the wheels an index lists."""

    there: tuple[str, ...]
    missing: tuple[str, ...]
    faults: tuple[str, ...]
    """Files of their names that are not them, or cannot be told to be."""
    absent: str
    """Why it has no page of a project."""


def upload(
    remote: Remote,
    wheels: Sequence[Path],
    terms: Terms,
    scratch: Path,
    *,
    evidence: Path | None,
    say: Say,
    step: Step,
) -> Uploaded:
    """Upload wheels that the gate lets in, and make sure that the index lists each with its bytes.

    PublishError, or GateError, when one is refused here, in which case nothing was uploaded; PublishError with how many
    are there when the index refuses one, or does not list it.
    """
    _demand_place_for(remote, wheels)
    candidates, faults = admission.examine(wheels, terms, scratch)
    if faults:
        raise admission.refusal(faults, len(wheels), terms.policy)
    for note in admission.notes(candidates):
        say(note)
    place = _Place(remote, candidates)
    before = _state(place)
    if before.faults:
        what = "the index has something else under a name that is to be uploaded; nothing was"
        raise PublishError(what, faults=before.faults)
    kept = _keep(candidates, evidence)
    for file in before.there:
        say(f"{file}: there already, with the same bytes")
    todo = [one for one in candidates if one.hosted.file in before.missing]
    for one in todo:
        _send(place, one, say, step)
    _demand_listed(place)
    say(f"the index takes no envelopes: the evidence lies in {kept}")
    sent = [Sent(file=one.hosted.file, sha256=one.hosted.sha256) for one in candidates]
    return Uploaded(
        schema=1,
        to=remote.address,
        uploaded=tuple(one for one in sent if one.file in before.missing),
        known=tuple(one for one in sent if one.file in before.there),
        evidence=kept,
    )


def _demand_place_for(remote: Remote, wheels: Sequence[Path]) -> None:
    """Raise PublishError for the one index that takes none of ours."""
    local = [wheel.name for wheel in wheels if "+" in wheel.name]
    if remote.is_public and local:
        raise PublishError(
            f"{remote.address} takes no local versions, which say for which CUDA a wheel is; nothing was uploaded",
            faults=local,
            hint="upload to an index of your own, or make one: 'retread publish --index' (docs/guides/publishing.md)",
        )


def _state(place: _Place) -> _State:
    """Ask the index what it lists of the wheels."""
    pages: dict[str, Listing] = {}
    there, missing, faults = [], [], []
    for one in place.candidates:
        hosted = one.hosted
        if hosted.project not in pages:
            pages[hosted.project] = place.remote.listed(hosted.project)
        found = pages[hosted.project].files.get(hosted.file)
        if found is None:
            missing.append(hosted.file)
        elif found == hosted.sha256:
            there.append(hosted.file)
        else:
            faults.append(f"{hosted.file}: {_other(found)}")
    absent = "; ".join(dict.fromkeys(page.absent for page in pages.values() if page.absent))
    return _State(tuple(there), tuple(missing), tuple(faults), absent)


def _other(sha256: str) -> str:
    if not sha256:
        return "its page gives no sha256 of it, so that no installer can tell whose bytes they are"
    return f"the index has other bytes under this name (sha256 {sha256}): raise the revision in the recipe"


def _keep(candidates: Sequence[Candidate], folder: Path | None) -> str:
    """Put the evidence of the wheels into a folder, before any of them is uploaded; return where it lies."""
    if folder is None:
        return ", ".join(dict.fromkeys(str(one.wheel.parent) for one in candidates))
    folder.mkdir(parents=True, exist_ok=True)
    for one in candidates:
        for name, data in one.beside.files.items():
            fs.write(folder / name, data)
    return str(folder)


def _send(place: _Place, one: Candidate, say: Say, step: Step) -> None:
    """Upload a wheel; what another uploader brought meanwhile, with the same bytes, is there as well."""
    file = one.hosted.file
    try:
        with step(f"upload {file}: {units.size(one.hosted.size)}"):
            place.remote.send(one.taken)
    except PublishError as error:
        state = _state_or_none(place)
        if state is None or file not in state.there:
            raise _incomplete(place, state, f"{file}: {error.message}", error.hint) from None
    except KeyboardInterrupt:
        if state := _state_or_none(place):
            say(f"interrupted: {_count(place, state)}")
        raise


def _demand_listed(place: _Place) -> None:
    """Raise PublishError unless the index lists every wheel; some take a while until their pages are made."""
    for seconds in (*asking.WAITS, None):
        state = _state(place)
        if state.faults or not state.missing or seconds is None:
            break
        time.sleep(seconds)
    if state.faults or state.missing:
        raise _incomplete(place, state, "", "")


def _state_or_none(place: _Place) -> _State | None:
    try:
        return _state(place)
    except RetreadError:
        return None


def _count(place: _Place, state: _State) -> str:
    return f"{len(state.there)} of {len(place.candidates)} wheels are there"


def _incomplete(place: _Place, state: _State | None, why: str, hint: str) -> PublishError:
    """Return what is told of an upload that is not complete: how many wheels are there, and of each other why not."""
    what = _count(place, state) if state else "the index does not say which wheels are there"
    lacking = (*state.faults, *_absent(state)) if state else ()
    shown = [
        *([why] if why else []),
        *(one for one in lacking if not why.startswith(f"{one.partition(': ')[0]}: ")),
    ]
    hint = hint or "run the same command again: it uploads what is missing"
    return PublishError(
        f"{place.remote.address}: {what}: the release is not complete", faults=shown, hint=hint
    )


def _absent(state: _State) -> Iterator[str]:
    ending = f" ({state.absent})" if state.absent else ""
    yield from (f"{file}: it is not listed{ending}" for file in state.missing)
