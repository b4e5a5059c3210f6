"""Whether a kit's wheel fits this environment, and how its GPUs run it: ``--fit`` says it and tries nothing."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from retread import arch
from retread.smoke.runtime import place, surroundings
from retread.smoke.runtime.place import Kit

NONE = "NO CODE"


def fit(kit: Kit, path: str) -> bool:
    """Say on standard output whether the wheel of the kit at ``path`` fits, why not, and the line that installs it."""
    wheel = kit.manifest
    found = surroundings.probe(os.environ, wheel["requires"])
    print(f"Python {found['python']}, torch {found['torch'] or 'none'}, Triton {found['triton'] or 'none'}")
    reasons = list(_reasons(kit, found))
    for gpu in found["gpus"]:
        words = served(wheel, gpu["capability"])
        print(f"{gpu['name']}, compute capability {gpu['capability']}: {words}")
        if words == NONE:
            reasons.append(f"it has no code for capability {gpu['capability']}")
    print(
        "\n".join(
            [f"{wheel['wheel']} {'does not fit' if reasons else 'fits'}", *(f"  {one}" for one in reasons)]
        )
    )
    if not reasons:
        print(f"  {_line(path, kit.wheels())}")
    return not reasons


def served(wheel: Mapping[str, Any], gpu: str) -> str:
    """Return how a GPU runs the wheel, by the architectures that its target promises."""
    device = arch.parse(gpu)
    fitting = [code for code in map(arch.parse, wheel["architectures"]) if arch.runs(code, device)]
    if any(arch.parts(code)[:2] == arch.parts(device)[:2] for code in fitting):
        return "native, tuned for it"
    if fitting:
        return "native"
    if any(arch.compiles(ptx, device) for ptx in map(arch.parse, wheel["ptx"])):
        return f"by JIT from PTX (needs a driver of CUDA {wheel['cuda']})"
    return NONE


def _reasons(kit: Kit, found: Mapping[str, Any]) -> Iterator[str]:
    wheel = kit.manifest
    if why := place.fits(wheel["wheel"]):
        yield why
    if wheel["torch"] and not found["torch"]:
        yield f"there is no torch for {sys.executable}; the wheel needs torch{wheel['torch']}"
        return
    if why := surroundings.outside(found["torch"], wheel["wheel"], wheel["torch"]):
        yield why
    carried = {name.partition("/")[2].partition("-")[0].replace("_", "-") for name in kit.wheels()}
    for one in surroundings.lacking(wheel["requires"], found["packages"]):
        if not any(one.startswith(name) for name in carried):
            yield f"{sys.executable} lacks {one}"
    if why := surroundings.unfit_for_gpu(found, wheel["cuda"], wheel["torch"]):
        yield why


def _line(path: str, wheels: Sequence[str]) -> str:
    """Return what installs the kit's wheels, and nothing else: what is installed stays what it is."""
    if sys.platform == "win32":  # its shell expands no names, and quotes in its own way
        start = subprocess.list2cmdline([sys.executable, "-m"])
        wheels = subprocess.list2cmdline([f"kit/{name}" for name in wheels])
        return f"{start} zipfile -e {subprocess.list2cmdline([path])} kit && {start} pip install --no-deps {wheels}"
    python, kit = shlex.quote(sys.executable), shlex.quote(path)
    return f"{python} -m zipfile -e {kit} kit && {python} -m pip install --no-deps kit/wheels/*.whl"
