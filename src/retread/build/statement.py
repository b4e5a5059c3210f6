"""What a wheel says of itself: ``retread.json`` in its .dist-info. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from packaging.utils import canonicalize_name

from retread.audit import rules
from retread.recipe.model import Recipe, Target, Toolchain
from retread.recipe.series import Patch
from retread.records import (
    CompileStatement,
    Exempt,
    FileStatement,
    LibraryFacts,
    LibraryStatement,
    PatchStatement,
    Promise,
    Statement,
    SubmoduleStatement,
    ToolchainStatement,
)
from retread.version import __version__


def statement(
    recipe: Recipe,
    target: str,
    base: FileStatement | CompileStatement,
    patches: Sequence[Patch],
    *,
    version: str,
    lane: str,
    time: int,
    toolchain: ToolchainStatement | None,
    libraries: Mapping[str, LibraryStatement],
) -> Statement:
    """Return the statement of a wheel of ``recipe``; ``time`` is the commit's, in seconds since 1970."""
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
        submodules=tuple(
            SubmoduleStatement(path=one.path, repository=one.repository, commit=one.commit)
            for one in recipe.pin.submodules
        ),
        commit_time=time,
        sdist=FileStatement(file=recipe.sdist.file, sha256=recipe.sdist.sha256),
        base=base if isinstance(base, FileStatement) else None,
        compiled=base if isinstance(base, CompileStatement) else None,
        series=tuple(map(_patch, patches)),
        toolchain=toolchain,
        libraries=dict(libraries),
        promise=promise(recipe, recipe.targets[target], version),
    )


def promise(recipe: Recipe, target: Target, version: str) -> Promise:
    """Return what a target promises of its wheels of this version."""
    return Promise(
        project=canonicalize_name(recipe.project),
        version=version,
        cuda=target.cuda,
        torch=target.torch,
        architectures=target.architectures,
        ptx=target.ptx,
        exempt=tuple(
            Exempt(library=one.library, architectures=one.architectures, ptx=one.ptx, reason=one.reason)
            for one in target.exempt
        ),
        requires=target.requires,
        run_path=dict(target.run_path),
        note=target.note,
    )


def library(before: LibraryFacts, after: LibraryFacts) -> LibraryStatement:
    """Return what every module of a library held before, and holds now."""
    sass, ptx = rules.common(after)
    return LibraryStatement(modules=len(after.modules), before=rules.common(before)[0], after=sass, ptx=ptx)


def toolchain(tool: Toolchain, ptxas: str, reproduced: Sequence[bool | None]) -> ToolchainStatement:
    """Return which assembler was used; ``reproduced`` says of each library whether its own code came out again."""
    tried = [one for one in reproduced if one is not None]
    return ToolchainStatement(
        name=tool.name, cuda=tool.cuda, ptxas=ptxas, reproduced=all(tried) if tried else None
    )


def _patch(patch: Patch) -> PatchStatement:
    return PatchStatement(**{field: getattr(patch, field) for field in PatchStatement.__struct_fields__})
