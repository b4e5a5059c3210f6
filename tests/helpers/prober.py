"""A program that tries what no build and no test may do, and prints what it reached, as JSON."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECRET = "s3cret-key"

_PROGRAM = """
import contextlib, glob, json, os, socket, subprocess, sys
told = json.loads({told!r})
found = {{}}
def probe(name, ask):
    try:
        found[name] = ask()
    except Exception as error:
        found[name] = type(error).__name__ + " " + str(getattr(error, "errno", ""))
def read(paths):
    every = b""
    for path in paths:
        with contextlib.suppress(OSError), open(path, "rb") as stream:
            every += stream.read()
    return told["secret"] in every.decode("utf-8", "replace")
def put(path):
    with open(path, "w") as stream:
        stream.write("x")
def fill():
    free = os.statvfs("/tmp")
    bytes = free.f_blocks * free.f_frsize
    with open("/tmp/full", "wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, 4096)
        os.posix_fallocate(stream.fileno(), 0, bytes + (1 << 20))
def rights():
    return [line.split()[1].strip("0") for line in open("/proc/self/status") if line.startswith("Cap")]
def reach():
    with socket.socket() as one:
        one.settimeout(5)
        one.connect((told["host"], told["port"]))
probe("own environment", lambda: told["secret"] in str(dict(os.environ)))
probe("environments", lambda: read(glob.glob("/proc/*/environ")))
probe("home", lambda: read([told["key"], os.path.expanduser("~/key")]))
for name in ("store", "project", "packages"):
    probe("write " + name, lambda: put(told[name] + "/evil"))
probe("write root", lambda: put("/evil"))
probe("network", reach)
def others():
    words = {{one: open(one).read().strip("\\0").split("\\0") for one in glob.glob("/proc/[0-9]*/cmdline")}}
    return [one for one in words if told["marker"] in (words[one][0], words[one][-1])]
probe("processes", others)
probe("rights", rights)
probe("mount", lambda: subprocess.run(["mount", "-t", "tmpfs", "x", "/usr"], capture_output=True).returncode != 0)
probe("fill /tmp", fill)
with contextlib.suppress(OSError):
    os.unlink("/tmp/full")
loop = "import signal, sys; sys.argv; signal.pause()"
subprocess.Popen([sys.executable, "-c", loop, told["left"]], start_new_session=True,
                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print("PROBED " + json.dumps(found), flush=True)
"""

HELD: dict[str, Any] = {
    "own environment": False,
    "environments": False,
    "home": False,
    "processes": [],
    "rights": ["", "", "", "", ""],
    "mount": True,
}
"""What a probe finds that reached nothing; for the others see ``refused``."""


def program(told: Mapping[str, object]) -> str:
    """Return the program; ``told`` names what it looks for."""
    return _PROGRAM.format(told=json.dumps({"secret": SECRET, **told}))


def found(text: str) -> dict[str, Any]:
    """Return what a probe printed somewhere in a text."""
    [line] = [one for one in text.splitlines() if one.startswith("PROBED ")]
    return dict(json.loads(line.removeprefix("PROBED ")))


def assert_held(seen: dict[str, Any], *folders: Path) -> None:
    """Assert that nothing was reached; ``folders`` are the store and the project, where nothing may lie now."""
    for name, value in HELD.items():
        assert seen.pop(name) == value, name
    assert seen.pop("fill /tmp") == f"OSError {errno.ENOSPC}"
    assert seen.pop("network").split(" ")[0] in {"OSError", "ConnectionRefusedError"}
    assert seen.pop("write packages") == seen.pop("write root") == f"OSError {errno.EROFS}"
    # Of a folder below /tmp the names may be there, in the /tmp of the probe's own.
    assert [one for one in folders if (one / "evil").exists()] == []
    for name in ("write store", "write project"):
        assert seen.pop(name) in {None, f"FileNotFoundError {errno.ENOENT}"}
    assert seen == {}


def running(word: str) -> list[str]:
    """Return the processes of this machine that have a word among their arguments."""
    told = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word in path.read_text("utf-8", "replace").split("\0"):
                told.append(path.parent.name)
        except OSError:
            continue
    return told
