"""Which code decides: the list is closed under imports but for the exceptions, and holds nothing that is not there."""

from __future__ import annotations

import ast

import pytest

import house
from house import SOURCE, is_in, modules
from retread.code import DECIDING, NOT_DECIDING
from retread.doors.machine import _programs

ROOTS = ("build.pipeline", "build.reproduce", "lanes.overlay", "lanes.source", "lanes.container")
"""What is started to make a wheel; each lane, since they need not be imported by name."""
DECIDE = tuple(one.removesuffix(".py").removesuffix("/").replace("/", ".") for one in DECIDING)


def left_out(uses: dict[str, set[str]]) -> list[str]:
    """Return the imports of deciding modules that neither decide nor are excepted."""
    return [
        f"{module} imports {below}"
        for module, imported in uses.items()
        for below in sorted(imported)
        if is_in(module, DECIDE) and not is_in(below, (*DECIDE, *NOT_DECIDING))
    ]


def test_what_is_listed_is_there() -> None:
    assert [one for one in DECIDING if not (SOURCE / one).exists()] == []
    assert [one for one in (*DECIDE, *NOT_DECIDING) if one not in modules()] == []
    assert all(NOT_DECIDING.values())


def test_what_makes_a_wheel_decides() -> None:
    assert [one for one in ROOTS if not is_in(one, DECIDE)] == []


def test_what_deciding_code_imports_decides_or_is_excepted() -> None:
    assert left_out(house.uses()) == []


def test_no_exception_is_needless() -> None:
    imported = {below for module, found in house.uses().items() if is_in(module, DECIDE) for below in found}
    assert [one for one in NOT_DECIDING if not any(is_in(below, (one,)) for below in imported)] == []
    assert [one for one in NOT_DECIDING if is_in(one, DECIDE)] == []


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("from retread.elf import edit", []),
        ("from retread.errors import WheelError", []),
        ("from retread.doors.net import download", []),
        ("from retread.text import tables", ["wheel.metadata imports text.tables"]),
        ("def f():\n    from retread.cli import show", ["wheel.metadata imports cli.show"]),
    ],
)
def test_the_rule_itself_finds_what_it_should(code: str, told: list[str]) -> None:
    found = {house.own(one) for one in house.imports(ast.parse(code))}
    assert left_out({"wheel.metadata": found}) == told  # type: ignore[dict-item]


def test_every_program_of_a_deciding_folder_counts() -> None:
    names = {str(path.relative_to(SOURCE)) for path in _programs(SOURCE)}
    assert {"code.py", "wheel/metadata.py", "compile/inside/enter.sh", "compile/inside/trace.py"} <= names
    assert not any("__pycache__" in name or name.startswith(("cli/", "index/")) for name in names)
