"""What the machine gives to a build that no recipe pins: its C++ compiler and its Python, told apart exactly."""

from __future__ import annotations

import functools
import hashlib
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from retread import pypa, strict
from retread.doors import fs, proc
from retread.errors import CompileError, HostError, PlanError
from retread.records import Record, Sha256

_PROGRAMS = ("cc1plus", "cc1", "collect2", "as", "ld")
_LINKED = ("libc.so.6", "libm.so.6", "libstdc++.so", "libgcc.a", "libgcc_s.so.1", "crti.o", "crtbeginS.o")
"""What a cross compiler brings of the other machine and links; headers are noted one by one when they are read."""
PYTHON_FACTS = """
import json, sys, sysconfig
names = ("SOABI", "CC", "CXX", "CFLAGS", "OPT", "CCSHARED", "LDSHARED", "LDCXXSHARED", "LDFLAGS", "BASECFLAGS", "AR")
print(json.dumps({
    "executable": sys.executable, "prefix": sys.base_prefix,
    "version": sys.version, "number": "%d.%d" % sys.version_info[:2],
    "include": sysconfig.get_paths()["include"], "settings": {name: sysconfig.get_config_var(name) for name in names},
}))
"""
"""A program that prints what an interpreter says of itself, as JSON."""


class Compiler(Record, frozen=True, kw_only=True):
    """A C and C++ compiler; ``digest`` tells it from every other, with its assembler and linker.

    That of a cross compiler covers the libraries of the other machine that it links, too.
    """

    c: str
    cxx: str
    version: str
    digest: Sha256


class Python(Record, frozen=True, kw_only=True):
    """An interpreter that a wheel is built for; ``digest`` covers its version and its own build settings."""

    executable: str
    prefix: str
    version: str
    """``3.11.7``."""
    number: str
    """``3.11``."""
    digest: Sha256


def compiler(environment: Mapping[str, str], machine: str = "") -> Compiler:
    """Return the compiler: CC and CXX when they name programs, else gcc and g++; CompileError without one.

    For another ``machine`` (``aarch64``) it is a cross compiler: by default the one that Debian names after it.
    """
    import shutil

    crosses = machine not in {"", here()}
    before, of = (f"{machine}-linux-gnu-", f" for {machine}") if crosses else ("", "")
    package = f"g++-{machine.replace('_', '-')}-linux-gnu" if crosses else "g++"
    found = {}
    for variable, default in (("CC", "gcc"), ("CXX", "g++")):
        name = environment.get(variable) or before + default
        path = shutil.which(name, path=environment.get("PATH"))
        if path is None:
            raise CompileError(
                f"there is no C++ compiler{of}: {name} is not on the PATH",
                hint=f"install {before}gcc and {before}g++ (on Debian: apt-get install {package}), or set {variable}"
                " to one program",
            )
        found[variable] = str(Path(path).resolve())
    if crosses:
        _demand_target(found, machine, environment.get("PATH", ""))
    linked = _LINKED if crosses else ()
    return _compiler(found["CC"], found["CXX"], environment.get("PATH", ""), linked)


def _demand_target(found: Mapping[str, str], machine: str, path: str) -> None:
    """Raise CompileError when a compiler makes code for another machine than is asked for."""
    for variable, program in found.items():
        said = proc.run(
            [program, "-dumpmachine"], env={"PATH": path, "LC_ALL": "C"}, check=False
        ).stdout.strip()
        if not said.startswith(f"{machine}-"):
            raise CompileError(
                f"{variable}: {program} compiles for {said or 'nobody knows what'}, not for {machine}",
                hint=f"set CC and CXX to compilers for {machine}, or to none",
            )


@functools.lru_cache
def _compiler(c: str, cxx: str, path: str, linked: tuple[str, ...] = ()) -> Compiler:
    import shutil

    env = {"PATH": path, "LC_ALL": "C"}
    version = proc.run([cxx, "--version"], env=env).stdout.partition("\n")[0]
    parts = [version, fs.sha256(Path(c)), fs.sha256(Path(cxx))]
    for program in _PROGRAMS:
        said = proc.run([cxx, f"-print-prog-name={program}"], env=env, check=False).stdout.strip()
        where = shutil.which(said, path=path)
        parts.append(fs.sha256(Path(where)) if where else "")
    for name in linked:
        file = Path(proc.run([cxx, f"-print-file-name={name}"], env=env, check=False).stdout.strip())
        parts.append(fs.sha256(file) if file.is_file() else "")
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return Compiler(c=c, cxx=cxx, version=version, digest=Sha256(digest))


def here() -> str:
    """Return the processor of this machine, as platforms of Linux's are called: ``x86_64``."""
    return platform.machine()


def python(wanted: str, asked: str | None, environment: Mapping[str, str]) -> Python:
    """Return the interpreter to build for: the one asked for, else retread's own, else what uv finds in the range.

    ``wanted`` is a version range, ``asked`` a version like ``3.12`` or a path. PlanError when there is none.
    """
    fits = pypa.specifiers(wanted)
    if not asked and fits.contains(_number(sys.version_info)):
        return _python(sys.executable)
    there = _found(asked or wanted, environment)
    if not there:
        built = f"; the recipe builds for {wanted}" if asked else ", for which the recipe builds"
        raise PlanError(
            f"there is no Python {asked or wanted} here{built}", hint="install one, or give --python a path"
        )
    found = _python(there)
    if not fits.contains(found.version):
        raise PlanError(f"{found.executable} is Python {found.version}, and the recipe builds for {wanted}")
    return found


def find_python(wanted: str, environment: Mapping[str, str]) -> str:
    """Return the path of a Python of this machine, by its version; HostError when there is none."""
    there = _found(wanted, environment)
    if not there:
        raise HostError(
            f"there is no Python {wanted} here", hint="install one, or name an environment: --python"
        )
    return there


def _found(wanted: str, environment: Mapping[str, str]) -> str:
    """Return the path of the Python that uv finds for a version, a range or a path; nothing when there is none."""
    uv = proc.find("uv", why="it finds the Python of a wheel")
    command: list[str | Path] = [
        uv,
        "python",
        "find",
        "--system",
        "--no-python-downloads",
        "--no-config",
        wanted,
    ]
    said = proc.run(command, env=environment, check=False)
    return "" if said.code else said.stdout.strip()


def has_gpu() -> bool:
    """Say whether there is a driver for NVIDIA GPUs."""
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


def _number(version: tuple[int | str, ...]) -> str:
    return ".".join(map(str, version[:3]))


@functools.lru_cache
def _python(program: str) -> Python:
    from json import dumps

    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    said = strict.json(proc.run([program, "-I", "-c", PYTHON_FACTS], env=env).stdout)
    base = Path(said["prefix"]) / "bin" / f"python{said['number']}"
    executable = str(base if base.exists() else said["executable"])
    if not (Path(said["include"]) / "Python.h").is_file():
        raise CompileError(
            f"{executable} has no headers: there is no {said['include']}/Python.h",
            hint="install them (on Debian: apt-get install python3-dev)",
        )
    settings = dumps([said["version"], said["settings"]], sort_keys=True)
    return Python(
        executable=executable,
        prefix=said["prefix"],
        version=said["version"].split()[0],
        number=said["number"],
        digest=Sha256(hashlib.sha256(settings.encode()).hexdigest()),
    )
