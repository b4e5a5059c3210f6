"""Which toolchain compiles: the target's own, its fallback where that cannot be had, or the one asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fields import TARGET, loaded, machine
from retread.arch import Arch
from retread.build import choice
from retread.build.choice import jobs
from retread.errors import PlanError
from retread.lanes.lane import Wish
from retread.recipe.lane import Lane
from retread.recipe.model import Platform
from retread.recipe.series import Change, ChangeKind, Patch
from retread.recipe.toolchain import Toolchain
from retread.recipe.workspace import Loaded
from retread.records import Sha256

BOTH = replace(TARGET, base=(), fallback="cuda-13.0-clang22")
NO = "nvcc: no connection"


def patch(name: str, only_with: str = "", path: str = "csrc/a.cu") -> Patch:
    return Patch(
        name=name, sha256=Sha256(64 * "b"), subject="S", breaks="B", affects="A", upstream="not reported",
        drop_when="D", changes=(Change(path=path, kind=ChangeKind.MODIFY),), crlf=False, only_with=only_with,
    )  # fmt: skip


def two(**changes: Any) -> Loaded:
    """Return a recipe whose target names two toolchains, with a patch for each compiler."""
    tools = {
        name: Toolchain(name=name, cuda="13.0", ptx_isa="9.0", part=(), compiler=compiler)
        for name, compiler in (("cuda-13.0", "nvcc"), ("cuda-13.0-clang22", "clang"))
    }
    found = loaded(target=replace(BOTH, **changes))
    return found._replace(toolchains=tools, patches=(patch("0001-a.patch"), patch("0002-b.patch", "clang")))


def missing(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(choice, "_obstacles", lambda _, tool, platform: [NO] if tool.name in names else [])


def chosen(found: Loaded, tmp_path: Path, **asked: Any) -> tuple[str, str, list[str], str]:
    """Return the version, the toolchain, the patches and the reason of a build."""
    (job,) = jobs(found, "cu130", machine(tmp_path), **asked)
    tool, patches = job.goal.toolchain, job.goal.trees.loaded.patches
    return job.goal.version, tool.name if tool else "", [one.name for one in patches], job.reason


def test_nvcc_is_taken_where_it_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch)
    assert chosen(two(), tmp_path)[:3] == ("1.2+cu130.1", "cuda-13.0", ["0001-a.patch"])


def test_the_fallback_is_taken_where_it_cannot_and_all_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing(monkeypatch, "cuda-13.0")
    version, tool, patches, reason = chosen(two(), tmp_path)
    assert (version, tool) == ("1.2+cu130.clang.1", "cuda-13.0-clang22")
    assert patches == ["0001-a.patch", "0002-b.patch"]
    assert reason.endswith("this machine cannot have cuda-13.0: clang compiles")
    assert (
        f"note: cuda-13.0-clang22 compiles, since this machine cannot have cuda-13.0 ({NO})"
        in capsys.readouterr().err
    )


def test_code_that_the_toolchain_is_known_to_get_wrong_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing(monkeypatch)
    asked = {"architectures": (Arch("10.0"), Arch("10.3"))}
    with pytest.raises(PlanError, match=r"cu130: CUDA 13\.0 is known to miscompile") as caught:
        chosen(two(**asked), tmp_path)
    assert "nvcc 13.x code for sm_103 gave wrong results" in caught.value.faults[0]
    assert (
        chosen(two(**asked, waive={"miscompile-nvcc13-sm103": "tried on B300"}), tmp_path)[1] == "cuda-13.0"
    )


def test_none_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, "cuda-13.0", "cuda-13.0-clang22")
    with pytest.raises(PlanError, match="this machine can have none of its toolchains") as caught:
        chosen(two(), tmp_path)
    assert len(caught.value.faults) == 2
    assert "retread toolchain check" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "version"), [("cuda-13.0", "1.2+cu130.1"), ("cuda-13.0-clang22", "1.2+cu130.clang.1")]
)
def test_one_is_asked_for(name: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, "cuda-13.0", "cuda-13.0-clang22")
    assert chosen(two(), tmp_path, wish=Wish(toolchain=name))[:2] == (version, name)


def test_one_is_asked_for_that_the_target_has_not(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"is not compiled with 'cuda-13\.0-clang2'") as caught:
        chosen(two(), tmp_path, wish=Wish(toolchain="cuda-13.0-clang2"))
    assert "(did you mean 'cuda-13.0-clang22'?)" in caught.value.message
    assert caught.value.hint == "its toolchains are cuda-13.0, cuda-13.0-clang22"


def test_what_takes_code_over_compiles_with_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, "cuda-13.0")
    found = two(base=TARGET.base)
    found = found._replace(patches=(patch("0001-a.patch", path="demo/a.py"), found.patches[1]))
    version, tool, patches, _ = chosen(found, tmp_path)
    assert (version, tool, patches) == ("1.2+cu130.1", "cuda-13.0", ["0001-a.patch"])
    with pytest.raises(PlanError, match="the overlay lane compiles nothing"):
        chosen(found, tmp_path, wish=Wish(toolchain="cuda-13.0-clang22"))
    assert chosen(found, tmp_path, lane=Lane.SOURCE)[0] == "1.2+cu130.clang.1"


def test_a_fallback_that_is_the_toolchain_is_no_way_out() -> None:
    from retread.recipe.reading import _build_faults

    assert BOTH.build
    told = list(_build_faults(replace(BOTH, fallback="cuda-13.0"), BOTH.build))
    assert told == [
        "fallback: 'cuda-13.0' is the toolchain already; name one that can be had where that cannot"
    ]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("arm64", "aarch64"), ("aarch65", "aarch64"), ("linux/arm64", "aarch64"), ("amd64", "x86_64"),
        ("x86-64", "x86_64"), ("win64", "win_amd64"), ("win_amd65", "win_amd64"),
    ],
)  # fmt: skip
def test_a_platform_that_nobody_knows_brings_the_one_that_is_meant(
    tmp_path: Path, typed: str, meant: str
) -> None:
    with pytest.raises(PlanError) as caught:
        jobs(two(), None, machine(tmp_path), wish=Wish(platform=typed))
    assert caught.value.message == f"no recipe is made for {typed!r} (did you mean {meant!r}?)"
    assert caught.value.hint == "there are x86_64, aarch64, win_amd64"


def test_a_platform_that_no_target_is_made_for_is_said(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="is not made for aarch64\n") as caught:
        jobs(two(), None, machine(tmp_path), wish=Wish(platform="aarch64"))
    assert "targets.NAME.platforms.aarch64" in caught.value.hint
    there = replace(TARGET, platforms={"aarch64": Platform(architectures=(Arch("12.1"),))})
    assert there.on("aarch64").architectures == ("12.1",)
    assert "aarch64" in there.made_for
    assert "aarch64" not in TARGET.made_for


def test_a_recipe_without_a_wheel_for_windows_says_so_not_which_part_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing(monkeypatch, "cuda-13.0", "cuda-13.0-clang22")
    with pytest.raises(PlanError, match="no target can be built here") as caught:
        jobs(two(), None, machine(tmp_path), wish=Wish(platform="win_amd64"))
    assert caught.value.faults == ("cu130: the source lane compiles for Linux, not for win_amd64",)
    assert caught.value.hint.startswith("'retread matrix --platform win_amd64' shows what is made for it")


@pytest.mark.parametrize(
    ("wish", "lanes", "ways", "said", "hint"),
    [
        (
            Wish(jobs=2),
            [Lane.OVERLAY],
            [Lane.OVERLAY, Lane.SOURCE, Lane.CONTAINER],
            "--jobs would do nothing: the overlay lane compiles nothing",
            "leave --jobs out, or say --lane source",
        ),
        (
            Wish(jobs=2, cache=False, memory=1),
            [Lane.OVERLAY],
            [Lane.OVERLAY],
            "--jobs, --memory and --no-cache would do nothing: ",
            "leave --jobs, --memory and --no-cache out",
        ),
        (
            Wish(image="x"),
            [Lane.OVERLAY],
            [Lane.OVERLAY, Lane.SOURCE, Lane.CONTAINER],
            "--image would do nothing: the overlay lane compiles nothing",
            "leave --image out, or say --lane container",
        ),
        (
            Wish(image="x"),
            [Lane.SOURCE],
            [Lane.SOURCE],
            "--image would do nothing: the source lane takes no image",
            "leave --image out",
        ),
    ],
)
def test_what_is_asked_of_a_compile_is_refused_where_there_is_none(
    wish: Wish, lanes: list[Lane], ways: list[Lane], said: str, hint: str
) -> None:
    with pytest.raises(PlanError) as caught:
        choice.demand_used(wish, lanes, ways)
    assert caught.value.message.startswith(said)
    assert caught.value.hint == hint


def test_a_lane_is_named_only_where_the_recipe_can_be_made_by_it(tmp_path: Path) -> None:
    official = replace(TARGET, build=None)
    made = jobs(loaded(target=official), "cu130", machine(tmp_path))
    assert [*choice.others(made, None)] == [Lane.OVERLAY]
    both = jobs(loaded(), "cu130", machine(tmp_path))
    assert [*choice.others(both, None)] == [Lane.OVERLAY, Lane.SOURCE, Lane.CONTAINER]
    assert [*choice.others(both, "win_amd64")] == [Lane.OVERLAY]
    assert [*choice.others([*made, *both], None)] == [Lane.OVERLAY]
    with pytest.raises(PlanError) as caught:
        jobs(loaded(target=official), "cu130", machine(tmp_path), wish=Wish(toolchain="cuda-13.0"))
    assert caught.value.hint == "leave --toolchain out"


@pytest.mark.parametrize(
    ("wish", "lanes"),
    [
        (Wish(python="3.12", platform="aarch64", cold=True), [Lane.OVERLAY]),
        (Wish(jobs=2, memory=1, cache=False), [Lane.OVERLAY, Lane.SOURCE]),
        (Wish(jobs=2, image="x"), [Lane.CONTAINER]),
        (Wish(jobs=2), []),
    ],
)
def test_what_one_of_the_lanes_takes_is_not(wish: Wish, lanes: list[Lane]) -> None:
    choice.demand_used(wish, lanes)
