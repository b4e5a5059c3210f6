"""What an environment has: its Python, packages, libraries, GPUs and driver, as far as a survey read them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Final

import msgspec
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from retread import pypa
from retread.arch import Arch
from retread.elf.facts import LibraryFacts
from retread.fit.driver import Driver
from retread.recipe import platforms
from retread.records import Record

OF_TORCH: Final = re.compile(r"lib(torch|c10)(_[a-z0-9_]+)?\.so|libshm\.so")
"""Libraries of ``torch/lib``: what needs one of them is made for one torch."""


DESCRIBED: Final = "python"
"""What the Python is called of an environment that is not there, but described by a lock file."""


class Interpreter(Record, frozen=True, kw_only=True):
    """The Python of an environment, as it says of itself."""

    executable: str
    version: str
    """``3.12.3``."""
    abi: str
    """``cp312``, with a ``t`` where threads are free."""
    machine: str
    """``x86_64``."""
    glibc: tuple[int, ...]
    """Empty where the C library is another."""
    paths: tuple[str, ...]
    """Folders that it imports from."""
    platform: str = ""
    """``win_amd64``; empty on Linux."""

    @property
    def here(self) -> str:
        """The platform as recipes name it."""
        return self.platform or self.machine


class Library(Record, frozen=True, kw_only=True):
    """A shared object of a package."""

    path: str
    """From the folder that holds the package: ``demo/_C.so``."""
    facts: LibraryFacts | None = None
    """None when it cannot be read."""
    isa: dict[Arch, tuple[int, int]] = msgspec.field(default_factory=dict)
    """Architecture of its PTX -> the newest version of the PTX language for it."""
    missing: tuple[str, ...] = ()
    """Libraries that it needs and that the loader would not find."""
    undefined: tuple[str, ...] = ()
    """Symbols that it needs of torch and that the installed torch does not have."""
    fault: str = ""
    """Why it cannot be read, or what is wrong with the file."""


class Package(Record, frozen=True, kw_only=True):
    """An installed distribution."""

    name: str
    """Normalised."""
    version: str
    requires: tuple[str, ...] = ()
    """Requirements whose markers hold here."""
    libraries: tuple[Library, ...] = ()
    """Of a package with GPU code or links to torch; others are not looked into."""
    mends: tuple[str, ...] = ()
    """Names of the patches of a wheel that retread made."""
    fault: str = ""
    """What of its metadata cannot be read, or which of its files are gone or cut."""

    @property
    def public(self) -> Version | None:
        """Its version without the local part; None for one that is no version."""
        try:
            return pypa.version(pypa.version(self.version).public)
        except InvalidVersion:
            return None


class Hardware(Record, frozen=True, kw_only=True):
    """GPUs and driver, and who said so."""

    gpus: tuple[Arch, ...] = ()
    """Their capabilities, each once."""
    names: tuple[str, ...] = ()
    driver: str = ""
    """Its version; empty when there is none, or nobody knows."""
    source: str = ""
    """``NVML``, ``nvidia-smi``, ``the options``, or why nothing is known."""


class Import(Record, frozen=True, kw_only=True):
    """What became of importing a module in a process of its own."""

    module: str
    ok: bool
    said: str
    """The last line of the error, or how the process ended; of an import that went well what it warned of."""
    ended: bool = True
    """False when it was stopped after some minutes, so that nobody knows."""


class Environment(Record, frozen=True, kw_only=True):
    """All of it."""

    interpreter: Interpreter
    packages: tuple[Package, ...]
    torch_cuda: str
    """The CUDA that torch is built for: ``12.8``; empty for none."""
    hardware: Hardware
    imports: tuple[Import, ...] = ()

    @property
    def windows(self) -> bool:
        """Whether it is one of Windows."""
        return platforms.is_windows(self.interpreter.platform)

    @property
    def driver(self) -> Driver:
        """The driver, as far as it is known."""
        return Driver(self.hardware.driver, self.windows)

    def package(self, name: str) -> Package | None:
        """Return an installed package."""
        wanted = canonicalize_name(name)
        return next((one for one in self.packages if one.name == wanted), None)

    def version(self, name: str) -> str:
        """Return a package's version; empty when it is not installed."""
        found = self.package(name)
        return found.version if found else ""


def with_files(package: Package, pattern: str) -> bool:
    """Say whether a package has a library of that path (a glob)."""
    return any(fnmatchcase(one.path, pattern) for one in package.libraries)


def with_gpu_code(packages: Iterable[Package]) -> Iterator[tuple[Package, Library, LibraryFacts]]:
    """Yield every library that has GPU code, with its package."""
    for package in packages:
        for library in package.libraries:
            if library.facts and library.facts.modules:
                yield package, library, library.facts
