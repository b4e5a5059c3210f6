"""What installers and file systems do not take of a wheel that can be read all the same. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from packaging.specifiers import InvalidSpecifier

from retread import pypa
from retread.wheel.facts import Fault

_COMPONENT: Final = 255
"""Bytes in a name, on every file system that is in use (ext4, XFS, Btrfs, NFS; NTFS and APFS count characters)."""
_PATH: Final = 4095
"""Bytes in a path, on Linux; the folder that a wheel is unpacked into comes on top."""
_ENTRY_POINT: Final = re.compile(r"[\w.]+\s*(:\s*(?P<attr>[\w.]+)\s*)?(\[[^\]]*\]\s*)?")
_SCRIPTS: Final = frozenset(("console_scripts", "gui_scripts"))
_SHOWN: Final = 60


def of_names(names: Sequence[str]) -> Iterator[Fault]:
    """Yield what cannot be unpacked everywhere: names that are too long, or that differ in case alone.

    pip installs nothing that has a file ``x.dist-info`` at its top: it takes it for a second folder of that kind.
    """
    for name in names:
        long = max((len(part.encode()) for part in name.split("/")), default=0)
        if long > _COMPONENT:
            yield Fault(
                check="names", subject=_short(name), detail=f"{long} bytes in a name, {_COMPONENT} are taken"
            )
        elif len(name.encode()) > _PATH:
            yield Fault(
                check="names", subject=_short(name), detail=f"{len(name.encode())} bytes, {_PATH} are taken"
            )
        if "/" not in name and name.lower().endswith((".dist-info", ".data", ".egg-info")):
            yield Fault(check="names", subject=name, detail="is a file, where installers look for a folder")
    for name, other in _alike(names):
        yield Fault(check="names", subject=_short(name), detail=f"differs from {_short(other)} in case alone")


def of_entry_points(text: str) -> Iterator[Fault]:
    """Yield the lines of ``entry_points.txt`` at which pip refuses the whole wheel.

    It reads all of them by importlib.metadata, to which a line is a [group] or ``name = value``, and then makes
    programs of two groups. What stands in other groups is for those who ask for it.
    """
    group = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            group = line.strip("[]")
        elif fault := _entry_fault(group, *(part.strip() for part in line.partition("="))):
            yield Fault(check="entry points", subject=f"line {number}", detail=f"{_short(line)!r} {fault}")


def of_requires_python(values: Iterable[str]) -> Iterator[Fault]:
    """Yield the Requires-Python entries of METADATA that are no specifiers, and all of them if there are several."""
    found = list(values)
    if len(found) > 1:
        yield Fault(check="requires python", subject="METADATA", detail=f"states it {len(found)} times")
    for value in found:
        try:
            pypa.specifiers(value)
        except InvalidSpecifier:
            yield Fault(
                check="requires python", subject="METADATA", detail=f"{_short(value)!r} is no specifier"
            )


def _entry_fault(group: str, name: str, sign: str, value: str) -> str:
    """Say what is wrong with an entry point, or return nothing."""
    if not sign and group:
        return "is no 'name = value'"
    if group not in _SCRIPTS:
        return ""
    match = _ENTRY_POINT.fullmatch(value)
    if not match or not name:
        return "is no 'name = module:function'"
    return "" if match["attr"] else "names no function of its module"


class _Folder(dict[str, "_Folder"]):
    """What lies in a folder, by names without case; each is spelled as its first was."""

    spelled = ""


def _alike(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield files and folders, each with another that is called the same but for case; each step is one component."""
    top, told = _Folder(), set[str]()
    for name in names:
        folder, parts, clash = top, name.rstrip("/").split("/"), 0
        others: list[str] = []
        for depth, part in enumerate(parts, start=1):
            folder = folder.setdefault(_folded(part), _Folder())
            folder.spelled = folder.spelled or part
            others.append(folder.spelled)
            clash = clash or depth * (folder.spelled != part)
        if clash and (here := "/".join(parts[:clash])) not in told:
            told.add(here)
            yield here, "/".join(others[:clash])


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
