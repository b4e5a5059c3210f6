"""What a compile for another machine takes of that machine, and what of this one may not get into it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from retread.compile.room import Layout
from retread.environment.host import Python


class Cross(NamedTuple):
    """The machine that is compiled for: its Python's headers and settings, and the packages that are linked."""

    machine: str
    """``aarch64``."""
    root: Path
    """The root of its files."""
    packages: str
    """Where the packages lie below the root."""
    include: str
    """Where the Python's headers lie below the root."""

    def replaced(self, layout: Layout, python: Python) -> dict[str, str]:
        """Return folder of this machine -> folder of the other, as a build sees them: what compilers get instead."""
        ours = f"{layout.environment}/lib/python{python.number}/site-packages"
        theirs = f"{layout.target}/{self.packages}"
        tops = sorted(one.name for one in (self.root / self.packages).iterdir() if one.is_dir())
        found = {f"{ours}/{one}": f"{theirs}/{one}" for one in tops if not one.endswith(".dist-info")}
        return found | {f"{python.prefix}/include/python{python.number}": f"{layout.target}/{self.include}"}

    def strangers(self, read: Iterable[str], layout: Layout, python: Python) -> list[str]:
        """Return those of the files that were compiled in that are made for this machine, sorted."""
        wrong = (*(f"{one}/" for one in self.replaced(layout, python)), *_SYSTEM)
        return sorted(one for one in read if one.endswith(_HEADERS) and one.startswith(wrong))

    def variables(self) -> dict[str, str]:
        """Return the variables by which the build's Python says of itself that it is the other machine's."""
        return {
            "_PYTHON_HOST_PLATFORM": f"linux-{self.machine}",
            "_PYTHON_SYSCONFIGDATA_NAME": self._settings().stem,
        }

    def put_settings(self, place: Path) -> None:
        """Put the build settings of the other machine's Python into a room, where its Python looks for its own."""
        file = self._settings()
        shutil.copyfile(file, place / "trace" / file.name)

    def _settings(self) -> Path:
        return next(self.root.glob(f"lib/python3*/_sysconfigdata_*{self.machine}*.py"))


_SYSTEM = ("/usr/include/", "/usr/local/include/")
"""Where this machine's own headers are; a cross compiler's are in a folder of its own."""
_HEADERS = (".h", ".hh", ".hpp", ".hxx", ".cuh", ".inl", ".inc", ".ipp", ".tpp")
