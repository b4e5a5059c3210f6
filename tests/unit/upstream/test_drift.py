"""What another release holds otherwise: taken over where nobody decided, asked about where somebody did."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from retread.arch import Arch
from retread.elf.facts import LibraryFacts, Module
from retread.recipe.model import Base, Pin, Recipe, Sdist
from retread.recipe.reading import parse_recipe
from retread.records import Sha256
from retread.upstream import draft, drift, renewal
from retread.upstream.clue import Said
from retread.upstream.draft import Found, Read
from retread.upstream.drift import Held, Side
from retread.wheel.facts import Fault, WheelFacts

TEXT = f"""\
name = "demo-1.0"
project = "demo"
version = "1.0"
summary = "a demo"
native-inputs = ["setup.py", "csrc/**", "demo/built.py"]

[pin]
repository = "https://example.org/demo"
commit = "{40 * "c"}"

[sdist]
file = "demo-1.0.tar.gz"
sha256 = "{64 * "a"}"
copies = {{ "demo/_copy" = "lib/copy", "demo/_other" = "lib/other" }}

[[sdist.unproven]]
paths = ["PKG-INFO", "lib/gone/**"]
reason = "x"

[[sdist.unproven]]
paths = ["lib/gone/inner/**"]
reason = "x"

[targets.cu128]
cuda = "12.8"
torch = ">=2.8"
revision = 1
architectures = ["8.0", "9.0", "12.0"]  # 12.0 is assembled
ptx = ["9.0"]
toolchain = "cuda-12.8"
generated = ["demo/version.py", "demo/**.so"]
requires = ["numpy>=2"]

[targets.cu128.run-path]
"demo/_C.so" = ["$ORIGIN/../mine"]
"demo/_old.so" = ["$ORIGIN"]

[[targets.cu128.base]]
file = "demo-1.0-py3-none-any.whl"
sha256 = "{64 * "b"}"

[[targets.cu128.exempt]]
library = "demo/_old.so"
architectures = ["8.0"]
reason = "as upstream has it"

