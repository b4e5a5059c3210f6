"""Signs that a terminal or a browser would obey."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retread.text import controls


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("over\rwritten", r"over\rwritten"),
        ("c1\x9b31m", r"c1\x9b31m"),
        ("exe\u202egpj", r"exe\u202egpj"),
        ("\u2066isolated\u2069", r"\u2066isolated\u2069"),
        ("half \udcff", r"half \udcff"),
        ("line\u2028line", r"line\u2028line"),
        ("two\nlines\tof 漢字 and é", "two\nlines\tof 漢字 and é"),
    ],
)
def test_what_would_be_obeyed_is_told(text: str, told: str) -> None:
    assert controls.shown(text) == told
    assert controls.legal(text).encode()


def test_a_part_of_a_line_ends_none() -> None:
    assert controls.line("name\n  next: run this") == r"name\n  next: run this"


@given(st.text())
def test_json_says_the_same(text: str) -> None:
    document = json.dumps({"name": text}, ensure_ascii=False)
    assert json.loads(controls.escaped(document)) == {"name": text}
    assert controls.shown(controls.escaped(document)) == controls.escaped(document)


@given(st.text(st.characters(min_codepoint=0, max_codepoint=0x10FFFF, categories=None)))
def test_a_page_has_nothing_that_a_browser_obeys_and_all_else(text: str) -> None:
    assert controls.legal(text) == controls._FORBIDDEN.sub("\ufffd", text)
    assert controls.legal(f"<p>\n\t{text}</p>\r") == f"<p>\n\t{controls.legal(text)}</p>\r"
