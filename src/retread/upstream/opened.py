"""A release's wheel and archive opened: what a recipe is made of, for its first one and for the next."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from retread import limits, strict
from retread.elf import release
from retread.recipe import proof
from retread.source import tree as source
from retread.source.records import SourceTree
from retread.upstream import clue
from retread.upstream.draft import Read
from retread.wheel import contents
from retread.wheel.wheelfile import Wheel

_SMALL: Final = 1 << 20
"""Bytes of a file of Python in which a commit is looked for."""


def text(tree: SourceTree | None, path: str) -> str:
    """Return a file of a source; nothing where there is none, or one that is larger than any that is written."""
    if tree is None or path not in tree.manifest.files:
        return ""
    file = source.pristine(tree, path)
    return file.read_text("utf-8", "replace") if file.stat().st_size <= limits.METADATA else ""


def wheel(path: Path, scratch: Path, wanted: Collection[str] = ()) -> tuple[Read, dict[str, str]]:
    """Return what a wheel holds, and those of its texts that say where it comes from, or that are ``wanted``."""
    facts = contents.facts(path, scratch, lenient=True)
    blobs: dict[str, str] = {}
    releases: dict[str, str] = {}
    texts: dict[str, str] = {}
    with Wheel(path, lenient=True) as found:
        texts["METADATA"] = found.metadata
        for entry in found.files:
            if entry.name.startswith(f"{found.dist_info}/"):
                continue
            if entry.name in facts.libraries:
                blobs[entry.name] = ""
                if facts.libraries[entry.name].modules:
                    releases[entry.name] = release.builder(facts.libraries[entry.name].made)
                continue
            data = found.archive.read(entry.name)
            blobs[entry.name] = proof.blob_id(data)
            if (entry.name in wanted or clue.names_commit(entry.name)) and len(data) <= _SMALL:
                texts[entry.name] = data.decode("utf-8", "replace")
    return Read(facts, blobs, releases), texts


def builds_with(pyproject: str) -> tuple[str, ...]:
    """Return what a project's build requires, as far as its pyproject.toml can be read."""
    try:
        found = strict.table(pyproject).get("build-system", {}).get("requires", [])
    except (ValueError, AttributeError):
        return ()
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()
