"""A copy of the shipped recipes in a folder of its own, and the command line run there as a user does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]


class Workspace(NamedTuple):
    """A copy of the shipped recipes, with a store of its own."""

    root: Path
    store: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line as a user does."""
        line = [sys.executable, "-c", "from retread.cli.main import main; main()", *arguments]
        env = {**os.environ, "RETREAD_STORE": str(self.store)}
        return subprocess.run(line, cwd=self.root, env=env, capture_output=True, text=True, check=False)

    def change(self, recipe: str, old: str, new: str) -> None:
        """Change a recipe where it says ``old``, once."""
        path = self.root / "recipes" / f"{recipe}.toml"
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))


def copy(folder: Path, *names: str) -> Workspace:
    """Copy folders of the repository into a workspace below ``folder``."""
    for name in names:
        shutil.copytree(REPOSITORY / name, folder / "work" / name)
    return Workspace(folder / "work", folder / "store")
