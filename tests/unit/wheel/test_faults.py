"""What installers and file systems do not take of a wheel, and what they do."""

from __future__ import annotations

import pytest

from retread.wheel import faults
from retread.wheel.facts import Fault


def details(found: object) -> list[str]:
    assert isinstance(found, list)
    return [f"{one.subject}: {one.detail}" for one in found if isinstance(one, Fault)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["demo/a.py", "demo/b.py", "demo/"], []),
        (["demo/Ops.py", "demo/ops.py"], ["demo/ops.py: differs from demo/Ops.py in case alone"]),
        (["Demo/a.py", "demo/b.py"], ["demo: differs from Demo in case alone"]),
        (
            ["demo/\u00c9.py", "demo/e\u0301.py"],
            ["demo/e\u0301.py: differs from demo/\u00c9.py in case alone"],
        ),
        (["x.dist-info"], ["x.dist-info: is a file, where installers look for a folder"]),
        (["x.data"], ["x.data: is a file, where installers look for a folder"]),
        (["demo/x.dist-info"], []),
        ([f"demo/{'a' * 255}"], []),
        ([f"demo/{'a' * 256}"], [f"demo/{'a' * 55}...: 256 bytes in a name, 255 are taken"]),
        ([f"demo/{chr(0x4E2D) * 86}"], [f"demo/{chr(0x4E2D) * 55}...: 258 bytes in a name, 255 are taken"]),
        (["/".join(["a" * 200] * 21)], [f"{'a' * 60}...: 4220 bytes, 4095 are taken"]),
    ],
)
def test_names_that_no_folder_takes(names: list[str], expected: list[str]) -> None:
    assert details(list(faults.of_names(names))) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# a comment\n\n[console_scripts]\ndemo = demo.cli:main\nother=demo:main.inner [extra]\n", []),
        ("[torch.backends]\ndemo = demo\nother = what-ever\n", []),
        (
            "[console_scripts]\ndemo = demo main\n",
            ["line 2: 'demo = demo main' is no 'name = module:function'"],
        ),
        ("[console_scripts]\nother\n", ["line 2: 'other' is no 'name = value'"]),
        ("[any.group]\r\nother\r\n", ["line 2: 'other' is no 'name = value'"]),
        ("[gui_scripts]\ndemo = demo\n", ["line 2: 'demo = demo' names no function of its module"]),
        ("[console_scripts]\n= demo:main\n", ["line 2: '= demo:main' is no 'name = module:function'"]),
        ("[console_scripts]\nd = d-e:main\n", ["line 2: 'd = d-e:main' is no 'name = module:function'"]),
    ],
)
def test_entry_points_that_pip_cannot_read(text: str, expected: list[str]) -> None:
    assert details(list(faults.of_entry_points(text))) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([">=3.9"], []),
        ([">=3.9,!=3.10.*,<4"], []),
        ([""], []),
        (["3.9"], ["METADATA: '3.9' is no specifier"]),
        ([">=3.9.*"], ["METADATA: '>=3.9.*' is no specifier"]),
        (["three"], ["METADATA: 'three' is no specifier"]),
        ([">=3.9", ">=3.10"], ["METADATA: states it 2 times"]),
    ],
)
def test_a_requires_python_that_is_no_specifier(values: list[str], expected: list[str]) -> None:
    assert details(list(faults.of_requires_python(values))) == expected
