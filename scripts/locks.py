"""The locks of the workflows' jobs: every package that a job installs, by hash, for every Python that retread supports.

``python scripts/locks.py`` makes ``.github/locks/`` anew from pyproject.toml, as the user's index has it today;
``scripts/setup.sh`` installs one of them where ``LOCK`` names it. Dependabot keeps them, too.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

from retread.doors.net import settings
from retread.environment import venv

ROOT: Final = Path(__file__).resolve().parents[1]
LOCKS: Final = ROOT / ".github" / "locks"
JOBS: Final[Mapping[str, tuple[str, ...]]] = {
    "sign": (),
    "collect": (),
    "publish": ("bucket",),
    "setup": ("bucket", "container"),
    "docs": ("docs",),
    "dev": ("dev",),
}
"""Lock -> the extras of retread's that its jobs need."""
SIGNING: Final = frozenset({"cramjam", "cryptography", "msgspec", "packaging", "setuptools"})
"""What ``retread sign`` is built and run with: beside a signing key lies nothing else."""


def requires(project: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield what a lock is made of: what retread with some extras is built and run with; an extra may name others."""
    for one in (*project["build-system"]["requires"], *project["project"]["dependencies"]):
        if name != "sign" or Requirement(one).name in SIGNING:
            yield one
    waiting, known = list(JOBS[name]), project["project"]["optional-dependencies"]
    while waiting:
        for one in known[waiting.pop()]:
            own = re.fullmatch(r"retread\[([\w-]+)\]", one)
            if own:
                waiting.append(own[1])
            else:
                yield one


def main() -> None:
    """Write every lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    mine = settings.settings(os.environ)
    using = mine._replace(indexes=mine.indexes[:1], folders=())  # others have other files of a release
    LOCKS.mkdir(exist_ok=True)
    for name in JOBS:
        with tempfile.TemporaryDirectory() as scratch:
            text = venv.resolve(
                list(requires(project, name)), project["project"]["requires-python"], settings=using,
                environment=os.environ, scratch=Path(scratch),
            )  # fmt: skip
        (LOCKS / f"{name}.txt").write_text(text, "utf-8")
        print(LOCKS / f"{name}.txt", file=sys.stderr)


if __name__ == "__main__":
    main()
