"""The order of the packages, the pure ones, and the sizes: what ``scripts/house.py`` says, the code is held to."""

from __future__ import annotations

import ast
import graphlib

import pytest

import house
from house import APART, ORDER, PURE, SOURCE, TOP, VIEWS, is_in, modules, package

OUTSIDE = {
    "os", "sys", "io", "subprocess", "socket", "shutil", "tempfile", "fcntl", "signal", "time", "random", "logging",
    "threading", "multiprocessing", "urllib.request", "http", "requests", "pypi_simple", "glob", "mmap", "platform",
    "zipfile", "tarfile", "uuid", "secrets", "sqlite3", "asyncio", "ctypes", "select", "importlib",
}  # fmt: skip
"""What reaches the disk, the network, processes, the clock or the terminal."""
EXCEPTED = {
    ("wheel.metadata", "io"): "csv wants a text file, and io.StringIO is one",
    ("build.sbom", "uuid"): "a version 5 UUID is a digest",
}
DISK_CALLS = {
    "open", "print", "input", "read_bytes", "read_text", "write_bytes", "write_text", "exists", "is_file", "is_dir",
    "iterdir", "glob", "rglob", "mkdir", "unlink", "rename", "touch", "chmod", "resolve", "stat", "now", "today",
    "utcnow",
    "__import__",
}  # fmt: skip
BY_NAME = {
    "retread": "nothing is imported before it is used",
    "cli.main": "a noun is a row",
    "cli.schemas": "a schema is a row",
    "build.choice": "a lane is a row",
    "smoke.runtime.package": "it tries to import all that a wheel holds",
    "smoke.runtime.native": "torch, which is not there when this is checked",
    "smoke.runtime.stopwatch": "it counts how long others import",
}
"""Modules that import others by a name that is data -> why; nobody sees what such an import needs."""
FUNCTION_LINES = 60
MODULE_LINES = 500


def faults(module: str, tree: ast.AST) -> list[str]:
    """Return every import that the order, or purity, forbids."""
    found = []
    run = house.needed(tree) if is_in(module, PURE) else set()
    for imported in house.imports(tree):
        below = house.own(imported)
        if imported.startswith("."):
            found.append(f"{module} imports {imported}: imports are absolute in this house")
        elif below is None:
            outside = next((one for one in OUTSIDE if f"{imported}.".startswith(f"{one}.")), None)
            if outside and is_in(module, PURE) and (module, outside) not in EXCEPTED:
                found.append(f"{module} is pure, but imports {outside}")
        elif below == "retread":
            found.append(f"{module} imports {imported}, which is for other programs")
        else:
            found += _order(module, below)
            if imported in run and not is_in(below, PURE):
                found.append(f"{module} is pure, but runs {below}, which is not")
    return found


def _order(module: str, below: str) -> list[str]:
    apart = next((name for name in APART if is_in(module, (name,))), None)
    if apart and not is_in(below, (apart, *APART[apart])):
        return [f"{module} runs where there is no {below}"]
    if below in VIEWS and package(module) != "cli":
        return [f"{module} imports {below}, whose looks are the command line's to choose"]
    if module in TOP or package(module) == package(below):
        return []
    if ORDER.index(package(below)) > ORDER.index(package(module)):
        return [f"{module} imports {below}, which is of a later package"]
    return []


def test_every_folder_has_its_place_and_every_place_a_folder() -> None:
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert folders == set(ORDER) - {"ground"}
    assert [name for name in (*PURE, *TOP, *APART, *VIEWS) if name not in modules()] == []


def test_imports_come_from_packages_before() -> None:
    assert [fault for module, tree in modules().items() for fault in faults(module, tree)] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    list(graphlib.TopologicalSorter(house.uses()).static_order())  # raises, and names the circle


