"""Results of cases that were tried before: which can be taken again, and what of this run is kept.

A result holds as long as nothing has changed that its case depends on: what surrounds it (Python, torch, Triton with
its ptxas, variables, processor: the caller's digest), the kit but for the wheel (suites, runner, what the recipe says),
the names of all members of the wheel, the content of those that are no Python files, and that of all else that it read
(``witness``). A case of which not all of this is known is tried every time, and so is one that failed.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import re
import shutil
import sys
import time
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from retread.canonical import digest
from retread.smoke.runtime.place import Folder, Kit

Table = dict[str, Any]
KEPT = 3
"""Results of one case that are kept: those of a patch before and after an edit, and one more."""
_GIVEN = ("/proc/", "/sys/", "/dev/")
"""What the kernel tells: of the processor, which the surroundings name, and of the process itself."""
_OWN = re.compile(r"^[^/]+\.dist-info/(RECORD|retread\.json|sboms/.+)$")
"""What says how a wheel was made, which is different in each: it counts for who reads it."""


class Reads(NamedTuple):
    """What a process read until a case ended."""

    files: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    programs: frozenset[str] = frozenset()
    blind: str = "nothing was told"

    def more(self, told: Mapping[str, Any] | None) -> Reads:
        """Return this with what the process told since; without a word nobody knows what it read."""
        if told is None:
            return Reads()
        forgot = told.get("forgot") or None
        return Reads(
            _kept(self.files, forgot) | {*told["files"]},
            _kept(self.folders, forgot) | {*told["folders"]},
            self.programs | {*told["programs"]},
            told["blind"],
        )


def _kept(paths: frozenset[str], forgot: str | None) -> frozenset[str]:
    """Return the paths that are not below what was forgotten."""
    return paths if forgot is None else frozenset(path for path in paths if not path.startswith(forgot))


FRESH = Reads(blind="")
"""What a process has read when it starts."""


class Ledger:
    """What is known of the cases of a kit on one level; without a file nothing is known, and nothing kept."""

    def __init__(self, path: str, kit: Kit, folder: Folder) -> None:
        self.path = path
        self.kept: dict[str, Table] = {}
        self.refused: list[str] = []
        self._known: dict[str, list[Table]] = {}
        self._times: dict[str, float] = {}
        self._places: dict[str, tuple[str, bool]] = {}
        if not path:
            return
        with open(path, encoding="utf-8") as stream:
            said = json.load(stream)
        self._folder, self._kit = folder, kit
        self._roots = tuple(os.path.join(one, "") for one in said["covered"])
        self._members = _members(kit)
        always = {name: sha256 for name, sha256 in self._members.items() if not _depends(name)}
        rest = {name: value for name, value in kit.manifest.items() if name not in {"sha256", "digest"}}
        rest["files"] = {
            name: sha256
            for name, sha256 in kit.manifest["files"].items()
            if name != f"wheels/{kit.manifest['wheel']}"
        }
        self.base = digest(
            {"around": said["around"], "kit": rest, "names": sorted(self._members), "always": always}
        )
        sound = [(name, one) for name, some in said["known"].items() for one in some if _sound(name, one)]
        self._times = {name: float(one["result"]["seconds"]) for name, one in reversed(sound)}
        self._known = {} if said["cold"] else said["known"]

    def __bool__(self) -> bool:
        """Say whether results are kept."""
        return bool(self.path)

    def take(self, name: str) -> Table | None:
        """Return the result of a case, as it was when it was tried, if nothing that it depends on has changed."""
        for one in self._known.get(name, ()):
            if not _sound(name, one):
                self.refused.append(name)
            elif one["base"] == self.base and self._same(one):
                return {**one["result"], "taken": one["made"]}
        return None

    def seconds(self, suite: str) -> dict[str, float]:
        """Return how many seconds the cases of a suite took when they were last tried."""
        before = f"{suite}:"
        return {name[len(before) :]: took for name, took in self._times.items() if name.startswith(before)}

    def keep(self, name: str, result: Mapping[str, Any], reads: Reads) -> None:
        """Keep what a case came to, if all is known that it depends on."""
        depends = self._depends(reads)
        if not self or depends is None or result["outcome"] == "failed":
            return
        manifest = self._kit.manifest
        made = {"when": int(time.time()), "wheel": manifest["sha256"], "kit": self._kit.digest}
        record = {"case": name, "base": self.base, **depends, "result": dict(result), "made": made}
        self.kept[name] = {**record, "digest": digest(record)}

    def _same(self, one: Table) -> bool:
        return all(self._members.get(name) == sha256 for name, sha256 in one["members"].items()) and all(
            _content(path) == sha256 for path, sha256 in one["outside"].items()
        )

    def _depends(self, reads: Reads) -> Table | None:
        """Return on which members of the wheel, and on what outside of it, something depends that read this."""
        if not self or reads.blind:
            return None
        files, whole = set(reads.files | reads.folders), False
        for word in reads.programs:
            program = shutil.which(word)
            if program is None:
                return None
            files.add(program)
            whole = whole or not self._covered(program) or _is_python(program)
        members = {name for name in self._members if whole and _depends(name)}
        outside: dict[str, str] = {}
        for path in files:
            member, counts = self._place(path)
            if member:
                members.add(member)
            elif counts:
                outside[path] = _content(path)
        return {"members": {name: self._members[name] for name in sorted(members)}, "outside": outside}

    def _place(self, path: str) -> tuple[str, bool]:
        """Return which member of the wheel a file is, if any, and whether it counts by itself; asked often."""
        if path not in self._places:
            inside = os.path.relpath(path, self._folder.site).replace(os.sep, "/")
            member = inside if inside in self._members else ""
            self._places[path] = member, not self._covered(path)
        return self._places[path]

    def _covered(self, path: str) -> bool:
        """Say whether a file is part of what the digest of the surroundings covers, or of this test's own."""
        own = (os.path.join(self._folder.root, ""), *_GIVEN, *self._roots)
        return any(one.startswith(own) for one in (path, os.path.realpath(path))) or path in {
            self.path,
            os.path.abspath(sys.argv[0]),
        }


def _sound(name: str, record: Any) -> bool:
    """Say whether a record is of a case, and as it was written."""
    try:
        return bool(record["case"] == name and record["digest"] == digest(record))
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def _members(kit: Kit) -> dict[str, str]:
    """Return the members of the wheel, by where they lie once installed -> SHA-256."""
    data = kit.files[f"wheels/{kit.manifest['wheel']}"]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {
            re.sub(r"^[^/]+\.data/(plat|pure)lib/", "", name): hashlib.sha256(archive.read(name)).hexdigest()
            for name in archive.namelist()
        }


def _depends(name: str) -> bool:
    """Say whether a member counts for those alone who read it."""
    return name.endswith(".py") or _OWN.match(name) is not None


def _is_python(program: str) -> bool:
    """Say whether a program runs Python files of the wheel, maybe."""
    return os.path.basename(os.path.realpath(program)).startswith("python")


@functools.lru_cache(maxsize=None)  # noqa: UP033 - a name that Python 3.9 has as well
def _content(path: str) -> str:
    """Return the SHA-256 of a file, or of the names in a folder; nothing for what is not there or cannot be read."""
    try:
        if os.path.isdir(path):
            return hashlib.sha256(
                "\n".join(sorted(_names(path))).encode("utf-8", "surrogateescape")
            ).hexdigest()
        with open(path, "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except OSError:
        return ""


def _names(folder: str) -> Iterable[str]:
    return (name for name in os.listdir(folder) if name != "__pycache__")
