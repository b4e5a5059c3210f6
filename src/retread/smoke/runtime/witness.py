"""What a case read, so that what it found can be taken again while none of that has changed.

Python tells of every file that it opens and of every program that it starts (PEP 578), the kernel of every library
that is mapped. What nobody can tell of, like the reads of a forked process, is said, too: such a case is tried every
time. What a suite reads before it imports ``harness`` is seen as far as it is modules.

It lies beside the suites: standard library only, Python 3.9 and newer.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

_PROGRAMS = {"os.exec": 0, "os.posix_spawn": 0, "os.spawn": 1}
"""Events that tell of a program, and at which place of what they tell."""
_BLIND = {
    "os.fork": "it forks",
    "os.forkpty": "it forks",
    "os.system": "it starts a shell",
    "socket.connect": "it reaches a network",
}
"""Events after which nobody knows what is read."""
_MAPPED = re.compile(r"^\S+ \S+ \S+ \S+ \S+ +(/.*)$", re.MULTILINE)
_FOLDERS = {"os.listdir", "os.scandir"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Witness:
    """Notes what this process reads; each thing is told once."""

    def __init__(self) -> None:
        self._new: dict[str, list[str]] = {"files": [], "folders": [], "programs": []}
        self._seen: set[tuple[str, str]] = set()
        self._blind = ""
        self._forgot = ""
        self._deaf = False
        self._asked: dict[str, Any] | None = None

    def watch(self) -> None:
        """Note from now on what is read; of what was imported before, the files are known."""
        for module in list(sys.modules.values()):
            self._note("files", getattr(module, "__file__", None))
        sys.addaudithook(self.heard)

    def heard(self, event: str, arguments: Sequence[Any]) -> None:
        """Take what Python tells of an event."""
        if event == "open":
            path, _, flags = arguments
            if not (isinstance(flags, int) and flags & _WRITES):
                self._note("files", path)
        elif event in _FOLDERS:
            self._note("folders", "." if arguments[0] is None else arguments[0])
        elif event == "subprocess.Popen" and not self._deaf:
            program, words = arguments[:2]
            if program is None:
                program = words if isinstance(words, (str, bytes, os.PathLike)) else words[0]
            self._note("programs", program)
        elif event == "ctypes.dlopen" and os.path.isabs(os.fsdecode(arguments[0] or "")):
            self._note("files", arguments[0])
        elif event in _PROGRAMS:
            self._note("programs", arguments[_PROGRAMS[event]])
        elif event in _BLIND:
            self._blind = self._blind or _BLIND[event]

    def _note(self, kind: str, path: Any) -> None:
        """Keep a path; a number is a file that is open already."""
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        name = os.fsdecode(path)
        if kind != "programs":  # those are looked for on the PATH
            name = os.path.abspath(name)
        if (kind, name) not in self._seen:
            self._seen.add((kind, name))
            self._new[kind].append(name)

    def forget(self, folder: str) -> None:
        """Take note that nothing that was read below a folder has a part in what comes."""
        self._forgot = os.path.join(folder, "")
        self._seen = {(kind, path) for kind, path in self._seen if not path.startswith(self._forgot)}

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Do not note the program that is started meanwhile: it tells itself what it reads (``heed``)."""
        self._deaf = True
        try:
            yield
        finally:
            self._deaf = False

    def heed(self, told: Mapping[str, Any]) -> None:
        """Take what another process read, which counts for the case that asked it and for no other."""
        before = self._asked or {"files": [], "folders": [], "programs": [], "blind": ""}
        self._asked = {name: before[name] + told[name] for name in before}

    def told(self) -> dict[str, Any]:
        """Return what was read since this was asked last: ``files``, ``folders``, ``programs``, and ``blind``.

        ``forgot`` is a folder of which what was told before counts no longer, ``asked`` what other processes read.
        """
        for path in mapped():
            self._note("files", path)
        found: dict[str, Any] = {
            **self._new,
            "files": [*map(_source, self._new["files"])],
            "blind": self._blind,
        }
        found |= {"forgot": self._forgot} if self._forgot else {}
        found |= {"asked": self._asked} if self._asked else {}
        self._new, self._forgot, self._asked = {kind: [] for kind in self._new}, "", None
        return found


def _source(path: str) -> str:
    """Return the file that bytecode was made of."""
    if path.endswith(".pyc") and os.path.basename(os.path.dirname(path)) == "__pycache__":
        return importlib.util.source_from_cache(path)
    return path


def mapped() -> set[str]:
    """Return the files that are mapped into this process, libraries above all; none where the kernel does not tell."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as stream:
            return set(_MAPPED.findall(stream.read()))
    except OSError:
        return set()


def main(path: str, code: str) -> None:
    """Run Python code as ``python -c`` does, and write what this process read to a file."""
    witness = Witness()
    witness.watch()
    sys.path[0] = ""
    try:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    finally:
        told = witness.told()
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as stream:
            json.dump(told, stream)


if __name__ == "__main__":
    main(*sys.argv[1:3])
