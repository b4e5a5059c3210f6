"""A folder with recipes/ and patches/: where the maintainer's files lie, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from retread import strict
from retread.doors import fs
from retread.errors import RecipeError, RetreadError, SourceError, UsageError
from retread.recipe import files, native, proof, series, shared, toolchain
from retread.recipe.model import Recipe
from retread.recipe.proof import Proof
from retread.recipe.series import ChangeKind, Patch
from retread.recipe.toolchain import Toolchain
from retread.records import T
from retread.strict import near_miss

if TYPE_CHECKING:
    from retread.doors.readings import Readings

_OWN: Final = Path(__file__).parent / "toolchains"


class Loaded(NamedTuple):
    """A recipe with everything that stands beside it."""

    root: Path
    recipe: Recipe
    patches: tuple[Patch, ...]
    files: Mapping[str, bytes]
    """The series folder: name -> bytes."""
    proofs: Mapping[str, bytes]
    """Commit -> bytes of its proof, for those commits of the pin that have one."""
    toolchains: Mapping[str, Toolchain]
    locks: Mapping[str, bytes]
    """Target -> lock of its build environment, for those that have one."""
    times: Mapping[str, Mapping[str, float]] = MappingProxyType({})
    """Target -> seconds that each of its units took where somebody compiled it, for those that say it."""

    def compiled_by(self, compiler: str) -> Loaded:
        """Return what is built where this compiler compiles: the series without the patches for another one.

        An empty name is that of a build that compiles nothing.
        """
        return self._replace(patches=tuple(one for one in self.patches if one.only_with in ("", compiler)))

    def parsed_proofs(self) -> dict[str, Proof]:
        """Return the proofs, each recomputed from its listing; SourceError for one of another commit."""
        found = {}
        for commit, data in self.proofs.items():
            found[commit] = proof.parse(data, name=f"proof of {commit[:12]}")
            if found[commit].commit != commit:
                raise SourceError(
                    f"proof of {commit[:12]}: it proves {found[commit].commit}, the recipe pins {commit}",
                    hint="make the listing of the pinned commit (docs/guides/recipes.md says how)",
                )
        return found


def find_root(start: Path) -> Path:
    """Return the nearest folder, from ``start`` upwards, that holds recipes/."""
    for folder in (start, *start.parents):
        if (folder / files.RECIPES).is_dir():
            return folder
    raise UsageError(
        f"there is no folder recipes/ in {start} or above",
        hint="go to a clone of retread, or to what 'retread init' made, or use --root",
    )


def demand_root(folder: Path) -> Path:
    """Return a folder that a user named if it holds recipes/; UsageError for another."""
    if not (folder / files.RECIPES).is_dir():
        raise UsageError(
            f"--root: there is no folder recipes/ in {folder}",
            hint="name a clone of retread, or what 'retread init' made",
        )
    return folder


def recipes(root: Path) -> list[str]:
    """Return the names of all recipes."""
    return [path.stem for path in fs.listed(root / files.RECIPES, ".toml")]


def unfinished(root: Path, before: Readings | None = None) -> dict[str, tuple[str, ...]]:
    """Return the recipes that nobody has filled in yet, with all their faults: there is nothing to build of them."""
    found = {}
    for name in recipes(root):
        try:
            read_recipe(root, name, before)
        except RecipeError as error:
            if any(map(strict.is_open, error.faults)):
                found[name] = error.faults
    return found


def load(root: Path, name: str, before: Readings | None = None) -> Loaded:
    """Read the recipe ``name`` (or a path to it), its series, proofs and toolchains.

    ``before`` is what was read so far.
    """
    found = read_recipe(root, name, before)
    shared.links(root / files.series(found))
    beside = series_files(root / files.series(found))
    proofs = _proofs(root, found)

    def read() -> tuple[Patch, ...]:
        return series.parse_series(beside, where=files.series(found))

    patches = _placed(found, before.of(tuple[Patch, ...], beside, read) if before else read(), proofs)
    return Loaded(
        root=root,
        recipe=found,
        patches=patches,
        files=beside,
        proofs=proofs,
        toolchains=_toolchains(root, found, before),
        locks=_locks(root, found),
        times=_times(root, found),
    )


def _placed(recipe: Recipe, patches: tuple[Patch, ...], proofs: Mapping[str, bytes]) -> tuple[Patch, ...]:
    """Return patches that know which of their files lie in folders that are new, as the commit's proof tells."""
    adds = any(change.kind is ChangeKind.ADD for patch in patches for change in patch.changes)
    listing = proofs.get(recipe.pin.commit) if adds else None
    if listing is None:
        return patches
    with suppress(SourceError):  # told when the source is proven
        paths = proof.parse(listing, name=recipe.pin.commit).entries
        return tuple(
            msgspec.structs.replace(one, new_folders=native.in_new_folders(one, paths)) for one in patches
        )
    return patches


