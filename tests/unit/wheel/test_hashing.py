from __future__ import annotations

import hashlib
import os

import pytest

from retread.wheel.hashing import BackgroundHash


@pytest.mark.parametrize("size", [0, 1, 1 << 18, 1 << 20])
def test_background_hash_is_the_hash(size: int) -> None:
    data = os.urandom(size)
    with BackgroundHash() as hashed:
        for _ in range(7):
            hashed.update(data)
            hashed.update(b"small")
        assert hashed.digest() == hashlib.sha256((data + b"small") * 7).hexdigest()


def test_nothing_has_a_hash_too() -> None:
    with BackgroundHash() as hashed:
        assert hashed.digest() == hashlib.sha256().hexdigest()
