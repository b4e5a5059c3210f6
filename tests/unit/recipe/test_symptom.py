"""``Seen-as:`` in a patch's header: what it may say, and what is told of one that says something else."""

from __future__ import annotations

import pytest

from retread.errors import SeriesError
from retread.recipe import symptom
from retread.recipe.series import parse_series

HEADER = """\
Subject: Do the thing
Breaks: everything
Affects: all
{}Upstream: not reported
Drop-when: it is fixed
---
diff --git a/demo/x.py b/demo/x.py
--- a/demo/x.py
+++ b/demo/x.py
@@ -1 +1 @@
-two
+zwei
"""


def parsed(lines: str) -> tuple[symptom.Symptom, ...]:
    files = {"series": b"0001-demo.patch", "0001-demo.patch": HEADER.format(lines).encode()}
    (found,) = parse_series(files, where="patches/demo/1.2")
    return found.seen_as


def test_a_patch_without_it_is_sound() -> None:
    assert parsed("") == ()


def test_a_text_may_be_folded_and_there_may_be_several() -> None:
    found = parsed(
        "Seen-as: AttributeError: Cannot set\n attribute 'src' directly\n [when triton >=3.3,<3.5; gpu >9.0]\n"
        "Seen-as: TypeError: takes 1 positional argument\n"
    )
    assert [one.text for one in found] == [
        "AttributeError: Cannot set attribute 'src' directly",
        "TypeError: takes 1 positional argument",
    ]
    assert found[0].when == {"triton": ">=3.3,<3.5", "gpu": ">9.0"}
    assert found[1].when == {}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("too short", "'too short' is no text that tells a fault from others; quote more of the message"),
        ("...... ... ....", "is no text that tells a fault from others"),
        (
            "a long enough text [when tritn >=3]",
            "'tritn >=3' is no condition like 'triton >=3.3' or 'gpu >9.0'",
        ),
        ("a long enough text [when tritn >=3]", "(did you mean 'triton'?)"),
        ("a long enough text [when gpu]", "'gpu' is no condition"),
        ("a long enough text [when torch newest]", "'newest' is no version range like '>=3.3,<3.5'"),
    ],
)
def test_what_makes_no_sense_is_told_with_the_patch(value: str, told: str) -> None:
    with pytest.raises(SeriesError) as caught:
        parsed(f"Seen-as: {value}\n")
    (fault,) = caught.value.faults
    assert fault.startswith("0001-demo.patch: header: Seen-as: ")
    assert told in fault
