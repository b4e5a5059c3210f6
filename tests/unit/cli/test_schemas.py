"""The committed schemas are the records'."""

from __future__ import annotations

import re
from pathlib import Path

import house
from retread.cli.main import run
from retread.cli.schemas import SCHEMAS

COMMITTED = house.ROOT / "docs" / "schemas"


def test_every_schema_is_committed_as_the_code_has_it(tmp_path: Path) -> None:
    assert run(["recipe", "schema", "--all", str(tmp_path)]) == 0
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_text() for path in COMMITTED.glob("*.json")}, "run 'make schemas'"
    assert sorted(written) == sorted(f"{name}.json" for name in SCHEMAS)


def test_the_list_of_schemas_names_all_of_them() -> None:
    listed = re.findall(r"^\| \[([\w-]+)\.json\]", (COMMITTED / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(SCHEMAS)
