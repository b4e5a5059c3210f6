"""The source lane where clang compiles: CUDA 12.8 of public packages alone, the real clang, ptxas and compile cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nativecuda import ADD, FILES, LOCK, RECIPE, SCALE, SETUP
from retread.doors import proc
from retread.doors.store import Kind
from retread.elf import fatbin
from retread.errors import ToolError
from retread.toolkit import clang
from tinycuda import Project, Result, diff, names, sha256

pytestmark = [pytest.mark.network, pytest.mark.slow]
NAME = "cuda-12.8-clang22"
DEVICE = {
    "compiler": "Debian clang 22.1.8 (1~deb13u5)",
    "assembler": "ptxas 12.8.93",
    "headers": "CUDA 12.8",
    "container": "fatbinary 13.0.88",
}
PTX = '"-gencode=arch=compute_100,code=compute_100", '
"""What the project's own setup.py does not ask for."""
WITH_PTX = SETUP.replace('"-Xcompiler", "-fPIC", ', f'"-Xcompiler", "-fPIC", {PTX}')


@pytest.fixture
def work(make_native: Callable[[str], Project]) -> Project:
    return with_clang(make_native("project"))


RUN_PATH = """
[targets.cu128.run-path]
"tinycuda/_C.so" = ["$ORIGIN/../nvidia/cuda_runtime/lib"]
"""
"""torch from 2.11 on is for CUDA 13: the runtime of 12.8 comes from a wheel of its own."""


def with_clang(project: Project) -> Project:
    """Turn a project that is really compiled into one whose only target is compiled by clang, with PTX."""
    assert "cu130" in RECIPE
    recipes = project.root / "recipes"
    shutil.copy(LOCK, recipes / "locks" / "tiny-1.0-cu128.txt")
    text = (
        project.recipe_text.replace("cuda-13.0", NAME).replace("cu130", "cu128").replace('"13.0"', '"12.8"')
    )
    text = text.replace("ptx = []", 'ptx = ["10.0"]\nrequires = ["nvidia-cuda-runtime-cu12>=12.8"]')
    project.write_recipe(f"{text}\n{RUN_PATH}")
    project.series(diff("setup.py", SETUP, WITH_PTX))
    return project


def patched(project: Project, **changes: str) -> None:
    """Give the project a series of these changes, by the names of its files' last parts, and PTX."""
    found = [diff("setup.py", SETUP, changes.pop("setup", WITH_PTX))]
    paths = {"add": "csrc/add.cu", "scale": "csrc/scale.cu"}
    found += [diff(paths[name], FILES[paths[name]], text) for name, text in changes.items()]
    project.series(*found)


SPILLS = """\
#include "common.h"
__global__ void add_kernel(float *x, float y) {
  float some[64];
  for (int i = 0; i < 64; ++i) some[i] = x[i];
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %1}], [%1];" ::"l"(x), "r"(0));
  x[0] = some[int(y) & 63] + BIAS;
}
extern "C" int add(float *x, float y) { add_kernel<<<1, 32>>>(x, y); return cudaGetLastError(); }
"""
"""A kernel with TMA whose array is read at a place that is known at run time alone."""


def good(project: Project, *arguments: str) -> Path:
    result = project.build(*arguments)
    assert result.code == 0, result.err
    return project.root / result.wheel


def evidence(wheel: Path) -> dict[str, Any]:
    return dict(json.loads(wheel.with_name(f"{wheel.name}.compile.json").read_bytes()))


