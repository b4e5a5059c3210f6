"""What a wheel says of itself: ``retread.json`` in its .dist-info. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from retread.audit.promise import promise
from retread.elf import facts
from retread.elf.facts import LibraryFacts
from retread.recipe import platforms
from retread.recipe.model import Recipe
from retread.recipe.series import Patch
from retread.records import narrowed
from retread.source.records import Applied, Manifest, Verdict, packed_name
from retread.version import __version__
from retread.wheel.statement import (
    CompileStatement,
    FileStatement,
    LibraryStatement,
    PatchStatement,
    SlimStatement,
    Statement,
    SubmoduleStatement,
    ToolchainStatement,
)

if TYPE_CHECKING:
    from retread.build.grafts import Proof, Slim


def statement(
    recipe: Recipe,
    target: str,
    base: FileStatement | CompileStatement,
    patches: Sequence[Patch],
    *,
    applied: Sequence[Applied] = (),
    version: str,
    lane: str,
    manifest: Manifest,
    toolchain: ToolchainStatement | None,
    libraries: Mapping[str, LibraryStatement],
    slimmed: SlimStatement | None = None,
) -> Statement:
    """Return the statement of a wheel of ``recipe``; ``manifest`` is that of its source."""
    made = recipe.targets[target]
    made = made.on(platforms.of_wheel(base.file)) if isinstance(base, FileStatement) else made
    moved = {one.name: tuple(one.detail.split("; ")) for one in applied if one.verdict is Verdict.OFFSET}
    series = narrowed(tuple(patches), tuple[PatchStatement, ...])
    return Statement(
        schema=1,
        tool=f"retread {__version__}",
        recipe=recipe.name,
        target=target,
        project=recipe.project,
        version=version,
        lane=lane,
        repository=recipe.pin.repository,
        commit=recipe.pin.commit,
        submodules=narrowed(recipe.pin.submodules, tuple[SubmoduleStatement, ...]),
        commit_time=manifest.time,
        sdist=narrowed(recipe.sdist, FileStatement) if recipe.sdist.file else None,
        base=base if isinstance(base, FileStatement) else None,
        compiled=base if isinstance(base, CompileStatement) else None,
        series=tuple(replace(one, offsets=moved.get(one.name, ())) for one in series),
        toolchain=toolchain,
        libraries=dict(libraries),
        promise=promise(recipe, made, version),
        source=recipe.level,
        packed=FileStatement(file=packed_name(recipe), sha256=manifest.packed) if manifest.packed else None,
        slim=slimmed,
    )


def library(before: LibraryFacts, after: LibraryFacts) -> LibraryStatement:
    """Return what every module of a library held before, and holds now."""
    sass, ptx = facts.common(after)
    return LibraryStatement(modules=len(after.modules), before=facts.common(before)[0], after=sass, ptx=ptx)


def toolchain(name: str, cuda: str, ptxas: str, proofs: Iterable[Proof]) -> ToolchainStatement:
    """Return which assembler was used, and which made the libraries' own code again, where that is another one."""
    tried = [one for one in proofs if one.reproduced is not None]
    others = dict.fromkeys(one.ptxas for one in tried if one.reproduced and one.ptxas != ptxas)
    return ToolchainStatement(
        name=name,
        cuda=cuda,
        ptxas=ptxas,
        reproduced=all(one.reproduced for one in tried) if tried else None,
        proven_by=", ".join(others),
    )


def slim(wish: Slim, drivers: Iterable[str]) -> SlimStatement:
    """Return what was taken out, and the newest of the drivers that its libraries need."""
    needed = max(filter(None, drivers), key=lambda one: [*map(int, one.split("."))], default="")
    return SlimStatement(keep=wish.keep, drop_ptx=wish.drop_ptx, compress=wish.compress or "", driver=needed)
