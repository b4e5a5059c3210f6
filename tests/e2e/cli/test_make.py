"""What ``make wheel`` installs before it builds, what the recipe's lane needs and no more; and how it is set up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_RETREAD = """#!/bin/sh
[ "$1 $SAYS" = "plan refused" ] && { echo "there is no recipe" >&2; exit 2; }
[ "$1" = plan ] && { echo "lane: $SAYS (a reason)"; exit; }
echo "retread $*" >> done
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose set-up and whose retread only note what is asked of them."""
    for path, text in (
        ("Makefile", (ROOT / "Makefile").read_text()),
        ("pyproject.toml", ""),
        ("scripts/setup.sh", '#!/bin/sh\nmkdir -p "$VENV"\necho "set up $1" >> done\n'),
        (".venv/bin/retread", _RETREAD),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o755)
    return tmp_path


def _make(clone: Path, says: str, **more: str) -> list[str]:
    environment = {"PATH": os.environ["PATH"], "SAYS": says, **more}
    done = subprocess.run(
        ["make", "wheel"], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = (clone / "done").read_text().splitlines()
    (clone / "done").unlink()
    return found


BUILD = "retread build xformers-0.0.35 --out dist"


def test_an_overlay_installs_nothing_for_compilers(clone: Path) -> None:
    assert _make(clone, "overlay") == ["set up .", BUILD]
    assert _make(clone, "overlay") == [BUILD]


@pytest.mark.parametrize(("says", "more"), [("source", {}), ("overlay", {"RETREAD_SHARED": "s3://bucket"})])
def test_another_lane_and_a_shared_store_get_what_they_need_once(
    clone: Path, says: str, more: dict[str, str]
) -> None:
    assert _make(clone, says, **more) == ["set up .", "set up .[container,bucket]", BUILD]
    assert _make(clone, says, **more) == [BUILD]


@pytest.mark.parametrize("more", [{}, {"RETREAD_SHARED": "s3://bucket"}])
def test_a_wrong_recipe_is_refused_before_more_is_installed(clone: Path, more: dict[str, str]) -> None:
    environment = {"PATH": os.environ["PATH"], "SAYS": "refused", **more}
    done = subprocess.run(
        ["make", "wheel"], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("there is no recipe\n")
    assert (clone / "done").read_text() == "set up .\n"
    (clone / "done").unlink()
    assert _make(clone, "overlay") == [BUILD]


def test_what_was_installed_whole_is_renewed_whole(clone: Path) -> None:
    _make(clone, "source")
    os.utime(clone / "pyproject.toml", (2**31, 2**31))
    assert _make(clone, "overlay") == ["set up .[container,bucket]", BUILD]


@pytest.mark.parametrize("forbidden", [False, True], ids=["may write bytecode", "may write none"])
def test_setting_up_compiles_where_no_start_will(clone: Path, *, forbidden: bool) -> None:
    """A stand-in for uv installs one module; retread's own code lies in its place, as in a clone."""
    (clone / "scripts" / "setup.sh").write_text((ROOT / "scripts" / "setup.sh").read_text())
    uv = clone / "tools" / "uv"
    own, others = clone / "src" / "own.py", clone / "env" / "lib" / "others.py"
    for path, text in ((own, ""), (uv, f"#!/bin/sh\necho 'one = 1' > {others}\n")):
        path.parent.mkdir()
        path.write_text(text)
    uv.chmod(0o755)
    subprocess.run(
        ["scripts/setup.sh", "."],
        cwd=clone,
        env={
            "PATH": f"{uv.parent}:{os.environ['PATH']}",
            "PYTHON": sys.executable,
            "VENV": "env",
            **({"PYTHONDONTWRITEBYTECODE": "1"} if forbidden else {}),
        },
        check=True,
        capture_output=True,
    )
    assert others.exists()
    made = {path.parent.parent for path in clone.rglob("*.pyc")}
    assert made == ({own.parent, others.parent} if forbidden else set())
