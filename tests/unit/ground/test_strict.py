"""Strict reading: every fault at once, each with its key path and the near miss."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retread import limits, strict
from retread.errors import RecipeError
from retread.records import Record

Level = Annotated[int, msgspec.Meta(ge=1, description="an integer from 1 on")]
Metal = Annotated[str, msgspec.Meta(description="a metal", extra={"known": ("iron", "copper")})]


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Leaf(Record, rename="kebab", frozen=True, kw_only=True):
    two_words: str
    level: Level = 1
    metal: Metal = "iron"


class Root(Record, rename="kebab", frozen=True, kw_only=True):
    name: str
    leaves: tuple[Leaf, ...] = ()
    by_name: dict[str, Leaf] = msgspec.field(default_factory=dict)
    colour: Colour = Colour.RED
    flag: bool = False
    size: float = 0.0


def faults(**data: Any) -> list[str]:
    record, found = strict.read(Root, data)
    assert (record is None) == bool(found)
    return found


def test_sound_data_becomes_a_record() -> None:
    data = {"name": "n", "leaves": [{"two-words": "w", "level": 2}], "by-name": {"x": {"two-words": "y"}}}
    record, found = strict.read(Root, data)
    assert found == []
    assert record == Root(
        name="n", leaves=(Leaf(two_words="w", level=2),), by_name={"x": Leaf(two_words="y")}
    )


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({}, "name: missing"),
        ({"name": 5}, "name: expected a string, got an integer"),
        ({"name": "n", "flag": 1}, "flag: expected a boolean, got an integer"),
        ({"name": "n", "flag": "true"}, "flag: expected a boolean, got a string"),
        ({"name": "n", "colur": "red"}, "colur: unknown key (did you mean 'colour'?)"),
        ({"name": "n", "zzz": 1}, "zzz: unknown key"),
        ({"name": "n", "by_name": {}}, "by_name: unknown key (did you mean 'by-name'?)"),
        ({"name": "n", "colour": "gren"}, "colour: invalid enum value 'gren' (did you mean 'green'?)"),
        ({"name": "n", "leaves": "x"}, "leaves: expected an array, got a string"),
        ({"name": "n", "leaves": {}}, "leaves: expected an array, got a table"),
        ({"name": "n", "leaves": ["x"]}, "leaves[0]: expected a table, got a string"),
        ({"name": "n", "by-name": []}, "by-name: expected a table, got an array"),
        ({"name": "n", "by-name": {"a.b": []}}, 'by-name."a.b": expected a table, got an array'),
        ({"name": "n", "leaves": [{"two-words": "w"}, {}]}, "leaves[1].two-words: missing"),
        (
            {"name": "n", "leaves": [{"two-words": "w", "level": 0}]},
            "leaves[0].level: expected an integer from 1 on, got 0",
        ),
        (
            {"name": "n", "leaves": [{"two-words": "w", "level": True}]},
            "leaves[0].level: expected an integer from 1 on, got true",
        ),
        (
            {"name": "n", "leaves": [{"two-words": "w", "metal": "cooper"}]},
            "leaves[0].metal: expected a metal, got 'cooper' (did you mean 'copper'?)",
        ),
    ],
)
def test_each_fault_has_its_path(data: dict[str, Any], fault: str) -> None:
    assert faults(**data) == [fault]


def test_all_faults_come_at_once() -> None:
    found = faults(colur="red", leaves=[{"level": 0}, 7], flag="no")
    assert found == [
        "colur: unknown key (did you mean 'colour'?)",
        "leaves[0].level: expected an integer from 1 on, got 0",
        "leaves[0].two-words: missing",
        "leaves[1]: expected a table, got an integer",
        "flag: expected a boolean, got a string",
        "name: missing",
    ]


def test_a_list_where_a_table_belongs() -> None:
    assert strict.read(Root, []) == (None, ["top level: expected a table, got an array"])


def test_a_huge_value_does_not_flood_the_terminal() -> None:
    (fault,) = faults(name="n", leaves=[{"two-words": "w", "level": "x" * 5000}])
    assert fault.endswith("xxx...")
    assert len(fault) < 150


def test_near_miss() -> None:
    assert strict.near_miss("cu129", ["cu128", "cpu"]) == " (did you mean 'cu128'?)"
    assert strict.near_miss("rocm", ["cu128", "cpu"]) == ""
    assert strict.near_miss("x", []) == ""


_TEXT = st.text('ab.-"é\n', max_size=5)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(["name", "leaves", "by-name", "colour", "flag", "size", "two-words", "level"])


@settings(deadline=None, max_examples=15)
@given(
    st.dictionaries(
        _KEYS, _VALUES | st.lists(st.dictionaries(_KEYS, _VALUES, max_size=4), max_size=2), max_size=6
    )
)
def test_anything_becomes_a_record_or_a_list_of_faults(data: dict[str, Any]) -> None:
    record, found = strict.read(Root, data)
    assert (record is None) == bool(found)
    assert all(": " in fault for fault in found)
    if record is not None:
        assert msgspec.convert(data, Root) == record


# What would cost more than it is worth, or cannot be shown.


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a." * 20_000 + "a = 1", "the key a.a"),
        ("[" + ".".join('"="' for _ in range(50)) + "]", "parts"),
        ('x = """\n#\'"""\n' + "a . " * 40 + "a = 1", "parts"),
        ("x = {" + "'a'." * 40 + "a = 1}", "parts"),
        ("a = 0x" + "f" * 4_000, "an integer of more than 64 bits"),
        ("a = [[1, {b = 9223372036854775808}]]", "an integer of more than 64 bits"),
        ("a = " + "9" * 5_000, "4300"),
        ("a = " + "[" * 5_000, "nested too deeply"),
        ("a = " + "{a=" * 5_000, "nested too deeply"),
    ],
)
def test_toml_that_would_cost_too_much_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        strict.table(text)
    with pytest.raises(RecipeError, match=r"demo.toml is not TOML"):
        strict.toml(text.encode(), "demo")


@pytest.mark.parametrize(
    "text",
    [
        "a = '" + "a." * 50 + "'",
        'a = """' + "a." * 50 + '"""',
        "a = 1 # " + "a." * 50,
        'a = """""" # ' + "a." * 50,
        'a = "\\"' + ".a" * 50 + '"',
        "a = '''''" + "b." * 50 + "'''",
        ".".join("abcdefghij") + " = 1.5",
    ],
)
def test_dots_in_texts_are_no_parts_of_keys(text: str) -> None:
    assert strict.table(text)


def test_toml_that_is_no_utf_8_is_refused() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        strict.table(b"a = '\xff'")


@pytest.mark.parametrize(
    "data",
    [b'{"a": "\\ud800"}', b'"\xff"', b"[" * 100_000, b'{"a":' * 100_000, b"1" + b"0" * 5_000,
     b"NaN", b'{"a": 1, "a": 2}', b"1e999", b""],
)  # fmt: skip
def test_json_that_readers_take_otherwise_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        strict.json(data)


def test_a_record_of_json_that_is_nested_too_deeply_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        strict.decoded(b"[" * 100_000, list)


def test_a_near_miss_is_looked_for_as_long_as_somebody_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(strict, "near_miss", lambda word, known: asked.append(word) or "")

    class Small(msgspec.Struct):
        name: str = ""

    _, faults = strict.read(Small, {f"key{index}": 1 for index in range(1_000)})
    assert len(faults) == 1_000
    assert len(asked) == limits.NEAR_MISSES
