"""Jobs of a workflow: which recipe, target and Python a change touches, in which lane, and on which GPUs."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from house import ROOT
from retread.arch import Arch
from retread.cli import main
from retread.cli import matrix as cli_matrix
from retread.errors import PlanError
from retread.recipe import matrix
from retread.recipe.lane import Lane
from retread.recipe.matrix import Matrix, Runner
from retread.recipe.model import Base, Build, Container, Pin, Platform, Recipe, Sdist, Submodule, Target
from retread.recipe.series import Change, ChangeKind, Patch
from retread.recipe.trial import Smoke, Trial
from retread.records import Sha256

DIGEST = Sha256(64 * "a")
TARGET = Target(
    cuda="12.8", torch=">=2.10", revision=1, architectures=(), ptx=(),
    base=(Base(file="demo-1.2-py3-none-any.whl", sha256=DIGEST),),
)  # fmt: skip
PIN = Pin(repository="https://example.org/demo", commit=40 * "0")
OTHER = Recipe(
    name="other-1", project="other", version="1", summary="A demonstration", pin=PIN,
    sdist=Sdist(file="demo-1.2.tar.gz", sha256=DIGEST), native_inputs=("demo/csrc/**",), targets={"cu128": TARGET},
)  # fmt: skip
DEMO = replace(
    OTHER, name="demo-1.2", project="demo", version="1.2", smoke=Smoke(suites=("scripts/smoke/demo.py",)),
    pin=replace(PIN, submodules=(Submodule(path="x", repository="https://example.org/lib.git/", commit=40 * "1"),)),
    targets={
        "cu128": replace(TARGET, toolchain="cuda-12.8", smoke=Trial(torch="2.10.0", gpu=(Arch("9.0"), Arch("12.0")))),
        "cu130": replace(TARGET, cuda="13.0", base=(), build=Build(python=">=3.10", requires=())),
    },
)  # fmt: skip
NATIVE = Patch(
    name="a", sha256=DIGEST, subject="s", breaks="b", affects="a", upstream="not reported", drop_when="d", crlf=False,
    changes=(Change(path="demo/csrc/x.cu", kind=ChangeKind.MODIFY),),
)  # fmt: skip
BOTH = ["demo-1.2-cu128-py3.9", "demo-1.2-cu130-py3.12"]
ALL = [*BOTH, "other-1-cu128-py3.9"]


def made(*changed: str, runners: Sequence[str] = ()) -> Matrix:
    return matrix.matrix([(DEMO, ()), (OTHER, ())], changed, of_linux(*runners))


def of_linux(*gpus: str) -> list[Runner]:
    return [Runner("x86_64", Arch(one)) for one in gpus]


TOUCHED = {
    "recipes/demo-1.2.toml": BOTH,
    "recipes/demo-1.2.toml.orig": [],
    "recipes/gone-1.toml": [],
    "patches/demo/1.2/0001-a.patch": BOTH,
    "patches/demo/1.2/series": BOTH,
    "patches/demo/1.2.1/series": [],
    "patches/other/1/series": ["other-1-cu128-py3.9"],
    "recipes/toolchains/cuda-12.8.toml": ["demo-1.2-cu128-py3.9"],
    "src/retread/recipe/toolchains/cuda-12.8.toml": ["demo-1.2-cu128-py3.9"],
    "recipes/locks/demo-1.2-cu130.txt": ["demo-1.2-cu130-py3.12"],
    "recipes/commits/demo-000000000000.tree": ALL,
    "recipes/commits/lib-111111111111.tree": BOTH,
    "recipes/commits/lib-222222222222.tree": [],
    "scripts/smoke/demo.py": BOTH,
    "scripts/smoke/beside.py": BOTH,
    "scripts/bench/overlay.py": [],
    "src/retread/wheel/zipwriter.py": ALL,
    "src/retread/doors/store.py": ALL,
    "src/retread/strict.py": ALL,
    "src/retread/code.py": ALL,
    "src/retread/compile/inside/enter.sh": ALL,
    "src/retread/wheel/table.py": [],
    "src/retread/recipe/matrix.py": [],
    "src/retread/lockfile/readers.py": [],
    "src/retread/toolkit/inquiry.py": [],
    "src/retread/smoke/runtime/program.py": ALL,
    "src/retread/cli/main.py": [],
    "src/retread/index/pages/human.py": [],
    "src/retread/doors/console.py": [],
    "src/retread/errors.py": [],
    "pyproject.toml": ALL,
    "README.md": [],
    "docs/guides/recipes.md": [],
    "tests/unit/test_matrix.py": [],
    ".github/workflows/wheels.yml": [],
}


def test_a_change_touches_what_is_made_of_it() -> None:
    assert {path: [one.name for one in made(path).include] for path in TOUCHED} == TOUCHED


def test_each_job_says_why_and_an_empty_matrix_is_one_too() -> None:
    found = made("README.md", "recipes/locks/demo-1.2-cu130.txt", "recipes/demo-1.2.toml")
    assert [one.why for one in found.include] == [
        "recipes/demo-1.2.toml changed",
        "recipes/locks/demo-1.2-cu130.txt and 1 more changed",
    ]
    assert {one.why for one in matrix.matrix([(DEMO, ())], None, []).include} == {"everything was asked for"}
    nothing = made()
    assert (nothing.count, nothing.include, nothing.trials.count, nothing.unproven) == (0, (), 0, ())


@pytest.mark.parametrize(
    ("files", "pythons"),
    [
        (["demo-1.2-cp39-abi3-manylinux_2_28_x86_64.whl"], ["3.9"]),
        (["demo-1.2-py310-none-manylinux_2_28_x86_64.whl"], ["3.10"]),
        (["demo-1.2-py3-none-any.whl"], ["3.9"]),
        (["demo-1.2-py2.py3-none-any.whl"], ["3.9"]),
        (["demo-1.2-cp311.cp310-abi3-linux_x86_64.whl"], ["3.10"]),
        (["demo-1.2-cp39-cp39-linux_x86_64.whl", "demo-1.2-cp310-cp310-linux_x86_64.whl"], ["3.9", "3.10"]),
    ],
)
def test_an_overlay_has_a_job_for_each_python_of_its_base_wheels(
    files: list[str], pythons: list[str]
) -> None:
    target = replace(TARGET, base=tuple(Base(file=file, sha256=DIGEST) for file in files))
    found = matrix.matrix([(replace(OTHER, targets={"cu128": target}), ())], None, [])
    assert [one.python for one in found.include] == pythons
    assert {one.lane for one in found.include} == {Lane.OVERLAY}


@pytest.mark.parametrize(
    ("allowed", "python"), [(">=3.9", "3.12"), (">=3.13", "3.13"), ("<3.12", "3.11"), ("==3.10.*", "3.10")]
)
def test_a_compile_is_for_one_python_of_the_range(allowed: str, python: str) -> None:
    recipe = replace(
        OTHER, targets={"cu130": replace(TARGET, base=(), build=Build(python=allowed, requires=()))}
    )
    [entry] = matrix.matrix([(recipe, ())], None, []).include
    assert (entry.lane, entry.python) == (Lane.SOURCE, python)


def test_a_compile_for_others_is_made_in_a_container_where_there_is_one_and_an_overlay_is_not() -> None:
    built = replace(
        TARGET,
        build=Build(python=">=3.10", requires=()),
        container=Container(image="i@sha256:0", platform="manylinux_2_28", pythons=("3.10", "3.13")),
    )
    targets = {"cu128": built, "cu130": replace(built, cuda="13.0", base=())}
    found = matrix.matrix([(replace(OTHER, targets=targets), ())], None, []).include
    assert [(one.lane, one.python) for one in found] == [
        (Lane.OVERLAY, "3.9"),
        (Lane.CONTAINER, "3.10"),
        (Lane.CONTAINER, "3.13"),
    ]


def test_a_native_patch_moves_the_job_to_the_source_lane_or_says_why_there_is_none() -> None:
    with pytest.raises(PlanError, match="the overlay lane is not allowed"):
        matrix.matrix([(OTHER, (NATIVE,))], None, [])
    built = replace(TARGET, build=Build(python=">=3.10", requires=()))
    [entry] = matrix.matrix([(replace(OTHER, targets={"cu128": built}), (NATIVE,))], None, []).include
    assert (entry.lane, entry.python) == (Lane.SOURCE, "3.12")


def test_a_gpu_has_a_job_where_a_runner_has_it_and_else_is_told() -> None:
    found = made("src/retread/wheel/a.py", runners=["9.0", "10.0"])
    [trial] = found.trials.include
    assert (trial.name, trial.wheel, trial.labels) == (
        "demo-1.2-cu128-py3.9-cc9.0",
        "demo-1.2-cu128-py3.9",
        ("self-hosted", "linux", "x64", "cc-9.0"),
    )
    assert [(one.wheel, one.gpu) for one in found.unproven] == [("demo-1.2-cu128-py3.9", "12.0")]
    text = cli_matrix.table(found, [*of_linux("9.0"), Runner("win_amd64", Arch("12.0"))])
    assert "\nUnproven on a GPU (runners have 9.0, win_amd64:12.0):\n\n- demo-1.2-cu128-py3.9 on 12.0" in text
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1
    assert "there is no GPU runner" in cli_matrix.table(made("src/retread/wheel/a.py"), [])


def test_a_runner_of_a_platform_that_nobody_knows_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["matrix", "xformers-0.0.30", "--root", str(ROOT), "--gpus"]
    assert main.run([*asked, "9.0 win_adm64:12.0"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "--gpus: 'win_adm64' is no platform of a runner (did you mean 'win_amd64'?)" in said.err
    assert main.run([*asked, "9.0 win_amd64:12.0"]) == 0


EVERYWHERE = replace(
    TARGET,
    build=Build(python=">=3.10", requires=()),
    base=tuple(
        Base(file=f"other-1-cp312-cp312-{one}.whl", sha256=DIGEST)
        for one in ("manylinux_2_28_x86_64", "win_amd64")
    ),
    smoke=Trial(torch="2.10.0", gpu=(Arch("9.0"),)),
    platforms={
        "aarch64": Platform(architectures=(Arch("12.1"),)),
        "win_amd64": Platform(smoke=Trial(torch="2.10.0", gpu=(Arch("12.0"),))),
    },
)


def test_every_platform_of_a_target_has_its_jobs_on_its_own_runners() -> None:
    known = [(replace(OTHER, targets={"cu128": EVERYWHERE}), ())]
    found = matrix.matrix(known, None, [Runner("aarch64", Arch("9.0")), Runner("win_amd64", Arch("12.0"))])
    assert [(one.name, one.platform, one.lane) for one in found.include] == [
        ("other-1-cu128-py3.12", "x86_64", "overlay"),
        ("other-1-cu128-py3.12-win-amd64", "win_amd64", "overlay"),
        ("other-1-cu128-py3.11-aarch64", "aarch64", "source"),
    ]
    assert found.include[2].architectures == ("12.1",)
    assert [(one.platform, one.labels) for one in found.trials.include] == [
        ("win_amd64", ("self-hosted", "windows", "x64", "cc-12.0")),
        ("aarch64", ("self-hosted", "linux", "arm64", "cc-9.0")),
    ]
    assert [one.wheel for one in found.unproven] == ["other-1-cu128-py3.12"]
    alone = matrix.matrix(known, None, [], platform="win_amd64")
    assert [one.name for one in alone.include] == ["other-1-cu128-py3.12-win-amd64"]


def test_a_native_patch_closes_what_is_not_compiled_for_by_name() -> None:
    with pytest.raises(
        PlanError, match="cu128: the source lane compiles for Linux, not for win_amd64"
    ) as told:
        matrix.matrix([(replace(OTHER, targets={"cu128": EVERYWHERE}), (NATIVE,))], None, [])
    assert "take what is for win_amd64 out of targets.cu128" in told.value.hint


def test_names_are_fit_for_jobs_and_artifacts() -> None:
    found = made("src/retread/wheel/a.py", runners=["9.0"])
    names = [*(one.name for one in found.include), *(one.name for one in found.trials.include)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in names)


def test_one_lane_s_jobs_name_what_they_leave_out() -> None:
    found = matrix.matrix([(DEMO, ()), (OTHER, ())], None, [], Lane.OVERLAY)
    assert [one.name for one in found.include] == ["demo-1.2-cu128-py3.9", "other-1-cu128-py3.9"]
    assert found.left_out == ("demo-1.2-cu130-py3.12",)
    assert cli_matrix.table(found, []).endswith(
        "Left out, since another lane makes them:\n\n- demo-1.2-cu130-py3.12"
    )
