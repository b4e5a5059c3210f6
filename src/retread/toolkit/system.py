"""The root of another machine, made of Debian's packages: what is compiled against, and what is run under qemu.

It is a Python with its headers, settings and libraries, as if ``/usr`` were the root: ``bin``, ``include``, ``lib``.
"""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import Final

from retread import limits
from retread.doors import fs, store, tar
from retread.doors.machine import Machine, essence_digest
from retread.errors import PlanError, RecipeError
from retread.recipe.system import System, parse_system
from retread.recipe.toolchain import Part
from retread.toolkit import debian
from retread.wheel.metadata import name_fault

_OWN: Final = Path(__file__).parent.parent / "recipe" / "systems"
_TOPS: Final = ("bin", "include", "lib")
"""Folders of a package that are taken, below its root or its /usr."""
PACKAGES: Final = "lib/python3/dist-packages"
"""Where, below the root, Debian's Python looks for packages."""


def known(machine: str) -> System:
    """Return the system that is pinned for a machine; PlanError when there is none."""
    path = _OWN / f"{machine}.toml"
    if not path.is_file():
        others = ", ".join(one.stem for one in fs.listed(_OWN, ".toml"))
        raise PlanError(
            f"nothing is pinned of {machine} machines to compile for from here",
            hint=f"there is {others}; or build on a {machine} machine",
        )
    return parse_system(fs.read(path), name=machine)


def digest(system: System) -> str:
    """Return the digest of the root that is made of a system."""
    code = essence_digest(("toolkit/system.py",))
    return store.digest("system", code, system.name, [one.sha256 for one in system.package])


def include(system: System) -> str:
    """Return where the Python's headers lie below the root."""
    return f"include/python{system.python}"


def lay_out(machine: Machine, system: System, root: Path) -> None:
    """Unpack a system's packages into the empty folder ``root``.

    FetchError when one cannot be had; RecipeError for one that is none, or whose files have no place there.
    """
    for part in system.parts:
        _unpack(part, debian.fetch(machine, part), root)
    for path in [*root.rglob("*")]:
        if path.is_symlink() and not path.exists():
            path.unlink()  # to a file of a package that is not among them
    _settle_headers(system, root)
    (root / PACKAGES).mkdir(parents=True, exist_ok=True)


def _unpack(part: Part, package: Path, root: Path) -> None:
    total = 0
    try:
        with tar.opened(debian.data(part, package), "r:xz") as opened:
            for member in opened:
                total += member.size
                name = member.name.removeprefix("./").removeprefix("usr/")
                if total > limits.TOOLKIT:
                    raise _refusal(part, name, "makes it larger than a system may be")
                if member.isdir() or name.partition("/")[0] not in _TOPS:
                    continue
                if fault := name_fault(name):
                    raise _refusal(part, member.name, fault)
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if member.issym():
                    path.symlink_to(_aim(part, name, member.linkname))
                elif member.isfile() and (stream := opened.extractfile(member)):
                    with path.open("xb") as out:
                        shutil.copyfileobj(stream, out, fs.CHUNK)
                    path.chmod(0o755 if member.mode & 0o100 else 0o644)
                else:
                    raise _refusal(part, member.name, "is not a plain file, a folder or a symbolic link")
    except (FileExistsError, NotADirectoryError) as error:
        raise _refusal(part, str(error.filename2 or error.filename), "is there already") from None
    except tar.UNREADABLE as error:
        raise RecipeError(f"{part.file} cannot be read as a package: {error}") from None


def _aim(part: Part, name: str, target: str) -> str:
    """Return a link's target, from its own folder; RecipeError when it leaves the root."""
    folder = PurePosixPath(name).parent
    up = "../" * len(folder.parts)
    if target.startswith("/"):
        return up + target.removeprefix("/").removeprefix("usr/")
    depth = len(folder.parts)
    for step in PurePosixPath(target).parts:
        depth += -1 if step == ".." else 1
        if depth < 0:
            raise _refusal(part, name, f"is a link that leaves the root: {target!r}")
    return target


def _refusal(part: Part, member: str, fault: str) -> RecipeError:
    return RecipeError(f"{part.file}: member {member!r}: {fault}", hint="pin another file")


def _settle_headers(system: System, root: Path) -> None:
    """Put the header that tells machines apart in the place of the one that chooses among several."""
    own = root / "include" / f"{system.name}-linux-gnu" / f"python{system.python}" / "pyconfig.h"
    if own.is_file():
        own.replace(root / include(system) / "pyconfig.h")
