"""The listing of a release's commit, from which a proof is made: commits and trees are fetched, no files."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from retread.address import has_secret
from retread.doors import gitenv, proc
from retread.errors import FetchError, SourceError, UsageError

COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_LACKS: Final = (
    "couldn't find remote ref",
    "not our ref",
    "no such remote ref",
    "did not send all necessary",
)
"""What git says, or the server, when a repository answers and has no such reference."""

_PATIENCE: Final = {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=20"}
"""git gives up on a server that does not take a connection, unless the user's own variables say otherwise."""
_PLAIN: Final = {"GIT_ALLOW_PROTOCOL": "https:http:ssh:git:file"}
"""git starts no helper that an address names."""


class Listing(NamedTuple):
    """A commit and the listing of its tree, in the form of a proof."""

    commit: str
    data: bytes
    submodules: Mapping[str, str]
    """Path -> commit."""
    pruned: bool = False
    """Whether it is a proof already: directories of which no file is needed stand as one line."""
    addresses: Mapping[str, str] = MappingProxyType({})
    """Path of a submodule -> its address, as .gitmodules has it; nothing where that cannot be had."""


class _Git:
    """A repository of one action, into which commits and trees are fetched."""

    def __init__(self, scratch: Path, environment: Mapping[str, str]) -> None:
        program = proc.find("git", why="the proof of a commit comes from its repository")
        self._env = {**_PATIENCE, **gitenv.users(environment), **_PLAIN}
        folder = scratch / "listing.git"
        if not folder.exists():
            proc.run([program, "init", "--quiet", "--bare", "--template=", folder], env=self._env)
        self._line: list[str | Path] = [program, f"--git-dir={folder}", "-c", f"core.hooksPath={os.devnull}"]

    def fetch(self, repository: str, reference: str, *, without: str = "blob:none") -> str:
        """Fetch one commit; return nothing, or what git said last. UsageError for an address with a password."""
        if has_secret(
            repository
        ):  # git would show it to every user of this machine, in the list of processes
            raise UsageError(
                f"{repository} was given with a password or a token",
                hint="leave it to git's credential helper",
            )
        words: tuple[str, ...] = (
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            f"--filter={without}",
            "--",
            repository,
            reference,
        )
        done = proc.run([*self._line, *words], env=self._env, check=False)
        said = done.stderr.strip().splitlines()
        return (
            "" if done.code == 0 else next(filter(_is_fatal, said), said[-1] if said else "git says nothing")
        )

    def ask(self, *words: str, check: bool = True) -> str:
        return proc.run([*self._line, *words], env=self._env, check=check).stdout


def fetch(
    repository: str, references: Sequence[str], scratch: Path, *, environment: Mapping[str, str]
) -> Listing:
    """Return the first of ``references`` (tags or a commit) that a repository, or a clone, has.

    SourceError when it has none of them, FetchError when it cannot be asked.
    """
    git = _Git(scratch, environment)
    said = ""
    for reference in references:
        said = git.fetch(repository, reference)
        if not said:
            return _listed(git, repository)
        if not any(words in said for words in _LACKS):
            raise FetchError(
                f"{repository} cannot be asked for {reference}: {said}",
                hint="try again when it can be reached, or name a clone that has it with --repository",
            )
    raise SourceError(
        f"{repository} has none of {', '.join(references)}: {said}",
        hint="name the release's tag or commit with --tag, or a clone that has it with --repository",
    )


def has(repository: str, commit: str, scratch: Path, *, environment: Mapping[str, str]) -> bool:
    """Say whether a repository has a commit; its trees are not fetched."""
    return not _Git(scratch, environment).fetch(repository, commit, without="tree:0")


def _is_fatal(line: str) -> bool:
    return line.startswith(("fatal:", "error:"))


def _listed(git: _Git, repository: str) -> Listing:
    commit = git.ask("rev-parse", "FETCH_HEAD^{commit}").strip()
    raw = git.ask("cat-file", "commit", commit)
    head = {
        "repository": "/".join(repository.removesuffix(".git").rstrip("/").split("/")[-2:]),
        "commit": commit,
        "commit_object": base64.b64encode(raw.encode()).decode(),
    }
    rows = [json.dumps(head)]
    submodules = {}
    for row in git.ask("ls-tree", "-r", "-z", commit).rstrip("\0").split("\0"):
        facts, _, path = row.partition("\t")
        mode, _, identity = facts.split(" ")
        rows.append(f"{mode} {identity} {path}")
        if mode == "160000":
            submodules[path] = identity
    data = ("\n".join(rows) + "\n").encode()
    return Listing(commit, data, submodules, addresses=dict(_addresses(git, submodules)))


def _addresses(git: _Git, submodules: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield path and address of every submodule that .gitmodules names; that one file is fetched, too."""
    if not submodules:
        return
    words = (
        "config",
        "--null",
        "--blob=FETCH_HEAD:.gitmodules",
        "--get-regexp",
        r"^submodule\..*\.(path|url)$",
    )
    found: dict[str, dict[str, str]] = {}
    for row in filter(None, git.ask(*words, check=False).split("\0")):
        key, _, value = row.partition("\n")
        name, _, field = key.rpartition(".")
        found.setdefault(name, {})[field] = value
    for one in found.values():
        if one.get("path") in submodules and one.get("url"):
            yield one["path"], one["url"]
