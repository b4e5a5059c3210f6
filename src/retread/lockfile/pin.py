"""One pinned version of a project, and how files that pin spell digests, addresses and versions. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

from packaging.version import InvalidVersion

from retread import pypa
from retread.records import Record, Sha256

_SHA256 = re.compile(r"[0-9a-f]{64}")
_OTHERS = {"sha384": 96, "sha512": 128}
"""Digests that prove a file as SHA-256 does -> how many digits they have; MD5 and SHA-1 can be forged."""


class Locked(Record, frozen=True, kw_only=True):
    """One version of a project that a lock file or an environment holds."""

    project: str
    """Normalised."""
    version: str
    """Normalised; empty where the file does not say it, as of a Git checkout."""
    sha256s: tuple[Sha256, ...] = ()
    """Of every file that the lock allows; empty when it names none."""
    others: tuple[str, ...] = ()
    """Other digests that prove a file, as ``sha512:digits``."""
    bare: tuple[str, ...] = ()
    """Names of files of which the lock states no digest that proves anything."""
    files: tuple[str, ...] = ()
    """Names of these files, where the lock says them; not always as many as ``sha256s``."""
    source: str = ""
    """The index, or the file's own address, without user and password; empty where the lock does not say it."""


def decoded(data: bytes) -> str:
    """Return a lock file's text; ValueError, with the line, when it is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"line {line}: not UTF-8") from None


def digests(stated: Iterable[str]) -> tuple[Sha256, ...]:
    """Return the SHA-256 among ``algorithm:digits``, each once; ValueError for one that is none."""
    found: dict[Sha256, None] = {}
    for one in stated:
        algorithm, _, digits = one.lower().partition(":")
        if algorithm == "sha256":
            if not _SHA256.fullmatch(digits):
                raise ValueError(f"{digits!r} is not a sha256")
            found[Sha256(digits)] = None
    return tuple(found)


def others(stated: Iterable[str]) -> tuple[str, ...]:
    """Return the SHA-384 and SHA-512 among ``algorithm:digits``, each once; ValueError for one that is none."""
    found: dict[str, None] = {}
    for one in map(str.lower, stated):
        algorithm, _, digits = one.partition(":")
        if algorithm in _OTHERS:
            if not re.fullmatch(f"[0-9a-f]{{{_OTHERS[algorithm]}}}", digits):
                raise ValueError(f"{digits!r} is not a {algorithm}")
            found[one] = None
    return tuple(found)


def spelled(version: str) -> str:
    """Return a version normalised, or as it is: an environment may hold what no index would take."""
    try:
        return str(pypa.version(version))
    except InvalidVersion:
        return version


def file_name(address: str) -> str:
    """Return the file name at the end of an address or a path."""
    return unquote(_bare(address).replace("\\", "/").rpartition("/")[2])


def _bare(address: str) -> str:
    return re.split(r"[?#]", address, maxsplit=1)[0]
