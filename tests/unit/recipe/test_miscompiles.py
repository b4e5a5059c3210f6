"""Known miscompiles: the list that is shipped, and what is of it."""

from __future__ import annotations

import re

import pytest

from retread import arch, pypa
from retread.arch import Arch
from retread.errors import PlanError
from retread.recipe import miscompiles
from retread.recipe.waiver import MISCOMPILE

KNOWN = miscompiles.KNOWN
SM103, SM120, ANY = (one.name for one in KNOWN)


@pytest.mark.parametrize(
    ("cuda", "architectures", "names"),
    [
        ("13.0", "10.0 10.3", [SM103]),
        ("13.2.86", "10.3a", [SM103]),
        ("12.9.86", "10.3", []),
        ("13.0", "10.0 12.0", []),
        ("13.2.51", "12.0", [SM120]),
        ("13.2.78", "10.3 12.0f", [SM103, SM120]),
        ("13.2.86", "12.0", []),
        ("13.2", "12.0", []),  # perhaps 13.2.86
        ("12.3.103", "8.0", [ANY]),
        ("12.3.107", "8.0", []),
        ("12.3", "8.0", []),
        ("12.8.93", "8.0 9.0a 10.0 12.0", []),
    ],
)
def test_what_is_of_the_list(cuda: str, architectures: str, names: list[str]) -> None:
    asked = [Arch(one) for one in architectures.split()]
    assert [one.name for one, _ in miscompiles.hits(KNOWN, cuda, asked)] == names


def test_who_asks_for_such_code_hears_the_entry_and_the_way_out() -> None:
    asked = [Arch("10.0"), Arch("10.3")]
    with pytest.raises(PlanError, match=r"demo cu130: CUDA 13\.0 is known to miscompile") as caught:
        miscompiles.demand_none(KNOWN, "13.0", asked, what="demo cu130", target="cu130")
    (fault,) = caught.value.faults
    assert fault.startswith(
        f"{SM103}: 10.3 by CUDA 13.0: nvcc 13.x code for sm_103 gave wrong results on B300"
    )
    assert "https://github.com/Dao-AILab/causal-conv1d/issues/105" in fault
    assert fault.endswith("; leave 10.3 out: code for 10.0 runs on it")
    assert caught.value.hint.endswith(f'targets.cu130.waive.{SM103} = "reason"')
    miscompiles.demand_none(KNOWN, "13.0", asked, what="demo cu130", waived={SM103: "tried on B300"})


@pytest.mark.parametrize("one", KNOWN, ids=lambda one: one.name)
def test_an_entry_says_what_is_asked_of_it(one: miscompiles.Miscompile) -> None:
    release = re.compile(r"\d{1,2}\.\d{1,2}(\.\d{1,4})?")
    assert one.name.startswith(MISCOMPILE)
    assert release.fullmatch(one.since)
    assert not one.fixed or (
        release.fullmatch(one.fixed) and pypa.version(one.fixed) > pypa.version(one.since)
    )
    assert set(one.architectures) <= set(arch.FIRST_CUDA)
    assert all((one.what, one.instead, *one.source))
