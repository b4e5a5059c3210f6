#!/usr/bin/env python3
"""Make the pages for installers of the models in a folder: what pages.py measures, so it imports nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from retread.doors import durable
from retread.index.listing import Project
from retread.index.pages import simple


def main(channel: str, state: str, out: str) -> None:
    """Write all pages, and wait until the disk has all of them, as an action of an index does."""
    decoder = msgspec.json.Decoder(Project)
    names, paths = list[str](), list[Path]()
    for path in sorted(Path(state).iterdir()):
        project = decoder.decode(path.read_bytes())
        names.append(project.name)
        paths += _put(Path(out) / project.name, simple.simple_html(project), simple.simple_json(project))
    paths += _put(Path(out), simple.root_html(channel, names), simple.root_json(channel, names))
    durable.sync(*paths, *{path.parent for path in paths})


def _put(folder: Path, html: bytes, json: bytes) -> list[Path]:
    pages = {folder / "index.html": html, folder / "index.json": json}
    for path, data in pages.items():
        durable.put(path, data)
    return list(pages)


if __name__ == "__main__":
    main(*sys.argv[1:])
