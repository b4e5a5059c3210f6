"""How a recipe says that its wheels are tried, and what can be wrong with that."""

from __future__ import annotations

import pytest

from retread.recipe.trial import Smoke, Trial, faults, suite_faults


@pytest.mark.parametrize(
    ("suites", "told"),
    [
        ((), []),
        (("smoke/a.py", "smoke/b.py", "other/c.py"), []),
        (("../a.py",), ["smoke.suites[0]: '../a.py' leaves the workspace"]),
        (("smoke/b.py", "/etc/a.py"), ["smoke.suites[1]: '/etc/a.py' leaves the workspace"]),
        (("smoke\\a.py",), ["smoke.suites[0]: 'smoke\\\\a.py' leaves the workspace"]),
        (("smoke/a.sh",), ["smoke.suites[0]: 'smoke/a.sh' is no Python program"]),
        (("smoke/",), ["smoke.suites[0]: 'smoke/' leaves the workspace"]),
        (("a.py", "smoke/b.py", "smoke/a.py"), ["smoke.suites[2]: there is another suite 'a.py'"]),
        (
            ("../a.py", "b.txt"),
            [
                "smoke.suites[0]: '../a.py' leaves the workspace",
                "smoke.suites[1]: 'b.txt' is no Python program",
            ],
        ),
    ],
)
def test_suites(suites: tuple[str, ...], told: list[str]) -> None:
    assert list(suite_faults(Smoke(suites=suites))) == told


@pytest.mark.parametrize(
    ("torch", "triton", "wanted", "told"),
    [
        ("2.10.0", (), ">=2.10", []),
        ("2.10.0", ("3.6.0", "3.5.1"), ">=2", []),
        ("", (), "", []),
        ("", (), ">=2.10", ["smoke.torch: missing; the target is for torch '>=2.10'"]),
        ("2.10.0", (), "", ["smoke.torch: '2.10.0', and the target has no torch"]),
        ("2.11.0rc1", ("3.7.0.post1",), ">=2.10", []),
        ("2.9.1", (), ">=2.10", ["smoke.torch: 2.9.1 is outside of the target's range >=2.10"]),
        ("==2.10", (), ">=2.10", ["smoke.torch: '==2.10' is not a version like '2.10.0'"]),
        ("2.10.0", ("3.6.0", ">=3.5"), ">=2.10", ["smoke.triton[1]: '>=3.5' is not a version like '3.6.0'"]),
        ("2.10.0", (), "many", []),
        (
            "newest",
            ("newest",),
            ">=2.10",
            [
                "smoke.triton[0]: 'newest' is not a version like '3.6.0'",
                "smoke.torch: 'newest' is not a version like '2.10.0'",
            ],
        ),
    ],
)
def test_versions(torch: str, triton: tuple[str, ...], wanted: str, told: list[str]) -> None:
    assert list(faults(Trial(torch=torch, triton=triton), wanted)) == told
