"""Builds with a graft, by a ptxas that is a script: what is made, and what is refused with nothing left."""

from __future__ import annotations

import importlib.util
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from retread.arch import Arch
from retread.build import graft
from retread.doors.store import Kind
from retread.elf import fatbin, library
from retread.toolkit import ptxas
from tinycuda import BUILT, DATA, LIBRARY, PTXAS, WHEEL, Project, make_wheel, sha256, wheel_files

A8, A9, A10 = Arch("8.0"), Arch("9.0a"), Arch("10.0")


LIB = DATA / "libadd.so"


def test_a_graft_that_was_interrupted_goes_on_where_it_was(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.add_toolchain("8.0", "9.0a", "10.0")
    real = graft.run_jobs

    def interrupted(*arguments: Any) -> object:
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(graft, "run_jobs", interrupted)
        assert project.build().code == 130
    made = project.entries(Kind.CUBINS)
    assert made
    assert project.leftovers() == []
    monkeypatch.setattr(ptxas.Assembler, "assemble", lambda *_: pytest.fail("assembled again"))
    assert project.build().code == 0
    assert sorted(project.entries(Kind.CUBINS)) == sorted(made)  # by use they come in another order


def test_ptxas_that_fails_is_shown_with_its_last_words(project: Project) -> None:
    script = (
        '#!/bin/sh\n[ "$1" = --version ] && echo "release 12.8, V12.8.93" && exit\n'
        'echo "ptxas fatal   : unresolved extern" >&2\nexit 255\n'
    )
    project.add_toolchain("8.0", "9.0a", "10.0", script=script)
    project.fails(
        14, "ptxas failed with exit code 255", "ptxas fatal   : unresolved extern", room=Kind.LIBRARIES
    )
    assert project.entries(Kind.CUBINS) == []


def test_ptxas_that_writes_no_code_is_refused(project: Project) -> None:
    script = PTXAS_OF.format(body='printf "not ELF" > "$out"')
    project.add_toolchain("8.0", "9.0a", "10.0", script=script)
    result = project.fails(11, "retread: fatbin", room=Kind.LIBRARIES)
    assert "Traceback" not in result.err


PTXAS_OF = (
    '#!/bin/sh\n[ "$1" = --version ] && echo "release 12.8, V12.8.93" && exit\nfor out; do :; done\n{body}\n'
)


def test_ptxas_of_another_release_is_refused(project: Project) -> None:
    project.add_toolchain("8.0", "9.0a", "10.0", script='#!/bin/sh\necho "release 12.9, V12.9.1"\n')
    project.fails(3, "toolchain fake-12.8: its ptxas is 12.9, not 12.8", room=Kind.TOOLCHAINS)


def test_ptx_that_is_newer_than_the_toolchain_is_refused(project: Project) -> None:
    project.add_toolchain("8.0", "9.0a", "10.0", isa="8.6")
    project.fails(11, "its PTX is ISA 8.7, the toolchain's reads up to 8.6", room=Kind.LIBRARIES)


def test_a_part_without_ptxas_is_refused(project: Project) -> None:
    project.add_toolchain("8.0", "9.0a", "10.0")
    path = project.root / "recipes" / "toolchains" / "fake-12.8.toml"
    path.write_text(path.read_text().replace("bin/ptxas", "bin/ptxaz"))
    project.fails(3, "holds no bin/ptxaz", room=Kind.TOOLCHAINS)


def test_an_architecture_that_the_base_lacks_needs_a_toolchain(project: Project) -> None:
    project.edit_recipe('architectures = ["8.0", "9.0a"]', 'architectures = ["8.0", "9.0a", "10.0"]')
    result = project.fails(
        6, "no toolchain is named", "  - tinycuda/_C.so lacks 10.0\n", "targets.cu128.toolchain"
    )
    assert "12.8" in result.err


def test_an_architecture_that_no_ptx_reaches_is_refused(project: Project) -> None:
    project.add_toolchain("7.5", "8.0", "9.0a")
    project.fails(11, "7.5", room=Kind.LIBRARIES)


def test_a_library_without_fat_binaries_is_fine_and_said_to_be_so(project: Project) -> None:
    found = importlib.util.find_spec("msgspec._core")
    assert found
    assert found.origin
    plain = Path(found.origin).read_bytes()
    project.publish_wheel(lambda files: files.update({"tinycuda/_plain.so": plain}))
    assert project.build().code == 0
    shown = project.run("inspect", str(project.built)).out
    assert re.search(r"tinycuda/_plain\.so .*\n(.*\n)*?  no GPU code", shown)


def test_a_promise_of_gpu_code_is_not_kept_by_a_wheel_without_any(project: Project) -> None:
    found = importlib.util.find_spec("msgspec._core")
    assert found
    assert found.origin
    plain = Path(found.origin).read_bytes()
    project.publish_wheel(lambda files: files.update({LIBRARY: plain}))
    project.fails(12, "no library has GPU code")


def test_an_exempt_library_is_left_as_it_is(project: Project) -> None:
    project.edit_recipe('architectures = ["8.0", "9.0a"]', 'architectures = ["8.0", "9.0a", "10.0"]')
    project.write_recipe(
        project.recipe_text
        + f'\n[[targets.cu128.exempt]]\nlibrary = "{LIBRARY}"\narchitectures = ["8.0", "9.0a"]\nptx = ["8.0"]\n'
        'reason = "not used on it"\n'
    )
    assert project.build().code == 0
    assert "exempt: not used on it" in project.run("audit", str(project.built)).out


def test_a_corrupt_fat_binary_stops_the_build(project: Project) -> None:
    library = bytearray(LIB.read_bytes())
    at = library.index(bytes.fromhex("50ed55ba"))
    library[at + 8 : at + 16] = (1 << 40).to_bytes(8, "little")
    project.publish_wheel(lambda files: files.update({LIBRARY: bytes(library)}))
    result = project.build()
    assert result.code in {10, 11}, result.err
    assert "_C.so" in result.err
    assert project.leftovers() == []
    assert project.entries(Kind.BASES) == []


def test_a_whole_wheel_is_grafted_without_a_recipe(project: Project) -> None:
    project.add_toolchain("10.0")
    file = project.root / WHEEL
    file.write_bytes(make_wheel(wheel_files()))
    result = project.run(
        "graft", str(file), "--arch", "10.0", "--toolchain", "fake-12.8", "-o", str(project.root / "out")
    )
    assert (result.code, Path(result.out.strip()).name) == (0, BUILT)
    assert "note: made from another wheel alone: its source is not proven" in result.err
    shown = project.run("inspect", result.out.strip()).out
    assert f"of the wheel {WHEEL} (sha256 {sha256(file.read_bytes())[:12]}) alone" in shown
    refused = project.run(
        "graft",
        result.out.strip(),
        "--arch",
        "10.0",
        "--toolchain",
        "fake-12.8",
        "-o",
        str(project.root / "no"),
    )
    assert (refused.code, refused.out) == (6, "")
    assert "has 10.0 in all of its code already; there is nothing to graft" in refused.err
    assert not (project.root / "no").exists()


def test_a_wheel_gets_native_code_for_one_more_architecture(project: Project, tmp_path: Path) -> None:
    project.add_toolchain("8.0", "9.0a", "10.0")
    result = project.build()
    assert result.code == 0, result.err
    facts = json.loads(project.run("inspect", str(project.built), "--json").out)
    modules = facts["libraries"][LIBRARY]["modules"]
    assert all(module["sass"] == ["8.0", "9.0a", "10.0"] for module in modules)
    assert facts["statement"]["toolchain"] == {
        "name": "fake-12.8", "cuda": "12.8", "ptxas": "ptxas 12.8, V12.8.93", "reproduced": True,
    }  # fmt: skip
    assert facts["statement"]["libraries"][LIBRARY]["before"] == ["8.0", "9.0a"]
    with zipfile.ZipFile(project.built) as archive:
        archive.extract(LIBRARY, tmp_path)
    code = fatbin.image(
        next(one for one in library.fat_binaries(tmp_path / LIBRARY)[0].entries if one.arch == A10)
    )
    assert code.rstrip(b"\0") == (DATA / "add.sm_100.cubin").read_bytes().rstrip(b"\0")


def test_the_ptxas_that_built_the_base_proves_it_and_another_one_grafts(project: Project) -> None:
    code = 'cp "{data}/add.${{1#-arch=}}.cubin" "$out"'
    other = f'[ "$1" = -arch=sm_80 ] && echo "of another release" >"$out" && exit\n{code}'
    project.add_toolchain("8.0", "9.0a", "10.0", script=PTXAS_OF.format(body=other))
    project.fails(
        11,
        f"{LIBRARY}: CUDA 12.8 built it (the ELF header of its machine code); ptxas 12.8, V12.8.93 does not make its "
        "own machine code again from its PTX",
        'next: name the ptxas that built the base wheel: targets.cu128.proving = "cuda-12.8"',
        room=Kind.LIBRARIES,
    )
    project.add_toolchain(script=PTXAS.replace("12.8", "12.6"), named="elder-12.6")
    project.edit_recipe('toolchain = "fake-12.8"', 'toolchain = "fake-12.8"\nproving = "elder-12.6"')
    result = project.build()
    assert result.code == 0, result.err
    assert json.loads(project.run("inspect", str(project.built), "--json").out)["statement"]["toolchain"] == {
        "name": "fake-12.8", "cuda": "12.8", "ptxas": "ptxas 12.8, V12.8.93", "reproduced": True,
        "proven_by": "ptxas 12.6, V12.6.93",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("toolchain", "code", "words"),
    [
        (
            "cuda-12.8",
            2,
            [
                "ptxas of CUDA 12.8 does not know sm_103",
                "next: say --toolchain ptxas-12.9, or leave 10.3 out",
            ],
        ),
        (
            "cuda-13.0",
            6,
            [
                "cuda-13.0: CUDA 13.0 is known to miscompile",
                "  - miscompile-nvcc13-sm103: 10.3 by CUDA 13.0: nvcc 13.x code for sm_103 gave wrong results on B300",
                "https://github.com/Dao-AILab/causal-conv1d/issues/105",
            ],
        ),
    ],
)
def test_a_graft_that_no_ptxas_should_make_is_refused_before_anything_is_fetched(
    project: Project, toolchain: str, code: int, words: list[str]
) -> None:
    (project.root / WHEEL).write_bytes(make_wheel(wheel_files()))
    for file in (WHEEL, str(LIB)):
        result = project.run("graft", file, "--arch", "10.3", "--toolchain", toolchain, "-o", "out")
        assert result.code == code
        assert all(one in result.err for one in words), result.err
        assert not (project.root / "out").exists()


def test_the_run_path_is_set_without_a_toolchain(project: Project) -> None:
    text = '[targets.cu128.run-path]\n"tinycuda/*.so" = ["$ORIGIN/../nvidia/lib"]\n\n[[targets.cu128.base]]'
    project.edit_recipe("[[targets.cu128.base]]", text)
    assert project.build().code == 0
    assert "run path: $ORIGIN/../nvidia/lib" in project.run("inspect", str(project.built)).out


def test_a_target_for_one_fleet_is_slim_and_says_so(project: Project) -> None:
    project.edit_recipe('architectures = ["8.0", "9.0a"]', 'architectures = ["9.0a"]')
    project.edit_recipe('ptx = ["8.0"]', 'ptx = []\nslim = ["9.0"]\ncompress = "size"')
    assert project.build().code == 0
    assert "becomes slim for 9.0" in project.run("plan", "tiny-1.0").out
    out = project.run("inspect", str(project.built)).out
    assert "  slim: for 9.0, PTX taken out, packed for size, needs a driver of CUDA 12.4 or newer" in out
    assert "4 modules: native 9.0a; PTX none" in out
