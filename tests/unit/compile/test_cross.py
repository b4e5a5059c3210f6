"""Compiling for another machine: what compilers are given in place of this machine's, and what may not get in."""

from __future__ import annotations

from pathlib import Path

import pytest

from fields import DIGEST
from retread.compile.cross import Cross
from retread.compile.inside.compiler import _of_target
from retread.compile.room import layout
from retread.environment import host
from retread.environment.host import Python
from retread.errors import CompileError, PlanError
from retread.lockfile.requirements import narrowed
from retread.recipe import workspace
from retread.recipe.toolchain import toolkit_parts

PYTHON = Python(executable="/p/bin/python", prefix="/p", version="3.11.7", number="3.11", digest=DIGEST)


@pytest.fixture
def cross(tmp_path: Path) -> Cross:
    (tmp_path / "packages" / "torch" / "include").mkdir(parents=True)
    (tmp_path / "packages" / "torch-2.11.dist-info").mkdir()
    (tmp_path / "lib" / "python3.11").mkdir(parents=True)
    (tmp_path / "lib" / "python3.11" / "_sysconfigdata__aarch64-linux-gnu.py").touch()
    return Cross("aarch64", tmp_path, "packages", "include/python3.11")


def test_compilers_get_the_other_machine_s_folders(cross: Cross) -> None:
    seen = layout(Path("/room"), Path("/kit"), Path("/env"), cross.root)
    packages = "/env/lib/python3.11/site-packages"
    table = cross.replaced(seen, PYTHON)
    assert table == {
        f"{packages}/torch": f"{cross.root}/packages/torch",
        "/p/include/python3.11": f"{cross.root}/include/python3.11",
    }
    assert _of_target(f"-I{packages}/torch/include", table) == f"-I{cross.root}/packages/torch/include"
    assert _of_target(f"{packages}/torchvision/x.h", table) == f"{packages}/torchvision/x.h"
    assert cross.variables() == {
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",
        "_PYTHON_SYSCONFIGDATA_NAME": "_sysconfigdata__aarch64-linux-gnu",
    }


def test_headers_of_this_machine_are_strangers(cross: Cross) -> None:
    seen = layout(Path("/room"), Path("/kit"), Path("/env"), cross.root)
    wrong = ["/env/lib/python3.11/site-packages/torch/include/a.h", "/usr/include/stdio.h"]
    right = ["/usr/aarch64-linux-gnu/include/stdio.h", "/env/lib/python3.11/site-packages/nvidia/b.h"]
    assert cross.strangers([*right, *wrong, "/p/include/python3.11/x.py"], seen, PYTHON) == wrong


def test_a_compiler_that_is_missing_or_another_s(tmp_path: Path) -> None:
    with pytest.raises(
        CompileError, match="no C\\+\\+ compiler for riscv64: riscv64-linux-gnu-gcc"
    ) as caught:
        host.compiler({"PATH": str(tmp_path)}, "riscv64")
    assert "apt-get install g++-riscv64-linux-gnu" in caught.value.hint
    program = tmp_path / "cc"
    program.write_text("#!/bin/sh\necho x86_64-linux-gnu\n")
    program.chmod(0o755)
    with pytest.raises(CompileError, match="compiles for x86_64-linux-gnu, not for riscv64"):
        host.compiler({"PATH": "/usr/bin:/bin", "CC": str(program), "CXX": str(program)}, "riscv64")


def test_a_toolkit_for_another_machine_runs_here_and_links_there() -> None:
    found = toolkit_parts(workspace.load_toolchain(None, "cuda-13.0"), "x86_64", "aarch64")
    assert {part.component: part.machine for part in found} == {
        "nvcc": "x86_64", "crt": "x86_64", "nvvm": "x86_64", "cccl": "x86_64", "cudart": "aarch64",
    }  # fmt: skip
    with pytest.raises(PlanError, match="clang compiles for no other machine"):
        toolkit_parts(workspace.load_toolchain(None, "cuda-12.8-clang22"), "x86_64", "aarch64")


def test_what_is_linked_is_taken_of_the_lock_alone() -> None:
    hashes = ["--hash=sha256:11", "--hash=sha256:22"]
    text = "numpy==2.0 --hash=sha256:00\n" + " \\\n    ".join(["Torch==2.11.0", *hashes]) + "\n"
    lines, lacking = narrowed(text, ["torch", "triton"])
    assert lines.split() == ["Torch==2.11.0", *hashes]
    assert lacking == ["triton"]


CROSS = """\
#!/bin/sh
case $1 in
  -dumpmachine) echo riscv64-linux-gnu;;
  -print-file-name=libc.so.6) echo "${0%/*}/libc.so.6";;
  --version) echo "riscv64-linux-gnu-g++ 12.2.0";;
esac
"""


def test_what_a_cross_compiler_links_tells_it_from_others(tmp_path: Path) -> None:
    digests = {}
    for name, library in {"one": b"2.36", "two": b"2.36", "newer": b"2.41"}.items():
        program = tmp_path / name / "cc"
        program.parent.mkdir()
        program.write_text(CROSS)
        program.chmod(0o755)
        (program.parent / "libc.so.6").write_bytes(library)
        found = host.compiler({"PATH": "/usr/bin:/bin", "CC": str(program), "CXX": str(program)}, "riscv64")
        digests[name] = found.digest
    assert digests["one"] == digests["two"] != digests["newer"]
