"""Which code decides: the list is closed under imports but for the exceptions, and holds nothing that is not there."""

from __future__ import annotations

import ast
import re

import pytest

import house
from house import SOURCE, is_in, modules
from retread.code import COMPILING, DECIDING, NOT_COMPILING, NOT_DECIDING, decides, essence
from retread.doors.machine import _programs
from retread.lanes.container import ImagePlace
from retread.lanes.place import HostPlace

ROOTS = ("build.choice", "lanes.overlay", "lanes.source", "lanes.container")
"""What is started to make a wheel; each lane, since they need not be imported by name."""
DECIDE = tuple(one.removesuffix(".py").removesuffix("/").replace("/", ".") for one in DECIDING)


NAMED = {
    "compile.jobserver": ("build.pipeline", "compile.room", "compile.stage", "lanes.source"),
    "compile.measures": ("lanes.source",),
    "compile.schedule": ("compile.room", "compile.stage", "lanes.source"),
    "environment.bytecode": ("lanes.source",),
    "recipe.shared": ("recipe.workspace",),
    "toolkit.inquiry": ("build.choice", "lanes.source"),
}
"""Modules that lie in deciding folders and decide nothing -> the deciding ones that may import them all the same."""
PLACES = (HostPlace, ImagePlace)
COMPILE = tuple(dict.fromkeys((*COMPILING, *(path for place in PLACES for path in place.programs))))
COMPILE_MODULES = tuple(
    path.removesuffix(".py").replace("/", ".") for path in COMPILE if path.endswith(".py")
)


def is_deciding(module: str) -> bool:
    """Say whether a module is part of the keys."""
    return is_in(module, DECIDE) and module not in NOT_DECIDING


def left_out(uses: dict[str, set[str]]) -> list[str]:
    """Return the imports of deciding modules that neither decide nor are excepted."""
    return [
        f"{module} imports {below}"
        for module, imported in uses.items()
        for below in sorted(imported)
        if is_deciding(module) and not is_in(below, (*DECIDE, *NOT_DECIDING))
    ]


def test_what_is_listed_is_there() -> None:
    assert [one for one in DECIDING if not (SOURCE / one).exists()] == []
    assert [one for one in (*DECIDE, *NOT_DECIDING) if one not in modules()] == []
    assert all(NOT_DECIDING.values())


def test_what_makes_a_wheel_decides() -> None:
    assert [one for one in ROOTS if not is_deciding(one)] == []


def test_what_deciding_code_imports_decides_or_is_excepted() -> None:
    assert left_out(house.uses()) == []


def test_no_exception_is_needless() -> None:
    imported = {below for module, found in house.uses().items() if is_deciding(module) for below in found}
    wanted = [one for one in NOT_DECIDING if any(is_in(below, (one,)) for below in imported)]
    assert [one for one in NOT_DECIDING if one not in wanted and not is_in(one, DECIDE)] == []


def test_only_named_modules_import_what_decides_nothing_in_a_deciding_folder() -> None:
    inside = [one for one in NOT_DECIDING if is_in(one, DECIDE)]
    found = {
        one: tuple(
            sorted(module for module, below in house.uses().items() if is_deciding(module) and one in below)
        )
        for one in inside
    }
    assert {one: by for one, by in found.items() if by} == NAMED


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
    names = set(_programs(str(SOURCE)))
    assert {"code.py", "wheel/metadata.py", "compile/inside/enter.sh", "compile/inside/trace.py"} <= names
    assert not any("__pycache__" in name or name.startswith(("cli/", "index/")) for name in names)
    assert not {"wheel/table.py", "wheel/comparison.py", "compile/measures.py", "toolkit/inquiry.py"} & names
    assert names == {path for path in names if decides(path)}


# What decides a compile.


def test_what_compiling_code_imports_decides_a_compile_or_is_excepted() -> None:
    uses = {one: house.uses()[one] for one in COMPILE_MODULES}
    found = {
        (one, below) for one, imported in uses.items() for below in imported if below not in COMPILE_MODULES
    }
    assert [pair for pair in found if not is_in(pair[1], tuple(NOT_COMPILING))] == []
    assert [one for one in NOT_COMPILING if not any(is_in(below, (one,)) for _, below in found)] == []
    assert all(NOT_COMPILING.values())


def test_every_program_that_runs_in_a_build_decides_a_compile() -> None:
    """nvcc's stand-in and its options are in the digest of the toolkit that holds them; the relay carries bytes."""
    inside = {
        f"compile/inside/{path.name}" for path in (SOURCE / "compile/inside").iterdir() if path.is_file()
    }
    apart = {f"compile/inside/{name}.py" for name in ("__init__", "nvcc", "cudaoptions", "relay")}
    assert inside - apart == {path for path in COMPILE if path.startswith("compile/inside/")}
    assert [path for path in COMPILE if not (SOURCE / path).is_file()] == []


@pytest.mark.parametrize("path", COMPILE)
def test_what_is_written_for_readers_alone_is_no_part_of_a_program_s_essence(path: str) -> None:
    text = (SOURCE / path).read_text("utf-8")
    told = f"{text}\n\n# A comment\n"
    if path.endswith(".py"):
        head, _, rest = told.partition('"""\n')
        told = f'"""Another one."""\n{rest}' if head.startswith('"""') else told
    assert essence(path, told) == essence(path, text)
    more = "\nWORD = 1\n" if path.endswith(".py") else "\nWORD=1\n"
    assert essence(path, text + more) != essence(path, text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('def f():\n    """Do."""\n    return 1', "def f():\n    return (1)  # so", True),
        ('X = 1\n"""Told."""', "X = 1", True),
        ("X = 1", "X = 2", False),
        ("X = None", "X = 0", False),
        ('X = "a"', "X = 'a'", True),
        ('X = ["a"]', "X = []", False),
        ("f(1)", "f(1, a=None)", False),
        ("X = {**A}", "X = {A: A}", False),
        ("return_ = 1", "return_ = '1'", False),
    ],
)
def test_the_essence_of_a_program_is_what_it_does(one: str, other: str, *, same: bool) -> None:
    assert (essence("a.py", one) == essence("a.py", other)) is same


def test_the_essence_of_a_script_is_its_lines_without_comments() -> None:
    assert essence("a.sh", "#!/bin/sh\n# so\n\nset -e\n") == essence("a.sh", "#!/bin/sh\n  set -e")
    assert essence("a.sh", "set -e\n") != essence("a.sh", "set -u\n")


def test_nothing_is_counted_with_both_endings() -> None:
    """``units.counted`` writes ``1 patch`` and ``2 patches``."""
    both = re.compile(r"[a-z]\((s|es|ies)\)")
    texts = [
        (path.name, one.value)
        for path in SOURCE.rglob("*.py")
        for one in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    ]
    assert len(texts) > 10_000
    assert [(name, text) for name, text in texts if both.search(text)] == []
