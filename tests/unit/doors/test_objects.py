"""What an address of a shared compile cache has to be."""

from __future__ import annotations

import pytest

from retread.doors import objects
from retread.errors import UsageError


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("ftp://there", "ftp://there is no cache that can be opened"),
        ("there", "there is no cache that can be opened"),
        ("s3://key:secret@there", "s3://there holds a key or a password"),
        ("redis://:secret@there:port", "redis://there:port is no Redis"),
    ],
)
def test_an_address_of_nothing_is_refused_without_its_password(address: str, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        objects.at(address)
    assert refused.value.message == told
    assert "redis://host:6379/0" in refused.value.hint
