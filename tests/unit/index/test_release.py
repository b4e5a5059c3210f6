"""The plan of a release: which wheels it has, and what a set of wheels lacks of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from retread.audit import promise
from retread.errors import PublishError
from retread.index import release
from retread.index.release import Given, Release
from retread.recipe import matrix
from retread.recipe.model import Base, Build, Pin, Recipe, Sdist, Target
from retread.recipe.series import Patch
from retread.recipe.toolchain import Toolchain
from retread.recipe.trial import Trial
from retread.recipe.workspace import Loaded
from retread.records import Sha256
from retread.wheel.statement import FileStatement, PatchStatement, Statement

DIGEST = Sha256(64 * "a")
LINUX, WINDOWS = "demo-1.2-cp39-abi3-manylinux_2_28_x86_64.whl", "demo-1.2-cp39-abi3-win_amd64.whl"
TARGET = Target(
    cuda="12.8", torch=">=2.10", revision=1, architectures=(), ptx=(),
    base=tuple(Base(file=one, sha256=DIGEST) for one in (LINUX, WINDOWS)),
    smoke=Trial(torch="2.10.0", gpu=("9.0",), triton=("3.5.1",)),
)  # fmt: skip
COMPILED = replace(
    TARGET, cuda="13.0", base=(), toolchain="nvcc-13", fallback="clang-13", torch="", smoke=None,
    build=Build(python=">=3.12", requires=()),
)  # fmt: skip
RECIPE = Recipe(
    name="demo-1.2", project="demo", version="1.2", summary="s", pin=Pin(repository="r", commit=40 * "0"),
    sdist=Sdist(file="demo-1.2.tar.gz", sha256=DIGEST), targets={"cu128": TARGET, "cu130": COMPILED},
)  # fmt: skip
PATCH = Patch(
    name="a.patch", sha256=DIGEST, subject="s", breaks="b", affects="a", upstream="u", drop_when="d", crlf=False,
    changes=(),
)  # fmt: skip
FOUND = {
    "linux": "demo-1.2+cu128.1-cp39-abi3-manylinux_2_28_x86_64.whl",
    "nvcc": "demo-1.2+cu130.1-cp312-cp312-manylinux_2_28_x86_64.whl",
    "windows": "demo-1.2+cu128.1-cp39-abi3-win_amd64.whl",
}
CLANG = FOUND["nvcc"].replace("cu130.1", "cu130.clang.1")


def toolchain(name: str, compiler: Any) -> Toolchain:
    return Toolchain(name=name, cuda="13.0", ptx_isa="9.0", part=(), compiler=compiler)


@pytest.fixture(scope="module")
def plan() -> Release:
    tools = {name: toolchain(name, name.partition("-")[0]) for name in ("nvcc-13", "clang-13")}
    loaded = Loaded(
        Path(), RECIPE, (PATCH, replace(PATCH, name="b.patch", only_with="clang")), {}, {}, tools, {}
    )
    jobs = matrix.matrix([(RECIPE, ())], None, ()).include
    return release.parse(msgspec.json.encode(release.planned(jobs, {"demo-1.2": loaded})), name="plan.json")


def said(target: str, base: str, *patches: str, **changes: Any) -> Statement:
    """Return what a wheel says of itself that is made of the recipe."""
    version = f"1.2+{target}.{'clang.' if len(patches) > 1 else ''}1"
    made = Statement(
        schema=1, tool="retread", recipe="demo-1.2", target=target, project="demo", version=version, lane="overlay",
        repository="r", commit=40 * "0", submodules=(), commit_time=0, compiled=None, toolchain=None, libraries={},
        sdist=FileStatement(file="demo-1.2.tar.gz", sha256=DIGEST),
        base=FileStatement(file=base, sha256=DIGEST) if base else None,
        series=tuple(
            PatchStatement(
                name=one, sha256=DIGEST, subject="s", breaks="", affects="", upstream="", drop_when="", offsets=("1",)
            ) for one in patches
        ),
        promise=promise.promise(RECIPE, RECIPE.targets[target], version),
    )  # fmt: skip
    return replace(made, **changes)


ALL = [
    Given(FOUND["linux"], said("cu128", LINUX, "a.patch")),
    Given(FOUND["windows"], said("cu128", WINDOWS, "a.patch")),
    Given(FOUND["nvcc"], said("cu130", "", "a.patch")),
]


def test_a_plan_has_every_wheel_of_every_job_with_its_evidence(plan: Release) -> None:
    told = {(one.wheel, one.job, one.platform, one.python, one.lane.value) for one in plan.wheels}
    assert told == {
        (FOUND["linux"], "demo-1.2-cu128-py3.9", "x86_64", "3.9", "overlay"),
        (FOUND["windows"], "demo-1.2-cu128-py3.9-win-amd64", "win_amd64", "3.9", "overlay"),
        ("demo-1.2+cu130.1-*_x86_64.whl", "demo-1.2-cu130-py3.12", "x86_64", "3.12", "source"),
    }
    [compiled] = [one for one in plan.wheels if not one.tags]
    assert [(one.version, one.local) for one in compiled.instead] == [("1.2+cu130.clang.1", "cu130.clang.1")]
    evidence = {one.target: one.evidence for one in plan.wheels}
    assert evidence["cu128"].levels == ("static", "jit", "gpu")
    assert (evidence["cu128"].gpu, evidence["cu128"].triton) == (("9.0",), ("3.5.1",))
    assert evidence["cu130"].levels == ("static",)


def test_a_whole_release_has_no_fault_whichever_compiler_was_there(plan: Release) -> None:
    assert [*release.faults(plan, ALL)] == []
    instead = Given(CLANG, said("cu130", "", "a.patch", "b.patch"))
    assert [*release.faults(plan, [*ALL[:2], instead])] == []


BUILD = "retread build demo-1.2 --target cu128 --lane overlay --python 3.9"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (ALL[1:], f"{FOUND['linux']} is missing: the job demo-1.2-cu128-py3.9 makes it, or '{BUILD}'"),
        ([ALL[0], ALL[2]], f"makes it, or '{BUILD} --platform win_amd64'"),
        ([*ALL, Given("other-1+cu128.1-py3-none-any.whl")], "other-1+cu128.1-py3-none-any.whl: it is not in the plan"),
        ([*ALL, Given(FOUND["nvcc"].replace("cp312", "cp311"))], "cp311-manylinux_2_28_x86_64.whl: it is not in the"),
        ([*ALL, Given(CLANG)], f"{CLANG}: {FOUND['nvcc']} is that wheel of the release already"),
        ([*ALL[1:], Given(FOUND["linux"], said("cu128", LINUX))], "is not of the recipe that the release was planned"),
        ([*ALL[1:], Given(FOUND["linux"], said("cu128", "x.whl", "a.patch"))], f"build it again with '{BUILD}'"),
        ([*ALL[1:], Given(FOUND["linux"])], ""),  # of one that cannot be read its name counts
    ],
    ids=["missing", "missing-windows", "extra", "another-python", "twice", "series", "base", "unread"],
)  # fmt: skip
def test_what_lacks_is_told_by_name(plan: Release, given: list[Given], told: str) -> None:
    found = [*release.faults(plan, given)]
    assert len(found) == bool(told)
    assert told in "".join(found)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"{", "plan.json is no plan of a release"),
        (b'{"schema": 2, "wheels": []}', "plan.json has schema 2; this retread reads up to 1"),
        (b'{"schema": 1, "wheels": []}', "plan.json plans no wheel"),
        (b'{"schema": 1, "wheels": [{"jobs": "x"}]}', "wheels[0].jobs: "),
        (b"[]", "plan.json is no plan of a release"),
    ],
)
def test_what_is_no_plan_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(PublishError) as caught:
        release.parse(data, name="plan.json")
    assert told in str(caught.value)
    assert "retread release plan --out FILE" in caught.value.hint
