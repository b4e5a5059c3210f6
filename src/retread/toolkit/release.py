"""What NVIDIA's command line tools say of themselves: the CUDA release decides whether a tool may be used at all."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from retread.doors import proc
from retread.doors.machine import Machine
from retread.errors import ToolError


class Release(NamedTuple):
    """The release that a tool belongs to."""

    cuda: str
    """Like ``13.0``, or words that say that it is not known."""
    version: str
    """Like ``nvcc 13.0, V13.0.88``."""


def read(program: Path, env: Mapping[str, str]) -> Release:
    """Return what ``program --version`` says; ToolError when it does not run."""
    said = proc.run([program, "--version"], env=env).stdout
    found = re.search(r"release (\d+\.\d+), (V\S+)", said)
    if found is None:
        return Release("of an unknown release", "")
    return Release(found[1], f"{program.name} {found[1]}, {found[2]}")


def number(program: Path, env: Mapping[str, str]) -> str:
    """Return the full version of a tool, like ``12.8.93``; ToolError when it does not run or does not say it."""
    found = re.search(r"\bV(\d+\.\d+\.\d+)", proc.run([program, "--version"], env=env).stdout)
    if found is None:
        raise ToolError(f"{program} does not say which version it is")
    return found[1]


def tool_environment(machine: Machine) -> dict[str, str]:
    """Return the variables that a toolkit's programs get: nothing of the user's, and the Python that runs retread."""
    python = os.path.dirname(sys.executable)  # noqa: PTH120 - a link counts
    return {"PATH": f"/usr/bin:/bin:{python}", "TMPDIR": str(machine.store.root), "LC_ALL": "C"}
