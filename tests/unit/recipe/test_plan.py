"""Lanes: the overlay with its reason, or every patch and field that stands in the way."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from retread.arch import Arch
from retread.errors import PlanError
from retread.recipe import native, plan
from retread.recipe.lane import Bases, Compile, Contained, Lane
from retread.recipe.model import Base, Build, Container, Pin, Recipe, Sdist, Target
from retread.recipe.series import Change, ChangeKind, Patch
from retread.records import Sha256

DIGEST = Sha256(64 * "a")
TARGET = Target(
    cuda="12.8",
    torch=">=2.10",
    revision=1,
    architectures=(),
    ptx=(),
    base=(Base(file="demo-1.2-py3-none-any.whl", sha256=DIGEST),),
)
BUILD = Build(python=">=3.10", requires=())
RECIPE = Recipe(
    name="demo-1.2",
    project="demo",
    version="1.2",
    summary="A demonstration",
    pin=Pin(repository="https://example.org/demo", commit=40 * "0"),
    sdist=Sdist(file="demo-1.2.tar.gz", sha256=DIGEST, copies={"demo/_flash": "third_party/flash/flash"}),
    native_inputs=("setup.py", "demo/csrc/**", "third_party/**"),
    targets={
        "cu128": TARGET,
        "cu130": replace(TARGET, cuda="13.0", base=()),
        "cu140": replace(TARGET, cuda="14.0", build=BUILD),
        "cu141": replace(TARGET, cuda="14.1", base=(), build=BUILD),
    },
)


def patch(name: str, *paths: str, kind: ChangeKind = ChangeKind.MODIFY) -> Patch:
    return Patch(
        name=name,
        sha256=DIGEST,
        subject="s",
        breaks="b",
        affects="a",
        upstream="not reported",
        drop_when="d",
        changes=tuple(Change(path=path, kind=kind) for path in paths),
        crlf=False,
    )


def refusal(target: str, *patches: Patch, forced: Lane | None = None) -> list[str]:
    with pytest.raises(PlanError) as caught:
        plan.choose_lane(RECIPE, target, patches, forced)
    return str(caught.value).splitlines()


def test_the_first_target_is_the_default() -> None:
    assert plan.choose_target(RECIPE, None) == "cu128"
    assert plan.choose_target(RECIPE, "cu130") == "cu130"


def test_an_unknown_target_gets_its_near_miss() -> None:
    with pytest.raises(PlanError) as caught:
        plan.choose_target(RECIPE, "cu129")
    assert str(caught.value) == (
        "demo-1.2 has no target 'cu129' (did you mean 'cu128'?)\n  next: its targets are cu128, cu130, cu140, cu141"
    )


def test_a_target_that_no_recipe_has_is_named_with_those_that_there_are() -> None:
    plan.demand_target(None, [])
    plan.demand_target("cu128", [RECIPE])
    with pytest.raises(PlanError) as caught:
        plan.demand_target("cu129", [RECIPE, RECIPE])
    assert str(caught.value) == (
        "none of the recipes that are asked for has a target 'cu129' (did you mean 'cu128'?)\n"
        "  next: there are cu128, cu130, cu140, cu141"
    )


@pytest.mark.parametrize("forced", [None, Lane.OVERLAY])
def test_python_patches_take_the_overlay(forced: Lane | None) -> None:
    patches = [patch("0001-a.patch", "demo/x.py"), patch("0002-b.patch", "demo/csrc.py", "setup.cfg")]
    assert plan.choose_lane(RECIPE, "cu128", patches, forced) == (
        Lane.OVERLAY,
        "the series of 2 patches touches no native input, and a base wheel is pinned",
        Bases(TARGET.base),
    )


def test_a_patch_for_one_compiler_alone_is_none_that_the_overlay_applies() -> None:
    some = (
        patch("0001-a.patch", "demo/x.py"),
        replace(patch("0002-b.patch", "setup.py"), only_with="clang"),
    )
    assert plan.choose_lane(RECIPE, "cu128", some, None)[1].startswith("the series of 1 patch touches")
    assert plan.choose_lane(RECIPE, "cu128", some[1:], None)[1] == "no patch of the series is applied here"


def test_an_empty_series_takes_the_overlay() -> None:
    assert plan.choose_lane(RECIPE, "cu128", [], None) == (
        Lane.OVERLAY,
        "the series is empty",
        Bases(TARGET.base),
    )


NATIVE = (
    patch("0001-a.patch", "demo/x.py", "demo/csrc/deep/k.cu"),
    patch("0002-b.patch", "setup.py"),
)
OBSTACLES = (
    "0001-a.patch touches demo/csrc/deep/k.cu, a native input (demo/csrc/**)",
    "0002-b.patch touches setup.py, a native input (setup.py)",
)


def test_without_a_build_a_native_input_stops_it_and_everything_is_named() -> None:
    assert refusal("cu128", *NATIVE) == [
        "demo-1.2 cu128: the overlay lane is not allowed, and the source lane is not possible",
        f"  - {OBSTACLES[0]}",
        f"  - {OBSTACLES[1]}",
        "  - targets.cu128.build: missing; the recipe does not say how to compile it",
        "  next: an overlay takes over compiled code, so a patch on a native input needs the source lane",
    ]


@pytest.mark.parametrize("target", ["cu128", "cu140"])
def test_an_overlay_that_is_forced_is_refused_whether_there_is_a_build_or_not(target: str) -> None:
    assert refusal(target, *NATIVE, forced=Lane.OVERLAY) == [
        f"demo-1.2 {target}: the overlay lane is not allowed",
        f"  - {OBSTACLES[0]}",
        f"  - {OBSTACLES[1]}",
        "  next: an overlay takes over compiled code, so a patch on a native input needs the source lane",
    ]


def test_with_a_build_a_native_input_is_compiled_and_the_reason_names_everything() -> None:
    assert plan.choose_lane(RECIPE, "cu140", NATIVE, None) == (
        Lane.SOURCE,
        "; ".join(OBSTACLES),
        Compile(BUILD),
    )


def test_with_a_build_and_a_base_wheel_python_patches_take_the_overlay() -> None:
    chosen = plan.choose_lane(RECIPE, "cu140", [patch("0001-a.patch", "demo/x.py")], None)
    assert chosen.lane is Lane.OVERLAY


def test_without_a_base_wheel_it_is_compiled() -> None:
    assert plan.choose_lane(RECIPE, "cu141", [], None) == (
        Lane.SOURCE,
        "targets.cu141.base: no base wheel is pinned",
        Compile(BUILD),
    )


@pytest.mark.parametrize("patches", [(), (patch("0001-a.patch", "demo/x.py"),), NATIVE])
def test_the_source_lane_can_be_asked_for(patches: tuple[Patch, ...]) -> None:
    assert plan.choose_lane(RECIPE, "cu140", patches, Lane.SOURCE) == (
        Lane.SOURCE,
        "it was asked for",
        Compile(BUILD),
    )


def test_the_source_lane_needs_a_build() -> None:
    assert refusal("cu128", forced=Lane.SOURCE) == [
        "demo-1.2 cu128: the source lane is not possible",
        "  - targets.cu128.build: missing; the recipe does not say how to compile it",
    ]


def test_code_outside_the_globs_is_a_native_input_by_its_suffix() -> None:
    assert list(native.touched(patch("0001-a.patch", "demo/new/k.cuh"), RECIPE)) == [
        "0001-a.patch touches demo/new/k.cuh, a native input (*.cuh)"
    ]


@pytest.mark.parametrize("kind", list(ChangeKind))
def test_adding_and_deleting_native_inputs_count_too(kind: ChangeKind) -> None:
    assert list(native.touched(patch("0001-a.patch", "demo/csrc/n.h", kind=kind), RECIPE)) == [
        "0001-a.patch touches demo/csrc/n.h, a native input (demo/csrc/**)"
    ]


def test_a_copy_says_what_to_patch_instead() -> None:
    copied = patch("0001-a.patch", "demo/_flash/layers/rotary.py", "demo/_flashy/x.py")
    assert list(native.touched(copied, RECIPE)) == [
        "0001-a.patch touches demo/_flash/layers/rotary.py, a copy of third_party/flash/flash: patch that"
    ]


def test_no_base_wheel() -> None:
    assert refusal("cu130")[1] == "  - targets.cu130.base: no base wheel is pinned"


def test_the_container_lane_needs_a_build_and_an_image() -> None:
    mended = patch("0001-a.patch", "demo/x.py")
    build = "targets.cu128.build: missing; the recipe does not say how to compile it"
    image = "targets.{}.container: missing; the recipe does not say in which image"
    assert refusal("cu128", mended, forced=Lane.CONTAINER) == [
        "demo-1.2 cu128: the container lane is not possible",
        f"  - {build}",
        f"  - {image.format('cu128')}",
    ]
    assert refusal("cu140", forced=Lane.CONTAINER)[1:] == [f"  - {image.format('cu140')}"]
    asked = Container(image=f"example.org/i@sha256:{DIGEST}", platform="manylinux_2_28", pythons=("3.12",))
    target = replace(RECIPE.targets["cu140"], container=asked)
    recipe = replace(RECIPE, targets={"cu140": target})
    assert plan.choose_lane(recipe, "cu140", [mended], Lane.CONTAINER) == (
        Lane.CONTAINER,
        "it was asked for",
        Contained(BUILD, asked),
    )


@pytest.mark.parametrize(
    ("wheel", "python", "serves"),
    [
        ("demo-1-cp310-cp310-manylinux_2_28_x86_64.whl", "3.10", True),
        ("demo-1-cp310-cp310-manylinux_2_28_x86_64.whl", "3.11.4", False),
        ("demo-1-cp39-abi3-manylinux_2_28_x86_64.whl", "3.12", True),
        ("demo-1-cp311-abi3-manylinux_2_28_x86_64.whl", "3.10", False),
        ("demo-1-py39-none-manylinux_2_28_x86_64.whl", "3.14", True),
        ("demo-1-py3-none-manylinux_2_28_x86_64.whl", "3.9", True),
    ],
)
def test_which_python_a_base_wheel_serves(wheel: str, python: str, serves: bool) -> None:
    assert plan.serves(wheel, python) is serves


def unmoved(*patches: Patch, target: str = "cu128", forced: Lane | None = None) -> list[str]:
    with pytest.raises(PlanError) as caught:
        plan.demand_unmoved(RECIPE, target, patches, forced)
    return str(caught.value).splitlines()


CAP = patch("0007-cap.patch", "demo/csrc/cap.cu")


@pytest.mark.parametrize("forced", [None, Lane.OVERLAY])
def test_a_series_does_not_move_a_build_to_another_target(forced: Lane | None) -> None:
    assert unmoved(CAP, forced=forced) == [
        "demo-1.2 cu128: the series closes the overlay lane, and no target is named",
        "  - 0007-cap.patch touches demo/csrc/cap.cu, a native input (demo/csrc/**)",
        "  next: choose: '--target cu140' compiles it for CUDA 14.0 and torch >=2.10 (source lane); "
        "'--target cu141' compiles it for CUDA 14.1 and torch >=2.10 (source lane); "
        "or drop what is named here from series",
    ]


def test_nor_to_another_lane_of_the_same_target() -> None:
    """A build of seconds does not become one of hours unasked."""
    (said, _, choose) = unmoved(CAP, target="cu140")
    assert said == "demo-1.2 cu140: the series closes the overlay lane, and no target is named"
    assert "'--target cu140' compiles it for CUDA 14.0" in choose


def test_what_the_series_does_not_close_is_left_to_the_machine() -> None:
    plan.demand_unmoved(RECIPE, "cu128", [patch("0001-a.patch", "demo/x.py")], None)
    plan.demand_unmoved(RECIPE, "cu141", [CAP], None)
    plan.demand_unmoved(RECIPE, "cu128", [CAP], Lane.SOURCE)
    assert plan.offers(RECIPE, "cu128", Lane.SOURCE) is None
    assert plan.offers(RECIPE, "cu140", None) is Lane.OVERLAY


def test_without_another_way_the_patch_is_what_is_left() -> None:
    alone = replace(RECIPE, targets={"cu128": TARGET})
    with pytest.raises(PlanError) as caught:
        plan.demand_unmoved(alone, "cu128", [CAP], None)
    assert caught.value.hint == (
        "no target of the recipe can be made with this series: give one a [build] table, or drop what is named here "
        "from series"
    )


BASES = tuple(
    Base(file=f"demo-1.2-{tag}-manylinux_2_28_x86_64.whl", sha256=DIGEST)
    for tag in ("cp310-cp310", "cp311-cp311")
)


@pytest.mark.parametrize(
    ("target", "pythons"),
    [
        (TARGET, [">=3"]),
        (replace(TARGET, base=BASES), ["3.10", "3.11"]),
        (replace(TARGET, base=(Base(file="demo-1.2-cp39-abi3-linux_x86_64.whl", sha256=DIGEST),)), [">=3.9"]),
        (replace(TARGET, base=(), build=BUILD), [">=3.10"]),
    ],
)
def test_a_target_says_its_pythons(target: Target, pythons: list[str]) -> None:
    assert plan.pythons(target) == pythons


def test_a_wheel_says_for_whom_it_is() -> None:
    served = replace(TARGET, architectures=(Arch("9.0a"), Arch("10.0")), ptx=(Arch("8.0"),))
    assert plan.purpose(served, "3.12") == (
        "for torch >=2.10, Python 3.12",
        "for GPUs 9.0a 10.0; newer ones from PTX 8.0",
    )
    assert plan.purpose(replace(served, ptx=()), ">=3.9")[1] == "for GPUs 9.0a 10.0"
    assert plan.purpose(replace(served, torch=""), "3.12")[0] == "for Python 3.12"
    assert plan.fits(replace(served, torch=""), torch="2.1.0")


@pytest.mark.parametrize(
    ("torch", "gpu", "python", "fits"),
    [
        ("", "", "", True),
        ("2.10.0", "", "", True),
        ("2.12.0.dev1", "", "", True),
        ("2.9.1", "", "", False),
        ("", "8.0", "", True),
        ("", "8.6", "", True),
        ("", "9.0", "", False),
        ("", "", "3.10", True),
        ("", "", "3.12", False),
        ("2.10.0", "8.9", "3.11", True),
        ("2.10.0", "9.0", "3.11", False),
    ],
)
def test_a_target_fits_when_all_that_is_asked_for_does(torch: str, gpu: str, python: str, fits: bool) -> None:
    target = replace(TARGET, base=BASES, architectures=(Arch("8.0"),), ptx=(Arch("8.0"),))
    assert plan.fits(target, torch=torch, gpu=Arch(gpu) if gpu else None, python=python) is fits


def test_a_target_that_is_compiled_fits_the_pythons_of_its_range() -> None:
    target = replace(TARGET, base=(), build=BUILD)
    assert [plan.fits(target, python=one) for one in ("3.9", "3.10", "3.14")] == [False, True, True]


@pytest.mark.parametrize("python", ["3.8", "2.7", "3.14", "3.14.1"])
def test_a_python_that_is_not_in_the_range_of_a_build_is_refused(python: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan.demand_served("demo-1.0 cu128", ">=3.10,<3.14", python)
    assert caught.value.exit_code == 6
    assert str(caught.value) == (
        f"demo-1.0 cu128: the recipe builds for Python >=3.10,<3.14, and {python} is none of these"
    )


@pytest.mark.parametrize("python", [None, "3.10", "3.13.7", "/opt/bin/python3", "python3.8"])
def test_a_python_in_the_range_and_a_program_are_taken(python: str | None) -> None:
    plan.demand_served("demo-1.0 cu128", ">=3.10,<3.14", python)
    plan.demand_python(python or "3.9")
