"""A recipe as text: what is read back is the same, whatever words are in it, and remarks stay on their lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from retread.recipe import reading, writing
from retread.recipe.model import Recipe
from retread.recipe.writing import Remarks

RECIPES = sorted((Path(__file__).parents[3] / "recipes").glob("*.toml"))
NEWEST = reading.parse_recipe(RECIPES[-1].read_bytes(), name=RECIPES[-1].stem)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_is_read_back_as_it_was(path: Path) -> None:
    recipe = reading.parse_recipe(path.read_bytes(), name=path.stem)
    assert reading.parse_recipe(writing.text(recipe).encode(), name=path.stem) == recipe


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_no_words_break_the_file(words: str, remark: str) -> None:
    recipe = replace(NEWEST, summary=words)
    remarks = Remarks({"summary": remark, "targets.cu128": remark}, {"pin.commit": remark})
    text = writing.text(recipe, remarks)
    assert reading.parse_recipe(text.encode(), name=recipe.name) == recipe
    assert all(line.isprintable() for line in text.splitlines())


def test_remarks_stand_above_and_behind_and_an_array_s_above_its_first_table() -> None:
    remarks = Remarks(
        {"pin": "where it is from", "pin.submodules": "libraries"},
        {"pin.commit": "TODO: which", "pin.submodules[1].path": "the second"},
    )
    text = writing.text(NEWEST, remarks, schema="../recipe.json")
    assert text.startswith("#:schema ../recipe.json\nname = ")
    assert "# where it is from\n[pin]\n" in text
    assert f'commit = "{NEWEST.pin.commit}"  # TODO: which\n' in text
    assert text.count("# libraries\n[[pin.submodules]]\n") == text.count("# libraries") == 1
    assert 'path = "third_party/cutlass"  # the second\n' in text


def test_a_list_that_is_too_long_for_a_line_has_a_line_for_each() -> None:
    recipe = replace(NEWEST, native_inputs=("a" * 80, "b" * 80))
    text = writing.text(recipe, Remarks(behind={"native-inputs": "why"}))
    assert f'native-inputs = [\n  "{"a" * 80}",\n  "{"b" * 80}",\n]  # why\n' in text


def test_a_table_that_is_left_open_is_written_though_it_says_no_more_than_a_missing_one() -> None:
    recipe = Recipe(name="demo-1", project="demo", version="1", summary="a demo", targets={})
    assert "[pin]" not in writing.text(recipe)
    open_ = Remarks(behind={"pin.commit": "TODO: which"})
    assert '[pin]\nrepository = ""\ncommit = ""  # TODO: which\n' in writing.text(recipe, open_)
