"""Where the seconds of a case go: what it imports, and what Triton compiles for it; the rest runs and compares.

It lies beside the suites: standard library only, Python 3.9 and newer.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

_COMPILER = "triton.compiler.compiler"
_KNOWN_AS = (_COMPILER, "triton.compiler", "triton")
"""Modules of Triton that have the function which compiles."""


class Stopwatch:
    """Counts the seconds of parts; what happens inside of a part belongs to it."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._inside = threading.local()
        self._compiler = False

    def watch(self) -> None:
        """Count from now on what this process imports and compiles."""
        builtins.__import__ = self.timed("import", builtins.__import__)
        importlib.import_module = self.timed("import", importlib.import_module)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose seconds are counted."""

        @functools.wraps(function)
        def counted(*arguments: Any, **options: Any) -> Any:
            if getattr(self._inside, "part", ""):
                return function(*arguments, **options)
            self._inside.part, began = part, time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self._inside.part = ""
                self._spent[part] = self._spent.get(part, 0.0) + time.perf_counter() - began
                if not self._compiler and _COMPILER in sys.modules:
                    self._attend()

        return counted

    def _attend(self) -> None:
        """Count what Triton compiles, now that it is there."""
        self._compiler = True
        found: list[Any] = [
            sys.modules[name] for name in _KNOWN_AS if hasattr(sys.modules.get(name), "compile")
        ]
        for module in found:
            module.compile = self.timed("compile", module.compile)

    def spent(self) -> dict[str, float]:
        """Return the seconds of each part since this was asked last."""
        found = {part: round(seconds, 4) for part, seconds in self._spent.items()}
        self._spent = {}
        return found
