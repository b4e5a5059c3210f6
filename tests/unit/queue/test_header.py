"""Headers as messages and back: word for word, unless somebody changed them."""

from __future__ import annotations

import pytest

from retread.queue import header
from shipped import REPOSITORY

HEAD = b"Subject: Do a thing\n that is long\nBreaks: all\n of it\nAffects: x\n\nText.\n\n\nMore.\n"
SHIPPED = sorted(REPOSITORY.glob("patches/*/*/*.patch"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_shipped_patches_go_both_ways(path: object) -> None:
    data = path.read_bytes()  # type: ignore[attr-defined]
    head, diff = header.split(data)
    assert header.joined(head, diff) == data
    message = header.message(head)
    assert "\n\n" in message
    assert "\n" not in message.partition("\n\n")[0]
    assert header.from_message(message, head) == head
    assert header.message(header.from_message(message, None)) == message


def test_the_subject_stands_alone_and_the_rest_word_for_word() -> None:
    assert header.message(HEAD) == (
        "Do a thing that is long\n\nBreaks: all\n of it\nAffects: x\n\nText.\n\n\nMore.\n"
    )


def test_what_git_does_to_a_message_is_no_change() -> None:
    cleaned = "Do a thing that is long\n\nBreaks: all\n of it\nAffects: x\n\nText.\n\nMore.\n"
    assert header.from_message(cleaned, HEAD) == HEAD


def test_a_changed_field_keeps_the_subject_as_it_was_folded() -> None:
    changed = header.message(HEAD).replace("Affects: x", "Affects: y")
    assert header.from_message(changed, HEAD) == HEAD.replace(b"Affects: x", b"Affects: y")


def test_a_message_of_prose_keeps_its_fields_below() -> None:
    made = header.from_message("Do it\n\nBecause.\n\nBreaks: x\n", None)
    assert made == b"Subject: Do it\n\nBecause.\n\nBreaks: x\n"


def test_fields_are_set_in_their_place_or_added() -> None:
    made = header.with_fields(HEAD, ["Affects: y", "Drop-when: never"])
    assert made == (
        b"Subject: Do a thing\n that is long\nBreaks: all\n of it\nAffects: y\nDrop-when: never\n\nText.\n\n\nMore.\n"
    )
    below = b"Subject: x\n\nText.\n\nBreaks: old\n"
    assert header.with_fields(below, ["Breaks: new"]) == b"Subject: x\nBreaks: new\n\nText.\n"


@pytest.mark.parametrize("said", ["", "no field", "Empty:", ": x", "two words: x"])
def test_what_is_no_field_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match="is not 'Field: text'"):
        header.with_fields(HEAD, [said])


def test_a_sign_for_comments_is_one_that_no_line_begins_with() -> None:
    assert header.comment_sign(["a\n#b\n"]) == ";"
    assert header.comment_sign(["a #b\n"]) == "#"
