"""The floors of the house: a module imports from below, the pure middle touches nothing, and sizes stay in bounds.

``FLOORS`` is the plan of docs/architecture.md as the code stands. A new module has to be given its floor here.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "retread"

FLOORS: dict[str, float] = {
    "retread": 0,
    "errors": 0,
    "arch": 0,
    "units": 0,
    "version": 0,
    "strict": 0,
    "canonical": 0,
    "model": 1,
    "report": 1.1,
    "fields": 1.1,
    "trial": 1.2,
    # Pure: bytes and values in, values out. The fractions order them among themselves.
    "fatbin": 2,
    "metadata": 2,
    "policy": 2,
    "proof": 2,
    "recipe": 2,
    "sbom": 2,
    "series": 2,
    "native": 2.1,
    "schedule": 2,
    "plan": 2.1,
    "matrix": 2.2,
    "offers": 2,
    "outlook": 2.25,
    "outlooktable": 2.3,
    "issue": 2.4,
    "statement": 2.1,
    "render": 2.2,
    "reports": 2.1,
    "charts": 2.2,
    "junit": 2.2,
    "smoketable": 2.2,
    "smokepage": 2.3,
    "markup": 2.25,
    "listing": 1.2,
    "pages": 2.2,
    "humanpages": 2.3,
    "faces": 2.4,
    "revisions": 2,
    "locked": 2,
    "requirements": 2.1,
    "lockfiles": 2.2,
    "revocation": 2.3,
    "attest": 2.2,
    # Doors: the only ways to run, write, download and show.
    "console": 2.5,
    "fs": 2.5,
    "proc": 2.5,
    "net": 2.6,
    "host": 2.7,
    "jobserver": 2.7,
    "measures": 2.7,
    "release": 2.6,
    "signing": 2.6,
    "gate": 2.7,
    "durable": 2.6,
    "worktree": 2.6,
    # Files with a meaning.
    "store": 3,
    "workspace": 3,
    "elfimage": 2,
    "elfedit": 2.1,
    "elflayout": 2.2,
    "elf": 3,
    "zipraw": 3,
    "zipwrite": 3.1,
    "wheelfile": 3.2,
    "elfparts": 3.1,
    "contents": 3.4,
    "kit": 3.4,
    "indexdir": 3.5,
    "hosting": 3.5,
    "change": 3.6,
    "serving": 3.6,
    "bucket": 3.6,
    "mirror": 3.7,
    "comparison": 3.5,
    # Stages never import each other; the pipeline knows their order; the command line speaks.
    "pinned": 3,
    "room": 3.5,
    "sandbox": 3.6,
    "container": 3.7,
    "stages": 4,
    "stages.audit": 4,
    "stages.base": 4,
    "stages.compile": 4,
    "stages.environment": 4,
    "stages.graft": 4,
    "stages.patch": 4,
    "stages.seal": 4,
    "stages.smoke": 4,
    "stages.source": 4,
    "stages.toolchain": 4,
    "stages.toolkit": 4,
    "machine": 4.5,
    "trees": 4.6,
    "origin": 4.7,
    "contained": 4.8,
    "pipeline": 5,
    "smoke": 5,
    "watching": 5.1,
    "attesting": 5.1,
    "revoking": 5,
    "remote": 5.1,
    "soundness": 4.8,
    "publishing": 5,
    "session": 5.4,
    "commands": 5.5,
    "indexing": 5.5,
    "planning": 5.5,
    "nightly": 5.5,
    "trying": 5.5,
    "cli": 6,
    "__main__": 7,
    # Runs inside a build, where there is no retread.
    "inside": 7,
    "inside.compiler": 7,
    "inside.trace": 7,
    # Runs on the machine that tries a wheel, where there is no retread either.
    "inside.smoke": 7,
    "inside.smoke.harness": 7,
    "inside.smoke.package": 8,
    "inside.smoke.place": 7.1,
    "inside.smoke.program": 7.3,
    "inside.smoke.__main__": 8,
    "inside.smoke.runner": 7.1,
    "inside.smoke.surroundings": 7.1,
}
DOORS = 2.5
"""Below it all is pure."""
OUTSIDE = {
    "os", "sys", "io", "subprocess", "socket", "shutil", "tempfile", "fcntl", "signal", "time", "random", "logging",
    "threading", "multiprocessing", "urllib.request", "http", "requests", "pypi_simple", "glob", "mmap", "platform",
}  # fmt: skip
"""What reaches the disk, the network, processes, the clock or the terminal."""
BYTES_IN_MEMORY = {("metadata", "io")}
"""Exceptions, each of which needs a reason: csv wants a text file, io.StringIO is one."""
DISK_CALLS = {
    "open", "print", "read_bytes", "read_text", "write_bytes", "write_text", "exists", "is_file", "is_dir", "iterdir",
    "rglob", "mkdir", "unlink", "rename", "touch", "resolve", "stat", "now", "today", "utcnow",
}  # fmt: skip
FUNCTION_LINES = 60
MODULE_LINES = 500


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Return what every module is called and says; read when a test asks, not by every worker that collects."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__") or "retread"
        found[name] = ast.parse(path.read_text("utf-8"))
    return found


def imports(module: str, tree: ast.AST) -> Iterator[str]:
    """Yield the full name of everything that is imported at run time, inside functions too."""
    if isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING":
        for node in tree.orelse:
            yield from imports(module, node)
        return
    if isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        assert tree.level == 0, f"{module}: imports are absolute in this house"
        yield from (f"{tree.module}.{alias.name}" for alias in tree.names)
    for node in ast.iter_child_nodes(tree):
        yield from imports(module, node)


def own(imported: str) -> str | None:
    """Return the name of the module of ours that ``imported`` is, or is in; None for another package's."""
    if imported != "retread" and not imported.startswith("retread."):
        return None
    name = imported.removeprefix("retread").removeprefix(".")
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name or "retread"