def member(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(next(one for one in archive.namelist() if one.endswith(name)))


def refused(project: Project, *words: str) -> Result:
    """Build, and check that it does not compile, the message, and that nothing half-made is left."""
    before = (sorted(project.entries(Kind.COMPILED)), project.leftovers())
    result = project.build()
    assert result.code == 15, result.err
    for word in words:
        assert word in result.err, (word, result.err)
    assert (sorted(project.entries(Kind.COMPILED)), project.leftovers()) == before
    return result


def log(result: Result) -> str:
    """Return the log that a failure names."""
    return Path(result.err.rpartition("the whole log is ")[2].strip()).read_text()


# What is made.


def test_a_wheel_with_code_of_clang_s(work: Project) -> None:
    wheel = good(work)
    assert wheel.name.startswith("tinycuda-1.0+cu128.clang.1-py3-none-manylinux_2_")
    facts = json.loads(work.run("inspect", str(wheel), "--json").out)
    assert facts["libraries"]["tinycuda/_C.so"]["modules"] == [
        {"index": number, "sass": ["9.0", "10.0"], "ptx": ["10.0"], "kernels": 1} for number in (0, 1)
    ]
    said = json.loads(member(wheel, "retread.json"))
    assert said["compiled"]["toolkit"] == (
        "Debian clang 22.1.8 (1~deb13u5), ptxas 12.8.93, fatbinary 13.0.88, no nvcc"
    )
    assert said["compiled"]["toolchain"] == NAME
    assert said["compiled"]["device"] == DEVICE
    found = evidence(wheel)
    assert {one["name"] for one in found["units"]} == {"csrc/add.cu", "csrc/scale.cu", "csrc/host.cpp"}
    assert all(one["memory"] > 0 for one in found["units"] if one["tool"] == "nvcc")
    assert {"csrc/add.cu", "include/common.h", "include/table.txt"} <= set(found["read"])
    assert any(path.endswith("stdc-predef.h") for path in found["outside"])
    audit = work.run("audit", str(wheel))
    assert audit.code == 0
    assert "spills" in audit.out
    assert "there is no kernel with GMMA, tcgen05 or TMA" in audit.out
    taken = json.loads(wheel.with_name(f"{wheel.name}.resources.json").read_bytes())
    assert (taken["wheel"], taken["sha256"], taken["ok"]) == (wheel.name, sha256(wheel.read_bytes()), True)
    assert {(one["kernel"]["name"], one["kernel"]["architecture"]) for one in taken["kernels"]} == {
        (name, architecture)
        for name in ("_Z10add_kernelPff", "_Z12scale_kernelIfEvPT_")
        for architecture in ("9.0", "10.0")
    }
    shown = work.run("inspect", str(wheel)).out
    assert "device code compiled by Debian clang 22.1.8 (1~deb13u5), in nvcc's place" in shown
    assert "assembled by ptxas 12.8.93, packed by fatbinary 13.0.88; headers of CUDA 12.8" in shown
    bill = json.loads(member(wheel, "sboms/tinycuda.cdx.json"))
    assert {(one["name"], one["version"], one["scope"]) for one in bill["components"] if "scope" in one} == {
        ("Debian clang", "22.1.8", "excluded"), ("ptxas", "12.8.93", "excluded"), ("CUDA", "12.8", "excluded"),
        ("fatbinary", "13.0.88", "excluded"),
    }  # fmt: skip


def with_fallback(work: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name nvcc's toolchain first, of which this machine can have no part."""
    monkeypatch.setenv("RETREAD_CUDA_MIRROR", str(tmp_path / "nothing"))
    work.edit_recipe(f'toolchain = "{NAME}"', f'toolchain = "cuda-12.8"\nfallback = "{NAME}"')


def test_clang_is_taken_where_nvcc_cannot_be_had_and_says_so(
    work: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_fallback(work, tmp_path, monkeypatch)
    monkeypatch.setattr("retread.toolkit.layout.SYSTEM", tmp_path)
    planned = " ".join(work.run("plan", "tiny-1.0").out.split())  # lines end at 80 columns
    assert "tinycuda-1.0+cu128.clang.1-" in planned
    assert "this machine cannot have cuda-12.8: clang compiles" in planned
    result = work.build()
    assert result.code == 0, result.err
    assert "note: cuda-12.8-clang22 compiles, since this machine cannot have cuda-12.8 (nvcc: " in result.err
    wheel = work.root / result.wheel
    assert "+cu128.clang.1-" in wheel.name
    again = work.run("reproduce", str(wheel))
    assert again.out.startswith("identical"), (again.out, again.err)
    assert "compile cache: 0 hits" in again.err
    asked = work.run("build", "tiny-1.0", "--toolchain", "cuda-12.8")
    assert asked.code == 6
    assert "this machine cannot have CUDA 12.8" in asked.err


def test_a_kernel_with_tma_and_local_memory_is_refused_once_it_is_linked(work: Project) -> None:
    patched(work, add=SPILLS)
    result = work.build()
    assert result.code == 12, result.err
    assert "tinycuda/_C.so: 2 of 2 kernels with GMMA, tcgen05 or TMA take local memory" in result.err
    assert "sm_90: 256 bytes of stack, with UTMASTG: add_kernel (_Z10add_kernelPff)" in result.err
    assert "next: have ptxas say more" in result.err
    assert not list(work.root.glob("dist/*"))


def test_the_same_inputs_give_the_same_bytes_elsewhere(
    work: Project, make_native: Callable[[str], Project],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared_store: Path,
) -> None:  # fmt: skip
    lines = WITH_PTX.replace(PTX, f'{PTX}"-lineinfo", ')
    patched(work, setup=lines)
    first = good(work).read_bytes()
    other = tmp_path / "another" / "store"
    for kind in (Kind.TOOLKITS, Kind.DOWNLOADS):
        shutil.copytree(shared_store / kind, other / kind, symlinks=True, copy_function=os.link)
    monkeypatch.setenv("RETREAD_STORE", str(other))
    monkeypatch.setenv("CPLUS_INCLUDE_PATH", "/nowhere")
    again = with_clang(make_native("again"))
    patched(again, setup=lines)
    wheel = good(again, "--jobs", "1", "--no-cache")
    assert wheel.read_bytes() == first, "nor do line numbers or the cache make a difference"
    result = again.run("reproduce", str(wheel))
    assert (result.code, result.out.split(":")[0]) == (0, "identical"), result.err


def test_another_architecture_compiles_that_one_only(work: Project) -> None:
    patched(work, add=ADD.replace("+ BIAS", "+ 7 * BIAS"), scale=SCALE.replace("+ BIAS", "+ 7 * BIAS"))
    good(work)
    work.edit_recipe('architectures = ["9.0", "10.0"]', 'architectures = ["9.0", "10.0", "12.0"]')
    found = evidence(good(work))["cache"]
    assert (found["hits"] >= 4, found["misses"] >= 2) == (True, True), found


def test_a_header_of_one_architecture_alone_is_not_lost(work: Project) -> None:
    """No pass but that of 10.0 sees it; the cache must not serve what was made of the old one."""
    text = '#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 1000\n#include "only.h"\n#else\n#define EXTRA 0\n#endif\n'
    add = ADD.replace("__global__", f"{text}__global__", 1).replace("+ BIAS", "+ BIAS + EXTRA")
    kernels = []
    for value in (3, 4):
        header = diff("include/only.h", "", f"#define EXTRA {value}\n")
        work.series(diff("setup.py", SETUP, WITH_PTX), diff("csrc/add.cu", ADD, add), header)
        wheel = good(work)
        assert "include/only.h" in evidence(wheel)["read"]
        kernels.append(ptx(wheel))
    assert kernels[0] != kernels[1]


def ptx(wheel: Path) -> set[bytes]:
    """Return the PTX of every module."""
    library = wheel.with_name("library.so")
    library.write_bytes(member(wheel, "_C.so"))
    section = wheel.with_name("section")
    command = ["objcopy", "-O", "binary", "--only-section=.nv_fatbin", library, section]
    subprocess.run(command, check=True)
    entries = [entry for one in fatbin.parse(section.read_bytes(), where="x") for entry in one.entries]
    return {fatbin.ptx(entry) for entry in entries if entry.kind is fatbin.Kind.PTX}


# What does not compile.


def test_a_compile_error_names_unit_and_first_error(work: Project) -> None:
    patched(work, add=ADD.replace("+ BIAS", "+ UNKNOWN"))
    result = refused(work, "csrc/add.cu does not compile: ", "error: use of undeclared identifier 'UNKNOWN'")
    assert "depends on" not in result.err


def test_code_for_nvcc_alone_names_unit_and_macro(work: Project) -> None:
    patched(work, add=ADD + "#ifndef __NVCC__\n#error wants NVIDIA's compiler\n#endif\n")
    refused(
        work,
        "csrc/add.cu does not compile: ",
        "error: wants NVIDIA's compiler (depends on __NVCC__: '#ifndef __NVCC__' in line 4; ",
        "clang, which compiles here, defines __clang__ and none of nvcc's own macros)",
    )


def test_relocatable_device_code_is_refused_by_name(work: Project) -> None:
    patched(work, setup=WITH_PTX.replace(PTX, f'{PTX}"-rdc=true", '))
    refused(work, "-rdc=true: relocatable device code needs NVIDIA's nvlink")


def test_a_crash_of_clang_leaves_what_it_takes_to_see_it_again(work: Project) -> None:
    patched(work, add=ADD + "#pragma clang __debug crash\n")
    said = log(refused(work, "csrc/add.cu does not compile"))
    (told,) = {line for line in said.splitlines() if "holds what it takes to see it again" in line}
    folder = Path(told.partition("clang crashed; ")[2].partition(" holds")[0])
    room = next(path for path in (work.store / "work").iterdir() if path.name.startswith("tiny-1.0-cu128"))
    kept = room / "source" / folder
    assert {path.suffix for path in kept.iterdir()} >= {".cu", ".sh"}, names(kept)


# Whether the checks find what they are there for.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("", ""),
        ("--prec-sqrt=false", "'without fast math a square root and a quotient are rounded correctly': no sqrt.rn.f32"),
        ("--prec-div=true", "'with --use_fast_math they are approximate': no div.approx.ftz.f32"),
        ("-O0", "'device code is optimised whatever -O says': no st.global, __local_depot is there, bra is there"),
        ("-UCUTLASS_GRID_CONSTANT -DCUTLASS_GRID_CONSTANT=",
         "'a __grid_constant__ parameter stays out of local memory': __local_depot is there"),
        ("--compress-mode=size", "'PTX is packed as CUDA 12.8 packs it': it is not, flags 0x8011"),
        ("--no-such-option", "does not compile a small kernel: nvcc (clang in its place): the option"),
    ],
)  # fmt: skip
def test_a_compiler_that_is_otherwise_is_found(
    work: Project, tmp_path: Path, options: str, words: str
) -> None:
    got = work.run("toolchain", "get", NAME)
    assert got.code == 0, got.err
    root = tmp_path / "toolkit"
    (root / "bin").mkdir(parents=True)
    program = root / "bin" / "nvcc"
    program.write_text(f'#!/bin/sh\nexec {got.out.strip()}/bin/nvcc "$@" {options}\n')
    program.chmod(0o755)
    worse = {}
    if options == "-O0":  # no option of nvcc's makes it so
        before = tmp_path / "before"
        before.write_text(
            '#!/bin/sh\nfor one; do shift; [ "$one" = -O3 ] && one=-O0; set -- "$@" "$one"; done\nexec "$@"\n'
        )
        before.chmod(0o755)
        worse = {"RETREAD_CUDA_LAUNCHER": str(before)}

    def run(command: Any) -> proc.Finished:
        return proc.run(command, env={"PATH": "/usr/bin:/bin", **worse}, check=False)

    if not words:
        return clang.demand(root, tmp_path, run)
    with pytest.raises(ToolError) as caught:
        clang.demand(root, tmp_path, run)
    assert words in str(caught.value)
    return None
