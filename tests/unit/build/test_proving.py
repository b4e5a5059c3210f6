"""Which ptxas proves a library that is grafted alone: that of the CUDA that built it, if there is one to be had."""

from __future__ import annotations

import io
import platform
from pathlib import Path

import pytest

from retread.arch import Arch
from retread.build import cubins, proving
from retread.build.graft import Assembly
from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.store import Store
from retread.errors import FetchError, UsageError
from retread.recipe.toolchain import Part, Toolchain
from retread.records import Sha256


def tool(name: str) -> Toolchain:
    part = Part(
        component="ptxas",
        machine=platform.machine(),
        package="nvcc",
        file="nvcc-1.whl",
        sha256=Sha256("c" * 64),
        ptxas="bin/ptxas",
    )
    return Toolchain(name=name, cuda=name.partition("-")[2], ptx_isa="8.7", part=(part,))


GRAFTING, ALL = tool("cuda-12.8"), [tool("cuda-12.8"), tool("ptxas-12.6"), tool("ptxas-12.9")]


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def machine(tmp_path: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a machine that can have every toolchain but 12.9's."""

    def assembler(machine: Machine, toolchain: Toolchain) -> str:
        if toolchain.cuda == "12.9":
            raise FetchError("nvcc-1.whl cannot be fetched")
        return toolchain.name

    monkeypatch.setattr(cubins, "assembler", assembler)
    monkeypatch.setattr(cubins, "assembly", lambda machine, name: Assembly((8, 7), lambda *_: b"", name))
    return Machine(Store(tmp_path / "store"), Console(stream=said), {})


@pytest.mark.parametrize(
    ("built", "proves"),
    [
        ("12.6", "ptxas-12.6"),
        ("12.8.61", "cuda-12.8"),
        ("11.4", "cuda-12.8"),
        ("", "cuda-12.8"),
        ("12.9", "cuda-12.8"),
    ],
)
def test_the_release_that_built_it_proves_it(
    machine: Machine, said: io.StringIO, built: str, proves: str
) -> None:
    assert [one.ptxas for one in proving.found(machine, ALL, GRAFTING)(built)] == [proves]
    words = "nvcc-1.whl cannot be fetched; cuda-12.8 is tried in the place of ptxas-12.9"
    assert (words in said.getvalue()) == (built == "12.9")


def test_a_recipe_is_told_which_toolchain_to_name() -> None:
    assert proving.hint(ALL, "cu128", "12.6", "cuda-12.8").endswith('targets.cu128.proving = "ptxas-12.6"')
    assert "another build of CUDA 12.6's ptxas" in proving.hint(ALL, "cu128", "12.6", "ptxas-12.6")
    assert proving.hint(ALL, "cu128", "11.4", "cuda-12.8") == (
        "no toolchain has ptxas of CUDA 11.4; put one into recipes/toolchains/"
    )
    assert "of the CUDA release that built the base wheel" in proving.hint(ALL, "cu128", "", "cuda-12.8")


@pytest.mark.parametrize(
    ("architecture", "words", "hint"),
    [
        ("10.3", "ptxas of CUDA 12.8 does not know sm_103", "say --toolchain ptxas-12.9, or leave 10.3 out"),
        ("11.0", "ptxas of CUDA 12.8 does not know sm_110", "leave 11.0 out"),
    ],
)
def test_an_architecture_that_ptxas_does_not_know(architecture: str, words: str, hint: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        proving.demand_known(GRAFTING, ALL, [Arch("10.0"), Arch(architecture)])
    assert caught.value.hint == hint
