"""What of the caller's variables git is given."""

from __future__ import annotations

from retread.doors import gitenv

GIVEN = {
    "HOME": "/home/me", "PATH": "/bin", "LC_ALL": "de_DE",
    "GIT_DIR": "/elsewhere", "GIT_WORK_TREE": "/elsewhere", "GIT_INDEX_FILE": "/elsewhere/index",
    "GIT_DEFAULT_HASH": "sha256", "GIT_CONFIG": "/elsewhere", "GIT_EXTERNAL_DIFF": "my-diff",
    "GIT_AUTHOR_NAME": "me", "GIT_SSH_COMMAND": "ssh -i key", "GIT_CONFIG_COUNT": "0", "GIT_SSL_CAINFO": "/ca",
}  # fmt: skip


def test_who_commits_and_how_a_repository_is_reached_is_the_users_and_nothing_leads_elsewhere() -> None:
    found = gitenv.users(GIVEN)
    assert {name for name in GIVEN if name not in found} == {
        "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_DEFAULT_HASH", "GIT_CONFIG", "GIT_EXTERNAL_DIFF",
    }  # fmt: skip
    assert (found["GIT_AUTHOR_NAME"], found["GIT_SSH_COMMAND"]) == ("me", "ssh -i key")
    assert (found["LC_ALL"], found["GIT_TERMINAL_PROMPT"]) == ("C", "0")


def test_where_the_same_bytes_are_made_for_everybody_nothing_is_the_users() -> None:
    found = gitenv.deaf(GIVEN)
    assert found["PATH"] == "/bin"
    assert {name for name in GIVEN if found.get(name) == GIVEN[name]} == {"PATH"}


def test_a_server_that_sends_next_to_nothing_is_given_up_unless_the_user_says_otherwise() -> None:
    limits = ("GIT_HTTP_LOW_SPEED_LIMIT", "GIT_HTTP_LOW_SPEED_TIME")
    assert [gitenv.users({})[name] for name in limits] == ["1", "120"]
    assert gitenv.users({limits[1]: "9"})[limits[1]] == "9"
