"""Native code against PTX: which images a GPU has, how machine code is hidden, and what a comparison finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retread.binary import files
from retread.smoke.runtime import fatbins, ptx

DATA = Path(__file__).parents[2] / "data" / "fatbin"
H200 = (9, 0)


@pytest.mark.parametrize("name", sorted(path.name for path in [*DATA.glob("*.so"), *DATA.glob("*.dll")]))
def test_the_kit_finds_the_modules_that_retread_finds(name: str) -> None:
    wanted = files.library(DATA / name).read(DATA / name).modules
    found = fatbins.modules((DATA / name).read_bytes())
    kinds = (fatbins.MACHINE, fatbins.PTX)
    assert [tuple(sum(image.kind == kind for image in one.images) for kind in kinds) for one in found] == [
        (len(one.sass), len(one.ptx)) for one in wanted
    ]


@pytest.mark.parametrize(
    ("kind", "number", "flags", "serves", "not_"),
    [
        (fatbins.MACHINE, 80, 0, ["8.0", "8.9"], ["7.5", "9.0"]),
        (fatbins.MACHINE, 90, fatbins._A, ["9.0"], ["8.0", "10.0"]),
        (fatbins.MACHINE, 100, fatbins._F, ["10.0", "10.3"], ["9.0", "12.0"]),
        (fatbins.PTX, 80, 0, ["8.0", "9.0", "12.0"], ["7.5"]),
        (fatbins.PTX, 90, fatbins._A, ["9.0"], ["10.0"]),
        (fatbins.PTX, 100, fatbins._F, ["10.0", "10.3"], ["12.0"]),
    ],
)
def test_an_image_serves_the_gpus_that_the_driver_gives_it(
    kind: int, number: int, flags: int, serves: list[str], not_: list[str]
) -> None:
    image = fatbins.Image(kind, number, flags, 0)
    found = {gpu: image.serves(tuple(map(int, gpu.split(".")))) for gpu in [*serves, *not_]}  # type: ignore[arg-type]
    assert found == dict.fromkeys(serves, True) | dict.fromkeys(not_, False)


def test_machine_code_is_hidden_where_ptx_stands_in_for_it_and_nowhere_else() -> None:
    data = bytearray((DATA / "libadd.so").read_bytes())
    before = fatbins.modules(data)
    assert any(one.has(fatbins.MACHINE, H200) for one in before)
    assert fatbins.hide(data, H200) == len(before)
    after = fatbins.modules(data)
    assert not any(one.has(fatbins.MACHINE, H200) for one in after)
    assert all(one.has(fatbins.PTX, H200) for one in after)
    assert fatbins.hide(bytearray((DATA / "libadd.so").read_bytes()), (5, 0)) == 0  # no PTX for that one


@pytest.mark.parametrize("end", [10, 70, 2000])
def test_a_library_that_is_cut_off_is_refused_in_words(end: int) -> None:
    with pytest.raises(ValueError, match=r"ends in the middle|is no"):
        fatbins.modules((DATA / "libadd.so").read_bytes()[:end])


def ended(outcome: str = "passed", reason: str = "", **digests: str) -> dict[str, Any]:
    told = {"outcome": outcome, "reason": reason, "seconds": 0.5, "digests": digests}
    return {"id": "sum", "libraries": ["demo/_C.so"], **told}


A, B, BAD, NONE = ended(out="a"), ended(out="b"), ended("failed", "3 != 4"), ended("skipped", "no fp8")


@pytest.mark.parametrize(
    ("first", "second", "made", "outcome", "said"),
    [
        (A, A, A, "passed", ""),
        (A, A, B, "failed", "other bits from PTX than natively: out"),
        (A, B, ended(out="c"), "passed", "not deterministic, so not compared: out"),
        (ended(), ended(), ended(), "passed", "it records no output: what is compared is that it passes"),
        (A, A, BAD, "failed", "passed natively, failed from PTX: 3 != 4"),
        (BAD, BAD, A, "failed", "failed natively, passed from PTX: 3 != 4"),
        (NONE, NONE, NONE, "skipped", "both ways: no fp8"),
        (A, BAD, A, "failed", "two native runs end differently: passed and failed"),
        (A, A, ended(out="a", more="b"), "failed", "other bits from PTX than natively: more"),
    ],
)
def test_a_comparison_tells_what_differs_and_what_cannot_be_compared(
    first: dict[str, Any], second: dict[str, Any], made: dict[str, Any], outcome: str, said: str
) -> None:
    runs = {"sum": first}, {"sum": second}, {"sum": made}
    (found,) = ptx.compared(*runs, {"demo/_C.so": False})
    assert (found["id"], found["outcome"], found["reason"] or found["note"]) == ("ptx/sum", outcome, said)
    (other,) = ptx.compared(*runs, {"demo/_C.so": True})  # whose machine code was made of other PTX
    if outcome == "failed" and "native runs" not in said:
        assert (other["outcome"], other["note"], other["fault"]) == ("passed", f"{said}; {ptx.FOREIGN}", None)
    else:
        assert other == found


def test_what_allows_machine_code_alone_or_calls_into_no_library_is_not_compared() -> None:
    listed = [
        {"case": "sum", "libraries": ["demo/_C.so"], "env": {}},
        {"case": "native", "libraries": ["demo/_C.so"], "env": {"CUDA_DISABLE_PTX_JIT": "1"}},
        {"case": "python", "libraries": [], "env": {}},
    ]
    assert [one["case"] for one in ptx.chosen(listed, ["demo/_C.so"])] == ["sum"]
