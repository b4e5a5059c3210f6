"""The text of the next release's recipe, and which wheels and submodules it pins."""

from __future__ import annotations

from typing import cast

import pytest
from packaging.version import Version

from retread.doors.net import offers
from retread.errors import FetchError
from retread.recipe.amending import Place
from retread.recipe.model import Recipe, Submodule
from retread.recipe.reading import parse_recipe
from retread.upstream import renewal
from retread.upstream.commits import Commits
from retread.upstream.drift import Change, Step
from retread.upstream.listing import Listing

OLD, NEW, INNER, OTHER = ("0123"[at] * 40 for at in range(4))
TEXT = f"""\
name = "demo-1.0"
project = "demo"
version = "1.0"
summary = "a demo"
native-inputs = ["csrc/**"]

[pin]
repository = "https://example.org/demo"
commit = "{OLD}"

[[pin.submodules]]
path = "lib"
repository = "https://example.org/lib"
commit = "{INNER}"

[[pin.submodules]]
path = "lib/inner"
repository = "https://example.org/inner"
commit = "{OTHER}"

# The archive.
[sdist]
file = "demo-1.0.tar.gz"
sha256 = "{"a" * 64}"

[targets.cu128]
cuda = "12.8"
torch = ">=2.8"
revision = 3
architectures = ["9.0"]
ptx = []
generated = ["demo/**.so"]

[[targets.cu128.base]]
file = "demo-1.0-cp310-cp310-manylinux_2_28_x86_64.whl"
sha256 = "{"b" * 64}"

[[targets.cu128.base]]
file = "demo-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
sha256 = "{"c" * 64}"
"""


def offer(file: str, digit: str) -> offers.Offer:
    found = offers.read(file, "demo", sha256=digit * 64)
    assert found is not None
    return found


@pytest.fixture
def recipe() -> Recipe:
    return parse_recipe(TEXT.encode(), name="demo-1.0")


def test_one_wheel_of_the_stable_abi_stands_for_several(recipe: Recipe) -> None:
    new = offer("demo-1.1-cp39-abi3-manylinux_2_28_x86_64.whl", "d")
    found = renewal.wheels(recipe, [new], Version("1.1"))
    assert list(found.found.values()) == [new, new]
    assert (found.gone, found.more) == ({}, {})
    sdist = offer("demo-1.1.tar.gz", "e")
    text = renewal.text(TEXT, recipe, renewal.Facts("1.1", NEW, sdist, {"lib": INNER}, found))
    made = parse_recipe(text.encode(), name="demo-1.1")
    assert [one.file for one in made.targets["cu128"].base] == [new.file]
    assert [one.path for one in made.pin.submodules] == ["lib"]
    assert (made.pin.commit, made.targets["cu128"].revision) == (NEW, 1)
    assert "# The archive.\n[sdist]" in text


@pytest.mark.parametrize(
    "file",
    ["demo-1.1-cp312-abi3-manylinux_2_28_x86_64.whl", "demo-1.1-cp39-abi3-manylinux_2_28_aarch64.whl"],
)
def test_a_wheel_for_fewer_pythons_or_another_machine_stands_for_none(recipe: Recipe, file: str) -> None:
    with pytest.raises(FetchError, match="lacks base wheels") as error:
        renewal.wheels(recipe, [offer(file, "d")], Version("1.1"))
    assert "demo-1.0-cp310-cp310" in error.value.faults[0]


@pytest.mark.parametrize(
    ("top", "inside", "wanted"),
    [
        ({"lib": INNER}, None, {"lib": INNER, "lib/inner": OTHER}),
        ({"lib": NEW}, {"inner": OLD}, {"lib": NEW, "lib/inner": OLD}),
        ({"lib": NEW}, {}, {"lib": NEW}),
        ({}, None, {}),
    ],
    ids=["as before", "moved", "gone inside", "gone"],
)
def test_commits_of_submodules_inside_of_submodules(
    recipe: Recipe, top: dict[str, str], inside: dict[str, str] | None, wanted: dict[str, str]
) -> None:
    class Known(Commits):
        def __init__(self) -> None:
            pass

        def _inner(self, repository: str, commit: str) -> Listing:
            assert inside is not None, "asked for nothing"
            assert (repository, commit) == ("https://example.org/lib", NEW)
            return Listing(commit, b"", inside)

    some = cast("tuple[Submodule, ...]", recipe.pin.submodules)
    assert Known().submodules(Listing(NEW, b"", top), some) == wanted