def faults(module: str, tree: ast.AST) -> list[str]:
    """Return every import that the floors forbid."""
    found = []
    for imported in imports(module, tree):
        below = own(imported)
        if below is None:
            package = next(
                (one for one in OUTSIDE if imported == one or imported.startswith(f"{one}.")), None
            )
            if FLOORS[module] < DOORS and package and (module, package) not in BYTES_IN_MEMORY:
                found.append(f"{module} is pure, but imports {package}")
        elif below != "retread" and FLOORS[below] >= FLOORS[module]:
            found.append(f"{module} (floor {FLOORS[module]}) imports {below} (floor {FLOORS[below]})")
    return found


def test_every_module_has_a_floor_and_every_floor_a_module() -> None:
    assert set(modules()) == set(FLOORS)


def test_imports_come_from_below() -> None:
    assert [fault for module, tree in modules().items() for fault in faults(module, tree)] == []


@pytest.mark.parametrize(
    ("module", "code", "told"),
    [
        ("plan", "from retread.recipe import Recipe", []),
        ("plan", "from retread import errors, strict", []),
        ("recipe", "from retread import plan", ["recipe (floor 2) imports plan (floor 2.1)"]),
        ("recipe", "def f():\n    from retread.series import Patch", ["recipe (floor 2) imports series (floor 2)"]),
        ("stages.seal", "from retread.stages import audit", ["stages.seal (floor 4) imports stages.audit (floor 4)"]),
        ("stages.seal", "import retread.pipeline", ["stages.seal (floor 4) imports pipeline (floor 5)"]),
        ("render", "import os.path", ["render is pure, but imports os"]),
        ("render", "from urllib.request import urlopen", ["render is pure, but imports urllib.request"]),
        ("render", "from urllib.parse import urlsplit", []),
        ("render", "if TYPE_CHECKING:\n    pass\nelse:\n    import os", ["render is pure, but imports os"]),
        ("render", "if TYPE_CHECKING:\n    from retread.store import Entry", []),
        ("fs", "import os", []),
    ],
)  # fmt: skip
def test_the_rule_itself_finds_what_it_should(module: str, code: str, told: list[str]) -> None:
    assert faults(module, ast.parse(code)) == told


def test_pure_modules_call_nothing_that_touches_the_world() -> None:
    found = []
    for module, tree in modules().items():
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        names = {call.attr if isinstance(call, ast.Attribute) else ast.unparse(call) for call in calls}
        found += [f"{module} calls {name}" for name in names & DISK_CALLS if FLOORS[module] < DOORS]
    assert found == []


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
    long = {
        f"{module}.{node.name}": body_lines(node)
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and body_lines(node) > FUNCTION_LINES
    }
    assert long == {}


def test_modules_stay_short() -> None:
    lines = {path.name: len(path.read_text("utf-8").splitlines()) for path in SOURCE.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > MODULE_LINES} == {}


def test_every_module_says_why_it_exists() -> None:
    assert [module for module, tree in modules().items() if not ast.get_docstring(tree)] == []
