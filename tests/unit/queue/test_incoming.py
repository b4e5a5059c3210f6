"""What others write is read: their headers become the house's as far as they tell, their diffs stay as they are."""

from __future__ import annotations

import base64
import re

import pytest

from retread.errors import SeriesError
from retread.queue import header, incoming
from tinycuda import OPS, diff, ops

DIFF = diff(OPS, ops(), ops(VALUE_3=30)).encode()
MAIL = b"""\
From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001
From: =?UTF-8?q?J=C3=B6?= <jo@example.org>
Date: Mon, 2 Nov 2026 10:00:00 +0000
Subject: [PATCH 1/2] =?UTF-8?q?Gr=C3=B6=C3=9Fe?= of a
 value

Breaks: what a user sees
Affects: everyone
Upstream: not reported
Drop-when: never

Why.
---
 tinycuda/ops.py | 2 +-
 1 file changed, 1 insertion(+), 1 deletion(-)

"""
END = b"-- \n2.39.5\n\n"


def _fields(head: bytes) -> dict[str, str]:
    found = header.parts(head.decode())
    return {name: header.value(raw) for name, raw in found.fields}


def test_a_mail_of_git_is_a_header_and_a_diff() -> None:
    (one,) = incoming.read(MAIL + DIFF + END, name="m").patches
    assert one.head.decode() == (
        "Subject: Größe of a value\nFrom: Jö <jo@example.org>\n\nBreaks: what a user sees\nAffects: everyone\n"
        "Upstream: not reported\nDrop-when: never\n\nWhy.\n"
    )
    assert one.diff.startswith(b"diff --git ")


def test_a_line_that_no_hunk_counts_is_refused_and_a_list_s_footer_is_none() -> None:
    assert incoming.read(MAIL + DIFF + END + b"_____\na list\n", name="m").patches
    data = MAIL + DIFF + b"+# one more\n" + END
    number = data[: data.index(b"+# one")].count(b"\n") + 1
    with pytest.raises(SeriesError) as caught:
        incoming.read(data, name="m")
    assert caught.value.exit_code == 5
    assert f"m: line {number}: no hunk counts '+# one more': mend the '@@' line" in str(caught.value)


def test_several_mails_are_several_patches_and_a_cover_letter_is_none() -> None:
    cover = MAIL.replace(b"[PATCH 1/2]", b"[PATCH 0/2]")
    read = incoming.read(cover + END + MAIL + DIFF + END + MAIL + DIFF + END, name="box")
    assert [one.origin for one in read.patches] == ["box, mail 2", "box, mail 3"]
    assert read.skipped == ("box, mail 1: a cover letter",)


def test_a_line_of_digits_that_begins_as_a_mail_does_is_read_once() -> None:
    data = b"From " + 2_000_000 * b"7"  # minutes, if each digit were a way to begin
    with pytest.raises(SeriesError, match="holds no diff"):
        incoming.read(data, name="x.mbox")


def test_what_transport_did_to_a_mail_is_undone() -> None:
    text = MAIL.partition(b"\n\n")[2] + DIFF
    top = MAIL.partition(b"\n\n")[0]
    packed = top + b"\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(text)
    (one,) = incoming.read(packed, name="m").patches
    assert one.diff == DIFF


@pytest.mark.parametrize(
    ("head", "fields"),
    [
        (b"Description: Make it\n longer\n .\n than that\nForwarded: no\nAuthor: A <a@b>\n",
         {"Subject": "Make it", "Forwarded": "no", "Author": "A <a@b>", "Upstream": "not reported"}),
        (b"Description: x\nBug: https://example.org/1\n", {"Upstream": "reported as https://example.org/1"}),
        (b"Subject: x\nBug: https://example.org/1\nForwarded: yes\n",
         {"Upstream": "reported as https://example.org/1"}),
        (b"Subject: x\nForwarded: https://example.org/2\n", {"Upstream": "reported as https://example.org/2"}),
        (b"Subject: x\nApplied-Upstream: 1.2.3, commit:0123456789ab\n",
         {"Upstream": "fixed in 1.2.3 (0123456789ab)"}),
        (b"Subject: x\nUpstream-Status: Pending\n", {"Upstream": "not reported"}),
        (b"Subject: x\n\nText.\n\nUpstream-Status: Submitted [https://example.org/3]\n",
         {"Upstream": "reported as https://example.org/3"}),
        (b"Subject: x\nUpstream-Status: Backport [v2.0 0123456789abcdef]\n",
         {"Upstream": "fixed in 2.0 (0123456789abcdef)"}),
        (b"Subject: x\nUpstream-Status: Backport [https://example.org/]\n", {"Upstream": None}),
        (b"Subject: x\nUpstream-Status: Inappropriate [ours alone]\n",
         {"Upstream": "not reported; inappropriate: ours alone"}),
        (b"Subject: x\nUpstream-Status: Denied [https://example.org/4]\n",
         {"Upstream": "reported as https://example.org/4; denied"}),
        (b"Subject: x\nUpstream: reported as #1\nUpstream-Status: Pending\n", {"Upstream": "reported as #1"}),
    ],
)  # fmt: skip
def test_headers_of_distributions_fill_what_they_tell(head: bytes, fields: dict[str, str | None]) -> None:
    (one,) = incoming.read(head + b"---\n" + DIFF, name="d").patches
    found = _fields(one.head)
    assert {name: found.get(name) for name in fields} == fields


