"""Pointers of Git LFS: what one says, and which file it stands for."""

from __future__ import annotations

import hashlib

import pytest

from retread.recipe import lfs
from retread.recipe.proof import blob_id

DATA = b"weights"
SHA256 = hashlib.sha256(DATA).hexdigest()
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA256}\nsize 7\n".encode()


def test_a_pointer_says_of_which_file_it_is() -> None:
    assert lfs.parse(POINTER) == lfs.of(DATA) == (SHA256, 7)
    assert str(lfs.of(DATA)) == f"sha256 {SHA256[:12]}, 7 bytes"


@pytest.mark.parametrize(
    "data", [b"", DATA, POINTER[:-1], POINTER + b"x", POINTER.replace(b"sha256:", b"md5:"), 99 * POINTER]
)
def test_what_is_no_pointer_is_none(data: bytes) -> None:
    assert lfs.parse(data) is None


def test_a_file_is_the_commit_s_by_its_own_id_or_by_that_of_its_pointer() -> None:
    assert lfs.is_file(DATA, blob_id(DATA))
    assert lfs.is_file(DATA, blob_id(POINTER))
    assert not lfs.is_file(b"Weights", blob_id(POINTER))
    assert not lfs.is_file(DATA + b"!", blob_id(POINTER))
