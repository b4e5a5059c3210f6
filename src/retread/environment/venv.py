"""Stage *environment*: what a build may import, exactly as the lock pins it, installed by uv, nothing of it built."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from platform import machine as processor

from retread import pypa
from retread.doors import fs, proc
from retread.doors.machine import Machine
from retread.doors.net.settings import Settings
from retread.doors.proc import Finished
from retread.doors.store import Kind
from retread.environment.host import Python
from retread.errors import FetchError

VENV = "venv"


def stored(machine: Machine, key: str, title: str, install: Callable[[Path, Path], None]) -> Path:
    """Return the environment of ``key`` from the store; without one, ``install`` makes it, a step called ``title``.

    It is given the folder in which it makes ``venv``, and one for uv's cache, which goes when the environment is there.
    """

    def build(into: Path) -> None:
        cache = machine.store.root / "uv" / key
        with machine.console.step(title):
            install(into, cache)
        fs.remove(cache)

    return machine.store.make(Kind.ENVIRONMENTS, key, build) / VENV


def index_options(settings: Settings) -> list[str]:
    """Return the user's own index settings as options of uv, but for the addresses: ``index_variables``.

    All indexes count alike, as they do for pip, whose settings these may be; what is installed is pinned by hash.
    """
    options = ["--no-config", "--index-strategy", "unsafe-best-match"]
    for folder in settings.folders:
        options += ["--find-links", str(folder)]
    return options if settings.indexes else [*options, "--no-index"]


def index_variables(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which uv has the user's index addresses, and nothing else of its own.

    They may hold passwords, and arguments can be read by every user of a machine.
    """
    env = {
        name: value
        for name, value in environment.items()
        if not name.startswith(("UV_", "PIP_", "VIRTUAL_ENV"))
    }
    if settings.indexes:
        env |= {"UV_DEFAULT_INDEX": settings.indexes[0], "UV_INDEX": " ".join(settings.indexes[1:])}
    if isinstance(settings.verify, str):
        env["SSL_CERT_FILE"] = settings.verify
    return env


def install(
    lock: Path, python: str, into: Path, *, cache: Path, settings: Settings, environment: Mapping[str, str]
) -> None:
    """Make ``into/venv`` from a lock with hashes; FetchError with what uv says when a file cannot be had."""
    done = _install(
        ["--require-hashes", "--requirements", lock], python, into, cache, settings, environment=environment
    )
    _demand(done, lock)


def lay_out(
    lock: Path,
    python: Python,
    platform: str,
    into: Path,
    *,
    cache: Path,
    settings: Settings,
    environment: Mapping[str, str],
) -> None:
    """Make ``into/venv`` from a lock for a Python that is not here: its packages, its programs, a link to it.

    ``platform`` is the newest manylinux that wheels may be for. FetchError as from ``install``.
    """
    venv = into / VENV
    packages = venv / "lib" / f"python{python.number}" / "site-packages"
    packages.mkdir(parents=True)
    command: list[str | Path] = [proc.find("uv", why="it makes environments"), "pip", "install", "--quiet"]
    command += ["--target", packages, "--python-version", python.version]
    command += ["--python-platform", f"{processor()}-{platform}", "--python", sys.executable]
    command += [
        "--require-hashes",
        "--requirements",
        lock,
        "--only-binary",
        ":all:",
        *index_options(settings),
    ]
    _demand(proc.run(command, env=_environment(cache, settings, environment), check=False), lock)
    (packages / "bin").mkdir(exist_ok=True)
    (venv / "bin").symlink_to(packages.relative_to(venv) / "bin")
    (packages / "bin" / "python").symlink_to(python.executable)


def _demand(done: Finished, lock: Path) -> None:
    if done.code:
        raise FetchError(
            f"the build environment of {lock.stem} could not be installed",
            faults=_said(done),
            hint="check the index settings and the network; if a file is gone, make the lock anew"
            " (retread recipe lock)",
        )


def gather(
    requires: Sequence[str],
    python: str,
    into: Path,
    *,
    cache: Path,
    settings: Settings,
    environment: Mapping[str, str],
    alone: bool = False,
) -> None:
    """Make ``into/venv`` with what a trial needs, as the index has it today; FetchError when it has it not.

    With ``alone``, nothing that the requirements themselves require is installed.
    """
    wanted = [*(["--no-deps"] if alone else []), *requires]
    done = _install(wanted, python, into, cache, settings, environment=environment)
    if done.code:
        raise FetchError(
            f"{', '.join(requires)} could not be installed",
            faults=_said(done),
            hint="check the index settings and the network, or name an environment that has it (--python)",
        )


def _install(
    wanted: Sequence[str | Path],
    python: str,
    into: Path,
    cache: Path,
    settings: Settings,
    *,
    environment: Mapping[str, str],
) -> Finished:
    """Make ``into/venv`` and install wheels into it, by uv with the user's indexes and a cache of its own."""
    uv = proc.find("uv", why="it makes environments")
    env = _environment(cache, settings, environment)
    venv = into / VENV
    proc.run([uv, "venv", "--quiet", "--no-config", "--relocatable", "--python", python, venv], env=env)
    command: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", venv / "bin" / "python"]
    command += ["--only-binary", ":all:", *index_options(settings), *wanted]
    return proc.run(command, env=env, check=False)


def _environment(cache: Path, settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    return index_variables(settings, environment) | {
        "UV_CACHE_DIR": str(cache),
        "UV_LINK_MODE": "hardlink",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
    }


def _said(done: Finished) -> list[str]:
    return [line.strip() for line in done.stderr.splitlines() if line.strip()][:12]


def resolve(
    requires: Sequence[str], python: str, *, settings: Settings, environment: Mapping[str, str], scratch: Path
) -> str:
    """Return a lock of ``requires`` for every Python of the range ``python``: all files by hash.

    ToolError with what the resolver says when there is no solution.
    """
    uv = proc.find("uv", why="it resolves what a build needs")
    wanted, lock = scratch / "requires.in", scratch / "lock.txt"
    wanted.write_text("\n".join(requires) + "\n", "utf-8")
    command: list[str | Path] = [
        uv,
        "pip",
        "compile",
        "--quiet",
        "--universal",
        "--python-version",
        _oldest(python),
    ]
    command += [
        "--generate-hashes",
        "--no-header",
        "--no-annotate",
        "--only-binary",
        ":all:",
        wanted,
        "-o",
        lock,
    ]
    proc.run([*command, *index_options(settings)], env=index_variables(settings, environment))
    return lock.read_text("utf-8")


def _oldest(python: str) -> str:
    """Return the first minor version that a range allows: ``>=3.10,<3.15`` is 3.10."""
    fits = pypa.specifiers(python)
    return next(f"3.{minor}" for minor in range(9, 100) if fits.contains(f"3.{minor}.99"))