[[targets.cu128.edit]]
file = "demo/version.py"
find = '"1.0"'
replace = '"{{version}}"'
"""
SOURCE = (
    "setup.py",
    "demo/__init__.py",
    "demo/built.py",
    "csrc/a.cu",
    "PKG-INFO",
    "lib/gone/x",
    "lib/gone/inner/x",
    "demo/_copy/a.py",
    "lib/copy/a.py",
    "demo/_other/b.py",
    "lib/other/b.py",
)


def code(sass: str, ptx: str = "", *run_path: str) -> LibraryFacts:
    module = Module(
        index=0, sass=tuple(map(Arch, sass.split())), ptx=tuple(map(Arch, ptx.split())), kernels=3
    )
    return LibraryFacts(
        machine="x86_64", needed=("libcudart.so.12",), run_path=run_path, versions=(), undefined=(), modules=(module,)
    )  # fmt: skip


MAIN = code("8.0 9.0", "9.0")
OLD = {"demo/_C.so": MAIN, "demo/_old.so": code("8.0")}


def side(
    version: str = "1.0",
    libraries: Mapping[str, LibraryFacts] = OLD,
    *,
    requires: tuple[str, ...] = ("torch>=2.8", "numpy"),
    source: tuple[str, ...] = SOURCE,
    cuda: str = "12.8",
    made: tuple[str, ...] = (),
    faults: tuple[Fault, ...] = (),
) -> Side:
    """Return a release with one wheel, as 'recipe new' sees it."""
    facts = WheelFacts(
        file=f"demo-{version}-py3-none-any.whl", sha256=Sha256(64 * "b"), size=1, project="demo", version=version,
        tags=(), requires=requires, members=3, libraries=dict(libraries), statement=None, faults=faults,
    )  # fmt: skip
    inside = [path for path in source if path.startswith("demo/")]
    files = (
        {path: path for path in inside}
        | dict.fromkeys(("demo/version.py", *made), "made")
        | dict.fromkeys(libraries, "")
    )
    read = Read(facts, files, dict.fromkeys(libraries, cuda))
    found = Found(
        project="demo", version=version, said=Said("", requires, "", ()), wheel=read,
        bases=(Base(file=facts.file, sha256=facts.sha256),), sdist=Sdist(file="x.tar.gz", sha256=Sha256(64 * "a")),
        source={path: path for path in source}, builds_with=(), pin=Pin(repository="https://x", commit=40 * "c"),
        proven=True, toolchains=(), machine="x86_64",
    )  # fmt: skip
    drafted = draft.draft(found).recipe
    (said,) = drafted.targets.values()
    texts = {"demo/version.py": f'__version__ = "{version}"\n'}
    held = Held(facts, said, drafted.native_inputs, frozenset(files), texts)
    return Side(version, source, drafted.native_inputs, (), {"cu128": [held]})


def taken(new: Side, text: str = TEXT) -> tuple[Recipe, tuple[str, ...], tuple[str, ...]]:
    recipe = parse_recipe(text.encode(), name="demo-1.0")
    found = renewal.taken(text, "demo-1.0", drift.drift(recipe, side(), new))
    return parse_recipe(found.text.encode(), name="demo-1.0"), found.adjusted, found.look_at


def test_where_nothing_changed_nothing_is_said_but_the_version() -> None:
    recipe, adjusted, look_at = taken(side("1.1"))
    assert adjusted == ('targets.cu128.edit: looks for "1.1" in demo/version.py',)
    assert look_at == ()
    assert recipe.targets["cu128"].edit[0].find == '"1.1"'


def test_what_is_gone_from_the_archive_goes_from_the_recipe() -> None:
    left = tuple(
        path for path in SOURCE if "gone" not in path and "other" not in path and "built" not in path
    )
    recipe, adjusted, look_at = taken(side("1.1", source=(*left, "new/b.cu", "new/c.cu")))
    assert recipe.native_inputs == ("setup.py", "csrc/**", "new/**")
    assert [one.paths for one in recipe.sdist.unproven] == [("PKG-INFO",)]
    assert recipe.sdist.copies == {"demo/_copy": "lib/copy"}
    assert adjusted[:4] == (
        "native-inputs: -demo/built.py +new/**",
        "sdist.copies: -demo/_other",
        "sdist.unproven: -lib/gone/inner/**",
        "sdist.unproven: -lib/gone/**",
    )
    assert look_at == (
        "native-inputs: demo/built.py was named by a person and is gone: see what took its place in what the build "
        "reads",
    )


def test_a_copy_of_what_is_gone_is_asked_about() -> None:
    _, _, look_at = taken(side("1.1", source=tuple(path for path in SOURCE if path != "lib/other/b.py")))
    assert look_at == (
        "sdist.copies: demo/_other is a copy of lib/other, which is gone: of what is it one now?",
    )


def test_a_library_that_is_gone_takes_its_exemption_and_its_run_path_along() -> None:
    recipe, adjusted, look_at = taken(side("1.1", {"demo/_C.so": MAIN}))
    target = recipe.targets["cu128"]
    assert (target.exempt, list(target.run_path)) == ((), ["demo/_C.so"])
    assert adjusted[:2] == (
        "targets.cu128.exempt: demo/_old.so is gone",
        "targets.cu128.run-path: demo/_old.so is gone",
    )
    assert look_at == ()


def test_code_that_came_is_promised_and_an_exemption_follows_what_upstream_has() -> None:
    new = {"demo/_C.so": code("8.0 9.0 10.0", "9.0"), "demo/_old.so": code("8.0 9.0")}
    recipe, adjusted, look_at = taken(side("1.1", new, made=("demo/made.py",)))
    target = recipe.targets["cu128"]
    assert target.architectures == ("8.0", "9.0", "10.0", "12.0")
    assert target.exempt[0].architectures == ("8.0", "9.0")
    assert target.generated == ("demo/version.py", "demo/**.so", "demo/made.py")
    assert adjusted[:3] == (
        "targets.cu128.architectures: +10.0",
        "targets.cu128.exempt.architectures of demo/_old.so: +9.0",
        "targets.cu128.generated: +demo/made.py",
    )
    assert look_at == ()


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (
            {**OLD, "demo/_C.so": code("9.0", "9.0")},
            "demo/_C.so has no native code for 8.0, and nothing to assemble it from",
        ),
        ({**OLD, "demo/_C.so": code("8.0 9.0")}, "ptx: the new wheel has no PTX for 9.0"),
        ({**OLD, "demo/_new.so": code("9.0", "9.0")}, "demo/_new.so has no native code for 8.0"),
        (
            {**OLD, "demo/_new.so": code("8.0 9.0 10.3", "9.0")},
            "demo/_new.so has native code for 10.3, too, which is not promised",
        ),
        ({}, "the new wheel holds no GPU code"),
    ],
)
def test_what_is_promised_and_not_there_is_asked_about(new: dict[str, LibraryFacts], said: str) -> None:
    wheel = side("1.1", new) if new else _without_code(side("1.1"))
    recipe, _, look_at = taken(wheel)
    assert recipe.targets["cu128"].architectures == ("8.0", "9.0", "12.0")
    assert any(said in one for one in look_at), look_at


def _without_code(one: Side) -> Side:
    (held,) = one.targets["cu128"]
    nothing = replace(held.said, cuda="", torch="", architectures=(), ptx=(), generated=(), exempt=())
    return one._replace(
        targets={"cu128": [held._replace(facts=replace(held.facts, libraries={}), said=nothing)]}
    )


def test_torch_is_upstream_s_where_nobody_narrowed_it() -> None:
    new = side("1.1", requires=("torch>=2.10", "numpy>=1"))
    recipe, adjusted, look_at = taken(new)
    assert recipe.targets["cu128"].torch == ">=2.10"
    assert adjusted[0] == "targets.cu128.torch: >=2.8 -> >=2.10"
    assert look_at == (
        "targets.cu128.requires: upstream required numpy and requires numpy>=1 now, the recipe has numpy>=2 "
        "in its place",
    )
    recipe, _, look_at = taken(new, TEXT.replace('torch = ">=2.8"', 'torch = ">=2.9"'))
    assert recipe.targets["cu128"].torch == ">=2.9"
    assert look_at[0] == "targets.cu128: the upstream wheel is for torch >=2.10, the target for >=2.9"


def test_a_wheel_of_another_cuda_moves_a_target_that_needs_no_other_tools() -> None:
    plain = TEXT.replace('toolchain = "cuda-12.8"\n', "").replace(', "12.0"]', "]")
    recipe, adjusted, look_at = taken(side("1.1", cuda="12.9"), plain)
    assert list(recipe.targets) == ["cu129"]
    assert recipe.targets["cu129"].cuda == "12.9"
    assert adjusted[-1] == "targets.cu128: CUDA 12.8 -> 12.9"
    assert look_at == ()


@pytest.mark.parametrize(
    ("cuda", "said"),
    [
        ("12.9", "the new one is of 12.9; no toolchain of CUDA 12.9 is known"),
        ("13.0", "the old wheel was of CUDA 12.8, the new one is of 13.0"),
    ],
)
def test_a_wheel_of_another_cuda_is_asked_about_where_it_needs_more(cuda: str, said: str) -> None:
    recipe, _, look_at = taken(side("1.1", cuda=cuda))
    assert list(recipe.targets) == ["cu128"]
    assert said in look_at[0]


def test_a_run_path_of_the_builder_s_machine_is_left_out_and_a_fault_is_told() -> None:
    new = {**OLD, "demo/_new.so": code("8.0 9.0", "9.0", "/build", "$ORIGIN")}
    fault = Fault(check="names", subject="demo/x", detail="is odd")
    recipe, _, look_at = taken(side("1.1", new, faults=(fault,)))
    assert recipe.targets["cu128"].run_path["demo/_new.so"] == ("$ORIGIN",)
    assert "demo-1.1-py3-none-any.whl: names: is odd: the overlay lane refuses such a wheel" in look_at[0]


def test_an_edit_that_finds_nothing_is_asked_about() -> None:
    recipe, adjusted, look_at = taken(side("1.1"), TEXT.replace("find = '\"1.0\"'", "find = 'never'"))
    assert recipe.targets["cu128"].edit[0].find == "never"
    assert (adjusted, len(look_at)) == ((), 1)
    assert (
        "looks for never in demo/version.py, and has to find it once: it stands there 0 times" in look_at[0]
    )


def test_the_wheel_of_another_platform_is_told_apart() -> None:
    other = replace(side("1.1").targets["cu128"][0].facts, file="demo-1.1-py3-none-win_amd64.whl")
    new, old = side("1.1", made=("demo/made.py",)), side()
    (now,), (was,) = new.targets["cu128"], old.targets["cu128"]
    both = new._replace(targets={"cu128": [side("1.1").targets["cu128"][0], now._replace(facts=other)]})
    before = old._replace(targets={"cu128": [was, was._replace(facts=other)]})
    recipe = parse_recipe(TEXT.encode(), name="demo-1.0")
    found = renewal.taken(TEXT, "demo-1.0", drift.drift(recipe, before, both))
    assert found.look_at == ("targets.cu128.generated: +demo/made.py, of win_amd64",)
    assert len(found.adjusted) == 1


WINDOWS = f"""
[[targets.cu128.base]]
file = "demo-1.0-py3-none-win_amd64.whl"
sha256 = "{64 * "d"}"

