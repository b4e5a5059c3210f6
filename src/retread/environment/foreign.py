"""Packages of another machine, laid out in a folder of its root by uv; nothing of them runs here."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from retread.doors import proc
from retread.doors.net.settings import Settings
from retread.environment.venv import index_options, index_variables
from retread.errors import FetchError


def install(
    wanted: Sequence[str | Path],
    into: Path,
    *,
    python: str,
    platform: str,
    cache: Path,
    settings: Settings,
    environment: Mapping[str, str],
) -> None:
    """Put what is wanted, options of uv among it, into the folder ``into``; FetchError when it cannot be had.

    ``python`` is the version that it is for, ``platform`` the newest that wheels may be for, as uv writes it:
    ``aarch64-manylinux_2_28``.
    """
    command: list[str | Path] = [proc.find("uv", why="it makes environments"), "pip", "install", "--quiet"]
    command += ["--target", into, "--python", sys.executable, "--python-version", python]
    command += ["--python-platform", platform, "--only-binary", ":all:", *index_options(settings), *wanted]
    variables = index_variables(settings, environment) | {
        "UV_CACHE_DIR": str(cache),
        "UV_LINK_MODE": "hardlink",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
    }
    done = proc.run(command, env=variables, check=False)
    if done.code:
        raise FetchError(
            f"packages for {platform} could not be installed",
            faults=[line.strip() for line in done.stderr.splitlines() if line.strip()][:12],
            hint="check the index settings and the network; the index may have no wheel for that platform",
        )
