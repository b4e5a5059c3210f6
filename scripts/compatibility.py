"""The page docs/reference/compatibility.md, from recipes and kept evidence; ``scripts/reference.py`` writes it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from retread import arch
from retread.arch import Arch
from retread.elf.facts import DEVICES, devices
from retread.evidence import statements
from retread.recipe import plan, platforms, workspace
from retread.recipe.model import Target
from retread.recipe.workspace import Loaded
from retread.records import Sha256
from retread.smoke.report import Level, Run, SmokeReport
from retread.smoke.tally import tally

ROOT: Final = Path(__file__).resolve().parents[1]
EVIDENCE: Final = ROOT / "docs" / "evidence"
HEADS: Final = (
    "recipe, target", "torch", "Triton", "CUDA", "Python", "made by", "native code", "by JIT", "static", "jit", "gpu"
)  # fmt: skip
_ASIDE: Final = ("unpatched", "trial")
"""Of wheels that are no recipe's: they stand in docs/evidence/README.md."""
BEGIN: Final = "<!-- unproven: begin -->"
END: Final = "<!-- unproven: end -->"
NOTE: Final = """\
Every recipe and target: for which torch, Triton, CUDA, Python and GPU its wheels are, and what of it was tried. *Native
code* is machine code in every library that is not exempt; *by JIT* is what the driver compiles from PTX at the first
start. A cell of the last three columns names under what a level of the [smoke tests](../guides/smoke.md) passed, and
leads to the report; "not run" is what nobody has tried so far, *inherited* what ran of another wheel with the same
machine code, and *unproven: gpu* what no GPU of that platform has run, where its libraries were read and mapped. What a
report is of stands in [Evidence](../evidence/README.md).
"""


def page() -> str:
    """Return the page."""
    reports = list(_reports())
    recipes = [workspace.load(ROOT, name) for name in workspace.recipes(ROOT)]
    rows = [
        row for loaded in recipes for name in loaded.recipe.targets for row in _rows(loaded, name, reports)
    ]
    lines = [HEADS, ("---",) * len(HEADS), *rows]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"# Compatibility\n\n{NOTE}\n{table}"


def readme() -> str:
    """Return README.md with the table of the wheels that no GPU of their platform has run, from the kept evidence."""
    text = (ROOT / "README.md").read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = ["| wheel | for torch | what was run | |", "| --- | --- | --- | --- |"]
    for (recipe, target, platform), (file, read) in reversed(_structures().items()):
        made = workspace.load(ROOT, recipe).recipe.targets[target].on(platform)
        what = f"[{_read(read)}](docs/evidence/{file}), installed by pip {read['pip']['version']}"
        proven = ", ".join(f"**unproven: {one}**" for one in read["unproven"])
        lines.append(f"| `{recipe}` {target} {platform} | {made.torch} | {what} | {proven} |")
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}"


def _read(read: dict[str, Any]) -> str:
    """Return by what the libraries of a wheel were read and mapped."""
    lief = next(iter(read["lief"].values()))["version"].partition("-")[0]
    wine = read["wine"]["version"].partition(" ")[0].replace("wine-", "Wine ")
    return f"structure read by retread and lief {lief}, mapped by {wine}"


def _structures() -> dict[tuple[str, str, str], tuple[str, dict[str, Any]]]:
    """Return the kept reports of wheels that nothing here runs, by recipe, target and platform, with their files."""
    found = {}
    for path in sorted(EVIDENCE.glob("windows-*.json")):
        read = msgspec.json.decode(path.read_bytes())
        found[read["recipe"], read["target"], read["platform"]] = (path.name, read)
    return found


def _reports() -> Iterator[tuple[str, SmokeReport]]:
    """Yield the kept smoke reports by their files' names."""
    for path in sorted(EVIDENCE.glob("smoke-*.json.gz")):
        if not any(one in path.name for one in _ASIDE):
            yield path.name, msgspec.json.decode(gzip.decompress(path.read_bytes()), type=SmokeReport)


