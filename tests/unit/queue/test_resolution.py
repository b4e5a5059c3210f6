"""Conflicts that were solved once, and are known when they come again."""

from __future__ import annotations

import pytest

from retread.errors import SeriesError
from retread.queue import resolution
from retread.queue.resolution import MARKER


def conflict(ours: str, base: str, theirs: str) -> str:
    """Return a conflict as git writes it."""
    signs = [sign * MARKER for sign in "<|=>"]
    return f"{signs[0]} ours\n{ours}{signs[1]} base\n{base}{signs[2]}\n{theirs}{signs[3]} theirs\n"


ONE = conflict("a = 3\n", "a = 1\n", "a = 2\n")
TWO = conflict("", "b = 1\n", "b = 2\n")


def learned(text: str, final: str) -> dict[resolution.Key, bytes]:
    return resolution.learned(resolution.parted(text.encode()), final.encode())


def test_what_was_learned_is_taken_in_another_file() -> None:
    known = learned(f"top\n{ONE}between\n{TWO}end\n", "top\na = 23\nbetween\nb = 2\nend\n")
    assert sorted(known.values()) == [b"a = 23\n", b"b = 2\n"]
    again = resolution.parted(f"quite another file\n{ONE}".encode())
    assert resolution.applied(again, known) == b"quite another file\na = 23\n"
    other = resolution.parted(conflict("a = 4\n", "a = 1\n", "a = 2\n").encode())
    assert resolution.applied(other, known) is None


@pytest.mark.parametrize(
    ("text", "final"),
    [
        (f"top\n{ONE}end\n", "Top\na = 23\nend\n"),
        (f"top\n{ONE}end\n", "top\na = 23\nEnd\n"),
        (f"{ONE}pass\n{TWO}", "a = 2\npass\npass\nb = 2\n"),
        (f"{ONE}between\n{ONE}", "a = 2\nbetween\na = 3\n"),
        (f"{ONE}", "a = 2"),
    ],
    ids=["changed above", "changed below", "no telling where", "twice and not the same", "no whole line"],
)
def test_what_would_not_make_the_same_file_again_is_not_kept(text: str, final: str) -> None:
    assert learned(text, final) == {}


def test_it_is_kept_as_text_and_read_back() -> None:
    known = learned(f"{ONE}", "a = 'ä'\n")
    files = resolution.files(known, "a.py", "0001-a.patch")
    assert len(files) == 1
    assert resolution.read(files) == known
    assert resolution.files({next(iter(known)): b"\xff\n"}, "a.py", "0001-a.patch") == {}
    with pytest.raises(SeriesError, match=r"resolutions/x\.json"):
        resolution.read({"x.json": b"{}"})
