"""Where a project says that its source is: only what git can be given is taken, whoever said it."""

from __future__ import annotations

import pytest

from retread.errors import UsageError
from retread.upstream import clue, first

HUB = "https://github.com"
SECRET = "https://me:secret@host.invalid/x"


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ([("Homepage", f"{HUB}/a/b"), ("Source", f"{HUB}/c/d.git")], (f"{HUB}/c/d", "Source")),
        ([("Bug Tracker", f"{HUB}/a/b/issues")], (f"{HUB}/a/b", "Bug Tracker")),
        ([("Source Code", "https://code.example.org/x/y/z.git")], ("https://code.example.org/x/y/z", "Source Code")),
        ([("Homepage", "https://example.org/product")], ("", "")),
        ([("Source", "http://github.com/a/b"), ("Source", "ext::sh -c x"), ("Source", "https://u@h/b")], ("", "")),
        ([("Source", "https://github.com/a/b\x1b[2J"), ("Source", "https://github.com/" + "a" * 600 + "/b")], ("", "")),
        ([("Source", "https://github.com:x/a/b"), ("Source", "https://github.com/a")], ("", "")),
    ],
)  # fmt: skip
def test_the_address_that_is_most_likely_the_source_s_is_taken(
    addresses: list[tuple[str, str]], expected: tuple[str, str]
) -> None:
    assert clue.repository(addresses) == expected


@pytest.mark.parametrize(
    "address", ["https://github.com/a/b", "ssh://git@host/a", "git@host.example:a/b.git", "file:///srv/a"]
)
def test_what_git_may_be_given_is_taken_as_it_is(address: str) -> None:
    assert clue.asked(address) == address


@pytest.mark.parametrize(
    "address",
    ["ext::sh -c x", "ext::x", "javascript:x", "--upload-pack=x", "https:///x", "a\nb", "x" * 501, ""],
)
def test_an_odd_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is no address of a repository"):
        clue.asked(address)


def test_a_password_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError, match="holds a user or a password") as caught:
        clue.asked(SECRET)
    assert "secret" not in str(caught.value)


def test_a_commit_counts_when_it_is_the_only_one() -> None:
    one, other = "1" * 40, "2" * 40
    assert clue.commit({"demo/version.py": f"git_version = '{one}'"}) == (one, "demo/version.py")
    assert clue.commit({"demo/version.py": f"'{one}' '{other}'"}) == ("", "")
    assert clue.commit({"demo/version.py": "sha256 = '" + "3" * 64 + "'"}) == ("", "")
    paths = ("a/version.py", "a/_version.py", "a/b/version.py", "version.py")
    assert [path for path in paths if clue.names_commit(path)] == ["a/version.py", "a/_version.py"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("demo", "does not name one version"),
        ("demo>=1.0", "does not name one version"),
        ("demo==1.0,!=1.1", "does not name one version"),
        ("demo[x]==1.0", "does not name one version"),
        ("demo==1.*", "is no project and version"),
        ("../x==1", "is no project and version"),
        ("demo==1.0+cu128.1", "that part is retread's to write"),
    ],
)
def test_what_names_no_release_is_refused(typed: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        first.asked(typed, "", every=False)


def test_another_spelling_is_the_same_project() -> None:
    wanted = first.asked("My_Demo == 1.0", "", every=False)
    assert (wanted.project, str(wanted.version)) == ("my-demo", "1.0")
