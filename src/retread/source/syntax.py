"""Python files that a series breaks: it applies, and the module cannot even be compiled, which it could or is new."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from retread.errors import SeriesError
from retread.recipe.series import Patch
from retread.source.records import SourceTree
from retread.source.tree import pristine
from retread.units import counted

_REFUSED: Final = (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError)
"""What ``compile`` raises for what it does not take."""


PYTHON: Final = ".".join(map(str, sys.version_info[:2]))
"""Which one judges: the one that runs retread."""


def broken(source: SourceTree, patches: Sequence[Patch], work: Path) -> list[str]:
    """Return the file and line of each Python file that does not compile in ``work``, and did before or is new.

    One that did not compile before the whole series is a template, or for another Python than this, and is left alone,
    under another name, too.
    """
    paths = {change.path for patch in patches for change in patch.changes if change.path.endswith(".py")}
    return [fault for path in sorted(paths) for fault in _broken(source, patches, work, path)]


def demand_whole(faults: Sequence[str]) -> None:
    """Raise SeriesError for files that ``broken`` found."""
    if faults:
        raise SeriesError(
            f"after the series Python {PYTHON} cannot compile {counted(len(faults), 'Python file')} "
            "that it could before, or that the series adds",
            faults=faults,
            hint="mend the lines that the patch adds there",
        )


def _broken(source: SourceTree, patches: Sequence[Patch], work: Path, path: str) -> Iterator[str]:
    if not (work / path).is_file():
        return
    fault = _fault((work / path).read_bytes())
    if fault and not any(
        _fault(pristine(source, one).read_bytes()) for one in _before(source, patches, path)
    ):
        names = [patch.name for patch in patches if any(change.path == path for change in patch.changes)]
        yield f"{', '.join(names)}: {path}{fault}"


def _before(source: SourceTree, patches: Sequence[Patch], path: str) -> list[str]:
    """Return what a file was before the series: itself; of a new one, each whose copy its patch may make it."""
    if path in source.manifest.files:
        return [path]
    beside = [[one.path for one in patch.changes] for patch in patches]
    found = {one for some in beside if path in some for one in some if one.endswith(".py")}
    return sorted(found & {*source.manifest.files})


def _fault(text: bytes) -> str:
    """Return where and why a Python file does not compile; nothing when it does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, "", "exec", dont_inherit=True)
    except _REFUSED as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        return f"{line}: {type(error).__name__}: {said}"
    return ""
