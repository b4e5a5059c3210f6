#!/usr/bin/env python3
"""Prune a commit proof to what a source archive needs, and write it to recipes/commits/.

usage: prune-proof.py PROOF.tree SDIST.tar.gz PATH_IN_SDIST OUT.tree

A directory of which the archive holds no file is written as one line with its tree id, from which the commit id can
still be recomputed. Run with the environment of ``make setup``.
"""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

from retread.recipe import proof


def needed(sdist: Path, prefix: str) -> set[str]:
    """Return the paths below ``prefix`` that the archive holds."""
    with tarfile.open(sdist) as archive:
        names = [member.name.partition("/")[2] for member in archive if member.isfile()]
    root = f"{prefix}/" if prefix not in {"", "."} else ""
    return {name.removeprefix(root) for name in names if name.startswith(root)}


def lines(tree: proof.Tree, keep: set[str], at: str = "") -> list[str]:
    """Return the listing of ``tree`` with every directory collapsed that holds no path of ``keep``."""
    found = []
    for name, child in sorted(tree.items()):
        path = f"{at}{name}"
        if not isinstance(child, dict):
            found.append(f"{child.mode} {child.id} {path}")
        elif any(item.startswith(f"{path}/") for item in keep):
            found.extend(lines(child, keep, f"{path}/"))
        else:
            found.append(f"{proof.DIRECTORY} {proof.tree_id(child)} {path}")
    return found


def main() -> None:
    """Read the arguments, prune, prove that the result still holds, write."""
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    source, sdist, prefix, out = sys.argv[1:]
    data = Path(source).read_bytes()
    full = proof.parse(data, name=source)
    head = data.partition(b"\n")[0].decode()
    text = "\n".join([head, *lines(proof.nested(full.entries), needed(Path(sdist), prefix))]) + "\n"
    proof.parse(text.encode(), name=out)
    Path(out).write_text(text)


main()
