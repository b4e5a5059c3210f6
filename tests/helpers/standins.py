"""Compilers that ask a jobserver for leave: one that only talks, and the real stand-in before a scripted compiler."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from retread.compile.jobserver import State

SOUND = 'for one; do [ "$last" = -o ] && echo object >"$one"; last=$one; done; echo compiled'
"""What a compiler does that writes its object."""


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until a condition holds, and fail when it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.005)


class States(list[State]):
    """What a jobserver told of its state."""

    @property
    def now(self) -> tuple[tuple[str, ...], int]:
        """The units that run, sorted, and the number of those that wait."""
        return tuple(sorted(self[-1].running)) if self else (), self[-1].waiting if self else 0


class Talker:
    """A compiler as the jobserver sees it: asks on connecting."""

    def __init__(self, server: Path, source: Path, tool: str = "nvcc") -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        try:
            self._socket.connect(str(server))
        except OSError:
            self._socket.close()
            raise
        self._talk = self._socket.makefile("rw", encoding="utf-8")
        out = f"{source}.o"
        self.tell(
            {
                "source": str(source),
                "output": out,
                "depfile": f"{out}.d",
                "tool": tool,
                "folder": str(source.parent),
            }
        )

    def tell(self, what: Mapping[str, Any]) -> None:
        """Send one line of JSON."""
        print(json.dumps(what), file=self._talk, flush=True)

    def hear(self) -> str:
        """Return the next word of the jobserver; nothing when it hung up."""
        return self._talk.readline().strip()

    def end(self, code: int = 0, said: str = "", seconds: float = 1) -> str:
        """Say how the compile ended, and return the answer."""
        self.tell({"code": code, "seconds": seconds, "said": said, "command": ["real", "x"] if code else []})
        return self.hear()

    def close(self) -> None:
        """Hang up."""
        self._talk.close()
        self._socket.close()


def put_host(path: Path, real: Path) -> None:
    """Put the script that stands before a host compiler, as a build's room gets it."""
    text = resources.files("retread.compile.inside").joinpath("host.sh").read_text("utf-8")
    path.write_text(text.replace("@REAL@", str(real)).replace("@DIGEST@", "0"))
    path.chmod(0o755)


class Bench:
    """A folder with stand-ins for compilers, the scripts behind them, and the file that ties them together."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.server = root / "s"
        self.source = root / "source"
        self.control: dict[str, Any] = {
            "socket": str(self.server),
            "tools": {},
            "hosts": {},
            "bin": str(root / "bin"),
            "launcher": [],
            "prefixes": {},
            "seed": False,
        }
        for name in ("bin", "host", "real", "source"):
            (root / name).mkdir()
        for name in ("nvcc", "gcc", "g++", "cc", "c++"):
            self.script(name)
            if name != "nvcc":
                self.control["hosts"][name] = str(root / "host" / name)
                put_host(root / "host" / name, root / "real" / name)

    def real_host(self, name: str, program: str) -> None:
        """Let a stand-in, and whoever asks for a host compiler, run a real one behind the script that notes."""
        put_host(self.root / "host" / name, Path(program))
        self.control["tools"][name] = self.control["hosts"][name]

    def script(self, tool: str, body: str = SOUND) -> None:
        """Put a shell script behind a stand-in; it notes its arguments first."""
        real = self.root / "real" / tool
        real.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >{self.root}/arguments\n{body}\n")
        real.chmod(0o755)
        self.control["tools"][tool] = str(real)
        program = resources.files("retread.compile.inside").joinpath("compiler.py").read_text("utf-8")
        stand_in = self.root / "bin" / tool
        stand_in.write_text(f"#!{sys.executable} -IS\n{program}")
        stand_in.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """What a stand-in needs in its environment; writes the control file as it now stands."""
        control = self.root / "control.json"
        control.write_text(json.dumps(self.control))
        return {"RETREAD_CONTROL": str(control), "PATH": "/usr/bin:/bin"}

    def run(self, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a stand-in in the source folder."""
        return subprocess.run(
            [self.root / "bin" / tool, *arguments],
            cwd=self.source,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def given(self) -> list[str]:
        """Return the arguments that the real compiler got last; none when it did not run."""
        noted = self.root / "arguments"
        return noted.read_text().splitlines() if noted.exists() else []
