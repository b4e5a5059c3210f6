"""Quantities as people read them."""

from __future__ import annotations

import pytest

from retread import units


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 kB"),
        (512, "1 kB"),
        (4_400, "4 kB"),
        (999_400, "999 kB"),
        (1_000_000, "1.0 MB"),
        (3_345_678, "3.3 MB"),
        (360_000_000, "360.0 MB"),
        (12_500_000_000, "12.5 GB"),
    ],
)
def test_size(count: int, text: str) -> None:
    assert units.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0:00"), (7.9, "0:07"), (725, "12:05"), (3_725, "1:02:05"), (90_000, "25:00:00")],
)
def test_a_time_is_shown_as_a_clock_shows_it(seconds: float, text: str) -> None:
    assert units.clock(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "about 10 s"),
        (35, "about 40 s"),
        (100, "about 2 min"),
        (1_800, "about 30 min"),
        (9_000, "about 2.5 h"),
    ],
)
def test_how_long_is_said_no_more_exactly_than_anybody_knows(seconds: float, text: str) -> None:
    assert units.about(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "1970-01-01T00:00:00Z"), (-62_135_596_800, "0001-01-01T00:00:00Z"),
     (-86_400, "1969-12-31T00:00:00Z"), (4_102_444_800, "2100-01-01T00:00:00Z"),
     (10**12, "1000000000000")],
)  # fmt: skip
def test_a_moment_is_told_also_where_no_calendar_reaches(seconds: int, told: str) -> None:
    assert units.utc(seconds) == told


@pytest.mark.parametrize(
    ("count", "thing", "said"),
    [
        (1, "entry", "1 entry"), (0, "entry", "0 entries"), (2, "patch", "2 patches"), (1200, "file", "1,200 files"),
        (2, "library", "2 libraries"), (3, "key", "3 keys"), (2, "miss", "2 misses"), (1, "miss", "1 miss"),
    ],
)  # fmt: skip
def test_things_are_counted_as_people_do(count: int, thing: str, said: str) -> None:
    assert units.counted(count, thing) == said


@pytest.mark.parametrize(
    ("words", "said"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_words_are_enumerated_as_people_do(words: list[str], said: str) -> None:
    assert units.enumerated(words) == said
