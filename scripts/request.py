"""Keep one pull request for each release that 'retread watch' wants a recipe for: 'request.py WATCH.json'.

It holds what 'retread recipe bump' made: ready where every patch goes in as it is or at other lines, else a draft with
the verdicts. A verdict that changes is one comment. A request that was closed is an answer: it is not opened again, and
a branch on which somebody works is left alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from retread.upstream import request
from retread.upstream.bump import Bumped
from retread.upstream.outlook import Outlook
from retread.upstream.request import Draft, Wanted

WHO = ("-c", "user.name=retread", "-c", "user.email=retread@users.noreply.github.com")
RETREAD = os.environ.get("RETREAD", str(Path(sys.executable).with_name("retread")))
OPEN = 5
"""The exit code of a bump of which somebody has to decide."""


def run(*line: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program; what it says on standard error is the log's."""
    return subprocess.run(line, check=check, stdout=subprocess.PIPE, text=True)


def git(*words: str) -> str:
    """Run git and return what it said."""
    return run("git", *words).stdout.strip()


def keep(wanted: Wanted) -> None:
    """Make, or bring up to date, the request for one release."""
    known = json.loads(
        run("gh", "pr", "list", "--head", wanted.branch, "--state", "all", "--json",
            "number,state,isDraft,body,comments").stdout or "[]"
    )  # fmt: skip
    there = next((one for one in known if one["state"] == "OPEN"), None)
    if known and there is None:
        print(f"{wanted.branch}: was closed; left alone")
        return
    made, error = bumped(wanted)
    if made is None:
        print(f"{wanted.branch}: {error}")
        return
    draft = request.draft(made, error)
    start = git("rev-parse", "HEAD")
    try:
        if there is None:
            begin(wanted, draft, made)
        else:
            go_on(wanted, draft, made, there)
    finally:
        git("switch", "--quiet", "--detach", start)
        for path in made.written:
            Path(path).unlink(missing_ok=True)


def bumped(wanted: Wanted) -> tuple[Bumped | None, str]:
    """Return what a bump says, and why it wrote nothing; None where it could not say anything."""
    line = (RETREAD, "recipe", "bump", wanted.recipe, "--to", wanted.to)
    done = run(*line, "--json", check=False)
    if done.returncode in {0, OPEN} and done.stdout:
        return msgspec.json.decode(done.stdout, type=Bumped), ""
    looked = run(*line, "--check", "--json", check=False)
    why = f"the bump ended with {done.returncode}; the log says why"
    return (msgspec.json.decode(looked.stdout, type=Bumped) if looked.stdout else None), why


def begin(wanted: Wanted, draft: Draft, made: Bumped) -> None:
    """Open a request on a new branch; one without files stands on an empty commit."""
    git("switch", "--quiet", "--force-create", wanted.branch)
    commit(draft, made)
    git("push", "--quiet", "origin", f"HEAD:refs/heads/{wanted.branch}")
    kind = () if draft.ready else ("--draft",)
    with body(draft.body) as file:
        run("gh", "pr", "create", "--head", wanted.branch, "--title", draft.title, "--body-file", file, *kind)


def go_on(wanted: Wanted, draft: Draft, made: Bumped, there: dict[str, Any]) -> None:
    """Say what changed, and put the files onto a branch that holds none as yet."""
    number = str(there["number"])
    told = request.comment(there["body"], [one["body"] for one in there["comments"]], made.patches)
    if told:
        with body(told) as file:
            run("gh", "pr", "comment", number, "--body-file", file)
    filled = bool(made.written) and there["isDraft"] and is_empty(wanted.branch)
    if filled:
        git("switch", "--quiet", "--force-create", wanted.branch, "FETCH_HEAD")
        commit(draft, made)
        git("push", "--quiet", "origin", f"HEAD:refs/heads/{wanted.branch}")
        if draft.ready:
            run("gh", "pr", "ready", number)
    if told or filled:  # what somebody wrote into it stays, as long as nothing is new
        with body(draft.body) as file:
            run("gh", "pr", "edit", number, "--body-file", file)


def is_empty(branch: str) -> bool:
    """Say whether a branch holds nothing but the empty commit that a request began with."""
    git("fetch", "--quiet", "--depth=2", "origin", f"refs/heads/{branch}")
    tip, before = git("rev-parse", "FETCH_HEAD^{tree}"), git("rev-parse", "FETCH_HEAD^1^{tree}")
    return tip == before


def commit(draft: Draft, made: Bumped) -> None:
    """Commit what was written, or nothing."""
    if made.written:
        git("add", "--", *made.written)
    git(*WHO, "commit", "--quiet", "--allow-empty", "--message", draft.title)


@contextmanager
def body(text: str) -> Iterator[str]:
    """Yield the name of a file with a text; it is gone after the block."""
    with tempfile.NamedTemporaryFile("w", suffix=".md", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        yield file.name


def main() -> None:
    """Keep the requests that a watch wants."""
    found = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Outlook)
    some = request.wanted(found)
    if some:
        run("gh", "auth", "setup-git")
    for one in some:
        keep(one)


if __name__ == "__main__":
    main()
