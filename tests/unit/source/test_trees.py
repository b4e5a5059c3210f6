"""The key of the pinned tree holds every field of the recipe, but those that are excepted by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from fields import RECIPE, fields, grown, loaded, machine, other
from retread.recipe.model import Recipe
from retread.source import trees


def key(recipe: Recipe = RECIPE) -> str:
    return trees.Trees(loaded(recipe), machine(Path("/nowhere"))).source_key


def test_a_field_that_is_added_voids_the_tree() -> None:
    assert key(grown(RECIPE)) != key()


@pytest.mark.parametrize("field", fields(RECIPE))
def test_a_field_decides_or_is_excepted(field: str) -> None:
    assert (key(other(RECIPE, field)) == key()) == (field in trees.NOT_OF_SOURCE)
