"""What code uses of a project: found through every way of importing, and told with what torch has for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fitting import USAGE
from retread.errors import UsageError
from retread.fit import code, usage


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (
            "from demo.ops import attention as a\na(q)\na(k)\n",
            [("demo.ops.attention", 2), ("demo.ops.attention", 3)],
        ),
        ("import demo.ops as x\nx.attention(q)\n", [("demo.ops.attention", 2)]),
        ("import demo\ndemo.ops.attention(q)\n", [("demo.ops.attention", 2)]),
        ("import demo.ops\ndemo.ops.tree.make(q)\n", [("demo.ops.tree.make", 2)]),
        ("from demo import ops\nclass A:\n  f = ops.attention\n", [("demo.ops.attention", 3)]),
        ("import demo\n", [("demo", 1)]),
        ("pipe.enable_demo()\n", [("enable_demo", 1)]),
        ("import demonstration\ndemonstration.x\n", []),
        ("from .demo import x\nx()\n", []),
        ("s = 'demo.ops.attention'  # demo\n", []),
    ],
)
def test_uses_are_found_however_they_are_imported(source: str, found: list[tuple[str, int]]) -> None:
    assert usage.names(source, "demo") == found


@pytest.mark.parametrize(
    ("name", "described"),
    [
        ("demo.ops.attention", "demo.ops.attention"),
        ("demo.attention", "demo.ops.attention"),
        ("demo.ops.masks.BlockMask.of", "demo.ops.masks.Block*"),
        ("demo.ops.BlockMask", "demo.ops.masks.Block*"),
        ("demo.other", "demo"),
        ("enable_demo", "enable_demo"),
    ],
)
def test_a_use_belongs_to_the_name_that_explains_most_of_it(name: str, described: str) -> None:
    found = usage.call(USAGE, name)
    assert found is not None
    assert found.name == described


def test_a_folder_is_read_and_what_cannot_be_is_named(tmp_path: Path) -> None:
    for name, text in {
        "a.py": "from demo.ops import attention, tree\nattention(tree)\n",
        "sub/b.py": "from demo.ops.masks import BlockMask\nBlockMask()\n",
        "broken.py": "def (:\n",
        "deep.py": "x = " + "(" * 300 + ")" * 300,
        "venv/pyvenv.cfg": "",
        "venv/lib/c.py": "import demo\n",
        ".hidden/d.py": "import demo\n",
        "notes.txt": "import demo\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "large.py").touch()
    os.truncate(tmp_path / "large.py", 5 << 20)
    found = code.look(tmp_path, USAGE, "2.8.0")
    assert found.files == 2
    assert [one.partition(":")[0] for one in found.unread] == [
        "broken.py", "bytes.py", "deep.py", "large.py", "pipe.py",
    ]  # fmt: skip
    assert [(one.name, one.places, one.instead) for one in found.used] == [
        ("demo.ops.attention", ("a.py:2",), "torch's"),
        ("demo.ops.masks.Block*", ("sub/b.py:2",), ""),
        ("demo.ops.tree", ("a.py:2",), ""),
    ]
    assert found.used[1].difference == "torch >=2.10 has varlen: lengths"
    assert (
        found.says
        == "demo is needed for demo.ops.masks.Block*, demo.ops.tree: torch 2.8.0 has no counterpart"
    )


def test_it_says_when_the_project_is_not_needed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    assert code.look(tmp_path, USAGE, "2.8.0").says == (
        "demo is not needed: nothing of it is used in the files that were read"
    )
    (tmp_path / "a.py").write_text("import demo.ops as o\no.attention()\n")
    assert code.look(tmp_path, USAGE, "2.8.0").says == (
        "demo is not needed: torch 2.8.0 has a counterpart for all that is used of it"
    )


def test_a_folder_that_is_not_there_or_holds_nothing_readable_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        code.look(tmp_path / "no", USAGE, "")
    (tmp_path / "a.py").write_bytes(b"\0")
    with pytest.raises(UsageError, match=r"nothing in .* can be read"):
        code.look(tmp_path, USAGE, "")
