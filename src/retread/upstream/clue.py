"""What a project's own words say of where its source is: addresses, tags, commits. Others wrote them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from packaging.metadata import parse_email

from retread.address import has_secret
from retread.errors import UsageError

_LABELS: Final = ("source", "sourcecode", "repository", "code", "github", "gitlab", "homepage", "home")
"""Labels of addresses, letters alone, the one to be believed first."""
_FORGES: Final = ("github.com", "gitlab.com", "bitbucket.org", "codeberg.org")
"""Hosts on which an address names a repository by its first two parts."""
_SCHEMES: Final = ("https", "http", "ssh", "git", "file")
_OWN: Final = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[A-Za-z0-9._/~-]+")
"""How ssh writes an address: ``git@host:owner/name``."""
_COMMIT: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])")
_LONGEST: Final = 500
"""Characters of an address, and of a summary: more is no address, and no line for a list."""


class Said(NamedTuple):
    """What a project says of itself, each as far as it is sound; empty where it says nothing."""

    summary: str
    requires: tuple[str, ...]
    python: str
    addresses: tuple[tuple[str, str], ...]
    """Label and address, as written."""


def said(metadata: str) -> Said:
    """Return what METADATA or PKG-INFO says; nothing is believed but that it is text."""
    raw, _ = parse_email(metadata)
    labelled = [*raw.get("project_urls", {}).items(), ("Home-page", raw.get("home_page", ""))]
    return Said(
        summary=" ".join(raw.get("summary", "").split())[:_LONGEST],
        requires=tuple(raw.get("requires_dist", ())),
        python=raw.get("requires_python", ""),
        addresses=tuple((label, address) for label, address in labelled if address),
    )


def repository(addresses: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """Return the address of a repository and the label that it stood behind; two empty texts where none is one.

    Only https is believed of somebody else's words.
    """
    found = sorted(_candidates(addresses))
    return (found[0][2], found[0][1]) if found else ("", "")


def _candidates(addresses: Iterable[tuple[str, str]]) -> Iterator[tuple[int, str, str]]:
    for label, written in addresses:
        word = "".join(char for char in label.lower() if char.isalpha()).replace("sourcecode", "source")
        parts = _split(written)
        if parts is None or parts.scheme != "https" or "@" in parts.netloc:
            continue
        names = [one for one in parts.path.split("/") if one]
        forge = parts.hostname in _FORGES
        if len(names) >= 2 if forge else word in _LABELS[:6] and names:
            names = names[:2] if forge else names
            path = "/".join(names).removesuffix(".git")
            rank = _LABELS.index(word) if word in _LABELS else len(_LABELS)
            yield (rank, label, f"https://{parts.netloc}/{path}")


def asked(written: str) -> str:
    """Return the address of a repository that was typed; UsageError for what git must not be given."""
    if has_secret(written):
        raise UsageError(
            "--repository: holds a user or a password", hint="leave it to git's credential helper"
        )
    if not is_address(written):
        raise UsageError(
            f"--repository: {written[:80]!r} is no address of a repository",
            hint=f"write it like https://github.com/owner/name; schemes are {', '.join(_SCHEMES)}",
        )
    return written


def is_address(written: str) -> bool:
    """Say whether git may be given an address: of a scheme that is known, or as ssh writes it."""
    parts = _split(written)
    known = parts is not None and parts.scheme in _SCHEMES and bool(parts.netloc or parts.scheme == "file")
    return known or _OWN.fullmatch(written) is not None


def _split(written: str) -> SplitResult | None:
    """Return an address in parts; None for what is none, or holds what nobody sees."""
    if len(written) > _LONGEST or not written.isascii() or not written.isprintable() or " " in written:
        return None
    if written.startswith("-") or not re.fullmatch(r"[A-Za-z0-9:/._~@%+?=&#-]+", written):
        return None
    try:
        parts = urlsplit(written)
        parts.port  # noqa: B018 - a port that is none raises
    except ValueError:
        return None
    return parts


def tags(version: str) -> tuple[str, ...]:
    """Return the tags under which a release is looked for."""
    return f"refs/tags/v{version}", f"refs/tags/{version}"


def commit(texts: Mapping[str, str]) -> tuple[str, str]:
    """Return the one commit that a project's own files name, and the file; two empty texts where that is not one."""
    found = {one: path for path, text in sorted(texts.items()) for one in _COMMIT.findall(text)}
    return next(iter(found.items())) if len(found) == 1 else ("", "")


def names_commit(path: str) -> bool:
    """Say whether a file of a wheel is one in which builds note their commit: ``demo/version.py``."""
    return re.fullmatch(r"[^/]+/_?(git_)?version\.py", path) is not None