def test_a_python_that_came_gets_a_wheel_and_one_that_went_has_none(recipe: Recipe) -> None:
    names = [f"demo-{version}-cp3{minor}-cp3{minor}-manylinux_2_28_x86_64.whl" for version, minor in (
        ("1.0", 10), ("1.0", 11), ("1.1", 11), ("1.1", 12))]  # fmt: skip
    every = [offer(name, "bcde"[at]) for at, name in enumerate(names)]
    found = renewal.wheels(recipe, every, Version("1.1"))
    text = renewal.text(
        TEXT, recipe, renewal.Facts("1.1", NEW, offer("demo-1.1.tar.gz", "e"), {"lib": INNER}, found)
    )
    taken = renewal.taken(text, "demo-1.1", renewal.steps(recipe, found))
    made = parse_recipe(taken.text.encode(), name="demo-1.1")
    assert [one.file for one in made.targets["cu128"].base] == names[2:]
    assert taken.adjusted == (f"targets.cu128.base: +{names[3]}",)
    assert taken.look_at[0].startswith(f"targets.cu128.base: nothing stands for {names[0]}")


WINDOWS = f"""
[[targets.cu128.base]]
file = "demo-1.0-cp310-cp310-win_amd64.whl"
sha256 = "{"f" * 64}"

# What Windows has.
[targets.cu128.platforms.win_amd64]
requires = []

[targets.cu128.platforms.win_amd64.smoke]
torch = "2.8.0"

# How it is tried.
[targets.cu128.smoke]
torch = "2.8.0"
"""


def test_a_platform_without_a_wheel_goes_and_the_rest_goes_on() -> None:
    recipe = parse_recipe((TEXT + WINDOWS).encode(), name="demo-1.0")
    names = [f"demo-1.1-cp3{minor}-cp3{minor}-manylinux_2_28_x86_64.whl" for minor in (10, 11)]
    found = renewal.wheels(recipe, [offer(name, "d") for name in names], Version("1.1"))
    facts = renewal.Facts("1.1", NEW, offer("demo-1.1.tar.gz", "e"), {"lib": INNER}, found)
    taken = renewal.taken(
        renewal.text(TEXT + WINDOWS, recipe, facts), "demo-1.1", renewal.steps(recipe, found)
    )
    made = parse_recipe(taken.text.encode(), name="demo-1.1").targets["cu128"]
    assert ([one.file for one in made.base], made.platforms, made.made_for) == (names, {}, ("x86_64",))
    assert "Windows" not in taken.text
    assert "\n# How it is tried.\n[targets.cu128.smoke]\n" in taken.text
    assert taken.look_at == (
        "targets.cu128: the release has no wheel for win_amd64, so the target is not made for it any more, and what "
        "the recipe said for it is left out: nothing compiles for that platform",
    )


def test_each_platform_has_its_own_new_wheel() -> None:
    recipe = parse_recipe((TEXT + WINDOWS).encode(), name="demo-1.0")
    names = [one.file.replace("-1.0-", "-1.1-") for one in recipe.targets["cu128"].base]
    found = renewal.wheels(recipe, [offer(name, "d") for name in names], Version("1.1"))
    facts = renewal.Facts("1.1", NEW, offer("demo-1.1.tar.gz", "e"), {"lib": INNER}, found)
    made = parse_recipe(renewal.text(TEXT + WINDOWS, recipe, facts).encode(), name="demo-1.1")
    assert [one.file for one in made.targets["cu128"].base] == names
    assert list(renewal.steps(recipe, found)) == []


def test_one_who_pins_some_wheels_gets_no_others(recipe: Recipe) -> None:
    every = [offer(f"demo-{version}-cp3{minor}-cp3{minor}-manylinux_2_28_x86_64.whl", "d")
             for version in ("1.0", "1.1") for minor in (10, 11, 12)]  # fmt: skip
    assert not renewal.wheels(recipe, every, Version("1.1")).more


def test_what_would_make_a_recipe_unsound_is_left_to_a_person() -> None:
    steps = [
        Step("torch: >=2.8 -> odd", (Change(Place("targets.cu128", "torch"), "odd"),)),
        Step("cuda: 12.8 -> 13.0", (Change(Place("targets.cu999", "cuda"), "13.0"),)),
    ]
    taken = renewal.taken(TEXT, "demo-1.0", steps)
    assert (taken.text, taken.adjusted) == (TEXT, ())
    assert taken.look_at[0].startswith("torch: >=2.8 -> odd, but then targets.cu128.torch: 'odd' is not a")
    assert taken.look_at[1] == "cuda: 12.8 -> 13.0, but it is not seen where that stands"
