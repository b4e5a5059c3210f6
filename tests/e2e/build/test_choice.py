"""Which target is made when nobody names one: the first that this machine can make, never another for a patch."""

from __future__ import annotations

import pytest

from retread.toolkit import inquiry
from tinycuda import BUILT, FILES, Project, diff

CU130 = """
[targets.cu130]
cuda = "13.0"
torch = ">=2.11"
revision = 1
architectures = ["9.0"]
ptx = []
toolchain = "cuda-13.0"
generated = ["tinycuda/**.so"]

[targets.cu130.build]
python = ">=3.9"
requires = ["torch==2.11.0"]
"""


@pytest.fixture
def two(project: Project) -> Project:
    """Give the recipe a second target, which is compiled, for another CUDA and another torch."""
    project.write_recipe(project.recipe_text + CU130)
    return project


@pytest.mark.parametrize("command", ["build", "plan"])
def test_a_native_patch_moves_nobody_to_another_cuda(two: Project, command: str) -> None:
    two.series(diff("csrc/add.cu", FILES["csrc/add.cu"], FILES["csrc/add.cu"].replace("+= 1", "+= 2")))
    result = two.run(command, "tiny-1.0")
    assert (result.code, result.out) == (6, "")
    assert result.err == (
        "retread: plan: tiny-1.0 cu128: the series closes the overlay lane, and no target is named\n"
        "  - 0001-change.patch touches csrc/add.cu, a native input (csrc/**)\n"
        "  next: choose: '--target cu130' compiles it for CUDA 13.0 and torch >=2.11 (source lane); "
        "or drop what is named here from series\n"
    )
    assert two.leftovers() == []


def test_a_python_patch_stays_with_the_first_target(two: Project) -> None:
    result = two.build()
    assert (result.code, result.wheel.name) == (0, BUILT), result.err
    assert "note: building" not in result.err


def test_a_lane_that_the_first_target_does_not_have_takes_the_first_that_has_it(
    two: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inquiry, "obstacles", lambda machine, toolchain, platform: [])
    result = two.run("plan", "tiny-1.0", "--lane", "source")
    assert (result.code, result.out.splitlines()[0].split()[:2]) == (0, ["tiny-1.0", "cu130"]), result
    assert "note: building cu130, since the recipe does not make cu128 by the source lane\n" in result.err


def test_a_machine_that_lacks_the_toolkit_is_told_beside_what_the_recipe_has(
    two: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inquiry, "obstacles", lambda machine, toolchain, platform: ["nvcc: nobody has it"])
    result = two.run("build", "tiny-1.0", "--lane", "source")
    assert (result.code, result.out) == (6, "")
    assert (
        "plan: tiny-1.0: no target can be built here\n  - cu128: the source lane is not possible; "
        in result.err
    )
    assert "\n  - cu130: nvcc: nobody has it\n" in result.err
    assert two.leftovers() == []
