"""Wheels that ``retread fit`` is to take from an index: a private one on disk, an address, one that does not answer."""

from __future__ import annotations

import pytest

from fitting import KNOWN
from loopback import Index
from retread.errors import FetchError
from retread.fit import listing
from tinyindex import Shelf, make_keys

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
WHEEL = "demo-1.3+cu128.1-cp39-abi3-manylinux_2_28_x86_64.whl"


def test_a_private_index_on_disk_says_where_each_wheel_lies(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("shelf")
    shelf = Shelf(folder, make_keys(folder / "keys"))
    shelf.publish(shelf.wheel("demo", "1.3+cu128.1"))
    (found,) = listing.listed(str(shelf.root), KNOWN, ENVIRONMENT)
    (offer,) = found.offers
    assert (found.project, found.address, str(offer.version)) == ("demo", "", "1.3+cu128.1")
    assert found.places[offer.file].endswith(f"/{offer.sha256}/{offer.file}")
    assert found.places[offer.file].startswith(str(shelf.root / "files"))


def test_an_address_is_asked_as_the_simple_index_that_it_is(index: Index) -> None:
    index.files = {"demo": {WHEEL: b"wheel"}}
    (found,) = listing.listed(index.url, KNOWN, ENVIRONMENT)
    assert (found.address, [one.file for one in found.offers]) == (index.url, [WHEEL])
    assert [one.path for one in index.log] == ["/simple/demo/"]


def test_an_index_that_has_nothing_of_the_projects_is_told_with_what_was_asked(index: Index) -> None:
    with pytest.raises(FetchError, match="the index has nothing of demo") as caught:
        listing.listed(f"http://{index.host}/", KNOWN, ENVIRONMENT)
    assert len(caught.value.faults) == 3  # the address itself, and its channels cu128 and cu130
    assert "ADDRESS/cu128/simple/" in caught.value.hint


def test_a_password_stays_out_of_messages(index: Index) -> None:
    with pytest.raises(FetchError) as caught:
        listing.listed(f"http://me:secret@{index.host}/", KNOWN, ENVIRONMENT)
    assert "secret" not in str(caught.value)
    index.files = {"demo": {WHEEL: b"wheel"}}
    (found,) = listing.listed(f"http://me:secret@{index.host}/simple/", KNOWN, ENVIRONMENT)
    assert found.address == index.url
