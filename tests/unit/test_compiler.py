"""The compilers' stand-in, run as the program that it is: what passes, what is added, what is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from retread.jobserver import Jobserver
from retread.schedule import GIB, Budget
from standins import SOUND, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def server(bench: Bench) -> Iterator[Jobserver]:
    with Jobserver(bench.server, tree=bench.source, budget=Budget(2, 64 * GIB), measures={}) as found:
        yield found


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["-shared", "a.o", "b.o", "-o", "_C.so"],
        ["-c", "a.o", "-o", "b.o"],
        ["a.cu", "-o", "program"],
        ["--dryrun", "-c", "a.cu", "-o", "a.o"],
        ["-E", "a.cu"],
        [],
    ],
    ids=" ".join,
)
def test_what_compiles_no_unit_goes_through_as_it_is_and_asks_nobody(
    bench: Bench, arguments: list[str]
) -> None:
    bench.script("nvcc", "echo said; exit 3")
    done = bench.run("nvcc", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (3, "said\n", "")
    assert bench.given() == (arguments or [""])


def test_a_unit_is_compiled_with_leave_and_reported(bench: Bench, server: Jobserver) -> None:
    done = bench.run("nvcc", "-c", "a.cu", "-o", "out.o", "-MD", "-MF", "deps/a.d")
    assert (done.returncode, done.stdout, done.stderr) == (0, "compiled\n", "")
    assert (bench.source / "out.o").read_text() == "object\n"
    (one,) = server.compiled
    assert (one.name, one.tool) == ("a.cu", "nvcc")
    assert (one.output, one.depfile) == (bench.source / "out.o", bench.source / "deps/a.d")
    assert one.folder == bench.source
    host = ["-ccbin", f"{bench.root}/real/g++"]
    assert bench.given() == ["-c", "a.cu", "-o", "out.o", "-MD", "-MF", "deps/a.d", *host]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("nvcc", ["--compile", "a.cu", "-o", "a.o"]),
        ("nvcc", ["-dc", "a.cu", "-o", "a.o"]),
        ("nvcc", ["--device-c", "a.cu", "-o", "a.o"]),
        ("gcc", ["-c", "a.c", "-o", "a.o"]),
        ("g++", ["-c", "a.cpp", "-o", "a.o"]),
        ("c++", ["-c", "a.cc", "-o", "a.o"]),
        ("g++", ["-c", "a.cxx"]),
    ],
)
def test_all_that_makes_an_object_is_a_unit(
    bench: Bench, server: Jobserver, tool: str, arguments: list[str]
) -> None:
    assert bench.run(tool, *arguments).returncode == 0
    (one,) = server.compiled
    assert (one.tool, one.output) == (tool, bench.source / "a.o")


@pytest.mark.parametrize(
    ("tool", "given", "becomes"),
    [
        ("g++", ["-MMD", "-MF", "a.d"], ["-MD", "-MF", "a.d"]),
        ("nvcc", ["-MMD", "-MF", "a.d"], ["-MD", "-MF", "a.d"]),
        (
            "nvcc",
            ["--generate-nonsystem-dependencies-with-compile", "--dependency-output", "a.d"],
            ["-MD", "--dependency-output", "a.d"],
        ),
        (
            "nvcc",
            ["--generate-dependencies-with-compile", "--dependency-output=a.d"],
            ["--generate-dependencies-with-compile", "--dependency-output=a.d"],
        ),
        ("nvcc", ["-O2"], ["-O2", "-MD", "-MF", "a.o.d"]),
        ("g++", ["-O2"], ["-O2", "-MD", "-MF", "a.o.d"]),
    ],
)
def test_every_unit_gets_a_depfile_that_names_system_headers_too(
    bench: Bench, server: Jobserver, tool: str, given: list[str], becomes: list[str]
) -> None:
    assert bench.run(tool, "-c", "a.cpp", "-o", "a.o", *given).returncode == 0
    assert bench.given()[: len(becomes) + 4] == ["-c", "a.cpp", "-o", "a.o", *becomes]
    (one,) = server.compiled
    assert one.depfile == bench.source / ("a.o.d" if given == ["-O2"] else "a.d")


def test_the_places_of_this_build_are_kept_out_of_the_object(bench: Bench, server: Jobserver) -> None:
    bench.control["prefixes"] = {"/here/room": "/retread/room", "/here/kit": "/retread/toolkit"}
    maps = ["-ffile-prefix-map=/here/room=/retread/room", "-ffile-prefix-map=/here/kit=/retread/toolkit"]
    bench.run("g++", "-c", "a.cpp", "-o", "a.o", "-MD", "-MF", "a.d")
    assert bench.given()[-2:] == maps
    bench.run("nvcc", "-ccbin", "g++", "-c", "a.cu", "-o", "a.o", "-MD", "-MF", "a.d")
    assert bench.given()[-4:] == ["-Xcompiler", maps[0], "-Xcompiler", maps[1]]
    assert len(server.compiled) == 2


def test_a_seed_goes_to_nvcc_alone_and_only_when_it_is_asked_for(bench: Bench, server: Jobserver) -> None:
    seed = ["--frandom-seed=a.o", "--objdir-as-tempdir"]
    unit = ["-ccbin", "g++", "-c", "a.cu", "-o", "build/temp/a.o", "-MD", "-MF", "a.d"]
    (bench.source / "build/temp").mkdir(parents=True)
    bench.run("nvcc", *unit)
    assert not set(seed) & set(bench.given())
    bench.control["seed"] = True
    bench.run("nvcc", *unit)
    assert bench.given() == [*unit, *seed]
    bench.run("g++", *unit)
    assert bench.given() == unit
    assert len(server.compiled) == 3


@pytest.mark.parametrize("option", ["-ccbin", "--compiler-bindir"])
def test_nvcc_s_host_compiler_is_the_real_one(bench: Bench, server: Jobserver, option: str) -> None:
    for more in (["-c", "a.cu", "-o", "a.o"], ["--version"]):
        bench.run("nvcc", option, f"{bench.root}/bin/g++", *more)
        assert bench.given()[:2] == [option, f"{bench.root}/real/g++"]
        assert bench.given().count("-ccbin") <= 1
    assert len(server.compiled) == 1


def test_nvcc_gets_the_real_host_compiler_when_nobody_names_one(bench: Bench, server: Jobserver) -> None:
    assert bench.run("nvcc", "-c", "a.cu", "-o", "a.o").returncode == 0
    assert bench.given()[-2:] == ["-ccbin", f"{bench.root}/real/g++"]
    for own in ("-ccbin=/other/g++", "--compiler-bindir=/other/g++"):
        bench.run("nvcc", own, "-c", "a.cu", "-o", "a.o")
        assert own in bench.given()
        assert "-ccbin" not in bench.given()
    assert len(server.compiled) == 3


def test_a_compiler_below_a_compiler_asks_nobody(bench: Bench) -> None:
    """nvcc runs the gcc of the PATH when nobody names one; if that waited for leave, it would wait for its parent."""
    bench.script("nvcc", f"PATH={bench.root}/bin:$PATH gcc -x c++ -c x.cudafe1.cpp -o a.o")
    with Jobserver(bench.server, tree=bench.source, budget=Budget(1, GIB), measures={}) as server:
        done = bench.run("nvcc", "-c", "a.cu", "-o", "a.o")
        assert (done.returncode, done.stdout) == (0, "compiled\n")
        assert [one.name for one in server.compiled] == ["a.cu"]
    assert bench.given() == ["-x", "c++", "-c", "x.cudafe1.cpp", "-o", "a.o"]


def test_the_cache_runs_the_real_compiler(bench: Bench, server: Jobserver) -> None:
    cache = bench.root / "sccache"
    cache.write_text(f'#!/bin/sh\necho "$1" >{bench.root}/cached\nexec "$@"\n')
    cache.chmod(0o755)
    bench.control["launcher"] = [str(cache)]
    assert bench.run("nvcc", "-c", "a.cu", "-o", "a.o").returncode == 0
    assert (bench.root / "cached").read_text() == f"{bench.root}/real/nvcc\n"
    assert bench.run("nvcc", "a.o", "-o", "program").returncode == 0
    assert (bench.source / "a.o").exists()
    assert len(server.compiled) == 1


@pytest.mark.parametrize(
    ("body", "code", "noted"),
    [
        ("echo 'a.cu(1): error: no' >&2; exit 2", 2, 2),
        ("exit 255", 255, 255),
        ("kill -9 $$", 137, -9),
    ],
    ids=["fails", "fails with a high code", "is killed"],
)
def test_a_compile_that_does_not_end_well_leaves_no_object(
    bench: Bench, server: Jobserver, body: str, code: int, noted: int
) -> None:
    bench.script("nvcc", f"{SOUND}; {body}")
    done = bench.run("nvcc", "-c", "a.cu", "-o", "a.o")
    assert done.returncode == code
    assert not (bench.source / "a.o").exists()
    (one,) = server.failed
    assert (one.name, one.code, one.said) == ("a.cu", noted, done.stdout)
    assert one.command[:3] == (f"{bench.root}/real/nvcc", "-c", "a.cu")
    assert server.compiled == []


def test_a_compile_that_fails_before_it_writes_passes_its_code(bench: Bench, server: Jobserver) -> None:
    bench.script("nvcc", "echo no >&2; exit 4")
    done = bench.run("nvcc", "-c", "a.cu", "-o", "a.o")
    assert (done.returncode, done.stdout) == (4, "no\n")
    assert server.failed[0].said == "no\n"


def test_a_compiler_that_is_not_there_is_told(bench: Bench, server: Jobserver) -> None:
    bench.control["tools"]["nvcc"] = "/nowhere/nvcc"
    done = bench.run("nvcc", "-c", "a.cu", "-o", "a.o")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "/nowhere/nvcc: No such file or directory\n",
        "",
    )
    assert server.failed[0].said == done.stdout


def test_after_a_failure_nothing_more_is_compiled(bench: Bench, server: Jobserver) -> None:
    bench.script("gcc", "exit 1")
    assert bench.run("gcc", "-c", "a.c", "-o", "a.o").returncode == 1
    (bench.root / "arguments").unlink()
    assert bench.run("nvcc", "-c", "b.cu", "-o", "b.o").returncode == 1
    assert bench.given() == []
    assert [one.name for one in server.failed] == ["a.c"]


def test_it_needs_nothing_but_its_control_file(bench: Bench) -> None:
    """It stands before every compile, also in a build whose PYTHONPATH and folder hold modules of any name."""
    (bench.source / "json.py").write_text("raise SystemExit('a module of the build was imported')\n")
    assert bench.run("nvcc", "--version").returncode == 0
    assert json.loads(Path(bench.environment["RETREAD_CONTROL"]).read_text())["tools"]["nvcc"]
