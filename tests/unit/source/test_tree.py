"""Files of the pinned tree: taken as they are pinned, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from retread.errors import StoreError
from retread.recipe.proof import blob_id
from retread.source import tree
from retread.source.records import Manifest, SourceTree


@pytest.fixture
def source(tmp_path: Path) -> SourceTree:
    root = tmp_path / "entry" / "tree"
    (root / "csrc").mkdir(parents=True)
    (root / "csrc" / "a.cu").write_bytes(b"kernel")
    files = {"csrc/a.cu": blob_id(b"kernel"), "empty": blob_id(b"")}
    manifest = Manifest(commit=40 * "0", time=0, files=files, unproven=())
    return SourceTree(root=root, manifest=manifest)


def test_a_file_as_it_is_pinned(source: SourceTree) -> None:
    assert tree.pristine(source, "csrc/a.cu") == source.root / "csrc/a.cu"


@pytest.mark.parametrize("damage", ["changed", "gone", "folder"])
def test_a_file_that_is_not_the_pinned_one_any_more(source: SourceTree, damage: str) -> None:
    file = source.root / "csrc/a.cu"
    file.unlink()
    if damage == "changed":
        file.write_bytes(b"kernel!")
    elif damage == "folder":
        file.mkdir()
    with pytest.raises(StoreError) as caught:
        tree.pristine(source, "csrc/a.cu")
    assert str(caught.value).splitlines() == [
        f"the store's copy of csrc/a.cu was changed: {file}",
        f"  next: remove {source.root.parent} and run the same command again",
    ]


def test_an_empty_file_has_to_be_there_too(source: SourceTree) -> None:
    with pytest.raises(StoreError):
        tree.pristine(source, "empty")