def faults(root: Path, name: str) -> list[str]:
    """Return every fault of a recipe and of what stands beside it, as they are told; nothing for a sound one."""
    try:
        demand_sound(root, name)
    except RetreadError as error:
        return list(error.faults or (error.message,))
    return []


def demand_sound(root: Path, name: str) -> None:
    """Read a recipe with everything that stands beside it; its first error is raised."""
    loaded = load(root, name)
    if loaded.recipe.sdist.file and loaded.recipe.pin.commit not in loaded.proofs:
        raise RecipeError(f"there is no proof of {loaded.recipe.pin.commit[:12]} in {files.RECIPES}/commits/")


def series_files(folder: Path) -> dict[str, bytes]:
    """Return what lies in a series folder: name -> bytes."""
    return {item.name: fs.read(item) for item in fs.listed(folder) if item.is_file()}


def _known(before: Readings | None, kind: type[T], name: str, data: bytes, read: Callable[[], T]) -> T:
    """Return what ``read`` makes of a TOML file, whose name it holds it to."""
    return before.of(kind, (name, data), read, plain=lambda: strict.table(data)) if before else read()


def read_recipe(root: Path, name: str, before: Readings | None = None) -> Recipe:
    """Read the recipe ``name`` (or a path to it) alone; ``before`` is what was read so far."""
    path = Path(name) if name.endswith(".toml") else root / files.recipe_file(name)
    if not path.is_file():
        if path.exists():
            fs.existing(path)
        known = recipes(root)
        raise UsageError(
            f"there is no recipe {name!r}{near_miss(name, known)}",
            hint=f"recipes here: {', '.join(known) or 'none'}",
        )
    data = fs.read(path)

    def read() -> Recipe:
        from retread.recipe import reading

        return reading.parse_recipe(data, name=path.stem)

    return _known(before, Recipe, path.stem, data, read)


def lock_path(root: Path, recipe: str, target: str) -> Path:
    """Return where the lock of a target's build environment lies."""
    return root / files.lock(recipe, target)


def _locks(root: Path, found: Recipe) -> dict[str, bytes]:
    return _existing(root, ((target, files.lock(found.name, target)) for target in found.targets))


def _times(root: Path, found: Recipe) -> dict[str, dict[str, float]]:
    paths = {target: files.times(found.name, target) for target in found.targets}
    read = _existing(root, paths.items())
    return {target: _seconds(data, paths[target]) for target, data in read.items()}


def _seconds(data: bytes, where: str) -> dict[str, float]:
    try:
        return strict.decoded(data, dict[str, float])
    except ValueError as error:
        hint = "make it anew: 'retread recipe times', or remove it"
        raise RecipeError(f"{where}: {error}", hint=hint) from None


def _proofs(root: Path, found: Recipe) -> dict[str, bytes]:
    return _existing(root, files.proofs(found))


def _existing(root: Path, paths: Iterable[tuple[str, str]]) -> dict[str, bytes]:
    return {key: fs.read(root / path) for key, path in paths if (root / path).is_file()}


def proof_path(root: Path, repository: str, commit: str) -> Path:
    """Return where the proof of a repository's commit is kept."""
    return root / files.proof(repository, commit)


def load_toolchain(root: Path | None, name: str, before: Readings | None = None) -> Toolchain:
    """Read the workspace's toolchain of that name, ``recipes/toolchains/<name>.toml``, or else retread's own."""
    path = toolchains(root).get(name)
    if path is None:
        raise RecipeError(f"there is no toolchain {name!r}{near_miss(name, toolchains(root))}")
    data = fs.read(path)
    return _known(before, Toolchain, name, data, lambda: toolchain.parse_toolchain(data, name=name))


def toolchains(root: Path | None) -> dict[str, Path]:
    """Return name -> file of all toolchains: the workspace's, if there is one, and those that are part of retread."""
    folders = (_OWN, root / files.TOOLCHAINS) if root else (_OWN,)
    found = {path.stem: path for folder in folders for path in fs.listed(folder, ".toml")}
    return dict(sorted(found.items()))


def every_toolchain(root: Path | None) -> list[Toolchain]:
    """Return all toolchains, read."""
    return [load_toolchain(root, name) for name in toolchains(root)]


def _toolchains(root: Path, found: Recipe, before: Readings | None) -> dict[str, Toolchain]:
    loaded: dict[str, Toolchain] = {}
    for key, target in found.targets.items():
        for name in target.every_toolchain:
            read = loaded[name] = loaded.get(name) or load_toolchain(root, name, before)
            if read.cuda != target.cuda and name in target.toolchains:
                raise RecipeError(
                    f"{found.name}: targets.{key} is for CUDA {target.cuda}, toolchain {name} is {read.cuda}",
                    hint="code is assembled with exactly the CUDA release that the target names",
                )
    return loaded
