"""The listing of a release's commit, from which a proof is made: commits and trees are fetched, no files."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from retread.address import has_secret
from retread.doors import proc
from retread.errors import SourceError, UsageError

_PATIENCE: Final = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=20",
    "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
    "GIT_HTTP_LOW_SPEED_TIME": "60",
    "GIT_ALLOW_PROTOCOL": "https:http:ssh:git:file",
    "LC_ALL": "C",
}
"""git asks nobody, gives up on a server that sends next to nothing for a minute, and starts no helper that an address
names."""


class Listing(NamedTuple):
    """A commit and the listing of its tree, in the form of a proof."""

    commit: str
    data: bytes
    submodules: dict[str, str]
    """Path -> commit."""
    addresses: dict[str, str]
    """Path of a submodule -> its address, as .gitmodules has it; nothing where that cannot be had."""


def fetch(
    repository: str, references: Sequence[str], scratch: Path, *, environment: Mapping[str, str]
) -> Listing:
    """Return the first of ``references`` (tags or a commit) that a repository, or a clone, has; else SourceError."""
    if has_secret(repository):  # git would show it to every user of this machine, in the list of processes
        raise UsageError(
            f"{repository} was given with a password or a token", hint="leave it to git's credential helper"
        )
    git = proc.find("git", why="the proof of a commit comes from its repository")
    env = {name: value for name, value in environment.items() if not name.startswith("GIT_")}
    env |= _PATIENCE
    folder = scratch / "listing.git"
    if not folder.exists():
        proc.run([git, "init", "--quiet", "--bare", "--template=", folder], env=env)
    line: list[str | Path] = [git, f"--git-dir={folder}", "-c", f"core.hooksPath={os.devnull}"]
    said = ""
    for reference in references:
        words = [
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--filter=blob:none",
            "--",
            repository,
            reference,
        ]
        done = proc.run([*line, *words], env=env, check=False)
        if done.code == 0:
            return _listed(line, env, repository)
        said = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else said
    raise SourceError(
        f"{repository} has none of {', '.join(references)}: {said}",
        hint="name the release's tag or commit with --tag, or a clone that has it with --clone",
    )


def _listed(line: Sequence[str | Path], env: Mapping[str, str], repository: str) -> Listing:
    commit = proc.run([*line, "rev-parse", "FETCH_HEAD^{commit}"], env=env).stdout.strip()
    raw = proc.run([*line, "cat-file", "commit", commit], env=env).stdout
    head = {
        "repository": "/".join(repository.removesuffix(".git").rstrip("/").split("/")[-2:]),
        "commit": commit,
        "commit_object": base64.b64encode(raw.encode()).decode(),
    }
    rows = [json.dumps(head)]
    submodules = {}
    for row in proc.run([*line, "ls-tree", "-r", "-z", commit], env=env).stdout.rstrip("\0").split("\0"):
        facts, _, path = row.partition("\t")
        mode, _, identity = facts.split(" ")
        rows.append(f"{mode} {identity} {path}")
        if mode == "160000":
            submodules[path] = identity
    return Listing(
        commit, ("\n".join(rows) + "\n").encode(), submodules, dict(_addresses(line, env, submodules))
    )


def _addresses(
    line: Sequence[str | Path], env: Mapping[str, str], submodules: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield path and address of every submodule that .gitmodules names; that one file is fetched, too."""
    if not submodules:
        return
    words = [
        "config",
        "--null",
        "--blob=FETCH_HEAD:.gitmodules",
        "--get-regexp",
        r"^submodule\..*\.(path|url)$",
    ]
    said = proc.run([*line, *words], env=env, check=False).stdout
    found: dict[str, dict[str, str]] = {}
    for row in filter(None, said.split("\0")):
        key, _, value = row.partition("\n")
        name, _, field = key.rpartition(".")
        found.setdefault(name, {})[field] = value
    for one in found.values():
        if one.get("path") in submodules and one.get("url"):
            yield one["path"], one["url"]
