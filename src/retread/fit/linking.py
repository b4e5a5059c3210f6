"""What the loader would find for a library of an environment, and which symbols it would miss, from the bytes alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from retread.arch import Arch
from retread.audit.providers import SYSTEM
from retread.doors import proc
from retread.elf import edit, fatbin
from retread.elf import image as ei
from retread.elf import library as elf
from retread.elf.facts import LibraryFacts
from retread.errors import RetreadError
from retread.fit.environment import OF_TORCH, Library

_DRIVER: Final = re.compile(r"lib(cuda|nvidia-[a-z0-9-]+|nvcuvid)\.so\.1|ld-linux-[a-z0-9-]+\.so\.[12]")
"""What comes with the driver, and the loader itself."""
_TORCH_SYMBOL: Final = re.compile(r"_Z\w*?(?:3c10|2at|5torch|6caffe2)\w*|(?:aoti_)?torch_\w+")
"""Names in torch's own namespaces, as C++ mangles them, and those of its stable C interface."""
_LDCONFIG: Final = re.compile(r"^\s+(\S+) \(([^)]*)\) => ", re.MULTILINE)
_SECONDS: Final = 20.0


class Linker:
    """The loader of one environment, in a process that imported torch first, as every package does that needs it."""

    def __init__(self, torch: Path | None, system: frozenset[str], more: Iterable[Path]) -> None:
        """``torch`` is the folder that holds torch, ``more`` those of LD_LIBRARY_PATH."""
        self._system = system
        self._more = tuple(more)
        self._torch = torch
        self._loaded: dict[str, Path] = {}
        self._defined: dict[Path, _Defined] = {}
        if torch:
            self._load_torch(torch / "torch" / "lib")

    def _load_torch(self, folder: Path) -> None:
        """Note what torch's libraries bring into the process, by their run paths."""
        waiting: list[Path] = []
        with suppress(OSError):
            waiting = sorted(path for path in folder.iterdir() if OF_TORCH.fullmatch(path.name))
        self._loaded.update({path.name: path for path in waiting})
        while waiting:
            path = waiting.pop()
            try:
                facts = _tables(path)
            except RetreadError:
                continue
            for name in facts.needed:
                found = None if name in self._loaded else _by_run_path(name, path, facts)
                if found:
                    self._loaded[name] = found
                    waiting.append(found)

    def library(self, root: Path, name: str, size: int, *, of_torch: bool) -> Library:
        """Return what a package's library holds and would miss; ``size`` is RECORD's, -1 where it states none.

        Libraries ``of_torch`` are not held against torch.
        """
        path = root / name
        try:
            real = path.stat().st_size
        except OSError as error:
            return Library(path=name, fault=f"is listed in RECORD and not there ({error.strerror})")
        if size not in (-1, real):
            return Library(path=name, fault=f"has {real} bytes, RECORD says {size}: it was cut or changed")
        try:
            image = elf.load(path)
            facts = elf.read(path)
            isa = _isa(edit.fat_binaries(image)) if facts.modules else {}
        except RetreadError as error:
            return Library(path=name, fault=error.message.removeprefix(f"{path}: "))
        return Library(
            path=name,
            facts=facts,
            isa=isa,
            missing=tuple(one for one in facts.needed if not self._finds(one, path, facts)),
            undefined=() if of_torch else tuple(self._lacking(facts)),
        )

    def _finds(self, name: str, path: Path, facts: LibraryFacts) -> bool:
        if name in SYSTEM or name in self._system or _DRIVER.fullmatch(name):
            return True
        if name in self._loaded or _by_run_path(name, path, facts):
            return True
        return any((folder / name).exists() for folder in self._more)

    def _lacking(self, facts: LibraryFacts) -> Iterator[str]:
        """Yield the symbols in torch's namespaces that none of torch's libraries defines."""
        if not self._torch or not any(map(OF_TORCH.fullmatch, facts.needed)):
            return
        wanted = [one for one in facts.undefined if _TORCH_SYMBOL.fullmatch(one)]
        providers = [path for name, path in self._loaded.items() if OF_TORCH.fullmatch(name)]
        for provider in sorted(providers, key=lambda path: path.name):
            if wanted:
                wanted = self._of(provider).without(wanted)
        yield from wanted

    def _of(self, path: Path) -> _Defined:
        if path not in self._defined:
            self._defined[path] = _Defined(path)
        return self._defined[path]


class _Defined:
    """The dynamic symbols that a library defines; asked for by name, since torch has some hundred thousand."""

    def __init__(self, path: Path) -> None:
        self._tables: list[tuple[bytes, frozenset[int]]] = []
        with suppress(RetreadError):
            image = elf.load(path)
            for section in image.sections:
                if section.type == ei.SHT_DYNSYM:
                    names = bytes(ei.contents(image, image.sections[section.link]))
                    defined = (row[0] for row in ei.records(image, section, ei.SYM) if row[3])
                    self._tables.append((names, frozenset(defined)))

    def without(self, wanted: Iterable[str]) -> list[str]:
        """Return those of ``wanted`` that are not defined here."""
        return [one for one in wanted if not any(_has(table, at, one) for table, at in self._tables)]


def _has(table: bytes, defined: frozenset[int], name: str) -> bool:
    """Say whether a string table has the name at an offset of a defined symbol; one name may end another."""
    ending, at = name.encode() + b"\0", -1
    while (at := table.find(ending, at + 1)) >= 0:
        if at in defined:
            return True
    return False


def concerns(library: Library) -> bool:
    """Say whether a library has GPU code, or links to torch."""
    facts = library.facts
    return bool(facts and (facts.modules or any(map(OF_TORCH.fullmatch, facts.needed))))


def linker(torch: Path | None, machine: str, environment: Mapping[str, str]) -> Linker:
    """Return the loader of an environment on this machine."""
    more = filter(None, environment.get("LD_LIBRARY_PATH", "").split(":"))
    return Linker(torch, _system(machine), map(Path, more))


def _system(machine: str) -> frozenset[str]:
    """Return the names of the libraries that the system's loader knows."""
    marks = {"x86_64": "x86-64", "aarch64": "AArch64"}
    with suppress(RetreadError):
        program = proc.find("ldconfig", why="it lists the system's libraries")
        said = proc.run([program, "-p"], env={"LC_ALL": "C"}, check=False, limit=_SECONDS).stdout
        return frozenset(
            name for name, kind in _LDCONFIG.findall(said) if marks.get(machine, machine) in kind
        )
    return frozenset()


def _tables(path: Path) -> LibraryFacts:
    """Return what a library needs and where it looks for it."""
    return elf.read(path)


def _by_run_path(name: str, path: Path, facts: LibraryFacts) -> Path | None:
    """Return the library that a run path leads to; None when none does."""
    origin = os.path.dirname(os.path.realpath(path))  # noqa: PTH120 - the loader resolves links, too
    for entry in facts.run_path:
        folder = re.sub(r"\$(ORIGIN|\{ORIGIN\})", lambda _: origin, entry)
        found = Path(folder) / name
        if found.is_absolute() and found.exists():
            return found
    return None


def _isa(fatbins: Iterable[fatbin.FatBinary]) -> dict[Arch, tuple[int, int]]:
    """Return the newest version of the PTX language for each architecture that there is PTX for."""
    found: dict[Arch, tuple[int, int]] = {}
    for one in fatbins:
        for entry in one.entries:
            if entry.kind is fatbin.Kind.PTX:
                found[entry.arch] = max(entry.isa, found.get(entry.arch, (0, 0)))
    return found
