"""The command as a process of its own, and what it prints for other programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import jsonschema
import pytest

from house import is_in
from tinycuda import LIBRARY, WHEEL, Project, make_wheel, wheel_files


def _schema(project: Project, name: str) -> object:
    result = project.run("recipe", "schema", name)
    assert result.code == 0
    found = json.loads(result.out)
    jsonschema.Draft202012Validator.check_schema(found)
    return found


JSON: dict[str, Callable[[Project], list[str]]] = {
    "plan": lambda project: ["plan", "tiny-1.0"],
    "build": lambda project: ["build", "tiny-1.0"],
    "audit": lambda project: ["audit", str(project.built)],
    "inspect": lambda project: ["inspect", str(project.built)],
    "inspect-table": lambda project: ["inspect", "--table", str(project.built)],
}


@pytest.mark.parametrize("name", JSON)
def test_what_is_printed_as_json_fits_its_schema(project: Project, name: str) -> None:
    if name not in {"plan", "build"}:
        project.add_toolchain("8.0", "9.0a", "10.0")
        assert project.build().code == 0
    result = project.run(*JSON[name](project), "--json")
    assert result.code == 0
    schema = _schema(project, name)
    found = json.loads(result.out)
    jsonschema.validate(found, schema)
    spoilt = [*found, {}] if isinstance(found, list) else {**found, "schema": "x", "size": "x"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, schema)


def test_a_failed_audit_prints_its_report_as_json_too(project: Project) -> None:
    (project.root / WHEEL).write_bytes(make_wheel(wheel_files()))
    project.add_toolchain("8.0", "9.0a", "10.0")
    result = project.run("audit", WHEEL, "--recipe", "tiny-1.0", "--json")
    assert result.code == 12
    report = json.loads(result.out)
    jsonschema.validate(report, _schema(project, "audit"))
    assert [one["subject"] for one in report["checks"] if not one["ok"]] == ["tinycuda 1.0+cu128.1", LIBRARY]


@pytest.mark.parametrize("command", [["recipe", "schema"], ["recipe", "list"]], ids=["much", "little"])
def test_a_reader_that_goes_away_is_no_error(
    project: Project, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    read, write = os.pipe()
    os.close(read)
    program = "from retread.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *command],
        cwd=project.root, stdout=write, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == ""


UNCHANGED = {
    "address", "arch", "audit", "audit.promise", "audit.report", "build", "build.choice", "build.grafts",
    "build.pipeline", "build.statement", "canonical", "cli", "code", "doors", "doors.clock", "doors.console",
    "doors.fs", "doors.machine", "doors.proc", "doors.readings", "doors.store", "doors.warden", "elf", "elf.facts",
    "environment", "environment.host", "errors", "evidence", "evidence.names", "fields", "lanes", "lanes.lane",
    "lanes.overlay", "limits", "prooflevel", "pypa", "recipe", "records", "source", "source.records",
    "source.trees", "strict", "text", "units", "variables", "version", "wheel", "wheel.facts", "wheel.members",
    "wheel.statement",
}  # fmt: skip
"""What of ours a build may import that finds everything made, with what lies in ``cli``, ``recipe`` and ``text``."""
HEAVY = {
    "asyncio", "bz2", "concurrent", "cyclonedx", "difflib", "elftools", "email", "http", "importlib.metadata",
    "installer", "jinja2", "logging", "lzma", "packaging", "pypi_simple", "requests", "shutil", "socket", "ssl",
    "tarfile", "tempfile", "tomllib", "unidiff", "xml", "zipfile",
}  # fmt: skip
"""What it has no use for: parsers of what was read before, and all that makes, asks and shows."""


def test_an_unchanged_build_imports_nothing_heavy(project: Project) -> None:
    project.build()
    program = (
        "import sys; before = set(sys.modules); from retread.cli.main import run\n"
        "code = run(['build', 'tiny-1.0', '-q']); print(code, *set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project.root, capture_output=True, text=True, check=True
    )
    code, *names = done.stdout.splitlines()[-1].split()
    assert code == "0"
    assert {name for name in names if is_in(name, tuple(HEAVY))} == set()
    ours = {name.removeprefix("retread.") for name in names if name.startswith("retread.")}
    assert {name for name in ours if not is_in(name, ("cli", "recipe", "text"))} <= UNCHANGED
