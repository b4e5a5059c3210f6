"""The reference pages say what the code says: commands, keys of recipes and toolchains, exit codes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from retread.errors import RetreadError

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
FOLDER = ROOT / "docs" / "reference"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(ROOT / "scripts")
        spec.loader.exec_module(module)
    return module


reference = script()
PAGES: dict[str, str] = reference.pages()


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_committed_page_is_what_the_code_says(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name], (
        f"docs/reference/{name} is old: run 'make docs-reference'"
    )


def test_the_readme_s_table_of_what_no_gpu_has_run_is_what_the_evidence_says() -> None:
    assert (ROOT / "README.md").read_text("utf-8") == reference.compatibility.readme(), (
        "run: make docs-reference"
    )


def test_every_command_is_named() -> None:
    words = [command.words for command in reference.every(reference.PARSER())]
    assert {"retread build", "retread index revoke", "retread recipe schema"} <= set(words)
    headings = {line.lstrip("# ") for line in PAGES["commands.md"].splitlines() if line.startswith("##")}
    assert {one.removeprefix("retread ") for one in words} <= headings


def test_no_option_is_lost() -> None:
    for command in reference.every(reference.PARSER()):
        for action in reference.arguments(command.parser):
            assert reference.row(action)[0].replace("|", "\\|") in PAGES["commands.md"]


def test_every_key_of_a_shipped_recipe_is_named() -> None:
    text = PAGES["recipe.md"]
    for key in ("native-inputs", "architectures", "run-path", "test-requires", "expect"):
        assert f"| `{key}` |" in text
    assert "## `[targets.NAME.container]`" in text
    assert "| Library (glob) -> run path entries. |" in text


def test_every_exit_code_is_named() -> None:
    codes = {one.exit_code for one in RetreadError.__subclasses__()} | {0, 1, 130}
    rows = [
        line.split("|")[1].strip() for line in PAGES["exit-codes.md"].splitlines() if line.startswith("|")
    ]
    assert sorted(map(int, rows[2:])) == sorted(codes)


def test_a_place_that_is_nowhere_is_told() -> None:
    assert reference.found("retread.nowhere:thing", "retread.errors:RetreadError") is RetreadError
    with pytest.raises(ImportError, match=r"none of these is there: retread\.nowhere:thing"):
        reference.found("retread.nowhere:thing")
