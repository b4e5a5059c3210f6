"""Packages of Debian's archive: where this machine has them from, and what lies in one.

The mirror is the one that apt is set to, or ``RETREAD_DEBIAN_MIRROR``. Every file is pinned by SHA-256, so that it does
not matter for trust which mirror answers. No dpkg is needed: a package is an ``ar`` archive with a tar archive in it.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from retread import limits, variables
from retread.doors import fs, proc
from retread.doors.machine import Machine, downloaded
from retread.errors import FetchError, RecipeError, ToolError
from retread.recipe.toolchain import Part

if TYPE_CHECKING:
    from retread.doors.net.download import Progress
    from retread.doors.net.settings import Settings

_MAGIC = b"!<arch>\n"
_HEADER = 60
_DATA = "data.tar.xz"


def mirrors(machine: Machine) -> tuple[str, ...]:
    """Return the addresses or folders that may have the archive, in order; none where neither variable nor apt is."""
    if given := machine.environment.get(variables.DEBIAN_MIRROR):
        return (fs.of_variable(given),)
    return _of_apt(machine.environment.get("PATH", os.defpath))


@functools.cache
def _of_apt(path: str) -> tuple[str, ...]:
    """Return the addresses of the archives that apt is set to."""
    asked = ["apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI)"]
    try:
        said = proc.run(asked, env={"PATH": path, "LC_ALL": "C"}, check=False).stdout
    except ToolError:
        return ()
    lines = (line for line in said.splitlines() if line.startswith(("http:", "https:", "file:")))
    return tuple(dict.fromkeys(lines))


def fetch(machine: Machine, part: Part) -> Path:
    """Return a package of Debian's, downloading it when the store has it not; FetchError names every mirror asked."""

    def complete(partial: Path, using: Settings, progress: Progress) -> None:
        from retread.doors.net import asking
        from retread.doors.net import download as net

        wanted = asking.Wanted("", part.file, part.sha256)
        faults, source = [], variables.source(variables.DEBIAN_MIRROR, machine.environment)
        for base in mirrors(machine):
            try:
                return net.fetch_from(base, part.deb, wanted, partial, using=using, progress=progress)
            except FetchError as error:
                faults.append(source + ": ".join((error.message, *error.faults)))
        raise FetchError(
            f"{part.file} could not be had from Debian's archive",
            faults=faults or [_no_mirror()],
            hint=ways(part),
        )

    return downloaded(machine, part.file, part.sha256, complete)


def inquire(machine: Machine, part: Part) -> tuple[str, str]:
    """Return where a package is to be had, and why not (empty: it is); at most headers are transferred."""
    from retread.doors.net import download as net
    from retread.doors.net import settings

    using = settings.settings(machine.environment)
    faults, source = [], variables.source(variables.DEBIAN_MIRROR, machine.environment)
    for base in mirrors(machine):
        fault = net.absence(base, part.deb, using=using)
        if not fault:
            return net.where(base, part.deb), ""
        faults.append(f"{source}{fault}")
    return "", f"{'; '.join(faults) or _no_mirror()}; {ways(part)}"


def ways(part: Part) -> str:
    """Return what a user can do who lacks a package."""
    name, version = part.file.split("_")[:2]
    return (
        f"the toolchain pins {name} {version}, and Debian's archive keeps a version only until the next one: "
        f"set {variables.DEBIAN_MIRROR} to an address or a folder that has {part.deb}, like Debian's archive of "
        "snapshots"
    )


def _no_mirror() -> str:
    return "there is no apt here whose mirror could be asked"


def data(part: Part, package: Path) -> io.BytesIO:
    """Return the .tar.xz of a package's files; RecipeError when it is no package, or packed in another way."""
    if package.stat().st_size > limits.PACKAGE:
        raise RecipeError(f"{part.file} is larger than any package of Debian's", hint="pin another file")
    content = package.read_bytes()
    members = dict(_members(content)) if content.startswith(_MAGIC) else {}
    if _DATA not in members:
        has = ", ".join(list(members)[:20]) or "nothing"
        raise RecipeError(
            f"{part.file} cannot be read as a package of Debian's: it holds no {_DATA}, but {has}",
            hint="pin another file",
        )
    return io.BytesIO(members[_DATA])


def _members(content: bytes) -> Iterator[tuple[str, memoryview]]:
    """Yield the members of an ``ar`` archive: a header of 60 bytes, then the bytes, padded to an even number."""
    view, at = memoryview(content), len(_MAGIC)
    while at + _HEADER <= len(content):
        header = content[at : at + _HEADER]
        digits = header[48:58].strip()
        if not digits.isdigit() or header[58:] != b"`\n":
            return
        size = int(digits)
        if at + _HEADER + size > len(content):
            return
        yield (
            header[:16].decode("ascii", "replace").strip().rstrip("/"),
            view[at + _HEADER : at + _HEADER + size],
        )
        at += _HEADER + size + size % 2
