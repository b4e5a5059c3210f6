"""The source lane for another machine than this: the pinned CUDA 13.0, Debian's cross compiler, the real nvcc."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nativecuda import SETUP
from retread.doors.store import Kind
from tinycuda import Project, diff

pytestmark = [
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("aarch64-linux-gnu-g++"), reason="there is no cross compiler"),
]
LINK = '        subprocess.check_call([os.environ["CXX"], "-shared", *objects'


@pytest.fixture
def work(make_native: Callable[[str], Project]) -> Project:
    project = make_native("project")
    there = '[targets.cu130.platforms.aarch64]\narchitectures = ["9.0", "12.1"]\n'
    project.write_recipe(f"{project.recipe_text}\n{there}")
    return project


def refused(work: Project, setup: str, code: int, *words: str) -> None:
    """Build with another setup.py, and check the exit code, the message, and that nothing is left."""
    assert setup != SETUP
    work.series(diff("setup.py", SETUP, setup))
    before = (sorted(work.entries(Kind.COMPILED)), work.leftovers())
    result = work.build("--platform", "aarch64")
    assert (result.code, result.out) == (code, ""), result.err
    for word in words:
        assert word in result.err, (word, result.err)
    assert (sorted(work.entries(Kind.COMPILED)), work.leftovers()) == before


def test_a_wheel_for_another_machine(work: Project) -> None:
    result = work.build("--platform", "aarch64")
    assert result.code == 0, result.err
    wheel = work.root / result.wheel
    assert wheel.name.startswith("tinycuda-1.0+cu130.1-py3-none-manylinux_2_")
    assert wheel.name.endswith("_aarch64.whl")
    library = json.loads(work.run("inspect", str(wheel), "--json").out)["libraries"]["tinycuda/_C.so"]
    assert library["machine"] == "aarch64"
    assert [one["sass"] for one in library["modules"]] == [["9.0", "12.1"]] * 2
    with zipfile.ZipFile(wheel) as archive:
        said = json.loads(
            archive.read(next(one for one in archive.namelist() if one.endswith("retread.json")))
        )
    assert said["promise"]["architectures"] == ["9.0", "12.1"]
    assert said["compiled"]["compiler"].startswith("aarch64-linux-gnu-g++")
    assert len(said["compiled"]["compiler_digest"]) == 64
    assert said["compiled"]["system"].startswith("aarch64 ")
    outside = json.loads(Path(f"{wheel}.compile.json").read_bytes())["outside"]
    assert not [path for path in outside if "/x86_64-linux-gnu/" in path and path.endswith(".h")]
    own = work.build()
    assert own.wheel.name.endswith("_x86_64.whl"), own.err
    compared = work.run("compare", "--kernels", str(work.root / own.wheel), str(wheel), "--json")
    kernels = ["_Z10add_kernelPff", "_Z12scale_kernelIfEvPT_"]
    assert [(one["architecture"], one["same"], one["other"]) for one in json.loads(compared.out)] == [
        ("9.0", kernels, []), ("10.0", [], []), ("12.1", [], []),
    ]  # fmt: skip


def test_a_build_for_another_machine_that_goes_wrong_is_refused(work: Project) -> None:
    program = SETUP.replace(LINK, f"        pathlib.Path('p.c').write_text('int main(void){{return 0;}}')\n"
                            f'        subprocess.check_call([os.environ["CC"], "p.c", "-o", "p"])\n'
                            f'        subprocess.check_call(["./p"])\n{LINK}')  # fmt: skip
    refused(work, program, 15, "the build ran a program of aarch64, which this machine cannot run")
    tagged = SETUP.replace("super().get_tag()[2]", '"linux_" + os.uname().machine')
    refused(work, tagged, 12, "was to be for aarch64, and is not", "the build tags it py3-none-linux_x86_64")
    header = SETUP.replace('"-fPIC", "-O2"]', '"-fPIC", "-O2", "-include", "/usr/include/stdc-predef.h"]')
    refused(work, header, 15, "of x86_64 got into what is for aarch64")


def test_what_stands_in_the_way_is_named(
    work: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXX", str(shutil.which("g++")))
    result = work.build("--platform", "aarch64")
    assert (result.code, result.out) == (15, "")
    assert "compiles for x86_64-linux-gnu, not for aarch64" in " ".join(result.err.split())
    monkeypatch.delenv("CXX")
    for program in ("git", "sh", "env"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    monkeypatch.setenv("PATH", str(tmp_path))
    result = work.build("--platform", "aarch64")
    assert result.code == 15
    assert "there is no C++ compiler for aarch64: aarch64-linux-gnu-gcc is not on the PATH" in result.err
    assert "apt-get install g++-aarch64-linux-gnu" in result.err
