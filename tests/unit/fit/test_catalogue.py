"""The catalogue that comes with the package is what the recipes, series and usage files say."""

from __future__ import annotations

import pytest

import catalogue as writer
from retread.errors import RecipeError
from retread.fit import catalogue, inquiry


def test_the_committed_catalogue_is_the_recipes() -> None:
    assert writer.PLACE.read_bytes() == writer.text(), "run: make catalogue"


def test_every_patch_that_is_shipped_says_how_its_fault_is_seen() -> None:
    assert [one.name for one in inquiry.packaged().faults if not one.seen_as] == []


def test_a_fault_is_of_the_releases_from_the_first_that_needs_the_patch_to_the_fix() -> None:
    found = {one.name: one for one in inquiry.packaged().faults}
    for name, having, free in (
        (
            "vararg-set-source-on-any-triton",
            ["0.0.28", "0.0.29.post3", "0.0.29.post3+cu130.1"],
            ["0.0.30", "0.0.35"],
        ),
        ("fa3-on-h100", ["0.0.33", "0.0.33.post2"], ["0.0.32.post2", "0.0.34"]),
        ("fa3-optional-at-import", ["0.0.31", "0.0.34"], ["0.0.29.post3", "0.0.35"]),
        ("cutlass-cap-12.0", ["0.0.33", "0.0.35", "0.0.36"], ["0.0.32.post2"]),
    ):
        assert [one for one in having if not catalogue.has(found[name], one)] == [], name
        assert [one for one in free if catalogue.has(found[name], one)] == [], name


def test_the_releases_made_for_a_torch_are_there() -> None:
    (usage,) = inquiry.packaged().usage
    torch = {one.torch: one.version for one in usage.release}
    assert (torch["==2.7.0"], torch["==2.8.0"], torch[">=2.10"]) == ("0.0.30", "0.0.32.post2", "0.0.35")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("project = ", "usage/demo.toml is not TOML"),
        ('project = "other"', "usage/demo.toml is about other; a file is called after its project"),
        ('project = "demo"\ncalls = []', "calls: unknown key (did you mean 'call'?)"),
        (
            'project = "demo"\n[[measured]]\ngpu = "99.9"\nsays = "x"',
            "measured[0].gpu: expected a GPU architecture",
        ),
    ],
)
def test_a_usage_file_that_is_wrong_is_told(text: str, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        catalogue.parse_usage(text.encode(), name="demo")
    assert told in str(caught.value)
