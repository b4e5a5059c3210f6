"""What goes ahead while a build starts: ninja as it was called last, and the build's own call waits for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

NINJA = """\
#!/bin/sh
echo "begin $* $FLAVOUR"
[ "$1" != --hang ] || exec sleep 1000
echo "end $*"
"""


class Build:
    """A tree with a ninja that only says what it does, and builds that call it."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "source" / "build" / "temp.linux"
        self.folder.mkdir(parents=True)
        (self.folder / "build.ninja").touch()
        self.note = root / "ninja.json"
        script = resources.files("retread.compile.inside").joinpath("ahead.py").read_text("utf-8")
        self.program = root / "bin" / "ahead"
        for path, text in (
            (self.program, f"#!{sys.executable} -IS\n{script}"),
            (root / "bin" / "ninja", f"#!{sys.executable} -IS\n{script}"),
            (root / "real" / "ninja", NINJA),
        ):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        self.environment = {
            "PATH": f"{root}/bin:/usr/bin:/bin", "RETREAD_NINJA": str(self.note),
            "RETREAD_REAL_NINJA": f"{root}/real/ninja",
        }  # fmt: skip

    def run(self, command: str, *, ahead: bool = False, code: int = 0) -> list[str]:
        """Run a build, and return what was said."""
        words = ["sh", "-c", command]
        whole = [str(self.program), str(self.note), *words] if ahead else words
        done = subprocess.run(
            whole,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == code
        return done.stdout.splitlines()


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path)


def test_the_last_call_goes_ahead_as_it_was_and_the_next_waits_for_it(build: Build) -> None:
    assert build.run("ninja --version; FLAVOUR=x ninja -v") == [
        "begin --version ", "end --version", "begin -v x", "end -v",
    ]  # fmt: skip
    noted = json.loads(build.note.read_text())
    assert (noted["folder"], noted["words"], noted["environment"]["FLAVOUR"]) == (
        str(build.folder),
        ["-v"],
        "x",
    )
    assert build.run("ninja -v again", ahead=True) == [
        "begin -v x",
        "end -v",
        "begin -v again ",
        "end -v again",
    ]


def test_without_a_call_or_its_folder_the_build_runs_alone(build: Build) -> None:
    assert build.run("echo built", ahead=True, code=0) == ["built"]
    build.run("ninja -v")
    (build.folder / "build.ninja").unlink()
    assert build.run("echo built; exit 3", ahead=True, code=3) == ["built"]


def test_a_call_elsewhere_is_not_noted(build: Build) -> None:
    assert build.run("cd / && ninja install") == ["begin install ", "end install"]
    assert not build.note.exists()


def test_what_a_build_did_not_wait_for_ends_with_it(build: Build) -> None:
    build.note.write_text(
        json.dumps({"folder": str(build.folder), "words": ["--hang"], "environment": dict(os.environ)})
    )
    assert build.run("exit 2", ahead=True, code=2) in (["begin --hang "], [])
