"""Lines of a diff that no hunk counts, told with their numbers; what git and mails put around hunks is none of them."""

from __future__ import annotations

import pytest

from retread.recipe import difflines

HEAD = "diff --git a/x.py b/x.py\nindex 1..2 100644\n--- a/x.py\n+++ b/x.py\n"
ONE = f"{HEAD}@@ -1,2 +1,2 @@ def f():\n one\n-two\n+zwei\n"
RENAMED = "diff --git a/y.py b/z.py\nsimilarity index 100%\nrename from y.py\nrename to z.py\n"
SIGNED = "-- \n2.39.2 (Apple Git-143)\n\n"
FOOTER = f"{'_' * 47}\nlist mailing list\n"


def told(text: str, *, mail: bool = False) -> list[str]:
    return list(difflines.faults(text.split("\n")[:-1], first=10, mail=mail))


@pytest.mark.parametrize(
    "text",
    [
        "", "only words\n", ONE, f" x.py | 2 +-\n 1 file changed\n+ a remark\n\n{ONE}", ONE + SIGNED, ONE + "\n \n",
        ONE + RENAMED + SIGNED, RENAMED + "\n" + ONE, ONE + "\\ No newline at end of file\n", ONE.replace("\n", "\r\n"),
        ONE.replace(",2", ",3") + "\n" + SIGNED, ONE + "@@ -9 +9,0 @@\n-- \n",
        ONE + f"\nbase-commit: {'a' * 40}\n{SIGNED}",
        ONE + "--- a/y\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n", "Index: x\n=====\n--- x.orig\n+++ x\n@@ -1 +1 @@\n-a\n+b\n",
        ONE + "diff --git a/b.bin b/b.bin\nGIT binary patch\nliteral 3\nKcmb\n\n" + ONE,
    ],
)  # fmt: skip
def test_what_git_writes_around_hunks_is_taken(text: str) -> None:
    assert told(text) == []


@pytest.mark.parametrize(
    ("text", "line", "shown"),
    [
        (ONE + "+three\n", 18, "+three"),
        (ONE + "+three\n+four\n" + RENAMED, 18, "+three"),
        (ONE + " three\n" + ONE, 18, " three"),
        (ONE + "-- gone\n", 18, "-- gone"),
        (ONE + "-- \n", 18, "-- "),
        (ONE + "--- a\n+++ b\n", 18, "--- a"),
        (ONE + SIGNED + "more\n", 18, "-- "),
        (ONE + "index 1..2\n", 18, "index 1..2"),
        (ONE.replace("--- a", "+x\n--- a", 1), 12, "+x"),
        (ONE + "x" * 90 + "\n", 18, "x" * 60),
    ],
)
def test_what_no_hunk_counts_is_told_once(text: str, line: int, shown: str) -> None:
    assert told(text)[0] == (
        f"line {line}: no hunk counts {shown!r}: mend the '@@' line above, or take it out"
    )


def test_a_hunk_that_lacks_lines_says_of_which_file_and_where() -> None:
    longer = ONE.replace("-1,2", "-1,4")
    said = "where the hunk of line 14 counts 2 more of the old file (@@ -1,4 +1,2 @@)"
    assert told(longer) == [f"line 18: the end, {said}"]
    assert told(longer + RENAMED) == [f"line 18: 'diff --git a/y.py b/z.py', {said}"]


def test_a_mail_may_have_more_below_its_signature_or_a_list_s_line() -> None:
    assert told(ONE + SIGNED + "said someone\n", mail=True) == told(ONE + FOOTER, mail=True) == []
    assert told(ONE + FOOTER) != []
    assert told(ONE + "+three\n" + SIGNED, mail=True) != []
