"""Numbers, names and the list of a series."""

from __future__ import annotations

import pytest

from retread.errors import UsageError
from retread.queue import order
from retread.queue.order import Named

A, B, C = "0001-a.patch", "0002-b.patch", "0003-c.patch"


def test_names_stay_when_order_and_patches_do() -> None:
    gaps = ["0002-a.patch", "0010-b.patch"]
    assert order.numbered(gaps, gaps) == [Named(name, name) for name in gaps]


def test_they_are_numbered_from_one_when_something_came_or_moved() -> None:
    assert order.numbered(["0010-b.patch", "0000-x.patch"], ["0002-a.patch", "0010-b.patch"]) == [
        Named("0010-b.patch", "0001-b.patch"), Named("", "0002-x.patch"),
    ]  # fmt: skip


def test_comments_stay_with_their_patch() -> None:
    text = f"# top\n\n{A}\n# of b\n{B}  # beside\n\n# of c\n{C}\n# end\n"
    named = [Named(C, "0001-c.patch"), Named(B, "0002-b.patch")]
    assert order.relisted(text, named, {A: "gone\nby now"}) == (
        "# top\n\n\n# of c\n0001-c.patch\n# a.patch was dropped: gone by now\n# of b\n0002-b.patch  # beside\n# end\n"
    )


def test_a_list_that_stays_is_not_touched() -> None:
    text = f"#x\r\n{A}\n\n\n"
    assert order.relisted(text, [Named(A, A)], {}) == text


def test_a_list_without_patches_gets_the_first() -> None:
    assert order.relisted("# why\n", [Named("", A)], {}) == f"# why\n{A}\n"


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("Run on cap 12.0 (was: 9.0)", "0000-run-on-cap-12.0-was-9.0.patch"),
        ("Größe", "0000-gr-e.patch"),
        ("...", "0000-patch.patch"),
        ("a " * 60, "0000-" + "a-" * 27 + "a.patch"),
    ],
)
def test_a_subject_makes_a_name(subject: str, name: str) -> None:
    assert order.slug(subject) == name


@pytest.mark.parametrize("typed", ["2", "0002", "b", "0002-b", B, "b.patch"])
def test_a_patch_is_found_by_number_and_name(typed: str) -> None:
    assert order.found(typed, [A, B, C], recipe="r") == B


def test_a_patch_that_is_not_there_is_told_with_the_near_miss() -> None:
    with pytest.raises(UsageError, match=r"r has no patch '0002-bb.patch' \(did you mean '0002-b.patch'\?\)"):
        order.found("0002-bb.patch", [A, B, C], recipe="r")
    with pytest.raises(UsageError, match=r"more than one patch of r: 0001-a\.patch, 0002-a\.patch"):
        order.found("a", [A, "0002-a.patch"], recipe="r")
