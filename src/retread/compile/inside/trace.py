"""Notes every Python file whose code runs while a wheel is built; put on the path as ``sitecustomize``.

The list shows which Python files of the source decide what is compiled.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SEEN: set[str] = set()
_OUT = os.environ.get("RETREAD_EXECUTED", "")


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "exec":
        return
    name = arguments[0].co_filename
    if name in _SEEN or name.startswith("<"):
        return
    _SEEN.add(name)
    file = os.open(_OUT, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, (os.path.abspath(name) + "\n").encode())
    finally:
        os.close(file)


if _OUT:
    sys.addaudithook(_note)
