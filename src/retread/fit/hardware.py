"""GPUs and driver: by NVML through nvidia-ml-py of the environment, else by nvidia-smi, else as the options say."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from retread import arch, limits, strict
from retread.arch import Arch
from retread.doors import proc
from retread.errors import RetreadError
from retread.fit.environment import Hardware

_NVML: Final = """
import json, pynvml
text = lambda one: one.decode() if isinstance(one, bytes) else one
pynvml.nvmlInit()
found = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
print("retread:" + json.dumps({
    "driver": text(pynvml.nvmlSystemGetDriverVersion()),
    "gpus": [["%d.%d" % tuple(pynvml.nvmlDeviceGetCudaComputeCapability(one)), text(pynvml.nvmlDeviceGetName(one))]
             for one in found],
}))
"""
_ROW: Final = re.compile(r"\s*([0-9]+\.[0-9])\s*,\s*([0-9.]+)\s*,\s*(.+?)\s*")


def hardware(
    python: Path, environment: Mapping[str, str], *, gpus: Sequence[Arch] = (), driver: str = ""
) -> Hardware:
    """Return GPUs and driver; what the options name counts more than what is found."""
    found = Hardware(source="the options") if gpus and driver else _found(python, environment)
    if gpus:
        found = msgspec.structs.replace(
            found, gpus=tuple(dict.fromkeys(gpus)), names=(), source="the options"
        )
    return msgspec.structs.replace(found, driver=driver or found.driver)


def _found(python: Path, environment: Mapping[str, str]) -> Hardware:
    return _nvml(python, environment) or _smi(environment)


def _nvml(python: Path, environment: Mapping[str, str]) -> Hardware | None:
    try:
        said = proc.run(
            [python, "-c", _NVML], env=environment, cwd=Path("/"), check=False, limit=limits.DEVICES
        ).stdout
        line = next(line for line in said.splitlines() if line.startswith("retread:"))
        facts: dict[str, Any] = strict.json(line.removeprefix("retread:"))
        return _hardware(facts["gpus"], facts["driver"], "NVML")
    except (RetreadError, StopIteration, ValueError):
        return None


def _smi(environment: Mapping[str, str]) -> Hardware:
    program = shutil.which("nvidia-smi", path=environment.get("PATH"))
    if not program:
        return Hardware(source="there is neither nvidia-ml-py with a driver nor nvidia-smi")
    query = "--query-gpu=compute_cap,driver_version,name"
    try:
        done = proc.run(
            [program, query, "--format=csv,noheader"], env=environment, check=False, limit=limits.DEVICES
        )
    except RetreadError as error:
        return Hardware(source=error.message)
    rows = [match.groups() for line in done.stdout.splitlines() if (match := _ROW.fullmatch(line))]
    if not rows:
        said = (done.stdout + done.stderr).strip().partition("\n")[0][:200]
        return Hardware(source=f"nvidia-smi names no GPU: {said or 'it printed nothing'}")
    return _hardware([(capability, name) for capability, _, name in rows], rows[0][1], "nvidia-smi")


def _hardware(found: Sequence[Sequence[str]], driver: str, source: str) -> Hardware:
    gpus = tuple(dict.fromkeys(arch.parse(capability) for capability, _ in found))
    names = tuple(dict.fromkeys(name for _, name in found))
    return Hardware(gpus=gpus, names=names, driver=driver, source=source)
