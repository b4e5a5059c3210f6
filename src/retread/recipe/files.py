"""Where the files of a recipe lie below the root, stated once: to read them and to know what a change touches. Pure.

A file that is read here and not named there would be a job that a workflow does not start.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from retread.recipe.model import Recipe

RECIPES: Final = "recipes"
PATCHES: Final = "patches"
POLICY: Final = "index-policy.toml"
"""Of the workspace's index, and of the shared store."""
TOOLCHAINS: Final = f"{RECIPES}/toolchains"
OWN_TOOLCHAINS: Final = "src/retread/recipe/toolchains"
"""Where those that are part of retread lie in its own repository."""


def recipe_file(name: str) -> str:
    """Return where the recipe of that name lies."""
    return f"{RECIPES}/{name}.toml"


def series(recipe: Recipe) -> str:
    """Return the folder of a recipe's patches."""
    return f"{PATCHES}/{recipe.project}/{recipe.version}"


def resolutions(recipe: Recipe) -> str:
    """Return the folder of what was made of conflicts of a project's patches."""
    return f"{PATCHES}/{recipe.project}/resolutions"


def lock(recipe: str, target: str) -> str:
    """Return where the lock of a target's build environment lies."""
    return f"{RECIPES}/locks/{recipe}-{target}.txt"


def times(recipe: str, target: str) -> str:
    """Return where it stands how long each unit of a target took; it orders a compile, and changes no byte of it."""
    return f"{RECIPES}/times/{recipe}-{target}.json"


def toolchain(name: str) -> str:
    """Return where the toolchain of that name lies, if it is the workspace's own."""
    return f"{TOOLCHAINS}/{name}.toml"


def proof(repository: str, commit: str) -> str:
    """Return where the proof of a repository's commit lies."""
    name = repository.rstrip("/").rpartition("/")[2].removesuffix(".git")
    return f"{RECIPES}/commits/{name}-{commit[:12]}.tree"


def proofs(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield (commit, where its proof lies) for every commit of the pin."""
    pin = recipe.pin
    if pin.commit:
        yield pin.commit, proof(pin.repository, pin.commit)
    for one in pin.submodules:
        yield one.commit, proof(one.repository, one.commit)


def inputs(recipe: Recipe, target: str) -> tuple[str, ...]:
    """Return what a target's wheels are made of and tried with: files, and folders, which end with a slash."""
    return (
        recipe_file(recipe.name),
        f"{series(recipe)}/",
        lock(recipe.name, target),
        *map(toolchain, recipe.targets[target].every_toolchain),
        *(f"{OWN_TOOLCHAINS}/{one}.toml" for one in recipe.targets[target].every_toolchain),
        *(path for _, path in proofs(recipe)),
        *dict.fromkeys(f"{suite.rpartition('/')[0]}/".lstrip("/") or suite for suite in recipe.smoke.suites),
    )
