#!/usr/bin/env python3
"""Show that a wheel's compiled library loads under another torch, without a GPU, and which CUDA runtime it found.

    load-check.py WHEEL --python VENV/bin/python [--python ...] [--json REPORT]

Each Python must have torch. The wheel and the CUDA runtime that it requires go into a temporary folder; nothing else
changes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import tempfile
from pathlib import Path

PROBE = """
import json, torch, xformers, xformers.ops
failure = xformers._cpp_lib._cpp_library_load_exception
mapped = {line.split()[-1] for line in open("/proc/self/maps") if "libcudart" in line or "/_C" in line}
print(json.dumps({
    "torch": torch.__version__,
    "xformers": xformers.__version__,
    "loaded": failure is None,
    "operator": str(getattr(torch.ops.xformers, "sparse24_largest_mask_2d", None)) if failure is None else "",
    "mapped": sorted(path.partition("site-packages/")[2] or path.removeprefix(PREFIX) for path in mapped),
}))
"""


def check(wheel: Path, python: str) -> dict[str, object]:
    """Install the wheel beside this Python's torch and load it in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
        subprocess.run([*install, str(wheel), "nvidia-cuda-runtime-cu12>=12.8"], check=True)
        env = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"} | {
            "PYTHONPATH": folder
        }
        code = PROBE.replace("PREFIX", repr(f"{folder}/"))
        done = subprocess.run(
            [python, "-c", code], env=env, cwd=folder, capture_output=True, text=True, check=True
        )
        return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Check the wheel with every Python that is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--python", action="append", required=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = {
        "wheel": options.wheel.name,
        "sha256": hashlib.sha256(options.wheel.read_bytes()).hexdigest(),
        "runs": [check(options.wheel, python) for python in options.python],
    }
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


main()