# What Windows has.
[targets.cu128.platforms.win_amd64]
generated = ["demo/version.py", "demo/**.pyd"]
requires = []

[targets.cu128.platforms.win_amd64.smoke]
torch = "2.8.0"
"""


def test_what_the_recipe_says_for_a_platform_alone_is_taken_over_from_its_wheel() -> None:
    text = TEXT.replace('torch = ">=2.8"', 'torch = "==2.8.0"') + WINDOWS
    recipe = parse_recipe(text.encode(), name="demo-1.0")
    sides = []
    for version, made, torch in (("1.0", (), "==2.8.0"), ("1.1", ("demo/made.py",), "==2.9.1")):
        (linux,) = side(version).targets["cu128"]
        linux = linux._replace(said=replace(linux.said, torch=torch))
        (windows,) = side(version, made=made).targets["cu128"]
        facts = replace(windows.facts, file=f"demo-{version}-py3-none-win_amd64.whl")
        windows = windows._replace(facts=facts, said=replace(windows.said, torch=torch))
        # the order of the base wheels says nothing
        sides.append(side(version)._replace(targets={"cu128": [windows, linux]}))
    found = renewal.taken(text, "demo-1.0", drift.drift(recipe, *sides))
    made = parse_recipe(found.text.encode(), name="demo-1.0").targets["cu128"]
    own = made.platforms["win_amd64"]
    assert (made.torch, made.generated) == ("==2.9.1", ("demo/version.py", "demo/**.so"))
    assert own.smoke
    assert own.smoke.torch == "2.9.1"
    assert own.generated == ("demo/version.py", "demo/**.pyd", "demo/made.py")
    assert found.look_at == ()
    assert "targets.cu128.generated: +demo/made.py, of win_amd64" in found.adjusted
    assert "# What Windows has.\n" in found.text
