"""What a compile could only end in is told before it; what the build alone decides is not guessed."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from fields import BUILD, RECIPE, TARGET
from retread.lanes import early
from retread.recipe.model import Edit, Exemption, Recipe

SOUND = replace(
    TARGET, generated=("demo/**.so", "demo/version.py"), exempt=(), edit=(), torch=">=2.11", requires=()
)
TEXTS = {
    "pyproject.toml": "[build-system]\nrequires = []\n",
    "setup.cfg": "[metadata]\nversion = attr: demo.VERSION\n",
    "demo/flags.py": "FLAG = 1\n",
}


def recipe(environment: dict[str, str] | None = None, **changes: Any) -> Recipe:
    build = replace(BUILD, environment=environment or {})
    return replace(RECIPE, version="1.2", targets={"cu130": replace(SOUND, build=build, **changes)})


def of_tree(made: Recipe, changed: tuple[str, ...] = (), **texts: str) -> list[str]:
    found = TEXTS | {name.replace("_", "."): text for name, text in texts.items()}
    return list(early.of_tree(made, "cu130", found, changed, lambda path: found[path]))


@pytest.mark.parametrize("variable", ["BUILD_VERSION", "SETUPTOOLS_SCM_PRETEND_VERSION_FOR_DEMO"])
def test_a_variable_that_is_the_version(variable: str) -> None:
    assert list(early.of_recipe(recipe({variable: "{version}"}), "cu130")) == []
    assert list(early.of_recipe(recipe({variable: "1.2.0", "CUDA_VERSION": "13.0"}), "cu130")) == []
    for wrong in ("1.3", "{version}+cu130", "latest"):
        (told,) = early.of_recipe(recipe({variable: wrong}), "cu130")
        said = wrong.replace("{version}", "1.2")
        assert (
            told == f"targets.cu130.build.environment.{variable}: {said!r} is not the recipe's version, 1.2"
        )


@pytest.mark.parametrize(
    "generated", [("demo/**.so",), ("demo/_C.abi3.so",), ("demo/lib/*",), ("demo/x.so.*",)]
)
def test_generated_names_a_library(generated: tuple[str, ...]) -> None:
    assert list(early.of_recipe(recipe(generated=generated), "cu130")) == []


@pytest.mark.parametrize("generated", [(), ("demo/version.py", "demo/*.json")])
def test_generated_that_can_name_no_library(generated: tuple[str, ...]) -> None:
    (told,) = early.of_recipe(recipe(generated=generated), "cu130")
    assert told.startswith("targets.cu130.generated: no glob names a library, and a compile makes one: add '")


def test_an_exempt_library_that_the_build_may_not_make() -> None:
    exempt = (Exemption(library="other/_C.so", architectures=(), reason="r"),)
    assert list(early.of_recipe(recipe(exempt=exempt), "cu130")) == [
        "targets.cu130.exempt[0].library: other/_C.so is nothing that 'generated' names"
    ]


def test_what_it_is_compiled_against_has_to_be_allowed() -> None:
    target = replace(SOUND, requires=("numpy>=2", "other<1"))
    assert list(early.of_lock(target, "cu130", {"torch": "2.11.0+cu130", "numpy": "2.4.0"})) == []
    assert list(early.of_lock(target, "cu130", {"torch": "2.10.0", "numpy": "1.26.4", "other": "0.9"})) == [
        "targets.cu130.torch: 'torch>=2.11' does not allow torch 2.10.0, which it is compiled against (lock)",
        "targets.cu130.requires[0]: 'numpy>=2' does not allow numpy 1.26.4, which it is compiled against (lock)",
    ]


def test_a_version_in_the_tree() -> None:
    assert of_tree(recipe()) == []
    assert of_tree(recipe(), pyproject_toml="[project]\nversion = '1.2'\n") == []
    assert of_tree(recipe(), pyproject_toml="not = [toml") == []
    project, metadata = "[project]\nversion = '1.3'\n", "[metadata]\nversion = 1.4\n"
    assert of_tree(recipe(), pyproject_toml=project, setup_cfg=metadata) == [
        "pyproject.toml: its version is 1.3, the recipe's 1.2",
        "setup.cfg: its version is 1.4, the recipe's 1.2",
    ]  # fmt: skip


def test_edits_of_the_tree() -> None:
    edits = tuple(
        Edit(file=file, find=find, replace="")
        for file, find in (
            ("demo/flags.py", "FLAG"), ("demo/flags.py", "anything"), ("demo/version.py", "?"), ("demo/none.py", "x"),
            ("setup.cfg", "version"), ("pyproject.toml", "e"),
        )
    )  # fmt: skip
    assert of_tree(recipe(edit=edits), changed=("setup.cfg",)) == [
        "targets.cu130.edit[3]: demo/none.py is neither in the source nor named by 'generated'",
        "targets.cu130.edit[4]: the series touches setup.cfg; change it in one way, by an edit or by a patch",
        "targets.cu130.edit[5]: 'e' stands 3 times in pyproject.toml, not once",
    ]
