"""The packages of src/retread, their order and their imports, read from the code; docs/architecture.md shows them.

``python scripts/house.py --write`` puts the table into the page. The tests hold the code to ``ORDER`` and ``PURE``, and
the page to the code.
"""

from __future__ import annotations

import argparse
import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCE: Final = ROOT / "src" / "retread"
PAGE: Final = ROOT / "docs" / "architecture.md"
BEGIN: Final = "<!-- packages: begin -->"
END: Final = "<!-- packages: end -->"

ORDER: Final = (
    "ground", "text", "doors", "elf", "pe", "binary", "lockfile", "recipe", "wheel", "source", "queue",
    "environment", "audit", "toolkit", "compile", "smoke", "lanes", "evidence", "shared", "build", "index", "fit",
    "upstream", "jobs", "cli",
)  # fmt: skip
"""A package imports from those before it. ``ground`` is the modules that lie in no folder."""
TOP: Final = ("__main__", "api")
"""Modules in no folder that stand above all packages."""
APART: Final = {"compile.inside": (), "jobs.keeper": (), "smoke.runtime": ("arch", "canonical")}
"""Programs that run where retread is not installed -> what of ours they take with them."""
PURE: Final = (
    "address", "arch", "canonical", "code", "errors", "fields", "limits", "prooflevel", "pypa", "records", "strict",
    "units", "variables", "version",
    "text",
    "doors.net.offers",
    "lockfile",
    "elf.device", "elf.edit", "elf.facts", "elf.fatbin", "elf.image", "elf.kernels", "elf.layout", "elf.packing",
    "elf.release", "elf.resources", "elf.selection",
    "pe.edit", "pe.image",
    "recipe.amending", "recipe.difflines", "recipe.files", "recipe.lane", "recipe.lfs", "recipe.matrix",
    "recipe.miscompiles", "recipe.model", "recipe.native", "recipe.plan", "recipe.platforms", "recipe.proof",
    "recipe.reading", "recipe.series", "recipe.symptom", "recipe.toolchain", "recipe.trial", "recipe.waiver",
    "recipe.writing",
    "wheel.facts", "wheel.faults", "wheel.inflating", "wheel.members", "wheel.metadata", "wheel.statement",
    "wheel.table",
    "source.ends", "source.records", "queue.fate", "queue.header", "queue.hunks", "queue.incoming", "queue.order",
    "queue.resolution",
    "audit.manylinux", "audit.promise", "audit.providers", "audit.report", "audit.resources",
    "audit.rules", "audit.windows",
    "compile.schedule",
    "smoke.details", "smoke.junit", "smoke.level", "smoke.page", "smoke.reading", "smoke.report",
    "smoke.table", "smoke.tally",
    "evidence.agreement", "evidence.gate", "evidence.names", "evidence.signing", "evidence.statements",
    "build.sbom", "build.statement",
    "index.headers", "index.layout", "index.listing", "index.pages", "index.release", "index.revisions",
    "index.revocations", "index.variants",
    "fit.candidates", "fit.catalogue", "fit.conditions", "fit.driver", "fit.environment", "fit.explain", "fit.findings",
    "fit.judge", "fit.obstacles", "fit.report", "fit.serving", "fit.table", "fit.usage",
    "upstream.clue", "upstream.draft", "upstream.drift", "upstream.issue", "upstream.outlook", "upstream.renewal",
    "upstream.table",
    "jobs.job", "jobs.placing", "jobs.slurm",
    "cli.commands", "cli.show", "cli.usage",
)  # fmt: skip
"""Modules, and packages with all of theirs, that take values and return values: no disk, network, process or clock."""
VIEWS: Final = (
    "smoke.junit",
    "smoke.page",
    "smoke.table",
    "fit.table",
    "upstream.issue",
    "upstream.table",
    "cli.show",
    "cli.usage",
)
"""Modules that give one thing its look: in a terminal, on a page, for a CI system. The command line picks them, and
nothing else imports them: what two of them need is no matter of looks, and stands below them."""


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Return what every module is called, without ``retread.``, and says."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__") or "retread"
        found[name] = ast.parse(path.read_text("utf-8"))
    return found


@functools.cache
def nodes(tree: ast.AST) -> tuple[ast.AST, ...]:
    """Return all nodes of a module; walking one takes as long as parsing it."""
    return tuple(ast.walk(tree))


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of everything that is imported, inside functions and for types alone too."""
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = "." * node.level
            yield from (f"{above}{node.module or ''}.{alias.name}" for alias in node.names)


def needed(tree: ast.AST) -> set[str]:
    """Return the full name of everything that is imported when the module is run: not for types alone."""
    typing = {
        inside
        for node in nodes(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for one in node.body
        for inside in ast.walk(one)
    }
    found = [
        node for node in nodes(tree) if isinstance(node, ast.Import | ast.ImportFrom) and node not in typing
    ]
    return {name for node in found for name in imports(node)}


def own(imported: str) -> str | None:
    """Return the name of the module of ours that ``imported`` is, or is in; None for another package's."""
    if imported != "retread" and not imported.startswith("retread."):
        return None
    name = imported.removeprefix("retread").removeprefix(".")
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name or "retread"


def package(module: str) -> str:
    """Return the package that a module is in."""
    first = module.partition(".")[0]
    return first if first in ORDER else "ground"


def is_in(module: str, names: tuple[str, ...] | dict[str, tuple[str, ...]]) -> bool:
    """Say whether a module is one of ``names``, or in a package that is."""
    return any(module == name or module.startswith(f"{name}.") for name in names)


@functools.cache
def uses() -> dict[str, set[str]]:
    """Return module -> the modules of ours that it imports."""
    found: dict[str, set[str]] = {}
    for module, tree in modules().items():
        names = {own(imported) for imported in imports(tree)}
        found[module] = {name for name in names if name not in {None, module, "retread"}}  # type: ignore[misc]
    return found


def table() -> str:
    """Return the packages as a table: how many modules, what for, and which others they import from."""
    used = uses()
    lines = ["| package | modules | what | imports from |", "| --- | ---: | --- | --- |"]
    for name in ORDER:
        inside = [one for one in modules() if package(one) == name and one not in TOP]
        files = [one for one in inside if not _is_folder(one)]
        others = {package(other) for one in inside for other in used[one]} - {name, "ground"}
        below = ", ".join(f"`{one}`" for one in ORDER if one in others) or "-"
        told = "no folder: what everybody may use" if name == "ground" else ast.get_docstring(modules()[name])
        lines.append(f"| `{name}` | {len(files)} | {told} | {below} |")
    return "\n".join(lines)


def _is_folder(module: str) -> bool:
    return module == "retread" or SOURCE.joinpath(*module.split(".")).is_dir()


def page() -> str:
    """Return the architecture's page with the table as the code has it now."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Print the table, or put it into the page."""
    parser = argparse.ArgumentParser(description="the packages of src/retread, as a table")
    parser.add_argument("--write", action="store_true", help="put it into docs/architecture.md")
    if parser.parse_args().write:
        PAGE.write_text(page(), "utf-8")
    else:
        sys.stdout.write(f"{table()}\n")


if __name__ == "__main__":
    main()