def test_the_long_description_becomes_the_text() -> None:
    (one,) = incoming.read(b"Description: Make it\n longer\n .\n than that\n\n" + DIFF, name="d").patches
    assert one.head == b"Subject: Make it\n\nlonger\n\nthan that\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (DIFF.replace(b"\n", b"\r\n"), "end with CR LF"),
        (b"just text\n", "holds no diff"),
        (b"", "holds no diff"),
        (diff("../evil.py", "", "X\n").encode(), "b/../evil.py: leaves the source tree"),
        (diff(".git/config", "", "X\n").encode(), "leaves the source tree"),
        (
            b"--- /etc/passwd\n+++ /etc/passwd\n@@ -1 +1 @@\n-a\n+b\n",
            "/etc/passwd: not a plain relative path",
        ),
        (b"diff --git a/x b/x\nGIT binary patch\nliteral 1\n", "changes a binary file"),
        (b"diff --git a/x b/x\nBinary files a/x and b/x differ\n", "changes a binary file"),
        (MAIL + diff("a/../../x.py", "", "X\n").encode() + END, "leaves the source tree"),
    ],
)
def test_what_no_series_may_hold_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(SeriesError, match="cannot be taken in") as refused:
        incoming.read(data, name="bad")
    assert re.search(re.escape(words), str(refused.value)), str(refused.value)


def test_every_bad_mail_is_told_at_once() -> None:
    with pytest.raises(SeriesError) as refused:
        incoming.read(MAIL + END + MAIL + DIFF + END + MAIL + END, name="box")
    assert refused.value.faults == ("box, mail 1: holds no diff", "box, mail 3: holds no diff")


def test_the_paths_that_a_diff_may_mean() -> None:
    assert incoming.paths(DIFF) == {f"a/{OPS}", f"b/{OPS}", OPS, "ops.py"}


def test_a_patch_in_utf16_is_told_as_that() -> None:
    with pytest.raises(SeriesError, match=r"^a\.patch: is UTF-16, as PowerShell writes"):
        incoming.read("Subject: a\n---\n".encode("utf-16"), name="a.patch")


@pytest.mark.parametrize("mode", [False, True])
def test_a_name_that_git_quoted_is_read_as_it_is(mode: bool) -> None:
    names = b'diff --git "a/da mit \\303\\274.py" "b/da mit \\303\\274.py"\n'
    body = b'--- "a/da mit \\303\\274.py"\n+++ "b/da mit \\303\\274.py"\n@@ -1 +1 @@\n-a\n+b\n'
    data = names + (b"old mode 100644\nnew mode 100755\n" if mode else body)
    assert "da mit ü.py" in incoming.paths(incoming.read(data, name="d").patches[0].diff)


def test_escapes_of_a_quoted_name_hide_nothing() -> None:
    data = b'--- "a/\\056\\056/\\303\\274"\n+++ "b/\\056\\056/\\303\\274"\n@@ -1 +1 @@\n-a\n+b\n'
    with pytest.raises(SeriesError, match="leaves the source tree"):
        incoming.read(data, name="d")
    with pytest.raises(SeriesError, match="not a plain relative path"):
        incoming.read(data.replace(b"\\056\\056", b"x\\n"), name="d")


def test_a_diff_that_may_be_cut_is_not_taken_in() -> None:
    with pytest.raises(SeriesError, match=r"d: does not end with a newline, so its last line may be cut"):
        incoming.read(DIFF[:-2], name="d")
    whole = DIFF + b"\\ No newline at end of file\n"
    assert incoming.read(whole[:-1], name="d").patches[0].diff == whole
