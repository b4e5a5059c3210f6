"""Trying imports, each in a process of its own: what crashes there says so here."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from retread import limits
from retread.doors import proc
from retread.errors import RetreadError
from retread.fit.environment import Import

_SAID: Final = 500
"""Letters of what it says that are kept: an error's line, or a warning of some."""


def tried(python: Path, modules: Iterable[str], environment: Mapping[str, str]) -> tuple[Import, ...]:
    """Return what became of each import."""
    return tuple(_try(python, module, environment) for module in modules)


def _try(python: Path, module: str, environment: Mapping[str, str]) -> Import:
    command: list[str | Path] = [python, "-c", f"import {module}"]
    try:
        done = proc.run(command, env=environment, cwd=Path("/"), check=False, limit=limits.IMPORT)
    except RetreadError as error:
        return Import(module=module, ok=False, said=f"not known: {error.message}", ended=False)
    if done.code < 0:
        return Import(module=module, ok=False, said=f"the process was killed by {_signal(-done.code)}")
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if not done.code:
        return Import(module=module, ok=True, said=" ".join(lines)[:_SAID])
    return Import(module=module, ok=False, said=(lines or [f"exit code {done.code}"])[-1][:_SAID])


def _signal(number: int) -> str:
    known = {one.value: one.name for one in signal.Signals}
    return known.get(number, f"signal {number}")
