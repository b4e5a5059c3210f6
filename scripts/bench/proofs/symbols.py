#!/usr/bin/env python3
"""Say who defines what a wheel's libraries leave undefined, in each of several environments with torch.

    symbols.py WHEEL --python VENV/bin/python [--python ...] [--json REPORT]

Nothing of the wheel is loaded: ``nm`` reads the dynamic symbols of its libraries, of torch's and the CUDA runtime's in
the environment, and of the system's C and C++. A symbol that nobody defines would keep a library from loading. Versions
of symbols count.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

SYSTEM = ("libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libgomp.so.1", "ld-linux-x86-64.so.2")
ASK = """
import json, sysconfig, torch
abi = torch.compiled_with_cxx11_abi()
print(json.dumps([sysconfig.get_path("purelib"), torch.__version__, torch.version.cuda, abi]))
"""


def symbols(path: Path, which: str) -> set[str]:
    """Return the dynamic symbols of a library that it defines, or leaves undefined and needs, with their versions."""
    done = subprocess.run(["nm", "-D", "-P", which, str(path)], capture_output=True, text=True, check=False)
    rows = [line.split() for line in done.stdout.splitlines()]
    return {row[0].replace("@@", "@") for row in rows if len(row) > 1 and row[1] not in "wv"}


def system(name: str) -> Path:
    """Return where the system has a library."""
    said = subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return Path(said.stdout.strip())


def held(libraries: dict[str, Path], python: str) -> dict[str, object]:
    """Return of each library how many symbols each provider in this environment defines, and those that none does."""
    said = subprocess.run([python, "-c", ASK], capture_output=True, text=True, check=True).stdout
    site, torch, cuda, abi = json.loads(said.splitlines()[-1])
    own = [
        *Path(site, "torch", "lib").glob("lib[ct]*.so"),
        *Path(site, "nvidia").glob("*/lib/libcudart.so.*"),
    ]
    providers = {path.name: symbols(path, "--defined-only") for path in [*sorted(own), *map(system, SYSTEM)]}
    found = {}
    for name, path in libraries.items():
        wanted, by = symbols(path, "--undefined-only"), {}
        for provider, has in providers.items():
            plain = {one.partition("@")[0] for one in has}
            if taken := {one for one in wanted if one in has | (plain if "@" not in one else set())}:
                by[provider] = len(taken)
                wanted -= taken
        found[name] = {"defined_by": by, "undefined": sorted(wanted)}
    return {"torch": torch, "cuda": cuda, "cxx11_abi": abi, "libraries": found}


def main() -> None:
    """Hold the wheel to every environment that is named; the exit code says whether all is defined in each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--python", action="append", required=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(options.wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".so")]
        libraries = {name: Path(archive.extract(name, folder)) for name in names}
        runs = [held(libraries, python) for python in options.python]
    digest = hashlib.sha256(options.wheel.read_bytes()).hexdigest()
    report = {"schema": 1, "wheel": options.wheel.name, "sha256": digest, "runs": runs}
    text = json.dumps(report, indent=1) + "\n"
    print(text, end="")
    if options.json:
        options.json.write_text(text)
    sys.exit(any(one["undefined"] for run in runs for one in run["libraries"].values()))


main()
