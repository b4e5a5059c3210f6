"""Real installers, each of a version of its own, that see the index under test and nothing else of the world."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from packaging.version import Version

from retread.doors.net import settings
from retread.environment import venv

UV = Path(sys.executable).with_name("uv")
NOWHERE = "http://127.0.0.1:9"
"""A proxy that answers nobody."""
PROJECT = """[project]
name = "trial"
version = "1"
requires-python = "==3.{minor}.*"
dependencies = {wanted}
"""
POETRY = """
[tool.poetry]
package-mode = false
"""
POETRY_SOURCE = """
[[tool.poetry.source]]
name = "{name}"
url = "{url}"
priority = "{priority}"
"""


class Done(NamedTuple):
    """What an installer did."""

    code: int
    output: str
    """All that it said, in one line, because they break lines where they like."""
    installed: dict[str, str]
    """Project -> version."""

    @property
    def refused(self) -> bool:
        """Whether it installed nothing and said so."""
        return self.code != 0 and not self.installed


class Client(NamedTuple):
    """An installer in an environment of its own."""

    name: str
    version: Version
    bin: Path

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def since(self, version: str) -> bool:
        """Say whether it is this version or a newer one."""
        return self.version >= Version(version)

    def command(self) -> list[str]:
        """Return the beginning of its command lines."""
        if self.name == "pip":
            return [str(self.bin / "python"), "-m", "pip"]
        return [str(self.bin / self.name)]


def get(wanted: str, folder: Path) -> Client:
    """Install an installer from the user's own index: ``uv==0.9.30``, or ``uv`` for the newest."""
    mine = settings.settings(os.environ)
    indexes, env = venv.index_options(mine), venv.index_variables(mine, os.environ)
    quiet: list[str | Path] = [UV, "--quiet", "--no-config", "--cache-dir", folder.with_name("cache")]
    subprocess.run([*quiet, "venv", "--python", sys.executable, folder], env=env, check=True)
    python = folder / "bin" / "python"
    install = ["pip", "install", "--only-binary", ":all:", "--python", str(python)]
    subprocess.run([*quiet, *install, *indexes, wanted], env=env, check=True)
    name = wanted.partition("=")[0]
    [found] = folder.glob(f"lib/python*/site-packages/{name}-*.dist-info")
    return Client(name, Version(_version(found)), folder / "bin")


class Trial:
    """One installer in an empty folder: a fresh home, fresh caches, a fresh environment to install into."""

    def __init__(self, client: Client, folder: Path) -> None:
        self.client = client
        self.folder = folder
        self.venv = folder / "venv"
        self.settings: dict[str, str] = {}
        """More variables of the environment."""
        self._count = 0

    def install(self, *wanted: str, index: str, public: str = "", options: Sequence[str] = ()) -> Done:
        """Install into an empty environment from an index, and from a second one if there is a ``public`` one."""
        self.empty()
        if self.client.name == "poetry":
            self.poetry_project(wanted, index=index, public=public)
            return self.run("install", "--no-root")
        return self.run(*self.line(), *self.indexes(index, public), *options, *wanted)

    def line(self) -> list[str]:
        """Return the command that installs, without indexes and requirements."""
        if self.client.name == "uv":
            return ["pip", "install", "--python", str(self.venv)]
        return ["install", "--only-binary", ":all:", "--target", str(self.site)]

    def indexes(self, index: str, public: str = "") -> list[str]:
        """Return the options that name the indexes, the private one first as each of them understands it."""
        if self.client.name == "uv":
            return ["--index", index, "--default-index", public] if public else ["--default-index", index]
        return ["--index-url", index, *(["--extra-index-url", public] if public else [])]

    @property
    def site(self) -> Path:
        """Where wheels are installed."""
        return self.venv / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"

    def project(self, wanted: Sequence[str], more: str = "") -> None:
        """Write a pyproject.toml."""
        quoted = str(list(wanted)).replace("'", '"')
        text = PROJECT.format(minor=sys.version_info.minor, wanted=quoted) + more
        (self.folder / "pyproject.toml").write_text(text)

    def poetry_project(
        self, wanted: Sequence[str], *, index: str, public: str = "", bound: bool = False
    ) -> None:
        """Write a pyproject.toml with sources; ``bound`` names the private one for each requirement."""
        sources = [("private", index, "explicit" if bound else "primary")]
        sources += [("public", public, "primary" if bound else "supplemental")] if public else []
        more = "".join(f'{one} = {{ source = "private" }}\n' for one in wanted) if bound else ""
        more = POETRY + ("[tool.poetry.dependencies]\n" + more if more else "")
        shown = (POETRY_SOURCE.format(name=name, url=url, priority=kind) for name, url, kind in sources)
        self.project(wanted, more + "".join(shown))

    def run(self, *arguments: str | Path) -> Done:
        """Run the installer; what it installed is found in the environment."""
        line = [*self.client.command(), *map(str, arguments)]
        done = subprocess.run(
            line,
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        return Done(done.returncode, " ".join(f"{done.stdout} {done.stderr}".split()), self._installed())

    def empty(self) -> None:
        """Begin with an empty environment."""
        self._count += 1
        (self.folder / "poetry.lock").unlink(missing_ok=True)
        self.venv = self.folder / f"venv{self._count}"
        if self.client.name == "pip":
            return  # it installs into a folder: started from a venv for another it would start twice
        make = [UV, "--quiet", "--no-config", "venv", "--python", sys.executable, self.venv]
        subprocess.run(make, check=True)

    def _installed(self) -> dict[str, str]:
        found = self.site.glob("*.dist-info")
        return {path.name.partition("-")[0].replace("_", "-"): _version(path) for path in found}

    def _environment(self) -> dict[str, str]:
        """Return an environment without the user's settings, from which only 127.0.0.1 can be reached."""
        home = self.folder / "home"
        return {
            "PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8", "TERM": "dumb", "COLUMNS": "200",
            "NO_COLOR": "1", "HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "ALL_PROXY": NOWHERE,
            "NO_PROXY": "127.0.0.1", "VIRTUAL_ENV": str(self.venv),
            "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1",
            "PIP_RETRIES": "0", "UV_NO_CONFIG": "1", "UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never",
            "UV_HTTP_RETRIES": "0", "UV_PROJECT_ENVIRONMENT": str(self.venv),
            "POETRY_NO_INTERACTION": "1", "POETRY_VIRTUALENVS_CREATE": "false", "POETRY_SOLVER_LAZY_WHEEL": "false",
            **self.settings,
        }  # fmt: skip


def _version(dist_info: Path) -> str:
    return dist_info.name.removesuffix(".dist-info").partition("-")[2]
