"""The questions of a watch, asked of the package index for one recipe after the other; no failure hides the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from packaging.tags import sys_tags

from retread import pypa
from retread.build import choice, pipeline
from retread.doors.machine import Machine, download
from retread.doors.net import catalogue, offers, settings
from retread.doors.net.offers import Newest, Offer
from retread.errors import FetchError, PlanError, RetreadError, UsageError
from retread.queue.desk import Desk
from retread.queue.fate import PatchFate
from retread.recipe import workspace
from retread.recipe.lane import Lane
from retread.recipe.model import Recipe
from retread.recipe.trial import Trial
from retread.recipe.workspace import Loaded
from retread.smoke import run
from retread.smoke.level import Level
from retread.source import patch
from retread.source.records import Applied, SourceTree
from retread.source.trees import Trees, unproven
from retread.units import counted
from retread.upstream import bump, outlook
from retread.upstream.outlook import Jit, JitState, Need, RecipeOutlook, Upstream
from retread.upstream.release import Release
from retread.wheel import contents


class Watch:
    """One look at the index; what it has of a project is asked once."""

    def __init__(self, root: Path, machine: Machine, *, with_jit: bool = True) -> None:
        self.root = root
        self.machine = machine
        self.with_jit = with_jit
        self.failures: list[tuple[str, RetreadError]] = []
        """Recipe and error of every question that got no answer."""
        self._offered: dict[str, list[Offer]] = {}
        self._family = _readable(root)

    def look(self, names: Iterable[str]) -> list[RecipeOutlook]:
        """Return what the index means for recipes; UsageError when there is no such recipe, before it is asked."""
        loaded = [(name, self._load(name)) for name in names]
        return [self._row(name, one) for name, one in loaded]

    def _load(self, name: str) -> Loaded | RetreadError:
        try:
            return workspace.load(self.root, name)
        except UsageError:
            raise
        except RetreadError as error:
            return error

    def _row(self, name: str, found: Loaded | RetreadError) -> RecipeOutlook:
        if isinstance(found, RetreadError):
            self.failures.append((name, found))
            return outlook.unread(name, found)
        with self.machine.console.fold(f"watch {name}"):
            return self._look(found)

    def _look(self, loaded: Loaded) -> RecipeOutlook:
        upstream: Upstream | None = None
        need: Need | None = None
        jit: Jit | None = None
        errors: list[RetreadError] = []
        with _heard(errors):
            upstream = self._upstream(loaded)
            need = self._need(loaded, upstream)
        if self.with_jit:
            with _heard(errors):
                jit = self._jit(loaded)
        self.failures += [(loaded.recipe.name, error) for error in errors]
        heir = outlook.heir(loaded.recipe, self._family)
        return outlook.judge(loaded.recipe, heir, upstream=upstream, need=need, jit=jit, errors=errors)

    def _offers(self, project: str) -> list[Offer]:
        if project not in self._offered:
            with self.machine.console.step(f"ask the index for {project}") as step:
                found = catalogue.offered(
                    project,
                    using=settings.settings(self.machine.environment)._replace(say=self.machine.console.say),
                )
                step.detail = counted(len({one.version for one in found}), "version")
            self._offered[project] = found
        return self._offered[project]

    # The series on the newest source.

    def _upstream(self, loaded: Loaded) -> Upstream:
        """Try the series on the newest source, on the pinned one when nothing is newer."""
        recipe = loaded.recipe
        every = self._offers(recipe.project)
        newest = _newest_wheel(every) if recipe.source else offers.newest_source(every)
        if newest is None:
            what = "wheel for this machine" if recipe.source else "source archive"
            raise FetchError(
                f"the index has no {what} of any release of {recipe.project}",
                hint="without one no patch can be tried; see what upstream publishes instead",
            )
        if newest.sdist.version > pypa.version(recipe.version):
            tree = self._unproven(recipe.project, newest.sdist)
            tried = self._tried(loaded, tree)
            return _upstream(loaded, newest, tree, tried, self._fates(loaded, newest.sdist, tree, tried))
        _demand_pinned(recipe, newest.sdist)
        trees = Trees(loaded, self.machine)
        return _upstream(loaded, newest, trees.source, trees.try_series().applied)

    def _unproven(self, project: str, sdist: Offer) -> SourceTree:
        """Return the tree of an sdist, or of a wheel that stands for the source, that no commit proof covers."""
        if not sdist.sha256:
            raise FetchError(
                f"the index states no sha256 of {sdist.file}; it is not downloaded",
                hint="use an index whose pages state digests",
            )
        return unproven(self.machine, project, sdist.file, sdist.sha256)

    def _tried(self, loaded: Loaded, tree: SourceTree) -> list[Applied]:
        with self.machine.store.scratch() as scratch:
            return patch.try_series(
                tree, loaded.patches, loaded.files, scratch, environment=self.machine.environment
            )

    def _fates(
        self, loaded: Loaded, sdist: Offer, tree: SourceTree, tried: Sequence[Applied]
    ) -> tuple[PatchFate, ...]:
        """Return what a bump says of the series, where one of its patches does not apply."""
        if all(one.verdict not in outlook.STOPS for one in tried):
            return ()
        desk = Desk(self.machine, self.root, loaded.recipe.name, to=str(sdist.version))
        with desk.held() as scratch:
            return bump.looked(desk, loaded, Release(str(sdist.version), tree, sdist), scratch)

    # Whether the recipe is needed.

    def _need(self, loaded: Loaded, upstream: Upstream) -> Need:
        """Say what keeps the recipe; the wheel, which is large, is fetched only when nothing else does."""
        recipe = loaded.recipe
        reasons = outlook.kept_by_series(recipe, upstream)
        if reasons:
            return Need(wheel="", kept_by=tuple(reasons))
        found = offers.fitting(self._offers(recipe.project), pypa.version(upstream.version), list(sys_tags()))
        if found is None or not found.sha256:
            lack = "has no wheel for this machine" if found is None else f"states no sha256 of {found.file}"
            return Need(wheel="", kept_by=(f"{upstream.version}: the index {lack}",))
        path = download(self.machine, recipe.project, found.file, found.sha256)
        with self.machine.console.step(f"read {found.file}"), self.machine.store.scratch() as scratch:
            facts = contents.facts(path, scratch)
        return Need(wheel=found.file, kept_by=tuple(outlook.kept_by_wheel(recipe, facts)))

    # The jit level.

    def _jit(self, loaded: Loaded) -> Jit:
        """Try the wheel of the first overlay target under the newest torch and Triton that this Python can have."""
        try:
            name = outlook.overlay_target(loaded.recipe, loaded.patches)
        except PlanError as error:
            return Jit(state=JitState.UNTRIED, why="; ".join(error.faults))
        target = loaded.recipe.targets[name]
        if target.smoke is None or not target.smoke.triton or not target.torch:
            why = f"the recipe does not say how {name} is tried under a Triton"
            return Jit(state=JitState.UNTRIED, why=why, target=name)
        torch, triton = self._newest("torch"), self._newest("triton")
        if not pypa.specifiers(target.torch).contains(torch):
            why = f"{name} is for torch {target.torch}, the newest is {torch}"
            return Jit(state=JitState.UNFIT, why=why, torch=torch, triton=triton, target=name)
        return self._run(loaded, name, msgspec.structs.replace(target.smoke, torch=torch, triton=(triton,)))

    def _newest(self, project: str) -> str:
        found = offers.newest_wheel(self._offers(project), sys_tags())
        if not found:
            raise FetchError(f"the index has no release of {project} for this machine's Python")
        return found

    def _run(self, loaded: Loaded, name: str, trial: Trial) -> Jit:
        job = choice.jobs(loaded, name, self.machine, lane=Lane.OVERLAY)[0]
        with self.machine.store.scratch() as scratch:
            built = Path(pipeline.build(job, scratch / "dist").path)
            (scratch / "read").mkdir()
            tried = run.subject(self.root, built, None, None, scratch / "read")
            under = outlook.retried(loaded.recipe, name, trial)
            tried = tried._replace(loaded=loaded._replace(recipe=under))
            report = run.run(self.machine, tried, run.Request(levels=(Level.JIT,)), scratch)
        return outlook.jit(report, torch=trial.torch, triton=trial.triton[0])


def demand(failures: Sequence[tuple[str, RetreadError]]) -> None:
    """Raise one error that tells all failures, of the kind of the first, if there are any."""
    if not failures:
        return
    names = list(dict.fromkeys(name for name, _ in failures))
    first = failures[0][1]
    raise type(first)(
        f"not everything could be asked for {', '.join(names)}",
        faults=[f"{name}: {': '.join((error.message, *error.faults[:1]))}" for name, error in failures],
        hint=first.hint,
    )


@contextmanager
def _heard(errors: list[RetreadError]) -> Iterator[None]:
    """Note an error of a question, so that the next one is asked."""
    try:
        yield
    except RetreadError as error:
        errors.append(error)


def _readable(root: Path) -> dict[str, Recipe]:
    """Return the recipes that are sound; of the others their own rows tell."""
    found = {}
    for name in workspace.recipes(root):
        with _heard([]):
            found[name] = workspace.load(root, name).recipe
    return found


def _demand_pinned(recipe: Recipe, sdist: Offer) -> None:
    """Raise FetchError when the index has another archive under the name of the pinned one."""
    if sdist.file == recipe.sdist.file and sdist.sha256 not in {"", recipe.sdist.sha256}:
        raise FetchError(
            f"the index has another {sdist.file} than the recipe pins",
            faults=[f"its sha256 is {sdist.sha256}, pinned is {recipe.sdist.sha256}"],
            hint="a release never changes: find out who changed it before you use either",
        )


def _newest_wheel(every: Sequence[Offer]) -> Newest | None:
    """Return the wheel of the newest release that has one for this machine, in the place of its source."""
    version = offers.newest_wheel(every, sys_tags())
    found = offers.fitting(every, pypa.version(version), list(sys_tags())) if version else None
    return Newest(found, ()) if found else None


def _upstream(
    loaded: Loaded,
    newest: Newest,
    tree: SourceTree,
    series: Sequence[Applied],
    fates: tuple[PatchFate, ...] = (),
) -> Upstream:
    sdist, recipe = newest.sdist, loaded.recipe
    newer = sdist.version > pypa.version(recipe.version)
    pinned = (
        (recipe.source.wheel, recipe.source.sha256)
        if recipe.source
        else (recipe.sdist.file, recipe.sdist.sha256)
    )
    done = [
        one.name
        for patch, one in zip(loaded.patches, series, strict=True)
        if outlook.superfluous(patch, one, sdist.version, tree.manifest.files)
    ]
    return Upstream(
        version=str(sdist.version),
        file=sdist.file if newer else pinned[0],
        sha256=sdist.sha256 if newer else pinned[1],
        newer=newer,
        proven=not newer and recipe.source is None,
        without_source=tuple(map(str, newest.without_source)),
        series=tuple(series),
        fates=fates,
        superfluous=tuple(done),
    )
