"""Native inputs: what has to be compiled in, what a depfile says, what the recipe's variables become."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from retread.arch import Arch
from retread.recipe import native
from retread.recipe.model import Build, Pin, Recipe, Sdist, Target
from retread.recipe.series import Change, ChangeKind
from retread.records import Sha256
from tinycuda import skip_without

TARGET = Target(
    cuda="13.0",
    torch=">=2.11",
    revision=1,
    architectures=(Arch("8.0"), Arch("9.0a"), Arch("12.0")),
    ptx=(Arch("12.0"),),
    build=Build(python=">=3.10", requires=()),
)
RECIPE = Recipe(
    name="demo-1.2",
    project="demo",
    version="1.2",
    summary="A demonstration",
    pin=Pin(repository="https://example.org/demo", commit=40 * "0"),
    sdist=Sdist(file="demo-1.2.tar.gz", sha256=Sha256(64 * "a")),
    native_inputs=("setup.py", "demo/csrc/**"),
    targets={"cu130": TARGET},
)
FILES = {"setup.py": "1", "demo/__init__.py": "2", "demo/csrc/table.txt": "3", "README.md": "4"}
ADD, MODIFY, DELETE = ChangeKind.ADD, ChangeKind.MODIFY, ChangeKind.DELETE


@pytest.mark.parametrize(
    ("path", "kind", "is_native"),
    [
        ("setup.py", MODIFY, True),
        ("demo/csrc/table.txt", MODIFY, True),
        ("demo/csrc/table.txt", DELETE, True),
        ("demo/csrc/deep/new.txt", ADD, True),
        ("demo/__init__.py", MODIFY, False),
        ("demo/__init__.py", DELETE, False),
        ("demo/new.py", ADD, False),
        ("NEWS", ADD, False),
        ("demo/include/k.cuh", ADD, True),
        ("demo/vector.h", ADD, True),
        ("vector.h", MODIFY, True),
        ("demo/kernel.S", ADD, True),
        ("demo/sub/new.py", ADD, True),
        ("tests/new.py", ADD, True),
    ],
)
def test_what_has_to_be_compiled_in(path: str, kind: ChangeKind, is_native: bool) -> None:
    assert native.is_native(Change(path=path, kind=kind), RECIPE, FILES) is is_native


def test_the_tree_that_is_compiled_is_the_pinned_one_with_the_changes() -> None:
    changes = [
        Change(path="setup.py", kind=MODIFY),
        Change(path="README.md", kind=DELETE),
        Change(path="demo/csrc/a.cu", kind=ADD),
    ]
    found = native.tree(FILES, changes, {"setup.py": "9", "demo/csrc/a.cu": "8"})
    assert found == {
        "demo/__init__.py": "2", "demo/csrc/a.cu": "8", "demo/csrc/table.txt": "3", "setup.py": "9",
    }  # fmt: skip
    assert list(found) == sorted(found)
    assert native.tree(FILES, [Change(path="never/there", kind=DELETE)], {}) == FILES


def test_inputs_are_those_of_the_globs_and_those_that_are_code() -> None:
    files = FILES | {"demo/x.hpp": "5"}
    assert native.inputs(files, RECIPE) == {"setup.py": "1", "demo/csrc/table.txt": "3", "demo/x.hpp": "5"}


def test_a_file_of_the_tree_that_was_read_and_that_nothing_names() -> None:
    read = ["README.md", "setup.py", "demo/csrc/table.txt", "demo/__init__.py", "README.md", "build/made.py"]
    assert native.uncovered(read, FILES, RECIPE) == ["README.md", "demo/__init__.py"]
    assert native.uncovered(["setup.py"], FILES, RECIPE) == []


@pytest.mark.parametrize(
    ("depfile", "found"),
    [
        ("a.o: a.cu\n", ["a.cu"]),
        ("a.o : a.cu b.h\n", ["a.cu", "b.h"]),
        ("a.o: a.cu \\\n /usr/include/x.h \\\n  y.h\n", ["a.cu", "/usr/include/x.h", "y.h"]),
        ("a.o: a.cu \\\r\n y.h\r\n", ["a.cu", "y.h"]),
        ("a.o: my\\ file.h b\\#c.h\n", ["my file.h", "b#c.h"]),
        ("a.o: cost$$.h $$\n", ["cost$.h", "$"]),
        ("a.o: a\\b.h a\\\\b.h\n", ["a\\b.h", "a\\\\b.h"]),
        ("a.o: a\\\\\\ b.h a\\\\#b.h a\\:b.h\n", ["a\\ b.h", "a\\#b.h", "a:b.h"]),
        ("a.o: \\\n\n", []),
        ("a.o:\n", []),
        ("", []),
        ("a.o: a.cu x.h y.h\n\nx.h:\n\ny.h:\n", ["a.cu", "x.h", "y.h"]),
        ("a.o: a.cu\nb.o: b.cu \\\n a.h\n", ["a.cu", "b.cu", "a.h"]),
        ("dir/a.o b.o: a.cu", ["a.cu"]),
    ],
)
def test_what_a_depfile_says(depfile: str, found: list[str]) -> None:
    assert list(native.dependencies(depfile)) == found


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text("ab/ #$.\\", min_size=1, max_size=8), max_size=5))
def test_every_name_comes_back_as_make_would_read_it(names: list[str]) -> None:
    names = [one.strip(" \\") or "x" for one in names]
    spaced = [re.sub(r"(\\*) ", r"\1\1\\ ", one) for one in names]  # only before a space, backslashes double
    escaped = [one.replace("$", "$$").replace("#", "\\#") for one in spaced]
    assert list(native.dependencies("out.o: \\\n " + " \\\n ".join(escaped) + "\n")) == names


def test_a_real_compiler_s_depfile_is_read(tmp_path: Path) -> None:
    skip_without("gcc")
    folder = tmp_path / "a b"
    folder.mkdir()
    headers = ["plain.h", "two words.h", "cost$.h", "n#1.h", "back\\slash.h", "two\\\\.h", "b\\ c\\#.h"]
    for name in headers:
        (folder / name).write_text("")
    (folder / "x.c").write_text("".join(f'#include "{name}"\n' for name in headers))
    command = ["gcc", "-c", folder / "x.c", "-MD", "-MP", "-MF", "x.d", "-o", "x.o"]
    subprocess.run(command, cwd=tmp_path, check=True, env={"PATH": os.environ["PATH"]})
    found = list(native.dependencies((tmp_path / "x.d").read_text()))
    assert set(found) >= {str(folder / name) for name in ["x.c", *headers]}
    assert all(Path(one).is_file() for one in found)


def test_torch_gets_its_own_list() -> None:
    assert native.torch_list(TARGET) == "8.0;9.0a;12.0+PTX"
    assert native.torch_list(replace(TARGET, ptx=())) == "8.0;9.0a;12.0"


def test_the_recipe_s_variables_with_every_placeholder() -> None:
    said = {
        "VERSION": "{version}",
        "ARCHS": "{architectures}",
        "LIST": "{torch-architectures}",
        "FLAGS": "-I{cuda-home}/include -I{site-packages}/nv -DX={version}",
        "PLAIN": "1",
    }
    build = Build(python=">=3.10", requires=(), environment=said)
    found = native.environment(RECIPE, TARGET, build, cuda_home="/c{version}", site_packages="/s")
    assert found == {
        "VERSION": "1.2",
        "ARCHS": "8.0 9.0a 12.0",
        "LIST": "8.0;9.0a;12.0+PTX",
        "FLAGS": "-I/c{version}/include -I/s/nv -DX=1.2",
        "PLAIN": "1",
    }
    assert all(one < other for one, other in itertools.pairwise(found))
