"""The variables with which git is run: the user's way to a repository and the user's name, or nothing of the user's.

Variables that lead git elsewhere, as they are set where a hook runs retread, reach it in neither case.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from retread import limits

_WHO_AND_HOW: Final = (
    "GIT_ASKPASS", "GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_CONFIG_", "GIT_HTTP_", "GIT_PROXY", "GIT_SSH", "GIT_SSL_",
)  # fmt: skip
"""How the variables begin that say who makes a commit, and how a repository is reached."""
_ALWAYS: Final = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
"""git asks nobody, locks nothing to look at it, and says what it says in the words that are read here."""
_PATIENT: Final = {
    "GIT_HTTP_LOW_SPEED_LIMIT": "1",
    "GIT_HTTP_LOW_SPEED_TIME": str(int(limits.PACE_OVER)),
}
"""A server that sends less than a byte a second is given up, unless the user says otherwise. One that counts what it is
to send keeps the line open with as much."""
_DEAF: Final = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}


def users(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's variables, of git's own only those that say who, and how a repository is reached."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith("GIT_") or name.startswith(_WHO_AND_HOW)
    }
    return _PATIENT | kept | _ALWAYS


def deaf(environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables under which git does the same for everybody, whatever theirs is set to."""
    return {"PATH": environment.get("PATH", ""), **_DEAF, **_ALWAYS}
