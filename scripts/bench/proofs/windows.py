#!/usr/bin/env python3
"""Show what can be shown of a wheel for Windows without Windows: its structure by two readers, its mapping by Wine.

    windows.py WHEEL [--linux WHEEL] --json REPORT

Needs lief, Wine and x86_64-w64-mingw32-gcc. With the wheel for Linux of the same target, their kernels are compared.
Nothing of the wheel runs, and no GPU: the report names that as unproven.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lief

from retread.elf.facts import common
from retread.pe import edit, image, library
from retread.wheel import contents, sameness
from retread.wheel.wheelfile import Wheel

LOADER = Path(__file__).resolve().parents[3] / "tests" / "data" / "fatbin" / "load.c"
WINE = shutil.which("wine64") or "/usr/lib/wine/wine64"


def by_retread(path: Path) -> dict[str, Any]:
    """Return what our reader says of a library, with its checksum computed anew."""
    read, facts = library.load(path), library.read(path)
    native, ptx = common(facts)
    at = read.optional + 64
    return {
        "sections": [[one.name, one.address, one.memory, one.offset, one.size] for one in read.sections],
        "imports": sorted(image.needed(read)),
        "modules": len(facts.modules),
        "native": list(native),
        "ptx": list(ptx),
        "wrappers": sum(1 for _ in edit.wrappers(read)),
        "checksum right": int.from_bytes(read.data[at : at + 4], "little")
        == edit.checksum(read.data, [range(len(read.data))], at),
        "can be edited again": not edit.closed(read),
    }


def by_lief(path: Path) -> dict[str, Any]:
    """Return the same of lief, and whether it finds the layout sound."""
    read = lief.PE.parse(path)
    assert read is not None
    sound, why = lief.PE.check_layout(read)
    return {
        "version": lief.__version__,
        "layout sound": sound,
        "why not": why,
        "checksum right": read.optional_header.checksum == read.compute_checksum(),
        "sections": [
            [str(one.name), one.virtual_address, one.virtual_size, one.offset, one.sizeof_raw_data]
            for one in read.sections
        ],
        "imports": sorted(
            [*(str(one.name) for one in read.imports), *(str(one.name) for one in read.delay_imports)]
        ),
    }


def by_wine(paths: Mapping[str, Path], folder: Path) -> dict[str, Any]:
    """Return of each library how many of its wrappers point at a fat binary, mapped twice: at two addresses."""
    subprocess.run(["x86_64-w64-mingw32-gcc", LOADER, "-o", folder / "load.exe"], check=True)
    copies = {}
    for number, (member, path) in enumerate(paths.items()):
        for place in ("where it is linked for", "elsewhere"):
            name = f"{number}{place[0]}.dll"
            shutil.copyfile(path, folder / name)
            copies[name] = (member, place)
    environment = {**os.environ, "WINEPREFIX": str(folder / "wine"), "WINEDEBUG": "-all"}
    line = [WINE, "load.exe", *copies]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = {member: {} for member in paths}
    for name, wrappers, right in map(str.split, done.stdout.splitlines()):
        member, place = copies[name]
        found[member][place] = {"wrappers": int(wrappers), "at a fat binary": int(right)}
    version = subprocess.run([WINE, "--version"], env=environment, capture_output=True, text=True, check=True)
    return {"version": version.stdout.strip(), "mapped without imports": found}


def by_pip(wheel: Path, folder: Path) -> dict[str, str]:
    """Return whether pip installs the wheel for Windows."""
    line = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--only-binary=:all:",
    ]
    done = subprocess.run([*line, "--platform", "win_amd64", "--target", folder / "site", wheel], check=False)
    version = subprocess.run(
        [sys.executable, "-m", "pip", "--version"], capture_output=True, text=True, check=True
    )
    return {"version": version.stdout.split()[1], "installs": "yes" if done.returncode == 0 else "no"}


def kernels(wheel: Path, linux: Path, scratch: Path) -> dict[str, Any]:
    """Return by architecture how many kernels have the machine code that they have in the wheel for Linux."""
    return {
        one.architecture: {
            "kernels": len(one.same) + len(one.other) + len(one.first),
            "same code, constants and parameters as on Linux": len(one.same),
            "other": len(one.other),
        }
        for one in sameness.compare(wheel, linux, scratch)
    }


def report(wheel: Path, linux: Path | None) -> dict[str, Any]:
    """Return all of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for one in ("read", "wine", "same", "out"):
            (folder / one).mkdir()
        facts = contents.facts(wheel, folder / "read")
        said = facts.statement
        assert said is not None
        paths = {}
        with Wheel(wheel) as opened:
            for number, member in enumerate(facts.libraries):
                paths[member] = folder / "out" / f"{number}.dll"
                contents.unpack(opened, opened.archive.by_name[member], paths[member])
        ours = {member: by_retread(path) for member, path in paths.items()}
        theirs = {member: by_lief(path) for member, path in paths.items()}
        return {
            "schema": 1,
            "wheel": wheel.name,
            "sha256": facts.sha256,
            "recipe": said.recipe,
            "target": said.target,
            "platform": "win_amd64",
            "tool": said.tool,
            "changed": [name for name, one in said.libraries.items() if one.before != one.after],
            "readers agree": {
                member: {key: ours[member][key] == theirs[member][key] for key in ("sections", "imports")}
                for member in paths
            },
            "retread": ours,
            "lief": theirs,
            "wine": by_wine(paths, folder / "wine"),
            "pip": by_pip(wheel, folder),
            "machine code": kernels(wheel, linux, folder / "same") if linux else {},
            "unproven": {"gpu": "no machine with Windows and a GPU was there; no code of the wheel ran"},
        }


def main() -> None:
    """Write the report, and end with 1 when something of it is not as it should be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--linux", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    found = report(options.wheel, options.linux)
    options.json.write_text(json.dumps(found, indent=1) + "\n")
    sound = [one["layout sound"] for one in found["lief"].values()]
    # What is upstream's as it was need not have a checksum: linkers leave it out, and the loader does not ask.
    sound += [
        found[reader][name]["checksum right"] for reader in ("lief", "retread") for name in found["changed"]
    ]
    sound += [same for one in found["readers agree"].values() for same in one.values()]
    places = [place for one in found["wine"]["mapped without imports"].values() for place in one.values()]
    sound += [place["wrappers"] == place["at a fat binary"] for place in places]
    sys.exit(0 if all(sound) and found["pip"]["installs"] == "yes" else 1)


if __name__ == "__main__":
    main()