def _rows(loaded: Loaded, name: str, reports: list[tuple[str, SmokeReport]]) -> Iterator[tuple[str, ...]]:
    """Yield the row of a target, and one for each platform for which something is another."""
    yield _row(loaded, name, "", reports)
    for platform in loaded.recipe.targets[name].platforms:
        yield _row(loaded, name, platform, reports)


def _row(loaded: Loaded, name: str, platform: str, reports: list[tuple[str, SmokeReport]]) -> tuple[str, ...]:
    target = loaded.recipe.targets[name]
    target = target.on(platform) if platform else target
    of_it = [
        one
        for one in reports
        if (one[1].recipe, one[1].target) == (loaded.recipe.name, name)
        and platforms.of_wheel(one[1].wheel) in (platform or "x86_64", "any")
    ]
    triton = ", ".join(target.smoke.triton) if target.smoke else ""
    asked = devices(platform or platforms.COMPILED[0])
    cells = [_tried(level, of_it) or _shown(loaded.recipe.name, name, platform, level) for level in Level]
    return (
        " ".join(filter(None, (loaded.recipe.name, name, platform))),
        target.torch or "none",
        triton,
        target.cuda,
        " ".join(plan.pythons(target)),
        _made_by(loaded, name),
        _gpus(one for one in asked if _native(target, one)),
        _gpus(one for one in asked if not _native(target, one) and _jit(target, one)),
        *cells[:-1],
        "; ".join((cells[-1], *_inherited({one.sha256 for _, one in of_it}))),
    )


def _shown(recipe: str, target: str, platform: str, level: Level) -> str:
    """Return what is known of a level that was not run: by what a library was read and mapped, where that is kept."""
    file, read = _structures().get((recipe, target, platform), ("", {}))
    if not file or level is Level.JIT:
        return "not run"
    if level is Level.GPU:
        return "**unproven: gpu**"
    return f"not run; [{_read(read)}](../evidence/{file})"


def _native(target: Target, device: Arch) -> bool:
    return any(arch.runs(code, device) for code in target.architectures)


def _jit(target: Target, device: Arch) -> bool:
    return any(arch.compiles(code, device) for code in target.ptx)


def _gpus(found: Iterator[Arch]) -> str:
    return "; ".join(f"{DEVICES[one]} ({one})" for one in found) or "none"


def _made_by(loaded: Loaded, name: str) -> str:
    """Return the lane, and what compiles where it compiles."""
    lane = plan.choose_lane(loaded.recipe, name, loaded.patches, None).lane
    target = loaded.recipe.targets[name]
    if lane == "overlay":
        return "overlay"
    tools = [loaded.toolchains[one] for one in target.toolchains]
    return f"{lane}: {', else '.join(one.compiler for one in tools)}"


def _tried(level: Level, reports: list[tuple[str, SmokeReport]]) -> str:
    """Return under what a level passed, with the reports; what failed is said, too."""
    found = dict[str, None]()
    for file, report in reports:
        for run in report.runs:
            if run.level is level and run.cases:
                verdict = tally(run.cases).verdict
                found[f"[{verdict}: {_under(level, run)}](../evidence/{file})"] = None
    return "; ".join(found)


def _inherited(wheels: set[Sha256]) -> Iterator[str]:
    """Yield for how many of a wheel's kernels a GPU's run of another one holds, with the statements that say so."""
    for path in sorted(EVIDENCE.glob("inherited-*.json.gz")):
        said = statements.parse(gzip.decompress(path.read_bytes()), name=path.name)
        if said.inherited and said.sha256 in wheels:
            found = said.inherited.short
            where = found.where.removeprefix("NVIDIA ")
            yield f"[inherited: {found.kernels} of {found.of} kernels, {where}](../evidence/{path.name})"


def _under(level: Level, run: Run) -> str:
    emulator = run.surroundings.emulator
    return f"{_beside(level, run)}, {emulator}" if emulator else _beside(level, run)


def _beside(level: Level, run: Run) -> str:
    around = run.surroundings
    if level is Level.JIT:
        return f"Triton {around.triton}"
    if level is Level.GPU:
        return f"{around.gpus[0].name.removeprefix('NVIDIA ')}, torch {around.torch}"
    return f"torch {around.torch}" if around.torch else "no torch"
