"""The machine's own tools: a compiler or a hint, the Python of the range or the reason, each told apart exactly."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from retread.doors import cores, proc
from retread.environment import host
from retread.errors import CompileError, PlanError

COMPILER = """\
#!/bin/sh
case "$1" in
--version) echo "{version}"; echo "Copyright" ;;
-print-prog-name=*) [ -e "{folder}/${{1#*=}}" ] && echo "{folder}/${{1#*=}}" || echo "${{1#*=}}" ;;
esac
"""


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def compilers(folder: Path, *, assembler: str = "as 1") -> Path:
    """Put gcc and g++ with an assembler into a folder."""
    for name in ("gcc", "g++"):
        program(folder / name, COMPILER.format(version=f"{name} (Test) 13.2", folder="$(dirname $0)"))
    program(folder / "as", assembler)
    return folder


def test_gcc_and_gxx_of_the_path(tmp_path: Path) -> None:
    folder = compilers(tmp_path / "bin")
    found = host.compiler({"PATH": f"{folder}:/usr/bin:/bin"})
    assert (found.c, found.cxx, found.version) == (f"{folder}/gcc", f"{folder}/g++", "g++ (Test) 13.2")


def test_a_link_is_followed_to_the_real_program(tmp_path: Path) -> None:
    folder = compilers(tmp_path / "bin")
    (folder / "g++").rename(folder / "x86_64-linux-gnu-g++-13")
    (folder / "g++").symlink_to("x86_64-linux-gnu-g++-13")
    assert host.compiler({"PATH": f"{folder}:/usr/bin:/bin"}).cxx == f"{folder}/x86_64-linux-gnu-g++-13"


def test_cc_and_cxx_name_others(tmp_path: Path) -> None:
    folder = compilers(tmp_path / "bin")
    for name in ("clang", "clang++"):
        program(folder / name, COMPILER.format(version="clang 18", folder="."))
    path = f"{folder}:/usr/bin:/bin"
    by_name = host.compiler({"PATH": path, "CC": "clang", "CXX": "clang++"})
    assert (by_name.c, by_name.cxx, by_name.version) == (f"{folder}/clang", f"{folder}/clang++", "clang 18")
    by_path = host.compiler({"PATH": "/usr/bin:/bin", "CC": f"{folder}/gcc", "CXX": f"{folder}/g++"})
    assert by_path.cxx == f"{folder}/g++"
    assert host.compiler({"PATH": path, "CC": "", "CXX": ""}).cxx == f"{folder}/g++"


@pytest.mark.parametrize(
    ("more", "name", "variable"),
    [({}, "gcc", "CC"), ({"CC": "/bin/true"}, "g++", "CXX"), ({"CC": "gcc-99"}, "gcc-99", "CC")],
)
def test_no_compiler_says_what_to_install(
    tmp_path: Path, more: dict[str, str], name: str, variable: str
) -> None:
    with pytest.raises(CompileError) as caught:
        host.compiler({"PATH": str(tmp_path), **more})
    assert str(caught.value).splitlines() == [
        f"there is no C++ compiler: {name} is not on the PATH",
        f"  next: install gcc and g++ (on Debian: apt-get install g++), or set {variable} to one program",
    ]


def test_another_assembler_is_another_compiler_and_another_place_is_not(tmp_path: Path) -> None:
    first, same = compilers(tmp_path / "1"), compilers(tmp_path / "2")
    other = compilers(tmp_path / "3", assembler="as 2")
    digests = [host.compiler({"PATH": f"{folder}:/usr/bin:/bin"}).digest for folder in (first, same, other)]
    assert digests[0] == digests[1] != digests[2]


# Python.


def interpreter(root: Path, *, version: str = "3.9.9 (main)", headers: bool = True) -> Path:
    """Return a program that answers as a Python would."""
    number = ".".join(version.split(".")[:2])
    include = root / "include"
    include.mkdir(parents=True)
    if headers:
        (include / "Python.h").write_text("")
    answer = {
        "executable": str(root / "python"), "prefix": str(root), "version": version, "number": number,
        "include": str(include), "settings": {"SOABI": "x"},
    }  # fmt: skip
    return program(root / "python", f"#!/bin/sh\ncat <<'E'\n{json.dumps(answer)}\nE\n")


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for uv: notes its arguments, says what ``answer`` says, fails without it."""
    found = program(
        tmp_path / "uv", f'#!/bin/sh\necho "$@" >{tmp_path}/asked\ncat {tmp_path}/answer 2>/dev/null\n'
    )
    monkeypatch.setattr(proc, "find", lambda *_, **__: found)
    return tmp_path


def test_retread_s_own_python_is_taken_when_it_is_in_the_range(uv: Path) -> None:
    found = host.python(">=3.11", None, {})
    assert found.version == ".".join(map(str, sys.version_info[:3]))
    assert found.number == ".".join(map(str, sys.version_info[:2]))
    assert Path(found.executable).is_relative_to(sys.base_prefix), "of no virtual environment"
    assert not (uv / "asked").exists()


def test_out_of_range_another_is_looked_for_and_none_is_downloaded(uv: Path) -> None:
    other = interpreter(uv / "other")
    (uv / "answer").write_text(f"{other}\n")
    found = host.python("<3.10", None, {"PATH": "/usr/bin:/bin"})
    assert (found.executable, found.version, found.number) == (str(other), "3.9.9", "3.9")
    asked = (uv / "asked").read_text().split()
    assert asked[-1] == "<3.10"
    assert "--no-python-downloads" in asked


def test_the_one_asked_for_is_taken_though_retread_s_own_would_do(uv: Path) -> None:
    (uv / "answer").write_text(f"{interpreter(uv / 'other', version='3.12.1 (x)')}\n")
    assert host.python(">=3.11", "3.12", {"PATH": "/usr/bin:/bin"}).version == "3.12.1"
    assert (uv / "asked").read_text().split()[-1] == "3.12"


def test_the_one_asked_for_must_be_in_the_range(uv: Path) -> None:
    other = interpreter(uv / "other")
    (uv / "answer").write_text(f"{other}\n")
    with pytest.raises(PlanError) as caught:
        host.python(">=3.11,<3.15", "3.9", {"PATH": "/usr/bin:/bin"})
    assert str(caught.value) == f"{other} is Python 3.9.9, and the recipe builds for >=3.11,<3.15"


@pytest.mark.parametrize(
    ("asked", "named"),
    [("3.13", "3.13 here; the recipe builds for <3.10"), (None, "<3.10 here, for which the recipe builds")],
)
def test_none_there_says_what_was_looked_for(uv: Path, asked: str | None, named: str) -> None:
    with pytest.raises(PlanError) as caught:
        host.python("<3.10", asked, {"PATH": "/usr/bin:/bin"})
    assert str(caught.value).splitlines() == [
        f"there is no Python {named}",
        "  next: install one, or give --python a path",
    ]


def test_without_headers_nothing_can_be_compiled(uv: Path) -> None:
    other = interpreter(uv / "other", headers=False)
    (uv / "answer").write_text(f"{other}\n")
    with pytest.raises(CompileError) as caught:
        host.python("<3.10", None, {"PATH": "/usr/bin:/bin"})
    assert str(caught.value).splitlines() == [
        f"{other} has no headers: there is no {uv}/other/include/Python.h",
        "  next: install them (on Debian: apt-get install python3-dev)",
    ]


def test_there_is_a_core() -> None:
    assert cores.count() >= 1
