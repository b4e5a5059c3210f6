"""Small charts as SVG that stands in a page: no script, colours from the page's CSS. Pure: values in, text out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

WIDTH: Final = 760
_LEFT: Final = 230
"""Where the labels end."""
_RIGHT: Final = 60
"""Room for the values behind bars."""
_TOP: Final = 14
_ROW: Final = 30
_LABEL: Final = 32
_KINDS: Final = 6
"""How many kinds of dots the CSS has colours for."""
_DECADES: Final = (-6, 3)
"""Nothing is drawn outside of these powers of ten; what lies there sits on the border."""
_SIZE: Final = 4.0


class Dot(NamedTuple):
    """A value on a row, marked by its kind."""

    row: str
    kind: str
    value: float
    title: str


class Bar(NamedTuple):
    """A ratio with its label."""

    label: str
    value: float
    title: str


def dots(points: Sequence[Dot], *, name: str, title: str) -> str:
    """Return dots on a logarithmic axis with a line at 1, a row for each of their rows; empty without dots.

    ``name`` is the chart's own within the page.
    """
    points = [point for point in points if math.isfinite(point.value)]
    if not points:
        return ""
    rows = list(dict.fromkeys(point.row for point in points))
    kinds = sorted({point.kind for point in points})
    low, high = _span([point.value for point in points])
    over = sum(point.value > 1 for point in points)
    words = f"{len(points)} values in {len(rows)} rows; {over} above 1."
    bottom = _TOP + _ROW * len(rows)
    svg = _svg(name, title, words, bottom + 56)
    for power in range(low, high + 1):
        _tick(svg, _place(10.0**power, low, high), bottom, f"{10.0**power:g}", strong=power == 0)
    seen: dict[str, int] = {}
    for row, label in enumerate(rows):
        _label(svg, label, _TOP + _ROW * (row + 0.5))
    for point in points:
        seen[point.row] = seen.get(point.row, 0) + 1
        y = _TOP + _ROW * (rows.index(point.row) + 0.5) + _scatter(seen[point.row])
        _dot(svg, point, _place(point.value, low, high), y, kinds.index(point.kind))
    _legend(svg, kinds, bottom + 40)
    return tostring(svg, encoding="unicode")


def bars(ratios: Sequence[Bar], *, name: str, title: str) -> str:
    """Return horizontal bars that begin at 1 on a logarithmic axis; empty without bars.

    ``name`` is the chart's own within the page.
    """
    found = [one for one in ratios if one.value > 0 and math.isfinite(one.value)]
    if not found:
        return ""
    reach = max(0.2, *(abs(math.log10(one.value)) for one in found))
    bottom = _TOP + _ROW * len(found)
    above = sum(one.value > 1 for one in found)
    svg = _svg(name, title, f"{len(found)} ratios; {above} above 1.", bottom + 30)
    for value in (10.0**-reach, 10.0 ** (-reach / 2), 1.0, 10.0 ** (reach / 2), 10.0**reach):
        _tick(svg, _place(value, -reach, reach), bottom, f"{value:.2g}", strong=value == 1)
    for row, one in enumerate(found):
        _bar(svg, one, _TOP + _ROW * row, reach)
    return tostring(svg, encoding="unicode")


def _bar(svg: Element, bar: Bar, y: float, reach: float) -> None:
    start, end = sorted((_place(1, -reach, reach), _place(bar.value, -reach, reach)))
    side = "above" if bar.value >= 1 else "below"
    _label(svg, bar.label, y + _ROW / 2)
    made = _add(
        svg, "rect", **{"class": f"bar {side}"},
        x=_at(start), y=_at(y + 6), width=_at(max(end - start, 1)), height=_at(_ROW - 12),
    )  # fmt: skip
    _add(made, "title", bar.title)
    _add(svg, "text", f"{bar.value:.2f}", **{"class": "value"}, x=_at(end + 6), y=_at(y + _ROW / 2 + 4))


def _dot(svg: Element, point: Dot, x: float, y: float, kind: int) -> None:
    style = f"dot kind-{kind % _KINDS}{' over' if point.value > 1 else ''}"
    made = _add(svg, "path", **{"class": style}, d=_mark(kind, x, y))
    _add(made, "title", point.title)


def _mark(kind: int, x: float, y: float) -> str:
    """Return the outline of a kind's mark: shapes differ too, for those who cannot tell the colours apart."""
    sides = (12, 4, 3, 5, 4, 3)[kind % _KINDS]
    turn = (0, 45, -90, -90, 0, 90)[kind % _KINDS]
    corners = [math.radians(turn + 360 * corner / sides) for corner in range(sides)]
    points = [f"{x + _SIZE * math.cos(one):.1f} {y + _SIZE * math.sin(one):.1f}" for one in corners]
    return f"M{'L'.join(points)}Z"


def _legend(svg: Element, kinds: Sequence[str], y: float) -> None:
    x = float(_LEFT)
    for index, kind in enumerate(kinds):
        shown = _cut(kind, 16)
        _add(svg, "path", **{"class": f"dot kind-{index % _KINDS}"}, d=_mark(index, x, y))
        _add(svg, "text", shown, x=_at(x + 9), y=_at(y + 4))
        x += 28 + 8 * len(shown)


def _tick(svg: Element, x: float, bottom: float, words: str, *, strong: bool) -> None:
    style = "limit" if strong else "grid"
    _add(svg, "line", **{"class": style}, x1=_at(x), x2=_at(x), y1=_at(_TOP - 6), y2=_at(bottom))
    _add(svg, "text", words, **{"class": f"tick {style}-text"}, x=_at(x), y=_at(bottom + 16))


def _label(svg: Element, words: str, y: float) -> None:
    made = _add(svg, "text", _cut(words, _LABEL), **{"class": "label"}, x=_at(_LEFT - 14), y=_at(y + 4))
    _add(made, "title", words)


def _svg(name: str, title: str, words: str, height: float) -> Element:
    svg = Element("svg", {
        "class": "chart", "viewBox": f"0 0 {WIDTH} {height:.0f}", "role": "img",
        "aria-labelledby": f"{name}-title {name}-words",
    })  # fmt: skip
    _add(svg, "title", title, id=f"{name}-title")
    _add(svg, "desc", words, id=f"{name}-words")
    return svg


def _span(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten between which the values lie, with 1 among them."""
    powers = [math.log10(value) for value in values if value > 0]
    low = math.floor(min([*powers, -2]))
    high = math.ceil(max([*powers, 0.5]))
    return max(low, _DECADES[0]), min(high, _DECADES[1])


def _place(value: float, low: float, high: float) -> float:
    """Return where a value is on the logarithmic axis; one beyond an end is at that end."""
    power = math.log10(value) if value > 0 else low
    part = (min(max(power, low), high) - low) / (high - low)
    return _LEFT + part * (WIDTH - _LEFT - _RIGHT)


def _scatter(count: int) -> float:
    """Return a step up or down, always the same, so that equal values do not hide each other."""
    return (count * 7 % 11 - 5) * 1.8


def _add(parent: Element, tag: str, text: str = "", **attributes: str) -> Element:
    made = SubElement(parent, tag, attributes)
    made.text = text or None
    return made


def _at(place: float) -> str:
    return f"{place:.1f}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}\N{HORIZONTAL ELLIPSIS}"
