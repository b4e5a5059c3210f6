"""What a wheel is tried under: Python, torch, Triton, driver, GPUs; asked for in a process that may die of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from retread.smoke.runtime import Refusal, patience

UNFIT = 18
PATIENCE = 300
"""Seconds of processor time for importing torch and asking it for its GPUs."""
_PROBE = """
import ctypes, importlib.metadata, json, platform, re, sys

found = {"python": platform.python_version(), "platform": platform.platform(), "torch": "", "torch_cuda": "",
         "triton": "", "packages": {}, "driver": "", "driver_cuda": "", "gpus": [], "fault": "", "busy": ""}
windows = sys.platform == "win32"
library = "nvcuda.dll" if windows else "libcuda.so.1"


def driver():
    if not windows:
        return re.search(r"NVRM.*?(\\d+\\.\\d[\\d.]*)", open("/proc/driver/nvidia/version").read())[1]
    nvml, text = ctypes.CDLL("nvml.dll"), ctypes.create_string_buffer(96)
    told = nvml.nvmlInit_v2() == 0 and nvml.nvmlSystemGetDriverVersion(text, len(text)) == 0
    return text.value.decode() if told else ""


def devices(cuda):
    count, device, total = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    major, minor, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return
    for index in range(count.value):
        cuda.cuDeviceGet(ctypes.byref(device), index)
        cuda.cuDeviceGetName(name, len(name), device)
        cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
        cuda.cuDeviceTotalMem_v2(ctypes.byref(total), device)
        yield {"name": name.value.decode(), "capability": f"{major.value}.{minor.value}",
               "memory": total.value, "free": total.value}


for name in sys.argv[1:]:
    try:
        found["packages"][name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
try:
    number = ctypes.c_int()
    if ctypes.CDLL(library).cuDriverGetVersion(ctypes.byref(number)) == 0:
        found["driver_cuda"] = f"{number.value // 1000}.{number.value % 1000 // 10}"
    found["driver"] = driver()
except (OSError, TypeError):
    pass
try:
    import torch
    found["torch"], found["torch_cuda"] = torch.__version__, torch.version.cuda or ""
    try:
        for index in range(torch.cuda.device_count() if torch.version.cuda else 0):
            about = torch.cuda.get_device_properties(index)
            free, total = torch.cuda.mem_get_info(index)
            found["gpus"].append({"name": about.name, "capability": f"{about.major}.{about.minor}",
                                  "memory": total, "free": free})
    except Exception as error:
        found["busy"] = str(error).splitlines()[0]
except ModuleNotFoundError as error:
    found["fault"] = "" if error.name == "torch" else str(error)
    try:
        found["gpus"] = list(devices(ctypes.CDLL(library)))
    except OSError:
        pass
except Exception as error:
    found["fault"] = f"{type(error).__name__}: {error}"
try:
    import triton
    found["triton"] = triton.__version__
except Exception:
    pass
found["read"] = [path for path in (getattr(one, "__file__", None) for one in list(sys.modules.values())) if path]
print("\\n" + json.dumps(found))
"""


def probe(environment: Mapping[str, str], requires: list[str]) -> dict[str, Any]:
    """Return what is there; Refusal when torch is there and cannot be imported."""
    from packaging.requirements import Requirement

    command = [sys.executable, "-c", _PROBE, *sorted(Requirement(text).name for text in requires)]
    try:
        done = patience.run(command, PATIENCE, env=dict(environment))
    except subprocess.TimeoutExpired:
        raise Refusal(
            UNFIT, f"torch cannot be imported here: no answer within {PATIENCE} s of processor time"
        ) from None
    if done.returncode:
        raise Refusal(
            UNFIT, f"torch cannot be imported here: {_last(done.stderr) or f'exit code {done.returncode}'}"
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    fault = found.pop("fault")
    if fault:
        raise Refusal(UNFIT, f"torch cannot be used here: {fault}")
    return found


def outside(torch: str, wanted: str, torch_range: str) -> str:
    """Return which range this torch is outside of, in words; nothing when it is inside, or there is none of either."""
    from packaging.specifiers import SpecifierSet

    if not torch or not torch_range or SpecifierSet(torch_range).contains(torch, prereleases=True):
        return ""
    return f"torch {torch} is outside of {torch_range}, for which {wanted} is made"


def lacking(requires: list[str], packages: Mapping[str, str]) -> list[str]:
    """Return those requirements that nothing here meets, with what is there."""
    from packaging.requirements import Requirement

    missing = []
    for text in requires:
        requirement = Requirement(text)
        if requirement.name == "torch" or (
            requirement.marker and not requirement.marker.evaluate({"extra": ""})
        ):
            continue
        there = packages.get(requirement.name, "")
        if not there or not requirement.specifier.contains(there, prereleases=True):
            missing.append(f"{text} ({there or 'not there'})")
    return missing


def unfit_for_gpu(found: Mapping[str, Any], cuda: str, torch_range: str) -> str:
    """Return why the gpu level cannot run here; nothing when it can.

    ``cuda`` is the wheel's release, ``torch_range`` empty for one that is made for no torch.
    """
    if torch_range and not found["torch_cuda"]:
        return f"torch {found['torch']} is a build without CUDA"
    if not found["driver_cuda"]:
        return "there is no NVIDIA driver"
    has, needs = (tuple(map(int, text.split("."))) for text in (found["driver_cuda"], cuda))
    if has[0] < needs[0]:
        return f"the driver serves CUDA {found['driver_cuda']} at most, and the wheel is made for CUDA {cuda}"
    if found["busy"]:
        return f"the GPU cannot be used: {found['busy']}"
    if not found["gpus"]:
        return f"{'torch' if found['torch'] else 'the driver'} sees no GPU that it can use"
    return ""


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
