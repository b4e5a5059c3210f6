"""The bytecode of a build environment: made once, of what a build imported, since no build may write there.

uv leaves it out, and that of all of torch would take a minute. Without it every build compiles in memory what it
imports. It decides nothing: Python takes it for the very source alone that it was made of, by time and size.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Final

from retread.doors import proc
from retread.environment.host import Python
from retread.errors import ToolError

_PAUSE: Final = 1.0
"""Seconds between two looks at the list: torch is imported for several, and meanwhile another core is idle."""


@contextmanager
def kept(environment: Path, seen: str, executed: Path, python: Python, scratch: Path) -> Iterator[None]:
    """Compile what a build imports of its environment, beside the build, until the block ends.

    ``executed`` lists the Python files that it runs, as it sees them: those of the environment where they are, or at
    ``seen``. What cannot be compiled is left as it is, and so is an environment of a Python that is not here.
    """
    program, over = environment / "bin" / "python", threading.Event()

    def keep() -> None:
        tried: set[Path] = set()
        last = False
        while not last:
            last = over.wait(_PAUSE)
            with suppress(OSError, ToolError):
                found = set(lacking(environment, seen, executed, python.number)) - tried
                tried |= found
                if found:
                    (scratch / "imported").write_text("".join(f"{one}\n" for one in found), "utf-8")
                    command: list[str | Path] = [program, "-IS", "-m", "compileall", "-qq"]
                    command += ["-s", environment, "-p", seen, "-i", scratch / "imported"]
                    proc.run(command, env={"LC_ALL": "C.UTF-8"}, check=False)

    working = threading.Thread(target=keep, daemon=True)
    if program.exists():
        working.start()
    try:
        yield
    except BaseException:
        over.set()
        raise
    over.set()
    if working.ident:
        working.join()


def lacking(environment: Path, seen: str, executed: Path, number: str) -> Iterator[Path]:
    """Yield the environment's files on the list that have no bytecode for Python ``number``.

    A build writes the list, so what leads out of the environment is passed over.
    """
    for line in executed.read_text("utf-8", "replace").splitlines():
        place = next((one for one in (seen, str(environment)) if line.startswith(f"{one}/")), None)
        inside = PurePosixPath(line.removeprefix(f"{place}/"))
        if place is None or inside.suffix != ".py" or ".." in inside.parts:
            continue
        path = environment / inside
        made = path.parent / "__pycache__" / f"{path.stem}.cpython-{number.replace('.', '')}.pyc"
        if path.is_file() and not made.exists():
            yield path
