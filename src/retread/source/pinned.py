"""Files taken out of the pinned tree in the store, each checked as it is taken."""

from __future__ import annotations

from pathlib import Path

from retread.errors import StoreError
from retread.recipe.proof import blob_id
from retread.records import SourceTree


def pristine(source: SourceTree, path: str) -> Path:
    """Return a file of the pinned tree; StoreError when the store's copy is not the pinned one any more."""
    file = source.root / path
    found = blob_id(file.read_bytes()) if file.is_file() else ""
    if found != source.manifest.files[path]:
        raise StoreError(
            f"the store's copy of {path} was changed: {file}",
            hint=f"remove {source.root.parent} and run the same command again",
        )
    return file
