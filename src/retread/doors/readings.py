"""What was read of files before, by their bytes: who reads the same bytes again needs none of the parsers.

A build that changes nothing spends its time on reading: a recipe, a series, toolchains, with all their checks. What
came of it lies in the store under a key of these bytes and of everything that reads them, so a changed byte, another
retread or another version of a parser reads anew. What is refused is not kept.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from retread import strict
from retread.doors import fs
from retread.doors.machine import Machine, code_digest, files_digest, installed
from retread.doors.store import READ, digest
from retread.errors import StoreError
from retread.records import T

_BESIDE = ("address.py", "errors.py", "limits.py", "units.py")
"""Of retread's own code, what says which values are refused; that decides no wheel, but what is read."""
_PARSERS = ("msgspec", "packaging", "unidiff")


class Readings(NamedTuple):
    """A folder of what was read, and who reads."""

    folder: Path
    reader: str

    def of(
        self,
        kind: type[T],
        made_of: object,
        read: Callable[[], T],
        *,
        plain: Callable[[], object] | None = None,
    ) -> T:
        """Return what ``read`` makes of ``made_of``, a value that msgspec can write: kept from before, or kept now.

        ``plain`` gives what is kept instead of the record, where a record with all its defaults would be refused.
        """
        path = self.folder / digest(self.reader, str(kind), made_of)
        with suppress(OSError, ValueError):
            kept = strict.decoded(path.read_bytes(), kind)
            with suppress(OSError):  # a read-only store still serves
                os.utime(path)  # which keeps it from being pruned
            return kept
        found = read()
        data = msgspec.json.encode(plain() if plain else found)
        with suppress(StoreError, OSError, ValueError):  # a read-only store keeps nothing
            if strict.decoded(data, kind) == found:
                fs.write(path, data)
        return found


def of_machine(machine: Machine) -> Readings:
    """Return what lies in a machine's store, for this retread and its parsers."""
    versions = (sys.version, *installed(_PARSERS).items())
    return Readings(machine.store.root / READ, digest(code_digest(), files_digest(_BESIDE), versions))
