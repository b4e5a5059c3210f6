"""Nothing that is read out of files reaches the terminal as a command to it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest

from retread.cli import main
from retread.errors import exit_codes
from tinycuda import INFO, WHEEL, make_wheel, wheel_files
from tinyindex import RECIPE

EVIL: Final = "\x1b[2J\x1b]0;gone\x07\u202eexe\x9b31m\r"
OBEYED: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _once: None) -> Path:
    """Return a workspace with a wheel, a recipe, a series, a lock and a policy that are full of escapes."""
    monkeypatch.chdir(tmp_path)
    files = wheel_files()
    files[f"tinycuda/{EVIL}.py"] = b""
    files[f"tinycuda/{EVIL}.so"] = files["tinycuda/_C.so"]
    files[f"{INFO}/METADATA"] += f"Requires-Dist: torch{EVIL}\nRequires-Python: {EVIL}\n".encode()
    files[f"{INFO}/entry_points.txt"] = f"[console_scripts]\n{EVIL}\n".encode()
    (tmp_path / WHEEL).write_bytes(make_wheel(files))
    (tmp_path / f"{WHEEL}.audit.json").write_text(json.dumps({"wheel": EVIL}))
    (tmp_path / "report.json").write_text(json.dumps({EVIL: EVIL}))
    (tmp_path / "uv.lock").write_text(f"version = 1\n[[package]]\nname = {json.dumps(EVIL)}\n")
    (tmp_path / "requirements.txt").write_text(f"{EVIL}==1\n")
    (tmp_path / "policy.toml").write_text(f"{json.dumps(EVIL)} = 1\n")
    for folder in ("recipes", "patches/demo/1.2"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "recipes" / "demo-1.toml").write_text(RECIPE)
    (tmp_path / "recipes" / "evil.toml").write_text(f"{json.dumps(EVIL)} = 1\n")
    (tmp_path / "patches/demo/1.2/series").write_text(f"{EVIL}.patch\n")
    (tmp_path / "patches/demo/1.2/0001-a.patch").write_text(f"Subject: {EVIL}\n---\n+++ b/{EVIL}\n")
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        f"inspect {WHEEL}", f"inspect {WHEEL} --json", f"inspect --table {WHEEL}", f"inspect --resources {WHEEL}",
        f"inspect {WHEEL} --gpu 12.0", f"audit {WHEEL}", f"audit {WHEEL} --json", f"evidence {WHEEL}",
        f"publish {WHEEL} --index ix", f"smoke {WHEEL}", "smoke --attach report.json", "recipe check",
        "recipe list", "patch check", "plan demo-1", "audit-lock uv.lock --index ix", "recipe check EVIL",
        "audit-lock requirements.txt --index ix", f"publish {WHEEL} --index ix --policy policy.toml",
        "index check ix --policy policy.toml", "inspect EVIL", "build EVIL", "EVIL", "audit x --EVIL",
        "index yank ix EVIL 1 --reason EVIL", "toolchain list EVIL", "explain EVIL",
    ],
)  # fmt: skip
def test_no_command_passes_an_escape_on(at: Path, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main.run([word.replace("EVIL", EVIL) for word in line.split(" ")])
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    assert code in exit_codes()
    assert code != 1
    assert OBEYED.findall(said.out + said.err) == []
