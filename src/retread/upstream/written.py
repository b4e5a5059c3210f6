"""The files of a new recipe: all of them or none that counts, and the way back from those that a bump wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from retread import strict
from retread.doors import durable
from retread.errors import SeriesError, UsageError
from retread.queue import ledger
from retread.queue.desk import Desk
from retread.recipe import files, shared


def lacking(root: Path, made: Mapping[str, bytes], *, kept: Collection[str] = ()) -> dict[str, bytes]:
    """Return those of the new files that are not there yet; UsageError where one is another than it is to be.

    Those that are ``kept`` may be others, and stay.
    """
    there = [path for path in made if (root / path).exists()]
    other = [path for path in there if path not in kept and (root / path).read_bytes() != made[path]]
    if other:
        raise UsageError(
            f"{', '.join(sorted(other))}: there already; nothing was written", hint="move it away"
        )
    return {path: data for path, data in made.items() if path not in there}


def put(root: Path, made: Mapping[str, bytes]) -> None:
    """Write files in their order, so the recipe last: without it the others are not looked at."""
    with durable.disk_errors(root):
        for path, data in made.items():
            ledger.put(root / path, data, shared.targets((root / path).parent))


def write(desk: Desk, made: Mapping[str, bytes], lessons: Mapping[str, bytes]) -> None:
    """Write what a bump made, so that it can be taken back; what is there already is the same, or in the way.

    ``lessons``, what a person made of conflicts, come first and stay when the rest is taken back.
    """
    todo = lacking(desk.root, {**lessons, **made})
    begun = _written(desk)  # by a process that was killed
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in made.items()}
    new = {path: found for path, found in digests.items() if path in todo or begun.get(path) == found}
    with durable.disk_errors(desk.root):
        durable.folder(desk.written.parent)
        if new:
            durable.replace(desk.written, msgspec.json.encode(new))
    put(desk.root, todo)


def _written(desk: Desk) -> dict[str, str]:
    """Return path -> SHA-256 of what the last bump wrote."""
    with suppress(FileNotFoundError):
        return strict.decoded(desk.written.read_bytes(), dict[str, str])
    return {}


def tidy(desk: Desk) -> None:
    """Remove what a process that was killed left half written."""
    lessons = (desk.root / files.resolutions(desk.recipe)).glob("*.new")
    halves = [*(desk.root / f"{path}.new" for path in _written(desk)), *lessons]
    for path in (one for one in halves if one.exists()):
        durable.remove(path)
        if not any(path.parent.iterdir()):
            durable.remove(path.parent)


def undo(desk: Desk) -> list[str]:
    """Remove the files that the last bump to this release wrote, the recipe first; return them.

    SeriesError, and nothing is removed, when one of them changed since.
    """
    with desk.held(), durable.disk_errors(desk.root):
        known = _written(desk)
        if not known:
            raise UsageError("there is nothing to undo")
        tidy(desk)
        there = [path for path in reversed(known) if (desk.root / path).is_file()]
        changed = [
            path
            for path in there
            if hashlib.sha256((desk.root / path).read_bytes()).hexdigest() != known[path]
        ]
        if changed:
            raise SeriesError(
                f"{', '.join(changed)} changed since the bump; nothing was removed",
                hint="git knows what is new",
            )
        for path in there:
            durable.remove(desk.root / path)
        for folder in {(desk.root / path).parent for path in there}:
            if not any(folder.iterdir()):
                durable.remove(folder)
        durable.remove(desk.written)
        return there