@pytest.mark.parametrize(
    ("module", "code", "told"),
    [
        ("recipe.plan", "from retread.recipe.model import Recipe", []),
        ("recipe.plan", "from retread import errors, strict", []),
        ("recipe.plan", "from retread.elf import facts", []),
        ("elf.facts", "from retread.recipe import plan",
         ["elf.facts imports recipe.plan, which is of a later package"]),
        ("audit.audit", "def f():\n    from retread.build.seal import seal",
         ["audit.audit imports build.seal, which is of a later package"]),
        ("audit.audit", "if TYPE_CHECKING:\n    from retread.cli import main",
         ["audit.audit imports cli.main, which is of a later package"]),
        ("arch", "import retread.doors.fs",
         ["arch imports doors.fs, which is of a later package", "arch is pure, but runs doors.fs, which is not"]),
        ("audit.rules", "from retread.wheel import contents",
         ["audit.rules is pure, but runs wheel.contents, which is not"]),
        ("audit.rules", "if TYPE_CHECKING:\n    from retread.wheel.contents import Known", []),
        ("elf.facts", "from retread import inspect",
         ["elf.facts imports retread.inspect, which is for other programs"]),
        ("elf.facts", "import retread", ["elf.facts imports retread, which is for other programs"]),
        ("audit.audit", "from . import rules", ["audit.audit imports ..rules: imports are absolute in this house"]),
        ("__main__", "from retread.cli.main import main", []),
        ("smoke.runtime.runner", "from retread.smoke.runtime import harness", []),
        ("smoke.runtime.runner", "from retread.doors import fs",
         ["smoke.runtime.runner runs where there is no doors.fs"]),
        ("cli.show", "import os.path", ["cli.show is pure, but imports os"]),
        ("index.pages.simple", "import os", ["index.pages.simple is pure, but imports os"]),
        ("cli.show", "from urllib.request import urlopen", ["cli.show is pure, but imports urllib.request"]),
        ("cli.show", "from urllib.parse import urlsplit", []),
        ("cli.show", "if TYPE_CHECKING:\n    pass\nelse:\n    import os", ["cli.show is pure, but imports os"]),
        ("doors.fs", "import os", []),
        ("cli.smoke", "from retread.smoke import table", []),
        ("upstream.outlook", "from retread.smoke import table",
         ["upstream.outlook imports smoke.table, whose looks are the command line's to choose"]),
        ("smoke.page", "from retread.smoke.junit import legal",
         ["smoke.page imports smoke.junit, whose looks are the command line's to choose"]),
    ],
)  # fmt: skip
def test_the_rule_itself_finds_what_it_should(module: str, code: str, told: list[str]) -> None:
    assert faults(module, ast.parse(code)) == told


def test_modules_are_imported_by_their_names() -> None:
    by_name = {
        module
        for module, tree in modules().items()
        for node in house.nodes(tree)
        if isinstance(node, ast.Name | ast.Attribute | ast.alias)
        and {"import_module", "__import__"} & {getattr(node, field, "") for field in ("id", "attr", "name")}
    }
    assert by_name == set(BY_NAME)


def test_pure_modules_call_nothing_that_touches_the_world() -> None:
    found = []
    for module, tree in modules().items():
        calls = [node.func for node in house.nodes(tree) if isinstance(node, ast.Call)]
        names = {call.attr if isinstance(call, ast.Attribute) else ast.unparse(call) for call in calls}
        paths = (node for node in house.nodes(tree) if isinstance(node, ast.Attribute))
        names |= {node.attr for node in paths if ast.unparse(node.value) == "Path"}
        found += [f"{module} calls {name}" for name in names & DISK_CALLS if is_in(module, PURE)]
    assert found == []


def test_packages_import_nothing_by_themselves() -> None:
    """``--help`` must not import the house."""
    packages = {name: tree for name, tree in modules().items() if name in ORDER or f"{name}." in "doors.net."}
    assert [name for name, tree in packages.items() if list(house.imports(tree))] == []


def test_the_architecture_shows_the_packages_as_they_are() -> None:
    assert house.PAGE.read_text("utf-8") == house.page(), "run: .venv/bin/python scripts/house.py --write"


def test_nothing_knows_the_project_that_is_patched() -> None:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            if "xformers" in line.lower() and not line.startswith("DEFAULT_RECIPE = "):
                found.append(f"{path.name}:{number}: {line.strip()}")
    assert found == []


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.body[-1].end_lineno or 0) - function.body[0].lineno + 1


def test_functions_stay_short() -> None:
    lines = {
        f"{module}.{node.name}": body_lines(node)
        for module, tree in modules().items()
        for node in house.nodes(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: count for name, count in lines.items() if count > FUNCTION_LINES} == {}
    ordered = sorted(lines.values())
    assert (ordered[len(ordered) // 2], ordered[len(ordered) * 9 // 10]) <= (7, 19)


def test_modules_stay_short() -> None:
    lines = {path.name: len(path.read_text("utf-8").splitlines()) for path in SOURCE.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > MODULE_LINES} == {}


def test_every_module_says_why_it_exists() -> None:
    assert [module for module, tree in modules().items() if not ast.get_docstring(tree)] == []


def test_only_one_place_writes_to_standard_output() -> None:
    """There, what a terminal would obey is told instead, and a full disk behind it is a message."""
    programs = ("smoke.runtime", "compile.inside", "compile.jobserver")
    found = [
        name
        for name, tree in modules().items()
        for node in house.nodes(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        if not is_in(name, programs)
    ]
    assert found == []
