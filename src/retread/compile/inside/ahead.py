"""Goes ahead with what ninja compiled last, while the build that will ask for it still starts.

A build imports torch before it calls ninja, and where only files changed that were compiled in, its call will be that
of last time. One program under two names. As ``ninja`` it notes a call and waits for the one that goes ahead: then
there is nothing left to do, or what ninja itself finds, which compares commands and times as ever. As anything else it
begins the noted call and runs the build:

    ahead.py NOTE COMMAND...
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys

NOTE = "RETREAD_NINJA"
"""The variable that names the file with the last call; beside it lies what holds other calls back."""
FOLDER = "/build/temp"
"""Where setuptools lets ninja run: in a folder of the tree that begins like this. Others do more than compile there."""


def main() -> int:
    """Be ninja, or run a build."""
    if os.path.basename(sys.argv[0]) == "ninja":
        return _ninja(sys.argv[1:])
    note, *command = sys.argv[1:]
    running = _begun(note)
    code = subprocess.call(command)
    if running and running.poll() is None:
        running.terminate()
        running.wait()
    return code if code >= 0 else 128 - code


def _ninja(words: list[str]) -> int:
    real = os.environ["RETREAD_REAL_NINJA"]
    note = os.environ[NOTE]
    if FOLDER in os.getcwd() and "--version" not in words:
        with open(f"{note}.new", "w", encoding="utf-8") as file:
            json.dump({"folder": os.getcwd(), "words": words, "environment": dict(os.environ)}, file)
        os.replace(f"{note}.new", note)
        _hold(note)
    os.execv(real, [real, *words])


def _begun(note: str) -> subprocess.Popen[bytes] | None:
    """Begin the last call, with the variables of that, but for those that this build has itself."""
    try:
        with open(note, encoding="utf-8") as file:
            last = json.load(file)
        if not os.path.exists(os.path.join(last["folder"], "build.ninja")):
            return None
    except (OSError, ValueError):
        return None
    held = _hold(note)
    real = os.environ["RETREAD_REAL_NINJA"]
    environment = {**last["environment"], **os.environ}
    running = subprocess.Popen(
        [real, *last["words"]],
        cwd=last["folder"],
        env=environment,
        pass_fds=(held,),
        stdin=subprocess.DEVNULL,
    )
    os.close(held)
    return running


def _hold(note: str) -> int:
    """Wait until no other call runs, and return what keeps others waiting as long as it, or a child's, is open."""
    held = os.open(f"{note}.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    fcntl.flock(held, fcntl.LOCK_EX)
    os.set_inheritable(held, True)
    return held


if __name__ == "__main__":
    sys.exit(main())
