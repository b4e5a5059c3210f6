"""Reading an environment without importing anything of it: its Python's own words, metadata, the bytes of libraries."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

import msgspec
from packaging.requirements import InvalidRequirement
from packaging.utils import canonicalize_name

from retread import limits, pypa, strict
from retread.doors import proc
from retread.errors import RetreadError, UsageError
from retread.fit import linking
from retread.fit.catalogue import name_of
from retread.fit.environment import Interpreter, Package
from retread.fit.linking import Linker
from retread.wheel.contents import is_library
from retread.wheel.statement import STATEMENT

_PROGRAM: Final = """
import json, os, platform, sys, sysconfig
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
except (AttributeError, ValueError, OSError):
    libc = ""
free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
print("retread:" + json.dumps({
    "executable": sys.executable, "version": platform.python_version(),
    "abi": "cp%d%d%s" % (sys.version_info[:2] + ("t" if free else "",)), "machine": platform.machine(),
    "glibc": libc, "paths": [os.path.abspath(path) for path in sys.path if path],
}))
"""
_SKIPPED: Final = re.compile(r"nvidia-.*|triton|setuptools|pip")
"""NVIDIA's libraries hold many fat binaries for one GPU each and choose among them; these need none of torch."""
_CUDA: Final = re.compile(r"^cuda(?:: [^=]+)? = '([0-9]+\.[0-9]+)'", re.MULTILINE)


class Read(NamedTuple):
    """What was read of an environment, GPUs and imports left out."""

    interpreter: Interpreter
    packages: tuple[Package, ...]
    torch_cuda: str


class _Installed(NamedTuple):
    """A distribution's metadata."""

    root: Path
    folder: Path
    package: Package
    files: tuple[tuple[str, int], ...]
    """Path from the root and size of every file that RECORD lists; -1 where it states no size."""


def python(asked: Path | None, environment: Mapping[str, str]) -> Path:
    """Return the Python to look at: the one asked for, or of an environment's folder, else the activated one.

    UsageError when it is not there.
    """
    if asked is None:
        active = environment.get("VIRTUAL_ENV") or environment.get("CONDA_PREFIX")
        asked = (
            Path(active) if active else proc.find("python3", why="an environment is read through its Python")
        )
    program = asked / "bin" / "python" if asked.is_dir() else asked
    if not program.is_file():
        raise UsageError(
            f"there is no Python {program}", hint="name an environment's: --python VENV/bin/python"
        )
    return program.absolute()


def survey(program: Path, environment: Mapping[str, str]) -> Read:
    """Return what an environment has; UsageError when ``program`` is no Python."""
    interpreter = _interpreter(program, environment)
    installed = list(_installed(interpreter, _markers(interpreter)))
    roots = {one.package.name: one.root for one in installed}
    linker = linking.linker(roots.get("torch"), interpreter.machine, environment)
    packages = tuple(_with_libraries(one, linker) for one in installed)
    return Read(interpreter, packages, _torch_cuda(roots.get("torch")))


def _interpreter(program: Path, environment: Mapping[str, str]) -> Interpreter:
    try:
        done = proc.run(
            [program, "-c", _PROGRAM], env=environment, cwd=Path("/"), check=False, limit=limits.ANSWER
        )
    except RetreadError as error:
        raise UsageError(f"{program} cannot be asked: {error.message}") from None
    said = next((line for line in done.stdout.splitlines() if line.startswith("retread:")), "")
    if not said:
        told = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1][:200]
        raise UsageError(
            f"{program} does not answer as a Python does (exit code {done.code}): {told}",
            hint="name the Python of the environment: --python VENV/bin/python",
        )
    facts: dict[str, Any] = strict.json(said.removeprefix("retread:"))
    libc = re.fullmatch(r"glibc (\d+)\.(\d+).*", facts.pop("glibc"))
    glibc = (int(libc[1]), int(libc[2])) if libc else ()
    return msgspec.convert(
        facts | {"glibc": glibc, "paths": tuple(dict.fromkeys(facts["paths"]))}, Interpreter
    )


def _markers(interpreter: Interpreter) -> dict[str, str]:
    return {
        "python_version": ".".join(interpreter.version.split(".")[:2]),
        "python_full_version": interpreter.version,
        "platform_machine": interpreter.machine,
        "platform_system": "Linux",
        "sys_platform": "linux",
        "os_name": "posix",
        "extra": "",
    }


