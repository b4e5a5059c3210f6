"""The source tree of a recipe and what its series makes of it, each behind the store."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from retread.doors.machine import Machine, code_digest, download
from retread.doors.store import Kind, digest
from retread.errors import PlanError, UsageError
from retread.prooflevel import ProofLevel
from retread.recipe import plan
from retread.recipe.plan import Step, step
from retread.recipe.workspace import Loaded
from retread.records import Sha256, all_but
from retread.source.records import Applied, PatchedTree, SourceTree, Verdict
from retread.units import counted

NOT_OF_SOURCE: Final = {
    "name": "of the recipe: it is in messages",
    "project": "where the sdist is asked for, whose sha256 is in the key, and in the name of what is packed",
    "version": "of the wheel, which is held to it",
    "summary": "people read it",
    "native_inputs": "they sort the tree's files and change none",
    "targets": "made of the tree",
    "smoke": "how finished wheels are tried",
}
"""Fields of a recipe that change nothing of the pinned tree -> why."""


def unproven(machine: Machine, project: str, file: str, sha256: Sha256) -> SourceTree:
    """Return the tree of a source archive, or of a wheel, that no recipe pins and no commit proof covers."""
    from retread.source import tree

    path = download(machine, project, file, sha256)
    key = digest("unproven", code_digest(), sha256)
    taken = tree.from_unproven_wheel if file.endswith(".whl") else tree.from_unproven
    return tree.load(machine.store.make(Kind.TREES, key, lambda into: taken(path, into)))


class Tried(NamedTuple):
    """What became of each patch; where all went in, the Python files that do not compile any more, and why."""

    applied: list[Applied]
    broken: list[str]


class Trees:
    """The source of a recipe: from the sdist that stands for its pin, from git, or the files of a wheel."""

    def __init__(self, loaded: Loaded, machine: Machine, *, use_git: bool = False, clone: str = "") -> None:
        """``clone`` is one of the pinned repository's, which git asks in its place; UsageError where git is not asked.

        PlanError for git where no commit is pinned.
        """
        self.loaded = loaded
        self.recipe = loaded.recipe
        self.machine = machine
        if use_git and self.recipe.source:
            raise PlanError(
                f"{self.recipe.name}: no commit is pinned that git could be asked for",
                hint=f"its source is the wheel {self.recipe.source.wheel}",
            )
        self.use_git = use_git or self.recipe.level is ProofLevel.REPOSITORY
        if clone and not self.use_git:
            raise UsageError(
                f"--repository: the source of {self.recipe.name} does not come from git",
                hint="--source git has it come from there",
            )
        if (
            clone and ":" not in clone.partition("/")[0] and not Path(clone).exists()
        ):  # as git tells an address
            raise UsageError(
                f"--repository: there is no {clone}", hint="name a clone of the source, or an address"
            )
        self.clone = clone

    @functools.cached_property
    def source_key(self) -> str:
        """Key of the pinned tree."""
        proofs = {commit: hashlib.sha256(data).hexdigest() for commit, data in self.loaded.proofs.items()}
        kind = "git" if self.use_git else "wheel" if self.recipe.source else "sdist"
        return digest("source", code_digest(), kind, all_but(self.recipe, NOT_OF_SOURCE), proofs)

    @functools.cached_property
    def patched_key(self) -> str:
        """Key of the patched tree: a patch is no more than its bytes, which its sha256 covers."""
        return digest(
            "patched", code_digest(), self.source_key, [(one.name, one.sha256) for one in self.loaded.patches]
        )

    @functools.cached_property
    def source(self) -> SourceTree:
        """The tree, proven as far as the recipe can; looked up once, since thousands of files are taken from it."""
        from retread.source import tree

        made = (
            self._from_git if self.use_git else self._from_wheel if self.recipe.source else self._from_sdist
        )
        return tree.load(self.machine.store.make(Kind.TREES, self.source_key, made))

    def _from_git(self, into: Path) -> None:
        from retread.source import tree

        with self.machine.console.step("fetch the source from git"):
            tree.from_git(
                self.recipe,
                into,
                environment=self.machine.environment,
                say=self.machine.console.say,
                clone=self.clone,
            )

    def _from_sdist(self, into: Path) -> None:
        from retread.source import tree

        pinned = self.recipe.sdist
        sdist = download(self.machine, self.recipe.project, pinned.file, pinned.sha256)
        with self.machine.console.step("prove the source") as step:
            tree.from_sdist(self.recipe, sdist, self.loaded.parsed_proofs(), into)
            manifest = tree.load(into).manifest
            proven = len(manifest.files) - len(manifest.unproven)
            named = len(manifest.unproven)
            step.detail = f"{counted(proven, 'file')} of {self.recipe.pin.commit[:12]}, {named:,} by name"

    def _from_wheel(self, into: Path) -> None:
        from retread.source import tree

        assert self.recipe.source is not None
        pinned = self.recipe.source
        wheel = download(self.machine, self.recipe.project, pinned.wheel, pinned.sha256)
        with self.machine.console.step("take the files of the wheel for its source") as step:
            tree.from_wheel(self.recipe, wheel, into)
            step.detail = f"{counted(len(tree.load(into).manifest.files), 'file')}, of no known commit"

    @functools.cached_property
    def patched(self) -> PatchedTree:
        """The difference that the series makes."""
        from retread.source import patch, syntax

        def build(into: Path) -> None:
            tree, loaded = self.source, self.loaded
            with self.machine.console.step("apply the series") as step:
                patch.apply(
                    tree,
                    loaded.patches,
                    loaded.files,
                    into,
                    environment=self.machine.environment,
                    judge=lambda faults: syntax.demand_whole(self._judged(faults)),
                )
                step.detail = counted(len(self.loaded.patches), "patch")

        found = patch.load(self.machine.store.make(Kind.PATCHED, self.patched_key, build))
        for one in found.applied:
            if one.verdict is Verdict.OFFSET:
                self.machine.console.say(f"  note: {one.name} {one.verdict}: {one.detail}")
        return found

    def try_series(self) -> Tried:
        """Return what becomes of each patch of the series, and what all of them break; nothing is kept."""
        from retread.source import patch, syntax

        tree, patches = self.source, self.loaded.patches
        with self.machine.store.scratch() as scratch:
            tried = patch.try_series(
                tree, patches, self.loaded.files, scratch, environment=self.machine.environment
            )
            whole = all(one.verdict in {Verdict.APPLIES, Verdict.OFFSET} for one in tried)
            broken = syntax.broken(tree, patches, scratch / patch.TREE) if whole else []
            return Tried(tried, self._judged(broken))

    def _judged(self, faults: Sequence[str]) -> list[str]:
        """Return what is broken in the eyes of a Python that the wheels are for; of another it is a note."""
        from retread.source import syntax

        if any(plan.fits(target, python=syntax.PYTHON) for target in self.recipe.targets.values()):
            return [*faults]
        for fault in faults:
            self.machine.console.say(
                f"  note: {fault}; so says Python {syntax.PYTHON}, which no wheel is for"
            )
        return []

    def steps(self) -> Iterator[Step]:
        """Yield what a build does to have the patched tree."""
        store, recipe = self.machine.store, self.recipe
        if not self.use_git:
            file, sha256 = recipe.sdist.file, recipe.sdist.sha256
            if recipe.source:
                file, sha256 = recipe.source.wheel, recipe.source.sha256
            fetched = store.get(Kind.DOWNLOADS, sha256)
            shared = store.is_elsewhere(Kind.DOWNLOADS, sha256)
            yield step("fetch", file, fetched, f"pinned by sha256 {sha256[:12]}", shared=shared)
        what = f"{recipe.pin.commit[:12]} from {'git' if self.use_git else 'the sdist'}"
        what, why = (
            ("the wheel's own files", "changes with the wheel")
            if recipe.source
            else (what, "changes with the pin and its proofs")
        )
        made = store.get(Kind.TREES, self.source_key)
        yield step("source", what, made, why, shared=store.is_elsewhere(Kind.TREES, self.source_key))
        patches = counted(len(self.loaded.patches), "patch")
        made = store.get(Kind.PATCHED, self.patched_key)
        yield step("patch", patches, made, "changes with any byte of the series")
