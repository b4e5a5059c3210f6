"""An environment that is not there, as a lock file describes it: for another platform, or before it is made. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from packaging.utils import InvalidWheelFilename

from retread import pypa
from retread.errors import UsageError
from retread.fit import obstacles
from retread.fit.environment import DESCRIBED, Environment, Hardware, Interpreter, Package
from retread.lockfile.pin import Locked
from retread.recipe import platforms

PLATFORMS: Final = platforms.KNOWN
_GLIBC: Final = (2, 28)
"""Of Linux that is described; wheels for it are made for this one, or an older one."""
_CHANNEL: Final = re.compile(r"\bcu(\d{2})(\d)\b")
"""How versions and addresses of torch say for which CUDA it is built: ``2.10.0+cu128``, ``.../whl/cu128``."""
_RUNTIME: Final = re.compile(r"nvidia-cuda-runtime(-cu\d+)?")


def interpreter(python: str, platform: str) -> Interpreter:
    """Return the Python that a lock file is for; UsageError for what is no version, and for an unknown platform."""
    if platform not in PLATFORMS:
        raise UsageError(
            f"--platform: {platform!r} is none that is known{platforms.near_miss(platform)}",
            hint=f"there are {', '.join(PLATFORMS)}",
        )
    if not re.fullmatch(r"3\.\d+(\.\d+)?", python):
        raise UsageError(
            f"--python: {python or 'missing'}: with --lock it is the version of the Python that it is for, like 3.12"
        )
    windows = platforms.is_windows(platform)
    return Interpreter(
        executable=DESCRIBED,
        version=python,
        abi="cp" + "".join(python.split(".")[:2]),
        machine="x86_64" if windows else platform,
        glibc=() if windows else _GLIBC,
        paths=(),
        platform=platform if windows else "",
    )


def environment(pins: Sequence[Locked], python: Interpreter, hardware: Hardware, *, name: str) -> Environment:
    """Return what is installed of a lock file; UsageError where it has several versions of one project for that Python.

    Nothing is known of their libraries. Of torch without a local version, Windows has none for CUDA on the package
    index; elsewhere the CUDA runtime that is locked beside it tells.
    """
    chosen: dict[str, Locked] = {}
    for project in dict.fromkeys(one.project for one in pins):
        there = [one for one in pins if one.project == project]
        fitting = [one for one in there if _serves(one, python)] or there
        versions = list(dict.fromkeys(one.version for one in fitting))
        if len(versions) > 1 and project in {"torch", "triton"}:
            raise UsageError(
                f"{name} has {project} {' and '.join(versions)} for {python.abi} on {python.here}",
                hint="name a lock of one environment: uv export, or pip's requirements.txt",
            )
        chosen[project] = fitting[0]
    packages = tuple(Package(name=one.project, version=one.version) for one in chosen.values())
    return Environment(
        interpreter=python,
        packages=packages,
        torch_cuda=_cuda(chosen.get("torch"), chosen.values(), python),
        hardware=hardware,
    )


def _serves(one: Locked, python: Interpreter) -> bool:
    """Say whether a pin has a wheel for this Python, or no names of wheels."""
    wheels = [file for file in one.files if file.endswith(".whl")]
    served = obstacles.supported(python)
    try:
        return not wheels or any(pypa.wheel_name(file)[3] & served for file in wheels)
    except InvalidWheelFilename:
        return True


def _cuda(torch: Locked | None, pins: Iterable[Locked], python: Interpreter) -> str:
    """Return the CUDA that a locked torch is built for; empty for none, or where nothing tells."""
    if torch is None:
        return ""
    local = torch.version.partition("+")[2]
    found = _CHANNEL.search(local or torch.source)
    if found:
        return f"{found[1]}.{found[2]}"
    if local or platforms.is_windows(python.platform):
        return ""
    runtimes = [one.version for one in pins if _RUNTIME.fullmatch(one.project)]
    return ".".join(runtimes[0].split(".")[:2]) if runtimes else ""