def _installed(interpreter: Interpreter, markers: dict[str, str]) -> Iterator[_Installed]:
    """Yield every distribution; of two of one name the one that is imported first."""
    seen: set[str] = set()
    for root in map(Path, interpreter.paths):
        folders: list[Path] = []
        with suppress(OSError):
            folders = sorted(one for one in root.iterdir() if one.name.endswith(".dist-info"))
        for folder in folders:
            one = _distribution(root, folder, markers)
            if one.package.name not in seen:
                seen.add(one.package.name)
                yield one


def _distribution(root: Path, folder: Path, markers: dict[str, str]) -> _Installed:
    name, _, version = folder.name.removesuffix(".dist-info").partition("-")
    requires: list[str] = []
    faults: list[str] = []
    try:
        header = HeaderParser().parsestr(_text(folder / "METADATA"))
        name, version = str(header["Name"] or name), str(header["Version"] or version)
        if not header["Name"] or not header["Version"]:
            faults.append("METADATA has no name or no version")
        requires = list(_requires([str(one) for one in header.get_all("Requires-Dist", [])], markers, faults))
    except (OSError, ValueError) as error:
        faults.append(f"METADATA cannot be read ({_why(error)})")
    files: tuple[tuple[str, int], ...] = ()
    try:
        files = tuple(_record(_text(folder / "RECORD")))
    except FileNotFoundError:  # it need not be there: some distributors install without one
        files = tuple(_found(root, name))
    except (OSError, ValueError, csv.Error) as error:
        faults.append(f"RECORD cannot be read ({_why(error)})")
    package = Package(
        name=canonicalize_name(name),
        version=version,
        requires=tuple(requires),
        mends=_mends(folder),
        fault="; ".join(faults),
    )
    return _Installed(root, folder, package, files)


def _text(path: Path) -> str:
    with path.open("rb") as stream:
        data = stream.read(limits.INSTALLED + 1)
    if len(data) > limits.INSTALLED:
        raise ValueError(f"larger than {limits.INSTALLED >> 20} MiB")
    return data.decode("utf-8")


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error).partition("\n")[0]


def _requires(texts: Iterable[str], markers: dict[str, str], faults: list[str]) -> Iterator[str]:
    for text in texts:
        try:
            one = pypa.requirement(text)
        except InvalidRequirement:
            faults.append(f"METADATA requires {text[:80]!r}, which is no requirement")
            continue
        if one.marker is None or one.marker.evaluate(markers):
            yield f"{one.name}{one.specifier}"


def _record(text: str) -> Iterator[tuple[str, int]]:
    for row in csv.reader(text.splitlines()):
        if row:
            yield row[0], int(row[2]) if len(row) > 2 and row[2].isdecimal() else -1


def _found(root: Path, name: str) -> Iterator[tuple[str, int]]:
    """Yield the libraries in the folder of a distribution's name, whose sizes nobody states."""
    top = root / canonicalize_name(name).replace("-", "_")
    for folder, _, files in os.walk(top):
        yield from (
            (Path(folder, one).relative_to(root).as_posix(), -1) for one in sorted(files) if is_library(one)
        )


def _mends(folder: Path) -> tuple[str, ...]:
    """Return which faults a wheel of ours has mended, by what it says of itself."""
    try:
        said = strict.json(_text(folder / STATEMENT))
        return tuple(name_of(one["name"]) for one in said["series"])
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def _with_libraries(one: _Installed, linker: Linker) -> Package:
    """Return a package with its libraries, if it has GPU code or links to torch."""
    if _SKIPPED.fullmatch(one.package.name):
        return one.package
    found, faults = [], [one.package.fault] if one.package.fault else []
    for name, size in one.files:
        if not is_library(name) or ".." in PurePosixPath(name).parts:
            continue
        library = linker.library(one.root, name, size, of_torch=one.package.name == "torch")
        if library.fault or linking.concerns(library):
            found.append(library)
    if not any(library.facts for library in found) and one.package.name != "torch":
        found = [library for library in found if library.fault]
    return msgspec.structs.replace(one.package, libraries=tuple(found), fault="; ".join(faults))


def _torch_cuda(root: Path | None) -> str:
    """Return the CUDA that an installed torch is built for, by its version.py."""
    if root is None:
        return ""
    try:
        match = _CUDA.search(_text(root / "torch" / "version.py"))
    except (OSError, ValueError):
        return ""
    return match[1] if match else ""
