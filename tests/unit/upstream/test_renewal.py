"""The text of the next release's recipe, and which wheels and submodules it pins."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest
from packaging.version import Version

from retread.doors.net import offers
from retread.errors import FetchError
from retread.recipe.model import Recipe, Submodule
from retread.recipe.reading import parse_recipe
from retread.upstream import renewal
from retread.upstream.commits import Commits
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
    assert list(found.values()) == [new, new]
    sdist = offer("demo-1.1.tar.gz", "e")
    text = renewal.text(TEXT, recipe, renewal.Facts("1.1", NEW, sdist, {"lib": INNER}, found, {}))
    made = parse_recipe(text.encode(), name="demo-1.1")
    assert [one.file for one in made.targets["cu128"].base] == [new.file]
    assert [one.path for one in made.pin.submodules] == ["lib"]
    assert (made.pin.commit, made.targets["cu128"].revision) == (NEW, 1)
    assert "# The archive.\n[sdist]" in text


@pytest.mark.parametrize(
    "file",
    ["demo-1.1-cp311-abi3-manylinux_2_28_x86_64.whl", "demo-1.1-cp39-abi3-manylinux_2_28_aarch64.whl"],
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


def test_only_the_target_of_the_new_wheel_gets_its_torch(recipe: Recipe) -> None:
    head = TEXT.replace('torch = ">=2.8"', 'torch = "==2.8.0"\nrequires = ["torch==2.8.0"]')
    other = head[head.index("[targets.cu128]") : head.index("[[targets.cu128.base]]")].replace(
        "cu128", "cu129"
    )
    text = head + '\n[targets.cu128.smoke]\ntorch = "2.8.0"\n\n' + other
    facts = renewal.Facts("1.1", NEW, offer("demo-1.1.tar.gz", "e"), {}, {}, {"cu128": "2.9.1"})
    targets = msgspec.structs.replace(recipe.targets["cu128"], torch="==2.8.0", base=())
    made = renewal.text(text, msgspec.structs.replace(recipe, targets={"cu128": targets}), facts)
    assert made.count("2.9.1") == 3
    assert made.partition("[targets.cu129]")[2].count("2.8.0") == 2
