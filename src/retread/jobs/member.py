"""A member of a cluster: what it says of itself, and what that makes of it."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from retread.arch import Arch
from retread.environment import host
from retread.fit import hardware
from retread.jobs.placing import Node
from retread.version import __version__

_CAPABILITY: Final = re.compile(r"cc([0-9]+\.[0-9])")
"""The name of a resource that says which capability a node's GPUs have: ``cc9.0``."""


class Said(NamedTuple):
    """What a node says of itself."""

    version: str
    """Of its retread; or why it does not say."""
    code: str = ""
    """Digest of that."""
    processor: str = ""
    gpus: tuple[str, ...] = ()
    """Compute capabilities of its GPUs, each once."""


def probe() -> Callable[[], tuple[Any, ...]]:
    """Return what a node runs to say what it is, as Said; it goes there as code, since there may be no retread."""

    def probe() -> tuple[Any, ...]:
        import platform

        try:
            from retread.doors.machine import code_digest
            from retread.version import __version__
        except ImportError as error:
            return f"it has no retread ({error})", "", platform.machine(), ()
        try:
            from retread.jobs.member import capabilities
        except ImportError:  # another retread, which is what will be told
            return __version__, code_digest(), platform.machine(), ()
        return __version__, code_digest(), platform.machine(), capabilities()

    return probe


def capabilities() -> tuple[str, ...]:
    """Return the compute capabilities of this machine's GPUs, each once."""
    found = hardware.hardware(Path(sys.executable), os.environ) if host.has_gpu() else None
    return tuple(map(str, found.gpus)) if found else ()


def difference(said: Said) -> str:
    """Return why a node that has not this retread is left out."""
    if said.version == __version__:
        return f"its retread is {said.version} like this one, and has other code"
    return (
        said.version if " " in said.version else f"it has retread {said.version}, and this is {__version__}"
    )


def title(one: Mapping[str, Any]) -> str:
    """Return how a message names a node, by what Ray knows of it."""
    return f"{one['NodeManagerHostname']} ({one['NodeID'][:8]})"


def silence(one: Mapping[str, Any]) -> str:
    """Return why a node may say nothing: Ray starts its workers again and again, and tells only that node's own log."""
    log = Path(one["RayletSocketName"]).parents[1] / "logs" / "raylet.err"
    said = _last_line(log) if one["NodeManagerHostname"] == socket.gethostname() else ""
    return f"no worker of Ray's comes up there; {f'{log} ends with: {said}' if said else f'{log} on it may say why'}"


def _last_line(log: Path) -> str:
    """Return the last line of a log, or of those beside it of other nodes on the machine, whichever is newest."""
    with suppress(OSError):
        found = [one for one in log.parent.glob(f"{log.stem}*{log.suffix}") if one.stat().st_size]
        last = max(found, key=lambda one: one.stat().st_mtime, default=None)
        lines = last.read_text("utf-8", "replace").split("\n") if last else []
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")
    return ""


def unknown(one: Mapping[str, Any], found: Node) -> str:
    """Return what a user has to know of a node with GPUs of which nobody knows the capability; nothing of others."""
    count = int(one["Resources"].get("GPU", 0))
    if not count or found.gpus:
        return ""
    how = f"""ray start --resources='{{"cc9.0": {count}}}'"""
    return f"{found.title} has a GPU and does not say of which capability, so it gets no trial for one; {how} says it"


def node(one: Mapping[str, Any], said: Said) -> Node:
    """Return a machine; its GPUs are what they are, and what its resources say where they cannot be asked or differ."""
    resources = one["Resources"]
    count = int(resources.get("GPU", 0))
    named = [found[1] for name in resources if (found := _CAPABILITY.fullmatch(name))]
    gpus = {Arch(name): count for name in (said.gpus if len(said.gpus) == 1 else named) if count}
    return Node(
        one["NodeID"],
        title(one),
        int(resources["CPU"]),
        int(resources.get("memory", 0)),
        said.processor,
        gpus,
    )
