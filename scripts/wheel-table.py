#!/usr/bin/env python3
"""Print a Markdown table of patched wheels from what they say of themselves: wheel-table.py dist/*.whl."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path


def rows(wheel: Path) -> list[list[str]]:
    """Return one row for each library of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/retread.json"))
        said = json.loads(archive.read(name))
    exempt = {one["library"] for one in said["promise"]["exempt"]}
    table = []
    for library, found in said["libraries"].items():
        added = [one for one in found["after"] if one not in found["before"]]
        after = " ".join(f"**{one}**" if one in added else one for one in found["after"])
        shown = f"`{library}`" + (" (exempt)" if library in exempt else "")
        table.append(
            [
                f"{said['recipe']} {said['target']}",
                wheel.name.split("-")[2],
                f"torch{said['promise']['torch']}",
                shown,
                str(found["modules"]),
                " ".join(found["before"]),
                after,
                " ".join(found["ptx"]) or "none",
            ]
        )
    return table


def main() -> None:
    """Print the table of the wheels that are named."""
    head = ["recipe, target", "Python", "torch", "library", "modules", "native before", "native after", "PTX"]
    lines = [head, ["---"] * len(head)]
    for wheel in map(Path, sys.argv[1:]):
        lines += rows(wheel)
    print("\n".join("| " + " | ".join(line) + " |" for line in lines))


main()
