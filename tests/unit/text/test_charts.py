"""Charts: every value is where it belongs, and those who do not see them are told."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, fromstring

import pytest

from retread.text import charts
from retread.text.charts import Bar, Dot


def dots(*points: Dot) -> Element:
    return fromstring(charts.dots(points, name="here", title="Errors"))


def bars(*ratios: Bar) -> Element:
    return fromstring(charts.bars(ratios, name="here", title="Ratios"))


def dot(value: float, kind: str = "f16", row: str = "flash") -> Dot:
    return Dot(row=row, kind=kind, value=value, title=f"{row} {kind} {value:g}")


def marks(svg: Element) -> list[Element]:
    """Return the marks of values; those of the legend have no title."""
    return [path for path in svg.iter("path") if path.find("title") is not None]


def middle(path: Element) -> float:
    xs = [float(x) for x in re.findall(r"[ML](\S+) ", path.get("d") or "")]
    return (min(xs) + max(xs)) / 2


def limit(svg: Element) -> float:
    (found,) = [line for line in svg.iter("line") if line.get("class") == "limit"]
    return float(found.get("x1") or "")


def words(svg: Element) -> list[str]:
    return [text.text or "" for text in svg.iter("text")]


def test_without_values_there_is_no_chart() -> None:
    assert charts.dots([], name="x", title="x") == ""
    assert charts.bars([], name="x", title="x") == ""
    assert charts.dots([dot(float("nan")), dot(float("inf"))], name="x", title="x") == ""
    assert charts.bars([Bar("a", float("nan"), ""), Bar("b", 0, "")], name="x", title="x") == ""


def test_the_limit_divides_the_dots() -> None:
    svg = dots(dot(0.5), dot(0.999), dot(1.0), dot(1.2))
    low, close, at, over = map(middle, marks(svg))
    assert low < close < over
    assert at == pytest.approx(limit(svg), abs=0.3)
    assert close <= limit(svg) < over
    assert ["over" in (one.get("class") or "") for one in marks(svg)] == [False, False, False, True]


@pytest.mark.parametrize("value", [0.0, 1e-300, 0.3, 1.0, 1e300])
def test_one_dot_is_a_chart_and_lies_in_it(value: float) -> None:
    svg = dots(dot(value))
    assert 0 < middle(marks(svg)[0]) < charts.WIDTH
    assert 0 < limit(svg) < charts.WIDTH


def test_rows_and_kinds_are_named() -> None:
    svg = dots(dot(0.1), dot(0.2, "bf16"), dot(0.3, "bf16", "cutlass"))
    assert {"flash", "cutlass", "f16", "bf16", "1"} <= set(words(svg))
    assert [one.get("class") for one in marks(svg)] == ["dot kind-1", "dot kind-0", "dot kind-0"]
    assert marks(svg)[0].findtext("title") == "flash f16 0.1"


def test_kinds_differ_in_shape_too() -> None:
    shapes = {len(re.findall("L", charts._mark(kind, 0, 0))) for kind in range(4)}
    assert len(shapes) == 4


def test_many_kinds_repeat_the_colours() -> None:
    svg = dots(*[dot(0.1, f"kind{index}") for index in range(9)])
    assert {str(one.get("class")) for one in marks(svg)} == {f"dot kind-{index}" for index in range(6)}


def test_bars_go_both_ways_from_one() -> None:
    svg = bars(Bar("slow", 0.5, "slow one"), Bar("same", 1.0, ""), Bar("fast", 2.0, ""))
    slow, same, fast = svg.findall("rect")
    start, width = (float(slow.get(key) or "") for key in ("x", "width"))
    assert start + width == pytest.approx(limit(svg), abs=0.2)
    assert float(fast.get("x") or "") == pytest.approx(limit(svg), abs=0.2)
    assert float(fast.get("width") or "") == pytest.approx(width, abs=0.2)
    assert [one.get("class") for one in (slow, same, fast)] == ["bar below", "bar above", "bar above"]
    assert slow.findtext("title") == "slow one"
    assert {"slow", "same", "fast", "0.50", "1.00", "2.00"} <= set(words(svg))


def test_one_bar_of_one_is_a_chart() -> None:
    (only,) = bars(Bar("same", 1.0, "")).findall("rect")
    assert float(only.get("width") or "") >= 1


@pytest.mark.parametrize("svg", [dots(dot(0.1), dot(3)), bars(Bar("a", 0.1, ""), Bar("b", 3, ""))])
def test_a_chart_is_told_to_those_who_do_not_see_it(svg: Element) -> None:
    assert svg.get("role") == "img"
    told = [svg.find(f"*[@id='{name}']") for name in (svg.get("aria-labelledby") or "").split()]
    assert [one.tag for one in told if one is not None] == ["title", "desc"]
    assert "1 above 1." in (svg.findtext("desc") or "")


def test_markup_is_text_and_long_labels_are_cut() -> None:
    nasty = "<script>alert(1)</script>" + "x" * 40
    svg = dots(Dot(row=nasty, kind=nasty, value=0.1, title=nasty))
    assert marks(svg)[0].findtext("title") == nasty
    label = next(text for text in svg.iter("text") if text.get("class") == "label")
    assert label.findtext("title") == nasty
    assert len(label.text or "") <= 32
    assert "<script" not in charts.bars([Bar(nasty, 2.0, nasty)], name="x", title=nasty)
