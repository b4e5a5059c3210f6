"""Texts of PyPA's specifications: what is too long is refused as what is malformed is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from retread import limits, pypa

DIGITS = "9" * 5_000
"""More than Python makes a number of."""
PRODUCT = ".".join(f"a{index}" for index in range(300))


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (pypa.version, DIGITS),
        (pypa.version, "1.0+" + "a" * 300),
        (pypa.specifiers, f">={DIGITS}"),
        (pypa.specifiers, ">=" + "1" * 300),
        (pypa.specifiers, ">=1," * 300),
        (pypa.requirement, f"demo=={DIGITS}"),
        (pypa.requirement, "demo==" + "1" * 300),
        (pypa.requirement, "demo" + " " * 49_000 + "x"),
        (pypa.requirement, "demo; " + "(" * 1_500),
        (pypa.wheel_name, f"demo-{DIGITS}-py3-none-any.whl"),
        (pypa.wheel_name, f"demo-{'1' * 300}-py3-none-any.whl"),
        (pypa.wheel_name, "demo-1-" + "-".join([".".join("abcdefghijklmnopq")] * 3) + ".whl"),
        (pypa.wheel_name, f"demo-1-{PRODUCT}-{PRODUCT}-{PRODUCT}.whl"),
        (pypa.sdist_name, f"demo-{DIGITS}.tar.gz"),
    ],
)
def test_a_text_that_would_cost_too_much_is_refused_like_a_malformed_one(
    read: Callable[[str], object], text: str
) -> None:
    with pytest.raises(
        ValueError, match=r"characters|more than|Invalid|Expected|Unbalanced|nested"
    ) as refused:
        read(text)
    assert type(refused.value).__name__.startswith("Invalid")
    assert len(str(refused.value)) < 10_000


def test_what_is_real_is_read() -> None:
    tags = "cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64"
    assert str(pypa.version("1.0+cu128.1")) == "1.0+cu128.1"
    assert pypa.wheel_name(f"demo-1.0+cu128.1-{tags}.whl")[0] == "demo"
    assert pypa.requirement("demo[a,b]>=1,<2; python_version < '3.12'").extras == {"a", "b"}
    assert len("1." * 100) < limits.VERSION


@pytest.mark.parametrize(
    ("wanted", "found", "said"),
    [(">=1", "1.5", True), (">=1", "2.0rc1", True), ("<1", "1.5", False), (">=1", "local", False),
     (">=1", DIGITS, False), ("so", "1", False)],
)  # fmt: skip
def test_a_range_allows_nothing_that_is_no_version(wanted: str, found: str, *, said: bool) -> None:
    assert pypa.allows(wanted, found) is said


@pytest.mark.parametrize(
    "file",
    [
        "demo-1.0-py3-none-any.whl",
        "xformers-0.0.32.post2+cu128-cp39-abi3-win_amd64.whl",
        "a_b.c-2-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "demo-1.0-1-py3-none-any.whl",
        "demo-1.0rc1-py2.py3-none-Any.whl",
        "Demo-1.0-py3-none-musllinux_1_2_aarch64.whl",
    ],
)
def test_platforms_are_those_of_the_whole_name(file: str) -> None:
    assert pypa.wheel_platforms(file) == {tag.platform for tag in pypa.wheel_name(file)[3]}


@pytest.mark.parametrize(
    "file", ["a__b-1-py3-none-any.whl", "demo-x-py3-none-any.whl", "demo-1-any.whl", "demo"]
)
def test_platforms_of_what_is_no_name_are_refused_as_the_name_is(file: str) -> None:
    for read in (pypa.wheel_name, pypa.wheel_platforms):
        with pytest.raises(ValueError, match="Invalid"):
            read(file)
