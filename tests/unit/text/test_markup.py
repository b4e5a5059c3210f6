"""Forms: parts of pages that are made once, and whose holes are filled in again and again."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup, escape

from retread.text import markup


class Shop(NamedTuple):
    """What the lines to copy begin with."""

    pip: str
    settings: str = ""
    poetry: str = ""


TEXTS = st.text(st.sampled_from("<>&\"'%(){}s hole wanted\x00"))


def lines(wanted: str, pip: str = "pip install", torch: str = "") -> str:
    return markup.fill(markup.form("parts.html", "lines", shop=Shop(pip), torch=torch), wanted=wanted)


def test_a_form_is_made_once_and_filled_again_and_again() -> None:
    markup.form.cache_clear()
    for wanted in ("demo==1.0", "demo==2.0"):
        assert f"<code>pip install {wanted}</code>" in lines(wanted)
        assert f"<code>uv add {wanted}</code>" in lines(wanted)
    assert markup.form.cache_info().misses == 1


@given(TEXTS, TEXTS)
def test_what_is_filled_in_and_what_is_given_stand_there_as_text(wanted: str, given: str) -> None:
    made = lines(wanted, given, given)
    assert f"<code>{escape(given)} {escape(wanted)}</code>" in made
    assert f"torch {escape(given)} and what else" in made or not given


@pytest.mark.parametrize("nasty", ["<hole wanted>", "%(wanted)s", "{{ wanted }}", "<b>"])
def test_no_text_is_a_hole(nasty: str) -> None:
    assert f"<code>{escape(nasty)} demo</code>" in lines("demo", nasty)
    assert f"<code>pip install {escape(nasty)}</code>" in lines(nasty)


def test_markup_is_filled_in_as_it_is() -> None:
    assert "<code>pip install <b>demo</b></code>" in lines(Markup("<b>demo</b>"))


def test_a_hole_that_nothing_is_given_for_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="wanted"):
        markup.fill(markup.form("parts.html", "lines", shop=Shop("pip"), torch=""))


def test_long_places_of_a_page_take_parts_in_their_order() -> None:
    choices: dict[str, list[str]] = {"torch": [], "cuda": [], "platform": [], "gpu": []}
    page = markup.page(
        "channel.html",
        (("csp_digest", len),),
        {"rows": (Markup(f"<tr><td>{number}</td></tr>\n") for number in range(2))},
        releases=2,
        channel="<hole rows>",
        address="",
        empty=(),
        choices=choices,
    )
    assert b"<tbody>\n<tr><td>0</td></tr>\n<tr><td>1</td></tr>\n</tbody>" in page
    assert b"<h1>&lt;hole rows&gt;</h1>" in page
