"""Colour stands on the words by which a reader looks for what became of something, and nowhere else."""

from __future__ import annotations

import re

import pytest

from retread.text.colour import marked
from retread.text.tables import middle

RED, GREEN, YELLOW = "\x1b[1;31m", "\x1b[32m", "\x1b[33m"


@pytest.mark.parametrize(
    ("line", "colour", "word"),
    [
        ("  ok    sass     demo/_C.so  9.0a in 3 of 3 modules", GREEN, "ok"),
        ("  FAIL  sass     demo/_C.so  lacks 10.0", RED, "FAIL"),
        ("demo.whl: the promise of demo cu128 DOES NOT HOLD", RED, "DOES NOT HOLD"),
        ("demo.whl: SMOKE TESTS FAILED (1 of 104 cases)", RED, "SMOKE TESTS FAILED"),
        ("  FAILED sum/fp16 (0.1 s)", RED, "FAILED"),
        ("    note: gpu: not run", YELLOW, "note:"),
        ("retread: plan: no lane", RED, "retread: plan:"),
    ],
)
def test_a_mark_is_coloured_and_nothing_else(line: str, colour: str, word: str) -> None:
    assert marked(line) == line.replace(word, f"{colour}{word}\x1b[0m")


@pytest.mark.parametrize(
    "line", ["okay then", "  the note: of a patch", "0001-FAIL.patch", "  1 failed", "retread 0.1.0", ""]
)
def test_other_words_stay_as_they_are(line: str) -> None:
    assert marked(line) == line


def test_only_colour_comes_to_a_text() -> None:
    text = "demo.whl: NOT PROVEN (nothing ran)\n  ok    a\n\n  FAIL  b\nnote: c"
    assert re.sub(r"\x1b\[[\d;]*m", "", marked(text)) == text


@pytest.mark.parametrize(("width", "shown"), [(26, "abcdefghijklmnopqrstuvwxyz"), (12, "abcdef...xyz")])
def test_a_name_is_cut_in_its_middle(width: int, shown: str) -> None:
    assert middle("abcdefghijklmnopqrstuvwxyz", width) == shown
