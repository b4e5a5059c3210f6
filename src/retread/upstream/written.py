"""The files that a bump writes: all of them or none that counts, and the way back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from retread import strict
from retread.doors import durable
from retread.errors import SeriesError, UsageError
from retread.queue.desk import Desk
from retread.recipe import files


def write(desk: Desk, made: Mapping[str, bytes], lessons: Mapping[str, bytes]) -> None:
    """Write new files, the recipe last; a file that is there already is the same, or in the way.

    ``lessons``, what a person made of conflicts, come first and stay when the rest is taken back.
    """
    root = desk.root
    every = {**lessons, **made}
    there = {path for path in every if (root / path).exists()}
    other = [path for path in sorted(there) if (root / path).read_bytes() != every[path]]
    if other:
        raise UsageError(f"{', '.join(other)}: there already; nothing was written", hint="move it away")
    begun = _written(desk)  # by a process that was killed
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in made.items()}
    new = {path: found for path, found in digests.items() if path not in there or begun.get(path) == found}
    with durable.disk_errors(root):
        durable.folder(desk.written.parent)
        if new:
            durable.replace(desk.written, msgspec.json.encode(new))
        for path in (one for one in every if one not in there):
            durable.remove(root / f"{path}.new")
            durable.write(root / f"{path}.new", every[path])
            durable.move(root / f"{path}.new", root / path)


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
