"""GPU architectures: how they are written, ordered, and where code for one runs."""

from __future__ import annotations

import pytest

from retread import arch
from retread.arch import Arch


def test_parse_takes_what_torch_writes() -> None:
    written = ["8.0", "9.0a", "10.3f", "12.1"]
    assert [arch.parse(text) for text in written] == written


@pytest.mark.parametrize(
    "text", ["", "8", "80", "sm_80", "8.0+PTX", "9.0A", "9.0b", "08.0", " 8.0", "8.0\n", "8.00"]
)
def test_parse_refuses_anything_else(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an architecture like 8\.0, 9\.0a or 12\.0"):
        arch.parse(text)


def test_every_known_architecture_is_one() -> None:
    for known in arch.FIRST_CUDA:
        assert arch.parse(known) == known


@pytest.mark.parametrize(
    ("text", "number", "name"), [("7.5", 75, "sm_75"), ("9.0a", 90, "sm_90a"), ("10.3f", 103, "sm_103f")]
)
def test_names_of_the_tools(text: str, number: int, name: str) -> None:
    assert arch.number(Arch(text)) == number
    assert arch.sm(Arch(text)) == name
    assert arch.from_number(number, arch.parts(Arch(text))[2]) == text


def test_order_is_by_age_not_by_letter() -> None:
    mixed = [Arch(text) for text in ("12.0", "9.0a", "10.0", "8.0", "9.0")]
    assert sorted(mixed, key=arch.sort_key) == ["8.0", "9.0", "9.0a", "10.0", "12.0"]


RUNS = {
    # Same major, same or higher minor.
    ("8.0", "8.0"): True,
    ("8.0", "8.6"): True,
    ("8.0", "8.9"): True,
    ("8.6", "8.0"): False,
    ("8.0", "9.0"): False,
    ("9.0", "8.9"): False,
    ("10.0", "10.3"): True,
    ("10.0", "12.0"): False,
    ("12.0", "12.1"): True,
    # a: this architecture and no other.
    ("9.0a", "9.0"): True,
    ("10.0a", "10.0"): True,
    ("10.0a", "10.3"): False,
    ("12.0a", "12.1"): False,
    # f: this architecture and newer ones of its family.
    ("10.0f", "10.0"): True,
    ("10.0f", "10.3"): True,
    ("10.3f", "10.0"): False,
    ("10.0f", "10.1"): False,
    ("10.0f", "12.0"): False,
    ("10.1f", "10.3"): False,
    ("12.0f", "12.1"): True,
    # Tegra is on its own.
    ("8.7", "8.7"): True,
    ("8.0", "8.7"): False,
    ("8.6", "8.7"): False,
    ("8.7", "8.9"): False,
    ("10.0", "10.1"): False,
    ("10.1", "10.3"): False,
}


def test_where_machine_code_runs() -> None:
    assert {(code, device): arch.runs(Arch(code), Arch(device)) for code, device in RUNS} == RUNS


COMPILES = {
    ("8.0", "8.0"): True,
    ("8.0", "8.7"): True,
    ("8.0", "12.1"): True,
    ("9.0", "8.9"): False,
    ("9.0a", "9.0"): True,
    ("9.0a", "10.0"): False,
    ("10.0f", "10.3"): True,
    ("10.0f", "12.0"): False,
}


def test_for_what_the_driver_compiles_ptx() -> None:
    assert {(ptx, device): arch.compiles(Arch(ptx), Arch(device)) for ptx, device in COMPILES} == COMPILES
