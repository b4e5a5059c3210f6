"""What differs between two builds of one library, whatever its format; both have to be of the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from retread.binary import files
from retread.binary.files import Format
from retread.elf import difference as elf
from retread.elf.difference import Finding
from retread.pe import difference as pe

_WAYS: Final[Mapping[Format, Callable[[Path, Path], list[Finding]]]] = {
    Format.LIBRARY: elf.compare,
    Format.WINDOWS: pe.compare,
}


def comparable(first: Path, second: Path) -> bool:
    """Say whether two files are libraries of one format, so that their parts can be compared."""
    one, two = (files.format_of(path) for path in (first, second))
    return one == two and one in _WAYS


def compare(first: Path, second: Path) -> list[Finding]:
    """Return how two libraries of one format that are not the same differ, what runs and what does not.

    Raises as what ``UNREADABLE`` names for what cannot be read as a library with fat binaries.
    """
    found = files.format_of(first)
    assert isinstance(found, Format)
    return _WAYS[found](first, second)
