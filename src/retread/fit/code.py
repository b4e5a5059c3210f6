"""The Python files of a user's folder: which there are, what could not be read, within bounds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from retread import limits
from retread.errors import UsageError
from retread.fit import usage
from retread.fit.catalogue import Usage
from retread.fit.report import UsageReport

_FILES: Final = 50_000
"""Files that are read; the largest public tree of models has 5,000."""
_NOT_CODE: Final = frozenset({"site-packages", "node_modules", "__pycache__"})


def look(folder: Path, known: Usage, torch: str) -> UsageReport:
    """Return what the code in a folder uses of a project; UsageError when it cannot be looked into."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    found: dict[str, list[tuple[str, int]]] = {}
    unread: list[str] = []
    for path in _python(folder, unread):
        shown = path.relative_to(folder).as_posix()
        if len(found) + len(unread) >= _FILES:
            unread.append(f"{shown} and what follows: more than {_FILES} files")
            break
        try:
            found[shown] = usage.names(_source(path), known.project)
        except (OSError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
            unread.append(f"{shown}: {_why(error)}")
    if not found and unread:
        raise UsageError(f"nothing in {folder} can be read", faults=unread[:20])
    return usage.report(known, found, torch, unread=unread)


def _python(folder: Path, unread: list[str]) -> Iterator[Path]:
    """Yield the Python files below a folder, sorted; environments and hidden folders are left out."""

    def note(error: OSError) -> None:
        unread.append(f"{error.filename}: {error.strerror}")

    for root, folders, files in os.walk(folder, onerror=note):
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        folders[:] = sorted(one for one in folders if not one.startswith(".") and one not in _NOT_CODE)
        yield from (Path(root, one) for one in sorted(files) if one.endswith(".py"))


def _source(path: Path) -> str:
    if not path.is_file():
        raise ValueError("not a plain file")
    if path.stat().st_size > limits.PROGRAM:
        raise ValueError(f"larger than {limits.PROGRAM >> 20} MiB")
    return path.read_bytes().decode("utf-8-sig")


def _why(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"is no Python of this version: {error.msg} (line {error.lineno})"
    return str(error).partition("\n")[0] or type(error).__name__
