"""Results of earlier smoke tests: kept in the store, and handed to the kit, which says what of them still holds.

They are kept for runs behind walls alone, in environments that retread made: there it is known what a case can see.
"""

from __future__ import annotations

import os
import platform
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from retread import strict
from retread.canonical import digest as sealed
from retread.doors import fs
from retread.doors.store import Kind, Store, digest
from retread.environment import host

_FILE: Final = "known.json"
_CONTENT: Final = "content"
_KEPT: Final = 3
"""Results of one case: those of a patch before and after an edit, and one more."""
_DRIVER: Final = Path("/proc/driver/nvidia")
_BESIDE: Final = frozenset({"site-packages", "dist-packages", "__pycache__"})
"""What lies in the folder of Python's own library and is none of it."""

Known = dict[str, list[dict[str, Any]]]


class Keeper(NamedTuple):
    """Where results are kept: of which recipe, target and level, in which environment."""

    store: Store
    subject: tuple[str, ...]
    python: Path
    paths: tuple[Path, ...]
    """Folders of packages that come before the environment's own."""
    handed: Path
    """The file by which the kit gets them."""
    cold: bool
    """Whether everything is to be tried; what comes of it is kept all the same."""
    heard: Callable[[str], None]

    def hand(self, variables: Mapping[str, str]) -> str:
        """Write the file for the kit, which sees these variables; return the key of what is kept."""
        trees, library = [self.python.parent.parent, *self.paths], _library(self.python)
        contents = [content(self.store, [one]) for one in trees]
        contents.append(content(self.store, library, bytecode=False))
        covered = [*trees, *library]
        around = digest("around", contents, sorted(variables.items()), [*map(str, self.paths)], _machine())
        key = digest("trials", self.subject, around)
        said = {
            "around": around,
            "covered": [*map(str, covered)],
            "cold": self.cold,
            "known": self._read(key),
        }
        self.handed.write_bytes(msgspec.json.encode(said))
        return key

    def learn(self, key: str, kept: object) -> None:
        """Keep what a kit says of its cases, beside what is known of them already."""
        new = {name: one for name, one in _tables(kept) if one.get("digest") == sealed(one)}
        if not new:
            return
        known = self._read(key)
        for name, one in new.items():
            others = [other for other in known.get(name, ()) if _hangs_on(other) != _hangs_on(one)]
            known[name] = [one, *others][:_KEPT]
        data = msgspec.json.encode(known)
        self.store.renew(Kind.TRIALS, key, lambda into: fs.write(into / _FILE, data))

    def _read(self, key: str) -> Known:
        """Return what is kept; nothing, and a word of it, where that is damaged."""
        found = self.store.use(Kind.TRIALS, key)
        if found:
            with suppress(ValueError, OSError):
                return strict.decoded((found / _FILE).read_bytes(), Known)
        if found or self.store.is_damaged(Kind.TRIALS, key):
            self.heard(
                "    note: what the store had of earlier runs was damaged, so everything is tried again"
            )
        return {}


def _tables(kept: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what may be records: what a kit says is read by nobody else."""
    if isinstance(kept, dict):
        yield from ((name, one) for name, one in kept.items() if isinstance(one, dict))


def _hangs_on(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(record.get(name) for name in ("base", "members", "outside"))


def _library(python: Path) -> list[Path]:
    """Return the parts of Python's own library."""
    program = python.resolve()
    number = program.name.removeprefix("python")
    folder = program.parent.parent / "lib" / f"python{number}"
    if not number or not folder.is_dir():
        return []  # each file that is read of it counts by itself then
    return sorted(one for one in folder.iterdir() if one.name not in _BESIDE)


def content(store: Store, paths: Sequence[Path], *, bytecode: bool = True) -> str:
    """Return a digest of files, and of all below folders; it is kept as long as none of them is touched.

    Without ``bytecode`` what Python itself made of its library does not count.
    """
    listed = [one for path in paths for one in _listing(path, bytecode=bytecode)]

    def build(into: Path) -> None:
        whole = [(name, fs.sha256(Path(name)) if size >= 0 else to) for name, size, _, _, to in listed]
        fs.write(into / _CONTENT, digest("content", whole).encode())

    key = digest("content", listed)
    return (store.make(Kind.TRIALS, key, build) / _CONTENT).read_text("utf-8")


def _listing(path: Path, *, bytecode: bool) -> Iterator[tuple[str, int, int, int, str]]:
    """Yield of each file its path, size, times and, of a link, whither; a link has the size -1."""
    if not path.is_dir():
        yield _listed(path)
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(one for one in folders if bytecode or one != "__pycache__")
        links = [one for one in folders if os.path.islink(os.path.join(folder, one))]  # noqa: PTH114, PTH118
        yield from (_listed(Path(folder, name)) for name in sorted([*names, *links]))


def _listed(path: Path) -> tuple[str, int, int, int, str]:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return str(path), -1, 0, 0, str(path.readlink())
    return str(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns, ""


def _machine() -> list[str]:
    """Return what of this machine decides what a case finds: system, processor, the driver of a GPU."""
    told = [platform.system(), platform.release(), platform.machine()]
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        told += sorted(
            {line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}
        )
    if host.has_gpu():
        with suppress(OSError):
            told.append((_DRIVER / "version").read_text("utf-8", "replace"))
        told += sorted(one.name for one in (_DRIVER / "gpus").glob("*"))
    return told
